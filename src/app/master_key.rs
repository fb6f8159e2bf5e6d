//! The master key's file and what the store says of it, for the operator at the command line. A key goes through three
//! steps: known on every server, used for what is new, dropped when nothing is left that it opens.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::app::data_dir::write_private;
use crate::app::first_start::source_name;
use crate::app::{StartError, engines};
use crate::auth::clients::Clients;
use crate::auth::master_key::{MasterKeyError, MasterKeys};
use crate::clock::Clock;
use crate::config::{self, Config, SecretError, SecretSource};
use crate::domain::time::Timestamp;
use crate::store::{ConnectError, OpenError, Store, StoreError};

/// How often a server says that it still opens sessions under its master key.
const USED_EVERY: Duration = Duration::from_mins(10);
/// The longest that sessions ever might live, in microseconds: what was opened so lives so, whatever is set since.
const LONGEST_SESSION: &str = "longest_session_micros";

/// The setting that says when sessions were last opened under a master key, by any server.
fn last_used(number: u8) -> String {
    format!("master_key_{number}_last_used")
}

/// Takes down for [`status`] that sessions are opened under a key, and how long they may live.
pub(super) struct Noting {
    store: Store,
    number: u8,
    clients: Arc<Clients>,
}

impl Noting {
    /// For the key in use, for the first time.
    pub(super) async fn start(store: &Store, keys: &MasterKeys, clients: &Arc<Clients>) -> Result<Self, StoreError> {
        let noting = Self { store: store.clone(), number: keys.current().number, clients: Arc::clone(clients) };
        noting.note().await?;
        Ok(noting)
    }

    /// From time to time, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(USED_EVERY) => {}
                () = stop.cancelled() => return,
            }
            if let Err(why) = self.note().await {
                tracing::debug!(%why, "the use of the master key was not noted");
            }
        }
    }

    async fn note(&self) -> Result<(), StoreError> {
        let longest = i64::try_from(self.clients.absolute_ttl_max().as_micros()).unwrap_or(i64::MAX);
        // First, so that no key is known to be used without it.
        self.store.raise_setting(LONGEST_SESSION, longest).await?;
        self.store.raise_setting(&last_used(self.number), self.store.now().await?.micros()).await
    }
}

/// Why the file was not written, or cannot be judged. Whatever was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyFault {
    #[error("{} is there already", .path.display())]
    Exists { path: PathBuf },
    #[error("{} cannot be written: {source}", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{place}: {why}")]
    NotKeys { place: String, why: MasterKeyError },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    #[error("master key {number} seals signing keys that are not retired yet")]
    SealsKeys { number: u8 },
    #[error("sessions that were opened under master key {number} are not over")]
    HasSessions { number: u8, end: Option<Timestamp> },
}

/// Writes a file with a new master key, number 1.
pub fn create(path: &Path) -> Result<(), MasterKeyFault> {
    // Also a link that leads nowhere is in the way.
    if path.symlink_metadata().is_ok() {
        return Err(MasterKeyFault::Exists { path: path.to_owned() });
    }
    let text = MasterKeys::generate().map_err(|why| not_keys(&path.display(), why))?;
    write(path, text.expose_secret())
}

/// Adds the next master key to a file, as one that is known and not used; answers its number and the one in use.
pub fn extend(path: &Path) -> Result<(u8, u8), MasterKeyFault> {
    // The file itself, not the link to it, or the others who follow the link would never learn.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let text = SecretSource::File(real.clone()).open()?;
    let (text, added) = MasterKeys::extend(&text).map_err(|why| not_keys(&path.display(), why))?;
    let current = MasterKeys::parse(&text).map_err(|why| not_keys(&path.display(), why))?.current().number;
    write(&real, text.expose_secret())?;
    Ok((added, current))
}

/// Makes a key of the file the one that is used for what is new.
pub fn make_current(path: &Path, number: u8) -> Result<(), MasterKeyFault> {
    rewrite(path, |text| MasterKeys::using(text, number))
}

/// Takes a key out of the file that nothing needs any more, or whose sessions are to end.
pub async fn drop_key(
    config: &Config,
    clock: Clock,
    path: &Path,
    number: u8,
    end_its_sessions: bool,
) -> Result<(), MasterKeyFault> {
    let now = clock.now();
    let status = status_of(config, &SecretSource::File(path.to_owned()), clock).await?;
    if let Some(key) = status.keys.iter().find(|key| key.number == number && key.held) {
        if key.signing_keys > 0 {
            return Err(MasterKeyFault::SealsKeys { number });
        }
        // One that no server has seen has opened nothing.
        let is_over = key.sessions_end.is_some_and(|end| end <= now) || (status.has_store && key.matches.is_none());
        if !is_over && !end_its_sessions && !key.current {
            return Err(MasterKeyFault::HasSessions { number, end: key.sessions_end });
        }
    }
    rewrite(path, |text| MasterKeys::without(text, number))
}

fn rewrite(
    path: &Path,
    change: impl FnOnce(&SecretString) -> Result<SecretString, MasterKeyError>,
) -> Result<(), MasterKeyFault> {
    // As above: where the link leads.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let text = SecretSource::File(real.clone()).open()?;
    let changed = change(&text).map_err(|why| not_keys(&path.display(), why))?;
    write(&real, changed.expose_secret())
}

fn write(path: &Path, text: &str) -> Result<(), MasterKeyFault> {
    write_private(path, text).map_err(|source| MasterKeyFault::Unwritable { path: path.to_owned(), source })
}

fn not_keys(place: &dyn std::fmt::Display, why: MasterKeyError) -> MasterKeyFault {
    MasterKeyFault::NotKeys { place: place.to_string(), why }
}

/// What is to be said of all master keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where they come from.
    pub place: String,
    pub keys: Vec<NumberStatus>,
    /// Whether there is a store to compare them with.
    pub has_store: bool,
}

/// What is to be said of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberStatus {
    pub number: u8,
    pub held: bool,
    /// Of those that are held: used for what is new.
    pub current: bool,
    /// Whether the store knows the number for these bytes; unset where there is nothing to compare.
    pub matches: Option<bool>,
    /// Signing keys that it seals and that are not retired.
    pub signing_keys: usize,
    /// When the last session that was opened under it is over; unset for the one in use, and while that was not used yet.
    pub sessions_end: Option<Timestamp>,
}

/// Compares the configured master keys with the store. Changes nothing.
pub async fn status(config: &Config, clock: Clock) -> Result<Status, MasterKeyFault> {
    status_of(config, &config.keys.master, clock).await
}

async fn status_of(config: &Config, source: &SecretSource, clock: Clock) -> Result<Status, MasterKeyFault> {
    let place = source_name(source);
    let masters = MasterKeys::parse(&source.open()?).map_err(|why| not_keys(&place, why))?;
    let held: Vec<(u8, [u8; 4])> = masters.check_values().collect();
    let current = masters.current().number;
    let store = match &config.store {
        config::Store::Sqlite { path } => Store::open_existing(path, clock).await?,
        config::Store::Postgres(server) => {
            // As with a file: whoever only looks must not migrate what a server runs on.
            match engines::connect(server, engines::URL, clock).await {
                Ok(store) => Some(store),
                Err(StartError::Connect { source: ConnectError::NotMigrated { .. }, .. }) => None,
                Err(why) => return Err(why.into()),
            }
        }
    };
    let (mut known, mut signing_keys, mut ends) = (Vec::new(), Vec::new(), BTreeMap::new());
    if let Some(store) = &store {
        known = store.master_keys().await?;
        let now = store.now().await?;
        let keys = store.keys().await?.into_iter().filter(|key| !key.plan().is_retired(now));
        signing_keys = keys.collect();
        let number = async |name: &str| -> Result<Option<i64>, StoreError> {
            Ok(store.setting(name).await?.and_then(|text| text.parse().ok()))
        };
        if number(&last_used(current)).await?.is_some() {
            let longest = number(LONGEST_SESSION).await?.unwrap_or(i64::MAX);
            for other in held.iter().map(|(other, _)| *other).filter(|other| *other != current) {
                let end = number(&last_used(other)).await?.map_or(0, |used| {
                    used.saturating_add(longest).saturating_add(USED_EVERY.as_micros().try_into().unwrap_or(i64::MAX))
                });
                ends.insert(other, Timestamp::from_micros(end));
            }
        }
        store.close().await;
    }
    let numbers: BTreeSet<u8> =
        held.iter().map(|(number, _)| *number).chain(known.iter().map(|(number, _)| *number)).collect();
    let keys = numbers.into_iter().map(|number| {
        let bytes = held.iter().find(|(own, _)| *own == number).map(|(_, check)| check.as_slice());
        let stored = known.iter().find(|(own, _)| *own == number).map(|(_, check)| check.as_slice());
        NumberStatus {
            number,
            held: bytes.is_some(),
            current: number == current,
            matches: bytes.zip(stored).map(|(bytes, stored)| bytes == stored),
            signing_keys: signing_keys.iter().filter(|key| key.master_key == number).count(),
            sessions_end: ends.get(&number).copied(),
        }
    });
    Ok(Status { place, keys: keys.collect(), has_store: store.is_some() })
}
