//! What is written down for good.

use crate::domain::id::{ClientId, PrincipalId, SessionId};
use crate::domain::time::Timestamp;

/// Something that happened. Carries ids, never identifiers, secrets or tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub id: uuid::Uuid,
    pub time: Timestamp,
    pub kind: AuditKind,
    pub actor: Option<PrincipalId>,
    /// About whom or what: a user, a role, a key.
    pub target: Option<String>,
    pub session: Option<SessionId>,
    pub client: Option<ClientId>,
    pub ip_address: String,
    pub request_id: String,
    /// A name of the contract's `Reason`, for refusals.
    pub reason: Option<&'static str>,
    pub detail: Vec<(&'static str, String)>,
}

impl AuditEvent {
    /// One of `kind` that happened now, to be filled in.
    pub fn new(kind: AuditKind, time: Timestamp) -> Self {
        Self {
            id: uuid::Uuid::now_v7(),
            time,
            kind,
            actor: None,
            target: None,
            session: None,
            client: None,
            ip_address: String::new(),
            request_id: String::new(),
            reason: None,
            detail: Vec::new(),
        }
    }
}

macro_rules! audit_kinds {
    ($($kind:ident => $name:literal,)*) => {
        /// Kinds of event; names as in the OWASP logging vocabulary where it has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AuditKind { $($kind),* }

        impl AuditKind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

audit_kinds! {
    LoginSucceeded => "authn_login_success",
    LoginFailed => "authn_login_fail",
    Throttled => "excess_rate_limit_exceeded",
    LoginChallenged => "authn_login_challenge",
    TokenReused => "authn_token_reuse",
    TokenLate => "authn_token_late",
    TokenForged => "authn_token_forged",
    TokenForeignClient => "authn_token_foreign_client",
    SessionEnded => "session_revoked",
    SessionsEnded => "session_revoked_all",
    FenceRaised => "session_fence_raised",
    UserCreated => "user_created",
    UserUpdated => "user_updated",
    UserDisabled => "user_disabled",
    UserEnabled => "user_enabled",
    UserDeleted => "user_deleted",
    UsersImported => "users_imported",
    IdentityLinked => "identity_linked",
    IdentityRefused => "identity_link_fail",
    IdentityUnlinked => "identity_unlinked",
    PasswordSet => "authn_password_change",
    PasswordChangeFailed => "authn_password_change_fail",
    RolePut => "role_put",
    RoleDeleted => "role_deleted",
    PolicyApplied => "policy_applied",
    RoleGranted => "authz_role_granted",
    RoleWithdrawn => "authz_role_withdrawn",
    ClientCreated => "client_created",
    ClientUpdated => "client_updated",
    ClientSecretRotated => "client_secret_rotated",
    ClientDeleted => "client_deleted",
    AccessDenied => "authz_fail",
    KeyCreated => "key_created",
    KeyRetired => "key_retired",
    Bootstrapped => "sys_bootstrap",
}

impl AuditKind {
    /// Whether strangers can bring it about as often as they like.
    pub const fn is_free(self) -> bool {
        matches!(
            self,
            Self::LoginFailed
                | Self::LoginChallenged
                | Self::Throttled
                | Self::TokenLate
                | Self::TokenForged
                | Self::TokenForeignClient
                | Self::PasswordChangeFailed
                | Self::IdentityRefused
                | Self::AccessDenied
        )
    }
}
