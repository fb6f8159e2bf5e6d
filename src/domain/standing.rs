//! What the store says, in one statement and with one time, of a principal and of a session: the things that must not
//! roll back when the vault does.

use crate::domain::id::SessionId;
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;

/// Why a session ended. Names as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    Logout,
    EndedByUser,
    EndedByAdmin,
    RefreshReused,
    Idle,
    Expired,
    CredentialChanged,
    UserDisabled,
    Replaced,
    SessionLimit,
    Lost,
    EndedForAll,
}

impl EndCause {
    pub const ALL: [Self; 12] = [
        Self::Logout,
        Self::EndedByUser,
        Self::EndedByAdmin,
        Self::RefreshReused,
        Self::Idle,
        Self::Expired,
        Self::CredentialChanged,
        Self::UserDisabled,
        Self::Replaced,
        Self::SessionLimit,
        Self::Lost,
        Self::EndedForAll,
    ];

    /// The contract's name without its prefix; also what the store keeps.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logout => "LOGOUT",
            Self::EndedByUser => "ENDED_BY_USER",
            Self::EndedByAdmin => "ENDED_BY_ADMIN",
            Self::RefreshReused => "REFRESH_REUSED",
            Self::Idle => "IDLE",
            Self::Expired => "EXPIRED",
            Self::CredentialChanged => "CREDENTIAL_CHANGED",
            Self::UserDisabled => "USER_DISABLED",
            Self::Replaced => "REPLACED",
            Self::SessionLimit => "SESSION_LIMIT",
            Self::Lost => "LOST",
            Self::EndedForAll => "ENDED_FOR_ALL",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// Why and when a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub cause: EndCause,
    pub time: Timestamp,
}

/// A floor for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    pub version: i64,
    pub at: Timestamp,
}

/// What was signed in before it is dead, save one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    pub version: i64,
    pub at: Timestamp,
    pub cause: EndCause,
    /// For "all but the current".
    pub except: Option<SessionId>,
}

impl Floor {
    /// Below everything.
    pub const NONE: Self =
        Self { version: 0, at: Timestamp::from_micros(0), cause: EndCause::EndedByUser, except: None };
}

/// A user as far as tokens and sessions are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub active: bool,
    pub version: i64,
    /// The version at the last role change: tokens with a lower `ver` are judged by the feed's roles.
    pub roles_at: i64,
    pub floor: Floor,
    /// Only those that have not ended.
    pub bindings: Vec<BoundRole>,
    /// The id in an older system; empty if none.
    pub external_id: String,
}

/// The lowest generation of a session that may still be answered, as far as SQL knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationFloor {
    pub generation: u32,
    pub at: Timestamp,
}

/// One session and its owner, as SQL knows them, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The database's clock. It alone decides, so that replicas' clocks do not matter.
    pub now: Timestamp,
    pub fence: Fence,
    /// `None`: deleted.
    pub owner: Option<Owner>,
    pub revoked: Option<End>,
    pub generation_floor: Option<GenerationFloor>,
}
