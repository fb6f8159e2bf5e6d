//! What a start tells.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::NewAdministrator;
use crate::config::Profile;

/// Where what lasts is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    File(PathBuf),
    /// Without user and password.
    Server(String),
}

/// What a server has to tell once it serves. Its `Debug` shows no password, since `SecretString` has none to show.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, for the banner")]
pub struct StartReport {
    /// Of the binary.
    pub version: &'static str,
    pub profile: Profile,
    pub store: StorePlace,
    /// Where sessions are kept; unset: in the store.
    pub vault: Option<String>,
    /// By this start.
    pub store_created: bool,
    /// The version of the store's tables.
    pub schema: i64,
    /// Unset if the key is in the configuration.
    pub master_key_path: Option<PathBuf>,
    /// By this start.
    pub master_key_created: bool,
    pub signing_key: SigningKeyReport,
    pub issuer: String,
    pub grpc: SocketAddr,
    /// Unset: administration is on the gRPC port.
    pub admin: Option<SocketAddr>,
    pub operations: SocketAddr,
    /// Where browsers find the gateway. Unset: this server is none.
    pub gateway: Option<String>,
    /// On all of them.
    pub tls: bool,
    /// Whether gRPC reflection answers.
    pub reflection: bool,
    /// Only at the very first start.
    pub administrator: Option<NewAdministrator>,
    pub elapsed: Duration,
}

/// The key that signs, or will next.
#[derive(Debug)]
pub struct SigningKeyReport {
    pub algorithm: &'static str,
    pub kid: String,
}
