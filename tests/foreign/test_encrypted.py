"""A server with TLS and clients that prove themselves, under callers of other makes: by secret, by certificate, or not."""

import datetime
import ipaddress
import json
import pathlib
import secrets
import tempfile
import unittest

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from orders.v1 import orders_pb2
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from examples import EXAMPLES, SHOP, Program, in_shop, orders_at, people, start_backend
from support import NO_PROXY, PASSWORD, Server, ServerCase, login_request
from test_example_bff import ACCESS, ORIGIN, Browser

LIST = orders_pb2.ListOrdersRequest()
REFUND = orders_pb2.RefundOrderRequest(order_id="acme-1")
SPIFFE = "spiffe://shop/sa/orders"


class Authority:
    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._sign(self._name, self._key.public_key(), (constraints, True))

    def _sign(self, subject, public_key, *extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self._key, hashes.SHA256())

    def leaf(self, usage, *names):
        """A key and its certificate, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            x509.Name([]),
            key.public_key(),
            (x509.SubjectAlternativeName(names), True),
            (x509.ExtendedKeyUsage([usage]), False),
        )
        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), certificate.public_bytes(pem)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)


class EncryptedServer(Server):
    def __init__(self, *settings):
        self._files = tempfile.TemporaryDirectory(prefix="postern-tls-")
        self.folder = pathlib.Path(self._files.name)
        self.authority = Authority()
        names = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        key, certificate = self.authority.leaf(x509.ExtendedKeyUsageOID.SERVER_AUTH, *names)
        tls = [
            f"tls.certificate={self.file('server.crt', certificate)}",
            f"tls.key={self.file('server.key', key)}",
            f"tls.client_ca={self.file('ca.crt', self.authority.pem)}",
        ]
        super().__init__(*tls, *settings)

    def file(self, name, content):
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(content)
        return path

    def channel(self, *options, proof=(None, None)):
        credentials = grpc.ssl_channel_credentials(self.authority.pem, *proof)
        channel = grpc.secure_channel(self.address, credentials, options=[*NO_PROXY, *options])
        self._channels.append(channel)
        return channel

    def stop(self):
        super().stop()
        self._files.cleanup()


class Encrypted(ServerCase):
    """Three kinds of callers that their READMEs tell how to prove themselves."""

    @classmethod
    def setUpClass(cls):
        cls.server = EncryptedServer()
        cls.addClassCleanup(cls.server.stop)
        cls.channel = cls.server.channel()
        cls.auth = auth_pb2_grpc.AuthServiceStub(cls.channel)
        cls.admin = admin_pb2_grpc.AdminServiceStub(cls.channel)
        case = cls()
        people(case)
        cls.backend_secret = case.client("orders", "postern.backend", SPIFFE)
        cls.front_secret = case.client("web", "postern.front")

    def client(self, client_id, role, *names):
        """The secret of a new client, as a file."""
        issuer, admin = self.server.issuer, self.as_admin()
        client = admin_pb2.Client(id=client_id, audience=issuer, token_audiences=[issuer], mtls_sans=names)
        request = admin_pb2.CreateClientRequest(client=client, with_secret=True)
        secret = self.admin.CreateClient(request, metadata=admin).secret
        binding = admin_pb2.Binding(principal_id=client_id, role=role, scope=admin_pb2.Scope(everywhere=True))
        self.admin.GrantRole(admin_pb2.GrantRoleRequest(binding=binding), metadata=admin)
        return self.server.file(f"{client_id}.secret", secret.encode())

    def wrong_secret(self):
        """Of no client, and of the right form."""
        return self.server.file("wrong.secret", f"pcs_{secrets.token_urlsafe(32)}".encode())

    def environment(self, secret):
        return {"POSTERN_CA": str(self.server.folder / "ca.crt"), "POSTERN_CLIENT_SECRET_FILE": str(secret)}

    def backend(self, kind, secret):
        backend = start_backend(kind, self.server, **self.environment(secret))
        self.addCleanup(backend.stop)
        channel, orders = orders_at(backend.address)
        self.addCleanup(channel.close)
        return backend, orders

    def test_the_example_backends_prove_themselves_by_secret(self):
        kim, lee = (self.login(name, PASSWORD).access_token for name in ("kim", "lee"))
        for kind in ("rust", "python", "node"):
            with self.subTest(kind):
                _, orders = self.backend(kind, self.backend_secret)
                self.assertEqual(len(orders.ListOrders(LIST, metadata=in_shop(kim)).order_ids), 2)
                orders.RefundOrder(REFUND, metadata=in_shop(kim))
                refused = self.refused(orders.RefundOrder, REFUND, metadata=in_shop(lee))
                self.assertEqual(refused.code, grpc.StatusCode.PERMISSION_DENIED)

    def test_a_backend_that_proves_nobody_lets_nobody_in_and_blames_nobody(self):
        kim = self.login("kim", PASSWORD).access_token
        wrong = self.wrong_secret()
        for kind in ("rust", "python", "node"):
            with self.subTest(kind):
                backend, _ = self.backend(kind, wrong)
                channel, orders = orders_at(backend.address, is_patient=False)
                self.addCleanup(channel.close)
                refused = self.refused(orders.ListOrders, LIST, metadata=in_shop(kim))
                # The backend's own trouble: never a word that sends kim to the sign-in or denies what kim may do.
                self.assertIn(refused.code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL))

    def browser(self, secret):
        """Of the example for browsers, which proves itself so; the backend behind it is always the right one."""
        backend, _ = self.backend("node", self.backend_secret)
        bff = Program(
            ["node", str(EXAMPLES / "bff" / "server.js")],
            self.server,
            BFF_LISTEN="127.0.0.1:0",
            BFF_ORIGIN=ORIGIN,
            ORDERS_SERVER=backend.address,
            **self.environment(secret),
        )
        self.addCleanup(bff.stop)
        return Browser(bff.address)

    def test_the_example_for_browsers_signs_in_as_its_own_client(self):
        browser = self.browser(self.front_secret)
        self.assertEqual(browser.login("kim")[0], 204)
        token = jwt.decode(browser.cookies[ACCESS], options={"verify_signature": False})
        self.assertEqual(token["client_id"], "web")
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[1]["may"], ["orders:read", "orders:refund"])
        refund = {"shop": SHOP, "order": "acme-1"}
        self.assertEqual(browser.post("/api/refunds", refund)[0], 200)
        self.assertEqual(browser.login("lee")[0], 204)
        status, _, sent = browser.post("/api/refunds", refund)
        self.assertEqual((status, sent), (403, []))

    def test_a_front_that_proves_nobody_signs_nobody_in_and_nobody_out(self):
        right, wrong = self.browser(self.front_secret), self.browser(self.wrong_secret())
        status, _, sent = wrong.login("kim", away=True)
        self.assertEqual((status, sent), (503, []))
        # Who was signed in before is not blamed for it, whether there is a token to verify or one to renew.
        self.assertEqual(right.login("kim")[0], 204)
        wrong.cookies = dict(right.cookies)
        self.assertEqual(wrong.get("/me", away=True)[::2], (503, []))
        del wrong.cookies[ACCESS]
        self.assertEqual(wrong.get(f"/api/orders?shop={SHOP}", away=True)[::2], (503, []))
        self.assertEqual(right.get("/me")[0], 200)

    def test_a_certificate_proves_a_client_to_grpcio(self):
        kim = self.login("kim", PASSWORD).access_token
        names = [x509.UniformResourceIdentifier(SPIFFE)]
        proof = self.server.authority.leaf(x509.ExtendedKeyUsageOID.CLIENT_AUTH, *names)
        orders = auth_pb2_grpc.AuthServiceStub(self.server.channel(proof=proof))
        verdict = orders.Verify(auth_pb2.VerifyRequest(access_token=kim))
        self.assertEqual(verdict.decision, auth_pb2.DECISION_ALLOW)
        # It is a backend, and no more.
        refused = self.refused(orders.Login, login_request("kim", PASSWORD))
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.PERMISSION_DENIED, "CLIENT_NOT_ALLOWED"))

        unknown = self.server.authority.leaf(x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.DNSName("stranger"))
        stranger = auth_pb2_grpc.AuthServiceStub(self.server.channel(proof=unknown))
        refused = self.refused(stranger.Verify, auth_pb2.VerifyRequest(access_token=kim))
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.PERMISSION_DENIED, "CLIENT_UNAUTHENTICATED"))


class Es256(ServerCase):
    """For callers whose library knows no EdDSA."""

    SETTINGS = ("keys.algorithm=ES256",)

    def test_another_library_verifies_it_with_the_published_keys(self):
        keys = self.auth.GetKeys(auth_pb2.GetKeysRequest())
        token = self.login().access_token
        header = jwt.get_unverified_header(token)
        self.assertEqual(header, {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]})
        key = jwt.PyJWKSet.from_json(keys.jwks_json)[header["kid"]]
        claims = jwt.decode(token, key, algorithms=["ES256"], issuer=keys.issuer, audience=keys.issuer)
        self.assertEqual(claims["sub"], self.verify(token).principal.id)
        self.assertEqual({jwk["alg"] for jwk in json.loads(keys.jwks_json)["keys"]}, {"ES256"})


class Hs256(ServerCase):
    """For a closed system: what it signs with is nobody else's to see."""

    SETTINGS = ("keys.algorithm=HS256",)

    def test_the_key_is_not_published(self):
        token = self.login().access_token
        self.assertEqual(jwt.get_unverified_header(token)["alg"], "HS256")
        self.assertEqual(self.verify(token).decision, auth_pb2.DECISION_ALLOW)
        self.assertEqual(json.loads(self.auth.GetKeys(auth_pb2.GetKeysRequest()).jwks_json), {"keys": []})


if __name__ == "__main__":
    unittest.main()
