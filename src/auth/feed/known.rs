//! What must survive a store that forgets: every revocation, floor and version that may still meet a living access token.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::change::{Change, EndedSession, PrincipalState, RETENTION};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::standing::Fence;
use crate::domain::time::{Moment, Timestamp};

/// A load says when something happened only roughly.
const LISTED_WITHIN: Duration = RETENTION.saturating_sub(Duration::from_mins(1));

#[derive(Default)]
pub(super) struct Known {
    sessions: HashMap<(UserId, SessionId), (EndedSession, Since)>,
    states: HashMap<PrincipalId, (PrincipalState, Since)>,
    fence: Fence,
}

/// When it happened, in microseconds of this process's monotonic clock, on which the time before its start is negative:
/// the clock of a server that takes over may be ahead, and must not make anything forgotten when it is needed.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Since(i64);

impl Since {
    fn ago(age: Duration, at: Moment) -> Self {
        Self(micros(at.uptime).saturating_sub(micros(age)))
    }

    fn is_within(self, age: Duration, at: Moment) -> bool {
        micros(at.uptime).saturating_sub(self.0) < micros(age)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// What a store that was set back no longer has.
pub(super) struct Lost {
    pub(super) sessions: Vec<EndedSession>,
    /// Of users whose floor or version is lower there than it was.
    pub(super) states: Vec<PrincipalState>,
    /// The highest known; the store keeps its own if that is higher.
    pub(super) fence: Fence,
    fence_too: bool,
}

impl Lost {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.states.is_empty() && !self.fence_too
    }
}

impl Known {
    /// What a poll found: it happened just now.
    pub(super) fn learn(&mut self, changes: &[Change], at: Moment) {
        self.take(changes, at, |_changed| Duration::ZERO);
    }

    /// All that the store has to tell at `now` of its clock.
    pub(super) fn learn_all(&mut self, changes: &[Change], now: Timestamp, at: Moment) {
        self.take(changes, at, |changed| now.since(changed));
    }

    fn take(&mut self, changes: &[Change], at: Moment, age: impl Fn(Timestamp) -> Duration) {
        for change in changes {
            match change {
                Change::SessionEnded(ended) => {
                    let since = Since::ago(age(ended.end.time), at);
                    self.sessions.entry((ended.user, ended.session)).or_insert_with(|| (ended.clone(), since));
                }
                Change::Principal(state) => {
                    let known = self.states.get(&state.id);
                    if known.is_none_or(|(known, _)| known.version < state.version) {
                        // A version is the time of its change, save where it ran ahead.
                        let since = Since::ago(age(Timestamp::from_millis(state.version)), at);
                        self.states.insert(state.id.clone(), (state.clone(), since));
                    }
                }
                Change::Fence(fence) if fence.version > self.fence.version => self.fence = *fence,
                Change::Fence(_) | Change::Policy { .. } | Change::Keys(_) | Change::Clients(_) => {}
            }
        }
        // No living token is older.
        self.sessions.retain(|_, (_, since)| since.is_within(RETENTION, at));
        self.states.retain(|_, (_, since)| since.is_within(RETENTION, at));
    }

    /// What a store should have told and did not. It may name what is there: the store writes only what is not.
    pub(super) fn missing_from(&self, changes: &[Change], at: Moment) -> Lost {
        let mut there = Self::default();
        there.learn(changes, at);
        let sessions = self
            .sessions
            .iter()
            .filter(|(id, (_, since))| since.is_within(LISTED_WITHIN, at) && !there.sessions.contains_key(id));
        let states = self.states.values().filter(|(known, since)| {
            // A version that went back would be given again, for another state, and verifiers that know the old one
            // would pass over the new.
            let is_lower =
                |stored: &PrincipalState| stored.floor.version < known.floor.version || stored.version < known.version;
            match there.states.get(&known.id) {
                Some((stored, _)) => is_lower(stored),
                None => since.is_within(LISTED_WITHIN, at),
            }
        });
        Lost {
            sessions: sessions.map(|(_, (ended, _))| ended.clone()).collect(),
            states: states.map(|(state, _)| state.clone()).collect(),
            fence: self.fence,
            fence_too: self.fence.version > there.fence.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::standing::{End, EndCause, Floor};

    fn at(secs: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(1_000_000), uptime: Duration::from_secs(secs) }
    }

    fn ended(time: Timestamp) -> Change {
        Change::SessionEnded(EndedSession {
            user: UserId::generate(),
            session: SessionId::generate(),
            end: End { cause: EndCause::Logout, time },
            keep_until: Timestamp::MAX,
            summary: None,
        })
    }

    fn state(id: &PrincipalId, version: i64, floor: i64) -> Change {
        let floor = Floor { version: floor, ..Floor::NONE };
        let id = id.clone();
        Change::Principal(PrincipalState { id, version, roles_at: version, floor, bindings: Vec::new() })
    }

    fn counts(lost: &Lost) -> (usize, usize, bool) {
        (lost.sessions.len(), lost.states.len(), lost.fence_too)
    }

    #[test]
    fn what_a_store_lacks_is_told_and_nothing_else() {
        let now = Timestamp::from_secs(10_000);
        let (kim, lee) = (PrincipalId::User(UserId::generate()), PrincipalId::User(UserId::generate()));
        let fence = Change::Fence(Fence { version: 7, at: now });
        let mut known = Known::default();
        let all = [ended(now), state(&kim, 20, 20), state(&lee, 30, 0), fence];
        known.learn(&all, at(100));
        assert!(known.missing_from(&all, at(101)).is_empty());
        assert_eq!(counts(&known.missing_from(&[], at(101))), (1, 2, true));
        // A floor that is lower, and a version that is.
        let older = [all[0].clone(), state(&kim, 21, 10), state(&lee, 29, 0), all[3].clone()];
        assert_eq!(counts(&known.missing_from(&older, at(101))), (0, 2, false));
    }

    /// Told all again after half an hour, as with every new connection, a server does not take what is purged for lost.
    #[test]
    fn what_is_too_old_to_be_told_is_not_missed() {
        let now = Timestamp::from_secs(100_000);
        let mut known = Known::default();
        known.learn_all(&[ended(now - Duration::from_mins(50))], now, at(0));
        known.learn(&[ended(now)], at(0));
        assert_eq!(counts(&known.missing_from(&[], at(15 * 60))), (2, 0, false));
        assert_eq!(counts(&known.missing_from(&[], at(30 * 60))), (1, 0, false));
    }

    /// The server that takes over is an hour and a half ahead.
    #[test]
    fn a_clock_that_is_ahead_makes_nothing_forgotten() {
        let now = Timestamp::from_secs(100_000);
        let mut known = Known::default();
        known.learn(&[ended(now)], at(0));
        known.learn_all(&[ended(now + Duration::from_mins(90))], now + Duration::from_mins(90), at(5));
        assert_eq!(counts(&known.missing_from(&[], at(5))), (2, 0, false));
    }
}
