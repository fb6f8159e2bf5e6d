//! The gateway, for browsers: where a person's sign-in at a provider begins and comes back to, and the few routes that keep a
//! browser signed in. Owns cookies, pages, and the rules by which one site is told from another. A gRPC client of the service
//! and no more: it decides nobody's sign-in, stores nothing, and knows secrets only while they pass through.
//!
//! Nothing here is retried: a code, a state and a hand-off count once, and whoever asks again comes with a browser.

mod answer;
mod callback;
mod calls;
mod cookies;
mod home;
mod link;
mod notice;
mod origin;
mod page;
mod parameters;
mod refusal;
mod routes;
mod session;
mod start;
mod well_known;
mod words;

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, HeaderValue, VARY};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Bytes};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::connection::{Bounds, converse};
use crate::clock::Clock;
use crate::domain::client::DEVELOPMENT_ID;
use crate::domain::id::ClientId;
use crate::domain::proxy::TrustedProxies;
use crate::listener::Listener;
use crate::metrics::{Counter, Family, Labels};
use crate::spans;
use answer::{Answer, Armour};
use parameters::Parameters;
use refusal::Refusal;
use routes::{Form, Route};
use well_known::WellKnown;
use words::Language;

pub use calls::{Credential, Upstream};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Cookies hold an access token of 3 KiB, a refresh token, and the flows under way.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 16 * 1024;
const CONNECTION_AGE: Duration = Duration::from_mins(10);
/// For the log and what is counted: what strangers make up must not get there.
const NO_ROUTE: &str = "other";
/// For answers that were begun when the end came.
const DRAIN: Duration = Duration::from_secs(5);

/// What a gateway is told.
pub struct GatewaySettings {
    /// Its origin, as browsers see it.
    pub url: String,
    /// The first also asks for what no client in particular wants.
    pub clients: Vec<ServedClient>,
    /// Whether `/` shows a newcomer how it works, by the development profile's client.
    pub has_home: bool,
    /// What they say of whom they pass on is believed.
    pub proxies: TrustedProxies,
}

/// A program whose people sign in here.
pub struct ServedClient {
    pub id: ClientId,
    /// Unset: the development profile's own, which needs none.
    pub credential: Option<Credential>,
    pub outcome: Outcome,
    /// Of whose pages scripts may call its routes, beside the gateway's own.
    pub origins: Vec<String>,
}

/// What a person goes back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Cookies,
    /// A one-time code, which the program's backend trades in.
    Handoff,
}

/// See above.
pub struct Gateway {
    settings: GatewaySettings,
    upstream: Upstream,
    clock: Clock,
    armour: Armour,
    well_known: WellKnown,
    requests: Family<Labels<2>, Counter>,
}

/// A request, as far as it was read.
struct Asked {
    method: Method,
    headers: HeaderMap,
    query: String,
    body: Bytes,
    form: Form,
    /// Where the browser is, past the proxies of our own.
    peer: IpAddr,
    request_id: Arc<str>,
}

impl Gateway {
    pub fn new(settings: GatewaySettings, upstream: Upstream, clock: Clock) -> Self {
        let armour = Armour::new(&settings.url);
        Self { settings, upstream, clock, armour, well_known: WellKnown::default(), requests: Family::default() }
    }

    /// Requests that were answered, by route and class of status.
    pub fn requests(&self) -> Family<Labels<2>, Counter> {
        self.requests.clone()
    }

    /// Answers browsers until `shutdown`, and then finishes what was begun.
    pub async fn serve(self, listener: Listener, shutdown: CancellationToken) {
        let head = listener.patience.head;
        let bounds = Bounds { head, head_bytes: HEAD_BYTES_MAX, age: CONNECTION_AGE, farewell: DRAIN };
        let (gateway, closing) = (Arc::new(self), shutdown.clone());
        let speak = move |connection: crate::listener::Connection| {
            let (gateway, peer) = (Arc::clone(&gateway), connection.peer.ip());
            let service = tower::service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(gateway.answer(request, peer, head).await) }
            });
            converse(connection, TowerToHyperService::new(service), bounds, closing.clone())
        };
        let answers = listener.serve(speak, shutdown.clone());
        tokio::select! {
            () = answers => {}
            () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
        }
    }

    /// Answers, whatever happens. The log has the place and the outcome, never the query, a cookie or a body.
    async fn answer<B>(&self, request: Request<B>, peer: IpAddr, patience: Duration) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let request_id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
        // An error's span whatever the filter is, as around the RPCs, which bear the same id.
        let span = tracing::error_span!("http", request_id = &*request_id, trace_id = Empty);
        let route = Route::of(request.uri().path());
        let template = route.as_ref().map_or(NO_ROUTE, Route::template);
        let method = request.method().clone();
        let exported = spans::page(&method, template, &request_id);
        // What a browser says of a trace, anybody may have made up; a proxy of our own begins them.
        if self.settings.proxies.hold(peer) {
            spans::adopt(&exported, request.headers());
        }
        if let Some(id) = spans::trace_id(&exported, &HeaderMap::new()) {
            span.record("trace_id", id);
        }
        let forwarded = request.headers().get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let peer = self.settings.proxies.client(peer, forwarded);
        let (language, is_program) = (Language::of(request.headers()), is_program(request.headers(), route.as_ref()));
        let reader = self.reader(route.as_ref(), request.headers());
        let answered = async {
            // On the heap: it is large, and all that waits for it would be as large.
            let doing = Box::pin(self.read_and_do(request, route, peer, patience, Arc::clone(&request_id)));
            let done = caught(doing).await;
            let mut answer = done.unwrap_or_else(|refusal| {
                if is_program { refusal.to_json() } else { refusal.to_page(language, &request_id) }
            });
            if let Some(Reader { origin }) = reader {
                answer.headers_mut().append(VARY, HeaderValue::from_static("origin"));
                if let Some(origin) = origin {
                    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
            self.armour.put_on(&mut answer, &request_id);
            let status = answer.status().as_u16();
            tracing::debug!(%method, route = template, status, "answered");
            self.requests.get_or_create(&[("route", template), ("status", class(status))]).inc();
            spans::http_ended(&exported, status);
            answer
        };
        answered.instrument(exported.clone()).instrument(span).await
    }

    /// Of routes that cookies answer for: which page may read what is answered (Fetch Standard, section 3.3).
    fn reader(&self, route: Option<&Route>, headers: &HeaderMap) -> Option<Reader> {
        let client = self.served(route?.session_of()?)?;
        let origin = origin::reader(headers, &client.origins).and_then(|origin| HeaderValue::from_str(origin).ok());
        Some(Reader { origin })
    }

    async fn read_and_do<B>(
        &self,
        request: Request<B>,
        route: Option<Route>,
        peer: IpAddr,
        patience: Duration,
        request_id: Arc<str>,
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let route = route.ok_or_else(Refusal::not_found)?;
        let (parts, body) = request.into_parts();
        if !route.takes(&parts.method) {
            // A refusal too, but this one has a header of its own (RFC 9110, section 15.5.6).
            let mut answer = Refusal::method_not_allowed().to_json();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
            return Ok(answer);
        }
        let body = match tokio::time::timeout(patience, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => return Err(Refusal::too_large()),
            Ok(Err(_broken_off)) => return Err(Refusal::malformed()),
            Err(_elapsed) => return Err(Refusal::too_slow()),
        };
        let form = if parts.method == Method::POST { route.form(&parts.headers, body.is_empty())? } else { Form::None };
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let asked = Asked { method: parts.method, headers: parts.headers, query, body, form, peer, request_id };
        self.act(&asked, route).await
    }

    async fn act(&self, asked: &Asked, route: Route) -> Result<Answer, Refusal> {
        match route {
            Route::Home => self.home(asked).await,
            Route::Health => Ok(answer::plain(StatusCode::OK, answer::TEXT, "alive\n")),
            Route::Keys => self.keys(asked).await,
            Route::OpenIdConfiguration | Route::ServerMetadata => self.discovery(asked).await,
            Route::Start(client, provider) => self.start(asked, self.known(&client)?, &provider).await,
            Route::Callback(provider) if asked.method == Method::POST => callback::by_get(asked, &provider),
            Route::Callback(provider) => Ok(self.callback(asked, &provider).await),
            Route::Notice(provider) => self.notice(asked, &provider).await,
            Route::Session(client) | Route::Refresh(client) | Route::Logout(client) | Route::Revoke(client)
                if asked.method == Method::OPTIONS =>
            {
                session::preflight(asked, self.known(&client)?)
            }
            Route::Session(client) => self.session(asked, self.known(&client)?).await,
            Route::Refresh(client) => self.refresh(asked, self.known(&client)?).await,
            Route::Logout(client) => self.logout(asked, self.known(&client)?).await,
            Route::Revoke(client) => self.revoke(asked, self.known(&client)?).await,
            Route::Link(client) => self.link(asked, self.known(&client)?).await,
        }
    }

    fn served(&self, id: &ClientId) -> Option<&ServedClient> {
        self.settings.clients.iter().find(|client| client.id == *id)
    }

    fn known(&self, id: &ClientId) -> Result<&ServedClient, Refusal> {
        self.served(id).ok_or_else(Refusal::not_found)
    }

    /// As whom the gateway asks for what no client in particular wants.
    fn first(&self) -> Result<&ServedClient, Refusal> {
        self.settings.clients.first().ok_or_else(Refusal::not_found)
    }

    /// The client of the page at `/`, if there is one.
    fn home_client(&self) -> Option<&ServedClient> {
        let is_home = |client: &&ServedClient| client.id.as_str() == DEVELOPMENT_ID;
        self.settings.clients.iter().find(is_home).filter(|_| self.settings.has_home)
    }
}

/// Who may read an answer, beside the page's own origin.
struct Reader {
    origin: Option<HeaderValue>,
}

impl Asked {
    fn parameters(&self) -> Result<Parameters, Refusal> {
        let body;
        let text = match self.form {
            Form::Fields => {
                body = std::str::from_utf8(&self.body).map_err(|_no_text| Refusal::malformed())?;
                body
            }
            Form::None | Form::Json => self.query.as_str(),
        };
        Parameters::parse(text).map_err(Into::into)
    }
}

impl From<parameters::Malformed> for Refusal {
    fn from(_: parameters::Malformed) -> Self {
        Self::malformed()
    }
}

/// RFC 9110, section 15.
const fn class(status: u16) -> &'static str {
    match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Whether a program is to read the answer: it says so, or the route is one for scripts.
fn is_program(headers: &HeaderMap, route: Option<&Route>) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_session = route.is_some_and(|route| route.session_of().is_some() || matches!(route, Route::Notice(_)));
    !is_person(accept) && (is_session || accept.contains("application/json"))
}

fn is_person(accept: &str) -> bool {
    accept.contains("text/html")
}

/// A panic is an answer of its own request and of no other, and carries what every answer does.
async fn caught(doing: impl Future<Output = Result<Answer, Refusal>>) -> Result<Answer, Refusal> {
    let mut doing = pin!(doing);
    std::future::poll_fn(|context| {
        // Whatever the request held is dropped with it; what requests share is replaced as a whole.
        std::panic::catch_unwind(AssertUnwindSafe(|| doing.as_mut().poll(context)))
            .unwrap_or_else(|_told_by_the_hook| Poll::Ready(Err(Refusal::internal())))
    })
    .await
}

#[cfg(test)]
mod tests;
