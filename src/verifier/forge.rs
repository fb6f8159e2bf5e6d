//! Makes tokens for tests, genuine and otherwise: members are written as they are given, so that a test can sign what no
//! serializer would write.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::VerificationKey;
use crate::domain::key::Algorithm;
use crate::domain::time::Timestamp;

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const AUDIENCE: &str = "orders";
pub(crate) const USER: &str = "019a8c1e-0000-7000-8000-00000000b7f3";
pub(crate) const SESSION: &str = "019a8c1f-0000-7000-8000-0000000000aa";

/// A signing key.
pub(crate) struct Forge {
    pub(crate) kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Forge {
    pub(crate) fn new(kid: &'static str, seed: u8) -> Self {
        Self { kid, pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn key(&self) -> VerificationKey {
        VerificationKey::new(self.kid, Algorithm::EdDsa, self.public(), None).unwrap()
    }

    pub(crate) fn forge(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// With the header that belongs there.
    pub(crate) fn token(&self, claims: &Members) -> String {
        self.forge(self.header().to_string(), claims.to_string())
    }

    pub(crate) fn header(&self) -> Members {
        Members::default().with("alg", "\"EdDSA\"").with("typ", "\"at+jwt\"").with("kid", format!("\"{}\"", self.kid))
    }
}

/// Acceptable claims of a token that was issued at `now`.
pub(crate) fn claims(now: Timestamp) -> Members {
    let now = now.secs();
    Members::default()
        .with("iss", format!("\"{ISSUER}\""))
        .with("sub", format!("\"{USER}\""))
        .with("aud", format!("[\"{AUDIENCE}\"]"))
        .with("exp", now + 1_800)
        .with("iat", now)
        .with("jti", "\"q83vEjRWeJCrze8SNFZ4kA\"")
        .with("client_id", "\"web\"")
        .with("auth_time", now)
        .with("amr", "[\"pwd\"]")
        .with("sid", format!("\"{SESSION}\""))
        .with("ver", 100)
        .with("roles", r#"{"":["viewer"],"acme":["editor"]}"#)
}

/// The members of an object, in order and in any spelling.
#[derive(Clone, Default)]
pub(crate) struct Members(Vec<(&'static str, String)>);

impl Members {
    /// In place of the member of this name, or at the end.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, without an ampersand at each call")]
    pub(crate) fn with(mut self, name: &'static str, raw: impl ToString) -> Self {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some((_, value)) => *value = raw.to_string(),
            None => self.0.push((name, raw.to_string())),
        }
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, without an ampersand at each call")]
    pub(crate) fn and_again(mut self, name: &'static str, raw: impl ToString) -> Self {
        self.0.push((name, raw.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(own, _)| *own != name);
        self
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    pub(crate) fn get(&self, name: &str) -> String {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, raw)| raw.clone()).unwrap()
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, (name, raw)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}\"{name}\":{raw}")?;
        }
        f.write_str("}")
    }
}
