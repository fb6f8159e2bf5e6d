// How this program reaches Postern, and how it proves which program it is. Copy this file.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

// The contract, and which calls are safe to repeat and how. Keep a copy beside your own program.
const PROTO = fileURLToPath(new URL('../../proto', import.meta.url));

export function load(file, folder) {
  // Enums by their names: a value that is not known compares equal to none of them.
  const definition = loadSync(file, { includeDirs: [folder], keepCase: true, enums: String, longs: String, oneofs: true });
  return loadPackageDefinition(definition);
}

// <region channel>
// One long-lived channel for the whole program; it connects again by itself.
export function connect(environment = process.env) {
  const { AuthService } = load('postern/auth/v1/auth.proto', PROTO).postern.auth.v1;
  const { POSTERN_SERVER: server = '127.0.0.1:7301', POSTERN_CA: authority } = environment;
  const security = authority ? credentials.createSsl(readFileSync(authority)) : credentials.createInsecure();
  return new AuthService(server, security, {
    'grpc.service_config': readFileSync(`${PROTO}/service-config.json`, 'utf8'),
    // A server that vanished without a word is noticed.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 5_000,
    // Recovery within seconds, not after gRPC's own two minutes.
    'grpc.max_reconnect_backoff_ms': 5_000,
  });
}

// The secret of this program as metadata for each call. Read once: a rotated secret has an overlap to restart in.
export function credential(environment = process.env) {
  const metadata = new Metadata();
  const path = environment.POSTERN_CLIENT_SECRET_FILE;
  if (path) metadata.set('authorization', `Bearer ${readFileSync(path, 'utf8').trim()}`);
  return metadata;
}
// </region>
