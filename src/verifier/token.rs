//! The envelope of an access token: a compact JWS (RFC 7515), read as strictly as it can be. Owns everything up to "this
//! payload was signed with that key"; must not know what the payload means. `jsonwebtoken` checks the signature and
//! nothing else: left to itself it accepts any `typ`, an unknown `crit`, `zip` and `b64`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::InvalidWhy;
use super::keys::{KID_BYTES_MAX, VerificationKey};
use crate::domain::json;

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

const HEADER_BYTES_MAX: usize = 1024;

/// All that a token of ours has in its header. No other member is accepted: `crit`, `b64`, `zip` and `enc` would change
/// what is signed; `jku`, `jwk`, `x5u` and `x5c` would bring a key along.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// A token of the right shape, about which nothing is known yet.
pub(super) struct Unproven<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    signature_bytes: usize,
}

impl<'a> Unproven<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, InvalidWhy> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(InvalidWhy::TooLong);
        }
        // Five parts are a JWE, a brace is the JSON form: neither is ever a token here.
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidWhy::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(InvalidWhy::Malformed)?;
        if header.len() > HEADER_BYTES_MAX || payload.contains('.') {
            return Err(InvalidWhy::Malformed);
        }
        let header: Header = json::parse_object(&decode(header)?).map_err(|_why| InvalidWhy::Header)?;
        let is_access_token = ["at+jwt", "application/at+jwt"].iter().any(|name| header.typ.eq_ignore_ascii_case(name));
        if !is_access_token {
            return Err(InvalidWhy::Type);
        }
        if !(1..=KID_BYTES_MAX).contains(&header.kid.len()) {
            return Err(InvalidWhy::Header);
        }
        let signature_bytes = decode(signature)?.len();
        Ok(Self { header, signed, payload, signature, signature_bytes })
    }

    pub(super) fn kid(&self) -> &str {
        &self.header.kid
    }

    /// The payload, which nobody sees before its signature was checked.
    pub(super) fn prove(&self, key: &VerificationKey) -> Result<Vec<u8>, InvalidWhy> {
        if self.header.alg != key.algorithm().name() {
            return Err(InvalidWhy::Algorithm);
        }
        if self.signature_bytes != key.algorithm().signature_bytes() {
            return Err(InvalidWhy::Signature);
        }
        if !key.verifies(self.signature, self.signed.as_bytes()) {
            return Err(InvalidWhy::Signature);
        }
        decode(self.payload)
    }
}

/// Canonical and unpadded: whoever could spell one token in two ways could slip past what is keyed by its text.
fn decode(part: &str) -> Result<Vec<u8>, InvalidWhy> {
    if part.is_empty() {
        return Err(InvalidWhy::Malformed);
    }
    URL_SAFE_NO_PAD.decode(part).map_err(|_not_canonical| InvalidWhy::Malformed)
}
