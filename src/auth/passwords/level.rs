//! Failures that all take the same time. Foreign hashes cost more or less than ours, and by that alone a stranger could tell
//! who exists and was brought over: so a failed check is answered when the dearest kind that anybody still has would be done.
//! Waiting costs nothing but time: no thread is held by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The dearest kind varies too, and must not be seen to be late.
const MARGIN: (u32, u32) = (5, 4);
/// Nothing that may be checked takes longer on a machine that is worth it.
const MAX: Duration = Duration::from_secs(5);

/// Until when failures are held back.
#[derive(Debug, Default)]
pub(super) struct Level {
    micros: AtomicU64,
    pub(super) changed: Notify,
}

impl Level {
    /// From what each kind takes; where there is one kind only, nothing is held back.
    pub(super) fn set(&self, times: &[Duration]) {
        let dearest = times.iter().max().copied().filter(|_| times.len() > 1).unwrap_or_default();
        let level = (dearest * MARGIN.0 / MARGIN.1).min(MAX);
        self.micros.store(u64::try_from(level.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How much longer an answer must wait whose check took so long. A password that was typed in another form than it is
    /// kept in is tried twice against some hashes, and counts twice against all.
    pub(super) fn rest(&self, took: Duration, tries: u32) -> Duration {
        (Duration::from_micros(self.micros.load(Ordering::Relaxed)) * tries).saturating_sub(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wait_for_the_dearest() {
        let (level, ms) = (Level::default(), Duration::from_millis);
        assert_eq!(level.rest(ms(1), 1), Duration::ZERO);
        level.set(&[ms(20), ms(80)]);
        assert_eq!([level.rest(ms(20), 1), level.rest(ms(80), 1), level.rest(ms(200), 1)], [ms(80), ms(20), ms(0)]);
        assert_eq!(level.rest(ms(160), 2), ms(40));
        level.set(&[ms(20)]);
        assert_eq!(level.rest(ms(1), 1), Duration::ZERO, "they all cost the same");
    }
}
