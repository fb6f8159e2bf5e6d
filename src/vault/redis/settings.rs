//! From settings to a connection's: where, as whom, how encrypted, and how long anything may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject as _;
use fred::rustls::{ClientConfig, RootCertStore};
use fred::rustls_native_certs::load_native_certs;
use fred::types::RespVersion;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig,
    TlsConnector,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::RedisError;
use crate::config::{self, Deployment, RedisUrl};

/// How long one command may take.
pub(super) const COMMAND_TIME: Duration = Duration::from_secs(1);
/// How long each step of connecting may take: the connection with its handshake, and then the greetings.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// More than this many commands that wait to be sent are too many: the next one fails at once.
const QUEUE: usize = 10_000;

/// Where Redis is, and as whom to speak to it. Has no `Debug`: it holds a password.
pub struct RedisSettings {
    pub url: RedisUrl,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Who vouches for the server. Unset: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// What all names begin with.
    pub prefix: String,
}

impl RedisSettings {
    /// Opens the secrets that the settings name.
    pub fn open(settings: &config::Redis) -> Result<Self, RedisError> {
        let url: RedisUrl = settings.url.open()?.expose_secret().parse().map_err(RedisError::Url)?;
        let password = settings.password.as_ref().map(config::SecretSource::open).transpose()?;
        if url.password.is_some() && password.is_some() {
            return Err(RedisError::TwoPasswords);
        }
        let password = password.or_else(|| url.password.clone());
        let username = settings.username.clone().or_else(|| url.username.clone());
        if username.is_some() && password.is_none() {
            return Err(RedisError::NoPassword);
        }
        Ok(Self { url, username, password, ca: settings.ca.clone(), prefix: settings.prefix.clone() })
    }

    /// Where it is, as a person would look for it; without a password.
    pub fn place(&self) -> String {
        let hosts = self.url.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match &self.url.deployment {
            Deployment::StandAlone(_) => format!("Redis at {hosts}"),
            Deployment::Sentinel { service, .. } => format!("Redis {service} behind the sentinels {hosts}"),
            Deployment::Cluster(_) => format!("Redis Cluster at {hosts}"),
        }
    }

    /// What a connection is made from.
    pub(super) fn recipe(&self) -> Result<Recipe, RedisError> {
        let tls = if self.url.tls { Some(connector(self.ca.as_deref())?) } else { None };
        Ok(Recipe {
            deployment: self.url.deployment.clone(),
            config: Config {
                // Connecting anew is ours to do: see `link`.
                fail_fast: true,
                username: self.username.clone(),
                password: self.password.as_ref().map(|password| password.expose_secret().to_owned()),
                version: RespVersion::RESP3,
                tls: tls.map(TlsConfig::from),
                ..Config::default()
            },
        })
    }
}

/// Makes the settings of connections. Has no `Debug`: it holds a password.
pub(super) struct Recipe {
    deployment: Deployment,
    config: Config,
}

impl Recipe {
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.deployment, Deployment::Cluster(_))
    }

    /// For the `attempt`th time. `seen` are nodes of the cluster that were met before: of those in the settings all may have
    /// gone since.
    pub(super) fn config(&self, attempt: usize, seen: &[Server]) -> Config {
        let server = |host: &config::Host| Server::new(host.name.clone(), host.port);
        let server = match &self.deployment {
            Deployment::StandAlone(host) => ServerConfig::Centralized { server: server(host) },
            Deployment::Sentinel { hosts, service } => {
                // The driver asks the first that takes the connection, and a stopped one would be that for ever.
                let mut hosts: Vec<Server> = hosts.iter().map(server).collect();
                let turn = attempt.checked_rem(hosts.len()).unwrap_or_default();
                hosts.rotate_left(turn);
                let service_name = service.clone();
                ServerConfig::Sentinel { hosts, service_name, username: None, password: None }
            }
            Deployment::Cluster(hosts) => ServerConfig::Clustered {
                hosts: hosts.iter().map(server).chain(seen.iter().cloned()).collect(),
                policy: ClusterDiscoveryPolicy::UseCache,
            },
        };
        Config { server, ..self.config.clone() }
    }

    pub(super) fn performance() -> PerformanceConfig {
        PerformanceConfig { default_command_timeout: COMMAND_TIME, ..PerformanceConfig::default() }
    }

    pub(super) fn connection() -> ConnectionConfig {
        ConnectionConfig {
            connection_timeout: CONNECT_TIME,
            internal_command_timeout: CONNECT_TIME,
            // Sent once; and where a node of a cluster says that the key lies elsewhere, it is for us to send it there. The
            // driver would follow an ASK on a shared connection and mix up its answers with those of others.
            max_command_attempts: 1,
            max_redirections: 0,
            max_command_buffer_len: QUEUE,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        }
    }
}

/// Verifies the certificate and the name in it; there is no way not to.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, RedisError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let pem = std::fs::read(path).map_err(|source| RedisError::CaUnreadable { path: path.to_owned(), source })?;
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(RedisError::NoCa { path: path.to_owned() });
        }
    } else {
        let native = load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            let why = native.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(RedisError::NativeRoots(why));
        }
    }
    let provider = fred::rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|why| RedisError::Tls(why.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config))
}
