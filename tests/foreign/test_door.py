"""The port as any gRPC client meets it: reflection, health, request ids, deadlines, limits."""

import time
import unittest
import urllib.error
import urllib.request

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from postern.account.v1 import account_pb2
from postern.admin.v1 import admin_pb2
from postern.auth.v1 import auth_pb2, reason_pb2

from support import PATIENCE_SECONDS, Server, ServerCase, eventually, login_request

SERVICES = {"postern.account.v1.AccountService", "postern.admin.v1.AdminService", "postern.auth.v1.AuthService"}
HEALTH_NAMES = ("", "postern.auth.v1.AuthService", "postern.login")


class Reflection(ServerCase):
    def test_the_services_are_listed(self):
        listed = set(ProtoReflectionDescriptorDatabase(self.channel).get_services())
        self.assertLessEqual(SERVICES, listed)
        # Nothing beside the contract but what every server of this kind has.
        self.assertEqual([name for name in listed - SERVICES if not name.startswith("grpc.")], [])

    def test_the_newer_protocol_lists_the_same(self):
        # The generated client knows the older name only; the messages are the same on the wire.
        call = self.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=PATIENCE_SECONDS)
        self.assertLessEqual(SERVICES, {service.name for service in answer.list_services_response.service})

    def test_what_it_describes_is_the_contract(self):
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        for file, name in ((auth_pb2, "AuthService"), (account_pb2, "AccountService"), (admin_pb2, "AdminService")):
            ours = file.DESCRIPTOR.services_by_name[name]
            described = pool.FindServiceByName(ours.full_name)
            self.assertEqual(
                [(method.name, method.input_type.full_name, method.output_type.full_name) for method in described.methods],
                [(method.name, method.input_type.full_name, method.output_type.full_name) for method in ours.methods],
            )
            for method in described.methods:
                for message in (method.input_type, method.output_type):
                    # Resolving a message resolves the files that it needs.
                    self.assertEqual(pool.FindMessageTypeByName(message.full_name).full_name, message.full_name)
        reason = pool.FindEnumTypeByName("postern.auth.v1.Reason")
        self.assertIn("REASON_SESSION_REUSED", reason.values_by_name)


class Health(unittest.TestCase):
    SERVING = health_pb2.HealthCheckResponse.SERVING

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.health = health_pb2_grpc.HealthStub(self.server.channel())

    def check(self, name):
        return self.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_SECONDS).status

    def test_all_names_serve_and_others_are_unknown(self):
        for name in HEALTH_NAMES:
            with self.subTest(name):
                # Sign-in follows the engines, which are asked after the start.
                eventually(lambda name=name: True if self.check(name) == self.SERVING else None)
        with self.assertRaises(grpc.RpcError) as caught:
            self.check("postern.nothing")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        for path, code in (("livez", 200), ("readyz", 200), ("nothing", 404)):
            self.assertEqual(self.get(path), code)

    def test_who_watches_hears_of_the_end_before_it_comes(self):
        watches = [
            self.health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_SECONDS)
            for name in ("", "postern.auth.v1.AuthService")
        ]
        for watch in watches:
            # Whoever comes with the first call may find that it does not serve just yet.
            eventually(lambda watch=watch: True if next(watch).status == self.SERVING else None)
        self.server.interrupt()
        for watch in watches:
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
        started = time.monotonic()
        self.assertEqual(self.server.wait(), 0)
        # Those who watch do not hold up the end.
        self.assertLess(time.monotonic() - started, 5)
        with self.assertRaises(grpc.RpcError):
            self.check("")

    def get(self, path):
        address = self.server.facts["operations"]["address"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{address}/{path}", timeout=PATIENCE_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


class Calls(ServerCase):
    def answered_with(self, *metadata):
        """The request id of an answer."""
        _, call = self.auth.GetKeys.with_call(auth_pb2.GetKeysRequest(), metadata=metadata)
        return dict(call.initial_metadata())["x-request-id"]

    def test_a_request_id_comes_back(self):
        self.assertEqual(self.answered_with(("x-request-id", "Foreign-1.2_3")), "Foreign-1.2_3")
        self.assertEqual(len(self.answered_with()), 36)
        for unfit in ("", "x" * 65, "with space", "semi;colon"):
            self.assertNotEqual(self.answered_with(("x-request-id", unfit)), unfit)

    def test_a_refusal_has_its_request_id_too(self):
        refused = self.refused(
            self.auth.Login, login_request("admin", "wrong"), metadata=[("x-request-id", "refused-1")]
        )
        self.assertEqual(refused.metadata["x-request-id"], "refused-1")

    def test_a_message_may_have_64_kib(self):
        # Read, and then too long for a token.
        self.assertUnauthenticated(self.verify("x" * (60 * 1024)), reason_pb2.REASON_TOKEN_INVALID)
        for size in (64 * 1024, 8 * 1024 * 1024):
            with self.subTest(size):
                refused = self.refused(self.auth.Verify, auth_pb2.VerifyRequest(access_token="x" * size))
                self.assertEqual(refused.code, grpc.StatusCode.OUT_OF_RANGE)
        token = self.login().access_token
        batch = auth_pb2.BatchVerifyRequest(requests=[auth_pb2.VerifyRequest(access_token=token)] * 256)
        self.assertGreater(batch.ByteSize(), 64 * 1024)
        decisions = {answer.decision for answer in self.auth.BatchVerify(batch).responses}
        self.assertEqual(decisions, {auth_pb2.DECISION_ALLOW})

    def test_what_is_not_there_or_cannot_be_read_is_refused(self):
        def call(path, message):
            self.channel.unary_unary(path)(message, timeout=PATIENCE_SECONDS)

        for path, message, code in (
            ("/postern.auth.v1.AuthService/Nothing", b"", grpc.StatusCode.UNIMPLEMENTED),
            ("/postern.nothing.v1.Service/Verify", b"", grpc.StatusCode.UNIMPLEMENTED),
            ("/postern.auth.v1.AuthService/Verify", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with self.subTest(path), self.assertRaises(grpc.RpcError) as caught:
                call(path, message)
            self.assertEqual(caught.exception.code(), code)


class SlowCalls(ServerCase):
    # A hash that takes longer than any deadline below.
    SETTINGS = ("passwords.memory_kib=131072", "passwords.iterations=6")

    def setUp(self):
        # The connection is there before the clock runs.
        self.auth.GetKeys(auth_pb2.GetKeysRequest())

    def line_of(self, request_id):
        """What the server's log says of a call."""

        def found():
            return next((line for line in self.server.log_lines() if request_id in str(line)), None)

        return eventually(found)

    def test_a_deadline_is_honoured_on_both_sides(self):
        started = time.monotonic()
        with self.assertRaises(grpc.RpcError) as caught:
            self.auth.Login(login_request("admin", "wrong"), timeout=0.1, metadata=[("x-request-id", "late-1")])
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - started, 5)
        self.assertRegex(str(self.line_of("late-1")), "DEADLINE_EXCEEDED|CANCELLED")
        self.assertEqual(self.auth.GetKeys(auth_pb2.GetKeysRequest()).issuer, self.server.issuer)

    def test_a_call_that_is_given_up_is_harmless(self):
        call = self.auth.Login.future(
            login_request("admin", self.server.admin_password), metadata=[("x-request-id", "given-up-1")]
        )
        time.sleep(0.15)
        call.cancel()
        self.assertIn("CANCELLED", str(self.line_of("given-up-1")))
        # Given up in the middle of the sign-in: there is no session that nobody has the tokens of.
        tokens = self.login()
        sessions = self.auth.ListSessions(auth_pb2.ListSessionsRequest(access_token=tokens.access_token)).sessions
        self.assertEqual([session.id for session in sessions], [tokens.session_id])


if __name__ == "__main__":
    unittest.main()
