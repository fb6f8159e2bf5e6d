//! A client: a program that calls Postern or is called with its tokens.

mod secret;

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::id::{ClientId, InvalidId};
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;

pub use secret::{ClientSecret, InvalidSecret, NoRandomness, SecretDigest};

/// The longest life of an access token, whatever is configured: revocations are kept in memory for little longer.
pub const ACCESS_TTL_MAX: Duration = Duration::from_hours(1);
/// A thief has so long to use what its owner used.
pub const REFRESH_GRACE_MAX: Duration = Duration::from_mins(10);
/// The longest that a session may live; a year would be a password that nobody changes.
pub const ABSOLUTE_TTL_MAX: Duration = Duration::from_hours(365 * 24);

/// The development profile's client, which acts for calls without a credential. Reserved in every profile: what was registered
/// under it would change its meaning with the profile.
pub const DEVELOPMENT_ID: &str = "dev";
/// As which the audit log knows who administers a store while no server runs on it.
pub const OPERATOR_ID: &str = "offline";

/// Whether nobody may register or declare a client of this id.
pub fn is_reserved(id: &ClientId) -> bool {
    [DEVELOPMENT_ID, OPERATOR_ID].contains(&id.as_str())
}

/// A front, backend, app or machine, as every replica holds it in memory: what was registered, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub registration: Registration,
    /// The server's limits, with the client's own over them.
    pub session_policy: SessionPolicy,
}

impl Client {
    pub fn new(registration: Registration, server: SessionPolicy) -> Self {
        let session_policy = registration.limits.over(server);
        Self { registration, session_policy }
    }
}

/// All but the policy stands in the registration, and nobody who asks for it should have to know.
impl Deref for Client {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

/// What an operator says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub id: ClientId,
    /// For people.
    pub display_name: String,
    /// Names that prove it. No other client has one of them.
    pub mtls_sans: Vec<San>,
    /// Those that may still prove it; two during a rotation.
    pub secrets: Vec<HeldSecret>,
    /// What it is as a resource: the default for Verify. Empty: none.
    pub audience: String,
    /// What it may ask tokens for; the first is the default.
    pub token_audiences: Vec<String>,
    /// Compared as a whole.
    pub return_urls: Vec<String>,
    /// Where it departs from the server's.
    pub limits: SessionLimits,
    pub roles: Vec<BoundRole>,
    pub origin: Origin,
    /// Proves nobody and opens nothing.
    pub disabled: bool,
    /// By the database's clock; the beginning of time for one that is in no database.
    pub create_time: Timestamp,
    /// As the store made it; empty for one from elsewhere, which nobody changes here.
    pub etag: String,
}

impl Registration {
    /// One with nothing but an id.
    pub fn new(id: ClientId, origin: Origin) -> Self {
        Self {
            id,
            display_name: String::new(),
            mtls_sans: Vec::new(),
            secrets: Vec::new(),
            audience: String::new(),
            token_audiences: Vec::new(),
            return_urls: Vec::new(),
            limits: SessionLimits::default(),
            roles: Vec::new(),
            origin,
            disabled: false,
            create_time: Timestamp::default(),
            etag: String::new(),
        }
    }

    /// Whether what was begun at `time` through the client `id` was begun through this one. Who deletes a client and
    /// registers another under its id must not inherit the sessions of the first.
    pub fn opened(&self, id: &ClientId, time: Timestamp) -> bool {
        self.id == *id && time >= self.create_time
    }
}

/// Who registered a client, and so who can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An administrator.
    Store,
    /// `[[clients]]` in the configuration.
    Configuration,
    /// The development profile.
    BuiltIn,
}

/// A secret as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSecret {
    pub digest: SecretDigest,
    /// From then on it proves nobody. None: for good.
    pub ends_at: Option<Timestamp>,
}

impl HeldSecret {
    pub fn proves_at(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
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

impl SessionLimits {
    /// These where they are set, the server's elsewhere, and neither beyond sense: no session idles longer than it lives,
    /// and no access token outlives what verifiers remember.
    pub fn over(self, server: SessionPolicy) -> SessionPolicy {
        let absolute_ttl = self.absolute_ttl.unwrap_or(server.absolute_ttl);
        SessionPolicy {
            access_ttl: self.access_ttl.unwrap_or(server.access_ttl).min(ACCESS_TTL_MAX).min(absolute_ttl),
            idle_ttl: self.idle_ttl.unwrap_or(server.idle_ttl).min(absolute_ttl),
            absolute_ttl,
            refresh_grace: self.refresh_grace.unwrap_or(server.refresh_grace).min(REFRESH_GRACE_MAX),
            max_per_user: self.max_per_user.unwrap_or(server.max_per_user),
        }
    }
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

    const fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    #[test]
    fn limits_keep_to_sense() {
        let server = SessionPolicy {
            access_ttl: Duration::from_mins(30),
            idle_ttl: hours(24),
            absolute_ttl: hours(240),
            refresh_grace: Duration::from_secs(30),
            max_per_user: 50,
        };
        assert_eq!(SessionLimits::default().over(server), server);
        let own = SessionLimits { absolute_ttl: Some(hours(2)), max_per_user: Some(1), ..SessionLimits::default() };
        let expected = SessionPolicy { absolute_ttl: hours(2), idle_ttl: hours(2), max_per_user: 1, ..server };
        assert_eq!(own.over(server), expected);
        let wide = SessionLimits {
            access_ttl: Some(hours(9)),
            refresh_grace: Some(hours(9)),
            idle_ttl: Some(hours(999)),
            ..SessionLimits::default()
        };
        let narrowed = wide.over(server);
        assert_eq!((narrowed.access_ttl, narrowed.idle_ttl), (ACCESS_TTL_MAX, hours(240)));
        assert_eq!(narrowed.refresh_grace, REFRESH_GRACE_MAX);
    }

    #[test]
    fn a_secret_proves_until_its_end() {
        let digest = ClientSecret::generate().unwrap().digest();
        let now = Timestamp::from_secs(10);
        for (ends_at, proves) in [(None, true), (Some(11), true), (Some(10), false), (Some(9), false)] {
            let held = HeldSecret { digest, ends_at: ends_at.map(Timestamp::from_secs) };
            assert_eq!(held.proves_at(now), proves, "{ends_at:?}");
        }
    }

    #[test]
    fn nothing_is_older_than_the_client_that_opened_it() {
        let id = |text: &str| text.parse::<ClientId>().unwrap();
        let at = Timestamp::from_secs;
        let web = Registration { create_time: at(10), ..Registration::new(id("web"), Origin::Store) };
        for (client, time, opened) in [("web", 9, false), ("web", 10, true), ("web", 11, true), ("app", 11, false)] {
            assert_eq!(web.opened(&id(client), at(time)), opened, "{client} {time}");
        }
        assert!(Registration::new(id("web"), Origin::Configuration).opened(&id("web"), at(0)));
    }

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
