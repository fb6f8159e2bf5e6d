//! What lasts: users, clients, roles, bindings, keys, revocations, the change log, audit; and the SQL form of the vault. The only
//! room that names `sqlx`. It keeps rules that must hold inside one transaction (what is unique, how versions rise, that
//! an administrator remains); it must not know of passwords in clear, tokens, messages on the wire, or who may ask.
//!
//! Each method is one statement or one transaction, and whatever it says of the time is the database's clock.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::change::Revision;
use crate::store::engine::{Pool, query, query_scalar};

#[macro_use]
mod sql;

mod audit;
mod audit_log;
mod bindings;
mod bootstrap;
mod clients;
mod connect;
mod copy;
mod engine;
mod failures;
mod feed;
mod identities;
mod import;
mod keys;
mod listen;
mod migrate;
mod migrations;
mod open;
mod policy;
mod purge;
mod roles;
mod sessions;
mod settings;
mod standing;
mod tables;
mod user_state;
mod users;
mod vault;
mod write;
mod write_back;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use audit_log::{AuditFilter, AuditKey, RecordedEvent};
pub use bindings::{Binding, BindingFilter, BindingKey, GrantError, WithdrawError};
pub use bootstrap::BootstrapError;
pub use clients::{ChangeClientError, ClientChange, CreateClientError, LimitsChange};
pub use connect::{ConnectError, PostgresSettings, ServerFacts};
pub use copy::{Copied, CopiedTable, CopyError, VaultValue, WithVault};
pub use engine::StoreCounts;
pub use failures::Failed;
pub use feed::{FeedRead, Loaded};
pub use identities::{AdmitError, Admitted, Arrival, Identity, IdentityAnswer, LinkError, UnlinkError};
pub use import::{Imported, Newcomer, Same};
pub use keys::{KeyChange, KeyEvents, NewKey};
pub use migrate::Migrated;
pub use open::OpenError;
pub use policy::{ApplyPolicyError, PolicyDiff};
pub use purge::Purged;
pub use roles::{DeleteRoleError, PutRoleError};
pub use sessions::EndAllError;
pub use standing::{Credential, CredentialAnswer, Failures, KnownAs};
pub use user_state::{ChangePasswordError, ChangeUserError, Renewed};
pub use users::{CreateUserError, Created, NewUser, ProfileChange, Taken, UpdateUserError, UserKey};
pub use vault::SqlVault;

/// The store. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    /// On SQLite one connection, because it has one writer at a time, and the pool's queue is fair where its lock is not.
    writer: Pool,
    /// On PostgreSQL the same pool.
    reader: Pool,
    /// The feed's own connection: slow questions of others must not make all verifiers stale.
    follower: Pool,
    clock: Clock,
    /// The newest change that this process committed; marked as new also when another process may have committed one.
    committed: watch::Sender<i64>,
    /// The connection on which everything was loaded last. Another one may lead to another server.
    followed: Arc<AtomicU64>,
    counts: StoreCounts,
    engine: Engine,
    created: bool,
    schema_version: i64,
}

/// What the store is kept in.
#[derive(Clone, Debug)]
enum Engine {
    Sqlite,
    Postgres { facts: ServerFacts, settings: PostgresSettings },
}

impl Store {
    /// The server that keeps it; `None` if it is a file of ours.
    pub fn server(&self) -> Option<&ServerFacts> {
        match &self.engine {
            Engine::Sqlite => None,
            Engine::Postgres { facts, .. } => Some(facts),
        }
    }

    /// What its statements took, on all its connections.
    pub fn counts(&self) -> StoreCounts {
        self.counts.clone()
    }

    /// Connections that are in use, that are free, and that there may be, beside those of the feed.
    pub fn connections(&self) -> (usize, usize, usize) {
        let pools: &[&Pool] = if self.writer.is_sqlite() { &[&self.writer, &self.reader] } else { &[&self.writer] };
        pools
            .iter()
            .map(|pool| pool.size())
            .fold((0, 0, 0), |sum, (size, idle, max)| (sum.0 + size.saturating_sub(idle), sum.1 + idle, sum.2 + max))
    }

    /// Whether opening it made it.
    pub fn created(&self) -> bool {
        self.created
    }

    pub fn schema_version(&self) -> i64 {
        self.schema_version
    }

    /// Wakes the feed when this process has committed a change; polling finds those of others.
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.committed.subscribe()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        query("SELECT 1").execute(&self.reader).await?;
        Ok(())
    }

    /// Whether an acknowledged revocation waits for a standby; an embedded store has nowhere to fail over to.
    pub async fn has_synchronous_standby(&self) -> Result<Option<bool>, StoreError> {
        const ASK: &str = "SELECT current_setting('synchronous_standby_names') <> ''";
        match &self.engine {
            Engine::Sqlite => Ok(None),
            Engine::Postgres { .. } => Ok(Some(query_scalar(ASK).fetch_one(&self.reader).await?)),
        }
    }

    /// Closes all connections; whatever is asked afterwards is unavailable.
    pub async fn close(&self) {
        self.reader.close().await;
        self.follower.close().await;
        // Last, because the last connection folds the write-ahead log into the file.
        self.writer.close().await;
    }

    /// The vault on the same connections.
    pub fn vault(&self) -> SqlVault {
        SqlVault::new(self.clone())
    }
}

/// What became of an idempotent call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// `false`: it was so before, and nothing was written.
    pub changed: bool,
    pub revision: Revision,
}

/// A failure that is nobody's answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection in time, a full disk, a lost file: try again later.
    #[error("the store is unavailable")]
    Unavailable {
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What is stored cannot be what we stored.
    #[error("the store is corrupt: {what}")]
    Corrupt {
        what: &'static str,
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl StoreError {
    fn corrupt(what: &'static str) -> Self {
        Self::Corrupt { what, source: None }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if open::is_damage(database.as_ref()) => {
                Self::Corrupt { what: "the database is damaged", source: Some(error.into()) }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Corrupt { what: "a value is not of its column's type", source: Some(error.into()) }
            }
            _ => Self::Unavailable { source: error.into() },
        }
    }
}
