//! Threads that speak with callers and do nothing else, one for each core.
//!
//! Each is a runtime of its own: what one connection's calls answer at the same moment then goes out in one write. On a runtime
//! whose threads share their work, the connection is woken by each answer, and writes it by itself, which costs as much again
//! as the answer. And whatever else the process does at that moment, those who ask for verdicts do not wait behind it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Dropping them ends the threads, and what they still do.
pub struct Lanes {
    lanes: Vec<Arc<Lane>>,
    _ended_when_dropped: DropGuard,
}

struct Lane {
    runtime: Handle,
    connections: AtomicUsize,
}

impl Lanes {
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let lane = |index: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let lane = Lane { runtime: runtime.handle().clone(), connections: AtomicUsize::new(0) };
            let end = end.clone();
            thread::Builder::new().name(format!("lane-{index}")).spawn(move || runtime.block_on(end.cancelled()))?;
            Ok(Arc::new(lane))
        };
        let lanes = (0..count.get()).map(lane).collect::<io::Result<_>>()?;
        Ok(Self { lanes, _ended_when_dropped: end.drop_guard() })
    }

    /// Where there are fewest connections. They stay for long and callers have few, so by chance or in turn one thread
    /// would often have all that are busy.
    pub(super) fn emptiest(&self) -> Option<InLane> {
        let lane = self.lanes.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed))?;
        lane.connections.fetch_add(1, Ordering::Relaxed);
        Some(InLane(Arc::clone(lane)))
    }
}

/// A connection's place.
pub(super) struct InLane(Arc<Lane>);

impl InLane {
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}

impl Drop for InLane {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_spread_and_come_back() {
        let lanes = Lanes::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let held: Vec<InLane> = (0..6).filter_map(|_| lanes.emptiest()).collect();
        let counts = |lanes: &Lanes| -> Vec<usize> {
            lanes.lanes.iter().map(|lane| lane.connections.load(Ordering::Relaxed)).collect()
        };
        assert_eq!(counts(&lanes), [2, 2, 2]);
        let thread = |place: &InLane| place.runtime().spawn(async { thread::current().name().unwrap().to_owned() });
        let mut names = Vec::new();
        for place in &held {
            names.push(thread(place).await.unwrap());
        }
        names.sort_unstable();
        assert_eq!(names, ["lane-0", "lane-0", "lane-1", "lane-1", "lane-2", "lane-2"]);
        drop(held);
        assert_eq!(counts(&lanes), [0, 0, 0]);
    }

    #[tokio::test]
    async fn what_is_done_there_ends_with_them() {
        let lanes = Lanes::start(NonZeroUsize::MIN).unwrap();
        let place = lanes.emptiest().unwrap();
        let forever = place.runtime().spawn(std::future::pending::<()>());
        drop((lanes, place));
        assert!(forever.await.unwrap_err().is_cancelled());
    }
}
