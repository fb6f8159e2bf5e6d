"""The contract as another language's tools see it."""

import unittest

from postern.account.v1 import account_pb2, account_pb2_grpc
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

AUTH_RPCS = [
    "Login", "CompleteChallenge", "Refresh", "Verify", "BatchVerify",
    "ListProviders", "OAuthStart", "OAuthExchange", "OAuthUnlink", "ExchangeToken",
    "ListSessions", "Revoke", "GetKeys",
]  # fmt: skip
ACCOUNT_RPCS = ["ChangePassword", "ListIdentities", "LinkIdentity", "UnlinkIdentity"]
ADMIN_RPCS = [
    "CreateUser", "GetUser", "ListUsers", "UpdateUser", "DisableUser", "EnableUser", "DeleteUser", "SetPassword",
    "PutRole", "GetRole", "ListRoles", "DeleteRole", "ApplyPolicy",
    "GrantRole", "WithdrawRole", "ListBindings",
    "CreateClient", "ListClients", "UpdateClient", "RotateClientSecret", "DeleteClient",
    "ListKeys", "RotateKey", "RetireKey", "ExplainAccess", "EndAllSessions",
    "ListAuditEvents", "GetServerInfo", "ImportUsers",
]  # fmt: skip


class Contract(unittest.TestCase):
    def test_services_have_the_rpcs_that_are_served_and_no_others(self):
        for file, service, names in [
            (auth_pb2, "AuthService", AUTH_RPCS),
            (account_pb2, "AccountService", ACCOUNT_RPCS),
            (admin_pb2, "AdminService", ADMIN_RPCS),
        ]:
            methods = file.DESCRIPTOR.services_by_name[service].methods
            self.assertEqual([method.name for method in methods], names)

    def test_stubs_offer_every_rpc(self):
        for stub, names in [
            (auth_pb2_grpc.AuthServiceStub, AUTH_RPCS),
            (account_pb2_grpc.AccountServiceStub, ACCOUNT_RPCS),
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
        free = {"Verify", "BatchVerify", "ListSessions", "Revoke", "GetKeys", "ListProviders", "OAuthUnlink"}
        self.assertEqual(marked, free)


class Recorder:
    """A channel that goes nowhere: a stub only asks it for callables."""

    def unary_unary(self, *_args, **_kwargs):
        return object()

    stream_stream = unary_unary


if __name__ == "__main__":
    unittest.main()
