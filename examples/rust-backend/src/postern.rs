//! How this program reaches Postern, and how it proves which program it is. Copy this file.

use std::env::{self, VarError};
use std::error::Error;
use std::fs;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use auth::auth_service_client::AuthServiceClient;

#[expect(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod auth {
    tonic::include_proto!("postern.auth.v1");
}

/// Clones share one connection.
pub type Postern = AuthServiceClient<InterceptedService<Channel, ClientSecret>>;

/// One long-lived channel for the whole program. It connects by itself, now and after every loss, so the order in which
/// this program and Postern start does not matter.
pub fn client() -> Result<Postern, Box<dyn Error>> {
    let server = set("POSTERN_SERVER")?.unwrap_or_else(|| "127.0.0.1:7301".to_owned());
    let endpoint = match set("POSTERN_CA")? {
        Some(path) => Endpoint::from_shared(format!("https://{server}"))?
            .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(path)?)))?,
        None => Endpoint::from_shared(format!("http://{server}"))?,
    };
    let channel = endpoint
        .connect_timeout(Duration::from_secs(3))
        // A server that vanished without a word is noticed within seconds, not at the next call's expense.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(AuthServiceClient::with_interceptor(channel, ClientSecret::from_environment()?))
}

/// The secret of this program, sent with every call. Read once: a rotated secret has an overlap to restart in.
#[derive(Clone)]
pub struct ClientSecret(Option<MetadataValue<Ascii>>);

impl ClientSecret {
    fn from_environment() -> Result<Self, Box<dyn Error>> {
        let Some(path) = set("POSTERN_CLIENT_SECRET_FILE")? else {
            return Ok(Self(None));
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", fs::read_to_string(path)?.trim()).parse()?;
        // Never shown by `{:?}`, never put into a compression table that others share.
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for ClientSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

fn set(name: &str) -> Result<Option<String>, VarError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(unreadable) => Err(unreadable),
    }
}
