"""The example backend for a browser, against a real server and a real backend: cookies, renewal, outages, other sites."""

import http.client
import http.cookies
import json
import time
import unittest

from examples import EXAMPLES, SHOP, Program, Stopped, people, start_backend
from postern.auth.v1 import auth_pb2, reason_pb2
from support import PASSWORD, PATIENCE_SECONDS, ServerCase, eventually

ORIGIN = "https://shop.example"
ACCESS, REFRESH = "__Host-access", "__Host-refresh"


class Browser:
    """Keeps cookies as a browser does, and shows what it was sent."""

    def __init__(self, address):
        self._address = address
        self.cookies = {}

    def send(self, *request, away=False, **headers):
        """On a busy machine an answer may not come in time, which says nothing: again, unless it is what is tested."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := self._send(*request, **headers))[0] == 503 and not away and time.monotonic() < deadline:
            time.sleep(0.1)
        return answer

    def _send(self, method, path, body=None, origin=ORIGIN, **headers):
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE_SECONDS)
        try:
            if origin and method != "GET":
                headers["origin"] = origin
            if body is not None:
                headers.setdefault("content-type", "application/json")
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, path, body if isinstance(body, str | None) else json.dumps(body), headers)
            answer = connection.getresponse()
            return self.take(answer)
        finally:
            connection.close()

    def take(self, answer):
        text = answer.read()
        sent = [value for name, value in answer.getheaders() if name == "set-cookie"]
        for cookie in sent:
            for name, morsel in http.cookies.SimpleCookie(cookie).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer.status, json.loads(text) if text else None, sent

    def login(self, identifier, password=PASSWORD, **more):
        return self.send("POST", "/login", {"identifier": identifier, "password": password}, **more)

    def post(self, path, body=None, **more):
        return self.send("POST", path, {} if body is None else body, **more)

    def get(self, path, **more):
        return self.send("GET", path, **more)


class Bff(ServerCase):
    OWN_SERVER = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ids = people(cls())
        backend = start_backend("node", cls.server)
        cls.addClassCleanup(backend.stop)
        cls.bff = Program(
            ["node", str(EXAMPLES / "bff" / "server.js")],
            cls.server,
            BFF_LISTEN="127.0.0.1:0",
            BFF_ORIGIN=ORIGIN,
            ORDERS_SERVER=backend.address,
        )
        cls.addClassCleanup(cls.bff.stop)

    def browser(self, name=None):
        browser = Browser(self.bff.address)
        if name:
            status, _, _ = browser.login(name)
            self.assertEqual(status, 204)
        return browser

    def refreshes(self):
        """How many the server has answered."""
        return sum(line.get("method") == "postern.auth.v1.AuthService/Refresh" for line in self.server.log_lines())

    def test_a_sign_in_leaves_two_cookies_that_no_script_reads(self):
        status, body, sent = self.browser().login("kim")
        self.assertEqual((status, body), (204, None))
        self.assertEqual({cookie.partition("=")[0] for cookie in sent}, {ACCESS, REFRESH})
        for cookie in sent:
            attributes = [attribute.strip() for attribute in cookie.split(";")[1:]]
            for attribute in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
                self.assertIn(attribute, attributes)
            # With a domain the prefix is void.
            self.assertNotIn("domain", cookie.lower())
            self.assertLess(len(cookie), 4096)

    def test_the_page_learns_who_it_is_and_what_to_offer(self):
        for name, may in {"kim": ["orders:read", "orders:refund"], "lee": ["orders:read"]}.items():
            browser = self.browser(name)
            status, body, _ = browser.get(f"/me?shop={SHOP}")
            self.assertEqual((status, body), (200, {"id": self.ids[name], "may": may}))

    def test_the_backend_decides(self):
        kim, lee = self.browser("kim"), self.browser("lee")
        refund = {"shop": SHOP, "order": "acme-1"}
        self.assertEqual(kim.get(f"/api/orders?shop={SHOP}")[:2], (200, ["acme-1", "acme-2"]))
        self.assertEqual(kim.post("/api/refunds", refund)[:2], (200, {"refunded_by": self.ids["kim"]}))
        status, _, sent = lee.post("/api/refunds", refund)
        self.assertEqual((status, sent), (403, []))

    def test_all_failed_sign_ins_look_alike(self):
        answers = [
            self.browser().login(identifier, password)
            for identifier, password in (("kim", "wrong"), ("nobody", "wrong"), ("kim", "x" * 2000), ("x" * 300, "x"))
        ]
        for answer in answers:
            self.assertEqual(answer, (401, {"error": "The name or the password is wrong."}, []))

    def test_other_sites_change_nothing(self):
        for origin in (None, "null", "https://shop.example.evil", "https://sister.shop.example", "http://shop.example"):
            with self.subTest(origin):
                self.assertEqual(self.browser().login("kim", origin=origin)[0], 403)
        browser = self.browser("kim")
        self.assertEqual(browser.post("/logout", origin="https://evil.example")[0], 403)
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[0], 200)

    def test_what_cannot_be_read_is_refused(self):
        browser = self.browser("kim")
        for body, headers in (("{", {}), ("x" * 5000, {}), ('{"shop":"acme"}', {"content-type": "text/plain"})):
            self.assertEqual(browser.post("/api/refunds", body, **headers)[0], 400)
        self.assertEqual(browser.get("/api/orders?shop=no%20shop")[0], 400)
        for path in ("/", "//", "/nothing", "/__proto__"):
            self.assertEqual(browser.get(path)[0], 404)

    def test_without_cookies_nobody_is_signed_in(self):
        for answer in (self.browser().get("/me"), self.browser().get("/api/orders"), self.browser().post("/api/refunds")):
            self.assertEqual(answer[0], 401)

    def test_an_access_token_that_ended_is_renewed_on_the_way(self):
        browser = self.browser("kim")
        # A browser drops the cookie when its time is over; one that is no good is found out by the backend.
        for damage in (lambda: browser.cookies.pop(ACCESS), lambda: browser.cookies.update({ACCESS: "no.good"})):
            before = browser.cookies[REFRESH]
            damage()
            status, body, sent = browser.get(f"/api/orders?shop={SHOP}")
            self.assertEqual((status, len(body), len(sent)), (200, 2, 2))
            self.assertNotEqual(browser.cookies[REFRESH], before)
            self.assertEqual(browser.get(f"/api/orders?shop={SHOP}")[2], [])

    def test_requests_at_once_share_one_refresh(self):
        browser = self.browser("kim")
        del browser.cookies[ACCESS]
        before = self.refreshes()
        connections = []
        with Stopped(self.server):
            for _ in range(8):
                connection = http.client.HTTPConnection(self.bff.address, timeout=PATIENCE_SECONDS)
                self.addCleanup(connection.close)
                connection.connect()
                request = (
                    f"GET /api/orders?shop={SHOP} HTTP/1.1\r\nhost: bff\r\nexpect: 100-continue\r\n"
                    f"cookie: {REFRESH}={browser.cookies[REFRESH]}\r\n\r\n"
                )
                connection.sock.sendall(request.encode())
                # Node says this as it hands the request on: from here on it waits for the server.
                self.assertIn(b"100 Continue", connection.sock.recv(1024))
                connections.append(connection)
        pairs = set()
        for connection in connections:
            answer = http.client.HTTPResponse(connection.sock, method="GET")
            answer.begin()
            status, _, sent = browser.take(answer)
            # The renewal is what counts here; eight questions at once after it may be late on a busy machine.
            self.assertIn(status, (200, 503))
            pairs.add(tuple(sent))
        # The line may be written after the answer.
        eventually(lambda: True if self.refreshes() > before else None)
        self.assertEqual(self.refreshes() - before, 1)
        self.assertEqual(len({cookies[0].split(";")[0] for cookies in pairs}), 1)

    def test_a_lost_answer_logs_nobody_out(self):
        browser = self.browser("kim")
        del browser.cookies[ACCESS]
        lost = dict(browser.cookies)
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[0], 200)
        after = browser.cookies[REFRESH]
        browser.cookies = lost
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[0], 200)
        self.assertEqual(browser.cookies[REFRESH], after)

    def test_an_outage_signs_nobody_out(self):
        browser = self.browser("kim")
        cookies = dict(browser.cookies)
        with Stopped(self.server):
            for answer in (
                browser.get(f"/me?shop={SHOP}", away=True),
                browser.get(f"/api/orders?shop={SHOP}", away=True),
                browser.post("/logout", away=True),
            ):
                self.assertEqual((answer[0], answer[2]), (503, []))
            del browser.cookies[ACCESS]
            answer = browser.get("/me", away=True)
            self.assertEqual((answer[0], answer[2]), (503, []))
        browser.cookies = cookies
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[0], 200)

    def test_signing_out_ends_the_session_and_the_cookies(self):
        browser = self.browser("kim")
        tokens = dict(browser.cookies)
        self.assertEqual(browser.post("/logout")[0], 204)
        self.assertEqual(browser.cookies, {})
        self.assertUnauthenticated(self.verify(tokens[ACCESS]), reason_pb2.REASON_TOKEN_REVOKED)
        # Cookies that somebody kept are worth nothing, and go.
        browser.cookies = tokens
        self.assertEqual(browser.get("/me")[0], 401)
        self.assertEqual(browser.cookies, {})
        self.assertEqual(browser.post("/logout")[0], 204)

    def test_signing_in_again_leaves_no_second_session(self):
        browser = self.browser("kim")
        old = browser.cookies[ACCESS]
        self.assertEqual(browser.login("lee")[0], 204)
        self.assertUnauthenticated(self.verify(old), reason_pb2.REASON_TOKEN_REVOKED)
        self.assertEqual(browser.get(f"/me?shop={SHOP}")[1]["id"], self.ids["lee"])

    def test_a_session_that_was_ended_elsewhere_is_over_here(self):
        browser = self.browser("lee")
        revoke = auth_pb2.RevokeRequest(refresh_token=browser.cookies[REFRESH])
        self.auth.Revoke(revoke)
        status, _, _ = browser.get(f"/api/orders?shop={SHOP}")
        self.assertEqual((status, browser.cookies), (401, {}))


if __name__ == "__main__":
    unittest.main()
