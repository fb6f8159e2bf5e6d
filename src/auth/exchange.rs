//! `ExchangeToken`: a token of an issuer that the operator trusts, for a session (RFC 8693).
//!
//! What the issuer says opens accounts, so whoever has its key has them all. That is why it is believed only from programs that
//! may bring it, until the day that the operator named, and each token for one time.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::limits::Door;
use crate::auth::sign_in::Proven;
use crate::auth::{Auth, Call, Subject, TokenPair, needs};
use crate::domain::account::Identifier;
use crate::domain::identity::IdentityKey;
use crate::domain::session::{Device, TokenScope};
use crate::oauth::trusted::{PersonBy, Settings, Voucher};
use crate::oauth::{ProviderFault, Rejection};
use crate::store::{CredentialAnswer, KnownAs};
use crate::vault::traded::TradedToken;

/// What a front brings.
pub struct ExchangeToken {
    /// Of a trusted issuer.
    pub token: SecretString,
    pub scope: TokenScope,
}

/// Whom the store knows by what an issuer says.
struct Known {
    answer: CredentialAnswer,
    /// What opens the account, if it is an identity.
    identity: Option<IdentityKey>,
}

impl Auth {
    /// Trades a token of a trusted issuer in. Needs `postern:auth:exchange` of the client.
    pub async fn exchange_token(
        &self,
        call: &Call,
        exchange: ExchangeToken,
    ) -> Result<(TokenPair, Subject), AuthError> {
        self.demand(call, &needs::EXCHANGE)?;
        let scope = crate::auth::scope(&call.client, &exchange.scope)?;
        self.sessions.answers().map_err(|why| AuthError::from(why).before_any_work())?;
        // Who brings it does not say where the person is, and what their server fails at is one bucket.
        let attempt = self.admit_from(call, Door::Exchange, "").await?;
        let traded = self.trade_in(call, &exchange.token, scope).await;
        self.settle(&attempt, &traded).await;
        traded
    }

    async fn trade_in(
        &self,
        call: &Call,
        token: &SecretString,
        scope: TokenScope,
    ) -> Result<(TokenPair, Subject), AuthError> {
        let whose = self.trusted_issuers.whose(token);
        let (issuer, claimed) = whose.map_err(|why: Rejection| self.foreign(call, "", why.name()))?;
        let settings = issuer.settings();
        let name = settings.name.as_str();
        if !settings.clients.contains(&call.client.id) {
            return Err(self.foreign(call, name, "foreign_client"));
        }
        if settings.until.is_some_and(|until| self.clock.now() >= until) {
            return Err(self.foreign(call, name, "issuer_over"));
        }
        let voucher = issuer.prove(claimed).await.map_err(|fault| self.issuer_fault(call, name, &fault))?;
        let Known { answer, identity } = self.known(call, settings, &voucher).await?;
        let Some(credential) = answer.found else {
            return Err(self.nobody(call, name, CredentialFault::UnknownAccount));
        };
        if !credential.owner.active {
            return Err(self.nobody(call, name, CredentialFault::Disabled));
        }
        let proven = Proven {
            user: credential.user,
            owner: credential.owner,
            fence: answer.fence,
            now: answer.now,
            // Whoever takes an identity away ends what it has opened, and finds it by the provider's name.
            method: identity.as_ref().map_or_else(|| name.to_owned(), |key| key.provider.to_string()),
            auth_time: voucher.auth_time.min(answer.now),
            amr: voucher.amr.clone(),
            identity,
        };
        let session = self.new_session(call, &proven, Device::default(), scope)?;
        // Asked before the token is spent, or it would be spent in vain.
        self.check_draft(call, &proven, &session)?;
        if settings.once && !self.spend(settings, &voucher).await? {
            return Err(self.foreign(call, name, "spent"));
        }
        self.open_session(call, &proven, &session, None).await
    }

    async fn known(&self, call: &Call, settings: &Settings, voucher: &Voucher) -> Result<Known, AuthError> {
        let name = settings.name.as_str();
        let nobody = || self.nobody(call, name, CredentialFault::UnknownAccount);
        let person = voucher.person.as_str();
        let known = match (&settings.person, Identifier::from_typed(person)) {
            (PersonBy::ExternalId, _) => KnownAs::ExternalId(person),
            (PersonBy::Email, Some(Identifier::Email(ref canonical))) => {
                return self.known_as(KnownAs::ProvenEmail(canonical)).await;
            }
            (PersonBy::UserName, Some(Identifier::UserName(ref canonical))) => {
                return self.known_as(KnownAs::UserName(canonical)).await;
            }
            (PersonBy::Email | PersonBy::UserName, _) => return Err(nobody()),
            (PersonBy::Identity(provider), _) => {
                let subject = person.parse().map_err(|_no_subject| nobody())?;
                let key = IdentityKey { provider: provider.clone(), subject };
                let found = self.store.credential_by_identity(&key).await?;
                if found.issuer.is_some() && found.issuer != settings.issuer {
                    tracing::error!(issuer = name, "a person's identity was linked under another issuer than this");
                    return Err(nobody());
                }
                return Ok(Known { answer: found.answer, identity: Some(key) });
            }
        };
        self.known_as(known).await
    }

    async fn known_as(&self, name: KnownAs<'_>) -> Result<Known, AuthError> {
        Ok(Known { answer: self.store.credential_known_as(name).await?, identity: None })
    }

    /// Whether this is the token's first time; of many at once, one hears true. The name is no keyed hash, so that it stays the
    /// same when the master key changes: it is of something that opens nothing any more.
    async fn spend(&self, settings: &Settings, voucher: &Voucher) -> Result<bool, AuthError> {
        let mut context = digest::Context::new(&digest::SHA256);
        let issuer = settings.issuer.as_deref().unwrap_or_default();
        context.update(&(issuer.len() as u64).to_be_bytes());
        context.update(issuer.as_bytes());
        context.update(&voucher.token);
        let name = URL_SAFE_NO_PAD.encode(context.finish());
        Ok(self.traded.insert(&name, &TradedToken { expire_time: voucher.over_at }).await?)
    }

    fn issuer_fault(&self, call: &Call, issuer: &str, fault: &ProviderFault) -> AuthError {
        match fault {
            ProviderFault::Rejected(why) => self.foreign(call, issuer, why.name()),
            ProviderFault::Unavailable { why, retry_after } => {
                tracing::warn!(issuer, why = why.name(), "a trusted issuer's keys are away");
                AuthError::OAuthProviderUnavailable { retry_after: *retry_after, return_url: String::new() }
            }
        }
    }

    /// `issuer` as it is configured, or empty.
    fn foreign(&self, call: &Call, issuer: &str, fault: &'static str) -> AuthError {
        self.record_failure(call, "TOKEN_INVALID", issuer, fault, "");
        AuthError::ForeignTokenRefused(fault)
    }

    /// The same refusal as at `Login`.
    fn nobody(&self, call: &Call, issuer: &str, fault: CredentialFault) -> AuthError {
        self.record_failure(call, "INVALID_CREDENTIALS", issuer, fault.name(), "");
        AuthError::InvalidCredentials(fault)
    }
}
