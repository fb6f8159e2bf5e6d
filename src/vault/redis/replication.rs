//! Whether a replica has what must not be lost: what was taken stays taken, and who signed in stays so, if the primary
//! fails a moment later. As far as it goes: a replica that lags is not waited for.

use std::sync::Mutex;
use std::time::Duration;

use fred::types::Value;
use tokio::time::Instant;

use super::link::{Call, Link, To};

/// How long a primary waits for a replica, in milliseconds.
const WAIT_MILLIS: i64 = 50;
/// And how long we wait for the primary to say so.
const ANSWER_TIME: Duration = Duration::from_millis(100);
/// A replica that did not answer in time is left alone for so long, or it would slow every sign-in.
const REST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Replication {
    rests_until: Mutex<Option<Instant>>,
}

impl Replication {
    /// Waits until a replica has what this link has written where this slot lies, for a moment at most.
    pub(super) async fn wait(&self, link: &Link, slot: u16) {
        if !link.live().is_ok_and(|live| live.replicas > 0) || self.rests(Instant::now()) {
            return;
        }
        let call = Call { name: "WAIT", args: vec![1.into(), WAIT_MILLIS.into()], to: To::Slot(slot) };
        let reached = tokio::time::timeout(ANSWER_TIME, link.call(call)).await;
        if !matches!(reached, Ok(Ok(Value::Integer(count))) if count > 0) {
            tracing::warn!("no replica of Redis confirmed in {WAIT_MILLIS} ms; not waiting for one for a while");
            self.rest(Instant::now());
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.lock().is_some_and(|end| now < end)
    }

    fn rest(&self, now: Instant) {
        *self.lock() = Some(now + REST);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replica_that_lags_is_left_alone_for_a_while() {
        let (replication, now) = (Replication::default(), Instant::now());
        assert!(!replication.rests(now));
        replication.rest(now);
        assert!(replication.rests(now + REST / 2));
        assert!(!replication.rests(now + REST));
    }
}
