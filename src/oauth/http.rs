//! Requests to others: short, small, encrypted, never redirected, never repeated. Knows nothing of what is said.

use std::error::Error;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::Instrument as _;
use url::Url;

use super::address::{OutOfReach, Reach, Resolver};
use super::{Absence, ProviderFault, Rejection};
use crate::spans;
use crate::tls::{ClientTlsError, client_config};

/// Of an answer with tokens or a profile.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of what a provider publishes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Of a status line with its headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// GitHub answers nobody without a name.
const NAME: HeaderValue = HeaderValue::from_static(concat!("postern/", env!("CARGO_PKG_VERSION")));
/// Where a provider does not say how long it wants to be left alone.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Tokens or a profile.
    Answer,
    /// A discovery document.
    Document,
    /// Keys, which have a media type of their own (RFC 7517, section 8.5).
    Keys,
}

impl Expected {
    const fn bytes_max(self) -> usize {
        match self {
            Self::Answer => ANSWER_BYTES_MAX,
            Self::Document | Self::Keys => DOCUMENT_BYTES_MAX,
        }
    }
}

/// What was answered, as long as it was no failure of the server. Has no `Debug`: it holds tokens.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Empty if it was no JSON, which only an error may be.
    pub(super) body: Vec<u8>,
    /// `max-age`, if it may be kept at all.
    pub(super) max_age: Option<Duration>,
}

/// Speaks HTTP/1.1 to one provider.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    reach: Reach,
    call_time: Duration,
}

impl Http {
    /// Nothing may take longer than `call_time`, the body with it.
    pub(super) fn new(reach: Reach, ca: Option<&std::path::Path>, call_time: Duration) -> Result<Self, ClientTlsError> {
        let mut connector = HttpConnector::new_with_resolver(Resolver { reach });
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIME.min(call_time)));
        connector.set_nodelay(true);
        let connector = HttpsConnector::from((connector, client_config(ca)?));
        let client = Client::builder(TokioExecutor::new())
            // A connection that the other side has closed meanwhile would cost a code, which is never sent twice; and a
            // connection that is kept would outlive what its name resolves to.
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { client, reach, call_time })
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Asks with a bearer token, if there is one (RFC 6750, section 2.1).
    pub(super) async fn get(
        &self,
        url: &Url,
        bearer: Option<&SecretString>,
        expected: Expected,
    ) -> Result<Answer, ProviderFault> {
        let mut request = Request::get(url.as_str()).body(Full::default()).map_err(|_why| Absence::Address.now())?;
        if let Some(token) = bearer {
            // A token that fits into no header is no token.
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_why| ProviderFault::Rejected(Rejection::Malformed))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.send(url, request, expected).await
    }

    /// Sends a request that somebody else has made.
    pub(super) async fn post(&self, url: &Url, request: Request<Vec<u8>>) -> Result<Answer, ProviderFault> {
        let request = request.map(|body| Full::new(Bytes::from(body)));
        self.send(url, request, Expected::Answer).await
    }

    async fn send(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
        expected: Expected,
    ) -> Result<Answer, ProviderFault> {
        self.reach.judge(url).map_err(|OutOfReach| Absence::Address.now())?;
        request.headers_mut().insert(USER_AGENT, NAME);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let span = spans::ask_provider(request.method(), url.host_str().unwrap_or_default());
        let call = async {
            let response = self.client.request(request).await.map_err(|why| absence_of(&why).now())?;
            spans::http_ended(&span, response.status().as_u16());
            read(response, expected).await
        };
        let answer = tokio::time::timeout(self.call_time, call.instrument(span.clone())).await;
        let answer = answer.map_err(|_elapsed| Absence::Timeout.now()).flatten();
        spans::failed_if(&span, matches!(answer, Err(ProviderFault::Unavailable { .. })));
        answer
    }
}

async fn read(response: http::Response<Incoming>, expected: Expected) -> Result<Answer, ProviderFault> {
    let (head, body) = response.into_parts();
    let rejected = |why| Err(ProviderFault::Rejected(why));
    if head.status.is_redirection() {
        return rejected(Rejection::Redirected);
    }
    if head.status.is_server_error() {
        return Err(Absence::ServerError.until(retry_after(&head.headers)));
    }
    if head.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Absence::Throttled.until(retry_after(&head.headers)));
    }
    let encodings = head.headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.into_iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return rejected(Rejection::Encoded);
    }
    let is_json = is_json(&head.headers, expected);
    if !is_json && head.status.is_success() {
        return rejected(Rejection::Malformed);
    }
    let body = if is_json { collect(body, expected.bytes_max()).await? } else { Vec::new() };
    Ok(Answer { status: head.status, body, max_age: max_age(&head.headers) })
}

/// Piece by piece, so that what is too large is never held.
async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, ProviderFault> {
    let too_large = ProviderFault::Rejected(Rejection::TooLarge);
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| Absence::Connection.now())?;
        let Ok(piece) = frame.into_data() else { continue };
        if bytes.len() + piece.len() > bytes_max {
            return Err(too_large);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Of a request that got no answer. Nothing else of the error is kept: it may quote what was sent or received.
fn absence_of(why: &hyper_util::client::legacy::Error) -> Absence {
    let mut cause: Option<&(dyn Error + 'static)> = Some(why);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if error.is::<OutOfReach>()
            || io.and_then(std::io::Error::get_ref).is_some_and(<dyn Error + Send + Sync>::is::<OutOfReach>)
        {
            return Absence::Address;
        }
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
            return Absence::Timeout;
        }
        cause = error.source();
    }
    Absence::Connection
}

/// JSON by its media type; a charset beside it changes nothing, since JSON is UTF-8 (RFC 8259, section 8.1).
fn is_json(headers: &HeaderMap, expected: Expected) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let essence = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (expected == Expected::Keys && essence.eq_ignore_ascii_case("application/jwk-set+json"))
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs).min(RETRY_AFTER_MAX)
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let words = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut words = words.flat_map(|value| value.split(',')).map(str::trim);
    let seconds = words.find_map(|word| word.to_ascii_lowercase().strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

impl Absence {
    /// Worth trying again soon.
    pub(super) const fn now(self) -> ProviderFault {
        self.until(RETRY_AFTER_DEFAULT)
    }

    pub(super) const fn until(self, retry_after: Duration) -> ProviderFault {
        ProviderFault::Unavailable { why: self, retry_after }
    }
}

impl From<Rejection> for ProviderFault {
    fn from(why: Rejection) -> Self {
        Self::Rejected(why)
    }
}

impl From<Absence> for ProviderFault {
    fn from(why: Absence) -> Self {
        why.now()
    }
}
