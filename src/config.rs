//! Every setting, typed and checked. Owns where settings come from, their defaults and bounds, and how a fault in them
//! is told; knows no other room, so that each constructor can be handed its own section by value.
//!
//! Layers, the later wins: defaults, the TOML file, `POSTERN__SECTION__KEY` in the environment, the command line. The
//! double underscore keeps out what Kubernetes injects for a Service named postern (`POSTERN_PORT`). Loading reports
//! all faults at once, and refuses keys that it does not know: a typo must not silently leave a default in force.

mod fault;
mod read;
mod reader;
mod secret;
mod source;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fault::{ConfigError, Fault};
pub use secret::{SecretError, SecretSource};
pub use source::{Source, Sources};

/// The file that is read when none is named, if it exists.
pub const DEFAULT_FILE: &str = "postern.toml";

/// Where the embedded store and the master key live unless `data_dir` says otherwise.
pub const DEFAULT_DATA_DIR: &str = "./postern-data";

const DAY: Duration = Duration::from_hours(24);

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    /// Relative paths start at the working directory, here and everywhere else.
    pub data_dir: PathBuf,
    pub issuer: Issuer,
    pub listen: Listen,
    pub store: Store,
    pub vault: Vault,
    pub keys: Keys,
    pub tokens: Tokens,
    pub sessions: Sessions,
    pub refresh: Refresh,
    pub passwords: Passwords,
    pub feed: Feed,
    pub log: Log,
}

/// What the server may take for granted about its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One machine, loopback only, no TLS, one built-in client.
    Development,
}

#[derive(Clone, Debug)]
pub struct Issuer {
    /// Goes into `iss` as it is. Development may leave it out: it is then fixed at the first start.
    pub url: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Listen {
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
}

/// The SQL engine. An enum, so that half a choice cannot be written.
#[derive(Clone, Debug)]
pub enum Store {
    Sqlite { path: PathBuf },
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vault {
    /// In a table of the SQL store.
    Store,
}

#[derive(Clone, Debug)]
pub struct Keys {
    pub master: SecretSource,
}

#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_ttl: Duration,
}

#[derive(Clone, Debug)]
pub struct Sessions {
    pub idle_ttl: Duration,
    pub absolute_ttl: Duration,
    /// How long a superseded refresh token still gets the same answer again.
    pub refresh_grace: Duration,
    /// With one more, the oldest ends.
    pub max_per_user: u32,
}

#[derive(Clone, Debug)]
pub struct Refresh {
    /// Whether one repeat after the grace, in 32 generations, is answered rather than taken for theft.
    pub late_repeats: bool,
}

#[derive(Clone, Debug)]
pub struct Passwords {
    /// Of new passwords, in code points.
    pub min_length: usize,
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    /// Threads that do nothing but hash.
    pub threads: usize,
    /// How many hashes may wait; one more is refused with a retry delay.
    pub queue: usize,
}

#[derive(Clone, Debug)]
pub struct Feed {
    pub poll_interval: Duration,
    pub max_staleness: Duration,
    pub when_stale: WhenStale,
}

/// What `Verify` does once the feed has been silent for `max_staleness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    Refuse,
    /// Answers from what it knows, with a mark.
    Serve,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// Directives as `tracing` knows them: `info`, `info,postern::auth=debug`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    Json,
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// With every fault that was found, not only the first.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut report = reader::Report::default();
        let root = source::merge(sources, &mut report.faults)?;
        let config = reader::Section::read_root(root, &mut report, read::config);
        match report.into_faults() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(ConfigError::new(faults)),
        }
    }

    /// The defaults, with everything kept under `data_dir`. The only place that states them.
    pub fn development_defaults(data_dir: &Path) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(*read::THREADS.end());
        Self {
            profile: Profile::Development,
            data_dir: data_dir.to_owned(),
            issuer: Issuer { url: None },
            listen: Listen {
                grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 7301)),
                operations: SocketAddr::from((Ipv4Addr::LOCALHOST, 7303)),
            },
            store: Store::Sqlite { path: data_dir.join("postern.db") },
            vault: Vault::Store,
            keys: Keys { master: SecretSource::File(data_dir.join("master.key")) },
            tokens: Tokens { access_ttl: Duration::from_mins(30) },
            sessions: Sessions {
                idle_ttl: 14 * DAY,
                absolute_ttl: 90 * DAY,
                refresh_grace: Duration::from_secs(30),
                max_per_user: 50,
            },
            refresh: Refresh { late_repeats: true },
            passwords: Passwords {
                min_length: 15,
                memory_kib: 19_456,
                iterations: 2,
                parallelism: 1,
                threads,
                queue: default_queue(threads),
            },
            feed: Feed {
                poll_interval: Duration::from_millis(500),
                max_staleness: Duration::from_mins(1),
                when_stale: WhenStale::Refuse,
            },
            log: Log { format: LogFormat::Auto, filter: "info".to_owned() },
        }
    }
}

/// About a second of waiting per thread at the default cost: beyond that, callers have gone.
const fn default_queue(threads: usize) -> usize {
    threads.saturating_mul(32)
}
