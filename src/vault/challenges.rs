//! Challenges in the vault: a sign-in that waits for one more step. Typed, sealed, and under a keyed hash of the secret
//! that was handed out, so that neither the vault nor its backups hold anything that could be presented.

use std::sync::Arc;

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::domain::id::{ClientId, UserId};
use crate::domain::session::TokenScope;
use crate::domain::time::Timestamp;
use crate::vault::seal::{Place, SealError, Sealer};
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};

/// One record a partition.
const KEY: &str = "challenge";

/// A sign-in whose credential was right.
#[derive(Clone)]
pub struct Challenge {
    pub user: UserId,
    /// Only this client may go on.
    pub client: ClientId,
    /// The user's version when the credential was right: whatever ends the user's sessions voids the challenge too.
    pub epoch: i64,
    pub scope: TokenScope,
    /// The refresh token whose session ends when the sign-in succeeds.
    pub replace: Option<SecretString>,
    pub method: String,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    /// Answers that were looked at.
    pub attempts: u32,
    pub expire_time: Timestamp,
}

/// The vault, for challenges.
#[derive(Clone)]
pub struct Challenges {
    vault: Arc<dyn Vault>,
    sealer: Sealer,
}

/// A record and the very bytes it was read from, which a swap must find unchanged.
pub struct Stored {
    pub challenge: Challenge,
    sealed: Vec<u8>,
}

/// What stands under a name.
pub enum Found {
    Challenge(Box<Stored>),
    Absent,
    /// Something that does not open: damaged, written by hand, or under a master key that was dropped.
    Unreadable(SealError),
}

impl Challenges {
    pub fn new(vault: Arc<dyn Vault>, sealer: Sealer) -> Self {
        Self { vault, sealer }
    }

    /// Adds a challenge; false if the name is taken.
    pub async fn insert(&self, name: &str, challenge: &Challenge) -> Result<bool, VaultError> {
        self.vault.insert(&slot(name), &self.seal(name, challenge)?, challenge.expire_time).await
    }

    pub async fn get(&self, name: &str) -> Result<Found, VaultError> {
        let Some(sealed) = self.vault.get(&slot(name)).await? else { return Ok(Found::Absent) };
        let opened = match self.sealer.open(&place(name), &sealed) {
            Ok(opened) => opened,
            Err(why) => return Ok(Found::Unreadable(why)),
        };
        let record = Record::decode(opened.plain.as_slice()).ok();
        Ok(match record.and_then(|record| record.into_challenge(opened.expires_at)) {
            Some(challenge) => Found::Challenge(Box::new(Stored { challenge, sealed })),
            None => Found::Unreadable(SealError::Damaged),
        })
    }

    /// Replaces the record that was read; false if another came first.
    pub async fn swap(&self, name: &str, read: &Stored, new: &Challenge) -> Result<bool, VaultError> {
        let sealed = self.seal(name, new)?;
        let swap = self.vault.swap(&slot(name), &read.sealed, &sealed, new.expire_time).await?;
        Ok(swap == Swap::Swapped)
    }

    pub async fn remove(&self, name: &str) -> Result<bool, VaultError> {
        self.vault.remove(&slot(name)).await
    }

    fn seal(&self, name: &str, challenge: &Challenge) -> Result<Vec<u8>, VaultError> {
        let plain = Zeroizing::new(Record::from(challenge).encode_to_vec());
        let sealed = self.sealer.seal(&place(name), challenge.expire_time, &plain);
        sealed.map_err(|why| VaultError::Unavailable { source: Box::new(why) })
    }
}

fn slot(name: &str) -> Slot {
    Slot { kind: Kind::Challenge, partition: name.to_owned(), key: KEY.to_owned() }
}

fn place(name: &str) -> Place<'_> {
    Place { kind: Kind::Challenge.name(), partition: name, key: KEY }
}

/// What is sealed. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Record {
    #[prost(bytes = "vec", tag = "1")]
    user: Vec<u8>,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(int64, tag = "3")]
    epoch: i64,
    #[prost(string, tag = "4")]
    tenant: String,
    #[prost(string, repeated, tag = "5")]
    audiences: Vec<String>,
    #[prost(string, tag = "6")]
    replace: String,
    #[prost(string, tag = "7")]
    method: String,
    #[prost(int64, tag = "8")]
    auth_time: i64,
    #[prost(string, repeated, tag = "9")]
    amr: Vec<String>,
    #[prost(uint32, tag = "10")]
    attempts: u32,
}

impl From<&Challenge> for Record {
    fn from(challenge: &Challenge) -> Self {
        let replace = challenge.replace.as_ref().map(|token| token.expose_secret().to_owned());
        Self {
            user: challenge.user.uuid().as_bytes().to_vec(),
            client: challenge.client.to_string(),
            epoch: challenge.epoch,
            tenant: challenge.scope.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            audiences: challenge.scope.audiences.clone(),
            replace: replace.unwrap_or_default(),
            method: challenge.method.clone(),
            auth_time: challenge.auth_time.micros(),
            amr: challenge.amr.clone(),
            attempts: challenge.attempts,
        }
    }
}

impl Record {
    fn into_challenge(self, expire_time: Timestamp) -> Option<Challenge> {
        Some(Challenge {
            user: UserId::from_uuid(uuid::Uuid::from_slice(&self.user).ok()?),
            client: self.client.parse().ok()?,
            epoch: self.epoch,
            scope: TokenScope {
                audiences: self.audiences,
                tenant: if self.tenant.is_empty() { None } else { Some(self.tenant.parse().ok()?) },
            },
            replace: (!self.replace.is_empty()).then(|| SecretString::from(self.replace)),
            method: self.method,
            auth_time: Timestamp::from_micros(self.auth_time),
            amr: self.amr,
            attempts: self.attempts,
            expire_time,
        })
    }
}

/// It may hold a refresh token, which must not reach a log, not even through a message that nobody prints today.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}
