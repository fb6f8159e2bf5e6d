//! A client: a program that calls Postern or is called with its tokens.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::id::{ClientId, InvalidId};
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

/// Limits where a client departs from the server's; what is unset is as the server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    pub access_ttl: Option<Duration>,
    pub idle_ttl: Option<Duration>,
    pub absolute_ttl: Option<Duration>,
    pub refresh_grace: Option<Duration>,
    pub max_per_user: Option<usize>,
}

/// A subject alternative name (RFC 5280, section 4.2.1.6) that proves a client: a DNS name, or a URI such as a SPIFFE id.
/// Compared as a whole; a wildcard in a certificate proves nobody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum San {
    /// In lower case.
    Dns(String),
    /// As it stands: SPIFFE ids are compared byte by byte.
    Uri(String),
}

impl San {
    /// The longest that a certificate of sense holds.
    pub const BYTES_MAX: usize = 255;
}

impl FromStr for San {
    type Err = InvalidId;

    /// A URI has `://` in it, a DNS name cannot; so no prefix is needed to tell them apart.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if !(1..=Self::BYTES_MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidId);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return if is_scheme && !rest.is_empty() { Ok(Self::Uri(text.to_owned())) } else { Err(InvalidId) };
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if text.split('.').all(is_label) { Ok(Self::Dns(text.to_ascii_lowercase())) } else { Err(InvalidId) }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates() {
        for (text, san) in [
            ("orders.internal", Some(San::Dns("orders.internal".into()))),
            ("Orders.Internal", Some(San::Dns("orders.internal".into()))),
            ("orders", Some(San::Dns("orders".into()))),
            ("spiffe://prod/ns/shop/sa/orders", Some(San::Uri("spiffe://prod/ns/shop/sa/orders".into()))),
            ("spiffe://Prod/A", Some(San::Uri("spiffe://Prod/A".into()))),
            ("*.internal", None),
            ("orders..internal", None),
            ("orders.", None),
            ("-orders", None),
            ("://x", None),
            ("spiffe://", None),
            ("a b", None),
            ("\u{e9}.internal", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), san, "{text:?}");
        }
    }
}
