"""`proto/service-config.json`, which clients take as it is, in two makes of gRPC: that they read it, what it repeats and
what never, who is obeyed, and what happens to calls while a server goes away.

Health checking by the client is in grpcio and not in grpc-js 1.14, which ignores that part: it learns of a server's end when
the connection closes, and loses no call by it.
"""

import base64
import concurrent.futures
import json
import struct
import subprocess
import time
import unittest

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from postern.account.v1 import account_pb2
from postern.admin.v1 import admin_pb2
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from examples import REPOSITORY
from support import NO_PROXY, PATIENCE_SECONDS, Server, ServerCase, clean_environment, eventually, login_request

AUTH_SERVICE = "postern.auth.v1.AuthService"
CONFIG = (REPOSITORY / "proto" / "service-config.json").read_text()
SERVICES = {
    service.full_name: service
    for service in (
        auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
        account_pb2.DESCRIPTOR.services_by_name["AccountService"],
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
    )
}


def options(config):
    return [("grpc.service_config", config), ("grpc.enable_retries", 1)]


class Names(unittest.TestCase):
    def test_they_are_in_the_contract(self):
        config = json.loads(CONFIG)
        self.assertIn(config["healthCheckConfig"]["serviceName"], SERVICES)
        whole = set()
        for name in (name for method in config["methodConfig"] for name in method["name"]):
            service = SERVICES[name["service"]]
            if "method" in name:
                self.assertIn(name["method"], service.methods_by_name)
            else:
                whole.add(service.full_name)
        # What is added to the contract later has a deadline without anybody thinking of it.
        self.assertEqual(whole, set(SERVICES))


class Accepted(ServerCase):
    def test_calls_work_through_it(self):
        auth = auth_pb2_grpc.AuthServiceStub(self.server.channel(*options(CONFIG)))
        tokens = auth.Login(login_request("admin", self.server.admin_password)).sign_in.tokens
        tokens = auth.Refresh(auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token)).tokens
        answer = auth.Verify(auth_pb2.VerifyRequest(access_token=tokens.access_token))
        self.assertEqual(answer.decision, auth_pb2.DECISION_ALLOW)

    def test_grpc_reads_it_and_does_not_just_ignore_it(self):
        broken = CONFIG.replace('"maxAttempts": 3', '"maxAttempts": "three"')
        self.assertNotEqual(broken, CONFIG)
        auth = auth_pb2_grpc.AuthServiceStub(self.server.channel(*options(broken)))
        with self.assertRaises(grpc.RpcError) as caught:
            auth.GetKeys(auth_pb2.GetKeysRequest(), timeout=PATIENCE_SECONDS)
        self.assertIn("maxAttempts", caught.exception.details())


class Grpcio:
    """A client with the service config, in gRPC's C core."""

    def __init__(self, *addresses):
        # Of several addresses gRPC would make an authority that is none. Behind one name, as people have it, there is one.
        authority = ("grpc.default_authority", "postern")
        self._channel = grpc.insecure_channel(f"ipv4:{','.join(addresses)}", [*NO_PROXY, authority, *options(CONFIG)])
        self._auth = auth_pb2_grpc.AuthServiceStub(self._channel)

    def call(self, method, message, **metadata):
        """The code and the answer."""
        described = auth_pb2.DESCRIPTOR.services_by_name["AuthService"].methods_by_name[method]
        request = json_format.ParseDict(message, getattr(auth_pb2, described.input_type.name)())
        try:
            reply = getattr(self._auth, method)(request, timeout=PATIENCE_SECONDS, metadata=list(metadata.items()))
        except grpc.RpcError as error:
            return error.code().value[0], None
        return 0, json_format.MessageToDict(reply, preserving_proto_field_name=True)

    def close(self):
        self._channel.close()


class GrpcJs:
    """The same in Node, through the channel of the example."""

    def __init__(self, *addresses):
        self._process = subprocess.Popen(
            ["node", str(REPOSITORY / "tests" / "foreign" / "call.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(POSTERN_SERVER=f"ipv4:{','.join(addresses)}", no_proxy="127.0.0.1"),
        )

    def call(self, method, message, **metadata):
        asked = {"method": method, "message": message, "metadata": metadata, "seconds": PATIENCE_SECONDS}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer.get("reply")

    def close(self):
        with self._process:
            self._process.stdin.close()


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
LOGIN = {"password": {"identifier": "admin", "password": "x"}}


class Repeats:
    """What a client does by this configuration when a server says UNAVAILABLE."""

    def setUp(self):
        self.attempts = []
        self.pushback = None
        address, _ = start(self, Away(self))
        self.client = self.CLIENT(address)
        self.addCleanup(self.client.close)

    def attempts_of(self, method, message):
        self.attempts.clear()
        self.assertEqual(self.client.call(method, message)[0], UNAVAILABLE)
        self.assertEqual(set(self.attempts), {f"/{AUTH_SERVICE}/{method}"})
        return len(self.attempts)

    def test_what_may_be_repeated_is_and_a_sign_in_is_not(self):
        for method in ("Verify", "BatchVerify", "GetKeys", "Refresh", "ListSessions", "Revoke"):
            with self.subTest(method):
                self.assertEqual(self.attempts_of(method, {}), 3)
        # It may have opened a session before its answer was lost.
        self.assertEqual(self.attempts_of("Login", LOGIN), 1)

    def test_a_server_that_pushes_back_is_obeyed(self):
        self.pushback = "-1"
        self.assertEqual(self.attempts_of("Verify", {}), 1)
        self.pushback = "300"
        started = time.monotonic()
        self.assertEqual(self.attempts_of("Verify", {}), 3)
        # By its own account the client would have waited a tenth of this.
        self.assertGreater(time.monotonic() - started, 0.55)


class RepeatsOfGrpcio(Repeats, unittest.TestCase):
    CLIENT = Grpcio


class RepeatsOfGrpcJs(Repeats, unittest.TestCase):
    CLIENT = GrpcJs


class RealServer(ServerCase):
    # Each Verify has its line only so.
    SETTINGS = ("log.filter=info,postern::grpc=debug",)

    def test_a_view_that_is_behind_is_asked_again_when_it_says(self):
        answer = self.verify(self.login().access_token)
        ahead = later(answer.freshness.revision)
        for client, name in ((Grpcio(self.server.address), "core"), (GrpcJs(self.server.address), "js")):
            self.addCleanup(client.close)
            with self.subTest(name):
                self.assertEqual(client.call("GetKeys", {})[0], 0)
                started = time.monotonic()
                code, _ = client.call("Verify", {"min_revision": ahead}, **{"x-request-id": f"behind-{name}"})
                self.assertEqual(code, UNAVAILABLE)
                # NOT_FRESH pushes back by 100 ms, twice; the configuration's own waits are 60 ms together.
                self.assertGreater(time.monotonic() - started, 0.18)
                eventually(lambda name=name: True if self.calls(f"behind-{name}") == 3 else None)

    def calls(self, request_id):
        lines = self.server.log_lines()
        return sum(request_id in str(line) and line.get("message") == "answered" for line in lines)

    def test_a_server_that_ends_costs_nobody_a_call(self):
        for kind in (Grpcio, GrpcJs):
            with self.subTest(kind.__name__):
                ending = Server()
                self.addCleanup(ending.stop)
                client = kind(ending.address, self.server.address)
                self.addCleanup(client.close)
                codes = set()

                # Until both have their share, or the end of one would cost nothing anyway.
                def shared(client=client, ending=ending, codes=codes):
                    codes.add(client.call("GetKeys", {})[0])
                    return True if "GetKeys" in ending.log.read_text() else None

                eventually(shared)
                ending.interrupt()
                codes |= {client.call("GetKeys", {})[0] for _ in range(200)}
                self.assertEqual(ending.wait(), 0)
                codes |= {client.call("GetKeys", {})[0] for _ in range(20)}
                self.assertEqual(codes, {0})


class Health(unittest.TestCase):
    """A server that says NOT_SERVING and still answers: whoever asks of health leaves it in peace."""

    def setUp(self):
        self.servers = [start(self, Named(name), with_health=True) for name in ("one", "two")]
        self.addresses = [address for address, _ in self.servers]

    def answering(self, client):
        return {client.call("GetKeys", {})[1]["issuer"] for _ in range(20)}

    def test_grpcio_takes_a_draining_server_out_and_back_in(self):
        client = Grpcio(*self.addresses)
        self.addCleanup(client.close)
        # `round_robin` from the same configuration: both have their share.
        eventually(lambda: True if self.answering(client) == {"one", "two"} else None)
        _, first = self.servers[0]
        first.set(AUTH_SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
        eventually(lambda: True if self.answering(client) == {"two"} else None)
        self.assertEqual(self.answering(client), {"two"})
        first.set(AUTH_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        eventually(lambda: True if self.answering(client) == {"one", "two"} else None)

    def test_grpc_js_does_not_ask(self):
        # Were this to fail, the note at the head of this file and in docs/backend.md is out of date.
        client = GrpcJs(*self.addresses)
        self.addCleanup(client.close)
        _, first = self.servers[0]
        first.set(AUTH_SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
        eventually(lambda: True if self.answering(client) == {"one", "two"} else None)


def start(test, handler, with_health=False):
    """The address of a server for the length of a test, and its health."""
    pool = concurrent.futures.ThreadPoolExecutor(8)
    test.addCleanup(pool.shutdown)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers([handler])
    servicer = None
    if with_health:
        servicer = health.HealthServicer()
        servicer.set(AUTH_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    test.addCleanup(lambda: server.stop(None).wait())
    return f"127.0.0.1:{port}", servicer


def later(revision):
    """A revision that no server has come to. Opaque to clients; its first eight bytes count the changes."""
    raw = base64.urlsafe_b64decode(revision + "==")
    (number,) = struct.unpack(">q", raw[:8])
    return base64.urlsafe_b64encode(struct.pack(">q", number + 1_000_000) + raw[8:]).decode().rstrip("=")


class Named(grpc.GenericRpcHandler):
    """A server that says its name."""

    def __init__(self, name):
        self._name = name

    def service(self, details):
        if details.method != f"/{AUTH_SERVICE}/GetKeys":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: self._answer())

    def _answer(self):
        return auth_pb2.GetKeysResponse(issuer=self._name).SerializeToString()


class Away(grpc.GenericRpcHandler):
    """A server whose engines are away. Of health it knows nothing, which to a client means healthy."""

    def __init__(self, test):
        self._test = test

    def service(self, details):
        if not details.method.startswith("/postern."):
            return None
        self._test.attempts.append(details.method)
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    def _refuse(self, _request, context):
        if self._test.pushback is not None:
            context.set_trailing_metadata([("grpc-retry-pushback-ms", self._test.pushback)])
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")


if __name__ == "__main__":
    unittest.main()
