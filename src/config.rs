//! Every setting, typed and checked. Owns where settings come from, their defaults and bounds, and how a fault in them
//! is told; knows the values of `domain` and no other room, so that each constructor can be handed its own section by value.
//!
//! Layers, the later wins: defaults, the TOML file, `POSTERN__SECTION__KEY` in the environment, the command line. The
//! double underscore keeps out what Kubernetes injects for a Service named postern (`POSTERN_PORT`). Loading reports
//! all faults at once, and refuses keys that it does not know: a typo must not silently leave a default in force.

mod defaults;
mod fault;
mod production;
mod read;
mod reader;
mod redis_url;
mod secret;
mod source;
mod surroundings;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::client::{San, SessionLimits};
use crate::domain::id::ClientId;
use crate::domain::key::Algorithm;
use crate::domain::role::RoleId;

pub use fault::{ConfigError, Fault, in_columns};
pub use reader::Setting;
pub use redis_url::{Deployment, Host, NotARedisUrl, REDIS_URL_FORMS, RedisUrl};
pub use secret::{SecretError, SecretSource};
pub use source::{Source, Sources};
pub use table::settings_table;

/// The file that is read when none is named, if it exists.
pub const DEFAULT_FILE: &str = "postern.toml";

/// Where the embedded store and the master key live unless `data_dir` says otherwise.
pub const DEFAULT_DATA_DIR: &str = "./postern-data";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    /// Relative paths start at the working directory, here and everywhere else.
    pub data_dir: PathBuf,
    pub issuer: Issuer,
    pub listen: Listen,
    /// Unset: clear text, which production takes on loopback or by name only.
    pub tls: Option<Tls>,
    pub store: Store,
    pub vault: Vault,
    pub keys: Keys,
    pub tokens: Tokens,
    pub sessions: Sessions,
    pub refresh: Refresh,
    pub passwords: Passwords,
    pub feed: Feed,
    /// Programs that are declared here rather than through AdminService.
    pub clients: Vec<Client>,
    pub limits: Limits,
    pub log: Log,
}

impl Config {
    /// The first program declared here that gets tokens for this audience.
    pub fn first_client_of(&self, audience: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.token_audiences.iter().any(|own| own == audience))
    }
}

/// What the server may take for granted about its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One machine, loopback only, no TLS, one built-in client.
    Development,
    /// Others can reach it: nothing is taken for granted, made up or printed.
    Production,
}

#[derive(Clone, Debug)]
pub struct Issuer {
    /// Goes into `iss` as it is. Development may leave it out: it is then fixed at the first start.
    pub url: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Listen {
    pub grpc: SocketAddr,
    /// Unset: on the gRPC port, which only development does.
    pub admin: Option<SocketAddr>,
    pub operations: SocketAddr,
    /// Who keeps others from reading along where there is no TLS.
    pub insecure: Option<Insecure>,
}

/// Why clear text beyond loopback is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// A service mesh or a proxy in the same network namespace encrypts.
    Mesh,
}

/// TLS on all listeners. The files are read anew when they change.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM, the server's own first.
    pub certificate: PathBuf,
    /// PEM; its owner's alone.
    pub key: PathBuf,
    /// PEM: who vouches for client certificates. Unset: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a connection to gRPC needs a client certificate; the operations port never does, or no probe would pass.
    pub require_client_certificate: bool,
}

/// The SQL engine. An enum, so that half a choice cannot be written.
#[derive(Clone, Debug)]
pub enum Store {
    Sqlite { path: PathBuf },
    Postgres(Postgres),
}

/// A PostgreSQL server, which any number of replicas share.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// With user and password, so it is a secret as a whole.
    pub url: SecretSource,
    pub pool_size: usize,
    /// A pooler hands connections to others after each transaction.
    pub pooler: bool,
    /// Whether a start brings the tables up to date, which the run-time role need not be allowed.
    pub migrate: bool,
    /// Who may do that, if it is another than the run-time role.
    pub migrate_url: Option<SecretSource>,
}

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub enum Vault {
    /// In a table of the SQL store.
    Store,
    /// On Redis or Valkey.
    Redis(Redis),
}

#[derive(Clone, Debug)]
pub struct Redis {
    /// A [`RedisUrl`]; a secret, since a password may stand in it.
    pub url: SecretSource,
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    /// PEM: who vouches for the server. Unset: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// What all names begin with there.
    pub prefix: String,
}

#[derive(Clone, Debug)]
pub struct Keys {
    pub master: SecretSource,
    /// Of keys that are made from now on.
    pub algorithm: Algorithm,
    /// How long a key signs before the next one takes over. Unset: on command only.
    pub rotate_every: Option<Duration>,
}

/// A program, as `[[clients]]` declares it.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: ClientId,
    pub display_name: String,
    /// Subject alternative names that prove it.
    pub mtls_sans: Vec<San>,
    /// Each proves it; two during a rotation.
    pub secrets: Vec<SecretSource>,
    /// What it is as a resource. Empty: none.
    pub audience: String,
    /// What it may ask tokens for; the first is the default.
    pub token_audiences: Vec<String>,
    pub return_urls: Vec<String>,
    /// Held everywhere.
    pub roles: Vec<RoleId>,
    /// Where it departs from the server's.
    pub session_policy: SessionLimits,
}

/// What bounds connections, beside the fixed limits of HTTP/2.
#[derive(Clone, Debug)]
pub struct Limits {
    /// At once, on each listener.
    pub connections: usize,
    /// At once, from one address.
    pub connections_per_address: usize,
    /// Then the peer is asked to connect anew, so that load spreads over new replicas; a tenth more or less by chance.
    pub connection_age: Duration,
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
    /// Directives as `tracing` knows them: `info`, `info,postern=debug`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    Json,
}

/// Settings that can be used, and how they came about.
pub struct Loaded {
    pub config: Config,
    /// Each that there is, with what holds and where it was written.
    pub settings: Vec<Setting>,
    /// What the operator should know.
    pub warnings: Vec<Fault>,
}

impl Loaded {
    /// Adds what was found out by asking what a setting names.
    pub fn warn(&mut self, key: &str, wrong: &str, right: &str) {
        let below = |setting: &&Setting| setting.key.starts_with(key) && !setting.value.is_empty();
        let source = self.settings.iter().find(below).map_or(Source::Default, |setting| setting.source.clone());
        self.warnings.push(Fault::new(source, key, wrong, right));
    }

    /// Holds the settings against this machine: files, memory. Makes nothing.
    ///
    /// # Errors
    /// With every fault that was found.
    pub fn look_around(mut self) -> Result<Self, ConfigError> {
        let judgement = surroundings::judge(&self.config);
        let at = |finding: production::Finding| finding.at(|key| reader::source_of(&self.settings, key));
        let faults: Vec<Fault> = judgement.refusals.into_iter().map(at).collect();
        let warnings: Vec<Fault> = judgement.warnings.into_iter().map(at).collect();
        self.warnings.extend(warnings);
        if faults.is_empty() { Ok(self) } else { Err(ConfigError::new(faults)) }
    }
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// With every fault that was found, not only the first.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        Self::load_all(sources).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], with all that there is to tell about them.
    ///
    /// # Errors
    /// With every fault that was found, not only the first.
    pub fn load_all(sources: Sources) -> Result<Loaded, ConfigError> {
        let mut report = reader::Report::default();
        let root = source::merge(sources, &mut report.faults)?;
        let config = reader::Section::read_root(root, &mut report, read::config);
        report.judge_unknown_keys();
        let mut warnings = Vec::new();
        if config.profile == Profile::Production {
            let source_of = |key: &str| reader::source_of(&report.settings, key);
            let judgement = production::judge(&config, source_of);
            warnings = judgement.warnings.into_iter().map(|finding| finding.at(source_of)).collect();
            // What is wrong by itself was told already, and holds a default here that nobody chose.
            let fresh = judgement.refusals.into_iter().filter(|finding| !report.is_at_fault(&finding.key));
            let fresh: Vec<Fault> = fresh.map(|finding| finding.at(source_of)).collect();
            report.faults.extend(fresh);
        }
        match report.faults {
            faults if faults.is_empty() => Ok(Loaded { config, settings: report.settings, warnings }),
            faults => Err(ConfigError::new(faults)),
        }
    }
}
