//! The change feed: one task that keeps the verifier and the clients up with the store, woken by this process's own changes and polling
//! as a net.
//!
//! It reads from its cursor on, inclusive: if the row at the cursor is gone or bears another mark, the log was rewound
//! (restored, or failed over to a copy that lacked the newest rows). Then it reads everything anew, forgets nothing it
//! knew, and writes back the revocations and floors that the store lost.

mod known;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::auth::clients::Clients;
use crate::auth::error::AuthError;
use crate::auth::feed::known::Known;
use crate::auth::keyring::Keyring;
use crate::budget;
use crate::clock::Clock;
use crate::domain::change::{Change, Cursor, Revision};
use crate::domain::time::Timestamp;
use crate::metrics::{Counter, Histogram};
use crate::store::{FeedRead, Loaded, Store};
use crate::verifier::{VerificationKey, Verifier};

/// How long a change waits to be seen by its own replica. It is committed in any case.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// A handle on the feed.
#[derive(Clone)]
pub struct Feed {
    head: watch::Receiver<Revision>,
    counts: FeedCounts,
}

/// What the feed brought, since the start. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct FeedCounts {
    /// From a change's commit to when this replica judges by it.
    pub delays: Histogram,
    pub changes: Counter,
    /// All was read anew.
    pub reloads: Counter,
}

/// The task behind the handle.
pub struct FeedTask {
    store: Store,
    verifier: Arc<Verifier>,
    keyring: Arc<Keyring>,
    clients: Arc<Clients>,
    clock: Clock,
    poll_interval: Duration,
    /// Moves with every change that this process commits.
    committed: watch::Receiver<i64>,
    head: watch::Sender<Revision>,
    cursor: Option<Cursor>,
    known: Known,
    counts: FeedCounts,
}

impl Feed {
    pub fn counts(&self) -> FeedCounts {
        self.counts.clone()
    }

    /// Waits until the task, which every commit wakes, has seen `revision`.
    pub async fn catch_up(&self, revision: Revision) {
        let mut head = self.head.clone();
        let seen = head.wait_for(|head| revision.is_reached_at(*head));
        // Late is not wrong: the change is durable, and the poll brings it.
        if tokio::time::timeout_at(budget::until(CATCH_UP_MAX), seen).await.is_err() {
            tracing::warn!(change.id = revision.id, "a change is committed but not yet seen by this replica");
        }
    }
}

impl FeedTask {
    pub fn new(
        store: Store,
        verifier: Arc<Verifier>,
        keyring: Arc<Keyring>,
        clients: Arc<Clients>,
        clock: Clock,
        poll_interval: Duration,
    ) -> (Feed, Self) {
        let (head, seen) = watch::channel(Revision { id: -1, at: Timestamp::default() });
        let counts = FeedCounts::default();
        let feed = Feed { head: seen, counts: counts.clone() };
        let (committed, known) = (store.committed(), Known::default());
        let cursor = None;
        (feed, Self { store, verifier, keyring, clients, clock, poll_interval, committed, head, cursor, known, counts })
    }

    /// Loads everything once. The process is not ready before this succeeded.
    pub async fn load(&mut self) -> Result<(), AuthError> {
        // Until all of this is done, it is to be done again.
        self.cursor = None;
        // Before the read: a machine suspended in the middle of it must not wake up with fresh news.
        let asked_at = self.clock.moment();
        let loaded = self.store.load().await?;
        self.learn_clients(&loaded.changes);
        let keys = self.open_keys(&loaded.changes)?.unwrap_or_default();
        self.verifier.load(loaded.cursor, loaded.now, &loaded.changes, keys, asked_at)?;
        let lost = self.known.missing_from(&loaded.changes, asked_at);
        if !lost.is_empty() {
            // Before anything is learned from a store that knows less: what is not written back now must not be forgotten.
            let written = self.store.write_back(&lost.sessions, &lost.states, lost.fence).await?;
            if written > 0 {
                tracing::warn!(written, "the store was set back; what it lost of ended sessions is written back");
            }
        }
        self.known.learn_all(&loaded.changes, loaded.now, asked_at);
        self.counts.reloads.inc();
        self.advance(loaded.cursor, loaded.now);
        Ok(())
    }

    /// Follows the store until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failing = false;
        // From the beginning of one poll to that of the next, so that the time which it takes does not come on top.
        let mut next = tokio::time::interval(self.poll_interval);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(()) = self.committed.changed() => {}
                _due = next.tick() => {}
                () = stop.cancelled() => return,
            }
            match self.poll().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the change feed is fresh again");
                }
                Ok(()) => {}
                Err(why) => {
                    // Once per outage: the poll repeats twice a second.
                    if !failing {
                        tracing::error!(error = &why as &dyn std::error::Error, "the change feed cannot be read");
                    }
                    failing = true;
                    self.cursor = self.cursor.filter(|_| !matches!(why, AuthError::Internal(_)));
                }
            }
        }
    }

    async fn poll(&mut self) -> Result<(), AuthError> {
        let Some(cursor) = self.cursor else { return self.load().await };
        let asked_at = self.clock.moment();
        match self.store.changes_since(cursor).await? {
            FeedRead::Rewound => {
                tracing::warn!(change.id = cursor.id, "the change log was rewound; reading everything anew");
                self.load().await
            }
            FeedRead::Reload => self.load().await,
            FeedRead::Changes(Loaded { cursor, now, changes, .. }) if changes.is_empty() => {
                self.verifier.fresh(cursor, now, asked_at);
                self.advance(cursor, now);
                Ok(())
            }
            FeedRead::Changes(Loaded { cursor, now, changes, written }) => {
                self.learn_clients(&changes);
                let keys = self.open_keys(&changes)?;
                self.verifier.apply(cursor, now, &changes, keys, asked_at)?;
                self.known.learn(&changes, asked_at);
                let since_asked = self.clock.moment().since(asked_at);
                for at in written {
                    self.counts.changes.inc();
                    self.counts.delays.observe(now.since(at) + since_asked);
                }
                self.advance(cursor, now);
                Ok(())
            }
        }
    }

    fn advance(&mut self, cursor: Cursor, now: Timestamp) {
        self.cursor = Some(cursor);
        self.head.send_replace(Revision { id: cursor.id, at: now });
    }

    /// Before the verifier, which then says that it has seen these changes: who waited for that must meet them here too.
    fn learn_clients(&self, changes: &[Change]) {
        for change in changes {
            if let Change::Clients(stored) = change {
                self.clients.learn(stored);
            }
        }
    }

    /// The keys among `changes`. If they do not open, what ends sessions still counts: a key that this replica cannot read
    /// must not keep revocations from it.
    fn open_keys(&self, changes: &[Change]) -> Result<Option<Vec<VerificationKey>>, AuthError> {
        let stored = changes.iter().rev().find_map(|change| match change {
            Change::Keys(keys) => Some(keys),
            _ => None,
        });
        let opened = stored.map(|stored| self.keyring.take_over(stored).map_err(AuthError::internal)).transpose();
        opened.inspect_err(|_unreadable| self.verifier.learn(changes, self.clock.moment()))
    }
}

#[cfg(test)]
mod tests;
