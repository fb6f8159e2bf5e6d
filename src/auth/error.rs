//! Why a call was refused, named by what the caller can do about it. `grpc/status.rs` turns these into statuses, and
//! nothing else does.

use std::time::Duration;

use crate::auth::challenge::ChallengeKind;
use crate::auth::passwords::HashError;
use crate::domain::client::Origin;
use crate::domain::id::{ClientId, SessionId};
use crate::domain::password::PasswordRule;
use crate::domain::permission::{Permission, Tenant};
use crate::domain::role::RoleFault;
use crate::domain::standing::End;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::vault::VaultError;
use crate::verifier::{FeedFault, NotFresh, TokenFault};

/// A field of the request that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the message, as in `google.rpc.BadRequest`.
    pub field: String,
    /// What would be right. Lower case, no full stop, never the value.
    pub problem: String,
}

/// Why a sign-in failed; for log and audit only, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    UnknownAccount,
    WrongPassword,
    NoPassword,
    Disabled,
    /// It failed too often in a row, and the password was not looked at.
    Locked,
}

impl CredentialFault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownAccount => "unknown_account",
            Self::WrongPassword => "wrong_password",
            Self::NoPassword => "no_password",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
        }
    }
}

/// Why an answer to a challenge was not taken; for log and audit only, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeFault {
    Malformed,
    Unknown,
    Unreadable,
    ForeignClient,
    Expired,
    TooManyAttempts,
    /// It waits for another account.
    ForeignUser,
    /// The password was changed, the user disabled or signed out everywhere, since the challenge was given.
    Void,
}

impl ChallengeFault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Unreadable => "record_unreadable",
            Self::ForeignClient => "foreign_client",
            Self::Expired => "expired",
            Self::TooManyAttempts => "too_many_attempts",
            Self::ForeignUser => "foreign_user",
            Self::Void => "void",
        }
    }
}

/// Why a return from a provider, or a hand-off code, was not taken; for log and audit only, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowFault {
    Malformed,
    Unknown,
    Unreadable,
    /// Not who began: the flow secret or the verifier does not fit.
    Secret,
    ForeignClient,
    Provider,
    Issuer,
    Expired,
    /// Another return was faster, or this one came before.
    Spent,
    /// The user was disabled or signed out everywhere since.
    Void,
}

impl FlowFault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Unreadable => "record_unreadable",
            Self::Secret => "secret",
            Self::ForeignClient => "foreign_client",
            Self::Provider => "provider",
            Self::Issuer => "issuer",
            Self::Expired => "expired",
            Self::Spent => "spent",
            Self::Void => "void",
        }
    }
}

/// What is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Store,
    Vault,
}

impl Engine {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Vault => "vault",
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("a field of the request cannot be used")]
    InvalidField(Vec<Violation>),
    #[error("the sign-in failed")]
    InvalidCredentials(CredentialFault),
    #[error("the challenge was not met")]
    ChallengeFailed(ChallengeFault),
    #[error("the account needs a challenge that the front did not list")]
    ChallengeUnsupported(ChallengeKind),
    #[error("the person cancelled at the provider")]
    OAuthCancelled { return_url: String },
    #[error("the return from the provider fits no flow: {}", .0.name())]
    OAuthFlowInvalid(FlowFault),
    #[error("the provider's answer proves nobody: {why}")]
    OAuthRejected { why: &'static str, return_url: String },
    #[error("the provider is away")]
    OAuthProviderUnavailable { retry_after: Duration, return_url: String },
    #[error("not a token that is traded in: {0}")]
    ForeignTokenRefused(&'static str),
    #[error("not a refresh token that this client may use")]
    RefreshTokenInvalid,
    #[error("the session is over")]
    SessionEnded(End),
    #[error("a spent refresh token came back")]
    SessionReused(SessionId),
    #[error("the access token is no good")]
    TokenRefused(TokenFault),
    #[error("lacks a permission")]
    PermissionMissing { permission: Permission, tenant: Option<Tenant> },
    #[error("would grant more than the caller holds")]
    BeyondOwn { pattern: String },
    #[error("the calling client did not prove itself")]
    ClientUnauthenticated,
    #[error("the calling client may not do this")]
    ClientNotAllowed { permission: &'static str },
    #[error("another user holds this {field}")]
    IdentifierTaken { field: &'static str },
    #[error("another client has this {what}")]
    ClientTaken { what: &'static str },
    #[error("client `{id}` is not changed here")]
    ClientNotEditable { id: ClientId, origin: Origin },
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    #[error("sign in again first")]
    ReauthenticationRequired { max_age: Duration },
    #[error("changed in the meantime")]
    EtagMismatch,
    #[error(transparent)]
    RoleGraph(#[from] RoleFault),
    #[error("{why}")]
    LastOne { why: &'static str },
    #[error("the roles do not fit into a token")]
    TenantRequired,
    #[error("the new password {0}")]
    PasswordRefused(#[from] PasswordRule),
    #[error("too many tries")]
    Throttled { retry_after: Duration },
    #[error("shed before any work was done")]
    Overloaded { retry_after: Duration },
    #[error("{} is away", .engine.name())]
    Unavailable {
        engine: Engine,
        source: Source,
        /// Whether something may have been done before, or by what was asked last.
        begun: bool,
    },
    #[error("no key signs at this moment")]
    NoSigningKey { retry_after: Duration },
    #[error("a key that was published waits for its turn")]
    KeyWaiting { kid: String, sign_time: Timestamp },
    #[error("this replica's view is too old")]
    NotFresh(NotFresh),
    #[error("internal: {0}")]
    Internal(Source),
}

impl AuthError {
    /// One field that cannot be used.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidField(vec![Violation { field: field.into(), problem: problem.into() }])
    }

    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    /// Says of an outage that it was met before anything was done.
    #[must_use]
    pub fn before_any_work(self) -> Self {
        match self {
            Self::Unavailable { engine, source, begun: _ } => Self::Unavailable { engine, source, begun: false },
            other => other,
        }
    }
}

/// A store that answers nonsense is a fault of ours; one that does not answer is an outage.
impl From<StoreError> for AuthError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Unavailable { .. }) {
            Self::Unavailable { engine: Engine::Store, source: Box::new(error), begun: true }
        } else {
            Self::Internal(Box::new(error))
        }
    }
}

impl From<VaultError> for AuthError {
    fn from(error: VaultError) -> Self {
        Self::Unavailable { engine: Engine::Vault, source: Box::new(error), begun: true }
    }
}

impl From<FeedFault> for AuthError {
    fn from(fault: FeedFault) -> Self {
        Self::Internal(Box::new(fault))
    }
}

impl From<NotFresh> for AuthError {
    fn from(why: NotFresh) -> Self {
        Self::NotFresh(why)
    }
}

impl From<HashError> for AuthError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            HashError::Unusable(_) | HashError::Failed(_) => Self::Internal(Box::new(error)),
        }
    }
}
