"""The certified OpenID provider as a process, and a person who goes there without a browser: cookies by hand, each redirect seen."""

import http.client
import http.cookies
import json
import pathlib
import re
import subprocess
import threading
import urllib.parse

from support import PATIENCE_SECONDS, Server, clean_environment

FOLDER = pathlib.Path(__file__).parent / "node"


class Provider:
    """Signs in whoever types any name; `provider.mjs` says what it vouches for."""

    def __init__(self):
        self._process = subprocess.Popen(
            ["node", "--no-warnings", FOLDER / "provider.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=clean_environment(),
        )
        facts = self._answer()
        self.issuer = facts["issuer"]
        self.client_id, self.client_secret = facts["client_id"], facts["client_secret"]

    def _answer(self):
        # A provider that says nothing is ended, which ends its output too.
        impatience = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        impatience.start()
        try:
            line = self._process.stdout.readline()
        finally:
            impatience.cancel()
        assert line, "the provider ended"
        # Its own warnings about this version of Node go to standard output, too.
        return json.loads(line) if line.startswith("{") else self._answer()

    def order(self, **order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def exchanges(self):
        """How often a code was traded in."""
        return self.order(count="/token")["count"]

    def settings(self, more=""):
        return (
            f'[[providers]]\nid = "sso"\nkind = "oidc"\ndisplay_name = "Single sign-on"\nissuer = "{self.issuer}"\n'
            f'client_id = "{self.client_id}"\nclient_secret = {{ value = "{self.client_secret}" }}\n'
            f"private_network = true\n{more}\n"
        )

    def stop(self):
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()


class Answer:
    def __init__(self, response, url):
        self.status, self.url, self.headers = response.status, url, response.headers
        self.body = response.read().decode()

    @property
    def to(self):
        """Where it leads."""
        return urllib.parse.urljoin(self.url, self.headers["location"])


class Person:
    """What a browser keeps, and no more than a browser does."""

    def __init__(self):
        self.jar = {}

    def ask(self, method, url, form=None, headers=None):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_SECONDS)
        cookies = self.jar.setdefault(parts.netloc, {})
        headers = dict(headers or {})
        if cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["content-type"] = "application/x-www-form-urlencoded"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body, headers)
        answer = Answer(connection.getresponse(), url)
        connection.close()
        for line in answer.headers.get_all("set-cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            ends = re.search(r"max-age=0\b|expires=thu, 01 jan 1970", line, re.IGNORECASE)
            cookies.pop(name, None)
            if not ends:
                cookies[name] = value
        return answer

    def get(self, url, **headers):
        return self.ask("GET", url, headers=headers)

    def to_provider(self, start):
        """From our link to the provider's own page."""
        answer = self.get(start)
        assert answer.status == 303, (answer.status, answer.body)
        answer = self.get(answer.to)
        return self._follow(answer)

    def _follow(self, answer):
        while answer.status in (302, 303) and "/interaction/" in answer.to or "/auth/" in (answer.headers["location"] or ""):
            answer = self.get(answer.to)
        return answer

    def agree(self, page, login):
        """Signs in and agrees; answers the URL that the provider sends back to, unvisited."""
        for form in ({"prompt": "login", "login": login, "password": "any"}, {"prompt": "consent"}):
            action = re.search(r'action="([^"]+)"', page.body).group(1)
            page = self._follow(self.ask("POST", urllib.parse.urljoin(page.url, action), form))
            if page.status in (302, 303):
                break
        assert page.status in (302, 303), (page.status, page.body)
        return page.to

    def cancel(self, page):
        return self._follow(self.get(page.url + "/abort")).to

    def sign_in(self, start, login):
        """The whole way; answers what our callback said."""
        return self.get(self.agree(self.to_provider(start), login))


class Scene:
    """A server that knows the provider, and the provider that knows the server."""

    def __init__(self, more="", settings="", environment=None):
        self.provider = Provider()
        try:
            self.server = Server(file=settings + self.provider.settings(more), environment=environment)
        except BaseException:
            self.provider.stop()
            raise
        self.url = self.server.facts["gateway"]["url"]
        self.provider.order(register=[f"{self.url}/callback/sso"])

    def start(self, client="dev", to=None, **more):
        query = urllib.parse.urlencode({"return_to": to or f"{self.url}/", **more})
        return f"{self.url}/start/{client}/sso?{query}"

    def stop(self):
        try:
            self.server.stop()
        finally:
            self.provider.stop()
