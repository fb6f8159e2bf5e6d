"""People of other systems come over with the hashes that those systems made, and sign in with the passwords that they know."""

import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2_grpc

from examples import EXAMPLES
from hashes import MAKERS, crypt
from support import BINARY, Refused, Server, bearer, clean_environment, login_request

sys.dont_write_bytecode = True
sys.path.insert(0, str(EXAMPLES / "migrate-fastapi"))

from export import export  # noqa: E402
from old_shop import OldShop  # noqa: E402

KNOWN = "p\u00e4ssw\u00f6rd \uac00 of theirs"
CREATED, EXISTS, REFUSED = 1, 2, 3


class Imports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # What is tried here is nobody's attack.
        cls.server = Server("limits.caller.burst=10000")
        cls.addClassCleanup(cls.server.stop)
        channel = cls.server.channel()
        cls.auth = auth_pb2_grpc.AuthServiceStub(channel)
        cls.admin = admin_pb2_grpc.AdminServiceStub(channel)
        tokens = cls.auth.Login(login_request("admin", cls.server.admin_password)).sign_in.tokens
        cls.caller = bearer(tokens.access_token)

    def bring(self, rows):
        """Answers what became of each row."""
        answers = self.admin.ImportUsers(iter(rows), metadata=self.caller)
        return {answer.row: answer for answer in answers}

    def sign_in(self, name, password):
        return self.auth.Login(login_request(name, password)).HasField("sign_in")

    def refused(self, name, password):
        with self.assertRaises(grpc.RpcError) as caught:
            self.sign_in(name, password)
        return Refused(caught.exception).reason

    def test_every_maker(self):
        names = {f"maker{number}": maker for number, maker in enumerate(MAKERS)}
        rows = [
            admin_pb2.ImportUsersRequest(
                row=number,
                user=admin_pb2.User(user_name=name, external_id=name),
                password_hash=MAKERS[maker](KNOWN),
            )
            for number, (name, maker) in enumerate(names.items())
        ]
        answers = self.bring(rows)
        for number, (name, maker) in enumerate(names.items()):
            with self.subTest(maker):
                self.assertEqual((answers[number].outcome, answers[number].problem), (CREATED, ""))
                self.assertEqual(self.refused(name, KNOWN + "x"), "INVALID_CREDENTIALS")
                self.assertTrue(self.sign_in(name, KNOWN), "against their hash")
                self.assertTrue(self.sign_in(name, KNOWN), "against ours")
                self.assertEqual(self.refused(name, KNOWN + "x"), "INVALID_CREDENTIALS")

    def test_bcrypt_cut_passwords_off_and_nobody_does_any_more(self):
        long = "0123456789" * 8
        for number, prefix in enumerate(["$2y$05$", "$2a$05$"]):
            with self.subTest(prefix):
                name = f"long{number}"
                user = admin_pb2.User(user_name=name)
                row = admin_pb2.ImportUsersRequest(row=1, user=user, password_hash=crypt(prefix)(long))
                self.assertEqual(self.bring([row])[1].outcome, CREATED)
                self.assertTrue(self.sign_in(name, long))
                self.assertEqual(self.refused(name, long[:72]), "INVALID_CREDENTIALS")
                self.assertTrue(self.sign_in(name, long))

    def test_what_the_c_library_knows_besides_is_refused(self):
        for number, prefix in enumerate(["$2x$05$", "$1$", "$5$", "$6$", "$y$j9T$"]):
            with self.subTest(prefix):
                made = crypt(prefix)("anything")
                user = admin_pb2.User(user_name=f"other{number}")
                row = admin_pb2.ImportUsersRequest(row=1, user=user, password_hash=made)
                answer = self.bring([row])[1]
                self.assertEqual(answer.outcome, REFUSED)
                self.assertTrue(answer.problem.startswith("password_hash: "), answer.problem)
                self.assertNotIn(made[-8:], answer.problem)

    def test_out_of_fastapi_and_passlib(self):
        shop = OldShop("0" * 64)
        shop.sign_up("mira", 4711, "an old password")
        shop.sign_up("lee", 4712, "another old password")
        role = admin_pb2.Role(id="clerk", patterns=["orders:*"])
        self.admin.PutRole(admin_pb2.PutRoleRequest(role=role), metadata=self.caller)
        people = io.StringIO()
        export(shop, {"mira": ["clerk"]}, people)
        with tempfile.TemporaryDirectory(prefix="postern-import-") as folder:
            file = pathlib.Path(folder) / "people.jsonl"
            file.write_text(people.getvalue())
            environment = clean_environment(HOME=folder, XDG_STATE_HOME=folder, POSTERN_SERVER=f"http://{self.server.address}")
            run = lambda *words, typed="": subprocess.run(  # noqa: E731
                [BINARY, *words], input=typed, capture_output=True, text=True, env=environment, timeout=60
            )
            self.assertEqual(run("login", "admin", typed=self.server.admin_password + "\n").returncode, 0)
            done = run("admin", "import", str(file), "--json")
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertEqual(json.loads(done.stdout)["created"], 2)
        answer = self.auth.Login(login_request("mira", "an old password")).sign_in
        self.assertEqual(answer.principal.external_id, "4711")
        self.assertEqual(self.refused("lee", "an old password"), "INVALID_CREDENTIALS")


if __name__ == "__main__":
    unittest.main()
