//! The tables of a server, brought up to date by an operator: with a role that may make them, before servers that may not.

use crate::app::{StartError, engines};
use crate::config::{Config, Store as Engine};
use crate::store::Migrated;

/// What there was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Migration {
    /// On a server.
    Done(Migrated),
    /// The embedded store is brought up to date by each start.
    ByTheStart,
}

/// Brings the tables up to date, and lets `grant_to` use them.
///
/// # Errors
/// With nothing changed.
pub async fn migrate(config: &Config, grant_to: Option<&str>) -> Result<Migration, StartError> {
    match (&config.store, grant_to) {
        (Engine::Postgres(server), _) => engines::migrate_and_grant(server, grant_to).await.map(Migration::Done),
        (Engine::Sqlite { .. }, None) => Ok(Migration::ByTheStart),
        (Engine::Sqlite { .. }, Some(_)) => Err(StartError::NotServed { what: "--grant-to" }),
    }
}
