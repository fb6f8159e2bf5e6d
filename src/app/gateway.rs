//! The gateway put together: in this process beside the service, or as a process of its own in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::ports::GatewayPort;
use super::{StartError, internal, signals};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::{self, Config, GatewayAnswer, Profile};
use crate::domain::client::{ClientSecret, DEVELOPMENT_ID};
use crate::domain::proxy::TrustedProxies;
use crate::grpc;
use crate::http::gateway::{Credential, Gateway, GatewaySettings, Outcome, ServedClient, Upstream};
use crate::listener::Patience;
use crate::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that went away without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const USER_AGENT: &str = concat!("postern-gateway/", env!("CARGO_PKG_VERSION"));
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What a gateway's start tells.
#[derive(Debug)]
pub struct GatewayReport {
    /// Of the binary.
    pub version: &'static str,
    pub profile: Profile,
    /// Where browsers find it.
    pub url: String,
    pub listens: SocketAddr,
    /// Where it asks.
    pub server: String,
    pub tls: bool,
}

/// In development the gateway is where it listens, unless told otherwise.
pub(super) fn settle_url(config: &mut Config, listens: Option<SocketAddr>) {
    if let (Profile::Development, None, Some(address)) = (config.profile, &config.gateway.url, listens) {
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        config.gateway.url = Some(format!("{scheme}://{address}"));
    }
}

/// In front of the service in this process.
pub(super) fn in_process(config: &Config, auth: &Arc<Auth>, clock: Clock) -> Result<Gateway, StartError> {
    Ok(Gateway::new(settings(config)?, Upstream::new(grpc::for_gateway(auth)), clock))
}

/// Serves browsers, in front of another process, until this one is asked to stop.
pub async fn serve(mut config: Config, started: impl FnOnce(&GatewayReport)) -> Result<(), StartError> {
    if config.profile == Profile::Production {
        super::hardening::keep_memory_private().map_err(internal)?;
    }
    let clock = Clock::default();
    let port = GatewayPort::open(&config, &clock)?;
    let listens = port.address().unwrap_or(config.listen.gateway);
    settle_url(&mut config, Some(listens));
    let (channel, server) = channel(&config.gateway)?;
    let gateway = Gateway::new(settings(&config)?, Upstream::new(channel), clock);

    let stop = CancellationToken::new();
    let watching = port.tls.clone().map(|tls| tls.watch(tls::POLL_INTERVAL, stop.clone()));
    let report = GatewayReport {
        version: env!("CARGO_PKG_VERSION"),
        profile: config.profile,
        url: config.gateway.url.clone().unwrap_or_default(),
        listens,
        server,
        tls: port.tls.is_some(),
    };
    let browsers = gateway.serve(port.into_listener(Patience::default()), stop.clone());
    // Before anybody is told, as with the server.
    let (asked, asked_again) = signals();
    started(&report);
    let asked = async {
        asked.await;
        stop.cancel();
    };
    let watching = async {
        if let Some(watching) = watching {
            watching.await;
        }
    };
    tokio::select! {
        ((), (), ()) = async { tokio::join!(browsers, asked, watching) } => Ok(()),
        () = asked_again => Err(StartError::Interrupted),
    }
}

fn settings(config: &Config) -> Result<GatewaySettings, StartError> {
    let is_development = config.profile == Profile::Development;
    let mut clients = config.gateway.clients.iter().map(served).collect::<Result<Vec<_>, _>>()?;
    if is_development && clients.iter().all(|client| client.id.as_str() != DEVELOPMENT_ID) {
        clients.push(ServedClient {
            id: DEVELOPMENT_ID.parse().map_err(internal)?,
            credential: None,
            outcome: Outcome::Cookies,
            origins: Vec::new(),
        });
    }
    let url = config.gateway.url.clone().unwrap_or_default();
    let proxies = TrustedProxies::new(config.gateway.trusted_proxies.clone());
    Ok(GatewaySettings { url, clients, has_home: is_development, proxies })
}

fn served(client: &config::GatewayClient) -> Result<ServedClient, StartError> {
    let unusable = |wrong: String| StartError::GatewaySecret { id: client.id.clone(), wrong };
    let credential = match &client.secret {
        None => None,
        Some(source) => {
            let secret = source.open().map_err(|why| unusable(why.to_string()))?;
            let is_secret = secret.expose_secret().parse::<ClientSecret>().is_ok();
            let credential = is_secret.then(|| Credential::bearer(&secret)).flatten();
            let wrong = || unusable("it is not `pcs_` and 43 letters of base64url, without padding".to_owned());
            Some(credential.ok_or_else(wrong)?)
        }
    };
    Ok(ServedClient {
        id: client.id.clone(),
        credential,
        outcome: match client.answer {
            GatewayAnswer::Cookies => Outcome::Cookies,
            GatewayAnswer::Handoff => Outcome::Handoff,
        },
        origins: client.origins.clone(),
    })
}

/// Nothing is sent yet: the server may start later, or again.
fn channel(gateway: &config::Gateway) -> Result<(Channel, String), StartError> {
    let refused = |setting: &'static str| move |wrong: String| StartError::GatewayServer { setting, wrong };
    let server = gateway.server.clone().ok_or_else(|| refused("server")("missing".to_owned()))?;
    let mut endpoint = Endpoint::from_shared(server.clone())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|why| refused("server")(why.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(CONNECT_TIMEOUT);
    if server.starts_with("https://") {
        let trust = match &gateway.server_ca {
            Some(path) => {
                let pem = certificates(path).map_err(refused("server_ca"))?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(trust).map_err(|why| refused("server_ca")(why.to_string()))?;
    }
    Ok((endpoint.connect_lazy(), server))
}

fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|why| told(&why))?;
    if !size.is_file() || size.len() > PEM_BYTES_MAX {
        return Err(told(&"not a file of certificates"));
    }
    std::fs::read(path).map_err(|why| told(&why))
}
