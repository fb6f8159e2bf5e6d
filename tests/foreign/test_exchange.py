"""An application with python-jose hands its people over: each token that it signed opens one session, until a day that was set."""

import base64
import datetime
import json
import pathlib
import sys
import tempfile
import unittest

import grpc
from jose import jwt
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from examples import EXAMPLES
from support import PATIENCE_SECONDS, Refused, Server, bearer, login_request

sys.dont_write_bytecode = True
sys.path.insert(0, str(EXAMPLES / "migrate-fastapi"))

import front  # noqa: E402
from old_shop import OldShop  # noqa: E402

# As `openssl rand -hex 32` made it for the tutorial.
SECRET = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"
ROLE = "migration"


def at(**later):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**later)).isoformat()


class Handover(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="postern-exchange-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.secret_file = self.folder / "old-shop"
        self.secret_file.write_text(SECRET + "\n")
        self.secret_file.chmod(0o600)
        self.shop = OldShop(SECRET)
        self.shop.sign_up("kim", 4711, "an old password")

    def start(self, until):
        """A server that believes the old shop, which knows kim, with the credential of the front."""
        settings = f"""
[[trusted_issuers]]
name = "old-shop"
secret = {{ file = "{self.secret_file}" }}
clients = ["shop"]
until = "{until}"
"""
        self.server = Server(file=settings, data=self.folder / "data")
        self.addCleanup(self.server.stop)
        channel = self.server.channel()
        self.auth = auth_pb2_grpc.AuthServiceStub(channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)

    def prepare(self):
        tokens = self.auth.Login(login_request("admin", self.server.admin_password)).sign_in.tokens
        caller = bearer(tokens.access_token)
        kim = admin_pb2.User(external_id="4711", user_name="kim")
        self.kim = self.admin.CreateUser(admin_pb2.CreateUserRequest(user=kim), metadata=caller).user.id
        role = admin_pb2.Role(id=ROLE, patterns=["postern:auth:exchange", "postern:auth:refresh"])
        self.admin.PutRole(admin_pb2.PutRoleRequest(role=role), metadata=caller)
        client = admin_pb2.Client(id="shop", audience="shop", token_audiences=["shop"])
        request = admin_pb2.CreateClientRequest(client=client, with_secret=True)
        self.credential = bearer(self.admin.CreateClient(request, metadata=caller).secret)
        binding = admin_pb2.Binding(principal_id="shop", role=ROLE, scope=admin_pb2.Scope(everywhere=True))
        self.admin.GrantRole(admin_pb2.GrantRoleRequest(binding=binding), metadata=caller)

    def trade_in(self, token):
        return front.trade_in(self.auth, self.credential, token)

    def test_people_come_over_once(self):
        self.start(until=at(days=30))
        self.prepare()
        token = self.shop.sign_in("kim", "an old password")
        self.assertEqual(self.shop.person(token), "4711")
        tokens = self.trade_in(token)
        self.assertTrue(tokens.refresh_token.startswith("ptr_"))
        refresh = auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token)
        principal = self.auth.Refresh(refresh, timeout=PATIENCE_SECONDS, metadata=self.credential).principal
        self.assertEqual((principal.id, principal.external_id), (self.kim, "4711"))
        self.assertIsNone(self.trade_in(token), "a second time")

    def test_what_it_has_not_signed_opens_nothing(self):
        self.start(until=at(days=30))
        self.prepare()
        token = self.shop.token(4711)
        header, payload, signature = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "1"}).encode()).decode().rstrip("=")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        for name, bad in {
            "another person": f"{header}.{other}.{signature}",
            "no signature": f"{none}.{payload}.",
            "another secret": OldShop("0" * 64).token(4711),
            "another algorithm": jwt.encode(claims, SECRET, algorithm="HS512"),
            "expired": self.shop.token(4711, datetime.timedelta(minutes=-5)),
            "good for a year": self.shop.token(4711, datetime.timedelta(days=365)),
            "nobody's": self.shop.token(4712),
        }.items():
            with self.subTest(name):
                self.assertIsNone(self.trade_in(bad))
        # A program that may not is told so, and keeps the cookie.
        with self.assertRaises(grpc.RpcError) as caught:
            front.trade_in(self.auth, [], token)
        self.assertEqual(Refused(caught.exception).reason, "CLIENT_NOT_ALLOWED")
        self.assertIsNotNone(self.trade_in(token))

    def test_after_the_day_it_is_over(self):
        self.start(until=at(days=-1))
        self.prepare()
        self.assertIsNone(self.trade_in(self.shop.token(4711)))


if __name__ == "__main__":
    unittest.main()
