//! A vault that is watched: what each of its steps takes and how often it fails. Knows nothing of what it watches.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;
use crate::metrics::{Counter, Family, Histogram, Labels};
use crate::spans;
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};

const OPERATIONS: [&str; 9] = ["insert", "get", "swap", "take", "remove", "list", "admit", "give_back", "ping"];

/// Since the start, by operation. Clones share the counts.
#[derive(Clone, Debug)]
pub struct VaultCounts {
    pub durations: Family<Labels<1>, Histogram>,
    pub errors: Family<Labels<1>, Counter>,
}

impl Default for VaultCounts {
    /// With all errors at zero: an alarm needs to see the first one come.
    fn default() -> Self {
        let (durations, errors) = (Family::default(), Family::<Labels<1>, Counter>::default());
        for operation in OPERATIONS {
            drop(errors.get_or_create(&[("operation", operation)]));
        }
        Self { durations, errors }
    }
}

/// See above.
pub struct Observed {
    vault: Arc<dyn Vault>,
    counts: VaultCounts,
}

impl Observed {
    pub fn new(vault: Arc<dyn Vault>, counts: &VaultCounts) -> Self {
        Self { vault, counts: counts.clone() }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        span: Span,
        step: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let began = Instant::now();
        let outcome = step.instrument(span.clone()).await;
        let labels = [("operation", operation)];
        self.counts.durations.get_or_create(&labels).observe(began.elapsed());
        if outcome.is_err() {
            self.counts.errors.get_or_create(&labels).inc();
            spans::failed_if(&span, true);
        }
        outcome
    }
}

fn span(operation: &'static str, kind: Kind) -> Span {
    spans::vault(operation, kind.name())
}

#[async_trait]
impl Vault for Observed {
    async fn insert(&self, slot: &Slot, value: &[u8], expires_at: Timestamp) -> Result<bool, VaultError> {
        self.watch("insert", span("insert", slot.kind), self.vault.insert(slot, value, expires_at)).await
    }

    async fn get(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        self.watch("get", span("get", slot.kind), self.vault.get(slot)).await
    }

    async fn swap(&self, slot: &Slot, expected: &[u8], new: &[u8], expires_at: Timestamp) -> Result<Swap, VaultError> {
        self.watch("swap", span("swap", slot.kind), self.vault.swap(slot, expected, new, expires_at)).await
    }

    async fn take(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        self.watch("take", span("take", slot.kind), self.vault.take(slot)).await
    }

    async fn remove(&self, slot: &Slot) -> Result<bool, VaultError> {
        self.watch("remove", span("remove", slot.kind), self.vault.remove(slot)).await
    }

    fn answers(&self) -> Result<(), VaultError> {
        self.vault.answers()
    }

    /// Each second, and of nobody's making: it is counted, and no part of a trace.
    async fn ping(&self) -> Result<(), VaultError> {
        self.watch("ping", Span::none(), self.vault.ping()).await
    }

    async fn admit(&self, bucket: &str, quota: &Quota) -> Result<Admission, VaultError> {
        self.watch("admit", span("admit", Kind::Bucket), self.vault.admit(bucket, quota)).await
    }

    async fn give_back(&self, bucket: &str, quota: &Quota) -> Result<(), VaultError> {
        self.watch("give_back", span("give_back", Kind::Bucket), self.vault.give_back(bucket, quota)).await
    }

    async fn list(&self, kind: Kind, partition: &str) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        self.watch("list", span("list", kind), self.vault.list(kind, partition)).await
    }
}
