"""Access tokens under another maker's JOSE library: it accepts ours, and what it forges is refused."""

import base64
import hashlib
import hmac
import json
import time
import unittest

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from postern.auth.v1 import auth_pb2, reason_pb2

from support import ServerCase

# The claims of a person's token. `tenant` and `external_id` are there only where they say something.
CLAIMS = {
    "iss", "sub", "aud", "exp", "iat", "jti", "client_id", "auth_time", "amr", "sid", "ver", "roles",
}  # fmt: skip


class AccessToken(ServerCase):
    def setUp(self):
        answer = self.auth.GetKeys(auth_pb2.GetKeysRequest())
        self.jwks = answer.jwks_json
        self.issuer = answer.issuer
        self.token = self.login().access_token
        self.header = jwt.get_unverified_header(self.token)
        self.claims = jwt.decode(self.token, options={"verify_signature": False})

    def test_another_library_verifies_it_with_the_published_keys(self):
        key = jwt.PyJWKSet.from_json(self.jwks)[self.header["kid"]]
        required = {"require": ["iss", "sub", "aud", "exp", "iat", "jti"]}
        claims = jwt.decode(
            self.token, key, algorithms=["EdDSA"], issuer=self.issuer, audience=self.issuer, options=required
        )
        self.assertEqual(claims, self.claims)

    def test_the_header_is_as_short_as_can_be(self):
        self.assertEqual(self.header, {"alg": "EdDSA", "typ": "at+jwt", "kid": self.header["kid"]})

    def test_a_key_is_named_by_its_thumbprint(self):
        for key in json.loads(self.jwks)["keys"]:
            # RFC 7638 section 3.2 and RFC 8037: the required members alone, sorted, without spaces.
            members = {name: key[name] for name in ("crv", "kty", "x")}
            canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
            self.assertEqual(key["kid"], encoded(hashlib.sha256(canonical).digest()))

    def test_the_claims_are_complete(self):
        self.assertEqual(self.claims.keys(), CLAIMS)
        whoami = self.verify(self.token).principal
        self.assertEqual(self.claims["sub"], whoami.id)
        self.assertEqual(self.claims["sid"], whoami.session_id)
        self.assertEqual(self.claims["client_id"], "dev")
        self.assertEqual(self.claims["amr"], ["pwd"])
        self.assertEqual(self.claims["roles"], {"": ["postern.admin"]})
        self.assertEqual(self.claims["exp"] - self.claims["iat"], 30 * 60)
        self.assertEqual(self.claims["exp"], whoami.expire_time.seconds)
        self.assertEqual(self.claims["auth_time"], whoami.auth_time.seconds)
        self.assertLess(abs(self.claims["iat"] - time.time()), 60)

    def test_two_tokens_are_never_the_same(self):
        other = jwt.decode(self.login().access_token, options={"verify_signature": False})
        self.assertNotEqual(other["jti"], self.claims["jti"])

    def test_what_others_sign_is_refused(self):
        for name, token in self.forgeries().items():
            with self.subTest(name):
                verdict = self.verify(token)
                self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_INVALID)
        # None of it did the good one any harm.
        self.assertEqual(self.verify(self.token).decision, auth_pb2.DECISION_ALLOW)

    def forgeries(self):
        kid, claims = self.header["kid"], self.claims
        mine, curve = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
        head, body, signature = self.token.split(".")
        public = decoded(json.loads(self.jwks)["keys"][0]["x"])
        my_jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(mine.public_key()))

        def signed(claims, key, algorithm, **header):
            return jwt.encode(claims, key, algorithm, {"typ": "at+jwt", "kid": kid, **header})

        return {
            "another's key under our name": signed(claims, mine, "EdDSA"),
            "another's key under its own name": signed(claims, mine, "EdDSA", kid="mine"),
            "a key that the header brings along": signed(claims, mine, "EdDSA", jwk=my_jwk),
            "a key that the header links to": signed(claims, mine, "EdDSA", jku="https://evil.example/jwks"),
            "another algorithm": signed(claims, curve, "ES256"),
            "no algorithm": signed(claims, None, "none"),
            # RFC 8725, section 2.1: the public key taken for a shared secret.
            "the public key as a secret": with_hmac(head, body, public),
            "the key set as a secret": with_hmac(head, body, self.jwks.encode()),
            "no signature": f"{head}.{body}.",
            "two parts": f"{head}.{body}",
            "another's signature": f"{head}.{body}.{signed(claims, mine, 'EdDSA').split('.')[2]}",
            "more roles": f"{head}.{part(claims | {'roles': {'': ['postern.admin', 'root']}})}.{signature}",
            "a longer life": f"{head}.{part(claims | {'exp': claims['exp'] + 60})}.{signature}",
            "another type": f"{part(self.header | {'typ': 'JWT'})}.{body}.{signature}",
            "an extension that must be understood": f"{part(self.header | {'crit': ['b64']})}.{body}.{signature}",
            "another spelling": f"{head}.{body}.{respelled(signature)}",
            "padding": f"{head}.{body}.{signature}==",
            "a scheme before it": f"Bearer {self.token}",
            "nothing": "..",
        }


def with_hmac(head, body, secret):
    """Signed by hand: the library refuses to misuse a key so."""
    header = json.loads(decoded(head)) | {"alg": "HS256"}
    signed = f"{part(header)}.{body}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


def respelled(signature):
    """The same bytes: 64 of them leave four bits of the last character unused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) ^ 1]
    assert decoded(signature[:-1] + last) == decoded(signature)
    return signature[:-1] + last


def part(content):
    return encoded(json.dumps(content, separators=(",", ":")).encode())


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    unittest.main()
