//! What a provider publishes of itself (OpenID Connect Discovery, section 3; RFC 8414): where its endpoints are, and what
//! they can. What the settings name comes before it; if they name all, nobody is asked.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

use super::address::Reach;
use super::algorithm::Algorithm;
use super::http::{Expected, Http};
use super::{Absence, ProviderFault, SetupError};
use super::{Settings, kind};
use crate::clock::Clock;
use crate::domain::identity::ProviderKind;
use crate::domain::json;
use crate::domain::time::Moment;

const OLD: Duration = Duration::from_hours(1);
const FAILED_COOL_DOWN: Duration = Duration::from_secs(10);
const PATH: &str = "/.well-known/openid-configuration";

/// Where a provider is, and what it can.
pub(super) struct Metadata {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) userinfo: Option<Url>,
    pub(super) jwks: Option<Url>,
    /// What its id_tokens may be signed with.
    pub(super) algorithms: Vec<Algorithm>,
    /// How it wants the client secret, if it says so.
    pub(super) auth_in_body: Option<bool>,
    /// Whether its callbacks always have `iss` (RFC 9207, section 3).
    pub(super) sends_issuer: bool,
}

/// Endpoints as the settings name them.
#[derive(Clone, Default)]
struct Named {
    authorization: Option<Url>,
    token: Option<Url>,
    userinfo: Option<Url>,
    jwks: Option<Url>,
}

pub(super) struct Discovery {
    /// Where to ask; unset if nobody needs to be asked.
    document: Option<Url>,
    issuer: String,
    provider: String,
    kind: ProviderKind,
    named: Named,
    known: ArcSwapOption<Known>,
    asking: Mutex<Asked>,
}

struct Known {
    metadata: Arc<Metadata>,
    fetched: Moment,
}

#[derive(Default)]
struct Asked {
    failed: Option<Moment>,
    /// Whether it was told that the document is somebody else's.
    told: bool,
}

/// A document that cannot be used. Names members, never what they hold.
enum Unusable {
    NotItsOwn,
    Wrong(&'static str),
}

impl Discovery {
    pub(super) fn new(settings: &Settings, issuer: &str, reach: Reach) -> Result<Self, SetupError> {
        let wrong = |what: String| SetupError::Unusable { id: settings.id.clone(), wrong: what };
        let url = |name: &str, text: &str| {
            let url = Url::parse(text).map_err(|why| wrong(format!("{name} is no URL: {why}")))?;
            let judged = reach.judge(&url).map(|()| url);
            judged.map_err(|_why| wrong(format!("{name} is not a public https address")))
        };
        let optional = |name: &str, text: Option<&str>| text.map(|text| url(name, text)).transpose();
        let usual = kind::usual_endpoints(settings.kind, settings.is_oidc);
        let named = Named {
            authorization: optional(
                "authorization_endpoint",
                settings.authorization.as_deref().or(usual.authorization),
            )?,
            token: optional("token_endpoint", settings.token.as_deref().or(usual.token))?,
            userinfo: optional("userinfo_endpoint", settings.userinfo.as_deref().or(usual.userinfo))?,
            jwks: optional("jwks_uri", settings.jwks.as_deref())?,
        };
        let has_keys = !settings.is_oidc || named.jwks.is_some();
        let is_complete =
            named.authorization.is_some() && named.token.is_some() && named.userinfo.is_some() && has_keys;
        let mut document = None;
        let mut known = None;
        if is_complete {
            known = named.clone().complete();
        } else if settings.is_oidc {
            // An issuer keeps its slash where it is compared, and loses it where a path follows (section 4).
            let usual = format!("{}{PATH}", issuer.trim_end_matches('/'));
            document = Some(url("discovery_endpoint", settings.discovery.as_deref().unwrap_or(&usual))?);
        } else {
            return Err(wrong("its endpoints are not known".to_owned()));
        }
        let known = known.map(|metadata| Arc::new(Known { metadata: Arc::new(metadata), fetched: Moment::default() }));
        Ok(Self {
            document,
            issuer: issuer.to_owned(),
            provider: settings.id.to_string(),
            kind: settings.kind,
            named,
            known: ArcSwapOption::new(known),
            asking: Mutex::default(),
        })
    }

    /// What is known, or else what it says when asked; which is not more often than every ten seconds.
    pub(super) async fn metadata(&self, http: &Http, clock: &Clock) -> Result<Arc<Metadata>, ProviderFault> {
        if let Some(known) = self.known.load().as_ref() {
            return Ok(Arc::clone(&known.metadata));
        }
        let mut asked = self.asking.lock().await;
        if let Some(known) = self.known.load().as_ref() {
            return Ok(Arc::clone(&known.metadata));
        }
        let now = clock.moment();
        if let Some(rest) = asked.failed.and_then(|failed| FAILED_COOL_DOWN.checked_sub(now.since(failed))) {
            return Err(Absence::Discovery.until(rest));
        }
        self.fetch(&mut asked, http, clock).await
    }

    /// Asks anew if what is known is old. What is known stays if nothing better comes.
    pub(super) async fn refresh(&self, http: &Http, clock: &Clock) {
        if self.document.is_none() {
            return;
        }
        let mut asked = self.asking.lock().await;
        let now = clock.moment();
        let is_young = self.known.load().as_ref().is_some_and(|known| now.since(known.fetched) < OLD);
        let failed_lately = asked.failed.is_some_and(|failed| now.since(failed) < FAILED_COOL_DOWN);
        if !is_young && !failed_lately {
            drop(self.fetch(&mut asked, http, clock).await);
        }
    }

    pub(super) fn known(&self) -> Option<Arc<Metadata>> {
        self.known.load().as_ref().map(|known| Arc::clone(&known.metadata))
    }

    /// Whether it was asked lately, and in vain.
    pub(super) fn is_missing(&self) -> bool {
        self.known.load().is_none() && self.asking.try_lock().is_ok_and(|asked| asked.failed.is_some())
    }

    async fn fetch(&self, asked: &mut Asked, http: &Http, clock: &Clock) -> Result<Arc<Metadata>, ProviderFault> {
        let fetched = self.ask(asked, http).await;
        let now = clock.moment();
        match fetched {
            Ok(metadata) => {
                *asked = Asked::default();
                let metadata = Arc::new(metadata);
                self.known.store(Some(Arc::new(Known { metadata: Arc::clone(&metadata), fetched: now })));
                Ok(metadata)
            }
            Err(fault) => {
                asked.failed = Some(now);
                Err(fault)
            }
        }
    }

    async fn ask(&self, asked: &mut Asked, http: &Http) -> Result<Metadata, ProviderFault> {
        let document = self.document.as_ref().ok_or(Absence::Discovery)?;
        let answer = match http.get(document, None, Expected::Document).await {
            Ok(answer) if answer.status == http::StatusCode::OK => answer,
            Err(fault @ ProviderFault::Unavailable { .. }) => return Err(fault),
            Ok(_) | Err(ProviderFault::Rejected(_)) => return Err(Absence::Discovery.into()),
        };
        self.read(&answer.body, http.reach()).map_err(|why| {
            // Once, not with every sign-in: only the operator can help.
            if !std::mem::replace(&mut asked.told, true) {
                let provider = self.provider.as_str();
                match why {
                    Unusable::NotItsOwn => tracing::error!(
                        provider,
                        "its discovery document names another issuer than the settings do: nobody signs in there"
                    ),
                    Unusable::Wrong(member) => {
                        tracing::error!(
                            provider,
                            member,
                            "its discovery document cannot be used: nobody signs in there"
                        );
                    }
                }
            }
            Absence::Discovery.into()
        })
    }

    fn read(&self, body: &[u8], reach: Reach) -> Result<Metadata, Unusable> {
        let document: Map<String, Value> = json::parse_object(body).map_err(|_why| Unusable::Wrong("the document"))?;
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Unusable::NotItsOwn);
        }
        let endpoint = |named: &Option<Url>, member: &'static str| {
            if let Some(url) = named {
                return Ok(Some(url.clone()));
            }
            match document.get(member) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => {
                    let url = Url::parse(text).ok().filter(|url| self.may_send_to(url, reach));
                    url.map(Some).ok_or(Unusable::Wrong(member))
                }
                Some(_) => Err(Unusable::Wrong(member)),
            }
        };
        let names = |member: &str| -> Option<Vec<&str>> {
            Some(document.get(member)?.as_array()?.iter().filter_map(Value::as_str).collect())
        };
        let authorization = endpoint(&self.named.authorization, "authorization_endpoint")?;
        let token = endpoint(&self.named.token, "token_endpoint")?;
        let jwks = endpoint(&self.named.jwks, "jwks_uri")?;
        let userinfo = endpoint(&self.named.userinfo, "userinfo_endpoint")?;
        let algorithms = match names("id_token_signing_alg_values_supported") {
            Some(names) => names.into_iter().filter_map(Algorithm::from_name).collect(),
            None => vec![Algorithm::Rs256],
        };
        // Absent means Basic (section 3).
        let methods = names("token_endpoint_auth_methods_supported");
        let auth_in_body =
            methods.map(|methods| !methods.contains(&"client_secret_basic") && methods.contains(&"client_secret_post"));
        let sends_issuer = document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
        Ok(Metadata {
            authorization: authorization.ok_or(Unusable::Wrong("authorization_endpoint"))?,
            token: token.ok_or(Unusable::Wrong("token_endpoint"))?,
            userinfo,
            jwks: Some(jwks.ok_or(Unusable::Wrong("jwks_uri"))?),
            algorithms,
            auth_in_body,
            sends_issuer,
        })
    }

    /// A document may name what is on the issuer's own host or where its kind is known to be. Of other OpenID providers
    /// nobody knows that (Google's own are on three hosts), so any public https address will do for them.
    fn may_send_to(&self, url: &Url, reach: Reach) -> bool {
        let issuer = Url::parse(&self.issuer).ok();
        let is_own = issuer.is_some_and(|issuer| issuer.host() == url.host());
        let is_known = url.host_str().is_some_and(|host| kind::hosts(self.kind).contains(&host));
        reach.judge(url).is_ok() && (is_own || is_known || self.kind == ProviderKind::Oidc)
    }
}

impl Named {
    /// If nothing is missing that cannot be done without.
    fn complete(self) -> Option<Metadata> {
        Some(Metadata {
            authorization: self.authorization?,
            token: self.token?,
            userinfo: self.userinfo,
            jwks: self.jwks,
            algorithms: vec![Algorithm::Rs256],
            auth_in_body: None,
            sends_issuer: false,
        })
    }
}
