//! Whether a server could start on these settings: what it would open is opened, and nothing is made.

use crate::app::{StartError, engines, first_start};
use crate::auth::master_key::MasterKeys;
use crate::config::{Config, Profile, SecretError, Store as Engine};
use crate::store::{ConnectError, ServerFacts, Store};

/// What a start would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version of the store's tables; none: the start makes the store.
    pub schema: Option<i64>,
    /// The server that keeps it, if it is not a file.
    pub server: Option<ServerFacts>,
    /// Whether the start makes the master key.
    pub makes_master_key: bool,
}

/// Opens the master key, and the store for reading.
///
/// # Errors
/// As the start would end with.
pub async fn check(config: &Config) -> Result<Found, StartError> {
    let (schema, server) = match &config.store {
        Engine::Sqlite { path } => (Store::inspect(path).await?, None),
        Engine::Postgres(server) => {
            let facts = engines::look_at(server).await?;
            if facts.schema < facts.newest_schema && !server.migrate {
                let (found, needed) = (facts.schema, facts.newest_schema);
                return Err(engines::at(
                    engines::URL,
                    ConnectError::NotMigrated { server: facts.server, found, needed },
                ));
            }
            (Some(facts.schema).filter(|schema| *schema > 0), Some(facts))
        }
    };
    let makes_master_key = match config.keys.master.open() {
        Ok(text) => first_start::parse(&config.keys.master, &text).map(|_: MasterKeys| false)?,
        Err(SecretError::Missing { .. }) if schema.is_none() && config.profile == Profile::Development => true,
        Err(SecretError::Missing { path }) if schema.is_some() => return Err(StartError::MasterKeyLost { path }),
        Err(SecretError::Missing { path }) => return Err(StartError::MasterKeyNotMade { path }),
        Err(why) => return Err(StartError::MasterKey { wrong: why.to_string() }),
    };
    Ok(Found { schema, server, makes_master_key })
}
