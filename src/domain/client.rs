//! A client: a program that calls Postern or is called with its tokens.

use std::time::Duration;

use crate::domain::id::ClientId;
use crate::domain::role::BoundRole;

/// The longest life of an access token, whatever is configured: revocations are kept in memory for little longer.
pub const ACCESS_TTL_MAX: Duration = Duration::from_hours(1);

/// A front, backend, app or machine, as every replica holds it in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: ClientId,
    /// What it is as a resource: the default for Verify. Empty: none.
    pub audience: String,
    /// What it may ask tokens for; the first is the default.
    pub token_audiences: Vec<String>,
    pub session_policy: SessionPolicy,
    pub roles: Vec<BoundRole>,
}

/// Limits of the sessions that a client opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Life of access tokens, at most [`ACCESS_TTL_MAX`].
    pub access_ttl: Duration,
    /// Longest time without refresh.
    pub idle_ttl: Duration,
    /// Longest life.
    pub absolute_ttl: Duration,
    /// How long a superseded refresh token is answered with the current one.
    pub refresh_grace: Duration,
    /// Then the oldest ends.
    pub max_per_user: usize,
}
