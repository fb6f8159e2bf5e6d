//! The one place that reads the time. A flow asks once; everything below it takes `now`.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Moment, Timestamp};

/// What monotonic time is counted from.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// The wall clock plus an offset, which is zero outside tests. SQL statements that return the time add the same offset,
/// so a test moves both clocks together.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_micros: Arc<AtomicI64>,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros.saturating_add(self.offset_micros()))
    }

    /// The time by both clocks.
    pub fn moment(&self) -> Moment {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(*STARTED.get_or_init(|| now));
        let offset = Duration::from_micros(u64::try_from(self.offset_micros()).unwrap_or(0));
        Moment { wall: self.now(), uptime: elapsed + offset }
    }

    /// What statements that return the database's time add to it.
    pub fn offset_micros(&self) -> i64 {
        self.offset_micros.load(Ordering::Relaxed)
    }

    /// Moves this clock and all its clones ahead, for tests.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
