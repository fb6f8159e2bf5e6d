// A certified OpenID provider on loopback. Says on standard output where it is, and takes its orders as lines of JSON on
// standard input, each answered with a line; ends with its input. Whoever types any name and any password is signed in; see
// `claimsOf` for what it vouches for.
//
//   {"register": ["http://…/callback/sso"]}   the redirect URIs of its one client
//   {"rotate": true}                          from now on it signs with another key, and publishes no older one
//   {"count": "/token"}                       how often a path was asked for
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { Provider } from "oidc-provider";

const CLIENT = { client_id: "postern", client_secret: "a secret that only this test has" };

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
// To a browser another site than 127.0.0.1, where the gateway is.
const issuer = `http://localhost:${server.address().port}`;

const asked = new Map();
let redirectUris = [];
let generation = 0;
let key;
let answer;

function claimsOf(name) {
  const email = `${name}@example.test`;
  return {
    sub: name,
    name: `${name[0].toUpperCase()}${name.slice(1)}`,
    ...(name.startsWith("nomail-") ? {} : { email, email_verified: !name.startsWith("unverified-") }),
  };
}

function makeKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  key = { ...privateKey.export({ format: "jwk" }), kid: `key-${++generation}`, alg: "RS256", use: "sig" };
}

/** Another one in the place of the one before: same issuer, and nothing remembered. */
function begin() {
  const provider = new Provider(issuer, {
    clients: redirectUris.length ? [{ ...CLIENT, redirect_uris: redirectUris, grant_types: ["authorization_code"] }] : [],
    findAccount: (_context, name) => ({ accountId: name, claims: () => claimsOf(name) }),
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    // In the id_token too, as the large providers have it.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    cookies: { keys: ["of this test alone"] },
    jwks: { keys: [key] },
    ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, Interaction: 600, Session: 600, Grant: 600 },
  });
  provider.on("server_error", (_context, error) => console.error(error));
  provider.on("grant.error", (_context, error) => console.error(error.message, error.error_detail ?? ""));
  answer = provider.callback();
  return key.kid;
}

const orders = {
  register(uris) {
    redirectUris = uris;
    return { key: begin() };
  },
  rotate() {
    makeKey();
    return { key: begin() };
  },
  count: (path) => ({ count: asked.get(path) ?? 0 }),
};

makeKey();
begin();
server.on("request", (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  asked.set(pathname, (asked.get(pathname) ?? 0) + 1);
  answer(request, response);
});
console.log(JSON.stringify({ issuer, ...CLIENT }));

for await (const line of createInterface({ input: process.stdin })) {
  const [[order, argument]] = Object.entries(JSON.parse(line));
  console.log(JSON.stringify(orders[order](argument)));
}
process.exit();
