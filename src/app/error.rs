//! Why a start fails, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::clients::ClientConflict;
use crate::config::SecretError;
use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;
use crate::oauth::SetupError;
use crate::store::{ConnectError, OpenError, StoreError};
use crate::tls::TlsError;
use crate::vault::redis::RedisError;

/// Why the service did not start. Nothing that was there is changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path} cannot be used: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("there is no store at {path}")]
    NoStore { path: PathBuf },
    #[error("another postern{} runs on {}", pid(*.holder), .path.display())]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error("{address} cannot be listened on: {source}")]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{setting}: {source}")]
    Connect { setting: &'static str, source: ConnectError },
    #[error("{setting} cannot be used: {wrong}")]
    EngineSecret { setting: &'static str, wrong: String },
    #[error("{what} is for PostgreSQL, and the settings name the embedded store")]
    NotServed { what: &'static str },
    #[error(transparent)]
    RedisSettings(#[from] RedisError),
    #[error("Redis is not fit to keep sessions: {wrong}")]
    Redis { wrong: String, right: &'static str },
    #[error("no server has started on the database at {server} yet")]
    NeverServed { server: String },
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    #[error("the master key cannot be used: {wrong}")]
    MasterKey { wrong: String },
    #[error("passwords.pepper_file cannot be used: {wrong}")]
    Pepper { wrong: String },
    #[error("the master key is missing: {}", .path.display())]
    MasterKeyLost { path: PathBuf },
    #[error("there is no master key yet: {} does not exist", .path.display())]
    MasterKeyNotMade { path: PathBuf },
    #[error("{place} holds another master key {number} than the one this store was made with")]
    MasterKeyForeign { number: u8, place: String },
    #[error("{place} lacks master key {number}, which seals signing keys that are not retired yet")]
    MasterKeyInUse { number: u8, place: String },
    #[error("{0}")]
    Clients(#[from] ClientConflict),
    #[error("client `{id}` in [[clients]]: its secret cannot be used: {wrong}")]
    ClientSecret { id: ClientId, wrong: String },
    #[error("providers `{id}`: {setting} cannot be used: {source}")]
    ProviderSecret { id: ProviderId, setting: &'static str, source: SecretError },
    #[error("trusted_issuers `{name}`: its secret cannot be used: {source}")]
    IssuerSecret { name: ProviderId, source: SecretError },
    #[error(transparent)]
    Provider(#[from] SetupError),
    #[error("providers `{id}`: nobody could come back from there without a gateway")]
    NowhereToReturn { id: ProviderId },
    #[error("client `{id}` in [[gateway.clients]]: its secret cannot be used: {wrong}")]
    GatewaySecret { id: ClientId, wrong: String },
    #[error("gateway.{setting}: {wrong}")]
    GatewayServer { setting: &'static str, wrong: String },
    #[error("stopped at once: calls that had begun were cut off")]
    Interrupted,
    #[error("{0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

fn pid(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl StartError {
    /// What to do about it, a line each.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Locked { .. } => Some(
                "stop it, or start this one elsewhere:  postern --data ./other \
                 --listen.grpc 127.0.0.1:7311 --listen.operations 127.0.0.1:7313 --listen.gateway 127.0.0.1:7312"
                    .into(),
            ),
            Self::Listen { setting, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some(format!("name another port beside your other options:  --{setting} 127.0.0.1:7321"))
            }
            Self::MasterKeyLost { .. } => Some(
                "put the key file back from your backups; without it sessions and signing keys cannot be opened".into(),
            ),
            Self::MasterKeyNotMade { .. } => {
                Some("in production nobody makes it up: postern master-key new, and keep it apart from the data".into())
            }
            Self::MasterKeyForeign { .. } => {
                Some("put back the key file that belongs to this store; nothing was changed".into())
            }
            Self::Clients(ClientConflict::AlsoStored { id }) => Some(format!(
                "take it out of [[clients]], or start without it and delete the other:  postern admin clients delete {id}"
            )),
            Self::Clients(ClientConflict::Reserved { .. }) => Some("give it another id in [[clients]]".into()),
            Self::Clients(_) => {
                Some("leave it to one of them in [[clients]]; what AdminService registered is changed there".into())
            }
            Self::ClientSecret { .. } | Self::GatewaySecret { .. } => Some(
                "it must be `pcs_` and 32 random bytes:  \
                 printf 'pcs_%s' \"$(openssl rand 32 | basenc --base64url | tr -d =)\""
                    .into(),
            ),
            Self::Redis { right, .. } => Some((*right).to_owned()),
            Self::NeverServed { .. } => {
                Some("start one, then run this command again; the server may go on beside it".into())
            }
            Self::MasterKeyInUse { .. } => Some(
                "put its line back, start, and see `postern master-key status`: it says when a key is needed no more"
                    .into(),
            ),
            _ => None,
        };
        hint.into_iter().collect()
    }
}
