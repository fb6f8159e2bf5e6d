//! The id_token (OpenID Connect Core, sections 2 and 3.1.3.7): which signatures it may have, and what its claims must say.
//! `jsonwebtoken` checks the signature and nothing else.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Rejection;
use super::algorithm::Algorithm;
use super::compact::{Compact, LEEWAY, time};
use super::jwk::Key;
use crate::domain::identity::Subject;
use crate::domain::json;
use crate::domain::time::Timestamp;

/// A sign-in takes ten minutes at most, and its token is made at its end.
const AGE_MAX: Duration = Duration::from_mins(11);
/// A token of the right shape, about which nothing is known yet. Has no `Debug`: it opens accounts.
pub(super) struct Unproven<'a> {
    token: Compact<'a>,
    algorithm: Algorithm,
}

impl<'a> Unproven<'a> {
    /// `allowed` is what the provider says it signs with. A logout token or an access token is signed with the same keys.
    pub(super) fn parse(token: &'a str, allowed: &[Algorithm]) -> Result<Self, Rejection> {
        Self::of(Compact::parse(token, &["JWT"])?, allowed)
    }

    pub(super) fn of(token: Compact<'a>, allowed: &[Algorithm]) -> Result<Self, Rejection> {
        let algorithm = Algorithm::from_name(token.algorithm()).filter(|algorithm| allowed.contains(algorithm));
        Ok(Self { algorithm: algorithm.ok_or(Rejection::IdTokenAlgorithm)?, token })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.token.kid()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The payload, which nobody believes before its signature was checked.
    pub(super) fn prove(self, key: &Key) -> Result<Vec<u8>, Rejection> {
        if key.verifies(self.algorithm, self.token.signature(), self.token.signed().as_bytes()) {
            self.token.payload()
        } else {
            Err(Rejection::IdTokenSignature)
        }
    }
}

/// What a token must say.
pub(super) struct Demand<'a> {
    /// Every spelling that counts.
    pub(super) issuers: &'a [&'a str],
    /// One of them must stand in `aud`.
    pub(super) audiences: &'a [&'a str],
    /// To whom it may have been issued, if it says so.
    pub(super) parties: &'a [&'a str],
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// What a token that passed says.
pub(super) struct Claims {
    pub(super) subject: Subject,
    pub(super) auth_time: Option<Timestamp>,
    /// The others, still of any type.
    pub(super) rest: Map<String, Value>,
}

/// Holds a proven payload against the demand.
pub(super) fn judge(payload: &[u8], demand: &Demand<'_>) -> Result<Claims, Rejection> {
    let claims: Map<String, Value> = json::parse_object(payload).map_err(|_why| Rejection::IdTokenMalformed)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if !text("iss").is_some_and(|issuer| demand.issuers.contains(&issuer)) {
        return Err(Rejection::IdTokenIssuer);
    }
    if !is_for_us(&claims, demand) {
        return Err(Rejection::IdTokenAudience);
    }
    let (expires, issued) = (time(claims.get("exp")), time(claims.get("iat")));
    let (Some(expires), Some(issued)) = (expires, issued) else { return Err(Rejection::IdTokenTime) };
    let now = demand.now;
    let not_before = claims.get("nbf").map_or(Some(issued), |begin| time(Some(begin)));
    let begins_late = not_before.is_none_or(|begin| begin > now + LEEWAY);
    if expires + LEEWAY <= now || issued > now + LEEWAY || issued < now - AGE_MAX || begins_late {
        return Err(Rejection::IdTokenTime);
    }
    if demand.nonce.is_empty() || text("nonce") != Some(demand.nonce) {
        return Err(Rejection::IdTokenNonce);
    }
    // A number would be another text for each who reads it.
    let subject = text("sub").and_then(|subject| subject.parse().ok()).ok_or(Rejection::NoSubject)?;
    let auth_time = time(claims.get("auth_time"));
    Ok(Claims { subject, auth_time, rest: claims })
}

/// `aud` is one or several. Of several, `azp` must say for whom it was made; if there is an `azp`, it must be ours.
fn is_for_us(claims: &Map<String, Value>, demand: &Demand<'_>) -> bool {
    let (is_ours, is_one) = match claims.get("aud") {
        Some(Value::String(one)) => (demand.audiences.contains(&one.as_str()), true),
        Some(Value::Array(several)) => {
            let names: Vec<&str> = several.iter().filter_map(Value::as_str).collect();
            let are_names = names.len() == several.len();
            (are_names && names.iter().any(|name| demand.audiences.contains(name)), names.len() == 1)
        }
        _ => (false, false),
    };
    let is_party = match claims.get("azp") {
        None => is_one,
        Some(party) => party.as_str().is_some_and(|party| demand.parties.contains(&party)),
    };
    is_ours && is_party
}

#[cfg(test)]
mod tests;
