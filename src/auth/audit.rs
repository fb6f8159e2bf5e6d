//! The audit writer: a bounded queue and one task, so that writing down what happened never delays what happens. What
//! changes the store is written in the change's own transaction instead and does not pass here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::audit::AuditEvent;
use crate::store::Store;

const QUEUE: usize = 4_096;
const BATCH: usize = 256;

/// A handle on the queue.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<AuditEvent>,
    dropped: Arc<AtomicU64>,
}

/// The other end of the queue, to be run as a task.
pub struct AuditTask {
    events: mpsc::Receiver<AuditEvent>,
    store: Store,
    dropped: Arc<AtomicU64>,
}

impl Audit {
    pub fn new(store: Store) -> (Self, AuditTask) {
        let (queue, events) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        (Self { queue, dropped: Arc::clone(&dropped) }, AuditTask { events, store, dropped })
    }

    /// Logs the event and hands it to the writer. A full queue drops it, and is counted.
    pub fn record(&self, event: AuditEvent) {
        log(&event);
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AuditTask {
    /// Writes until `stop`, then what is still queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = self.events.recv_many(&mut batch, BATCH) => if received == 0 { return },
                () = stop.cancelled() => break,
            }
            self.write(&mut batch).await;
        }
        self.events.close();
        while self.events.recv_many(&mut batch, BATCH).await > 0 {
            self.write(&mut batch).await;
        }
    }

    async fn write(&self, batch: &mut Vec<AuditEvent>) {
        if let Err(why) = self.store.append_audit(batch).await {
            let lost = self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
            tracing::error!(%why, audit.lost = lost, "audit events could not be written");
        }
        batch.clear();
    }
}

/// The event as a log line. Who and what by id only.
pub fn log(event: &AuditEvent) {
    let text = |id: Option<String>| id.unwrap_or_default();
    let detail = event.detail.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    tracing::info!(
        target: "postern::audit",
        event = event.kind.name(),
        actor = text(event.actor.as_ref().map(ToString::to_string)),
        subject = event.target.as_deref().unwrap_or_default(),
        session = text(event.session.map(|id| id.to_string())),
        client = text(event.client.as_ref().map(ToString::to_string)),
        ip = event.ip_address,
        reason = event.reason.unwrap_or_default(),
        request_id = event.request_id,
        detail,
        "{}", event.kind.name(),
    );
}
