//! What a trace is made of: the spans that may leave the process, what is said in them, and how a trace crosses the wire
//! (W3C Trace Context, <https://www.w3.org/TR/trace-context/>). Nothing but what is written here is ever exported, so that no
//! secret can be: no value that a caller sent, no address, no id of a person. Knows no other room; `telemetry` exports.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions where these have one.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Span, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of all that is exported, and of nothing else.
pub const TARGET: &str = module_path!();

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// What a tracestate must have room for, at least (section 3.3.1.5). A longer one is dropped, and the trace goes on without.
const TRACESTATE_BYTES_MAX: usize = 512;

/// A call that came in. Both words are those of the contract, or `other`.
pub fn rpc(service: &'static str, method: &'static str, request_id: &str) -> Span {
    trace_span!(
        "rpc",
        otel.kind = "server",
        otel.name = format_args!("{service}/{method}"),
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        postern.request_id = request_id,
    )
}

/// How a call ended; `is_ours`: by a fault of the server's.
pub fn rpc_ended(span: &Span, code: i32, is_ours: bool) {
    span.record("rpc.grpc.status_code", code);
    failed_if(span, is_ours);
}

/// A call to a server of ours, from the gateway.
pub fn call(service: &str, method: &str) -> Span {
    trace_span!(
        "call",
        otel.kind = "client",
        otel.name = format_args!("{service}/{method}"),
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    )
}

/// A request of a browser. The route is a template.
pub fn page(method: &http::Method, route: &'static str, request_id: &str) -> Span {
    let method = known(method);
    trace_span!(
        "http",
        otel.kind = "server",
        otel.name = format_args!("{method} {route}"),
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        postern.request_id = request_id,
    )
}

/// A request to a provider. Its paths and queries stay here.
pub fn ask_provider(method: &http::Method, host: &str) -> Span {
    let method = known(method);
    trace_span!(
        "ask provider",
        otel.kind = "client",
        otel.name = method,
        otel.status_code = Empty,
        http.request.method = method,
        server.address = host,
        http.response.status_code = Empty,
    )
}

/// How a request ended.
pub fn http_ended(span: &Span, status: u16) {
    // Signed: OpenTelemetry has no other integers, and what is none becomes text.
    span.record("http.response.status_code", i64::from(status));
    failed_if(span, status >= 500);
}

/// A statement, whose values are not in its text.
pub fn statement(system: &'static str, text: &str) -> Span {
    let operation = text.split_ascii_whitespace().next().unwrap_or_default();
    trace_span!(
        "statement",
        otel.kind = "client",
        otel.name = operation,
        otel.status_code = Empty,
        db.system.name = system,
        db.operation.name = operation,
        db.query.text = text,
    )
}

/// One step of the vault. A bucket's kind has no name of its own.
pub fn vault(operation: &'static str, kind: &'static str) -> Span {
    trace_span!(
        "vault",
        otel.kind = "client",
        otel.name = format_args!("vault {operation}"),
        otel.status_code = Empty,
        db.operation.name = operation,
        db.collection.name = kind,
    )
}

/// A password's turn, with the wait for it.
pub fn hashing() -> Span {
    trace_span!("hash password", otel.status_code = Empty)
}

/// Marks what went wrong.
pub fn failed_if(span: &Span, failed: bool) {
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Whether a call belongs to any trace. Of most calls nobody asks, and looking closer takes longer than a verdict.
pub fn is_traced(span: &Span, headers: &HeaderMap) -> bool {
    !span.is_disabled() || headers.contains_key(TRACEPARENT)
}

/// Makes `span`, which has not begun, part of the trace that the caller tells of. Ids are all that is taken from there.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    let theirs = TraceContextPropagator::new().extract(&Theirs(headers));
    if theirs.span().span_context().is_valid() {
        // There is nothing to be part of where nothing is exported.
        drop(span.set_parent(theirs));
    }
}

/// Which trace a call belongs to, for the log: that of `span`, or else what the caller says.
pub fn trace_id(span: &Span, headers: &HeaderMap) -> Option<String> {
    let told = |context: &SpanContext| context.is_valid().then(|| context.trace_id().to_string());
    let own = span.context();
    let own = told(own.span().span_context());
    own.or_else(|| told(TraceContextPropagator::new().extract(&Theirs(headers)).span().span_context()))
}

/// Tells a server of ours which trace `span` belongs to.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut Ours(headers));
}

/// The headers of a caller, of which two are looked at. What is there twice, or too long, is as good as not there.
struct Theirs<'a>(&'a HeaderMap);

impl Extractor for Theirs<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let one = |name| {
            let mut all = self.0.get_all(name).iter();
            let first = all.next()?.to_str().ok();
            first.filter(|_| all.next().is_none())
        };
        if key == TRACEPARENT {
            one(TRACEPARENT).filter(|parent| is_traceparent(parent))
        } else if key == TRACESTATE {
            // Of none: the parent's ids still count.
            Some(one(TRACESTATE).filter(|state| state.len() <= TRACESTATE_BYTES_MAX).unwrap_or_default())
        } else {
            None
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// Two, 32, 16 and two digits (section 3.2.2). A later version may have more behind them; the propagator judges the digits,
/// and would take fewer.
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths.starts_with(&[2, 32, 16, 2])
}

struct Ours<'a>(&'a mut HeaderMap);

impl Injector for Ours<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn adopted(of: &[(&'static str, &str)]) -> SpanContext {
        let headers = headers(of);
        TraceContextPropagator::new().extract(&Theirs(&headers)).span().span_context().clone()
    }

    #[test]
    fn a_callers_trace_is_known_by_its_ids() {
        let context = adopted(&[("traceparent", PARENT), ("tracestate", "a=1,b=2")]);
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2");
        let span = Span::none();
        let told = trace_id(&span, &headers(&[("traceparent", PARENT)]));
        assert_eq!(told.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"), "also where nothing is exported");
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for parent in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-../../etc/passwd0000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(!adopted(&[("traceparent", parent)]).is_valid(), "{parent}");
        }
        let mut twice = headers(&[("traceparent", PARENT)]);
        twice.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(trace_id(&Span::none(), &twice), None);
        assert_eq!(trace_id(&Span::none(), &HeaderMap::new()), None);
    }

    #[test]
    fn of_a_huge_state_and_of_baggage_nothing_is_kept() {
        let huge = format!("a={}", "x".repeat(64 * 1024));
        let context = adopted(&[("traceparent", PARENT), ("tracestate", &huge), ("baggage", "user=admin")]);
        assert!(context.is_valid());
        assert_eq!(context.trace_state().header(), "");
    }
}
