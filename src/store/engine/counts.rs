//! How long the engine takes, and how often it fails: for every statement, wherever it comes from.

use std::time::Duration;

use sqlx::error::ErrorKind;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::metrics::{Counter, Histogram};
use crate::spans;

/// Since the start. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct StoreCounts {
    /// What each statement took; begin and commit are statements, too.
    pub statements: Histogram,
    /// What each piece of work waited for a connection.
    pub waits: Histogram,
    /// Of both: what the engine failed at. That a name is taken is no failure.
    pub errors: Counter,
}

impl StoreCounts {
    /// Counts a statement while it runs.
    pub(super) fn ran<T>(
        &self,
        system: &'static str,
        text: &str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> {
        let span = spans::statement(system, text);
        // On the heap: all that waits for a statement would else be as large as it is, on every stack.
        let work = Box::pin(work.instrument(span.clone()));
        async move {
            let (outcome, took) = timed(work).await;
            self.statements.observe(took);
            spans::failed_if(&span, self.judge(&outcome));
            outcome
        }
    }

    /// Counts a wait for a connection.
    pub(super) fn waited<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> {
        let work = Box::pin(work);
        async move {
            let (outcome, took) = timed(work).await;
            self.waits.observe(took);
            self.judge(&outcome);
            outcome
        }
    }

    fn judge<T>(&self, outcome: &Result<T, sqlx::Error>) -> bool {
        let is_failure = outcome.as_ref().is_err_and(is_failure);
        if is_failure {
            self.errors.inc();
        }
        is_failure
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let outcome = work.await;
    (outcome, began.elapsed())
}

fn is_failure(why: &sqlx::Error) -> bool {
    match why {
        sqlx::Error::Database(database) => matches!(database.kind(), ErrorKind::Other),
        sqlx::Error::RowNotFound => false,
        _ => true,
    }
}
