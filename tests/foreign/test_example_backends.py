"""The example backends in three languages against a real server: who gets in, who does not, and why."""

import sys
import tempfile
import time
import unittest

import grpc
from google.protobuf import timestamp_pb2
from orders.v1 import orders_pb2
from postern.admin.v1 import admin_pb2
from postern.auth.v1 import auth_pb2

from examples import EXAMPLES, SHOP, Stopped, in_shop, orders_at, people, run, start_backend
from support import PASSWORD, PATIENCE_SECONDS, ServerCase, bearer, in_tenant

LIST = orders_pb2.ListOrdersRequest()
REFUND = orders_pb2.RefundOrderRequest(order_id="acme-1")


class BackendCase(ServerCase):
    OWN_SERVER = True
    KIND = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ids = people(cls())
        cls.backend = start_backend(cls.KIND, cls.server)
        cls.addClassCleanup(cls.backend.stop)
        channel, cls.orders = orders_at(cls.backend.address)
        cls.addClassCleanup(channel.close)

    def at_once(self, backend):
        """As `orders`, for calls that shall fail."""
        channel, orders = orders_at(backend.address, is_patient=False)
        self.addCleanup(channel.close)
        return orders

    def assertRefused(self, code, message, call, request, metadata):
        refused = self.refused(call, request, metadata=metadata)
        self.assertEqual((refused.code, refused.message), (code, message))


class Backend:
    def token(self, name):
        return self.login(name, PASSWORD).access_token

    def test_what_is_open_needs_no_token(self):
        self.assertEqual(len(self.orders.ListPrices(orders_pb2.ListPricesRequest()).prices), 2)

    def test_who_may_gets_in_and_the_handler_knows_who_it_is(self):
        token = self.token("kim")
        answer = self.orders.ListOrders(LIST, metadata=in_shop(token))
        self.assertEqual(list(answer.order_ids), ["acme-1", "acme-2"])
        answer = self.orders.RefundOrder(REFUND, metadata=in_shop(token))
        self.assertEqual((answer.refunded_by, answer.tenant), (self.ids["kim"], SHOP))

    def test_who_may_not_is_told_what_is_missing(self):
        denied = grpc.StatusCode.PERMISSION_DENIED
        lee, kim = self.token("lee"), self.token("kim")
        self.orders.ListOrders(LIST, metadata=in_shop(lee))
        missing = "PERMISSION_MISSING orders:refund"
        self.assertRefused(denied, missing, self.orders.RefundOrder, REFUND, in_shop(lee))
        self.assertRefused(denied, missing, self.orders.RefundOrder, REFUND, in_shop(kim, "globex"))
        # A role in one shop says nothing of all.
        self.assertRefused(denied, missing, self.orders.RefundOrder, REFUND, bearer(kim))

    def test_without_a_token_nobody_gets_in(self):
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED
        for name, metadata in {
            "none": [],
            "another scheme": [("authorization", "Basic a2ltOng=")],
            "no scheme": [("authorization", self.token("kim"))],
            "an empty one": [("authorization", "Bearer ")],
        }.items():
            with self.subTest(name):
                self.assertRefused(unauthenticated, "a bearer token is needed", self.orders.ListOrders, LIST, metadata)
        with self.subTest("no token of ours"):
            self.assertRefused(unauthenticated, "TOKEN_INVALID", self.orders.ListOrders, LIST, in_shop("no.token.at-all"))

    def test_of_two_tokens_or_tenants_none_counts(self):
        token = self.token("kim")
        self.assertOneTokenAtMost(token)
        for metadata in ([*in_shop(token, "globex"), ("x-tenant", SHOP)], in_shop(token, "no tenant")):
            self.assertRefused(
                grpc.StatusCode.INVALID_ARGUMENT, "x-tenant is malformed", self.orders.ListOrders, LIST, metadata
            )

    def assertOneTokenAtMost(self, token):
        for first, second in (("no.token.at-all", token), (token, "no.token.at-all")):
            refused = self.refused(self.orders.ListOrders, LIST, metadata=[*in_shop(first), *bearer(second)])
            self.assertEqual(refused.code, grpc.StatusCode.UNAUTHENTICATED)

    def test_a_revoked_session_is_out_at_once(self):
        tokens = self.login("kim", PASSWORD)
        self.orders.ListOrders(LIST, metadata=in_shop(tokens.access_token))
        self.auth.Revoke(auth_pb2.RevokeRequest(refresh_token=tokens.refresh_token))
        self.assertRefused(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_REVOKED",
            self.orders.ListOrders,
            LIST,
            in_shop(tokens.access_token),
        )

    def test_what_is_not_there_is_closed(self):
        channel, _ = orders_at(self.backend.address)
        self.addCleanup(channel.close)
        call = channel.unary_unary("/orders.v1.OrderService/DeleteOrder")
        refused = self.refused(call, b"", metadata=in_shop(self.token("kim")))
        self.assertEqual(refused.code, grpc.StatusCode.UNIMPLEMENTED)

    def test_a_server_that_does_not_answer_lets_nobody_in_and_denies_nobody(self):
        kim, lee = self.token("kim"), self.token("lee")
        self.orders.ListOrders(LIST, metadata=in_shop(kim))
        orders = self.at_once(self.backend)
        with Stopped(self.server):
            for metadata in (in_shop(kim), in_shop(lee), in_shop("no.token.at-all")):
                self.assertAway(orders.RefundOrder, REFUND, metadata)
            # What asks for nothing needs nobody to say yes.
            self.orders.ListPrices(orders_pb2.ListPricesRequest())
        answer = self.orders.RefundOrder(REFUND, metadata=in_shop(kim), timeout=PATIENCE_SECONDS)
        self.assertEqual(answer.refunded_by, self.ids["kim"])

    def assertAway(self, call, request, metadata):
        message = "authorization cannot be judged at present"
        self.assertRefused(grpc.StatusCode.UNAVAILABLE, message, call, request, metadata)

    def test_a_secret_that_is_wrong_is_no_affair_of_the_persons(self):
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write("pcs_" + "A" * 43 + "\n")
            secret.flush()
            backend = start_backend(self.KIND, self.server, POSTERN_CLIENT_SECRET_FILE=secret.name)
            self.addCleanup(backend.stop)
            self.assertAway(self.at_once(backend).ListOrders, LIST, in_shop(self.token("kim")))
        # Whoever runs it is told.
        self.assertIn("no verdict from Postern", backend.said)


class Rust(Backend, BackendCase):
    KIND = "rust"


class Python(Backend, BackendCase):
    KIND = "python"


class Node(Backend, BackendCase):
    KIND = "node"

    def assertOneTokenAtMost(self, token):
        # Node hands on the first and hides that there was a second; so it is always the first.
        metadata = [*in_shop("no.token.at-all"), *bearer(token)]
        self.assertRefused(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", self.orders.ListOrders, LIST, metadata)
        self.orders.ListOrders(LIST, metadata=[*in_shop(token), *bearer("no.token.at-all")])


class Ends(ServerCase):
    """What ends by itself: the time of a token, and the server."""

    OWN_SERVER = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ids = people(cls())
        cls.orders = {}
        for kind in ("rust", "python", "node"):
            backend = start_backend(kind, cls.server)
            cls.addClassCleanup(backend.stop)
            channel, cls.orders[kind] = orders_at(backend.address)
            cls.addClassCleanup(channel.close)

    def test_a_token_past_its_time_is_refused_by_that_name(self):
        # No token outlives a role in it, so a short role makes a short token.
        end = timestamp_pb2.Timestamp(seconds=int(time.time()) + 5)
        binding = admin_pb2.Binding(
            principal_id=self.ids["kim"], role="postern.backend", scope=in_tenant("passing"), expire_time=end
        )
        self.admin.GrantRole(admin_pb2.GrantRoleRequest(binding=binding), metadata=self.as_admin())
        tokens = self.login("kim", PASSWORD)
        metadata = in_shop(tokens.access_token)
        for orders in self.orders.values():
            orders.ListOrders(LIST, metadata=metadata)
        time.sleep(max(tokens.access_expire_time.seconds + 1 - time.time(), 0))
        for kind, orders in self.orders.items():
            with self.subTest(kind):
                refused = self.refused(orders.ListOrders, LIST, metadata=metadata)
                self.assertEqual((refused.code, refused.message), (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"))
        renewed = self.refresh(tokens.refresh_token).tokens
        for orders in self.orders.values():
            orders.ListOrders(LIST, metadata=in_shop(renewed.access_token))


class Killed(ServerCase):
    OWN_SERVER = True

    def test_a_server_that_is_gone_lets_nobody_in_and_denies_nobody(self):
        people(self)
        token = self.login("kim", PASSWORD).access_token
        stubs = {}
        for kind in ("rust", "python", "node"):
            backend = start_backend(kind, self.server)
            self.addCleanup(backend.stop)
            channel, stubs[kind] = orders_at(backend.address)
            self.addCleanup(channel.close)
            stubs[kind].ListOrders(LIST, metadata=in_shop(token))
        self.server.interrupt()
        self.assertEqual(self.server.wait(), 0)
        for kind, orders in stubs.items():
            with self.subTest(kind):
                refused = self.refused(orders.ListOrders, LIST, metadata=in_shop(token))
                self.assertEqual(refused.code, grpc.StatusCode.UNAVAILABLE)


class Client(ServerCase):
    """The client for people, in Python."""

    def test_it_signs_in_and_calls(self):
        ids = people(self)
        backend = start_backend("python", self.server)
        self.addCleanup(backend.stop)

        def client(name, verb, password=PASSWORD):
            command = [sys.executable, str(EXAMPLES / "python" / "client.py"), name, verb, SHOP]
            return run(command, self.server, typed=password + "\n", ORDERS_SERVER=backend.address)

        code, said = client("kim", "refund")
        self.assertEqual(code, 0, said)
        self.assertIn(ids["kim"], said)
        code, said = client("lee", "refund")
        self.assertEqual((code, said.strip()), (1, "PERMISSION_DENIED: PERMISSION_MISSING orders:refund"))
        code, said = client("lee", "list", password="not the password")
        self.assertEqual(code, 1)
        self.assertRegex(said, "^UNAUTHENTICATED: ")


if __name__ == "__main__":
    unittest.main()
