//! What holds where nothing was written. The only place that states it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Accounts, Audit, Config, Feed, Gateway, Issuer, Keys, Limits, Listen, Log, LogAddresses, LogFormat, Passwords,
    Profile, Refresh, SecretSource, Sessions, Store, Telemetry, Tokens, Vault, WhenStale, read, surroundings,
};
use crate::domain::key::Algorithm;
use crate::domain::rate::{Quota, Quotas};

/// Only failures count, since a success puts back what it took. Each bucket is full again within 15 minutes.
const TRIES: Quotas = Quotas {
    // An office behind one address has some who mistype; a machine that guesses has thousands.
    address: Quota { burst: 100, every: Duration::from_secs(5) },
    // A front has many people, and one that was taken over has no end of guesses.
    caller: Quota { burst: 10_000, every: Duration::from_millis(20) },
    // Few enough that guessing is in vain; full again before somebody who forgot a password gives up.
    account: Quota { burst: 20, every: Duration::from_secs(45) },
    // Half of the account's: nobody uses it up alone.
    account_at_address: Quota { burst: 10, every: Duration::from_secs(90) },
    device: Quota { burst: 10, every: Duration::from_mins(1) },
    administrator: Quota { burst: 100, every: Duration::from_secs(1) },
    token: Quota { burst: 100, every: Duration::from_secs(1) },
    alarm_percent: 80,
};

const DAY: Duration = Duration::from_hours(24);

impl Config {
    pub fn defaults(profile: Profile, data_dir: &Path) -> Self {
        match profile {
            Profile::Development => Self::development_defaults(data_dir),
            Profile::Production => Self::production_defaults(data_dir),
        }
    }

    /// With everything kept under `data_dir`.
    pub fn development_defaults(data_dir: &Path) -> Self {
        let threads = threads(MEMORY_KIB);
        Self {
            profile: Profile::Development,
            data_dir: data_dir.to_owned(),
            issuer: Issuer { url: None },
            listen: Listen {
                grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 7301)),
                admin: None,
                operations: SocketAddr::from((Ipv4Addr::LOCALHOST, 7303)),
                gateway: SocketAddr::from((Ipv4Addr::LOCALHOST, 7302)),
                insecure: None,
            },
            tls: None,
            store: Store::Sqlite { path: data_dir.join("postern.db") },
            vault: Vault::Store,
            keys: Keys {
                master: SecretSource::File(data_dir.join("master.key")),
                algorithm: Algorithm::EdDsa,
                rotate_every: None,
            },
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
                context_words: Vec::new(),
                breached_file: None,
                pepper_file: None,
                memory_kib: MEMORY_KIB,
                iterations: 2,
                parallelism: 1,
                threads,
                queue: queue(threads),
            },
            feed: Feed {
                poll_interval: Duration::from_millis(500),
                max_staleness: Duration::from_mins(1),
                when_stale: WhenStale::Refuse,
            },
            clients: Vec::new(),
            gateway: Gateway {
                url: None,
                in_process: true,
                server: None,
                server_ca: None,
                trusted_proxies: Vec::new(),
                clients: Vec::new(),
            },
            accounts: Accounts { roles: Vec::new() },
            audit: Audit { retention: None },
            providers: Vec::new(),
            trusted_issuers: Vec::new(),
            limits: Limits {
                connections: 10_000,
                connections_per_address: 2_000,
                connection_age: Duration::from_mins(30),
                tries: TRIES,
            },
            telemetry: Telemetry { endpoint: None, ca: None, sample_one_in: 10, service_name: "postern".to_owned() },
            log: Log { format: LogFormat::Auto, filter: "info".to_owned(), addresses: LogAddresses::Truncated },
        }
    }

    /// Not enough to start: what production must be told (the issuer, the master key, where the data is, who encrypts) is
    /// missing or refused until it is written.
    pub fn production_defaults(data_dir: &Path) -> Self {
        let mut config = Self::development_defaults(data_dir);
        config.profile = Profile::Production;
        config.listen.grpc.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        config.listen.admin = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7304)));
        config.keys.master = SecretSource::File(PathBuf::new());
        config.log.format = LogFormat::Json;
        config
    }
}

const MEMORY_KIB: u32 = 19_456;

/// As many as there are cores, and no more than there is memory for.
pub(super) fn threads(memory_kib: u32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(*read::THREADS.end());
    cores.min(surroundings::threads_that_fit(memory_kib, surroundings::memory_limit()))
}

/// About a second of waiting per thread at the default cost: beyond that, callers have gone.
pub(super) const fn queue(threads: usize) -> usize {
    threads.saturating_mul(32)
}
