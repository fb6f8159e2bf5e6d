//! What stands around every RPC, whichever service it belongs to: who asked (an id), how long it may take, and that a
//! panic costs one call. Must not know what the calls mean. In which order the layers stand, and why, says `grpc.rs`.

mod stack;

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::budget;
use crate::clock::Clock;
use crate::domain::id::ClientId;
use crate::domain::time::{Moment, Timestamp};
use crate::grpc::rpcs::{Named, Rpcs};
use crate::grpc::status;
use crate::proto::account::v1::account_service_server::SERVICE_NAME as ACCOUNT_SERVICE;
use crate::proto::admin::v1::admin_service_server::SERVICE_NAME as ADMIN_SERVICE;
use crate::proto::auth::v1::auth_service_server::SERVICE_NAME as AUTH_SERVICE;
use crate::spans;

pub use stack::{Answer, Around, Elsewhere, Made, Middle};

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_LEN_MAX: usize = 64;
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Of a method's path in the log. The longest of ours has half of that.
const PATH_BYTES_MAX: usize = 128;

/// What is known of a call from outside its message; in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Trace {
    request_id: Arc<str>,
    client: Arc<OnceLock<ClientId>>,
    /// What the call's lines stand in, and what is exported of it.
    spans: [Span; 2],
}

impl Trace {
    pub fn new(request_id: Arc<str>) -> Self {
        Self { request_id, client: Arc::default(), spans: [Span::none(), Span::none()] }
    }

    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// What the call's lines stand in. An error's span whatever the filter is: a line without the id is of no use to whoever
    /// has the answer.
    pub fn span(&self) -> Span {
        let [span, _] = &self.spans;
        if span.is_none() { self.new_span() } else { span.clone() }
    }

    fn new_span(&self) -> Span {
        tracing::error_span!("rpc", request_id = &*self.request_id, trace_id = Empty)
    }

    /// For the access log: who the client turned out to be.
    pub fn identified(&self, client: &ClientId) {
        self.client.get_or_init(|| client.clone());
    }
}

/// Gives every call its id, in the span, the request and the answer; and when it ends, writes one line and counts it.
#[derive(Clone, Debug)]
pub struct Observe {
    pub clock: Clock,
    pub rpcs: Rpcs,
}

impl Middle for Observe {
    async fn run<S: Answer>(&self, mut request: Request<Body>, next: &S) -> Response<Body> {
        let started = self.clock.moment();
        let mut trace = Trace::new(request_id(request.headers(), started.wall));
        let path = request.uri().path().trim_start_matches('/');
        let named = self.rpcs.named(path);
        let method = match named.path {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(path.get(..path.floor_char_boundary(PATH_BYTES_MAX)).unwrap_or_default().to_owned()),
        };
        named.counts.begun();
        let exported = spans::rpc(named.service, named.method, &trace.request_id);
        let is_traced = spans::is_traced(&exported, request.headers());
        // Of verdicts, nearly none has a line to stand in it, and to make one takes as long as to judge.
        let span = if is_traced || !is_bare(&method) { trace.new_span() } else { Span::none() };
        if is_traced {
            spans::adopt(&exported, request.headers());
            if let Some(id) = spans::trace_id(&exported, request.headers()) {
                span.record("trace_id", id);
            }
        }
        trace.spans = [span.clone(), exported.clone()];
        request.extensions_mut().insert(trace.clone());
        let id = HeaderValue::from_str(&trace.request_id);
        let code = Code::Cancelled;
        let mut line = AccessLine { method, trace, started, observe: self, named, exported: exported.clone(), code };
        async move {
            let mut response = next.answer(request).await;
            line.code = self::code(&response);
            if let Ok(mut id) = id {
                // Not a secret: what is marked so is not put into the table of the connection's headers (RFC 7541, section
                // 7.1.3), where each new one would push out what comes again.
                id.set_sensitive(true);
                response.headers_mut().insert(REQUEST_ID, id);
            }
            drop(line);
            response
        }
        .instrument(exported)
        .instrument(span)
        .await
    }
}

/// Writes itself when it goes away, so that calls which the caller gave up are seen too.
struct AccessLine<'a> {
    method: Cow<'static, str>,
    trace: Trace,
    started: Moment,
    observe: &'a Observe,
    named: &'a Named,
    exported: Span,
    code: Code,
}

impl Drop for AccessLine<'_> {
    fn drop(&mut self) {
        let took = self.observe.clock.moment().since(self.started);
        self.named.counts.ended(name(self.code), took);
        spans::rpc_ended(&self.exported, self.code.into(), is_ours(self.code));
        let micros = took.as_micros();
        // To the microsecond; what stands behind it is noise.
        let duration_ms = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0;
        let client = self.trace.client.get().map(ClientId::as_str);
        let (method, code) = (&*self.method, name(self.code));
        // So many that they would drown the rest, and cost more than the call; unless it was a fault, of which there is a line
        // already, without the id where there was no span.
        if is_frequent(method) && !matches!(self.code, Code::Internal | Code::Unknown) {
            if tracing::enabled!(tracing::Level::DEBUG) {
                self.trace.span().in_scope(|| tracing::debug!(method, code, duration_ms, client, "answered"));
            }
        } else {
            self.trace.span().in_scope(|| tracing::info!(method, code, duration_ms, client, "answered"));
        }
    }
}

/// Whether a code speaks of a fault of the server, as OpenTelemetry has it for servers.
fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn is_frequent(method: &str) -> bool {
    match method.split_once('/') {
        Some((AUTH_SERVICE, method)) => matches!(method, "Verify" | "BatchVerify"),
        Some((service, _)) => service == "grpc.health.v1.Health",
        None => false,
    }
}

/// What has no span unless it has a line to stand in it.
fn is_bare(method: &str) -> bool {
    matches!(method.split_once('/'), Some((AUTH_SERVICE, "Verify") | ("grpc.health.v1.Health", "Check")))
}

/// The caller's id if it is a plain one, so that a request can be followed through several services; else a new one.
fn request_id(headers: &HeaderMap, now: Timestamp) -> Arc<str> {
    let mut sent = headers.get_all(REQUEST_ID).iter();
    match (sent.next().and_then(|id| id.to_str().ok()), sent.next()) {
        (Some(id), None) if is_request_id(id) => id.into(),
        _ => new_id(now),
    }
}

/// A UUID of version 7 (RFC 9562, section 6.2): the time, what is of this process alone, and a count. Asking the system for random bytes
/// takes longer than a verdict, and nobody has to guess an id.
fn new_id(now: Timestamp) -> Arc<str> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static OF_THIS_PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut rest = [0; 10];
    let (own, counted) = rest.split_at_mut(6);
    own.iter_mut().zip(OF_THIS_PROCESS.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    counted.copy_from_slice(&count.to_be_bytes());
    let millis = u64::try_from(now.millis()).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    Arc::from(&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
}

fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_LEN_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A panic is an answer of its own call and of no other.
#[derive(Clone, Copy, Debug)]
pub struct CatchPanic;

impl Middle for CatchPanic {
    async fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> Response<Body> {
        let mut answer = pin!(next.answer(request));
        std::future::poll_fn(|context| {
            // Whatever the call held is dropped with it and asked no more; what calls share is behind locks that count
            // poisoning as nothing, and is replaced as a whole.
            std::panic::catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)))
                .unwrap_or_else(|_told_by_the_hook| Poll::Ready(status::internal().into_http()))
        })
        .await
    }
}

/// Of an answer that is all headers, as refusals are. What has no code yet has begun to answer.
fn code(response: &Response<Body>) -> Code {
    response.headers().get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// What is no gRPC is refused in the words of HTTP, which is what such a caller knows. gRPC-Web is among it: a browser is
/// to come through a front.
#[derive(Clone, Copy, Debug)]
pub struct Form;

impl Middle for Form {
    async fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> Response<Body> {
        let refused = if request.method() != Method::POST {
            StatusCode::METHOD_NOT_ALLOWED
        } else if !is_grpc(request.headers()) {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else {
            return next.answer(request).await;
        };
        let mut response = Status::unimplemented("this port speaks gRPC").into_http();
        *response.status_mut() = refused;
        response
    }
}

/// `application/grpc`, also with `+proto`, which is what it means, and with parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|form| form.as_bytes().strip_prefix(b"application/grpc"))
        .map(|rest| rest.strip_prefix(b"+proto").unwrap_or(rest));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b";"))
}

/// A message that cannot be read is the caller's fault. tonic calls it an internal error, which would wake somebody up;
/// ours always have details.
#[derive(Clone, Copy, Debug)]
pub struct Malformed;

impl Middle for Malformed {
    async fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> Response<Body> {
        let response = next.answer(request).await;
        let is_tonics =
            code(&response) == Code::Internal && !response.headers().contains_key(Status::GRPC_STATUS_DETAILS);
        if is_tonics { status::malformed().into_http() } else { response }
    }
}

/// Bounds how long a call waits for engines.
#[derive(Clone, Copy, Debug)]
pub struct Budget;

impl Middle for Budget {
    async fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> Response<Body> {
        budget::around(next.answer(request)).await
    }
}

/// Ends a call when the caller's deadline or ours has passed, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Deadline;

impl Middle for Deadline {
    async fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> Response<Body> {
        let cap = deadline_cap(request.uri().path());
        let limit = caller_timeout(request.headers()).map_or(cap, |asked| asked.min(cap));
        match tokio::time::timeout(limit, next.answer(request)).await {
            Ok(response) => response,
            Err(_elapsed) => Status::deadline_exceeded("the deadline passed before there was an answer").into_http(),
        }
    }
}

/// The longest that a method may take; streams must only begin in it.
fn deadline_cap(path: &str) -> Duration {
    let secs = match path.trim_start_matches('/').split_once('/') {
        Some((AUTH_SERVICE, "Verify" | "BatchVerify" | "GetKeys")) => 1,
        Some((AUTH_SERVICE, "Refresh" | "ListSessions" | "Revoke" | "ListProviders")) => 3,
        // They wait for a provider, several times over.
        Some((AUTH_SERVICE, "OAuthExchange") | (ACCOUNT_SERVICE, "LinkIdentity")) => 15,
        Some((ADMIN_SERVICE, _)) => 30,
        _ => 10,
    };
    Duration::from_secs(secs)
}

/// `grpc-timeout`: at most eight digits and a unit. One that cannot be read is none; the cap holds anyway.
fn caller_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_hours(count)),
        "M" => Some(Duration::from_mins(count)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The code as the gRPC documents spell it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What is answered from memory.
fn waits_for_nothing(path: &str) -> bool {
    let path = path.trim_start_matches('/');
    is_frequent(path) || matches!(path.split_once('/'), Some((AUTH_SERVICE, "GetKeys" | "ListProviders")))
}

#[cfg(test)]
mod tests;
