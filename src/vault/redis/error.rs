//! What goes wrong with Redis. Addresses and causes are named; passwords never are, since no error of ours holds one.

use std::io;
use std::path::PathBuf;

use fred::error::Error as DriverError;

use crate::config::{NotARedisUrl, SecretError};
use crate::vault::VaultError;

/// The settings cannot be used. Whether Redis answers is another matter, and does not keep anybody from starting.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("the URL of Redis is none: {}", .0.0)]
    Url(NotARedisUrl),
    #[error("two passwords for Redis: one in its URL, one in vault.redis.password")]
    TwoPasswords,
    #[error("a user name for Redis without a password")]
    NoPassword,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{}: {source}", path.display())]
    CaUnreadable { path: PathBuf, source: io::Error },
    #[error("{}: holds no certificate", path.display())]
    NoCa { path: PathBuf },
    #[error("this machine trusts nobody: its certificates cannot be read ({0}); name yours in vault.redis.ca")]
    NativeRoots(String),
    #[error("the library for TLS: {0}")]
    Tls(String),
}

/// Why a step has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// There is no connection, so nothing was sent.
    #[error("not connected to Redis: {0}")]
    Away(String),
    /// Sent, or not; answered with an error, or not at all.
    #[error("Redis: {0}")]
    Failed(#[from] DriverError),
    #[error("Redis did not answer in time")]
    Late,
    #[error("Redis answered {0} with something else than it should")]
    Unexpected(&'static str),
}

impl From<RedisFailure> for VaultError {
    fn from(failure: RedisFailure) -> Self {
        Self::Unavailable { source: Box::new(failure) }
    }
}
