//! The way to a provider and back: begins flows, holds what returns against them, and asks the provider who it is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use super::{CodeAnswer, FLOW_TTL, ProviderCode, Returning, Start, Started, Vouched};
use crate::auth::error::{AuthError, FlowFault};
use crate::auth::limits::Door;
use crate::auth::ticket::{Ticket, digest_of, random, s256, same};
use crate::auth::{Auth, Call, needs};
use crate::budget;
use crate::domain::session::TokenScope;
use crate::domain::time::Timestamp;
use crate::oauth::{Ask, Grant, Provider};
use crate::vault::Kind;
use crate::vault::flows::Flow;
use crate::vault::records::{Found, Stored};

/// What providers say when a person would not, or was not asked (RFC 6749, section 4.1.2.1; OpenID Connect Core, section
/// 3.1.2.6).
const CANCELLED: [&str; 6] = [
    "access_denied",
    "consent_required",
    "login_required",
    "interaction_required",
    "account_selection_required",
    "user_cancelled_authorize",
];
const AWAY: [&str; 2] = ["temporarily_unavailable", "server_error"];
/// They do not say when to come back.
const REST: Duration = Duration::from_secs(10);

/// What returns, as a flow sees it.
struct Return<'a> {
    provider: Option<&'a str>,
    /// Unset where there is no redirect.
    issuer: Option<&'a str>,
    flow_secret: &'a SecretString,
    /// Who is to be asked then.
    asks: Option<&'a Provider>,
}

impl Auth {
    /// Begins a sign-in at a provider. Needs `postern:auth:login` of the client.
    pub async fn oauth_start(&self, call: &Call, start: Start) -> Result<Started, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let scope = crate::auth::scope(&call.client, &start.scope)?;
        let provider = self.provider(&start.provider)?;
        if !start.return_url.is_empty() && !call.client.return_urls.contains(&start.return_url) {
            let problem = "must be one of this client's return URLs, letter by letter";
            return Err(AuthError::field("return_url", problem));
        }
        let may_pass = &provider.settings().parameters;
        if let Some(name) = start.parameters.keys().find(|name| !may_pass.contains(name)) {
            // A name is shown only if it is one that somebody could have meant.
            let shown = if name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_graphic()) { name } else { "?" };
            let field = format!("parameters[{shown}]");
            return Err(AuthError::field(field, format!("this provider takes only: {}", may_pass.join(", "))));
        }
        self.sessions.answers().map_err(|why| AuthError::from(why).before_any_work())?;
        // Whoever begins without end fills the vault. What comes back puts it back.
        let attempt = self.admit_from(call, Door::Provider, &start.ip_address).await?;
        let started = self.start_flow(call, &provider, scope, start).await;
        if started.is_err() {
            self.settle(&attempt, &started).await;
        }
        started
    }

    async fn start_flow(
        &self,
        call: &Call,
        provider: &Provider,
        scope: TokenScope,
        start: Start,
    ) -> Result<Started, AuthError> {
        let now = self.store.time().await.map_err(|why| AuthError::from(why).before_any_work())?;

        let ticket = Ticket::generate(&self.masters)?;
        let state = ticket.encode("");
        let (code_verifier, flow_secret) = (text_of(random::<32>()?.as_slice()), text_of(random::<32>()?.as_slice()));
        let nonce = hex(random::<32>()?.as_slice());
        let code_challenge = s256(&code_verifier);
        let ask = Ask { state: &state, nonce: &nonce, code_challenge: &code_challenge, parameters: &start.parameters };
        let authorization = budget::apart(provider.authorize(&ask)).await.map_err(|fault| {
            let at = Returning { ip_address: "", return_url: &start.return_url };
            self.fault(call, provider, &fault, &at)
        })?;

        let flow = Flow {
            provider: provider.settings().id.clone(),
            issuer: authorization.issuer,
            sends_issuer: authorization.sends_issuer,
            client: call.client.id.clone(),
            secret_digest: digest_of(&flow_secret),
            nonce: nonce.clone(),
            code_verifier,
            return_url: start.return_url,
            handoff_challenge: start.handoff_challenge,
            scope,
            expire_time: now + FLOW_TTL,
        };
        let flow_id = ticket.shadow();
        let name = self.flow_name(&flow_id).ok_or_else(|| AuthError::internal("the current master key is gone"))?;
        if !self.flows.insert(&name, &flow).await? {
            return Err(AuthError::internal("a new flow's name was taken"));
        }
        Ok(Started {
            authorization_url: authorization.url,
            flow_id: flow_id.encode(""),
            flow_secret,
            nonce,
            expire_time: flow.expire_time,
        })
    }

    /// Trades a provider's code in, and hears who it is.
    pub(in crate::auth) async fn vouched_by_code(
        &self,
        call: &Call,
        returned: &ProviderCode,
        ip_address: &str,
    ) -> Result<Vouched, AuthError> {
        let provider = self.provider(&returned.provider)?;
        let id = provider.settings().id.as_str();
        let flow_id = Ticket::parse("", &returned.state).map(|ticket| ticket.shadow());
        let asks = matches!(returned.answer, CodeAnswer::Code(_)).then_some(&*provider);
        let way =
            Return { provider: Some(id), issuer: Some(&returned.issuer), flow_secret: &returned.flow_secret, asks };
        let flow = match self.take_flow(call, flow_id, &way).await? {
            Ok(flow) => flow,
            Err(fault) => return Err(self.flow_failed(call, id, fault, ip_address)),
        };
        let at = Returning { ip_address, return_url: &flow.return_url };
        let code = match &returned.answer {
            CodeAnswer::Code(code) => code,
            CodeAnswer::Error(error) if CANCELLED.contains(&error.as_str()) => {
                self.record_failure(call, "OAUTH_CANCELLED", id, "cancelled", ip_address);
                return Err(AuthError::OAuthCancelled { return_url: flow.return_url });
            }
            CodeAnswer::Error(error) if AWAY.contains(&error.as_str()) => {
                return Err(AuthError::OAuthProviderUnavailable { retry_after: REST, return_url: flow.return_url });
            }
            CodeAnswer::Error(_) => return Err(self.rejected(call, &provider, "error_returned", &at)),
        };
        let address = ip_address.parse().ok();
        let grant =
            Grant { code, code_verifier: &flow.code_verifier, state: &returned.state, nonce: &flow.nonce, address };
        let profile = budget::apart(provider.exchange(&grant)).await;
        let profile = profile.map_err(|fault| self.fault(call, &provider, &fault, &at))?;
        Ok(vouched(provider, profile, flow))
    }

    /// Hears who it is from an `id_token` that a native SDK got.
    pub(super) async fn vouched_by_token(
        &self,
        call: &Call,
        flow_id: &SecretString,
        flow_secret: &SecretString,
        id_token: &SecretString,
        ip_address: &str,
    ) -> Result<Vouched, AuthError> {
        let way = Return { provider: None, issuer: None, flow_secret, asks: None };
        let flow = match self.take_flow(call, Ticket::parse("", flow_id), &way).await? {
            Ok(flow) => flow,
            Err(fault) => return Err(self.flow_failed(call, "", fault, ip_address)),
        };
        let provider = self.provider(flow.provider.as_str())?;
        let at = Returning { ip_address, return_url: &flow.return_url };
        let profile = budget::apart(provider.native(id_token, &flow.nonce, ip_address.parse().ok())).await;
        let profile = profile.map_err(|fault| self.fault(call, &provider, &fault, &at))?;
        Ok(vouched(provider, profile, flow))
    }

    /// The flow that this return belongs to, which is over from now on. A return that does not fit leaves it as it is.
    async fn take_flow(
        &self,
        call: &Call,
        flow_id: Option<Ticket>,
        way: &Return<'_>,
    ) -> Result<Result<Flow, FlowFault>, AuthError> {
        self.sessions.answers()?;
        let Some(name) = flow_id.and_then(|ticket| self.flow_name(&ticket)) else {
            return Ok(Err(FlowFault::Malformed));
        };
        let found = self.flows.get(&name).await.map_err(|why| AuthError::from(why).before_any_work())?;
        let stored: Box<Stored<Flow>> = match found {
            Found::Record(stored) => stored,
            Found::Absent => return Ok(Err(FlowFault::Unknown)),
            Found::Unreadable(why) => {
                tracing::error!(%why, "a flow's record is unreadable");
                return Ok(Err(FlowFault::Unreadable));
            }
        };
        let now = self.store.time().await.map_err(|why| AuthError::from(why).before_any_work())?;
        if let Err(fault) = judge(&stored.record, call, way, now) {
            return Ok(Err(fault));
        }
        // Before the flow is taken: its code is not spent either, and can come back when the provider does.
        if let Some(provider) = way.asks {
            let at = Returning { ip_address: "", return_url: &stored.record.return_url };
            provider.is_ready().map_err(|fault| self.fault(call, provider, &fault, &at))?;
        }
        if self.flows.take(&name, &stored).await? { Ok(Ok(stored.record)) } else { Ok(Err(FlowFault::Spent)) }
    }

    fn flow_name(&self, flow_id: &Ticket) -> Option<String> {
        flow_id.name(&self.masters, Kind::Flow.name())
    }
}

/// Whether what returns is what was sent out.
fn judge(flow: &Flow, call: &Call, way: &Return<'_>, now: Timestamp) -> Result<(), FlowFault> {
    // First, so that nobody else learns anything about the flow.
    if !same(&digest_of(way.flow_secret), &flow.secret_digest) {
        return Err(FlowFault::Secret);
    }
    if !call.client.opened(&flow.client, flow.expire_time - FLOW_TTL) {
        return Err(FlowFault::ForeignClient);
    }
    if way.provider.is_some_and(|provider| provider != flow.provider.as_str()) {
        return Err(FlowFault::Provider);
    }
    // RFC 9207, section 2.4: what is sent must fit, and who says that they send it must.
    if let Some(issuer) = way.issuer {
        let fits = if issuer.is_empty() { !flow.sends_issuer } else { issuer == flow.issuer };
        if !fits {
            return Err(FlowFault::Issuer);
        }
    }
    if now >= flow.expire_time { Err(FlowFault::Expired) } else { Ok(()) }
}

fn vouched(provider: Arc<Provider>, profile: crate::domain::identity::Profile, flow: Flow) -> Vouched {
    let Flow { return_url, handoff_challenge, scope, .. } = flow;
    Vouched { provider, profile, return_url, handoff_challenge, scope }
}

fn text_of(bytes: &[u8]) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
