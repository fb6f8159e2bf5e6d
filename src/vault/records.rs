//! What is kept for the holder of a secret that was handed out, for some minutes: typed, sealed, and under a keyed hash of
//! that secret, so that neither the vault nor its backups hold anything that could be presented. One record a partition.

use std::marker::PhantomData;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::domain::time::Timestamp;
use crate::vault::seal::{Place, SealError, Sealer};
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};

/// Something that is kept so.
pub trait Record: Sized + Send {
    const KIND: Kind;

    /// Until when it is kept.
    fn expires_at(&self) -> Timestamp;

    fn encode(&self) -> Zeroizing<Vec<u8>>;

    /// `None`: nothing that [`Record::encode`] wrote.
    fn decode(plain: &[u8], expires_at: Timestamp) -> Option<Self>;
}

/// The vault, for records of one type.
pub struct Records<R> {
    vault: Arc<dyn Vault>,
    sealer: Sealer,
    of: PhantomData<fn() -> R>,
}

/// A record and the very bytes it was read from.
pub struct Stored<R> {
    pub record: R,
    sealed: Vec<u8>,
}

/// What stands under a name.
pub enum Found<R> {
    Record(Box<Stored<R>>),
    Absent,
    /// Something that does not open: damaged, written by hand, or under a master key that was dropped.
    Unreadable(SealError),
}

impl<R> Clone for Records<R> {
    fn clone(&self) -> Self {
        Self { vault: Arc::clone(&self.vault), sealer: self.sealer.clone(), of: PhantomData }
    }
}

impl<R: Record> Records<R> {
    pub fn new(vault: Arc<dyn Vault>, sealer: Sealer) -> Self {
        Self { vault, sealer, of: PhantomData }
    }

    /// Adds a record; false if the name is taken.
    pub async fn insert(&self, name: &str, record: &R) -> Result<bool, VaultError> {
        self.vault.insert(&slot::<R>(name), &self.seal(name, record)?, record.expires_at()).await
    }

    pub async fn get(&self, name: &str) -> Result<Found<R>, VaultError> {
        let Some(sealed) = self.vault.get(&slot::<R>(name)).await? else { return Ok(Found::Absent) };
        let opened = match self.sealer.open(&place::<R>(name), &sealed) {
            Ok(opened) => opened,
            Err(why) => return Ok(Found::Unreadable(why)),
        };
        Ok(match R::decode(&opened.plain, opened.expires_at) {
            Some(record) => Found::Record(Box::new(Stored { record, sealed })),
            None => Found::Unreadable(SealError::Damaged),
        })
    }

    /// Replaces the record that was read; false if another came first.
    pub async fn swap(&self, name: &str, read: &Stored<R>, new: &R) -> Result<bool, VaultError> {
        let sealed = self.seal(name, new)?;
        let swap = self.vault.swap(&slot::<R>(name), &read.sealed, &sealed, new.expires_at()).await?;
        Ok(swap == Swap::Swapped)
    }

    /// Takes the record that was read away; false if it is another by now, or gone: of many who ask, one hears true.
    pub async fn take(&self, name: &str, read: &Stored<R>) -> Result<bool, VaultError> {
        let taken = self.vault.take(&slot::<R>(name)).await?;
        Ok(taken.is_some_and(|taken| taken == read.sealed))
    }

    pub async fn remove(&self, name: &str) -> Result<bool, VaultError> {
        self.vault.remove(&slot::<R>(name)).await
    }

    fn seal(&self, name: &str, record: &R) -> Result<Vec<u8>, VaultError> {
        let sealed = self.sealer.seal(&place::<R>(name), record.expires_at(), &record.encode());
        sealed.map_err(|why| VaultError::Unavailable { source: Box::new(why) })
    }
}

fn slot<R: Record>(name: &str) -> Slot {
    Slot { kind: R::KIND, partition: name.to_owned(), key: R::KIND.name().to_owned() }
}

fn place<R: Record>(name: &str) -> Place<'_> {
    Place { kind: R::KIND.name(), partition: name, key: R::KIND.name() }
}

/// A tenant as records keep it: empty for none.
pub(super) fn scope(tenant: &str, audiences: Vec<String>) -> Option<crate::domain::session::TokenScope> {
    let tenant = if tenant.is_empty() { None } else { Some(tenant.parse().ok()?) };
    Some(crate::domain::session::TokenScope { audiences, tenant })
}

pub(super) fn user(bytes: &[u8]) -> Option<crate::domain::id::UserId> {
    uuid::Uuid::from_slice(bytes).ok().map(crate::domain::id::UserId::from_uuid)
}
