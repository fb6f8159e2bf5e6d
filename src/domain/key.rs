//! Signing keys as the store keeps them, and the plan of their lives.

use crate::domain::time::Timestamp;

/// Signature algorithms that we issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// The name in `alg` (RFC 7518, RFC 8037).
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        (name == "EdDSA").then_some(Self::EdDsa)
    }
}

/// A key with its sealed private half and the plan of its life, which is set once from the store's clock.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    pub algorithm: Algorithm,
    /// The master key that seals it.
    pub master_key: u8,
    /// PKCS #8, sealed. Verification keys are derived from it, never read as public rows.
    pub sealed: Vec<u8>,
    pub publish_time: Timestamp,
    pub sign_time: Timestamp,
    /// From here on its tokens are refused; unset while it signs.
    pub retire_time: Option<Timestamp>,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Published,
    Signing,
    Verifying,
    Retired,
}
