"""Common passwords, from the very lists that people try: the table is what they give, and a server refuses them."""

import importlib.machinery
import importlib.util
import subprocess
import sys
import unittest

import grpc
from postern.admin.v1 import admin_pb2

from examples import REPOSITORY
from support import ServerCase

SCRIPT = REPOSITORY / "scripts" / "common-passwords"
FIRST = 3_000


def lists():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("common_passwords", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Table(unittest.TestCase):
    def test_it_is_what_the_lists_give(self):
        done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class Listed(ServerCase):
    def assert_refused(self, passwords):
        self.assertEqual(len(passwords), FIRST)
        caller = self.as_admin()
        user = self.create_user(caller, "kim")
        for password in passwords:
            set_password = admin_pb2.SetPasswordRequest(id=user, password=password)
            refused = self.refused(self.admin.SetPassword, set_password, metadata=caller)
            self.assertEqual(
                (refused.code, refused.reason, refused.info.metadata["rule"]),
                (grpc.StatusCode.INVALID_ARGUMENT, "PASSWORD_REFUSED", "common"),
            )


class ByDefault(Listed):
    def test_the_first_of_fifteen_characters(self):
        made = lists()
        self.assert_refused(made.qualifying(made.long_list(), 15)[:FIRST])


class AtTheFloor(Listed):
    SETTINGS = ("passwords.min_length=8",)

    def test_the_first_of_eight_characters(self):
        made = lists()
        self.assert_refused(made.qualifying(made.known_list(), 8)[:FIRST])
