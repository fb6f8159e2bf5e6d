"""Sign-in at a certified OpenID provider that is not ours, through the gateway: as a person without a browser, and once with one."""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest
import urllib.parse

import grpc
import jwt
from openid import FOLDER, Person, Scene
from postern.account.v1 import account_pb2, account_pb2_grpc
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc
from support import PATIENCE_SECONDS, Refused, clean_environment

ACCESS, REFRESH = "__Host-postern-dev-access", "__Host-postern-dev-refresh"
SECRET = "pcs_" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
APP = "https://app.example.com/signed-in"
SHOP = f"""
[[clients]]
id = "shop"
secrets = [{{ value = "{SECRET}" }}]
token_audiences = ["shop"]
return_urls = ["{APP}"]
roles = ["postern.front"]

[[gateway.clients]]
id = "shop"
secret = {{ value = "{SECRET}" }}
answer = "handoff"

"""


class OAuthTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scene = Scene(settings='[accounts]\nroles = ["member"]\n' + SHOP)
        cls.addClassCleanup(cls.scene.stop)
        cls.stub = auth_pb2_grpc.AuthServiceStub(cls.scene.server.channel())
        cls.accounts = account_pb2_grpc.AccountServiceStub(cls.scene.server.channel())
        # The role that newcomers get.
        server = cls.scene.server
        login = auth_pb2.LoginRequest(
            password=auth_pb2.PasswordCredential(identifier="admin", password=server.admin_password)
        )
        token = cls.stub.Login(login).sign_in.tokens.access_token
        admin = admin_pb2_grpc.AdminServiceStub(server.channel())
        role = admin_pb2.Role(id="member", patterns=["shop:buy"])
        admin.PutRole(admin_pb2.PutRoleRequest(role=role), metadata=[("authorization", f"Bearer {token}")])
        cls.admin, cls.admin_token = admin, token

    def users(self):
        metadata = [("authorization", f"Bearer {self.admin_token}")]
        return list(self.admin.ListUsers(admin_pb2.ListUsersRequest(page_size=200), metadata=metadata).users)

    def cookies(self, person):
        return person.jar.get(urllib.parse.urlsplit(self.scene.url).netloc, {})

    def access(self, person):
        return self.cookies(person)[ACCESS]

    def test_a_person_comes_back_signed_in(self):
        person = Person()
        answer = person.sign_in(self.scene.start(), "ann")
        self.assertEqual((answer.status, answer.to), (303, f"{self.scene.url}/"))
        self.assertEqual(sorted(self.cookies(person)), sorted([ACCESS, REFRESH]), "the flow's cookie is gone")
        token = self.access(person)
        sessions = self.stub.ListSessions(auth_pb2.ListSessionsRequest(access_token=token)).sessions
        self.assertEqual([(session.method, session.current) for session in sessions], [("sso", True)])
        self.assertEqual(sessions[0].device.ip_address, "127.0.0.1")
        check = auth_pb2.Check(permission="shop:buy")
        verified = self.stub.Verify(auth_pb2.VerifyRequest(access_token=token, require=[check]))
        self.assertEqual(verified.decision, auth_pb2.DECISION_ALLOW, "by the role that newcomers get")
        identities = self.accounts.ListIdentities(account_pb2.ListIdentitiesRequest(access_token=token)).identities
        self.assertEqual([(it.provider, it.subject, it.email) for it in identities], [("sso", "ann", "ann@example.test")])
        again = Person()
        again.sign_in(self.scene.start(), "ann")
        other = self.stub.Verify(auth_pb2.VerifyRequest(access_token=self.access(again)))
        self.assertEqual(other.principal.id, verified.principal.id)

    def test_who_cancels_reads_so_and_is_nobody(self):
        before, exchanges, person = len(self.users()), self.scene.provider.exchanges(), Person()
        answer = person.get(person.cancel(person.to_provider(self.scene.start())), **{"accept-language": "ko"})
        self.assertEqual(answer.status, 403)
        self.assertIn("취소", answer.body)
        self.assertNotIn("End-User aborted", answer.body)
        self.assertEqual((self.cookies(person), len(self.users())), ({}, before))
        self.assertEqual(self.scene.provider.exchanges(), exchanges)

    def test_an_address_that_was_not_proven_is_not_kept(self):
        for login in ("unverified-bob", "nomail-bob"):
            person = Person()
            person.sign_in(self.scene.start(), login)
            verified = self.stub.Verify(auth_pb2.VerifyRequest(access_token=self.access(person)))
            user = next(user for user in self.users() if user.id == verified.principal.id)
            self.assertEqual((user.email, user.email_verified), ("", False), login)

    def test_an_account_is_not_handed_over_for_its_address(self):
        user = admin_pb2.User(user_name="mallory", email="mallory@example.test", email_verified=True)
        metadata = [("authorization", f"Bearer {self.admin_token}")]
        self.admin.CreateUser(admin_pb2.CreateUserRequest(user=user), metadata=metadata)
        before, person = len(self.users()), Person()
        answer = person.sign_in(self.scene.start(), "mallory")
        self.assertEqual(answer.status, 409)
        self.assertIn("You already have an account", answer.body)
        self.assertEqual((self.cookies(person), len(self.users())), ({}, before))

    def test_keys_rotate_between_sign_ins(self):
        # Longer apart than keys are asked for anew, as far as the first one goes.
        Person().sign_in(self.scene.start(), "rota")
        self.scene.provider.order(rotate=True)
        self.assertEqual(Person().sign_in(self.scene.start(), "rota").status, 303)
        self.assertEqual(len([user for user in self.users() if user.email == "rota@example.test"]), 1)

    def test_a_return_counts_once_and_for_its_browser_alone(self):
        person, thief = Person(), Person()
        callback = person.agree(person.to_provider(self.scene.start()), "cat")
        before = self.scene.provider.exchanges()
        # Login CSRF, and a copied URL.
        self.assertEqual(thief.get(callback).status, 400)
        self.assertEqual((self.cookies(thief), self.scene.provider.exchanges()), ({}, before))
        self.assertEqual(person.get(callback).status, 303)
        kept = dict(self.cookies(person))
        self.assertEqual(person.get(callback).status, 400)
        self.assertEqual(self.cookies(person), kept, "still signed in")
        self.assertEqual(self.scene.provider.exchanges(), before + 1)
        person = Person()
        callback = person.agree(person.to_provider(self.scene.start()), "cat")
        self.assertIn("&iss=", callback)
        for wrong in (
            callback.replace("&iss=", "&iss=https%3A%2F%2Fevil.example%2F"),
            callback[: callback.index("&iss=")],
            callback.replace("/callback/sso", "/callback/google"),
        ):
            self.assertEqual(person.get(wrong).status, 400, wrong)

    def test_a_spent_flow_is_spent_for_whoever_kept_its_cookie(self):
        person, thief = Person(), Person()
        callback = person.agree(person.to_provider(self.scene.start()), "cal")
        kept = dict(self.cookies(person))
        self.assertEqual(person.get(callback).status, 303)
        exchanges = self.scene.provider.exchanges()
        thief.jar[urllib.parse.urlsplit(self.scene.url).netloc] = kept
        answer = thief.get(callback)
        self.assertEqual(answer.status, 400)
        self.assertIn("This sign-in is no longer valid", answer.body)
        self.assertEqual((self.cookies(thief), self.scene.provider.exchanges()), ({}, exchanges))

    def test_anothers_code_in_ones_own_flow_signs_nobody_in(self):
        """The provider itself compares the verifier of the flow with the challenge of the code."""
        attacker, victim = Person(), Person()
        theirs = attacker.agree(attacker.to_provider(self.scene.start()), "oscar")
        own = victim.agree(victim.to_provider(self.scene.start()), "vera")
        self.assertEqual(victim.get(theirs).status, 400, "their state is not of this browser")
        (code,) = urllib.parse.parse_qs(urllib.parse.urlsplit(theirs).query)["code"]
        mixed = re.sub(r"code=[^&]+", f"code={urllib.parse.quote(code)}", own)
        exchanges = self.scene.provider.exchanges()
        answer = victim.get(mixed)
        self.assertEqual(answer.status, 403)
        self.assertIn("The provider's answer was not accepted", answer.body)
        self.assertEqual((self.cookies(victim), self.scene.provider.exchanges()), ({}, exchanges + 1))

    def test_people_go_where_the_client_said(self):
        evil, nearly = "https://evil.example/", f"{APP}?x=y"
        for client, to in (("dev", evil), ("dev", "//evil.example"), ("shop", evil), ("shop", nearly)):
            more = {"handoff_challenge": "c" * 43} if client == "shop" else {}
            answer = Person().get(self.scene.start(client, to, **more))
            self.assertEqual((answer.status, answer.headers["location"]), (400, None))
            self.assertNotIn(to, answer.body)

    def test_what_passes_through_is_in_no_log(self):
        person = Person()
        callback = person.agree(person.to_provider(self.scene.start()), "lou")
        kept = self.cookies(person).values()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(callback).query)
        person.get(callback)
        secrets = [*kept, query["code"][0], query["state"][0], *self.cookies(person).values()]
        log = self.scene.server.log.read_text()
        self.assertIn("OAuthExchange", log)
        for secret in (*secrets, self.scene.provider.client_secret):
            self.assertNotIn(secret, log)

    def test_refresh_revoke_and_logout(self):
        person = Person()
        person.sign_in(self.scene.start(), "dan")
        first = dict(self.cookies(person))
        own = {"origin": self.scene.url}
        session = f"{self.scene.url}/session/dev"
        self.assertEqual(person.ask("POST", f"{session}/refresh", headers={"origin": "https://evil.example"}).status, 403)
        self.assertEqual(person.ask("POST", f"{session}/refresh", headers=own).status, 200)
        self.assertNotEqual(self.cookies(person)[REFRESH], first[REFRESH])
        other = Person()
        other.sign_in(self.scene.start(), "dan")
        sessions = self.stub.ListSessions(auth_pb2.ListSessionsRequest(access_token=self.access(other))).sessions
        ended = next(it.id for it in sessions if not it.current)
        stranger = Person()
        stranger.sign_in(self.scene.start(), "mel")
        answer = stranger.ask("POST", f"{session}/revoke", {"session_id": ended}, {**own, "accept": "application/json"})
        self.assertEqual(json.loads(answer.body), {"endedCount": 0}, "it is somebody else's")
        for path in ("refresh", "logout", "revoke"):
            self.assertEqual(person.get(f"{session}/{path}").status, 405, "a link changes nothing")
        answer = other.ask("POST", f"{session}/revoke", {"session_id": ended}, own)
        self.assertLess(answer.status, 400)
        gone = person.ask("POST", f"{session}/refresh", headers={**own, "accept": "application/json"})
        self.assertEqual((gone.status, self.cookies(person)), (401, {}))
        token = self.access(other)
        self.assertLess(other.ask("POST", f"{session}/logout", headers=own).status, 400)
        self.assertEqual(self.cookies(other), {})
        verified = self.stub.Verify(auth_pb2.VerifyRequest(access_token=token))
        self.assertNotEqual(verified.decision, auth_pb2.DECISION_ALLOW)

    def test_an_apps_backend_collects_the_session(self):
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
        person = Person()
        answer = person.sign_in(self.scene.start("shop", APP, handoff_challenge=challenge), "eve")
        self.assertTrue(answer.to.startswith(f"{APP}?code="), answer.to)
        self.assertEqual(self.cookies(person), {}, "nothing is left in the browser")
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.to).query)["code"][0]
        bearer = [("authorization", f"Bearer {SECRET}")]

        def collect(verifier, client=bearer):
            proof = auth_pb2.HandoffCode(code=code, verifier=verifier)
            return self.stub.OAuthExchange(auth_pb2.OAuthExchangeRequest(handoff_code=proof), metadata=client)

        for wrong in (("x" * 43,), (VERIFIER, None)):
            with self.assertRaises(grpc.RpcError) as caught:
                collect(*wrong)
            self.assertEqual(Refused(caught.exception).reason, "OAUTH_FLOW_INVALID")
        tokens = collect(VERIFIER).sign_in.tokens
        refresh = auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token)
        self.stub.Refresh(refresh, metadata=bearer)
        with self.assertRaises(grpc.RpcError) as caught:
            collect(VERIFIER)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        with self.assertRaises(grpc.RpcError):
            self.stub.Refresh(refresh, metadata=bearer)

    def test_well_known_documents_lead_to_the_keys(self):
        person = Person()
        document = json.loads(person.get(f"{self.scene.url}/.well-known/openid-configuration").body)
        self.assertEqual(document["issuer"], self.scene.server.issuer)
        person.sign_in(self.scene.start(), "fay")
        keys = json.loads(person.get(f"{self.scene.url}/.well-known/jwks.json").body)
        key = jwt.PyJWKSet.from_dict(keys).keys[0]
        audience = self.scene.server.issuer
        claims = jwt.decode(self.access(person), key.key, algorithms=["EdDSA"], audience=audience)
        self.assertEqual((claims["iss"], claims["amr"]), (document["issuer"], ["fed"]))


class BrowserTest(unittest.TestCase):
    def test_in_a_browser_from_the_page_to_the_session_and_out_again(self):
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        self.assertTrue(chromium, "scripts/test brings Chromium")
        scene = Scene()
        self.addCleanup(scene.stop)
        folder = pathlib.Path(__file__).parents[2] / "target" / "screenshots"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = subprocess.run(
            ["node", "--no-warnings", FOLDER / "browse.mjs", f"{scene.url}/", "grace", folder],
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_SECONDS,
            env=clean_environment(CHROMIUM=chromium),
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        seen = json.loads(run.stdout)
        self.assertIn("sso", seen["signed_in"])
        self.assertIn("127.0.0.1", seen["signed_in"])
        self.assertEqual((seen["both"], seen["left"]), (2, 1))
        self.assertIn("Android", seen["devices"])
        self.assertIn("Sign in with Single sign-on", seen["ended"], "not here any more either")
        self.assertIn("Sign-in cancelled", seen["cancelled"])
        self.assertIn("no longer valid", seen["foreign"])
        self.assertIn("Sign in with Single sign-on", seen["signed_out"])
        # The provider's own page wants a font from elsewhere, and a browser an icon: neither is ours.
        self.assertEqual([text for text in seen["errors"] if "Content Security Policy" in text], [])
        tokens = {cookie["name"]: cookie for cookie in seen["cookies"] if cookie["name"].startswith("__Host-postern-dev-")}
        self.assertEqual(sorted(tokens), sorted([ACCESS, REFRESH]))
        for cookie in tokens.values():
            self.assertTrue(cookie["httpOnly"] and cookie["secure"] and cookie["path"] == "/", cookie)
            # Not in any URL, not in a Referer, not for any script.
            for place in [seen["script_sees"], *seen["urls"]]:
                self.assertNotIn(cookie["value"], place)
        self.assertEqual(tokens[REFRESH]["sameSite"], "Strict")
        self.assertEqual(tokens[ACCESS]["sameSite"], "Lax")
        for place in seen["urls"]:
            for token in ("eyJ", "ptr_", "pch_"):
                self.assertNotIn(token, place)
        for shot in ("1-sign-in", "2-provider", "3-consent", "4-session", "5-two-devices", "7-cancelled", "9-signed-out"):
            self.assertGreater((folder / f"{shot}.png").stat().st_size, 1000)


if __name__ == "__main__":
    unittest.main()
