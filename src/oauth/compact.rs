//! A compact JWS (RFC 7515, section 7.1), read as strictly as it can be. Whose it is and what it must say, others know.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Rejection;
use crate::domain::json;
use crate::domain::time::Timestamp;

/// Between two clocks.
pub(super) const LEEWAY: Duration = Duration::from_mins(1);

const TOKEN_BYTES_MAX: usize = 16 * 1024;
const HEADER_BYTES_MAX: usize = 8 * 1024;
const KID_BYTES_MAX: usize = 255;
/// `crit`, `b64`, `zip` and `enc` would change what is signed; `jwk`, `jku` and `x5u` would bring a key along; `x5c` and
/// `x5t` do so, too, but some providers always send them: nothing is done with them.
const HEADER_MEMBERS: [&str; 6] = ["alg", "kid", "typ", "x5t", "x5t#S256", "x5c"];

/// A token of the right shape, about which nothing is known yet. Has no `Debug`: it opens accounts.
pub(super) struct Compact<'a> {
    kid: Option<String>,
    algorithm: String,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// `types`: what `typ` may be, if it is there.
    pub(super) fn parse(token: &'a str, types: &[&str]) -> Result<Self, Rejection> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Rejection::IdTokenMalformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::IdTokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Rejection::IdTokenMalformed)?;
        // Five parts are a JWE.
        if payload.contains('.') || header.len() > HEADER_BYTES_MAX {
            return Err(Rejection::IdTokenMalformed);
        }
        let header = object(header)?;
        if header.keys().any(|name| !HEADER_MEMBERS.contains(&name.as_str())) {
            return Err(Rejection::IdTokenMalformed);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=KID_BYTES_MAX).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(Rejection::IdTokenMalformed),
        };
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Rejection::IdTokenAlgorithm)?;
        let is_one_of = |typ: &str| types.iter().any(|one| typ.eq_ignore_ascii_case(one));
        if !header.get("typ").is_none_or(|typ| typ.as_str().is_some_and(is_one_of)) {
            return Err(Rejection::IdTokenMalformed);
        }
        if signature.is_empty() {
            // That of `none`.
            return Err(Rejection::IdTokenAlgorithm);
        }
        decode(signature)?;
        Ok(Self { kid, algorithm: algorithm.to_owned(), signed, payload, signature })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// As the token says; nobody has agreed to it yet.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// What the signature is of.
    pub(super) fn signed(&self) -> &'a str {
        self.signed
    }

    /// In base64url, of which it is known to be.
    pub(super) fn signature(&self) -> &'a str {
        self.signature
    }

    /// What it says, whether or not it is true.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Rejection> {
        decode(self.payload)
    }
}

/// A `NumericDate` (RFC 7519, section 2), which may have a fraction.
pub(super) fn time(value: Option<&Value>) -> Option<Timestamp> {
    /// Year 9999.
    const SECS_MAX: f64 = 253_402_300_799.0;
    let seconds = value?.as_f64().filter(|seconds| (0.0..=SECS_MAX).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, reason = "within the years above")]
    let seconds = seconds as i64;
    Some(Timestamp::from_secs(seconds))
}

/// Canonical and unpadded.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    if part.is_empty() {
        return Err(Rejection::IdTokenMalformed);
    }
    URL_SAFE_NO_PAD.decode(part).map_err(|_not_canonical| Rejection::IdTokenMalformed)
}

fn object(part: &str) -> Result<Map<String, Value>, Rejection> {
    json::parse_object(&decode(part)?).map_err(|_why| Rejection::IdTokenMalformed)
}
