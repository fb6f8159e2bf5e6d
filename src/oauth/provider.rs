//! One provider with all that is kept of it, and what is asked of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::address::Reach;
use super::breaker::Breaker;
use super::discovery::{Discovery, Metadata};
use super::exchange::{self, Tokens};
use super::http::Http;
use super::id_token::{self, Claims, Demand, Unproven};
use super::jwks::Keys;
use super::words::{self, Object};
use super::{
    Absence, Ask, Authorization, Grant, Notice, NoticeRefused, ProviderFault, Rejection, Settings, SetupError,
    Unlinked, github, kakao, kind, naver, oidc,
};
use crate::clock::Clock;
use crate::domain::identity::{IdentityKey, Profile, ProviderKind, Subject};
use crate::domain::proxy::{start_v4, start_v6};
use crate::domain::time::Timestamp;

/// Between looks at whether something is old.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long anything may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// One request with its answer.
    pub(super) call: Duration,
    /// All that one sign-in asks.
    pub(super) exchange: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(5), exchange: Duration::from_secs(10) }
    }
}

/// All configured providers.
#[derive(Clone)]
pub struct Providers {
    all: Arc<[Arc<Provider>]>,
}

/// One of them.
pub struct Provider {
    settings: Settings,
    issuer: String,
    http: Http,
    discovery: Discovery,
    keys: Keys,
    breaker: Breaker,
    patience: Patience,
    clock: Clock,
}

impl Providers {
    /// # Errors
    /// If a provider cannot be spoken with as it is configured. Asks nobody.
    pub fn new(settings: Vec<Settings>, clock: &Clock) -> Result<Self, SetupError> {
        Self::with_patience(settings, clock, Patience::default())
    }

    pub(super) fn with_patience(
        settings: Vec<Settings>,
        clock: &Clock,
        patience: Patience,
    ) -> Result<Self, SetupError> {
        let all = settings.into_iter().map(|settings| Provider::new(settings, clock, patience).map(Arc::new));
        Ok(Self { all: all.collect::<Result<_, _>>()? })
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Provider>> {
        self.all.iter().find(|provider| provider.settings.id.as_str() == id)
    }

    /// In the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.all.iter()
    }

    /// Fetches what providers publish of themselves, and keeps it current, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut each = JoinSet::new();
        for provider in self.all.iter() {
            each.spawn(Arc::clone(provider).keep_current());
        }
        // What is under way ends with the set.
        stop.cancelled().await;
    }
}

impl Provider {
    fn new(settings: Settings, clock: &Clock, patience: Patience) -> Result<Self, SetupError> {
        let wrong = |wrong: String| SetupError::Unusable { id: settings.id.clone(), wrong };
        let issuer = settings.issuer.as_deref().or(kind::issuer(settings.kind));
        let issuer = issuer.ok_or_else(|| wrong("issuer is missing".to_owned()))?.to_owned();
        let reach = if settings.private_network { Reach::Private } else { Reach::Public };
        let http = Http::new(reach, settings.ca.as_deref(), patience.call).map_err(|why| wrong(why.to_string()))?;
        url::Url::parse(&settings.redirect_uri).map_err(|why| wrong(format!("redirect_uri is no URL: {why}")))?;
        let discovery = Discovery::new(&settings, &issuer, reach)?;
        let (keys, breaker) = (Keys::default(), Breaker::default());
        Ok(Self { settings, issuer, http, discovery, keys, breaker, patience, clock: clock.clone() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whom it says to be.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether a sign-in could begin now, as far as is known without asking.
    pub fn is_available(&self) -> bool {
        !self.breaker.is_resting(self.clock.moment()) && !self.discovery.is_missing()
    }

    /// Whether it could be asked now, as far as is known without asking. Whoever looks first keeps a code that may be used once.
    pub fn is_ready(&self) -> Result<(), ProviderFault> {
        self.breaker.has_place(self.clock.moment()).map_err(|(why, rest)| why.until(rest))
    }

    /// Where to send the person.
    pub async fn authorize(&self, ask: &Ask<'_>) -> Result<Authorization, ProviderFault> {
        if self.breaker.is_resting(self.clock.moment()) {
            return Err(Absence::Resting.into());
        }
        let metadata = self.metadata().await?;
        let url = exchange::authorization_url(&self.settings, &metadata, ask);
        let url = SecretString::from(String::from(url));
        Ok(Authorization { url, issuer: self.issuer.clone(), sends_issuer: metadata.sends_issuer })
    }

    /// Trades the code in, once, and asks who it is.
    pub async fn exchange(&self, grant: &Grant<'_>) -> Result<Profile, ProviderFault> {
        let asking = async {
            let metadata = self.metadata().await?;
            let tokens = exchange::trade(&self.settings, &metadata, &self.http, grant).await?;
            self.identify(&tokens, &metadata, grant.nonce).await
        };
        // A code is judged by nobody but the provider.
        self.guarded(grant.address, asking, || true).await
    }

    /// Who it is, by an id_token that a native SDK got for this nonce.
    pub async fn native(
        &self,
        id_token: &SecretString,
        nonce: &str,
        address: Option<IpAddr>,
    ) -> Result<Profile, ProviderFault> {
        let by_token_alone = match self.settings.kind {
            ProviderKind::Google | ProviderKind::Kakao | ProviderKind::Oidc => self.settings.is_oidc,
            ProviderKind::Naver | ProviderKind::GitHub => false,
        };
        if !by_token_alone || self.settings.native_client_ids.is_empty() {
            return Err(Rejection::NotNative.into());
        }
        let metadata = self.metadata().await?;
        // What is no token costs nobody a place.
        let token = Unproven::parse(id_token.expose_secret(), &metadata.algorithms)?;
        let keys = metadata.jwks.as_ref().ok_or(Absence::Keys)?;
        let is_known = self.keys.hold(&token, &self.clock);
        let proving = self.keys.prove(token, keys, &self.http, &self.clock);
        let payload = if is_known {
            proving.await?
        } else {
            let before = self.keys.fetched();
            self.guarded(address, proving, || self.keys.fetched() != before).await?
        };
        let audiences: Vec<&str> = self.settings.native_client_ids.iter().map(String::as_str).collect();
        let parties = [&audiences[..], &[self.settings.client_id.as_str()]].concat();
        let claims = self.judged(&payload, &audiences, &parties, nonce)?;
        Ok(match self.settings.kind {
            ProviderKind::Kakao => kakao::by_id_token_alone(self, &claims),
            _ => oidc::profile(self, &claims, None),
        })
    }

    /// Whether a notice is the provider's, and about whom.
    pub fn unlinked(&self, notice: &Notice<'_>, now: Timestamp) -> Result<Unlinked, NoticeRefused> {
        match self.settings.kind {
            ProviderKind::Kakao => kakao::unlinked(&self.settings, notice),
            ProviderKind::Naver => naver::unlinked(&self.settings, notice, now),
            ProviderKind::Google | ProviderKind::GitHub | ProviderKind::Oidc => Err(NoticeRefused),
        }
    }

    async fn identify(&self, tokens: &Tokens, metadata: &Metadata, nonce: &str) -> Result<Profile, ProviderFault> {
        let claims = if self.settings.is_oidc {
            let id_token = tokens.id.as_ref().ok_or(Rejection::NoIdToken)?;
            let own = [self.settings.client_id.as_str()];
            Some(self.claims(id_token, metadata, &own, &own, nonce).await?)
        } else {
            None
        };
        match (self.settings.kind, claims) {
            (ProviderKind::Google | ProviderKind::Oidc, Some(claims)) => oidc::identify(self, tokens, claims).await,
            (ProviderKind::Kakao, Some(claims)) => kakao::identify_by_id_token(self, tokens, claims).await,
            (ProviderKind::Kakao, None) => kakao::identify(self, tokens).await,
            (ProviderKind::Naver, claims) => naver::identify(self, tokens, claims).await,
            (ProviderKind::GitHub, _) => github::identify(self, tokens).await,
            (ProviderKind::Google | ProviderKind::Oidc, None) => Err(Rejection::NoIdToken.into()),
        }
    }

    /// A proven id_token's claims, held against what they must say.
    async fn claims(
        &self,
        id_token: &SecretString,
        metadata: &Metadata,
        audiences: &[&str],
        parties: &[&str],
        nonce: &str,
    ) -> Result<Claims, ProviderFault> {
        let token = Unproven::parse(id_token.expose_secret(), &metadata.algorithms)?;
        let keys = metadata.jwks.as_ref().ok_or(Absence::Keys)?;
        let payload = self.keys.prove(token, keys, &self.http, &self.clock).await?;
        Ok(self.judged(&payload, audiences, parties, nonce)?)
    }

    fn judged(&self, payload: &[u8], audiences: &[&str], parties: &[&str], nonce: &str) -> Result<Claims, Rejection> {
        let mut issuers = vec![self.issuer.as_str()];
        issuers.extend(kind::other_issuer(self.settings.kind, &self.issuer));
        let demand = Demand { issuers: &issuers, audiences, parties, nonce, now: self.clock.now() };
        let claims = id_token::judge(payload, &demand)?;
        if self.is_of_the_wanted_domain(&claims.rest) { Ok(claims) } else { Err(Rejection::HostedDomain) }
    }

    fn is_of_the_wanted_domain(&self, claims: &Object) -> bool {
        let wanted = self.settings.hosted_domain.as_deref();
        wanted.is_none_or(|wanted| words::text(claims, "hd").is_some_and(|domain| domain.eq_ignore_ascii_case(wanted)))
    }

    /// Bounded in time and number, and left alone when it is away. `was_asked`: whether a word of the provider's is behind an
    /// outcome that is none of its silence.
    async fn guarded<T>(
        &self,
        address: Option<IpAddr>,
        asking: impl Future<Output = Result<T, ProviderFault>>,
        was_asked: impl Fn() -> bool,
    ) -> Result<T, ProviderFault> {
        let place = self.breaker.enter(self.clock.moment()).map_err(|(why, rest)| why.until(rest))?;
        let outcome = tokio::time::timeout(self.patience.exchange, asking).await;
        let outcome = outcome.unwrap_or_else(|_elapsed| Err(Absence::Timeout.into()));
        match &outcome {
            Ok(_) | Err(ProviderFault::Rejected(_)) if was_asked() => place.answered(),
            Ok(_) | Err(ProviderFault::Rejected(_)) => {}
            Err(ProviderFault::Unavailable { why, .. }) if why.may_be_provoked() => {
                place.was_unable(address.map(neighbourhood), self.clock.moment());
            }
            Err(ProviderFault::Unavailable { .. }) => place.was_silent(self.clock.moment()),
        }
        outcome
    }

    async fn keep_current(self: Arc<Self>) {
        loop {
            self.discovery.refresh(&self.http, &self.clock).await;
            let keys = self.discovery.known().and_then(|known| known.jwks.clone());
            if let Some(keys) = keys.filter(|_| self.settings.is_oidc) {
                self.keys.refresh(&keys, &self.http, &self.clock).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderFault> {
        self.discovery.metadata(&self.http, &self.clock).await
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// Of whom no more is known yet.
    pub(super) fn profile(&self, subject: Subject, auth_time: Option<Timestamp>) -> Profile {
        let key = IdentityKey { provider: self.settings.id.clone(), subject };
        Profile { auth_time, ..Profile::new(key, self.issuer.clone()) }
    }
}

/// As far as one person's addresses go who has many: a /24, or a /64.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(start_v4(address, 24)),
        IpAddr::V6(address) => IpAddr::V6(start_v6(address, 64)),
    }
}
