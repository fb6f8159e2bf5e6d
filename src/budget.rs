//! How long one call may wait for engines, in all. Each engine bounds its own steps, but a call takes several, and the last
//! of them may be the one that hangs: so all waits of a call end together, early enough that the refusal is out within two
//! seconds. Stands aside: the gRPC port opens a budget around each call, store and vault ask it how long to wait. Must not
//! know what is waited for.
//!
//! It ends waits, not calls: what a flow does then is its own decision. A session that SQL ended stays ended when the vault
//! cannot be cleaned any more.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Leaves some of two seconds to everything else.
const CALL_MAX: Duration = Duration::from_millis(1_600);

tokio::task_local! {
    /// When the waits of this call are over; unset until the first one begins.
    static END: Cell<Option<Instant>>;
}

/// Runs a call. Its budget begins with its first wait: a message that comes in slowly costs nothing of it.
pub async fn around<F: Future>(call: F) -> F::Output {
    END.scope(Cell::new(None), call).await
}

/// Until when to wait if this wait may take `own` by itself. What belongs to no call has no other bound.
pub fn until(own: Duration) -> Instant {
    let now = Instant::now();
    let end = END.try_with(|end| {
        let until = end.get().unwrap_or(now + CALL_MAX);
        end.set(Some(until));
        until
    });
    end.map_or(now + own, |end| end.min(now + own))
}

/// Does what waits for no engine. Its time is not counted: a password that waits for its turn to be hashed must not make a
/// store look away that is not.
pub async fn apart<F: Future>(work: F) -> F::Output {
    let began = Instant::now();
    let done = work.await;
    // Outside a call there is nothing to put off.
    END.try_with(|end| end.set(end.get().map(|end| end + began.elapsed()))).unwrap_or_default();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any call has.
    const LONG: Duration = Duration::from_secs(9);
    const MOMENT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn all_waits_of_a_call_end_together() {
        let entered = Instant::now();
        around(async {
            // Reading the message.
            tokio::time::sleep(MOMENT).await;
            let end = until(LONG);
            assert!(end >= entered + MOMENT + CALL_MAX);
            tokio::time::sleep(MOMENT).await;
            assert_eq!(until(LONG), end);
            assert!(until(MOMENT) < end, "a wait may have less for itself");
        })
        .await;
    }

    #[tokio::test]
    async fn what_waits_for_no_engine_costs_nothing() {
        around(async {
            let end = until(LONG);
            apart(tokio::time::sleep(MOMENT)).await;
            assert!(until(LONG) >= end + MOMENT);
        })
        .await;
    }

    #[tokio::test]
    async fn outside_a_call_each_wait_stands_alone() {
        let began = Instant::now();
        apart(tokio::time::sleep(MOMENT)).await;
        assert!(until(LONG) >= began + MOMENT + LONG);
    }
}
