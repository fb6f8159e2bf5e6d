//! Keeps one dead provider from slowing the rest: so many sign-ins wait for it at once, and after so many failures in a row
//! it is left alone for a while, until one tries again for all.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Absence;
use crate::domain::time::Moment;

/// Sign-ins at once.
const AT_ONCE_MAX: usize = 64;
/// In a row; then it rests. What a person's own code can bring about counts once for where they are, or one person could have it
/// rest for all.
const FAILURES_MAX: u32 = 5;
const REST: Duration = Duration::from_secs(10);
/// Before a place may be free.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Breaker {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// Where failures in this row came from that somebody can have brought about.
    blamed: Vec<Option<IpAddr>>,
    /// Since when it rests.
    resting: Option<Moment>,
    /// Whether somebody tries for all.
    probing: bool,
}

/// Somebody's place. Given back when it is dropped, whatever came of it.
pub(super) struct Place<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    _permit: OwnedSemaphorePermit,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE_MAX)), state: Mutex::default() }
    }
}

impl Breaker {
    /// A place, if there is one now: nobody queues for a provider.
    pub(super) fn enter(&self, now: Moment) -> Result<Place<'_>, (Absence, Duration)> {
        let is_probe = {
            let mut state = self.state();
            match state.resting {
                None => false,
                Some(since) => {
                    let rested = now.since(since);
                    if rested < REST {
                        return Err((Absence::Resting, REST.saturating_sub(rested)));
                    }
                    if state.probing {
                        return Err((Absence::Resting, CROWDED_RETRY));
                    }
                    state.probing = true;
                    true
                }
            }
        };
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { breaker: self, is_probe, _permit: permit }),
            Err(_full) => {
                if is_probe {
                    self.state().probing = false;
                }
                Err((Absence::Crowded, CROWDED_RETRY))
            }
        }
    }

    pub(super) fn is_resting(&self, now: Moment) -> bool {
        self.state().resting.is_some_and(|since| now.since(since) < REST)
    }

    /// Whether [`Breaker::enter`] would find a place now. Takes none.
    pub(super) fn has_place(&self, now: Moment) -> Result<(), (Absence, Duration)> {
        let state = self.state();
        match state.resting.map(|since| now.since(since)) {
            Some(rested) if rested < REST => return Err((Absence::Resting, REST.saturating_sub(rested))),
            Some(_) if state.probing => return Err((Absence::Resting, CROWDED_RETRY)),
            Some(_) | None => {}
        }
        if self.places.available_permits() == 0 { Err((Absence::Crowded, CROWDED_RETRY)) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// It answered, whatever it said.
    pub(super) fn answered(self) {
        let mut state = self.breaker.state();
        *state = State { probing: state.probing, ..State::default() };
    }

    /// It did not answer: nobody who signs in can bring that about.
    pub(super) fn was_silent(self, now: Moment) {
        self.failed(now);
    }

    /// It said that it cannot, to somebody in this network; `None`: nobody knows where. What one person sends again and again
    /// counts once, until it answers.
    pub(super) fn was_unable(self, network: Option<IpAddr>, now: Moment) {
        {
            let mut state = self.breaker.state();
            if state.blamed.contains(&network) && !self.is_probe {
                return;
            }
            state.blamed.push(network);
        }
        self.failed(now);
    }

    fn failed(self, now: Moment) {
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_MAX {
            state.resting = Some(now);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.state().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment { uptime: Duration::from_secs(secs), ..Moment::default() }
    }

    #[test]
    fn it_rests_after_failures_in_a_row_and_one_tries_for_all() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            breaker.enter(at(0)).ok().unwrap().was_silent(at(0));
        }
        breaker.enter(at(0)).ok().unwrap().answered();
        for _ in 0..5 {
            assert!(!breaker.is_resting(at(0)));
            breaker.enter(at(0)).ok().unwrap().was_silent(at(0));
        }
        assert_eq!(breaker.enter(at(9)).err(), Some((Absence::Resting, Duration::from_secs(1))));
        assert!(breaker.is_resting(at(9)) && !breaker.is_resting(at(10)));

        let probe = breaker.enter(at(10)).ok().unwrap();
        assert!(breaker.enter(at(10)).is_err(), "one tries, not all");
        probe.was_silent(at(12));
        assert!(breaker.enter(at(21)).is_err(), "it rests anew");
        // Whoever tried and went away leaves the way free.
        drop(breaker.enter(at(22)).ok().unwrap());
        breaker.enter(at(22)).ok().unwrap().answered();
        assert!(breaker.enter(at(22)).is_ok() && !breaker.is_resting(at(22)));
    }

    #[test]
    fn one_network_alone_does_not_make_it_rest() {
        let breaker = Breaker::default();
        let network = |n: u8| Some(IpAddr::from([198, 51, n, 0]));
        let fail = |from| breaker.enter(at(0)).ok().unwrap().was_unable(from, at(0));
        (0..50).for_each(|_| fail(network(1)));
        (0..50).for_each(|_| fail(None));
        fail(network(2));
        fail(network(3));
        assert!(breaker.has_place(at(0)).is_ok(), "four places");
        fail(network(4));
        assert_eq!(breaker.has_place(at(1)), Err((Absence::Resting, Duration::from_secs(9))));

        // Who tries for all need not be somebody new.
        breaker.enter(at(10)).ok().unwrap().was_unable(network(4), at(10));
        assert!(breaker.has_place(at(19)).is_err(), "it rests anew");
        let probe = breaker.enter(at(20)).ok().unwrap();
        assert!(breaker.has_place(at(20)).is_err());
        probe.answered();
        (0..50).for_each(|_| fail(network(1)));
        assert!(breaker.has_place(at(20)).is_ok(), "all anew");
    }

    #[test]
    fn as_many_wait_as_may() {
        let breaker = Breaker::default();
        let all: Vec<_> = (0..64).map(|_| breaker.enter(at(0)).ok().unwrap()).collect();
        assert_eq!(breaker.enter(at(0)).err().map(|(why, _)| why), Some(Absence::Crowded));
        drop(all);
        assert!(breaker.enter(at(0)).is_ok());
    }
}
