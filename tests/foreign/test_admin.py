"""AdminService in the hands of another language's client: who may, what changes, and that it holds at once."""

import unittest
import uuid

import grpc
from google.protobuf import field_mask_pb2
from postern.admin.v1 import admin_pb2
from postern.auth.v1 import auth_pb2, reason_pb2

from support import PASSWORD, ServerCase, bearer, check, in_tenant

EVERYWHERE = admin_pb2.Scope(everywhere=True)


class AdminCase(ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.caller = cls().as_admin()

    def user(self):
        """The name and id of a new user, signed in."""
        name = f"user-{uuid.uuid4().hex[:12]}"
        return name, self.create_user(self.caller, name)

    def grant(self, user, role, scope, **options):
        binding = admin_pb2.Binding(principal_id=user, role=role, scope=scope)
        return self.admin.GrantRole(admin_pb2.GrantRoleRequest(binding=binding), **(options or {"metadata": self.caller}))

    def put_role(self, role, *patterns, **more):
        put = admin_pb2.PutRoleRequest(role=admin_pb2.Role(id=role, patterns=patterns, **more))
        return self.admin.PutRole(put, metadata=self.caller)


class Callers(AdminCase):
    def test_nobody_administers_without_a_token(self):
        for name, metadata in {
            "none": [],
            "no token": bearer("no.token.at-all"),
            "another scheme": [("authorization", "Basic YWRtaW46eA==")],
            "two of them": self.caller * 2,
        }.items():
            with self.subTest(name):
                refused = self.refused(self.admin.ListUsers, admin_pb2.ListUsersRequest(), metadata=metadata)
                # Here there is nobody else whom it could speak of.
                self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"))

    def test_who_lacks_the_permission_is_told_which(self):
        name, _ = self.user()
        weak = bearer(self.login(name, PASSWORD).access_token)
        refused = self.refused(self.admin.ListUsers, admin_pb2.ListUsersRequest(), metadata=weak)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"))

    def test_nobody_grants_what_they_do_not_hold(self):
        name, user = self.user()
        self.put_role("binder", "postern:bindings:write")
        self.put_role("clerk", "orders:*")
        self.grant(user, "binder", EVERYWHERE)
        binder = bearer(self.login(name, PASSWORD).access_token)
        for role in ("postern.admin", "clerk"):
            binding = admin_pb2.Binding(principal_id=user, role=role, scope=EVERYWHERE)
            request = admin_pb2.GrantRoleRequest(binding=binding)
            refused = self.refused(self.admin.GrantRole, request, metadata=binder)
            self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"))


class Users(AdminCase):
    def get(self, **key):
        return self.admin.GetUser(admin_pb2.GetUserRequest(**key), metadata=self.caller).user

    def test_a_user_is_found_by_id_name_and_older_id(self):
        user = self.create_user(self.caller, "mira", email="Mira@Example.com", external_id="legacy-7", display_name="미라")
        for key in ({"id": user}, {"identifier": "MIRA"}, {"identifier": "mira@example.com"}, {"external_id": "legacy-7"}):
            with self.subTest(key):
                found = self.get(**key)
                self.assertEqual((found.id, found.display_name), (user, "미라"))
        self.assertEqual(self.get(id=user).state, admin_pb2.USER_STATE_ACTIVE)
        self.assertTrue(self.get(id=user).has_password)
        request = admin_pb2.CreateUserRequest(user=admin_pb2.User(user_name="Mira"), password=PASSWORD)
        refused = self.refused(self.admin.CreateUser, request, metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.ALREADY_EXISTS, "IDENTIFIER_TAKEN"))

    def test_a_repeated_creation_creates_once(self):
        request = admin_pb2.CreateUserRequest(
            user=admin_pb2.User(user_name="once"), password=PASSWORD, request_id=str(uuid.uuid4())
        )
        first = self.admin.CreateUser(request, metadata=self.caller)
        self.assertEqual(self.admin.CreateUser(request, metadata=self.caller).user.id, first.user.id)

    def test_a_weak_password_is_refused_with_its_rule(self):
        request = admin_pb2.CreateUserRequest(user=admin_pb2.User(user_name="weak"), password="short")
        refused = self.refused(self.admin.CreateUser, request, metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.INVALID_ARGUMENT, "PASSWORD_REFUSED"))
        self.assertNotEqual(refused.info.metadata["rule"], "")

    def test_an_update_changes_what_its_mask_names(self):
        _, user = self.user()
        before = self.get(id=user)

        def update(etag, **fields):
            mask = field_mask_pb2.FieldMask(paths=fields)
            changed = admin_pb2.User(id=user, etag=etag, **fields)
            return admin_pb2.UpdateUserRequest(user=changed, update_mask=mask)

        after = self.admin.UpdateUser(update(before.etag, display_name="New"), metadata=self.caller).user
        self.assertEqual((after.display_name, after.user_name), ("New", before.user_name))
        self.assertNotEqual(after.etag, before.etag)
        refused = self.refused(self.admin.UpdateUser, update(before.etag, display_name="Old"), metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.ABORTED, "ETAG_MISMATCH"))

    def test_disabling_ends_everything_at_once_and_enabling_revives_nothing(self):
        name, user = self.user()
        tokens = self.login(name, PASSWORD)
        disabled = self.admin.DisableUser(admin_pb2.DisableUserRequest(id=user, note="left"), metadata=self.caller)
        verdict = self.verify(tokens.access_token, min_revision=disabled.revision)
        self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_REVOKED)
        refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token))
        self.assertEqual((refused.reason, refused.info.metadata["endCause"]), ("SESSION_ENDED", "USER_DISABLED"))
        with self.assertRaises(grpc.RpcError):
            self.login(name, PASSWORD)

        enabled = self.admin.EnableUser(admin_pb2.EnableUserRequest(id=user), metadata=self.caller)
        verdict = self.verify(tokens.access_token, min_revision=enabled.revision)
        self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_REVOKED)
        self.assertEqual(self.verify(self.login(name, PASSWORD).access_token).decision, auth_pb2.DECISION_ALLOW)

    def test_a_new_password_ends_the_sessions_of_the_old_one(self):
        name, user = self.user()
        tokens = self.login(name, PASSWORD)
        request = admin_pb2.SetPasswordRequest(id=user, password="another good password")
        changed = self.admin.SetPassword(request, metadata=self.caller)
        verdict = self.verify(tokens.access_token, min_revision=changed.revision)
        self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_REVOKED)
        with self.assertRaises(grpc.RpcError):
            self.login(name, PASSWORD)
        self.login(name, "another good password")

    def test_a_deleted_user_is_gone(self):
        name, user = self.user()
        tokens = self.login(name, PASSWORD)
        deleted = self.admin.DeleteUser(admin_pb2.DeleteUserRequest(id=user), metadata=self.caller)
        verdict = self.verify(tokens.access_token, min_revision=deleted.revision)
        self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_REVOKED)
        refused = self.refused(self.admin.GetUser, admin_pb2.GetUserRequest(id=user), metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"))

    def test_the_last_administrator_stays(self):
        admin = self.get(identifier="admin").id
        refused = self.refused(self.admin.DisableUser, admin_pb2.DisableUserRequest(id=admin), metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ONE"))

    def test_all_users_are_listed_in_pages(self):
        wanted = {self.user()[1] for _ in range(3)}
        found, page_token = [], ""
        while True:
            request = admin_pb2.ListUsersRequest(page_size=2, page_token=page_token, query="user-")
            page = self.admin.ListUsers(request, metadata=self.caller)
            found += [user.id for user in page.users]
            page_token = page.next_page_token
            if not page_token:
                break
        self.assertLessEqual(wanted, set(found))
        self.assertEqual(len(found), len(set(found)))


class Roles(AdminCase):
    def test_a_grant_holds_at_once_for_a_token_already_issued(self):
        name, user = self.user()
        token = self.login(name, PASSWORD).access_token
        refund = check("orders:refund", "acme")
        self.assertEqual(self.verify(token, refund).decision, auth_pb2.DECISION_DENY)

        self.put_role("refunder", "orders:*")
        granted = self.grant(user, "refunder", in_tenant("acme"))
        self.assertEqual(granted.binding.scope, in_tenant("acme"))
        answer = self.verify(token, refund, ask=[refund, check("orders:refund", "globex")], min_revision=granted.revision)
        self.assertEqual(answer.decision, auth_pb2.DECISION_ALLOW)
        here, elsewhere = answer.verdicts
        self.assertEqual(here.grant, auth_pb2.Grant(role="refunder", pattern="orders:*", tenant="acme"))
        self.assertFalse(elsewhere.allowed)

        # The role itself narrows for the same token, and so does taking it away.
        narrowed = self.put_role("refunder", "orders:read")
        self.assertEqual(self.verify(token, refund, min_revision=narrowed.revision).decision, auth_pb2.DECISION_DENY)
        read = check("orders:read", "acme")
        self.assertEqual(self.verify(token, read).decision, auth_pb2.DECISION_ALLOW)
        request = admin_pb2.WithdrawRoleRequest(principal_id=user, role="refunder", scope=in_tenant("acme"))
        withdrawn = self.admin.WithdrawRole(request, metadata=self.caller)
        self.assertEqual(self.verify(token, read, min_revision=withdrawn.revision).decision, auth_pb2.DECISION_DENY)

    def test_roles_inherit_and_cycles_are_refused(self):
        name, user = self.user()
        token = self.login(name, PASSWORD).access_token
        self.put_role("reader", "books:read")
        self.put_role("librarian", "books:lend", inherits=["reader"])
        granted = self.grant(user, "librarian", EVERYWHERE)
        answer = self.verify(token, ask=[check("books:read", "town")], min_revision=granted.revision)
        expected = auth_pb2.Grant(role="librarian", inherited_role="reader", pattern="books:read")
        self.assertEqual(answer.verdicts[0].grant, expected)
        cycle = admin_pb2.PutRoleRequest(role=admin_pb2.Role(id="reader", inherits=["librarian"]))
        refused = self.refused(self.admin.PutRole, cycle, metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.FAILED_PRECONDITION, "ROLE_GRAPH_INVALID"))

    def test_a_binding_names_its_place(self):
        _, user = self.user()
        binding = admin_pb2.Binding(principal_id=user, role="postern.backend")
        request = admin_pb2.GrantRoleRequest(binding=binding)
        refused = self.refused(self.admin.GrantRole, request, metadata=self.caller)
        self.assertEqual((refused.reason, refused.fields), ("INVALID_FIELD", ["binding.scope"]))

    def test_bindings_are_listed_by_whom(self):
        _, user = self.user()
        self.put_role("listed", "lists:read")
        self.grant(user, "listed", in_tenant("acme"))
        self.grant(user, "listed", EVERYWHERE)
        request = admin_pb2.ListBindingsRequest(principal_id=user)
        bindings = self.admin.ListBindings(request, metadata=self.caller).bindings
        self.assertCountEqual([binding.scope for binding in bindings], [in_tenant("acme"), EVERYWHERE])
        self.assertEqual({binding.principal_kind for binding in bindings}, {auth_pb2.PRINCIPAL_KIND_USER})

    def test_access_is_explained(self):
        name, user = self.user()
        self.put_role("explained", "plans:*")
        self.grant(user, "explained", in_tenant("acme"))
        token = self.login(name, PASSWORD).access_token
        for subject in ({"principal_id": user}, {"access_token": token}):
            for tenant, allowed in (("acme", True), ("globex", False)):
                with self.subTest(subject=subject.keys(), tenant=tenant):
                    request = admin_pb2.ExplainAccessRequest(check=check("plans:read", tenant), **subject)
                    answer = self.admin.ExplainAccess(request, metadata=self.caller)
                    self.assertEqual(answer.allowed, allowed)
                    self.assertEqual(answer.reason == reason_pb2.REASON_PERMISSION_MISSING, not allowed)
                    self.assertGreater(len(answer.steps), 0)


class Policy(AdminCase):
    OWN_SERVER = True

    def apply(self, *roles, **more):
        return self.admin.ApplyPolicy(admin_pb2.ApplyPolicyRequest(roles=roles, **more), metadata=self.caller)

    def ids(self):
        roles = self.admin.ListRoles(admin_pb2.ListRolesRequest(), metadata=self.caller).roles
        return {role.id for role in roles if not role.id.startswith("postern.")}

    def test_a_policy_replaces_all_roles_in_one_step(self):
        clerk = admin_pb2.Role(id="clerk", patterns=["orders:*"])
        manager = admin_pb2.Role(id="manager", patterns=["reports:**"], inherits=["clerk"])
        self.put_role("gone", "old:thing")
        dry = self.apply(clerk, manager, validate_only=True)
        self.assertEqual((set(dry.created), list(dry.changed), list(dry.deleted)), ({"clerk", "manager"}, [], ["gone"]))
        self.assertEqual(self.ids(), {"gone"})
        done = self.apply(clerk, manager, expected_policy_revision=dry.policy_revision)
        self.assertEqual((done.created, done.deleted), (dry.created, dry.deleted))
        self.assertEqual(self.ids(), {"clerk", "manager"})
        old = admin_pb2.ApplyPolicyRequest(roles=[clerk], expected_policy_revision=dry.policy_revision)
        refused = self.refused(self.admin.ApplyPolicy, old, metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.ABORTED, "ETAG_MISMATCH"))
        again = self.apply(clerk, manager)
        self.assertEqual((list(again.created), list(again.changed), list(again.deleted)), ([], [], []))

    def test_a_role_in_use_is_deleted_only_by_force(self):
        _, user = self.user()
        self.put_role("in-use", "things:read")
        self.grant(user, "in-use", EVERYWHERE)
        request = admin_pb2.DeleteRoleRequest(id="in-use")
        refused = self.refused(self.admin.DeleteRole, request, metadata=self.caller)
        self.assertEqual((refused.reason, refused.fields), ("INVALID_FIELD", ["force"]))
        self.admin.DeleteRole(admin_pb2.DeleteRoleRequest(id="in-use", force=True), metadata=self.caller)
        refused = self.refused(self.admin.GetRole, admin_pb2.GetRoleRequest(id="in-use"), metadata=self.caller)
        self.assertEqual(refused.code, grpc.StatusCode.NOT_FOUND)


class Operation(AdminCase):
    def test_the_server_tells_of_itself(self):
        info = self.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), metadata=self.caller)
        self.assertEqual(info.version, self.server.facts["postern"]["version"])
        self.assertEqual(info.schema_version, self.server.facts["store"]["schema"])
        (key,) = self.admin.ListKeys(admin_pb2.ListKeysRequest(), metadata=self.caller).keys
        self.assertEqual((key.id, key.state), (self.server.facts["signing_key"]["kid"], admin_pb2.KEY_STATE_SIGNING))


class Fence(AdminCase):
    OWN_SERVER = True

    def test_everybody_signs_in_again(self):
        name, _ = self.user()
        person, admin = self.login(name, PASSWORD), self.login()
        typo = admin_pb2.EndAllSessionsRequest(confirm=self.server.issuer + "x")
        refused = self.refused(self.admin.EndAllSessions, typo, metadata=self.caller)
        self.assertEqual((refused.reason, refused.fields), ("INVALID_FIELD", ["confirm"]))
        self.assertEqual(self.verify(person.access_token).decision, auth_pb2.DECISION_ALLOW)

        request = admin_pb2.EndAllSessionsRequest(confirm=self.server.issuer, note="a test")
        ended = self.admin.EndAllSessions(request, metadata=self.caller)
        for tokens in (person, admin):
            verdict = self.verify(tokens.access_token, min_revision=ended.revision)
            self.assertUnauthenticated(verdict, reason_pb2.REASON_TOKEN_REVOKED)
            refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token))
            self.assertEqual((refused.reason, refused.info.metadata["endCause"]), ("SESSION_ENDED", "ENDED_FOR_ALL"))
        refused = self.refused(self.admin.ListKeys, admin_pb2.ListKeysRequest(), metadata=self.caller)
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED"))
        self.assertEqual(self.verify(self.login().access_token).decision, auth_pb2.DECISION_ALLOW)


if __name__ == "__main__":
    unittest.main()
