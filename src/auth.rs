//! Use cases, one file a flow. Every decision of the service is made here or in the pure rooms below; this room knows
//! neither SQL nor gRPC, and talks to the store, the vault and the verifier only.

pub mod admin;
pub mod audit;
pub mod challenge;
pub mod change_password;
pub mod clients;
pub mod error;
pub mod exchange;
pub mod feed;
pub mod identities;
pub mod key_rotation;
pub mod keyring;
pub mod limits;
pub mod login;
pub mod master_key;
pub mod needs;
pub mod oauth;
pub mod password_rules;
pub mod passwords;
pub mod pepper;
pub mod refresh;
pub mod sessions;
mod sign_in;
mod ticket;
pub mod tokens;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;

use crate::auth::audit::Audit;
use crate::auth::clients::Clients;
use crate::auth::error::AuthError;
use crate::auth::feed::Feed;
use crate::auth::key_rotation::KeyRules;
use crate::auth::keyring::Keyring;
use crate::auth::limits::Limits;
use crate::auth::master_key::MasterKeys;
use crate::auth::needs::Need;
use crate::auth::password_rules::PasswordRules;
use crate::auth::passwords::Passwords;
use crate::clock::Clock;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::{EndedSession, Revision};
use crate::domain::client::Client;
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::role::{BoundRole, RoleId};
use crate::domain::session::{Session, TokenScope};
use crate::domain::standing::{End, Fence, Owner};
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;
use crate::oauth::Providers;
use crate::oauth::trusted::TrustedIssuers;
use crate::store::Store;
use crate::vault::Vault;
use crate::vault::challenges::Challenge;
use crate::vault::codes::HandoffCode;
use crate::vault::flows::Flow;
use crate::vault::links::PendingLink;
use crate::vault::records::Records;
use crate::vault::seal::{Place, Sealer};
use crate::vault::sessions::Sessions;
use crate::vault::traded::TradedToken;
use crate::verifier::{Bearer, InvalidWhy, TokenFault, Verifier};

pub use error::AuthError as Error;

/// The use cases, with all that they need.
pub struct Auth {
    pub store: Store,
    /// Beside its typed forms, for whoever asks only whether it is there.
    pub vault: Arc<dyn Vault>,
    pub sessions: Sessions,
    pub challenges: Records<Challenge>,
    pub flows: Records<Flow>,
    pub codes: Records<HandoffCode>,
    pub links: Records<PendingLink>,
    pub traded: Records<TradedToken>,
    pub verifier: Arc<Verifier>,
    pub keyring: Arc<Keyring>,
    pub masters: MasterKeys,
    pub passwords: Passwords,
    pub clients: Arc<Clients>,
    pub limits: Limits,
    pub providers: Providers,
    pub trusted_issuers: TrustedIssuers,
    pub feed: Feed,
    pub audit: Audit,
    pub metrics: Metrics,
    pub clock: Clock,
    /// Seals what a revocation remembers of its session.
    pub summaries: Sealer,
    pub rules: Rules,
    /// Tells this process from others on the same store.
    pub replica: Uuid,
}

/// Settings of the use cases.
#[derive(Clone)]
pub struct Rules {
    /// `iss`; also Postern's own audience.
    pub issuer: String,
    pub late_repeats: bool,
    pub passwords: PasswordRules,
    /// Held everywhere by users who come by a provider for the first time.
    pub new_user_roles: Vec<RoleId>,
    /// How long callers may keep a copy of the public keys.
    pub jwks_max_age: Duration,
    pub keys: KeyRules,
}

/// Who calls, and in which call.
#[derive(Clone, Debug)]
pub struct Call {
    pub client: Arc<Client>,
    pub request_id: Arc<str>,
}

/// The tokens of a session, and when they end.
pub struct TokenPair {
    pub access_token: SecretString,
    pub access_expire_time: Timestamp,
    pub refresh_token: SecretString,
    pub refresh_expire_time: Timestamp,
    pub session_id: SessionId,
    pub session_expire_time: Timestamp,
    /// For the device, after a sign-in.
    pub device_token: Option<SecretString>,
}

/// Whom fresh tokens speak for, with what holds now.
pub struct Subject {
    pub user: UserId,
    pub external_id: String,
    pub session: SessionId,
    pub client: ClientId,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    pub expire_time: Timestamp,
    pub roles: Vec<BoundRole>,
}

impl Auth {
    /// Refuses a client that lacks this. A client's roles are judged in memory, like everybody's.
    pub fn demand(&self, call: &Call, need: &Need) -> Result<(), AuthError> {
        let held = self.verifier.policy()?.check(&call.client.roles, need.permission()?, None, self.clock.now());
        held.map(|_granted| ()).ok_or(AuthError::ClientNotAllowed { permission: need.text() })
    }

    /// Tokens of `session` as it is to be, drafted so that every refusal comes before anything is written.
    fn draft(&self, draft: &DraftFacts<'_>) -> Result<tokens::Draft, AuthError> {
        tokens::draft(
            &self.keyring,
            &tokens::Facts {
                issuer: &self.rules.issuer,
                session: draft.session,
                owner: draft.owner,
                fence: draft.fence,
                client: draft.client,
                scope: draft.scope,
                now: draft.now,
            },
        )
    }

    /// Signs a draft and makes the refresh token that goes with it.
    fn issue(&self, facts: &DraftFacts<'_>, draft: &tokens::Draft) -> Result<(TokenPair, Subject), AuthError> {
        let session = facts.session;
        let key = self.masters.get(session.key).ok_or_else(|| AuthError::internal("a session's master key is gone"))?;
        let pair = TokenPair {
            access_token: draft.sign()?,
            access_expire_time: draft.expire_time(),
            refresh_token: key.tag.issue(session, &key.chain),
            refresh_expire_time: session.idle_end(facts.client.session_policy.idle_ttl),
            session_id: session.id,
            session_expire_time: session.absolute_end,
            device_token: None,
        };
        let subject = Subject {
            user: session.user,
            external_id: facts.owner.external_id.clone(),
            session: session.id,
            client: session.client.clone(),
            auth_time: session.auth_time,
            amr: session.amr.clone(),
            expire_time: draft.expire_time(),
            roles: facts.owner.bindings.clone(),
        };
        Ok((pair, subject))
    }

    /// What SQL is to remember of a session that ends now.
    fn ended(&self, session: &Session, end: End) -> EndedSession {
        EndedSession {
            user: session.user,
            session: session.id,
            end,
            keep_until: session.absolute_end,
            summary: self.seal_summary(session),
        }
    }

    /// The same of a session whose record nobody has.
    fn ended_unseen(&self, user: UserId, session: SessionId, end: End) -> EndedSession {
        // As long as any client's may live: nobody knows whose it was.
        let keep_until = end.time + self.clients.absolute_ttl_max();
        EndedSession { user, session, end, keep_until, summary: None }
    }

    fn seal_summary(&self, session: &Session) -> Option<Vec<u8>> {
        let summary = sessions::Summary::from(session);
        let (partition, key) = (session.user.to_string(), session.id.to_string());
        let place = Place { kind: "summary", partition: &partition, key: &key };
        let plain = serde_json::to_vec(&summary).ok()?;
        self.summaries.seal(&place, session.absolute_end, &plain).ok()
    }

    /// The person behind an access token in a message, for calls that act on the person's own things: the token must
    /// have been issued to the calling client, or be meant for Postern itself.
    pub fn asker(&self, call: &Call, token: &str) -> Result<Bearer, AuthError> {
        let bearer = self.verifier.identify(token, self.clock.moment())?.map_err(AuthError::TokenRefused)?;
        let identity = &bearer.identity;
        if *identity.client_id() == call.client.id || identity.has_audience(&self.rules.issuer) {
            Ok(bearer)
        } else {
            Err(AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Audience)))
        }
    }

    /// Refuses a person who lacks this everywhere.
    pub fn demand_of(&self, bearer: &Bearer, need: &Need) -> Result<(), AuthError> {
        let wanted = need.permission()?;
        if bearer.allowed(wanted, None) {
            Ok(())
        } else {
            Err(AuthError::PermissionMissing { permission: wanted.clone(), tenant: None })
        }
    }

    /// Waits until this replica's verifier has seen `revision`, so that whoever gets the answer sees the change here.
    async fn seen(&self, revision: Revision) -> Revision {
        self.feed.catch_up(revision).await;
        revision
    }
}

/// What tokens are drafted and issued from.
struct DraftFacts<'a> {
    session: &'a Session,
    owner: &'a Owner,
    fence: Fence,
    client: &'a Client,
    scope: &'a TokenScope,
    now: Timestamp,
}

/// The audiences and tenant that the client asked for, refused if they are not its own to ask.
fn scope(client: &Client, asked: &TokenScope) -> Result<TokenScope, AuthError> {
    let field = "token_options.audiences";
    if let Some(index) = asked.audiences.iter().position(|audience| !client.token_audiences.contains(audience)) {
        return Err(AuthError::field(
            format!("{field}[{index}]"),
            format!("must be one of this client's: {}", client.token_audiences.join(", ")),
        ));
    }
    let audiences = if asked.audiences.is_empty() {
        let default = client.token_audiences.first();
        vec![default.ok_or_else(|| AuthError::field(field, "must be named: this client has no default"))?.clone()]
    } else {
        asked.audiences.clone()
    };
    Ok(TokenScope { audiences, tenant: asked.tenant.clone() })
}

/// An event of this call, to be filled in.
fn event(kind: AuditKind, call: &Call, now: Timestamp) -> AuditEvent {
    AuditEvent {
        client: Some(call.client.id.clone()),
        request_id: call.request_id.to_string(),
        ..AuditEvent::new(kind, now)
    }
}
