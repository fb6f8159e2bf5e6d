//! Issuers outside whose tokens the operator trusts (RFC 8693): which one a token says it is from, whether it is, and what it
//! says of a person. One with published keys never takes a MAC, and one with a shared secret takes nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::address::Reach;
use super::algorithm::Algorithm;
use super::compact::{Compact, LEEWAY, decode, time};
use super::http::Http;
use super::id_token::Unproven;
use super::jwks;
use super::{ProviderFault, Rejection, SetupError};
use crate::clock::Clock;
use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;
use crate::domain::json;
use crate::domain::time::Timestamp;

/// RFC 7518, section 3.2: no shorter than the hash.
const SECRET_BYTES_MIN: usize = 32;
const CALL_TIME: Duration = Duration::from_secs(5);
/// Access tokens have a type of their own (RFC 9068, section 2.1).
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
const PERSON_BYTES_MAX: usize = 255;
const JTI_BYTES_MAX: usize = 1024;
const METHODS_MAX: usize = 8;
const METHOD_BYTES_MAX: usize = 32;

/// An issuer as it was configured, with its secret opened.
pub struct Settings {
    pub name: ProviderId,
    /// Its `iss`; unset only with a shared secret, for tokens that have none.
    pub issuer: Option<String>,
    pub keys: Keys,
    /// Unset only with a shared secret: then tokens have none.
    pub audience: Option<String>,
    /// Which claim names the person.
    pub claim: String,
    pub person: PersonBy,
    /// Who may trade its tokens in.
    pub clients: Vec<ClientId>,
    pub max_age: Duration,
    /// From when on it is not believed any more.
    pub until: Option<Timestamp>,
    /// Whether each token is good for one time.
    pub once: bool,
}

/// What proves its tokens.
pub enum Keys {
    Published {
        uri: String,
        algorithms: Vec<String>,
        private_network: bool,
        ca: Option<PathBuf>,
    },
    /// HS256.
    Shared(SecretString),
}

/// As what a person's name in a token is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonBy {
    ExternalId,
    /// Only one that the account has proven.
    Email,
    UserName,
    /// A subject at this provider.
    Identity(ProviderId),
}

/// All issuers.
#[derive(Clone, Default)]
pub struct TrustedIssuers {
    all: Arc<[TrustedIssuer]>,
}

/// One of them.
pub struct TrustedIssuer {
    settings: Settings,
    proof: Proof,
    clock: Clock,
}

enum Proof {
    Published(Box<Published>),
    Shared(Box<hmac::Key>),
}

/// Where an issuer's keys are, and what they may sign with.
struct Published {
    uri: Url,
    http: Http,
    keys: jwks::Keys,
    allowed: Vec<Algorithm>,
}

/// A token that says it is from a trusted issuer, and has proven nothing. Has no `Debug`: it opens accounts.
pub struct Claimed<'a>(Compact<'a>);

/// What a proven token says of a person.
pub struct Voucher {
    pub person: String,
    /// By which no other token of this issuer is known.
    pub token: Vec<u8>,
    /// When it can be told from an expired one no more.
    pub over_at: Timestamp,
    /// When the person was last seen to prove themselves, or the latest time at which that may be assumed.
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
}

impl TrustedIssuers {
    /// # Errors
    /// If one cannot be asked or believed as it is configured. Asks nobody.
    pub fn new(settings: Vec<Settings>, clock: &Clock) -> Result<Self, SetupError> {
        let all = settings.into_iter().map(|settings| TrustedIssuer::new(settings, clock));
        Ok(Self { all: all.collect::<Result<_, _>>()? })
    }

    /// Whose token this says it is.
    pub fn whose<'t>(&self, token: &'t SecretString) -> Result<(&TrustedIssuer, Claimed<'t>), Rejection> {
        let token = Compact::parse(token.expose_secret(), &TYPES)?;
        let claims = claims(&token.payload()?)?;
        let named = match claims.get("iss") {
            None => None,
            Some(Value::String(issuer)) => Some(issuer.as_str()),
            Some(_) => return Err(Rejection::IdTokenMalformed),
        };
        let issuer = self.all.iter().find(|issuer| issuer.settings.issuer.as_deref() == named);
        Ok((issuer.ok_or(Rejection::IdTokenIssuer)?, Claimed(token)))
    }
}

impl TrustedIssuer {
    fn new(settings: Settings, clock: &Clock) -> Result<Self, SetupError> {
        let wrong = |wrong: String| SetupError::Issuer { name: settings.name.clone(), wrong };
        let proof = match &settings.keys {
            Keys::Published { uri, algorithms, private_network, ca } => {
                let reach = if *private_network { Reach::Private } else { Reach::Public };
                let uri = Url::parse(uri).map_err(|why| wrong(format!("jwks_uri is no URL: {why}")))?;
                reach.judge(&uri).map_err(|why| wrong(format!("jwks_uri: {why}")))?;
                if settings.issuer.is_none() || settings.audience.is_none() {
                    return Err(wrong("issuer and audience are needed with jwks_uri".to_owned()));
                }
                let http = Http::new(reach, ca.as_deref(), CALL_TIME).map_err(|why| wrong(why.to_string()))?;
                let known = |name: &String| {
                    Algorithm::from_name(name).ok_or_else(|| wrong(format!("algorithms: {name} is none")))
                };
                let allowed = algorithms.iter().map(known).collect::<Result<_, _>>()?;
                Proof::Published(Box::new(Published { uri, http, keys: jwks::Keys::default(), allowed }))
            }
            Keys::Shared(secret) if secret.expose_secret().len() < SECRET_BYTES_MIN => {
                return Err(wrong(format!("its secret has less than {SECRET_BYTES_MIN} bytes and can be guessed")));
            }
            Keys::Shared(secret) => {
                Proof::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())))
            }
        };
        Ok(Self { settings, proof, clock: clock.clone() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the token says, if it is genuine and meant for here, now.
    pub async fn prove(&self, token: Claimed<'_>) -> Result<Voucher, ProviderFault> {
        let Claimed(token) = token;
        let signed = token.signed();
        let payload = match &self.proof {
            Proof::Published(at) => {
                at.keys.prove(Unproven::of(token, &at.allowed)?, &at.uri, &at.http, &self.clock).await?
            }
            Proof::Shared(key) => {
                if token.algorithm() != "HS256" {
                    return Err(Rejection::IdTokenAlgorithm.into());
                }
                let signature = decode(token.signature())?;
                hmac::verify(key, signed.as_bytes(), &signature).map_err(|_forged| Rejection::IdTokenSignature)?;
                token.payload()?
            }
        };
        Ok(self.judge(&claims(&payload)?, signed)?)
    }

    fn judge(&self, claims: &Map<String, Value>, signed: &str) -> Result<Voucher, Rejection> {
        let Settings { issuer, audience, .. } = &self.settings;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != issuer.as_deref() {
            return Err(Rejection::IdTokenIssuer);
        }
        if !is_meant_for(audience.as_deref(), claims.get("aud")) {
            return Err(Rejection::IdTokenAudience);
        }
        let now = self.clock.now();
        let expires = time(claims.get("exp")).ok_or(Rejection::IdTokenTime)?;
        let begins_late = claims.get("nbf").is_some_and(|begin| time(Some(begin)).is_none_or(|it| it > now + LEEWAY));
        if expires + LEEWAY <= now || begins_late {
            return Err(Rejection::IdTokenTime);
        }
        let (end, issued) = self.age(claims, expires, now)?;
        Ok(Voucher {
            person: self.person(claims)?,
            token: known_by(claims, signed)?,
            over_at: end + LEEWAY * 2,
            auth_time: time(claims.get("auth_time")).unwrap_or(issued).min(now),
            amr: methods(claims.get("amr")),
        })
    }

    /// Until when the token is taken, and since when it may be there. One that does not say how old it is must not live on for
    /// longer than one may be old.
    fn age(
        &self,
        claims: &Map<String, Value>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), Rejection> {
        let max_age = self.settings.max_age;
        match (claims.get("iat"), &self.proof) {
            (Some(issued), _) => {
                let issued = time(Some(issued)).ok_or(Rejection::IdTokenTime)?;
                let is_good = issued <= now + LEEWAY && now.since(issued) <= max_age;
                if is_good { Ok((expires.min(issued + max_age), issued)) } else { Err(Rejection::IdTokenTime) }
            }
            (None, Proof::Shared(_)) if expires <= now + max_age => Ok((expires, now - max_age)),
            (None, _) => Err(Rejection::IdTokenTime),
        }
    }

    fn person(&self, claims: &Map<String, Value>) -> Result<String, Rejection> {
        if self.settings.person == PersonBy::Email {
            // An application of one's own says nothing of it; a provider that does not has not proven the address.
            let verified = claims.get("email_verified");
            let is_silent = verified.is_none() && matches!(self.proof, Proof::Shared(_));
            if !is_silent && verified != Some(&Value::Bool(true)) {
                return Err(Rejection::NoSubject);
            }
        }
        let person = match claims.get(&self.settings.claim) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            _ => return Err(Rejection::NoSubject),
        };
        if (1..=PERSON_BYTES_MAX).contains(&person.len()) { Ok(person) } else { Err(Rejection::NoSubject) }
    }
}

fn claims(payload: &[u8]) -> Result<Map<String, Value>, Rejection> {
    json::parse_object(payload).map_err(|_why| Rejection::IdTokenMalformed)
}

/// Without an audience of ours a token must have none (RFC 7519, section 4.1.3): it is meant for somebody else.
fn is_meant_for(ours: Option<&str>, audience: Option<&Value>) -> bool {
    match (ours, audience) {
        (None, None) => true,
        (Some(ours), Some(Value::String(one))) => one == ours,
        (Some(ours), Some(Value::Array(several))) => {
            several.iter().all(Value::is_string) && several.iter().any(|one| one.as_str() == Some(ours))
        }
        _ => false,
    }
}

/// By its own name, or else by what was signed: of one text there may be several signatures.
fn known_by(claims: &Map<String, Value>, signed: &str) -> Result<Vec<u8>, Rejection> {
    match claims.get("jti") {
        None => Ok([b"signed".as_slice(), digest::digest(&digest::SHA256, signed.as_bytes()).as_ref()].concat()),
        Some(Value::String(id)) if (1..=JTI_BYTES_MAX).contains(&id.len()) => {
            Ok([b"jti".as_slice(), id.as_bytes()].concat())
        }
        Some(_) => Err(Rejection::IdTokenMalformed),
    }
}

/// How the person proved themselves there. What is no list of names says nothing.
fn methods(amr: Option<&Value>) -> Vec<String> {
    let is_name =
        |name: &&str| (1..=METHOD_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    let names = amr.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).filter(is_name).take(METHODS_MAX).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests;
