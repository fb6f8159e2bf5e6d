//! Moving up: all that an embedded store holds, brought into PostgreSQL and, if the settings name one, the sessions into
//! another vault. Nobody signs in again, because nothing that a token proves is changed: users, sessions, keys, the log.
//!
//! The vault first, since what it holds can be written twice; then SQL in one transaction, whose end is the mark that all
//! is done. So a run that was cut short is taken up by the next one, and servers find either nothing or everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::data_dir::DataDir;
use crate::app::{StartError, engines, first_start};
use crate::clock::Clock;
use crate::config::{self, Config, Postgres, SecretSource};
use crate::domain::time::Timestamp;
use crate::store::{CopiedTable, CopyError, OpenError, Store, StoreError, VaultValue, WithVault};
use crate::vault::{Swap, Vault, VaultError};

/// What is over so soon is not worth moving.
const WORTH: Duration = Duration::from_secs(1);
/// How far clocks may be apart before it is told: tokens are refused by a clock that is a minute behind theirs.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// Values on their way to another vault at once are a page; each is tried so often, since nobody else should write there.
const TRIES: u32 = 3;

/// From where to where.
pub struct Plan {
    /// The file of an embedded store, or the folder that it lies in.
    pub from: PathBuf,
    /// None: the server that the settings name.
    pub to: Option<SecretSource>,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: PathBuf,
    /// Without secrets.
    pub to: String,
    /// `false`: it was all there, and nothing was written.
    pub changed: bool,
    pub tables: Vec<CopiedTable>,
    /// If sessions are kept elsewhere than in SQL: where, and how many were brought there.
    pub vault: Option<(String, u64)>,
    /// How far the server's clock is behind this machine's, if that is far.
    pub clock_behind: Option<Duration>,
}

/// Why nothing was moved. The source is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the settings name no PostgreSQL to move to")]
    NoTarget,
    #[error("{} was made by an older version", .path.display())]
    Older { path: PathBuf },
    #[error("{to}: {why}; nothing was changed")]
    Copy { to: String, why: CopyError },
    #[error("{place} does not take the sessions: {why}; what it has is taken up by the next run")]
    Vault { place: String, why: VaultError },
    #[error("{place} has another value for a session than the one that was written there")]
    VaultDiffers { place: String },
}

impl From<OpenError> for MoveError {
    fn from(why: OpenError) -> Self {
        Self::Start(why.into())
    }
}

impl From<StoreError> for MoveError {
    fn from(why: StoreError) -> Self {
        Self::Start(why.into())
    }
}

/// Moves everything. `tell` hears of each table and of how many of its rows are done.
///
/// # Errors
/// With nothing changed in SQL; values in another vault are taken up by the next run.
pub async fn migrate_store(
    config: &Config,
    plan: Plan,
    tell: impl FnMut(&'static str, u64),
) -> Result<Moved, MoveError> {
    let from = if plan.from.is_dir() { plan.from.join("postern.db") } else { plan.from };
    if !from.exists() {
        return Err(StartError::NoStore { path: from }.into());
    }
    let folder = from.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut data = DataDir::lock(folder)?;
    data.sign().map_err(|source| StartError::DataDir { path: folder.to_owned(), source })?;
    // A server may lock another folder than this, if its settings say where the file is.
    Store::prove_unused(&from).await?;

    let (server, setting) = match (plan.to, &config.store) {
        (Some(url), _) => {
            // Whoever names a server here wants it filled, and one connection does that.
            let server = Postgres { url, pool_size: 4, pooler: false, migrate: true, migrate_url: None };
            (server, "--to")
        }
        (None, config::Store::Postgres(server)) => (server.clone(), engines::URL),
        (None, config::Store::Sqlite { .. }) => return Err(MoveError::NoTarget),
    };
    let clock = Clock::default();
    let Some(source) = Store::open_existing(&from, clock.clone()).await? else {
        return Err(MoveError::Older { path: from });
    };
    // What it sealed must be opened by the servers to come. Elsewhere, the key may be brought later.
    if let Ok(text) = config.keys.master.open() {
        let keys = first_start::parse(&config.keys.master, &text)?;
        first_start::fit(&keys, &config.keys.master, &source).await?;
    }
    let moved = into_server(config, (source.clone(), from), (server, setting), clock, tell).await;
    source.close().await;
    moved
}

async fn into_server(
    config: &Config,
    (source, from): (Store, PathBuf),
    (server, setting): (Postgres, &'static str),
    clock: Clock,
    tell: impl FnMut(&'static str, u64),
) -> Result<Moved, MoveError> {
    if server.migrate {
        engines::migrate_as(&server, setting, None).await?;
    }
    let target = engines::connect(&server, setting, clock).await?;
    let to = target.server().map(|facts| facts.server.clone()).unwrap_or_default();
    let failed = |why: CopyError| MoveError::Copy { to: to.clone(), why };
    let (mut vault, mut with_vault) = (None, WithVault::Yes);
    if !matches!(config.vault, config::Vault::Store) {
        let place = engines::vault_place(config).unwrap_or_else(|| "the vault".to_owned());
        with_vault = WithVault::No;
        // What moved once is in use there, and may have changed or ended since.
        let brought = if source.is_copied_into(&target).await.map_err(failed)? {
            0
        } else {
            into_vault(config, &source, &target, &place).await?
        };
        vault = Some((place, brought));
    }
    let (here, there) = (source.now().await?, target.now().await?);
    let copied = source.copy_into(&target, with_vault, tell).await.map_err(failed)?;
    target.close().await;
    Ok(Moved {
        from,
        to,
        changed: copied.changed,
        tables: copied.tables,
        vault,
        clock_behind: Some(here.since(there)).filter(|behind| *behind > SKEW_MAX),
    })
}

async fn into_vault(config: &Config, source: &Store, target: &Store, place: &str) -> Result<u64, MoveError> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let vault = engines::vault(config, target, &tasks, &stop).await?;
    let brought = all_values(source, &vault, &tasks, place).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    brought
}

async fn all_values(
    source: &Store,
    vault: &Arc<dyn Vault>,
    tasks: &TaskTracker,
    place: &str,
) -> Result<u64, MoveError> {
    let failed = |why: VaultError| MoveError::Vault { place: place.to_owned(), why };
    let (mut after, mut brought) = (i64::MIN, 0);
    while let (page, Some(last)) = source.vault_page(after).await? {
        after = last;
        let now = source.now().await?;
        let living = page.into_iter().filter(|value| value.expires_at > now + WORTH);
        let put = living.map(|value| {
            let vault = Arc::clone(vault);
            tasks.spawn(async move { put(vault.as_ref(), &value, now).await })
        });
        for put in put.collect::<Vec<_>>() {
            let is_there = put.await.map_err(|why| failed(VaultError::Unavailable { source: why.into() }))?;
            if !is_there.map_err(failed)? {
                return Err(MoveError::VaultDiffers { place: place.to_owned() });
            }
            brought += 1;
        }
    }
    Ok(brought)
}

/// Whether the value is there, as it was read back.
async fn put(vault: &dyn Vault, value: &VaultValue, now: Timestamp) -> Result<bool, VaultError> {
    let VaultValue { slot, value: own, expires_at } = value;
    for _ in 0..TRIES {
        let written = vault.insert(slot, own, *expires_at).await?;
        match vault.get(slot).await? {
            Some(found) if found == *own => return Ok(true),
            // Of a run that was cut short before sessions went on here. Nobody else makes a session of this name.
            Some(found) => {
                if matches!(vault.swap(slot, &found, own, *expires_at).await?, Swap::Swapped) {
                    return Ok(vault.get(slot).await?.as_ref() == Some(own));
                }
            }
            // It was over before it was read.
            None if written && *expires_at <= now + WORTH * 5 => return Ok(true),
            None => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Kind, Slot};

    /// What a vault of another engine meets: nothing, the same, an earlier state, of which the last wins.
    #[tokio::test]
    async fn a_value_is_put_whatever_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("postern.db"), Clock::default()).await.unwrap();
        let (vault, now) = (store.vault(), store.now().await.unwrap());
        let slot = Slot { kind: Kind::Session, partition: "p".to_owned(), key: "k".to_owned() };
        let value = |text: &str| VaultValue { slot: slot.clone(), value: text.into(), expires_at: now + WORTH * 600 };
        for text in ["one", "one", "two"] {
            assert!(put(&vault, &value(text), now).await.unwrap(), "{text}");
            assert_eq!(vault.get(&slot).await.unwrap().as_deref(), Some(text.as_bytes()));
        }
        store.close().await;
        assert!(put(&vault, &value("three"), now).await.is_err());
    }
}
