//! Providers of identities: Google, Kakao, Naver, GitHub and any OpenID provider. Owns what is said to them and what may be
//! believed of their answers; one adapter each turns wire facts into a [`Profile`](crate::domain::identity::Profile). The only
//! room that speaks HTTP to others.
//! Must not know users, sessions or flows: who a person is here, others decide.
//!
//! What a provider sends is hostile until proven otherwise. Nothing of it reaches a log but names from closed sets.

mod address;
mod algorithm;
mod breaker;
mod compact;
mod discovery;
mod exchange;
mod github;
mod google;
mod http;
mod id_token;
mod jwk;
mod jwks;
mod kakao;
mod kind;
mod naver;
mod oidc;
mod provider;
pub mod trusted;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::identity::{ProviderId, ProviderKind, Subject};
use crate::domain::time::Timestamp;

pub use provider::{Provider, Providers};

/// A provider as it was configured, with its secrets opened and nothing left unset that has a default.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    pub id: ProviderId,
    pub kind: ProviderKind,
    pub display_name: String,
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    pub native_client_ids: Vec<String>,
    pub issuer: Option<String>,
    pub discovery: Option<String>,
    pub authorization: Option<String>,
    pub token: Option<String>,
    pub userinfo: Option<String>,
    pub jwks: Option<String>,
    pub redirect_uri: String,
    pub scopes: Option<Vec<String>>,
    /// OpenID Connect, or else the provider's own way over OAuth 2.0; for those that have both.
    pub is_oidc: bool,
    pub pkce: bool,
    /// Whether the secret goes into the body; unset: as the kind has it, or as the discovery document says.
    pub auth_in_body: Option<bool>,
    pub form_post: bool,
    /// Names of parameters that may be passed on.
    pub parameters: Vec<String>,
    pub hosted_domain: Option<String>,
    pub link_domains: Vec<String>,
    pub admin_key: Option<SecretString>,
    pub private_network: bool,
    pub ca: Option<PathBuf>,
    /// Whether somebody who is not known yet gets an account.
    pub sign_up: bool,
    /// Whether an account may be linked by an address that the provider vouches for.
    pub link_by_email: bool,
}

/// A provider cannot be spoken with as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("providers `{id}`: {wrong}")]
    Unusable { id: ProviderId, wrong: String },
    #[error("trusted_issuers `{name}`: {wrong}")]
    Issuer { name: ProviderId, wrong: String },
}

/// What an authorization request is made of (RFC 6749, section 4.1.1; RFC 7636, section 4.3; OpenID Connect Core, section
/// 3.1.2.1).
pub struct Ask<'a> {
    pub state: &'a SecretString,
    /// In lower-case hex: Naver drops a trailing `A` of base64url.
    pub nonce: &'a str,
    /// S256.
    pub code_challenge: &'a str,
    /// Those that may be passed on.
    pub parameters: &'a BTreeMap<String, String>,
}

/// Where to send the person, and what the return will be held against.
pub struct Authorization {
    /// With the state in it.
    pub url: SecretString,
    /// What `iss` of the callback must be, if there is one (RFC 9207).
    pub issuer: String,
    /// Whether there must be one.
    pub sends_issuer: bool,
}

/// A code to be traded in, once.
pub struct Grant<'a> {
    pub code: &'a SecretString,
    pub code_verifier: &'a SecretString,
    /// Naver wants it at its token endpoint, too.
    pub state: &'a SecretString,
    pub nonce: &'a str,
    /// Where the person is; `None` if the front does not tell.
    pub address: Option<IpAddr>,
}

/// A webhook's words.
pub struct Notice<'a> {
    /// The `authorization` header.
    pub authorization: &'a SecretString,
    pub parameters: &'a BTreeMap<String, String>,
}

/// A genuine notice: the person ended the connection at the provider.
pub struct Unlinked {
    pub subject: Subject,
    /// When, if the notice says so. A notice that comes again must end nothing that began after it.
    pub at: Option<Timestamp>,
    /// What the provider wants to hear.
    pub http_status: u16,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum ProviderFault {
    /// Its answer proves no identity. Asking again with the same code would not help.
    #[error("the provider's answer proves nobody: {}", .0.name())]
    Rejected(Rejection),
    #[error("the provider is away: {}", .why.name())]
    Unavailable { why: Absence, retry_after: Duration },
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$arm_doc:meta])* $arm:ident => $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$arm_doc])* $arm),* }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$arm),*];

            /// For logs, metrics and audit.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$arm => $name),* }
            }
        }
    };
}

names! {
    /// Why an answer proves nobody; for log and audit only, never for the caller.
    Rejection {
        /// The code is used, expired or somebody else's.
        CodeRefused => "code_refused",
        /// Our own credentials are not what the provider expects: the operator must act.
        ClientRefused => "client_refused",
        /// The operator must act.
        RedirectMismatch => "redirect_mismatch",
        /// Another error that the provider names.
        ErrorAnswer => "error_answer",
        /// No JSON, of another type, too deep, a member twice.
        Malformed => "malformed",
        TooLarge => "too_large",
        /// Compressed although nobody asked for that.
        Encoded => "encoded",
        Redirected => "redirected",
        /// It sent no id_token although it is an OpenID provider.
        NoIdToken => "no_id_token",
        IdTokenMalformed => "id_token_malformed",
        IdTokenAlgorithm => "id_token_algorithm",
        IdTokenKey => "id_token_key",
        IdTokenSignature => "id_token_signature",
        IdTokenIssuer => "id_token_issuer",
        IdTokenAudience => "id_token_audience",
        IdTokenTime => "id_token_time",
        IdTokenNonce => "id_token_nonce",
        /// The profile is of another person than the id_token.
        SubjectMismatch => "subject_mismatch",
        NoSubject => "no_subject",
        /// The person did not agree to what is needed.
        ConsentMissing => "consent_missing",
        /// Not of the domain that the operator wants.
        HostedDomain => "hosted_domain",
        /// This provider's id_token alone does not say who it is.
        NotNative => "not_native",
    }
}

names! {
    /// Why a provider could not be asked, or did not answer.
    Absence {
        Timeout => "timeout",
        Connection => "connection",
        /// Its address is one that must not be asked.
        Address => "address",
        ServerError => "server_error",
        Throttled => "throttled",
        /// Its discovery document is away, or not its own.
        Discovery => "discovery",
        Keys => "keys",
        /// It failed often lately, and is left alone for a while.
        Resting => "resting",
        /// As many sign-ins wait for it as may.
        Crowded => "crowded",
    }
}

impl Absence {
    /// Whether what somebody sent can have brought it about, as a code that the provider chokes on.
    const fn may_be_provoked(self) -> bool {
        match self {
            Self::ServerError | Self::Throttled | Self::Keys => true,
            Self::Timeout | Self::Connection | Self::Address | Self::Discovery | Self::Resting | Self::Crowded => false,
        }
    }
}

/// The notice is not the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notice is not proven to be the provider's")]
pub struct NoticeRefused;

#[cfg(test)]
mod tests;
