//! How many connections there may be at once: on a port, and from one peer. Bounds what peers that do nothing can hold.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::rate::network;
use crate::domain::time::Moment;
use crate::metrics::{Counter, Gauge};

/// A flood must not flood the log.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// At once, on one port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    pub per_address: usize,
}

/// How many there are, and how many were not let in since the start. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    pub open: Gauge,
    pub refused: Counter,
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    limits: Limits,
    clock: Clock,
    counts: Connections,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    by_peer: HashMap<IpAddr, usize>,
    /// Since the log was last told.
    refused: u64,
    told: Option<Moment>,
}

/// One connection's. Free again when dropped.
pub(super) struct Place {
    places: Places,
    peer: IpAddr,
}

impl Places {
    pub(super) fn new(limits: Limits, clock: Clock, counts: Connections) -> Self {
        Self(Arc::new(Shared { limits, clock, counts, state: Mutex::default() }))
    }

    /// `None` if there is none left, for this peer or at all.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let (limits, peer) = (self.0.limits, network(address));
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = state.by_peer.get(&peer).copied().unwrap_or_default();
        if state.taken >= limits.connections || of_peer >= limits.per_address {
            state.refused += 1;
            self.0.counts.refused.inc();
            if let Some(refused) = state.tell(&self.0.clock) {
                let (open, of_peer) = (state.taken, of_peer);
                tracing::warn!(refused, open, of_peer, %peer, "connections were refused: more than [limits] allows");
            }
            return None;
        }
        state.taken += 1;
        state.by_peer.insert(peer, of_peer + 1);
        self.0.counts.open.inc();
        drop(state);
        Some(Place { places: self.clone(), peer })
    }

    /// The system gives no more connections, most often for want of descriptors.
    pub(super) fn cannot_accept(&self, why: &io::Error) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refused += 1;
        self.0.counts.refused.inc();
        if let Some(refused) = state.tell(&self.0.clock) {
            tracing::error!(refused, open = state.taken, %why, "connections cannot be accepted");
        }
    }
}

impl State {
    /// How many were refused, if it is time to say so: at the first, and then now and again.
    fn tell(&mut self, clock: &Clock) -> Option<u64> {
        let now = clock.moment();
        if self.told.is_some_and(|told| now.since(told) < TELL_INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.refused))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken -= 1;
        self.places.0.counts.open.dec();
        // An address that is gone must not stay in memory: there are more of them than connections.
        if let Some(of_peer) = state.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                state.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_address: usize) -> Places {
        Places::new(Limits { connections, per_address }, Clock::default(), Connections::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_cannot_take_all_places() {
        let places = places(3, 2);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let held = [places.take(a).unwrap(), places.take(a).unwrap()];
        assert!(places.take(a).is_none());
        let other = places.take(b).unwrap();
        assert!(places.take(b).is_none(), "the port is full");
        drop(held);
        assert!(places.take(a).is_some());
        drop(other);
        assert!(places.0.state.lock().unwrap().by_peer.is_empty());
        assert_eq!(places.0.state.lock().unwrap().taken, 0);
    }

    #[test]
    fn a_network_of_one_host_is_network() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:1")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_ne!(network(address("192.0.2.1")), network(address("192.0.2.2")));
    }

    #[test]
    fn a_flood_is_told_once_and_then_counted() {
        let (clock, mut state) = (Clock::default(), State::default());
        let mut refused = || {
            state.refused += 1;
            state.tell(&clock)
        };
        assert_eq!([refused(), refused(), refused()], [Some(1), None, None]);
        clock.advance(TELL_INTERVAL);
        assert_eq!(refused(), Some(3));
    }
}
