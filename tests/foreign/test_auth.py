"""AuthService in the hands of another language's client: sign-in, rotation, decisions, sessions, keys."""

import json
import unittest

import grpc
from postern.auth.v1 import auth_pb2, reason_pb2

from support import ServerCase, check, login_request


class Login(ServerCase):
    def test_the_right_password_opens_a_session(self):
        request = login_request(
            "ADMIN",
            self.server.admin_password,
            device=auth_pb2.Device(ip_address="2001:db8::7", user_agent="foreign/1", display_name="작업 노트북"),
        )
        sign_in = self.auth.Login(request).sign_in
        tokens = sign_in.tokens
        self.assertTrue(tokens.refresh_token.startswith("ptr_"))
        self.assertEqual(len(tokens.refresh_token), 124)
        self.assertLessEqual(len(tokens.access_token), 3 * 1024)
        self.assertEqual(sign_in.principal.kind, auth_pb2.PRINCIPAL_KIND_USER)
        self.assertEqual(sign_in.principal.session_id, tokens.session_id)
        self.assertLess(tokens.access_expire_time.seconds, tokens.refresh_expire_time.seconds)
        self.assertLess(tokens.refresh_expire_time.seconds, tokens.session_expire_time.seconds)

    def test_a_wrong_password_and_an_unknown_user_cannot_be_told_apart(self):
        wrong = self.refused(self.auth.Login, login_request("admin", "not the password"))
        unknown = self.refused(self.auth.Login, login_request("nobody-of-that-name", "not the password"))
        for refused in (wrong, unknown):
            self.assertEqual(refused.code, grpc.StatusCode.UNAUTHENTICATED)
            self.assertEqual(refused.reason, "INVALID_CREDENTIALS")
            self.assertEqual(refused.info.domain, "postern")
            self.assertEqual(dict(refused.info.metadata), {})
            self.assertEqual(refused.repeated, (refused.code.value[0], refused.message))
        self.assertEqual(wrong.raw, unknown.raw)
        self.assertEqual(wrong.message, unknown.message)
        self.assertEqual(wrong.metadata.keys(), unknown.metadata.keys())

    def test_a_field_that_is_wrong_is_named(self):
        for field, request in {
            "credential": auth_pb2.LoginRequest(),
            "password.password": login_request("admin", "x" * 1025),
            "password.identifier": login_request("x" * 255, "x"),
            "device.ip_address": login_request("admin", "x", device=auth_pb2.Device(ip_address="nowhere")),
        }.items():
            with self.subTest(field):
                refused = self.refused(self.auth.Login, request)
                self.assertEqual(refused.code, grpc.StatusCode.INVALID_ARGUMENT)
                self.assertEqual(refused.reason, "INVALID_FIELD")
                self.assertEqual(refused.fields, [field])

    def test_a_credential_of_the_client_that_is_wrong_is_refused_not_ignored(self):
        wrong = [("authorization", "Bearer pcs_" + "A" * 43)]
        refused = self.refused(self.auth.Login, login_request("admin", "x"), metadata=wrong)
        # Never UNAUTHENTICATED, which here would speak of the user.
        self.assertEqual(refused.code, grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(refused.reason, "CLIENT_UNAUTHENTICATED")

    def test_signing_in_in_place_of_a_session_ends_it(self):
        old = self.login()
        self.login(replace_refresh_token=old.refresh_token)
        self.assertUnauthenticated(self.verify(old.access_token), reason_pb2.REASON_TOKEN_REVOKED)


class Refresh(ServerCase):
    def test_a_refresh_advances_and_a_retry_gets_the_same_token(self):
        first = self.login()
        second = self.refresh(first.refresh_token)
        self.assertEqual(second.rotation, auth_pb2.ROTATION_ADVANCED)
        self.assertNotEqual(second.tokens.refresh_token, first.refresh_token)
        self.assertEqual(second.tokens.session_id, first.session_id)
        for _ in range(2):
            again = self.refresh(first.refresh_token)
            self.assertEqual(again.rotation, auth_pb2.ROTATION_REPEATED)
            self.assertEqual(again.tokens.refresh_token, second.tokens.refresh_token)
            self.assertEqual(self.verify(again.tokens.access_token).decision, auth_pb2.DECISION_ALLOW)
        third = self.refresh(second.tokens.refresh_token)
        self.assertEqual(third.rotation, auth_pb2.ROTATION_ADVANCED)

    def test_what_is_no_refresh_token_is_refused(self):
        tokens = self.login()
        good = tokens.refresh_token
        for name, token in {
            "another kind": tokens.access_token,
            "no token": "ptr_",
            "one character changed": good[:40] + ("A" if good[40] != "A" else "B") + good[41:],
            "padded": good + "=",
            "cut": good[:-1],
        }.items():
            with self.subTest(name):
                refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=token))
                self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID"))
        self.assertEqual(self.refresh(good).rotation, auth_pb2.ROTATION_ADVANCED)


class Reuse(ServerCase):
    # Without a grace there is nothing to wait for.
    SETTINGS = ("sessions.refresh_grace=0s", "refresh.late_repeats=false")

    def test_a_spent_token_that_comes_back_ends_the_session(self):
        first = self.login()
        bystander = self.login()
        second = self.refresh(first.refresh_token).tokens
        third = self.refresh(second.refresh_token).tokens
        self.assertEqual(self.verify(third.access_token).decision, auth_pb2.DECISION_ALLOW)

        refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=first.refresh_token))
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.UNAUTHENTICATED, "SESSION_REUSED"))

        for token in (third.refresh_token, second.refresh_token, first.refresh_token):
            refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=token))
            self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.UNAUTHENTICATED, "SESSION_ENDED"))
            self.assertEqual(refused.info.metadata["endCause"], "REFRESH_REUSED")
        for tokens in (first, second, third):
            self.assertUnauthenticated(self.verify(tokens.access_token), reason_pb2.REASON_TOKEN_REVOKED)

        # Another session of the same user goes on, and says what happened.
        request = auth_pb2.ListSessionsRequest(access_token=bystander.access_token, show_ended=True)
        causes = {session.id: session.end_cause for session in self.auth.ListSessions(request).sessions}
        self.assertEqual(causes[first.session_id], auth_pb2.END_CAUSE_REFRESH_REUSED)
        self.assertEqual(causes[bystander.session_id], auth_pb2.END_CAUSE_UNSPECIFIED)


class Verify(ServerCase):
    def test_what_the_owner_may_do_is_allowed(self):
        tokens = self.login()
        answer = self.verify(tokens.access_token, check("postern:users:write"), include_roles=True)
        self.assertEqual(answer.decision, auth_pb2.DECISION_ALLOW)
        self.assertFalse(answer.HasField("refusal"))
        self.assertEqual(answer.principal.session_id, tokens.session_id)
        self.assertEqual(answer.principal.amr, ["pwd"])
        self.assertEqual([(held.role, held.tenant) for held in answer.principal.roles], [("postern.admin", "")])
        self.assertNotEqual(answer.freshness.revision, "")

    def test_a_denial_names_the_first_permission_that_is_missing(self):
        require = [check("postern:users:write"), check("orders:refund", "acme"), check("orders:read")]
        answer = self.verify(self.login().access_token, *require)
        self.assertEqual(answer.decision, auth_pb2.DECISION_DENY)
        self.assertEqual(answer.refusal.reason, reason_pb2.REASON_PERMISSION_MISSING)
        self.assertEqual(answer.refusal.code, grpc.StatusCode.PERMISSION_DENIED.value[0])
        self.assertEqual(answer.refusal.missing, check("orders:refund", "acme"))
        self.assertEqual(answer.principal.kind, auth_pb2.PRINCIPAL_KIND_USER)

    def test_what_is_asked_is_answered_one_by_one_without_effect(self):
        ask = [check("orders:refund"), check("postern:roles:read", "acme")]
        answer = self.verify(self.login().access_token, ask=ask)
        self.assertEqual(answer.decision, auth_pb2.DECISION_ALLOW)
        denied, allowed = answer.verdicts
        self.assertFalse(denied.allowed)
        self.assertEqual(denied.reason, reason_pb2.REASON_PERMISSION_MISSING)
        self.assertTrue(allowed.allowed)
        self.assertEqual(allowed.grant, auth_pb2.Grant(role="postern.admin", pattern="postern:**"))

    def test_a_stronger_sign_in_is_asked_for(self):
        two_factors = auth_pb2.Assurance(level=auth_pb2.ASSURANCE_LEVEL_MULTI_FACTOR)
        answer = self.verify(self.login().access_token, assurance=two_factors)
        self.assertEqual(answer.decision, auth_pb2.DECISION_STEP_UP)
        self.assertEqual(answer.refusal.reason, reason_pb2.REASON_ASSURANCE_TOO_LOW)
        self.assertEqual(answer.refusal.needed, two_factors)

    def test_another_audience_is_another_token(self):
        token = self.login().access_token
        self.assertEqual(self.verify(token, audience=self.server.issuer).decision, auth_pb2.DECISION_ALLOW)
        elsewhere = self.verify(token, audience="https://elsewhere.example")
        self.assertUnauthenticated(elsewhere, reason_pb2.REASON_TOKEN_INVALID)

    def test_a_revision_is_handed_back_as_it_came(self):
        token = self.login().access_token
        seen = self.verify(token).freshness.revision
        self.assertEqual(self.verify(token, min_revision=seen).decision, auth_pb2.DECISION_ALLOW)
        refused = self.refused(self.auth.Verify, auth_pb2.VerifyRequest(access_token=token, min_revision="not one"))
        self.assertEqual((refused.reason, refused.fields), ("INVALID_FIELD", ["min_revision"]))

    def test_a_batch_is_judged_one_by_one(self):
        tokens, other = self.login(), self.login()
        self.auth.Revoke(auth_pb2.RevokeRequest(refresh_token=other.refresh_token))
        requests = [
            auth_pb2.VerifyRequest(access_token=tokens.access_token, require=[check("postern:users:read")]),
            auth_pb2.VerifyRequest(access_token=tokens.access_token, require=[check("orders:read")]),
            auth_pb2.VerifyRequest(access_token=other.access_token),
            auth_pb2.VerifyRequest(access_token=tokens.access_token, require=[check("No:Permission")]),
            auth_pb2.VerifyRequest(access_token="no.token.at-all"),
        ]
        answers = self.auth.BatchVerify(auth_pb2.BatchVerifyRequest(requests=requests)).responses
        self.assertEqual(
            [(answer.decision, answer.refusal.reason) for answer in answers],
            [
                (auth_pb2.DECISION_ALLOW, reason_pb2.REASON_UNSPECIFIED),
                (auth_pb2.DECISION_DENY, reason_pb2.REASON_PERMISSION_MISSING),
                (auth_pb2.DECISION_UNAUTHENTICATED, reason_pb2.REASON_TOKEN_REVOKED),
                (auth_pb2.DECISION_UNSPECIFIED, reason_pb2.REASON_INVALID_FIELD),
                (auth_pb2.DECISION_UNAUTHENTICATED, reason_pb2.REASON_TOKEN_INVALID),
            ],
        )
        for count in (0, 257):
            batch = auth_pb2.BatchVerifyRequest(requests=[auth_pb2.VerifyRequest()] * count)
            self.assertEqual(self.refused(self.auth.BatchVerify, batch).fields, ["requests"])


class Sessions(ServerCase):
    OWN_SERVER = True

    def list(self, tokens, **more):
        request = auth_pb2.ListSessionsRequest(access_token=tokens.access_token, **more)
        return self.auth.ListSessions(request)

    def test_sessions_are_listed_ended_and_remembered(self):
        device = auth_pb2.Device(ip_address="192.0.2.9", user_agent="foreign/1", display_name="work phone")
        phone, laptop = self.login(device=device), self.login()
        listed = {session.id: session for session in self.list(laptop).sessions}
        self.assertTrue(listed[laptop.session_id].current)
        self.assertFalse(listed[phone.session_id].current)
        self.assertEqual(listed[phone.session_id].device, device)
        self.assertEqual(listed[phone.session_id].method, "password")
        self.assertEqual(listed[phone.session_id].client_id, "dev")

        revoke = auth_pb2.RevokeRequest(access_token=laptop.access_token, session_id=phone.session_id)
        ended = self.auth.Revoke(revoke)
        self.assertEqual(ended.ended_count, 1)
        now = self.verify(phone.access_token, min_revision=ended.revision)
        self.assertUnauthenticated(now, reason_pb2.REASON_TOKEN_REVOKED)
        refused = self.refused(self.auth.Refresh, auth_pb2.RefreshRequest(refresh_token=phone.refresh_token))
        self.assertEqual(refused.info.metadata["endCause"], "ENDED_BY_USER")
        self.assertEqual(self.auth.Revoke(revoke).ended_count, 0)

        self.assertNotIn(phone.session_id, [session.id for session in self.list(laptop).sessions])
        remembered = {session.id: session for session in self.list(laptop, show_ended=True).sessions}
        self.assertEqual(remembered[phone.session_id].end_cause, auth_pb2.END_CAUSE_ENDED_BY_USER)
        self.assertTrue(remembered[phone.session_id].HasField("end_time"))

    def test_a_refresh_token_logs_out_by_itself(self):
        tokens = self.login()
        logout = auth_pb2.RevokeRequest(refresh_token=tokens.refresh_token)
        self.assertEqual(self.auth.Revoke(logout).ended_count, 1)
        self.assertUnauthenticated(self.verify(tokens.access_token), reason_pb2.REASON_TOKEN_REVOKED)

    def test_nothing_is_ended_by_omission(self):
        tokens = self.login()
        refused = self.refused(self.auth.Revoke, auth_pb2.RevokeRequest(access_token=tokens.access_token))
        self.assertEqual((refused.reason, refused.fields), ("INVALID_FIELD", ["target"]))
        self.assertEqual(self.verify(tokens.access_token).decision, auth_pb2.DECISION_ALLOW)

    def test_all_but_the_current_session_end_and_lists_come_in_pages(self):
        current, others = self.login(), [self.login() for _ in range(2)]
        ids, page_token = [], ""
        while True:
            page = self.list(current, page_size=1, page_token=page_token)
            self.assertLessEqual(len(page.sessions), 1)
            ids += [session.id for session in page.sessions]
            page_token = page.next_page_token
            if not page_token:
                break
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual({tokens.session_id for tokens in (current, *others)}, set(ids))

        everywhere_else = auth_pb2.UserSessions(keep_current=True)
        request = auth_pb2.RevokeRequest(access_token=current.access_token, user_sessions=everywhere_else)
        self.assertEqual(self.auth.Revoke(request).ended_count, len(ids) - 1)
        self.assertEqual(self.verify(current.access_token).decision, auth_pb2.DECISION_ALLOW)
        for tokens in others:
            self.assertUnauthenticated(self.verify(tokens.access_token), reason_pb2.REASON_TOKEN_REVOKED)
        self.assertEqual([session.id for session in self.list(current).sessions], [current.session_id])


class Keys(ServerCase):
    def test_the_public_keys_are_public_alone(self):
        answer = self.auth.GetKeys(auth_pb2.GetKeysRequest())
        self.assertEqual(answer.issuer, self.server.issuer)
        self.assertEqual(answer.max_age.seconds, 300)
        for key in json.loads(answer.jwks_json)["keys"]:
            self.assertEqual(key.keys(), {"kty", "crv", "x", "kid", "alg", "use"})
            self.assertEqual((key["kty"], key["crv"], key["alg"], key["use"]), ("OKP", "Ed25519", "EdDSA", "sig"))


if __name__ == "__main__":
    unittest.main()
