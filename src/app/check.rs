//! Whether a server could start on these settings: what it would open is opened, and nothing is made.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::app::{StartError, engines, first_start};
use crate::clock::Clock;
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
    /// The issuer of all tokens that are out, if the settings name another.
    pub other_issuer: Option<String>,
    /// What Redis should have otherwise, and how; nothing without it.
    pub of_redis: Vec<(String, &'static str)>,
}

/// Opens the master key, and the store for reading, and asks Redis what it is.
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
    let master_keys = match config.keys.master.open() {
        Ok(text) => Some(first_start::parse(&config.keys.master, &text)?),
        Err(SecretError::Missing { .. }) if schema.is_none() && config.profile == Profile::Development => None,
        Err(SecretError::Missing { path }) if schema.is_some() => return Err(StartError::MasterKeyLost { path }),
        Err(SecretError::Missing { path }) => return Err(StartError::MasterKeyNotMade { path }),
        Err(why) => return Err(StartError::MasterKey { wrong: why.to_string() }),
    };
    let of_redis = engines::look_at_redis(config).await?;
    let mut other_issuer = None;
    if let Some(store) = existing(config).await? {
        if let Some(keys) = &master_keys {
            first_start::fit(keys, &config.keys.master, &store).await?;
        }
        other_issuer = first_start::other_issuer(config, &store).await?;
        store.close().await;
    }
    Ok(Found { schema, server, makes_master_key: master_keys.is_none(), other_issuer, of_redis })
}

/// The store, if its tables are there and up to date.
async fn existing(config: &Config) -> Result<Option<Store>, StartError> {
    match &config.store {
        // Whoever is not its owner would leave files beside it that the server cannot write.
        Engine::Sqlite { path } if is_ours(path) => Ok(Store::open_existing(path, Clock::default()).await?),
        Engine::Sqlite { .. } => Ok(None),
        Engine::Postgres(server) => match engines::connect(server, engines::URL, Clock::default()).await {
            Ok(store) => Ok(Some(store)),
            Err(StartError::Connect { source: ConnectError::NotMigrated { .. }, .. }) => Ok(None),
            Err(why) => Err(why),
        },
    }
}

fn is_ours(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.uid() == rustix::process::geteuid().as_raw())
}
