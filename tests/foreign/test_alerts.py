"""What an operator watches: the alert rules with their unit tests and runbooks, the dashboard, and a real Prometheus on real
servers, which must find every name that rules, dashboard and runbooks use."""

import base64
import contextlib
import itertools
import json
import pathlib
import re
import shlex
import sqlite3
import ssl
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import grpc
import yaml
from postern.account.v1 import account_pb2, account_pb2_grpc
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from examples import REPOSITORY
from support import BINARY, PASSWORD, PATIENCE_SECONDS, Server, ServerCase, check, eventually, login_request
from test_encrypted import EncryptedServer

RULES = REPOSITORY / "helm/postern/files/alerts.yaml"
DASHBOARD = REPOSITORY / "helm/postern/files/dashboard.json"
RUNBOOKS = REPOSITORY / "docs/runbooks.md"
RULE_TESTS = sorted((REPOSITORY / "tests/alerts").glob("*.yaml"))

# Set by the scrape, on every series.
OF_THE_SCRAPE = {"namespace", "job", "instance"}
# Of Prometheus itself.
OF_PROMETHEUS = {"up"}

# What no server that is well shows. Values of a label that stand beside others, and whole metrics; each with the reason.
UNSEEN_VALUES = {
    ("code", "INTERNAL"): "a fault of ours, of which there shall be none",
    ("code", "UNKNOWN"): "the same",
    ("code", "DEADLINE_EXCEEDED"): "a call that the server ends for taking too long",
    ("status", "5xx"): "the gateway without its service",
}

WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
STRING = r'"(?:[^"\\]|\\.)*"'
MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({STRING})")
SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\s*\{{((?:[^\"{{}}]|{STRING})*)\}})?")


def promtool(*arguments, given=None):
    done = subprocess.run(
        ["promtool", *map(str, arguments)], input=given, capture_output=True, text=True, timeout=10 * PATIENCE_SECONDS
    )
    return done.returncode, done.stdout + done.stderr


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels():
    """Those that show something, without the rows between them."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def outside_grafana(expression):
    """With what Grafana puts in, when everything is chosen."""
    return re.sub(r"\$(?:namespace|job|instance)\b", ".*", expression.replace("$__rate_interval", "1m"))


def sections():
    """The text of each section of the runbooks, by its name."""
    parts = re.split(r"^## (.+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def blocks():
    return [block for text in sections().values() for block in re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def typed():
    """The commands of the runbooks, in blocks and in sentences."""
    page = RUNBOOKS.read_text()
    return re.findall(r"^(?:kubectl exec .* -- /)?(postern .+)$", page, re.MULTILINE) + re.findall(r"`(postern [^`]+)`", page)


def expressions():
    """Everything that is asked of Prometheus, and by whom."""
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    for panel in panels():
        yield from ((panel["title"], outside_grafana(target["expr"])) for target in panel["targets"])
    for block in blocks():
        if not block.startswith("postern "):
            yield from (("a runbook", query) for query in block.strip().split("\n\n"))


def grouped(expression):
    return {label for labels in GROUPING.findall(expression) for label in re.split(r"[\s,]+", labels.strip()) if label}


def selectors(expression):
    """Metric and matchers of each selector; what is none of these is a word of the language."""
    bare = GROUPING.sub(" ", re.sub(r"#.*", "", expression))
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", bare)
    for metric, matchers in SELECTOR.findall(bare):
        if metric.lower() not in WORDS:
            yield metric, MATCHER.findall(matchers)


class Rules(unittest.TestCase):
    def test_promtool_takes_the_rules(self):
        code, said = promtool("check", "rules", RULES)
        self.assertEqual(code, 0, said)
        self.assertIn(f"{len(rules())} rules found", said)

    def test_each_rule_tells_who_must_see_to_it_and_where_to_read_on(self):
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(names), len(set(names)))
        for rule in rules():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertEqual(sorted(rule["annotations"]), ["description", "runbook_url", "summary"])
                self.assertEqual(rule["annotations"]["runbook_url"], f"docs/runbooks.md#{rule['alert'].lower()}")
                # One scrape that went wrong wakes nobody.
                self.assertRegex(rule["for"], r"^[1-9]\d*[smh]$")

    def test_promtool_runs_the_unit_tests(self):
        code, said = promtool("test", "rules", *RULE_TESTS)
        self.assertEqual(code, 0, said)

    def test_each_rule_is_shown_to_fire_and_to_be_silent(self):
        fires, is_silent = set(), set()
        for file in RULE_TESTS:
            read = yaml.safe_load(file.read_text())
            # It is these rules that are tested.
            self.assertEqual([(file.parent / rule_file).resolve() for rule_file in read["rule_files"]], [RULES])
            for case in (case for group in read["tests"] for case in group["alert_rule_test"]):
                (fires if case["exp_alerts"] else is_silent).add(case["alertname"])
        names = {rule["alert"] for rule in rules()}
        self.assertEqual((fires, is_silent), (names, names))


class Runbooks(unittest.TestCase):
    def test_each_alert_has_a_section_and_each_section_an_alert(self):
        self.assertEqual(list(sections()), [rule["alert"] for rule in rules()])

    def test_each_section_answers_the_same_questions(self):
        questions = ["Means", "Look", "Do", "Over", "Usually"]
        for name, text in sections().items():
            with self.subTest(name):
                self.assertEqual(re.findall(r"^\*\*([^*]+)\.\*\*", text, re.MULTILINE), questions)

    def test_commands_are_those_that_there_are(self):
        self.assertGreater(len(typed()), 5)
        for command in typed():
            with self.subTest(command):
                words = shlex.split(command, comments=True)[1:]
                # The command is what stands before the first option, or before what stands for something (USER).
                path = list(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), words))
                options = [word for word in words if word.startswith("--")]
                asked = [BINARY, *path, "--help"]
                told = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
                self.assertEqual(told.returncode, 0, told.stderr)
                self.assertRegex(told.stdout, rf"(?m)^Usage: \S+ {' '.join(path)}\b")
                for option in options:
                    self.assertRegex(told.stdout, rf"(?<!\S){option}\b")

    def test_events_and_settings_are_those_that_there_are(self):
        schema = json.loads((REPOSITORY / "docs/audit-event.schema.json").read_text())
        events = set(re.findall(r'"((?:authn|authz|excess|session|client|key|sys)_[a-z_]+)"', json.dumps(schema)))
        settings = (REPOSITORY / "postern.example.toml").read_text()
        text = RUNBOOKS.read_text()
        self.assertLessEqual(set(re.findall(r"`((?:authn|authz|excess|session|client|key|sys)_[a-z_]+)`", text)), events)
        for setting in re.findall(r"`((?:[a-z_]+\.)+[a-z_]+)(?: = [^`]*)?`", text):
            # A health service, a field of the contract, and one of a line of the log.
            if setting in ("postern.login", "device.ip_address", "audit.lost"):
                continue
            with self.subTest(setting):
                table, _, key = setting.rpartition(".")
                self.assertRegex(settings, rf"(?m)^#*(?:\[{re.escape(table)}\]|{re.escape(setting)} = )")
                self.assertRegex(settings, rf"(?m)^#*(?:{re.escape(setting)}|{key}) = ")

    def test_alerts_that_are_named_exist(self):
        named = set(re.findall(r"\bPostern[A-Z]\w+", RUNBOOKS.read_text()))
        self.assertLessEqual(named, {rule["alert"] for rule in rules()})

    def test_log_lines_are_those_that_there_are(self):
        sources = "".join(file.read_text() for file in sorted((REPOSITORY / "src").rglob("*.rs")))
        lines = re.findall(r"\b(WARN|ERROR|INFO) `([^`]+)`", RUNBOOKS.read_text())
        self.assertGreater(len(lines), 10)
        for level, line in lines:
            with self.subTest(line):
                # Of that level, too: between the macro and its words there is no other macro.
                self.assertRegex(sources, rf'(?s)tracing::{level.lower()}!\((?:(?!tracing::).)*?"{re.escape(line)}')

    def test_links_lead_to_sections(self):
        def anchors(page):
            titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}

        for page, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", RUNBOOKS.read_text()):
            with self.subTest(page=page, anchor=anchor):
                self.assertIn(anchor, anchors(RUNBOOKS.parent / page if page else RUNBOOKS))


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dashboard = json.loads(DASHBOARD.read_text())

    def test_it_goes_into_any_grafana(self):
        self.assertEqual((self.dashboard["uid"], self.dashboard["title"]), ("postern", "Postern"))
        # Of Grafana 10.
        self.assertGreaterEqual(self.dashboard["schemaVersion"], 38)
        # A database gives this out.
        self.assertNotIn("id", self.dashboard)
        variables = {variable["name"]: variable for variable in self.dashboard["templating"]["list"]}
        self.assertEqual(list(variables), ["datasource", "namespace", "job", "instance"])
        self.assertEqual((variables["datasource"]["type"], variables["datasource"]["query"]), ("datasource", "prometheus"))
        uids = set(re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text()))
        self.assertEqual(uids, {"postern", "${datasource}"})

    def test_rows_are_in_the_order_of_the_questions(self):
        rows = [panel["title"] for panel in self.dashboard["panels"] if panel["type"] == "row"]
        expected = ["Is it well?", "Traffic", "Errors", "Latency", "Decisions", "Sign-ins and login defence", "Hashing", "Sessions"]
        self.assertEqual(rows, [*expected, "Feed", "Engines", "Keys and certificate", "Process"])

    def test_each_panel_has_its_place_and_says_what_it_shows(self):
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        titles = [panel["title"] for panel in panels()]
        self.assertEqual(len(titles), len(set(titles)))
        taken = set()
        for panel in self.dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells
        for panel in panels():
            with self.subTest(panel["title"]):
                self.assertGreater(len(panel["description"]), 20)
                defaults = panel["fieldConfig"]["defaults"]
                self.assertTrue(defaults["unit"])
                self.assertTrue(defaults["thresholds"]["steps"])
                for target in panel["targets"]:
                    for variable in ("namespace", "job", "instance"):
                        selected = len(list(selectors(outside_grafana(target["expr"]))))
                        self.assertEqual(target["expr"].count(f'{variable}=~"${variable}"'), selected, target["expr"])

    def test_promtool_takes_every_expression(self):
        recorded = [{"record": f"of:{number}", "expr": expression} for number, (_, expression) in enumerate(expressions())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}, file)
            file.flush()
            code, said = promtool("check", "rules", file.name)
        self.assertEqual(code, 0, said)


class Prometheus:
    """A process of its own, which scrapes every second."""

    def __init__(self, targets):
        self._folder = tempfile.TemporaryDirectory(prefix="postern-prometheus-")
        folder = pathlib.Path(self._folder.name)
        self.log = folder / "log"
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [
                        {
                            "job_name": job,
                            "scheme": "https" if ca else "http",
                            "tls_config": {"ca_file": str(ca)} if ca else {},
                            "static_configs": [{"targets": [address], "labels": {"namespace": "auth"}}],
                        }
                        for job, (address, ca) in targets.items()
                    ],
                }
            )
        )
        command = ["prometheus", "--config.file", str(folder / "prometheus.yml"), "--storage.tsdb.path", str(folder / "data")]
        command += ["--web.listen-address", "127.0.0.1:0"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        try:
            self.address = eventually(self._address)
            eventually(self._ready)
        except BaseException:
            self.stop()
            raise

    def _address(self):
        if self._process.poll() is not None:
            raise AssertionError(f"Prometheus ended:\n{self.log.read_text()}")
        # Which port the system has chosen, it tells in its log.
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', self.log.read_text())
        return found and found[1]

    def _ready(self):
        # It listens before it answers.
        try:
            with DIRECTLY.open(f"http://{self.address}/-/ready", timeout=PATIENCE_SECONDS):
                return True
        except urllib.error.HTTPError as refused:
            refused.close()
            return None

    def get(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with DIRECTLY.open(url, timeout=PATIENCE_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{query}: {refused.read().decode()}") from None

    def query(self, expression):
        """Labels and value of each series."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=expression)["result"]]

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()


# Whoever runs the tests may have a proxy for other things.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def metrics(server, accept, ca=None):
    """Of a server's operations port, and as what it calls them."""
    scheme, handlers = "http", [urllib.request.ProxyHandler({})]
    if ca:
        scheme, context = "https", ssl.create_default_context(cafile=ca)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    url = f"{scheme}://{server.facts['operations']['address']}/metrics"
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE_SECONDS) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


class Watched(ServerCase):
    """Three servers: one that nobody calls, one of which everything is asked, and one with TLS."""

    @classmethod
    def setUpClass(cls):
        # Without a grace a spent token is found at once, and the second try is above the limits.
        limited = ("caller", "administrator", "token")
        limits = [f"limits.{name}.{setting}" for name in limited for setting in ("burst=1", "every=15m")]
        cls.quiet = Server()
        cls.addClassCleanup(cls.quiet.stop)
        cls.encrypted = EncryptedServer()
        cls.addClassCleanup(cls.encrypted.stop)
        cls.server = Server("sessions.refresh_grace=0s", "refresh.late_repeats=false", *limits)
        cls.addClassCleanup(cls.server.stop)
        cls.channel = cls.server.channel()
        cls.auth = auth_pb2_grpc.AuthServiceStub(cls.channel)
        cls.admin = admin_pb2_grpc.AdminServiceStub(cls.channel)
        cls.account = account_pb2_grpc.AccountServiceStub(cls.channel)
        cls.ca = cls.encrypted.folder / "ca.crt"
        # Before anything has happened.
        cls.fresh = metrics(cls.quiet, "text/plain")[1]
        targets = {"quiet": (cls.quiet, None), "busy": (cls.server, None), "encrypted": (cls.encrypted, cls.ca)}
        cls.prometheus = Prometheus({job: (server.facts["operations"]["address"], ca) for job, (server, ca) in targets.items()})
        cls.addClassCleanup(cls.prometheus.stop)
        eventually(lambda: len(cls.prometheus.query("up == 1")) == len(targets) or None)
        cls().drive()
        # Rates need two scrapes of what is there now.
        scraped_at = time.time() + 2
        told = 'timestamp(postern_limit_decisions_total{job="busy", limit="caller", decision="refused"})'
        eventually(lambda: any(at > scraped_at for _, at in cls.prometheus.query(told)) or None)

    def drive(self):
        """A day in the life of a server."""
        tokens = self.login()
        admin = [("authorization", f"Bearer {tokens.access_token}")]
        user = admin_pb2.CreateUserRequest(user=admin_pb2.User(user_name="kim"), password=PASSWORD)
        revision = self.admin.CreateUser(user, metadata=admin).revision
        user.user.user_name = "lee"
        self.assertEqual(self.refused(self.admin.CreateUser, user, metadata=admin).reason, "THROTTLED")
        kim = self.login("kim", PASSWORD)
        for _ in range(2):
            self.assertEqual(self.verify(kim.access_token).decision, auth_pb2.DECISION_ALLOW)
        self.assertEqual(self.verify(kim.access_token, check("orders:read")).decision, auth_pb2.DECISION_DENY)
        self.assertEqual(self.verify("no token").decision, auth_pb2.DECISION_UNAUTHENTICATED)
        self.auth.BatchVerify(auth_pb2.BatchVerifyRequest(requests=[auth_pb2.VerifyRequest(access_token=kim.access_token)]))
        self.account.ListIdentities(account_pb2.ListIdentitiesRequest(access_token=kim.access_token))
        # A change that no replica has seen yet: a thousand further on than the newest.
        at = struct.unpack(">qq", base64.urlsafe_b64decode(revision + "=" * (-len(revision) % 4)))
        ahead = base64.urlsafe_b64encode(struct.pack(">qq", at[0] + 1000, at[1] + 1_000_000)).decode().rstrip("=")
        asked = auth_pb2.VerifyRequest(access_token=kim.access_token, min_revision=ahead)
        self.assertEqual(self.refused(self.auth.Verify, asked).reason, "NOT_FRESH")
        # A spent refresh token comes back.
        second = self.refresh(kim.refresh_token).tokens
        self.refresh(second.refresh_token)
        spent = auth_pb2.RefreshRequest(refresh_token=kim.refresh_token)
        self.assertEqual(self.refused(self.auth.Refresh, spent).reason, "SESSION_REUSED")
        self.auth.Revoke(auth_pb2.RevokeRequest(refresh_token=self.login("kim", PASSWORD).refresh_token))
        self.forge()
        nobody = [("authorization", "Bearer pcs_" + "A" * 43)]
        wrong = auth_pb2.VerifyRequest(access_token="x")
        for reason in ("CLIENT_UNAUTHENTICATED", "THROTTLED"):
            self.assertEqual(self.refused(self.auth.Verify, wrong, metadata=nobody).reason, reason)
        self.refused(self.auth.ExchangeToken, auth_pb2.ExchangeTokenRequest(external_token="x"))
        for path, status in (("/", 200), ("/.well-known/jwks.json", 200), ("/nothing", 404)):
            self.assertEqual(self.browse(path), status)
        # A key that is retired at once leaves two seconds without one.
        (key,) = self.admin.ListKeys(admin_pb2.ListKeysRequest(), metadata=admin).keys
        self.admin.RetireKey(admin_pb2.RetireKeyRequest(id=key.id, immediately=True), metadata=admin)
        self.assertEqual(self.refused(self.auth.Login, login_request("kim", PASSWORD)).code, grpc.StatusCode.UNAVAILABLE)
        # Last, since nobody gets in afterwards.
        for reason in ("INVALID_CREDENTIALS", "THROTTLED"):
            self.assertEqual(self.refused(self.auth.Login, login_request("kim", "wrong")).reason, reason)
        self.refused(self.auth.CompleteChallenge, auth_pb2.CompleteChallengeRequest(challenge_token="x", new_password=PASSWORD))

    def forge(self):
        """Spoils what is kept of all sessions, as somebody could who has the database and no key."""
        tokens = self.login("kim", PASSWORD)
        with contextlib.closing(sqlite3.connect(self.server.data / "postern.db", timeout=PATIENCE_SECONDS)) as store, store:
            spoiled = store.execute("UPDATE vault SET value = zeroblob(length(value)) WHERE kind = 'session'").rowcount
        self.assertGreater(spoiled, 0)
        request = auth_pb2.RefreshRequest(refresh_token=tokens.refresh_token)
        self.assertEqual(self.refused(self.auth.Refresh, request).reason, "SESSION_ENDED")

    def browse(self, path):
        try:
            with DIRECTLY.open(self.server.facts["gateway"]["url"] + path, timeout=PATIENCE_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code

    def test_metrics_are_in_the_form_that_is_asked_for(self):
        for accept, kind in {
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5": "application/openmetrics-text; version=1.0.0",
            "text/plain": "text/plain; version=0.0.4",
            "text/plain, application/openmetrics-text;q=0": "text/plain; version=0.0.4",
            "*/*": "text/plain; version=0.0.4",
            None: "text/plain; version=0.0.4",
        }.items():
            with self.subTest(accept=accept):
                told, text = metrics(self.server, accept)
                self.assertTrue(told.startswith(kind), told)
                self.assertEqual(text.endswith("# EOF\n"), "openmetrics" in kind)

    def test_promtool_takes_the_names(self):
        for server, ca in ((self.quiet, None), (self.server, None), (self.encrypted, self.ca)):
            code, said = promtool("check", "metrics", given=metrics(server, "text/plain", ca)[1])
            self.assertEqual((code, said), (0, ""))

    def test_what_an_alert_waits_for_is_there_before_it_happens(self):
        # What is born with 1 has not increased. Refusals of a limit and codes of calls are waited for by the dozen, and of a forged
        # token the rule itself sees that its series is new.
        for series in (
            'postern_session_events_total{event="reused"} 0',
            'postern_session_events_total{event="healed"} 0',
            'postern_connections_refused_total{listener="grpc"} 0',
            'postern_connections_refused_total{listener="gateway"} 0',
            "postern_sign_in_alarms_total 0",
            "postern_password_jobs_shed_total 0",
            "postern_audit_events_lost_total 0",
            "postern_log_lines_lost_total 0",
            "postern_store_errors_total 0",
            'postern_signing_keys{state="pending"} 0',
            'postern_signing_keys{state="signing"} 1',
        ):
            with self.subTest(series):
                self.assertIn(series, self.fresh.splitlines())

    def test_every_selector_finds_something(self):
        for whose, expression in expressions():
            for metric, matchers in selectors(expression):
                with self.subTest(whose, metric=metric, matchers=matchers):
                    self.assertTrue(metric.startswith(("postern_", "process_")) or metric in OF_PROMETHEUS)
                    self.find(metric, matchers)

    def find(self, metric, matchers):
        written = ", ".join(f"{label}{sign}{value}" for label, sign, value in matchers)
        unseen = []
        for label, sign, value in matchers:
            if label in OF_THE_SCRAPE or sign not in ("=", "=~"):
                continue
            # Each value by itself, since one that does not exist would hide behind the others.
            for one in value.strip('"').split("|"):
                if (label, one) in UNSEEN_VALUES:
                    unseen.append(one)
                else:
                    self.assertTrue(self.prometheus.query(f'{metric}{{{label}="{one}"}}'), f"{label} is never {one}")
            if len(unseen) == len(value.strip('"').split("|")):
                return
        self.assertTrue(self.prometheus.query(f"{metric}{{{written}}}"))

    def test_every_label_that_is_grouped_by_is_on_a_series(self):
        for whose, expression in expressions():
            named = [metric for metric, _ in selectors(expression)]
            series = [labels for metric in named for labels, _ in self.prometheus.query(metric)]
            for label in grouped(expression) - OF_THE_SCRAPE:
                with self.subTest(whose, label=label):
                    self.assertTrue(any(label in labels for labels in series))

    def test_every_panel_shows_something(self):
        for panel in panels():
            for target in panel["targets"]:
                expression = outside_grafana(target["expr"])
                found = self.prometheus.query(expression)
                with self.subTest(panel["title"], expression=expression):
                    self.assertTrue(found)
                    # What a legend names is a label of each series.
                    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                        self.assertTrue(all(label in labels for labels, _ in found), label)

    def test_prometheus_evaluates_every_rule(self):
        def evaluated():
            groups = self.prometheus.get("rules")["groups"]
            told = [rule for group in groups for rule in group["rules"]]
            return told if all(rule["health"] != "unknown" for rule in told) else None

        told = eventually(evaluated)
        # Prometheus sorts the groups.
        self.assertEqual(sorted(rule["name"] for rule in told), sorted(rule["alert"] for rule in rules()))
        self.assertEqual({rule["name"]: rule.get("lastError") for rule in told if rule["health"] != "ok"}, {})
        for whose, expression in expressions():
            with self.subTest(whose):
                self.prometheus.query(expression)

    def test_the_first_forged_token_of_a_server_is_seen(self):
        (rule,) = [rule for rule in rules() if rule["alert"] == "PosternTokenForged"]
        self.assertEqual([labels["job"] for labels, _ in self.prometheus.query(rule["expr"])], ["busy"])

    def test_metrics_that_the_runbooks_name_exist(self):
        named = set(re.findall(r"\b(?:postern|process)_[a-z_]+\b", RUNBOOKS.read_text()))
        self.assertGreater(len(named), 10)
        for metric in sorted(named):
            with self.subTest(metric):
                self.assertTrue(self.prometheus.query(metric))

    def test_no_alert_is_raised_by_a_server_that_is_well(self):
        for rule in rules():
            with self.subTest(rule["alert"]):
                raised = [labels for labels, _ in self.prometheus.query(rule["expr"]) if labels.get("job") != "busy"]
                self.assertEqual(raised, [])


if __name__ == "__main__":
    unittest.main()
