//! What the verifiers must learn: the items of the change feed, and the marks that say how far somebody has read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::client::{ACCESS_TTL_MAX, Registration};
use crate::domain::id::{InvalidId, PrincipalId, SessionId, UserId};
use crate::domain::key::StoredKey;
use crate::domain::role::{BoundRole, Role};
use crate::domain::standing::{End, Fence, Floor};
use crate::domain::time::Timestamp;

/// How long a change matters to a verifier: the longest access token and ten minutes. The same on every replica whatever
/// is configured, or one of them would forget a revocation before the last token dies.
pub const RETENTION: Duration = ACCESS_TTL_MAX.saturating_add(Duration::from_mins(10));

/// One thing to learn. Each carries the state after the change, so applying one twice or late does no harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    SessionEnded(EndedSession),
    Principal(PrincipalState),
    /// All custom roles.
    Policy {
        version: i64,
        roles: Vec<Role>,
    },
    /// All keys that are not retired.
    Keys(Vec<StoredKey>),
    Fence(Fence),
    /// All clients of the store, with their bindings.
    Clients(Vec<Registration>),
}

/// A revocation, keyed (user, session) everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    pub user: UserId,
    pub session: SessionId,
    pub end: End,
    /// The session's absolute end: until then `Refresh` asks.
    pub keep_until: Timestamp,
    /// Sealed: client, method, device, create time. Absent if the vault was away.
    pub summary: Option<Vec<u8>>,
}

/// A principal's standing after its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalState {
    pub id: PrincipalId,
    pub version: i64,
    /// Tokens with a lower `ver` are judged by `bindings`.
    pub roles_at: i64,
    /// Tokens with a lower `ver` are dead. Infinite for the deleted.
    pub floor: Floor,
    pub bindings: Vec<BoundRole>,
}

/// A place in the change log. The random mark tells a log that was rewound and grew again from the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub id: i64,
    pub mark: [u8; 8],
}

/// What a caller hands back to see its own change: `base64url(change id | database milliseconds)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    pub id: i64,
    pub at: Timestamp,
}

/// A revision whose log was rewound never arrives; so long after it the feed has surely passed the place where it was.
const PASSED_AFTER: Duration = Duration::from_secs(5);

impl Revision {
    /// Whether a feed that stands at `head`, read at its time, has seen the change that this was given for. The number
    /// alone does not say so: after a fail-over, numbers that were lost are given again, and who has not yet read the new
    /// log stands above them.
    pub fn is_reached_at(self, head: Self) -> bool {
        (self.id <= head.id && self.at <= head.at) || head.at >= self.at + PASSED_AFTER
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        let (id, at) = bytes.split_at_mut(8);
        id.copy_from_slice(&self.id.to_be_bytes());
        at.copy_from_slice(&self.at.millis().to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Revision {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_not_base64| InvalidId)?;
        let (id, at) = bytes.split_first_chunk::<8>().ok_or(InvalidId)?;
        let at: [u8; 8] = at.try_into().map_err(|_wrong_length| InvalidId)?;
        Ok(Self { id: i64::from_be_bytes(*id), at: Timestamp::from_millis(i64::from_be_bytes(at)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_twice_is_reached_once_the_new_log_is_read() {
        let revision = |id, secs| Revision { id, at: Timestamp::from_secs(secs) };
        let again = revision(991, 100);
        // Of the log that was lost, and longer.
        assert!(!again.is_reached_at(revision(1_000, 99)));
        assert!(!again.is_reached_at(revision(990, 100)), "not there yet");
        assert!(again.is_reached_at(revision(991, 100)));
        assert!(again.is_reached_at(revision(992, 101)));
        // It was lost itself: no such number will come, and nobody waits for ever.
        assert!(!again.is_reached_at(revision(500, 104)));
        assert!(again.is_reached_at(revision(500, 105)));
    }
}
