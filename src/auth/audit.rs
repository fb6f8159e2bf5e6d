//! The audit writer: a bounded queue and one task, so that writing down what happened never delays what happens. What
//! changes the store is written in the change's own transaction instead and does not pass here.
//!
//! Of events that strangers can bring about without end only the first of a minute are written one by one, for each client and
//! reason; the others are counted, and the count is written when the minute is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::flood::{Counted, Flood};
use crate::domain::id::ClientId;
use crate::domain::time::Moment;
use crate::metrics::Metrics;
use crate::store::Store;

const QUEUE: usize = 4_096;
const BATCH: usize = 256;
/// Whether a minute is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is told that events were lost.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// A handle on the queue.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<AuditEvent>,
    flood: Arc<Mutex<Flood<Like>>>,
    lost: Arc<AtomicU64>,
    metrics: Metrics,
}

/// What makes events alike.
type Like = (AuditKind, Option<ClientId>, Option<&'static str>);

/// The other end of the queue, to be run as a task.
pub struct AuditTask {
    events: mpsc::Receiver<AuditEvent>,
    store: Store,
    clock: Clock,
    flood: Arc<Mutex<Flood<Like>>>,
    lost: Arc<AtomicU64>,
    told: Told,
}

/// How many losses were told of, and when.
#[derive(Default)]
struct Told {
    lost: u64,
    at: Option<Moment>,
}

impl Audit {
    pub fn new(store: Store, clock: Clock, metrics: Metrics) -> (Self, AuditTask) {
        let (queue, events) = mpsc::channel(QUEUE);
        let (flood, lost) = (Arc::default(), Arc::new(AtomicU64::new(0)));
        let (flooding, losing) = (Arc::clone(&flood), Arc::clone(&lost));
        let task = AuditTask { events, store, clock, flood: flooding, lost: losing, told: Told::default() };
        (Self { queue, flood, lost, metrics }, task)
    }

    /// Logs the event and hands it to the writer, unless there were many like it a moment ago: then it is counted. A full queue
    /// drops it, and is counted, too.
    pub fn record(&self, event: AuditEvent) {
        self.metrics.event(event.kind.name());
        if event.kind.is_free() {
            let like = (event.kind, event.client.clone(), event.reason);
            if !self.flood.lock().unwrap_or_else(PoisonError::into_inner).admit(like, event.time) {
                return;
            }
        }
        log(&event);
        if self.queue.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that are in the log and not in the store, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl AuditTask {
    /// Writes until `stop`, then what is still queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.events.recv_many(&mut batch, BATCH) => if received == 0 { return },
                _ = look.tick() => {
                    batch.extend(self.counted(false));
                    self.tell_of_losses();
                }
                () = stop.cancelled() => break,
            }
            self.write(&mut batch).await;
        }
        self.events.close();
        batch.extend(self.counted(true));
        while self.events.recv_many(&mut batch, BATCH).await > 0 {
            self.write(&mut batch).await;
        }
        self.told.at = None;
        self.tell_of_losses();
    }

    /// An event for each kind that was only counted, in minutes that are over or, at the end, in all.
    fn counted(&self, at_the_end: bool) -> Vec<AuditEvent> {
        let now = self.clock.now();
        let counted = {
            let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
            if at_the_end { flood.rest() } else { flood.over(now) }
        };
        let events = counted.into_iter().map(|Counted { kind: (kind, client, reason), count, since }| AuditEvent {
            client,
            reason,
            detail: vec![("count", count.to_string()), ("since", since.to_string())],
            ..AuditEvent::new(kind, now)
        });
        events.inspect(log).collect()
    }

    async fn write(&self, batch: &mut Vec<AuditEvent>) {
        if batch.is_empty() {
            return;
        }
        if let Err(why) = self.store.append_audit(batch).await {
            self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
            tracing::debug!(%why, "audit events could not be written");
        }
        batch.clear();
    }

    /// Once a minute at most, and only if there is something new to tell: a store that is away would fill the log with it.
    fn tell_of_losses(&mut self) {
        let (lost, now) = (self.lost.load(Ordering::Relaxed), self.clock.moment());
        let is_told = self.told.at.is_some_and(|at| now.since(at) < TELL_EVERY);
        if lost > self.told.lost && !is_told {
            tracing::error!(
                audit.lost = lost,
                "audit events are missing from the store since the start of this process; the log has them"
            );
            self.told = Told { lost, at: Some(now) };
        }
    }
}

/// The event as a log line, whose form `docs/audit-event.schema.json` says. Who and what by id only; what is not known is left
/// out.
pub fn log(event: &AuditEvent) {
    let detail: BTreeMap<&str, &str> = event.detail.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let detail = serde_json::to_string(&detail).unwrap_or_default();
    tracing::info!(
        target: "postern::audit",
        id = %event.id,
        event = event.kind.name(),
        actor = event.actor.as_ref().map(ToString::to_string),
        subject = event.target.as_deref(),
        session = event.session.map(|id| id.to_string()),
        client = event.client.as_ref().map(ClientId::as_str),
        ip = known(&event.ip_address),
        reason = event.reason,
        request_id = known(&event.request_id),
        detail,
        "{}", event.kind.name(),
    );
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
