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
