//! The composition root: settings in, a running server out. Owns what starts and stops together; must not know of the
//! command line, which hands it what a person has to see through a callback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::config::{Config, Profile};

/// What a server has to tell once it serves. Its `Debug` shows no password, since `SecretString` has none to show.
#[derive(Debug)]
pub struct StartReport {
    /// Of the binary.
    pub version: &'static str,
    pub profile: Profile,
    pub store_path: PathBuf,
    /// By this start.
    pub store_created: bool,
    /// The version of the store's tables.
    pub schema: i64,
    pub master_key_path: PathBuf,
    /// By this start.
    pub master_key_created: bool,
    pub signing_key: SigningKeyReport,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
    /// Whether gRPC reflection answers.
    pub reflection: bool,
    /// Only at the very first start.
    pub administrator: Option<NewAdministrator>,
    pub elapsed: Duration,
}

/// The key that signs.
#[derive(Debug)]
pub struct SigningKeyReport {
    pub algorithm: String,
    pub kid: String,
}

/// The administrator whom the first start created.
#[derive(Debug)]
pub struct NewAdministrator {
    pub user: String,
    pub password: InitialPassword,
}

/// How the first administrator learns the password.
#[derive(Debug)]
pub enum InitialPassword {
    /// Shown once, on a terminal.
    Shown(SecretString),
    /// In a file that only its owner can read.
    InFile(PathBuf),
}

/// Where the first password may go: a log that is kept for years is no place for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPassword {
    /// To the person in front of the terminal.
    Show,
    /// To a file.
    WriteToFile,
}

/// The server could not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// Lower case, without a full stop.
    pub message: String,
    /// What to do, a line each.
    pub hints: Vec<String>,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// If it cannot start; then `started` was not called.
#[expect(clippy::unused_async, reason = "the rooms it will wait for are not built in")]
pub async fn serve(
    config: Config,
    first_password: FirstPassword,
    started: impl FnOnce(&StartReport),
) -> Result<(), StartError> {
    drop((config, first_password, started));
    Err(StartError { message: "this build has no server".to_owned(), hints: Vec::new() })
}
