//! Sign-in at a provider: a flow begins, a person goes and comes back, and the provider's word for them becomes a session.
//!
//! A flow is bound to the browser or app that began it by a secret that nobody else was given, to one provider, to its
//! issuer and to the client that began. All of this is compared before the flow is taken, so that a stranger who saw the
//! state cannot burn it; and it is taken before the provider is asked, so that of many returns one goes on (`protocol.md`
//! calls for both). What a provider says is believed by `oauth`; here it only decides whose account is meant.

mod arrival;
mod flow;
mod handoff;
mod unlink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::auth::challenge::{ChallengeKind, Issued};
use crate::auth::error::{AuthError, FlowFault};
use crate::auth::limits::Door;
use crate::auth::{Auth, Call, Subject, TokenPair, event, needs};
use crate::domain::audit::AuditKind;
use crate::domain::identity::Profile;
use crate::domain::session::{Device, TokenScope};
use crate::domain::time::Timestamp;
use crate::oauth::{Provider, ProviderFault};

pub use unlink::Unlink;

/// A person has so long to find their password, and to read what they are asked to agree to.
pub const FLOW_TTL: Duration = Duration::from_mins(10);
/// What an app's backend does at once.
pub const HANDOFF_TTL: Duration = Duration::from_mins(1);

/// `amr` of whoever was vouched for by a provider: how they proved it there, nobody here has seen.
const FEDERATED: &str = "fed";

/// What a front brings to begin.
pub struct Start {
    pub provider: String,
    /// Empty: the front decides by itself.
    pub return_url: String,
    /// Empty: tokens are answered.
    pub handoff_challenge: String,
    pub scope: TokenScope,
    pub parameters: BTreeMap<String, String>,
    /// Empty if the front does not tell.
    pub ip_address: String,
}

/// A flow that has begun.
pub struct Started {
    /// With the state in it.
    pub authorization_url: SecretString,
    pub flow_id: SecretString,
    pub flow_secret: SecretString,
    pub nonce: String,
    pub expire_time: Timestamp,
}

/// The parameters of a provider's redirect.
pub struct ProviderCode {
    pub provider: String,
    pub answer: CodeAnswer,
    pub state: SecretString,
    /// Empty if none was sent.
    pub issuer: String,
    pub flow_secret: SecretString,
}

/// What a provider sent back.
pub enum CodeAnswer {
    Code(SecretString),
    /// A name that any stranger can have put there.
    Error(String),
}

/// What came back.
pub enum Proof {
    Code(ProviderCode),
    Handoff { code: SecretString, verifier: SecretString },
    IdToken { flow_id: SecretString, flow_secret: SecretString, id_token: SecretString },
}

/// What a front brings to finish.
pub struct Exchange {
    pub proof: Proof,
    pub device: Device,
    /// The refresh token that this device still holds; its session ends when this sign-in succeeds.
    pub replace: Option<SecretString>,
    pub supported: Vec<ChallengeKind>,
}

/// How it goes on.
pub struct Exchanged {
    pub outcome: ExchangeOutcome,
    /// What the provider said; unset for a hand-off code, which was handed out after that.
    pub profile: Option<Profile>,
    pub return_url: String,
}

pub enum ExchangeOutcome {
    SignedIn { issued: Box<(TokenPair, Subject)>, user_created: bool },
    Challenged(Issued),
    HandedOff { code: SecretString, expire_time: Timestamp },
}

/// A person whom a provider vouched for, and what their flow was to lead to.
pub(super) struct Vouched {
    pub provider: Arc<Provider>,
    pub profile: Profile,
    pub return_url: String,
    pub handoff_challenge: String,
    pub scope: TokenScope,
}

impl Auth {
    /// The configured providers, for a page where people sign in. Needs `postern:auth:login` of the client.
    pub fn list_providers(&self, call: &Call) -> Result<Vec<Arc<Provider>>, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        Ok(self.providers.iter().cloned().collect())
    }

    /// Finishes a sign-in. Needs `postern:auth:login` of the client.
    pub async fn oauth_exchange(&self, call: &Call, exchange: Exchange) -> Result<Exchanged, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let Exchange { proof, device, replace, supported } = exchange;
        self.sessions.answers().map_err(|why| AuthError::from(why).before_any_work())?;
        let attempt = self.admit_from(call, Door::Provider, &device.ip_address).await?;
        // A hand-off code's flow was paid back when the code was made.
        let has_begun = !matches!(proof, Proof::Handoff { .. });
        let exchanged = self.exchange(call, proof, device, replace.as_ref(), &supported).await;
        self.settle(&attempt, &exchanged).await;
        // What its beginning took: nobody guessed anything.
        if (has_begun && exchanged.is_ok()) || matches!(exchanged, Err(AuthError::OAuthCancelled { .. })) {
            self.put_back(&attempt).await;
        }
        exchanged
    }

    async fn exchange(
        &self,
        call: &Call,
        proof: Proof,
        device: Device,
        replace: Option<&SecretString>,
        supported: &[ChallengeKind],
    ) -> Result<Exchanged, AuthError> {
        let vouched = match proof {
            Proof::Handoff { code, verifier } => return self.collect(call, &code, &verifier, device, replace).await,
            Proof::Code(code) => self.vouched_by_code(call, &code, &device.ip_address).await?,
            Proof::IdToken { flow_id, flow_secret, id_token } => {
                self.vouched_by_token(call, &flow_id, &flow_secret, &id_token, &device.ip_address).await?
            }
        };
        self.arrive(call, vouched, device, replace, supported).await
    }

    pub(super) fn provider(&self, id: &str) -> Result<Arc<Provider>, AuthError> {
        self.providers.get(id).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.providers.iter().map(|provider| provider.settings().id.as_str()).collect();
            let right = if known.is_empty() {
                "none is configured on this server".to_owned()
            } else {
                format!("must be one of {}", known.join(", "))
            };
            AuthError::field("provider", right)
        })
    }

    /// Writes down that nobody was signed in, and makes the refusal.
    fn fault(&self, call: &Call, provider: &Provider, fault: &ProviderFault, at: &Returning<'_>) -> AuthError {
        let return_url = at.return_url.to_owned();
        let id = &provider.settings().id;
        match fault {
            ProviderFault::Rejected(why) => {
                tracing::warn!(provider = %id, why = why.name(), "a provider's answer proved nobody");
                self.rejected(call, provider, why.name(), at)
            }
            ProviderFault::Unavailable { why, retry_after } => {
                tracing::warn!(provider = %id, why = why.name(), "a provider is away");
                AuthError::OAuthProviderUnavailable { retry_after: *retry_after, return_url }
            }
        }
    }

    fn rejected(&self, call: &Call, provider: &Provider, why: &'static str, at: &Returning<'_>) -> AuthError {
        self.record_failure(call, "OAUTH_REJECTED", provider.settings().id.as_str(), why, at.ip_address);
        AuthError::OAuthRejected { why, return_url: at.return_url.to_owned() }
    }

    fn flow_failed(&self, call: &Call, provider: &str, fault: FlowFault, ip_address: &str) -> AuthError {
        self.record_failure(call, "OAUTH_FLOW_INVALID", provider, fault.name(), ip_address);
        AuthError::OAuthFlowInvalid(fault)
    }

    /// `provider` as it is configured, or empty.
    pub(in crate::auth) fn record_failure(
        &self,
        call: &Call,
        reason: &'static str,
        provider: &str,
        fault: &'static str,
        ip: &str,
    ) {
        let mut event = event(AuditKind::LoginFailed, call, self.clock.now());
        ip.clone_into(&mut event.ip_address);
        event.reason = Some(reason);
        event.detail = vec![("method", provider.to_owned()), ("fault", fault.to_owned())];
        self.audit.record(event);
    }
}

/// Who returns, and whereto.
struct Returning<'a> {
    ip_address: &'a str,
    return_url: &'a str,
}
