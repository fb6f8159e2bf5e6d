//! Sessions in the vault: typed, sealed, and under names that no caller builds by hand.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{Device, Predecessor, Seed, Session, TokenScope};
use crate::domain::time::Timestamp;
use crate::vault::seal::{Place, SealError, Sealer};
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};

/// The vault, for sessions.
#[derive(Clone)]
pub struct Sessions {
    vault: Arc<dyn Vault>,
    sealer: Sealer,
}

/// A record and the very bytes it was read from, which a swap must find unchanged.
#[derive(Clone, Debug)]
pub struct Stored {
    pub session: Session,
    sealed: Vec<u8>,
}

/// What stands under a session's name.
#[derive(Clone, Debug)]
pub enum Found {
    Session(Box<Stored>),
    Absent,
    /// Something that does not open: damaged, written by hand, or under a master key that was dropped.
    Unreadable(SealError),
}

impl Sessions {
    pub fn new(vault: Arc<dyn Vault>, sealer: Sealer) -> Self {
        Self { vault, sealer }
    }

    /// Fails while it is known that nothing could be written.
    pub fn answers(&self) -> Result<(), VaultError> {
        self.vault.answers()
    }

    /// Adds a session; false if its id is taken.
    pub async fn insert(&self, session: &Session, idle: Duration) -> Result<bool, VaultError> {
        let expires_at = session.keep_until(idle);
        let sealed = self.seal(session, expires_at)?;
        self.vault.insert(&slot(session.user, session.id), &sealed, expires_at).await
    }

    pub async fn get(&self, user: UserId, session: SessionId) -> Result<Found, VaultError> {
        let sealed = self.vault.get(&slot(user, session)).await?;
        Ok(self.found(user, session, sealed))
    }

    /// Replaces the record that was read; if another came first, answers what stands there now.
    pub async fn swap(&self, read: &Stored, new: &Session, idle: Duration) -> Result<Option<Found>, VaultError> {
        let expires_at = new.keep_until(idle);
        let sealed = self.seal(new, expires_at)?;
        match self.vault.swap(&slot(new.user, new.id), &read.sealed, &sealed, expires_at).await? {
            Swap::Swapped => Ok(None),
            Swap::Lost(current) => Ok(Some(self.found(new.user, new.id, current))),
        }
    }

    pub async fn remove(&self, user: UserId, session: SessionId) -> Result<bool, VaultError> {
        self.vault.remove(&slot(user, session)).await
    }

    /// All records of a user that open, in no order.
    pub async fn list(&self, user: UserId) -> Result<Vec<Session>, VaultError> {
        let rows = self.vault.list(Kind::Session, &user.to_string()).await?;
        let mut sessions = Vec::with_capacity(rows.len());
        for (key, sealed) in rows {
            let Ok(id) = key.parse() else { continue };
            match self.found(user, id, Some(sealed)) {
                Found::Session(stored) => sessions.push(stored.session),
                Found::Absent => {}
                Found::Unreadable(why) => tracing::warn!(session.id = %id, %why, "a session's record is unreadable"),
            }
        }
        Ok(sessions)
    }

    fn seal(&self, session: &Session, expires_at: Timestamp) -> Result<Vec<u8>, VaultError> {
        let (partition, key) = (session.user.to_string(), session.id.to_string());
        let place = Place { kind: Kind::Session.name(), partition: &partition, key: &key };
        let plain = zeroize::Zeroizing::new(Record::from(session).encode_to_vec());
        self.sealer.seal(&place, expires_at, &plain).map_err(|why| VaultError::Unavailable { source: Box::new(why) })
    }

    fn found(&self, user: UserId, id: SessionId, sealed: Option<Vec<u8>>) -> Found {
        let Some(sealed) = sealed else { return Found::Absent };
        let (partition, key) = (user.to_string(), id.to_string());
        let place = Place { kind: Kind::Session.name(), partition: &partition, key: &key };
        let opened = match self.sealer.open(&place, &sealed) {
            Ok(opened) => opened,
            Err(why) => return Found::Unreadable(why),
        };
        match Record::decode(opened.plain.as_slice()).ok().and_then(|record| record.into_session(user, id)) {
            Some(session) => Found::Session(Box::new(Stored { session, sealed })),
            None => Found::Unreadable(SealError::Damaged),
        }
    }
}

fn slot(user: UserId, session: SessionId) -> Slot {
    Slot { kind: Kind::Session, partition: user.to_string(), key: session.to_string() }
}

/// What is sealed. Fields are only ever added. User and session are not repeated: they are the record's place.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Record {
    #[prost(bytes = "vec", tag = "1")]
    seed: Vec<u8>,
    #[prost(uint32, tag = "2")]
    key: u32,
    #[prost(uint32, tag = "3")]
    generation: u32,
    #[prost(int64, tag = "4")]
    advanced_at_secs: i64,
    #[prost(message, repeated, tag = "5")]
    predecessors: Vec<RecordPredecessor>,
    #[prost(uint32, optional, tag = "6")]
    last_late: Option<u32>,
    #[prost(int64, tag = "7")]
    epoch: i64,
    #[prost(string, tag = "8")]
    tenant: String,
    #[prost(string, repeated, tag = "9")]
    audiences: Vec<String>,
    #[prost(string, tag = "10")]
    client: String,
    #[prost(string, tag = "11")]
    ip_address: String,
    #[prost(string, tag = "12")]
    user_agent: String,
    #[prost(string, tag = "13")]
    device_name: String,
    #[prost(string, tag = "14")]
    method: String,
    #[prost(int64, tag = "15")]
    create_time: i64,
    #[prost(int64, tag = "16")]
    auth_time: i64,
    #[prost(string, repeated, tag = "17")]
    amr: Vec<String>,
    #[prost(int64, tag = "18")]
    absolute_end: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RecordPredecessor {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(int64, tag = "2")]
    superseded_at: i64,
}

impl From<&Session> for Record {
    fn from(session: &Session) -> Self {
        Self {
            seed: session.seed.as_bytes().to_vec(),
            key: session.key.into(),
            generation: session.generation,
            advanced_at_secs: session.advanced_at.secs(),
            predecessors: session
                .predecessors
                .iter()
                .map(|one| RecordPredecessor { generation: one.generation, superseded_at: one.superseded_at.micros() })
                .collect(),
            last_late: session.last_late,
            epoch: session.epoch,
            tenant: session.scope.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            audiences: session.scope.audiences.clone(),
            client: session.client.to_string(),
            ip_address: session.device.ip_address.clone(),
            user_agent: session.device.user_agent.clone(),
            device_name: session.device.display_name.clone(),
            method: session.method.clone(),
            create_time: session.create_time.micros(),
            auth_time: session.auth_time.micros(),
            amr: session.amr.clone(),
            absolute_end: session.absolute_end.micros(),
        }
    }
}

impl Record {
    fn into_session(self, user: UserId, id: SessionId) -> Option<Session> {
        Some(Session {
            id,
            user,
            seed: Seed::from_bytes(self.seed.as_slice().try_into().ok()?),
            key: self.key.try_into().ok()?,
            generation: self.generation,
            advanced_at: Timestamp::from_secs(self.advanced_at_secs),
            predecessors: self
                .predecessors
                .iter()
                .map(|one| Predecessor {
                    generation: one.generation,
                    superseded_at: Timestamp::from_micros(one.superseded_at),
                })
                .collect(),
            last_late: self.last_late,
            epoch: self.epoch,
            scope: TokenScope {
                audiences: self.audiences,
                tenant: if self.tenant.is_empty() { None } else { Some(self.tenant.parse().ok()?) },
            },
            client: self.client.parse().ok()?,
            device: Device { ip_address: self.ip_address, user_agent: self.user_agent, display_name: self.device_name },
            method: self.method,
            create_time: Timestamp::from_micros(self.create_time),
            auth_time: Timestamp::from_micros(self.auth_time),
            amr: self.amr,
            absolute_end: Timestamp::from_micros(self.absolute_end),
        })
    }
}

/// The seed must not reach a log, not even through a message that nobody prints today.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("generation", &self.generation).finish_non_exhaustive()
    }
}
