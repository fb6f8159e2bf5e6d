"""The programs in `examples/`, started as their READMEs say, and a shop with people who may more and less in it."""

import json
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

import grpc
from orders.v1 import orders_pb2, orders_pb2_grpc
from postern.admin.v1 import admin_pb2

from support import BINARY, NO_PROXY, PASSWORD, PATIENCE_SECONDS, bearer, clean_environment, in_tenant

REPOSITORY = pathlib.Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"

BACKENDS = {
    "rust": [str(pathlib.Path(BINARY).with_name("orders-backend"))],
    "python": [sys.executable, str(EXAMPLES / "python" / "server.py")],
    "node": ["node", str(EXAMPLES / "node" / "server.js")],
}

SHOP = "acme"


def environment_for(server, **more):
    # gRPC of every make would else ask the proxy of whoever runs the tests for 127.0.0.1.
    return clean_environment(POSTERN_SERVER=server.address, no_proxy="127.0.0.1", **more)


class Program:
    """An example, running, from when it says where it listens."""

    def __init__(self, command, server, **environment):
        self._folder = tempfile.TemporaryDirectory(prefix="postern-example-")
        self._log = pathlib.Path(self._folder.name) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment_for(server, **environment),
            )
        self._said = []
        lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(lines,))
        self._reader.start()
        try:
            first = lines.get(timeout=PATIENCE_SECONDS)
            assert first is not None, f"{command} ended: {self._log.read_text()}"
            self.address = first.split()[-1]
        except BaseException:
            self.stop()
            raise

    def _read(self, lines):
        for line in self._process.stdout:
            self._said.append(line)
            lines.put(line)
        lines.put(None)

    @property
    def said(self):
        """All that it has written anywhere."""
        return "".join(self._said) + self._log.read_text()

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        said = self.said
        self._folder.cleanup()
        # Tokens, secrets and passwords belong in no log, least of all when something failed.
        for secret in ("eyJ", "ptr_", "pcs_", PASSWORD):
            assert secret not in said, said


def start_backend(kind, server, **environment):
    return Program(BACKENDS[kind], server, ORDERS_LISTEN="127.0.0.1:0", **environment)


# On a busy machine half a second may pass without a verdict: that is no verdict, so ask again.
PATIENT = json.dumps({
    "methodConfig": [{
        "name": [{"service": "orders.v1.OrderService"}],
        "retryPolicy": {
            "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }]
})  # fmt: skip


def orders_at(address, is_patient=True):
    patience = [("grpc.service_config", PATIENT)] if is_patient else []
    channel = grpc.insecure_channel(address, options=[*NO_PROXY, *patience])
    return channel, orders_pb2_grpc.OrderServiceStub(channel)


def people(case):
    """Makes kim, who may read and refund in the shop, and lee, who may only read there."""
    admin = case.as_admin()
    ids = {}
    for name, patterns in {"kim": ["orders:read", "orders:refund"], "lee": ["orders:read"]}.items():
        ids[name] = case.create_user(admin, name)
        role = admin_pb2.Role(id=f"{name}-s-role", patterns=patterns)
        case.admin.PutRole(admin_pb2.PutRoleRequest(role=role), metadata=admin)
        binding = admin_pb2.Binding(principal_id=ids[name], role=role.id, scope=in_tenant(SHOP))
        case.admin.GrantRole(admin_pb2.GrantRoleRequest(binding=binding), metadata=admin)
    return ids


class Stopped:
    """A server that is there and does not answer, for as long as the block lasts."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        self._server.interrupt(signal.SIGSTOP)

    def __exit__(self, *_error):
        self._server.interrupt(signal.SIGCONT)


def in_shop(token, tenant=SHOP):
    return [*bearer(token), ("x-tenant", tenant)]


def run(command, server, typed="", **environment):
    """A program that ends by itself: exit code, and what it wrote."""
    done = subprocess.run(
        command,
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS * 2,
        env=environment_for(server, **environment),
    )
    return done.returncode, done.stdout
