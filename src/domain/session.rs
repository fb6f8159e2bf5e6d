//! A session: the family of all refresh tokens of one sign-in, and the rules by which it lives, rotates and ends.
//!
//! [`Session::rotate`] is the heart of the project: one pure function that decides what a refresh token is worth. Its
//! callers only read, swap and sign. What it may not do is trust the record's age: the vault can be thrown back to any
//! earlier record, so whatever must not roll back stands in [`Standing`], which comes from SQL.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::refresh_token::{ChainKey, Presented};
use crate::domain::standing::{End, EndCause, Standing};
use crate::domain::time::Timestamp;

/// So many superseded generations are remembered; a client that refreshes faster is held.
pub const PREDECESSORS_MAX: usize = 8;
/// Superseded generations are remembered so much longer than their grace. A refresh reads the record and the time in
/// parallel, so the record may be newer than the time by as long as a refresh may take (3 s); one that forgot a
/// generation as its grace ended would turn a retry of the moment before into reuse.
pub const READ_SKEW_MAX: Duration = Duration::from_secs(5);
/// One late repeat is forgiven in so many generations.
pub const LATE_REPEAT_EVERY: u32 = 32;
/// The generation floor in SQL is written when what may still be answered is so far above it ...
pub const FLOOR_STEP: u32 = 16;
/// ... or when the stored one is so old.
pub const FLOOR_AGE_MAX: Duration = Duration::from_hours(24);
/// How far a clock may be off before a token's own time stamp counts against it.
pub const ISSUED_LEEWAY: Duration = Duration::from_mins(1);

/// 32 random bytes from which every secret of a session follows. Only ever in its sealed record.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed([redacted])")
    }
}

/// A generation that was superseded and whose grace runs, or has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    pub generation: u32,
    pub superseded_at: Timestamp,
}

/// What a front knows of the person's device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// IPv4 or IPv6, in canonical text, or empty.
    pub ip_address: String,
    /// At most 512 bytes.
    pub user_agent: String,
    /// At most 64 code points.
    pub display_name: String,
}

/// What an access token shall be good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// Values for `aud`, never empty in a session's record.
    pub audiences: Vec<String>,
    /// Only this tenant's roles and those that hold everywhere.
    pub tenant: Option<crate::domain::permission::Tenant>,
}

/// The record of a session, as the vault keeps it sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub seed: Seed,
    /// The master key that its tokens are made with; fixed for life, or two replicas on two keys would derive two
    /// successors of one token.
    pub key: u8,
    pub generation: u32,
    /// When the current generation was issued; whole seconds, because the token carries it.
    pub advanced_at: Timestamp,
    pub predecessors: Vec<Predecessor>,
    /// The generation that was current when a late repeat was last forgiven.
    pub last_late: Option<u32>,
    /// The owner's version at sign-in, or the fence if that was higher.
    pub epoch: i64,
    pub scope: TokenScope,
    pub client: ClientId,
    pub device: Device,
    /// "password", or a provider.
    pub method: String,
    pub create_time: Timestamp,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    pub absolute_end: Timestamp,
}

/// The calling client's limits that bear on a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationLimits {
    pub idle: Duration,
    pub grace: Duration,
    pub late_repeats: bool,
}

/// What a presented refresh token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Answer the current token of this record.
    Answer(Box<Answer>),
    /// The session is over.
    Ended(End),
    /// The secret is not the session's. The session stays: whoever made this token holds a key, and must not be able
    /// to log the owner out with it.
    Forged,
    /// A spent token came back: end the session.
    Reused,
}

/// A refresh that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub kind: AnswerKind,
    /// The record as it is to be; its current token is the answer.
    pub session: Session,
    /// The record differs from the one that was read and must be swapped in before anything is answered.
    pub write: bool,
    /// The generation floor that is due in SQL.
    pub floor: Option<u32>,
}

/// How a refresh is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerKind {
    Advanced,
    Repeated,
    Healed,
    Late,
    Held,
}

impl Session {
    /// Decides what `presented`, whose tag is proven, is worth, given what SQL says and the calling client's limits.
    pub fn rotate(
        &self,
        presented: &Presented,
        standing: &Standing,
        limits: &RotationLimits,
        chain: &ChainKey,
    ) -> Rotation {
        // The token's own time counts too: a record from a backup would otherwise look idle although its newest token
        // proves the opposite.
        let last_active = self.advanced_at.max(presented.issued);
        if let Some(end) = self.end(standing, last_active, limits.idle, limits.grace + ISSUED_LEEWAY) {
            return Rotation::Ended(end);
        }
        // A session keeps its key for life; what another one proves was not made by us.
        if presented.key != self.key || !chain.proves(&self.seed, presented) {
            return Rotation::Forged;
        }
        if standing.generation_floor.is_some_and(|floor| presented.generation < floor.generation) {
            return Rotation::Reused;
        }
        self.judge(presented, standing, limits)
    }

    /// The table of rotation; everything before it has passed.
    fn judge(&self, presented: &Presented, standing: &Standing, limits: &RotationLimits) -> Rotation {
        let now = standing.now;
        let mut session = self.clone();
        let healed = presented.generation > session.generation;
        if healed {
            session.heal_to(presented);
        }
        session.predecessors.retain(|one| now.since(one.superseded_at) < limits.grace + READ_SKEW_MAX);
        let answer = |kind, write, session: Session| {
            let floor = if write { session.floor_due(presented, healed, standing) } else { None };
            let kind = if healed { AnswerKind::Healed } else { kind };
            Rotation::Answer(Box::new(Answer { kind, session, write, floor }))
        };

        if presented.generation == session.generation {
            return match session.generation.checked_add(1) {
                Some(next) if session.predecessors.len() < PREDECESSORS_MAX => {
                    session.predecessors.push(Predecessor { generation: presented.generation, superseded_at: now });
                    session.generation = next;
                    session.advanced_at = now.floor_to_second();
                    answer(AnswerKind::Advanced, true, session)
                }
                // A client in a loop gets its own token again, so that the memory of predecessors stays bounded.
                _ => answer(AnswerKind::Held, healed, session),
            };
        }
        let superseded = session.predecessors.iter().position(|one| one.generation == presented.generation);
        let superseded = superseded.map(|index| session.predecessors.remove(index));
        if superseded.is_some_and(|one| now.since(one.superseded_at) < limits.grace) {
            return answer(AnswerKind::Repeated, false, self.clone());
        }
        let is_parent = presented.generation.checked_add(1) == Some(session.generation);
        if is_parent && limits.late_repeats && session.may_repeat_late() {
            session.last_late = Some(session.generation);
            session.advanced_at = now.floor_to_second();
            session.predecessors.push(Predecessor { generation: presented.generation, superseded_at: now });
            return answer(AnswerKind::Late, true, session);
        }
        Rotation::Reused
    }

    /// The vault lost writes; the token, whose secret follows from the seed, proves that its generation was reached.
    fn heal_to(&mut self, presented: &Presented) {
        self.generation = presented.generation;
        self.advanced_at = presented.issued;
        // The token carries whole seconds, rounded down; rounded down again, an honest retry at the end of its grace
        // would be taken for reuse.
        let superseded_at = presented.issued + Duration::from_secs(1);
        let first = presented.generation.saturating_sub(PREDECESSORS_MAX_U32);
        self.predecessors =
            (first..presented.generation).map(|generation| Predecessor { generation, superseded_at }).collect();
    }

    fn may_repeat_late(&self) -> bool {
        self.last_late.is_none_or(|at| self.generation.saturating_sub(at) >= LATE_REPEAT_EVERY)
    }

    /// The lowest generation that may still be answered, if SQL should learn it now. After a heal it is the eighth
    /// before, whatever their grace says: another tab may hold any of them and be honest. The floor is written beside the
    /// swap, which may lose against a late repeat of the generation before the presented one: that stays answerable.
    fn floor_due(&self, presented: &Presented, healed: bool, standing: &Standing) -> Option<u32> {
        let lowest = if healed {
            presented.generation.saturating_sub(PREDECESSORS_MAX_U32)
        } else {
            self.predecessors.iter().map(|one| one.generation).min().unwrap_or(presented.generation)
        };
        let (stored, at) = match standing.generation_floor {
            Some(floor) => (floor.generation, floor.at),
            None => (0, self.create_time),
        };
        let floor = lowest.min(presented.generation.saturating_sub(1));
        let rose = lowest >= stored.saturating_add(FLOOR_STEP);
        let aged = floor > stored && standing.now.since(at) >= FLOOR_AGE_MAX;
        (rose || aged).then_some(floor)
    }

    /// Whether and why this session is over, as far as SQL and its own limits say. `slack` is added to the idle limit.
    pub fn end(&self, standing: &Standing, last_active: Timestamp, idle: Duration, slack: Duration) -> Option<End> {
        if let Some(end) = standing.revoked {
            return Some(end);
        }
        let Some(owner) = &standing.owner else {
            return Some(End { cause: EndCause::UserDisabled, time: standing.now });
        };
        if !owner.active {
            return Some(End { cause: EndCause::UserDisabled, time: owner.floor.at });
        }
        if self.epoch < owner.floor.version && owner.floor.except != Some(self.id) {
            return Some(End { cause: owner.floor.cause, time: owner.floor.at });
        }
        if self.epoch < standing.fence.version {
            return Some(End { cause: EndCause::EndedForAll, time: standing.fence.at });
        }
        if standing.now >= self.absolute_end {
            return Some(End { cause: EndCause::Expired, time: self.absolute_end });
        }
        let idle_end = last_active + idle;
        if standing.now > idle_end + slack {
            return Some(End { cause: EndCause::Idle, time: idle_end.min(self.absolute_end) });
        }
        None
    }

    /// When the session ends unless it is refreshed.
    pub fn idle_end(&self, idle: Duration) -> Timestamp {
        (self.advanced_at + idle).min(self.absolute_end)
    }

    /// How long the vault keeps the record: long enough past its idle end that one restored from a week-old backup does
    /// not look absent, and that idle can be told from lost.
    pub fn keep_until(&self, idle: Duration) -> Timestamp {
        let past_absolute = self.absolute_end + Duration::from_mins(5);
        let past_idle = self.advanced_at + idle + Duration::from_hours(7 * 24);
        past_absolute.min(past_idle)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "8")]
const PREDECESSORS_MAX_U32: u32 = PREDECESSORS_MAX as u32;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod model;
#[cfg(test)]
mod table;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod world;
