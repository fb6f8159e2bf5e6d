"""The contract as another language's tools see it."""

import unittest

from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

AUTH_RPCS = ["Login", "Refresh", "Verify", "BatchVerify", "ListSessions", "Revoke", "GetKeys"]
ADMIN_RPCS = [
    "CreateUser", "GetUser", "ListUsers", "UpdateUser", "DisableUser", "EnableUser", "DeleteUser", "SetPassword",
    "PutRole", "GetRole", "ListRoles", "DeleteRole", "ApplyPolicy",
    "GrantRole", "WithdrawRole", "ListBindings",
    "CreateClient", "ListClients", "UpdateClient", "RotateClientSecret", "DeleteClient",
    "ListKeys", "ExplainAccess", "EndAllSessions", "GetServerInfo",
]  # fmt: skip


class Contract(unittest.TestCase):
    def test_services_have_the_rpcs_that_are_served_and_no_others(self):
        for file, service, names in [
            (auth_pb2, "AuthService", AUTH_RPCS),
            (admin_pb2, "AdminService", ADMIN_RPCS),
        ]:
            methods = file.DESCRIPTOR.services_by_name[service].methods
            self.assertEqual([method.name for method in methods], names)

    def test_stubs_offer_every_rpc(self):
        for stub, names in [
            (auth_pb2_grpc.AuthServiceStub, AUTH_RPCS),
            (admin_pb2_grpc.AdminServiceStub, ADMIN_RPCS),
        ]:
            recorded = stub(Recorder())
            for name in names:
                self.assertTrue(hasattr(recorded, name), name)

    def test_only_idempotent_reads_may_be_repeated_freely(self):
        # gRPC clients and proxies retry what is marked free of side effects; a sign-in must never be among it.
        marked = {
            method.name
            for method in auth_pb2.DESCRIPTOR.services_by_name["AuthService"].methods
            if method.GetOptions().idempotency_level
        }
        self.assertEqual(marked, {"Verify", "BatchVerify", "ListSessions", "Revoke", "GetKeys"})


class Recorder:
    """A channel that goes nowhere: a stub only asks it for callables."""

    def unary_unary(self, *_args, **_kwargs):
        return object()


if __name__ == "__main__":
    unittest.main()
