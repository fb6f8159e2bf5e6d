//! What expires: opaque, sealed values under a few atomic operations. Owns the trait that every engine implements; must
//! not know what a session is, or when a record stops being valid (the opened record says that).

use std::error::Error as StdError;

use async_trait::async_trait;

use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;

pub mod buckets;
pub mod challenges;
pub mod codes;
pub mod flows;
pub mod links;
pub mod observed;
pub mod records;
pub mod redis;
pub mod seal;
pub mod sessions;
pub mod traded;

#[cfg(test)]
pub(crate) mod conformance;

/// A store of what expires. Each operation is one atomic step.
///
/// `expires_at` only frees space: a value may be answered after it, and whoever opens the value judges whether it still
/// holds, so that all engines expire at the same instant under test.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Writes a value where none is; `false` if there is one. Over a value past its `expires_at` it succeeds.
    async fn insert(&self, slot: &Slot, value: &[u8], expires_at: Timestamp) -> Result<bool, VaultError>;

    async fn get(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError>;

    /// Replaces `expected`, compared byte by byte, by `new`.
    async fn swap(&self, slot: &Slot, expected: &[u8], new: &[u8], expires_at: Timestamp) -> Result<Swap, VaultError>;

    /// Reads and removes: of many who ask at once, one gets the value.
    async fn take(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError>;

    /// Whether there was something.
    async fn remove(&self, slot: &Slot) -> Result<bool, VaultError>;

    /// Whether it answered when it was last heard of. Asks nobody, so it may stand before work that would be in vain.
    fn answers(&self) -> Result<(), VaultError> {
        Ok(())
    }

    /// Whether the engine answers now, in the little time that a probe has.
    async fn ping(&self) -> Result<(), VaultError>;

    /// Takes one from the bucket of this name, if it has one. Until when a bucket is not full is all that is kept of it, by
    /// the engine's own clock, and a full one is none.
    async fn admit(&self, bucket: &str, quota: &Quota) -> Result<Admission, VaultError>;

    /// Puts back what was taken.
    async fn give_back(&self, bucket: &str, quota: &Quota) -> Result<(), VaultError>;

    /// Keys and values of one partition, in the order of their keys; of a kind that is listed.
    async fn list(&self, kind: Kind, partition: &str) -> Result<Vec<(String, Vec<u8>)>, VaultError>;
}

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub kind: Kind,
    /// What is listed together; on a Redis Cluster, what shares a slot.
    pub partition: String,
    pub key: String,
}

impl Slot {
    /// Where the bucket of this name lies.
    pub fn of_bucket(name: &str) -> Self {
        Self { kind: Kind::Bucket, partition: name.to_owned(), key: String::new() }
    }
}

/// What a value is. Part of what is sealed, so that a record of one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The partition is the user.
    Session,
    /// A sign-in that waits for one more step. The partition is a keyed hash of the secret that was handed out, here and
    /// in all that follow.
    Challenge,
    /// A sign-in that has gone to a provider.
    Flow,
    /// What an app's backend trades in for tokens.
    Code,
    /// An identity that waits to be linked.
    Link,
    /// A token of a trusted issuer that was traded in. The partition is a hash of what it is known by.
    Traded,
    /// How often something was tried. The partition is a keyed hash of what it is counted for.
    Bucket,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Session, Self::Challenge, Self::Flow, Self::Code, Self::Link, Self::Traded, Self::Bucket];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Challenge => "challenge",
            Self::Flow => "flow",
            Self::Code => "code",
            Self::Link => "link",
            Self::Traded => "traded",
            Self::Bucket => "bucket",
        }
    }

    /// The reverse of [`Kind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a partition is ever listed; only then an engine must know what it holds.
    pub const fn is_listed(self) -> bool {
        match self {
            Self::Session => true,
            Self::Challenge | Self::Flow | Self::Code | Self::Link | Self::Traded | Self::Bucket => false,
        }
    }
}

/// How a swap went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    Swapped,
    /// Another value is there, or none.
    Lost(Option<Vec<u8>>),
}

/// The engine did not answer. What it did is unknown: an unknown outcome of a swap is a lost one.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the vault is unavailable")]
    Unavailable {
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}
