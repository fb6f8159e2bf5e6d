"""Traces as a collector of another make gets them: whose child each span is, and that nothing in them tells of a person."""

import concurrent.futures
import ipaddress
import pathlib
import re
import secrets
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

import grpc
from cryptography import x509
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from postern.admin.v1 import admin_pb2, admin_pb2_grpc
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from openid import Person, Scene
from support import BINARY, PASSWORD, PATIENCE_SECONDS, Server, bearer, eventually, login_request
from test_encrypted import Authority

LOGIN, VERIFY = "postern.auth.v1.AuthService/Login", "postern.auth.v1.AuthService/Verify"
SERVER, CLIENT = 2, 3  # kinds, as OTLP numbers them
FAILED = 2

# Of the batches, which are sent each five seconds unless the process ends.
IN_TIME = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


class Span:
    def __init__(self, span):
        self.name, self.kind, self.failed = span.name, span.kind, span.status.code == FAILED
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.from_ = span.start_time_unix_nano
        self.state = span.trace_state
        self.attributes = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}

    def __repr__(self):
        return f"{self.name} {self.trace}/{self.id} of {self.parent or 'none'}"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes what is exported; `refuses` it for as long as that is set."""

    def __init__(self, credentials=None, port=0):
        self.requests, self.headers, self.refuses = [], [], False
        self._lock = threading.Lock()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        at = f"127.0.0.1:{port}"
        self.port = self._server.add_secure_port(at, credentials) if credentials else self._server.add_insecure_port(at)
        self._server.start()
        self.settings = (f"telemetry.endpoint={'https' if credentials else 'http'}://127.0.0.1:{self.port}",)

    def Export(self, request, context):
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        with self._lock:
            self.headers.append(dict(context.invocation_metadata()))
            self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self):
        with self._lock:
            requests = list(self.requests)
        return [
            Span(span)
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def text(self):
        """All that was ever exported."""
        with self._lock:
            return "\n".join(MessageToJson(request) for request in self.requests)

    def trace(self, trace, *names):
        """The spans of a trace, as soon as those of these names are among them."""

        def found():
            spans = [span for span in self.spans if span.trace == trace]
            return spans if set(names) <= {span.name for span in spans} else None

        return eventually(found)

    def stop(self):
        self._server.stop(None).wait(PATIENCE_SECONDS)


def parent(sampled=True):
    """A trace and a span of the caller's, and the metadata that says so."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, [("traceparent", f"00-{trace}-{span}-{'01' if sampled else '00'}")]


class TracesCase(unittest.TestCase):
    SETTINGS = ("telemetry.sample_one_in=1",)

    def setUp(self):
        self.collector = Collector()
        self.addCleanup(self.collector.stop)

    def serve(self, *settings, **more):
        server = Server(*self.collector.settings, *settings, environment=IN_TIME, **more)
        self.addCleanup(server.stop)
        return server

    def family(self, spans, root, of):
        """Checks that the parents of all are there, the root's being the caller's, and that no child begins before its parent. It
        may end after it: a statement gives its connection back when its answer is on its way."""
        by_id = {span.id: span for span in spans}
        self.assertEqual(len(by_id), len(spans))
        for span in spans:
            if span.id == root.id:
                self.assertEqual(span.parent, of)
                continue
            self.assertIn(span.parent, by_id, span)
            self.assertLessEqual(by_id[span.parent].from_, span.from_, span)


class OfCalls(TracesCase):
    def setUp(self):
        super().setUp()
        self.server = self.serve(*self.SETTINGS)
        self.auth = auth_pb2_grpc.AuthServiceStub(self.server.channel())

    def login(self, metadata=(), password=None, identifier="admin"):
        request = login_request(identifier, password or self.server.admin_password)
        return self.auth.Login(request, metadata=metadata, timeout=PATIENCE_SECONDS).sign_in

    def test_a_sign_in_is_one_trace_from_the_caller_to_the_last_statement(self):
        trace, caller, metadata = parent()
        self.login([*metadata, ("tracestate", "vendor=1"), ("baggage", "user=canary-baggage")])
        spans = self.collector.trace(trace, LOGIN)
        root = next(span for span in spans if span.name == LOGIN)
        self.family(spans, root, caller)
        self.assertEqual((root.kind, root.failed, root.state), (SERVER, False, "vendor=1"))
        self.assertEqual(root.attributes["rpc.grpc.status_code"], 0)
        names = {span.name for span in spans}
        self.assertLessEqual({"SELECT", "INSERT", "hash password"}, names)
        self.assertTrue(any(name.startswith("vault ") for name in names), names)
        for span in spans:
            if "db.query.text" in span.attributes:
                self.assertEqual((span.kind, span.attributes["db.system.name"]), (CLIENT, "sqlite"))
                # What was asked for is behind placeholders.
                self.assertNotRegex(span.attributes["db.query.text"], r"'[^']{3,}'|\badmin@|x'")
        self.assertNotIn("canary-baggage", self.collector.text)

    def test_the_collector_is_told_who_sends(self):
        trace, _, metadata = parent()
        self.login(metadata)
        self.collector.trace(trace, LOGIN)
        version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        (resource,) = {MessageToJson(one.resource) for request in self.collector.requests for one in request.resource_spans}
        for key, value in (("service.name", "postern"), ("service.version", version)):
            self.assertIn(f'"key": "{key}"', resource)
            self.assertIn(value, resource)
        self.assertIn('"key": "service.instance.id"', resource)
        # Of the machine and who runs it, nothing.
        self.assertNotRegex(resource, r"host\.|process\.|os\.")

    def test_a_verdict_is_one_span_since_it_asks_nobody(self):
        tokens = self.login().tokens
        trace, caller, metadata = parent()
        self.auth.Verify(auth_pb2.VerifyRequest(access_token=tokens.access_token), metadata=metadata)
        # Beside it a call that has more, so that what was sent has arrived.
        other, _, more = parent()
        self.login(more)
        self.collector.trace(other, LOGIN)
        (span,) = self.collector.trace(trace, VERIFY)
        self.assertEqual((span.parent, span.kind), (caller, SERVER))

    def test_a_refusal_is_no_fault_and_has_its_code(self):
        trace, _, metadata = parent()
        with self.assertRaises(grpc.RpcError):
            self.login(metadata, password="wrong horse battery staple")
        spans = self.collector.trace(trace, LOGIN)
        root = next(span for span in spans if span.name == LOGIN)
        self.assertEqual((root.attributes["rpc.grpc.status_code"], root.failed), (16, False))

    def test_what_the_caller_did_not_sample_is_not_exported_and_what_is_no_parent_begins_anew(self):
        silent, _, unsampled = parent(sampled=False)
        self.login(unsampled)
        self.login([("traceparent", "00-zz-1-01"), ("tracestate", "x=" + "y" * 4000)])
        heard, _, sampled = parent()
        self.login(sampled)
        self.collector.trace(heard, LOGIN)
        self.assertEqual([span for span in self.collector.spans if span.trace == silent], [])
        (begun,) = (span for span in self.collector.spans if span.name == LOGIN and span.trace != heard)
        self.assertEqual((begun.parent, begun.state), ("", ""))

    def test_what_the_server_does_by_itself_is_no_trace(self):
        # Each second it asks both engines, and each half second whether something changed.
        time.sleep(2.5)
        trace, _, metadata = parent()
        self.login(metadata)
        self.collector.trace(trace, LOGIN)
        self.assertEqual({span.trace for span in self.collector.spans}, {trace})

    def test_the_log_names_the_trace(self):
        trace, _, metadata = parent()
        with self.assertRaises(grpc.RpcError) as caught:
            self.login(metadata, password="wrong horse battery staple")
        request = dict(caught.exception.initial_metadata() or ()) | dict(caught.exception.trailing_metadata() or ())
        spans = self.collector.trace(trace, LOGIN)
        root = next(span for span in spans if span.name == LOGIN)
        self.assertEqual(root.attributes["postern.request_id"], request["x-request-id"])
        eventually(lambda: True if f'"trace_id":"{trace}"' in self.server.log.read_text() else None)

    def test_nothing_exported_tells_of_a_person(self):
        admin_tokens = self.login().tokens
        metadata = bearer(admin_tokens.access_token)
        admin = admin_pb2_grpc.AdminServiceStub(self.server.channel())
        user = admin_pb2.User(user_name="canary-name", display_name="Canary Shown", email="canary@shop.test")
        user_id = admin.CreateUser(admin_pb2.CreateUserRequest(user=user, password=PASSWORD), metadata=metadata).user.id
        device = auth_pb2.Device(ip_address="198.51.100.7", user_agent="canary-agent")
        request = login_request("canary-name", PASSWORD, device=device)
        sign_in = self.auth.Login(request, timeout=PATIENCE_SECONDS).sign_in
        refreshed = self.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=sign_in.tokens.refresh_token))
        verdict = self.auth.Verify(auth_pb2.VerifyRequest(access_token=sign_in.tokens.access_token))
        for identifier, password in (("canary-name", "canary-password-1"), ("canary@nobody.test", "canary-password-2")):
            with self.assertRaises(grpc.RpcError):
                self.login(identifier=identifier, password=password)
        with self.assertRaises(grpc.RpcError):
            self.auth.Refresh(auth_pb2.RefreshRequest(refresh_token="prt_canary-refresh"))
        trace, _, last = parent()
        self.login(last)
        self.collector.trace(trace, LOGIN)
        text = self.collector.text
        self.assertIn("hash password", text)
        secret = [
            self.server.admin_password, PASSWORD, admin_tokens.access_token, admin_tokens.refresh_token,
            sign_in.tokens.access_token, sign_in.tokens.refresh_token, user_id, user_id.replace("-", ""),
            verdict.principal.session_id, "198.51.100.7", "127.0.0.1", "canary", "Canary", str(self.server.data),
        ]
        secret += [refreshed.tokens.access_token, refreshed.tokens.refresh_token]
        for value in secret:
            self.assertGreater(len(value), 5)
            self.assertNotIn(value, text)
        # Nothing of the shape of a token, a hash or a secret either.
        self.assertNotRegex(text, r"eyJ[A-Za-z0-9_-]{10}|\$argon2|\bp[a-z]{2}_[A-Za-z0-9_-]{20}")


class OfTheGateway(TracesCase):
    def setUp(self):
        super().setUp()
        # The collector's settings go into the file, which is the whole of what the scene hands on.
        endpoint = self.collector.settings[0].partition("=")[2]
        settings = f'[telemetry]\nendpoint = "{endpoint}"\nsample_one_in = 1\n'
        self.scene = Scene(settings=settings, environment=IN_TIME)
        self.addCleanup(self.scene.stop)

    def test_a_return_from_the_provider_is_one_trace_through_gateway_service_and_provider(self):
        person = Person()
        back = person.agree(person.to_provider(self.scene.start()), "ann")
        theirs, _, headers = parent()
        answer = person.get(back, **dict(headers))
        self.assertEqual(answer.status, 303, answer.body)
        name = "GET /callback/{provider}"
        page = eventually(lambda: next((span for span in self.collector.spans if span.name == name), None))
        exchange = "postern.auth.v1.AuthService/OAuthExchange"
        spans = self.collector.trace(page.trace, name, exchange)
        self.family(spans, page, "")
        # A browser is nobody whose word on traces is taken.
        self.assertNotEqual(page.trace, theirs)
        asked, answered = (
            next(span for span in spans if (span.name, span.kind) == (exchange, kind)) for kind in (CLIENT, SERVER)
        )
        self.assertEqual((asked.parent, answered.parent), (page.id, asked.id))
        at_provider = [span for span in spans if span.attributes.get("server.address")]
        self.assertIn("POST", {span.name for span in at_provider}, spans)
        for span in at_provider:
            self.assertEqual((span.kind, span.attributes["http.response.status_code"]), (CLIENT, 200))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)
        text = self.collector.text
        for value in [*query["code"], *query["state"], *person.jar[urllib.parse.urlsplit(self.scene.url).netloc].values()]:
            self.assertNotIn(value, text)
        for word in (self.scene.provider.client_secret, "code=", "state=", "ann@"):
            self.assertNotIn(word, text)


class Sending(TracesCase):
    def test_a_collector_that_is_away_costs_spans_and_one_line(self):
        self.collector.refuses = True
        server = self.serve(*self.SETTINGS)
        auth = auth_pb2_grpc.AuthServiceStub(server.channel())

        def login():
            trace, _, metadata = parent()
            auth.Login(login_request("admin", server.admin_password), metadata=metadata, timeout=PATIENCE_SECONDS)
            return trace

        gone = login()
        eventually(lambda: True if lost(server) > 0 else None)
        before = lost(server)
        login()
        eventually(lambda: True if lost(server) > before else None)
        self.collector.refuses = False
        found = login()
        self.collector.trace(found, LOGIN)
        said = [line for line in server.log_lines() if "collector" in line["message"]]
        self.assertEqual([line["level"] for line in said], ["WARN", "INFO"], said)
        self.assertNotIn(gone, {span.trace for span in self.collector.spans})

    def test_what_was_traced_is_sent_before_the_end(self):
        # No batch is due for a minute.
        server = Server(*self.collector.settings, *self.SETTINGS, environment={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
        try:
            trace, _, metadata = parent()
            auth = auth_pb2_grpc.AuthServiceStub(server.channel())
            auth.Login(login_request("admin", server.admin_password), metadata=metadata, timeout=PATIENCE_SECONDS)
            self.assertEqual(self.collector.spans, [])
        finally:
            server.stop()
        self.assertIn(LOGIN, {span.name for span in self.collector.spans if span.trace == trace})

    def test_one_in_so_many_of_the_traces_that_begin_here(self):
        server = self.serve("telemetry.sample_one_in=10")
        auth = auth_pb2_grpc.AuthServiceStub(server.channel())
        count = 3000
        calls = [auth.Verify.future(auth_pb2.VerifyRequest(access_token="none")) for _ in range(count)]
        for call in calls:
            call.exception()
        trace, _, metadata = parent()
        auth.Login(login_request("admin", server.admin_password), metadata=metadata, timeout=PATIENCE_SECONDS)
        self.collector.trace(trace, LOGIN)
        begun = sum(span.name == VERIFY for span in self.collector.spans)
        # Six standard deviations to each side of 300; and less than the queue holds, which would lose some.
        self.assertTrue(200 < begun < 400, begun)
        self.assertEqual(lost(server), 0)

    def test_off_unless_asked_for(self):
        server = Server(environment=IN_TIME | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.collector.port}"})
        try:
            trace, _, metadata = parent()
            auth = auth_pb2_grpc.AuthServiceStub(server.channel())
            with self.assertRaises(grpc.RpcError):
                auth.Login(login_request("admin", "wrong horse battery"), metadata=metadata, timeout=PATIENCE_SECONDS)
            # The log names the caller's trace all the same.
            eventually(lambda: True if f'"trace_id":"{trace}"' in server.log.read_text() else None)
        finally:
            server.stop()
        self.assertEqual(self.collector.requests, [])


class Encrypted(unittest.TestCase):
    def setUp(self):
        authority = Authority()
        usage = x509.ExtendedKeyUsageOID.SERVER_AUTH
        key, certificate = authority.leaf(usage, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        self.collector = Collector(grpc.ssl_server_credentials([(key, certificate)]))
        self.addCleanup(self.collector.stop)
        folder = tempfile.TemporaryDirectory(prefix="postern-traces-")
        self.addCleanup(folder.cleanup)
        self.ca = pathlib.Path(folder.name) / "ca.pem"
        self.ca.write_bytes(authority.pem)

    def export(self, *settings, environment):
        server = Server(
            *self.collector.settings, "telemetry.sample_one_in=1", *settings, environment=IN_TIME | environment
        )
        try:
            auth = auth_pb2_grpc.AuthServiceStub(server.channel())
            auth.Login(login_request("admin", server.admin_password), timeout=PATIENCE_SECONDS)
        finally:
            log = server.log
            server.interrupt()
            server.wait()
            text = log.read_text()
            server.stop()
        return text

    def test_the_collector_is_proven_and_gets_the_headers_it_wants(self):
        token = secrets.token_hex(16)
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}"}
        log = self.export(f"telemetry.ca={self.ca}", environment=headers)
        self.assertIn(LOGIN, {span.name for span in self.collector.spans})
        self.assertEqual({one["authorization"] for one in self.collector.headers}, {f"Bearer {token}"})
        self.assertNotIn(token, log)

    def test_a_collector_that_nobody_vouches_for_gets_nothing(self):
        log = self.export(environment={})
        self.assertEqual(self.collector.requests, [])
        self.assertIn("the collector of traces does not take them", log)


def lost(server):
    """Spans that the server could not deliver."""
    at = f"http://{server.facts['operations']['address']}/metrics"
    with urllib.request.urlopen(at, timeout=PATIENCE_SECONDS) as answer:
        (count,) = re.findall(r"^postern_spans_lost_total (\d+)", answer.read().decode(), re.MULTILINE)
    return int(count)
