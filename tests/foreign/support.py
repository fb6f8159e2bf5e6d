"""A server of the tests' own, started as an operator starts it, and how a client of another make sees its answers."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
from google.rpc import error_details_pb2, status_pb2
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

BINARY = os.environ["POSTERN_BIN"]

# For a busy machine; nothing here takes long by itself.
PATIENCE_SECONDS = 30

# A password that every rule accepts.
PASSWORD = "correct horse battery"

# Whoever runs the tests may have a proxy for other things.
NO_PROXY = [("grpc.enable_http_proxy", 0)]


def clean_environment(**more):
    """Without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTERN")}
    return kept | more


class Server:
    """A process of the binary on a data directory, with ports that the system chose."""

    def __init__(self, *settings, data=None, file="", environment=None):
        self._folder = tempfile.TemporaryDirectory(prefix="postern-foreign-")
        self.data = data or pathlib.Path(self._folder.name) / "data"
        self.log = pathlib.Path(self._folder.name) / "log"
        self.facts = {}
        # Where it is looked for if nobody names one.
        (pathlib.Path(self._folder.name) / "postern.toml").write_text(file)
        command = [BINARY, "--data", str(self.data)]
        for listener in ("grpc", "operations", "gateway"):
            command += [f"--listen.{listener}", "127.0.0.1:0"]
        for setting in settings:
            command += ["--set", setting]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._folder.name,
                env=clean_environment(**(environment or {})),
            )
        try:
            self._await_facts()
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._folder.cleanup()
            raise
        self._channels = []

    def _await_facts(self):
        # A server that says nothing is ended, which ends its output too.
        impatience = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        impatience.start()
        try:
            for line in self._process.stdout:
                fact = json.loads(line)
                self.facts[fact.pop("fact")] = fact
                if "ready" in self.facts:
                    return
        finally:
            impatience.cancel()
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    @property
    def address(self):
        return self.facts["grpc"]["address"]

    @property
    def issuer(self):
        return self.facts["issuer"]["url"]

    @property
    def admin_password(self):
        return pathlib.Path(self.facts["administrator"]["password_file"]).read_text().strip()

    def channel(self, *options):
        channel = grpc.insecure_channel(self.address, options=[*NO_PROXY, *options])
        self._channels.append(channel)
        return channel

    def log_lines(self):
        # The last line may be half written.
        complete = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def interrupt(self, by=signal.SIGTERM):
        self._process.send_signal(by)

    def wait(self):
        """The exit code."""
        return self._process.wait(PATIENCE_SECONDS)

    def stop(self):
        """Asks the server to end, and fails unless it does so by itself and with success."""
        for channel in self._channels:
            channel.close()
        try:
            if self._process.poll() is None:
                self.interrupt()
            code = self.wait()
            rest = self._process.stdout.read()
            assert code == 0, f"the server ended with {code}:\n{self.log.read_text()}"
            assert rest == b"", f"the server said more than its facts: {rest}"
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._folder.cleanup()


class Refused:
    """A status as it came over the wire."""

    def __init__(self, error):
        trailers = error.trailing_metadata() or ()
        self.code = error.code()
        self.message = error.details()
        self.metadata = dict(trailers)
        self.raw = self.metadata.get("grpc-status-details-bin", b"")
        status = status_pb2.Status.FromString(self.raw)
        # The details repeat code and message; a client may read either.
        self.repeated = (status.code, status.message)
        self._details = status.details

    def detail(self, kind):
        """The detail of a kind; nothing if there is none."""
        for detail in self._details:
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                return message
        return None

    @property
    def info(self):
        return self.detail(error_details_pb2.ErrorInfo)

    @property
    def reason(self):
        return self.info.reason if self.info else None

    @property
    def fields(self):
        bad_request = self.detail(error_details_pb2.BadRequest)
        return [violation.field for violation in bad_request.field_violations] if bad_request else []


class ServerCase(unittest.TestCase):
    """Tests of a running server. The classes of a module share one, save those that need it for themselves."""

    OWN_SERVER = False
    SETTINGS = ()

    _shared = {}

    @classmethod
    def setUpClass(cls):
        if cls.OWN_SERVER or cls.SETTINGS:
            cls.server = Server(*cls.SETTINGS)
            cls.addClassCleanup(cls.server.stop)
        else:
            if cls.__module__ not in cls._shared:
                cls._shared[cls.__module__] = Server()
                unittest.addModuleCleanup(cls._shared[cls.__module__].stop)
            cls.server = cls._shared[cls.__module__]
        cls.channel = cls.server.channel()
        cls.auth = auth_pb2_grpc.AuthServiceStub(cls.channel)
        cls.admin = admin_pb2_grpc.AdminServiceStub(cls.channel)

    def refused(self, call, request, **options):
        """How a call was refused; it fails the test that it was not."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(request, timeout=PATIENCE_SECONDS, **options)
        return Refused(caught.exception)

    def login(self, identifier="admin", password=None, **more):
        """The tokens of a new sign-in."""
        answer = self.auth.Login(login_request(identifier, password or self.server.admin_password, **more))
        self.assertEqual(answer.WhichOneof("outcome"), "sign_in")
        return answer.sign_in.tokens

    def refresh(self, refresh_token):
        return self.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=refresh_token))

    def verify(self, access_token, *require, **more):
        return self.auth.Verify(auth_pb2.VerifyRequest(access_token=access_token, require=require, **more))

    def assertUnauthenticated(self, verdict, reason):
        self.assertEqual(auth_pb2.Decision.Name(verdict.decision), "DECISION_UNAUTHENTICATED")
        self.assertEqual(verdict.refusal.reason, reason)
        self.assertEqual(verdict.refusal.code, grpc.StatusCode.UNAUTHENTICATED.value[0])
        # Whoever shows a token that is no good learns nothing of whom it is.
        self.assertFalse(verdict.HasField("principal"))
        self.assertEqual(len(verdict.verdicts), 0)

    def as_admin(self):
        """The metadata of a call by the administrator."""
        return bearer(self.login().access_token)

    def create_user(self, admin, user_name, **more):
        """The id of a new user with PASSWORD."""
        user = admin_pb2.User(user_name=user_name, **more)
        request = admin_pb2.CreateUserRequest(user=user, password=PASSWORD)
        return self.admin.CreateUser(request, metadata=admin).user.id


def login_request(identifier, password, **more):
    credential = auth_pb2.PasswordCredential(identifier=identifier, password=password)
    return auth_pb2.LoginRequest(password=credential, **more)


def check(permission, tenant=""):
    return auth_pb2.Check(permission=permission, tenant=tenant)


def bearer(access_token):
    return [("authorization", f"Bearer {access_token}")]


def in_tenant(tenant):
    return admin_pb2.Scope(tenant=tenant)


def eventually(found):
    """What `found` finds, as soon as it does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")
