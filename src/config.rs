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
use crate::domain::identity::{ProviderId, ProviderKind};
use crate::domain::key::Algorithm;
use crate::domain::proxy::Block;
use crate::domain::rate::Quotas;
use crate::domain::role::RoleId;
use crate::domain::time::Timestamp;

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
    pub gateway: Gateway,
    pub accounts: Accounts,
    pub audit: Audit,
    /// Where people may sign in, beside a password.
    pub providers: Vec<Provider>,
    pub trusted_issuers: Vec<TrustedIssuer>,
    pub limits: Limits,
    pub log: Log,
    pub telemetry: Telemetry,
}

impl Config {
    /// Whether this server is the gateway, too. Production has none unless it says where browsers find it.
    pub fn serves_gateway(&self) -> bool {
        self.gateway.in_process && (self.gateway.url.is_some() || self.profile == Profile::Development)
    }

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
    /// For browsers.
    pub gateway: SocketAddr,
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

/// The REST gateway, for browsers.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where browsers find it, without a slash at its end; redirect URIs begin with it. Unset: there is no gateway, unless in
    /// development, where it is the address that is listened on.
    pub url: Option<String>,
    /// Whether this server is it, or another process is (`postern gateway`).
    pub in_process: bool,
    /// For `postern gateway` only: the server's gRPC address, as a URL.
    pub server: Option<String>,
    /// PEM: who vouches for that server. Unset: whom this machine trusts.
    pub server_ca: Option<PathBuf>,
    /// The proxies that stand in front, whose word for a browser's address counts.
    pub trusted_proxies: Vec<Block>,
    /// The programs that it serves.
    pub clients: Vec<GatewayClient>,
}

/// A program whose people sign in through the gateway.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    pub id: ClientId,
    /// Proves to the server that the gateway acts for it. Unset only for the development profile's own.
    pub secret: Option<SecretSource>,
    pub answer: GatewayAnswer,
    /// Of whose pages scripts may call its routes, beside its own (RFC 6454, section 6.2). With `cookies` only.
    pub origins: Vec<String>,
}

/// What a person comes back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayAnswer {
    /// Cookies with the tokens.
    Cookies,
    /// A one-time code, which the program's backend trades in.
    Handoff,
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    /// How long events are kept. Unset: for good.
    pub retention: Option<Duration>,
}

/// What accounts begin with.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Of users who come by a provider for the first time; held everywhere.
    pub roles: Vec<RoleId>,
}

/// A provider of identities, as `[[providers]]` declares it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Provider {
    pub id: ProviderId,
    pub kind: ProviderKind,
    /// On buttons. Empty: as the kind is called.
    pub display_name: String,
    pub client_id: String,
    /// Unset for a public client (which some OpenID providers allow).
    pub client_secret: Option<SecretSource>,
    /// Of native SDKs: who else may stand in `aud` of what they hand over.
    pub native_client_ids: Vec<String>,
    /// Unset: as the kind has it; needed for `oidc`.
    pub issuer: Option<String>,
    pub endpoints: Endpoints,
    /// Unset: the gateway's callback for this provider.
    pub redirect_uri: Option<String>,
    /// Unset: as the kind has it.
    pub scopes: Option<Vec<String>>,
    pub surface: Surface,
    pub pkce: bool,
    /// Unset: as the kind has it, or as the discovery document says.
    pub client_auth: Option<ClientAuth>,
    /// Whether the callback is a form that is posted.
    pub form_post: bool,
    /// What a front may pass on to the authorization endpoint.
    pub parameters: Vec<String>,
    /// Only people of this domain (`hd` of Google).
    pub hosted_domain: Option<String>,
    /// Whether somebody who is not known yet gets an account.
    pub sign_up: bool,
    /// Whether an address that the provider vouches for may link to an account that has proven the same address.
    pub link_by_email: bool,
    /// Only addresses of these domains link. Empty: as the kind has it; `oidc` then links by all.
    pub link_domains: Vec<String>,
    /// What Kakao shows with its unlink notices.
    pub admin_key: Option<SecretSource>,
    /// Whether its endpoints may be at addresses that are not public, or in clear text on loopback.
    pub private_network: bool,
    /// PEM: who vouches for its endpoints. Unset: whom this machine trusts.
    pub ca: Option<PathBuf>,
}

/// An issuer whose tokens are traded in, as `[[trusted_issuers]]` declares it.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    pub name: ProviderId,
    /// Its `iss`. Unset only with a shared secret, for tokens that have none.
    pub issuer: Option<String>,
    pub keys: IssuerKeys,
    /// Unset only with a shared secret, for tokens that have none.
    pub audience: Option<String>,
    /// Which claim names the person.
    pub claim: String,
    pub person: PersonBy,
    /// Who may trade its tokens in.
    pub clients: Vec<ClientId>,
    pub max_age: Duration,
    /// From when on it is not believed. Unset: for good.
    pub until: Option<Timestamp>,
    /// Whether each token is good for one time.
    pub once: bool,
}

/// What proves an issuer's tokens. An enum, so that one with public keys cannot have a secret.
#[derive(Clone, Debug)]
pub enum IssuerKeys {
    Published {
        uri: String,
        algorithms: Vec<String>,
        /// Whether its address may be one that is not public, or in clear text on loopback.
        private_network: bool,
        /// PEM: who vouches for its address. Unset: whom this machine trusts.
        ca: Option<PathBuf>,
    },
    /// HS256.
    Shared(SecretSource),
}

/// As what a person's name in a token is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonBy {
    ExternalId,
    Email,
    UserName,
    /// A subject at this provider.
    Identity(ProviderId),
}

/// Where a provider is, if not where it usually is. Each a URL.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub discovery: Option<String>,
    pub authorization: Option<String>,
    pub token: Option<String>,
    pub userinfo: Option<String>,
    pub jwks: Option<String>,
}

/// Which of its faces a provider is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// OpenID Connect.
    Oidc,
    /// OAuth 2.0 with an API of its own.
    OAuth2,
}

/// How we prove to a provider's token endpoint who we are (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Basic,
    Body,
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
    /// And what bounds tries.
    pub tries: Quotas,
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
    /// Names of the operator's that a new password may not live on, beside Postern's own and the issuer's.
    pub context_words: Vec<String>,
    /// Hashes of breached passwords, none of which may be chosen.
    pub breached_file: Option<PathBuf>,
    /// Keys that go into the hashes.
    pub pepper_file: Option<PathBuf>,
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

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Of a collector that takes OTLP over gRPC. Unset: there are no traces.
    pub endpoint: Option<String>,
    /// Who vouches for it; unset: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// Of so many traces that begin here, one is exported. Those of others go on as they began.
    pub sample_one_in: u32,
    /// What this program is called there.
    pub service_name: String,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// Directives as `tracing` knows them: `info`, `info,postern=debug`.
    pub filter: String,
    pub addresses: LogAddresses,
}

/// What the log says of where people are. The audit log has their addresses whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAddresses {
    Full,
    /// The network: a /24, or a /48 of IPv6.
    Truncated,
    None,
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
    pub fn look_around(self) -> Result<Self, ConfigError> {
        let judgement = surroundings::judge(&self.config);
        self.heed(judgement)
    }

    /// As [`Loaded::look_around`], for a gateway that is a process of its own.
    ///
    /// # Errors
    /// With every fault that was found.
    pub fn look_around_gateway(self) -> Result<Self, ConfigError> {
        let judgement = surroundings::judge_gateway(&self.config);
        self.heed(judgement)
    }

    fn heed(mut self, judgement: production::Judgement) -> Result<Self, ConfigError> {
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
        Self::load_judged(sources, |config, source_of| match config.profile {
            Profile::Production => production::judge(config, source_of),
            Profile::Development => production::Judgement::default(),
        })
    }

    /// What a gateway of its own needs. One file may serve it and the server: what the server alone reads is read, and a typo in
    /// it is one, but it is not judged.
    ///
    /// # Errors
    /// With every fault that was found, not only the first.
    pub fn load_gateway(sources: Sources) -> Result<Loaded, ConfigError> {
        Self::load_judged(sources, |config, _source_of| {
            let mut found = match config.profile {
                Profile::Production => production::judge_gateway(config),
                Profile::Development => production::Judgement::default(),
            };
            if config.gateway.server.is_none() {
                let right = "gateway.server = \"https://postern.internal:7301\"";
                found.refuse("gateway.server", "missing: whom this gateway asks", right);
            }
            found
        })
    }

    fn load_judged(
        sources: Sources,
        judge: impl FnOnce(&Self, &dyn Fn(&str) -> Source) -> production::Judgement,
    ) -> Result<Loaded, ConfigError> {
        let mut report = reader::Report::default();
        let root = source::merge(sources, &mut report.faults)?;
        let config = reader::Section::read_root(root, &mut report, read::config);
        report.judge_unknown_keys();
        let source_of = |key: &str| reader::source_of(&report.settings, key);
        let judgement = judge(&config, &source_of);
        let warnings = judgement.warnings.into_iter().map(|finding| finding.at(source_of)).collect();
        // What is wrong by itself was told already, and holds a default here that nobody chose.
        let fresh = judgement.refusals.into_iter().filter(|finding| !report.is_at_fault(&finding.key));
        let fresh: Vec<Fault> = fresh.map(|finding| finding.at(source_of)).collect();
        report.faults.extend(fresh);
        match report.faults {
            faults if faults.is_empty() => Ok(Loaded { config, settings: report.settings, warnings }),
            faults => Err(ConfigError::new(faults)),
        }
    }
}
