"""`proto/service-config.json`, which clients take as it is: that gRPC reads it, and what it repeats and what never."""

import concurrent.futures
import json
import pathlib
import unittest

import grpc
from postern.admin.v1 import admin_pb2
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from support import NO_PROXY, PATIENCE_SECONDS, ServerCase, login_request

CONFIG = (pathlib.Path(__file__).parents[2] / "proto" / "service-config.json").read_text()
SERVICES = {
    service.full_name: service
    for service in (
        auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
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


class Repeats(unittest.TestCase):
    """What a client does by this configuration when a server says UNAVAILABLE."""

    def setUp(self):
        self.attempts = []
        self.pushback = None
        pool = concurrent.futures.ThreadPoolExecutor(4)
        self.addCleanup(pool.shutdown)
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([Away(self)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(None).wait())
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[*NO_PROXY, *options(CONFIG)])
        self.addCleanup(channel.close)
        self.auth = auth_pb2_grpc.AuthServiceStub(channel)

    def attempts_of(self, method, request):
        self.attempts.clear()
        with self.assertRaises(grpc.RpcError) as caught:
            getattr(self.auth, method)(request, timeout=PATIENCE_SECONDS)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(set(self.attempts), {f"/postern.auth.v1.AuthService/{method}"})
        return len(self.attempts)

    def test_what_may_be_repeated_is_and_a_sign_in_is_not(self):
        self.assertEqual(self.attempts_of("Verify", auth_pb2.VerifyRequest()), 3)
        self.assertEqual(self.attempts_of("GetKeys", auth_pb2.GetKeysRequest()), 3)
        self.assertEqual(self.attempts_of("Refresh", auth_pb2.RefreshRequest()), 3)
        # It may have opened a session before its answer was lost.
        self.assertEqual(self.attempts_of("Login", login_request("admin", "x")), 1)

    def test_a_server_that_pushes_back_is_obeyed(self):
        self.pushback = "-1"
        self.assertEqual(self.attempts_of("Verify", auth_pb2.VerifyRequest()), 1)


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
