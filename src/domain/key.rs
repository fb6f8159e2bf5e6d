//! Signing keys as the store keeps them. What they do when is [`plan`].

pub mod plan;

use crate::domain::time::Timestamp;

pub use plan::{KeyPlan, KeyState};

/// Signature algorithms that we issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// ECDSA with P-256 and SHA-256 (RFC 7518), for readers that know no Ed25519.
    Es256,
    /// HMAC with SHA-256 (RFC 7518): who checks could also sign, so its key leaves the service for nobody.
    Hs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Hs256];

    /// The name in `alg` (RFC 7518, RFC 8037).
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }

    /// By its one spelling.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The length of every signature.
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::EdDsa | Self::Es256 => 64,
            Self::Hs256 => 32,
        }
    }
}

/// A key with its sealed private half and the plan of its life, which is set once from the store's clock.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// RFC 7638 thumbprint; random for HS256, because a thumbprint of a secret is a hash of the secret.
    pub kid: String,
    pub algorithm: Algorithm,
    /// The master key that seals it.
    pub master_key: u8,
    /// PKCS #8, or the secret of HS256; sealed. Verification keys are derived from it, never read as public rows.
    pub sealed: Vec<u8>,
    pub publish_time: Timestamp,
    pub sign_time: Timestamp,
    /// From here on its tokens are refused; unset for the last of the line.
    pub retire_time: Option<Timestamp>,
}

impl StoredKey {
    pub fn plan(&self) -> KeyPlan {
        KeyPlan { publish_time: self.publish_time, sign_time: self.sign_time, retire_time: self.retire_time }
    }
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_has_one_spelling() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), None);
        }
        assert_eq!(Algorithm::from_name("none"), None);
        assert_eq!(Algorithm::from_name("Ed25519"), None);
    }
}
