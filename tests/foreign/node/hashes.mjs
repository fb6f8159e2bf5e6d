// Password hashes as programs on Node make them, by the packages that they use: `node hashes.mjs PASSWORD` prints one of each.

import crypto from 'node:crypto';

import argon2 from 'argon2';
import bcrypt from 'bcrypt';
import bcryptjs from 'bcryptjs';
import firebase from 'firebase-scrypt';

const password = process.argv[2];
const signerKey = Buffer.from(Array.from({ length: 64 }, (_, number) => number)).toString('base64');
const saltSeparator = 'Bw==';
const salt = crypto.randomBytes(8).toString('base64');
const scrypt = new firebase.FirebaseScrypt({ memCost: 14, rounds: 8, saltSeparator, signerKey });

console.log(JSON.stringify({
  'npm bcrypt': await bcrypt.hash(password, 5),
  'npm bcrypt 2a': await bcrypt.hash(password, await bcrypt.genSalt(5, 'a')),
  'npm bcryptjs': await bcryptjs.hash(password, 5),
  'npm argon2': await argon2.hash(password, { memoryCost: 1024, timeCost: 2, parallelism: 1 }),
  'npm argon2i': await argon2.hash(password, { type: argon2.argon2i, memoryCost: 1024, timeCost: 2, parallelism: 1 }),
  'npm firebase-scrypt':
    `$firebase-scrypt$ln=14,r=8,ss=${saltSeparator},sk=${signerKey}$${salt}$${await scrypt.hash(password, salt)}`,
}));
