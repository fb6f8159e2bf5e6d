//! What is counted, and how it is told to Prometheus. Owns the names, and that the value of every label is one of few that
//! stand in our sources: whatever a caller sends must never become a series. Knows no other room.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The form of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Words of ours: no text that was made at run time is `'static`.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A handle on the counts of one server.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    registry: Mutex<Registry>,
    sign_ins: Family<Labels<1>, Counter>,
    alarms: Counter,
    limits: Family<Labels<2>, Counter>,
    events: Family<Labels<1>, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let counts = Counts {
            registry: Mutex::default(),
            sign_ins: Family::default(),
            alarms: Counter::default(),
            limits: Family::default(),
            events: Family::default(),
        };
        let mut registry = Registry::with_prefix("postern");
        let build = Family::<Labels<1>, ConstGauge<i64>>::new_with_constructor(|| ConstGauge::new(1));
        drop(build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("build_info", "The version that runs", build);
        registry.register(
            "sign_ins",
            "Tries to sign in, and of a current password, that were judged, by their result",
            counts.sign_ins.clone(),
        );
        for result in ["success", "failure"] {
            drop(counts.sign_ins.get_or_create(&[("result", result)]));
        }
        registry.register(
            "sign_in_alarms",
            "Minutes in which most of a hundred or more tries have failed: somebody may be guessing passwords",
            counts.alarms.clone(),
        );
        registry.register("limit_decisions", "What the limits on tries have said, by limit", counts.limits.clone());
        registry.register(
            "audit_events",
            "Events of the audit log, written or counted, by kind",
            counts.events.clone(),
        );
        let metrics = Self(Arc::new(counts));
        *metrics.registry() = registry;
        metrics
    }

    /// All that is counted, in the form that [`CONTENT_TYPE`] names.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry()) {
            Ok(()) => text,
            // Writing into memory does not fail; half of the numbers would be worse than none.
            Err(fmt::Error) => String::new(),
        }
    }

    /// Somebody tried to sign in, or a password.
    pub fn sign_in(&self, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.0.sign_ins.get_or_create(&[("result", result)]).inc();
    }

    /// Most of what was tried of late has failed.
    pub fn alarm(&self) {
        self.0.alarms.inc();
    }

    /// A limit was asked.
    pub fn limit(&self, limit: &'static str, admitted: bool) {
        let decision = if admitted { "admitted" } else { "refused" };
        self.0.limits.get_or_create(&[("limit", limit), ("decision", decision)]).inc();
    }

    /// Something happened that the audit log tells of.
    pub fn event(&self, kind: &'static str) {
        self.0.events.get_or_create(&[("event", kind)]).inc();
    }

    /// A number that goes up and down and is known elsewhere: it is read when somebody asks for all.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Elsewhere { name, help, read: Read::Gauge(Box::new(read)) }));
    }

    /// The same of a number that only grows.
    pub fn counter(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Elsewhere { name, help, read: Read::Counter(Box::new(read)) }));
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that somebody else keeps.
struct Elsewhere {
    name: &'static str,
    help: &'static str,
    read: Read,
}

enum Read {
    Gauge(Box<dyn Fn() -> i64 + Send + Sync>),
    Counter(Box<dyn Fn() -> u64 + Send + Sync>),
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Elsewhere {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        match &self.read {
            Read::Gauge(read) => {
                let value = ConstGauge::new(read());
                value.encode(encoder.encode_descriptor(self.name, self.help, None, value.metric_type())?)
            }
            Read::Counter(read) => {
                let value = ConstCounter::new(read());
                value.encode(encoder.encode_descriptor(self.name, self.help, None, value.metric_type())?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_under_its_name() {
        let metrics = Metrics::new();
        metrics.sign_in(true);
        metrics.sign_in(false);
        metrics.clone().sign_in(false);
        metrics.limit("account", false);
        metrics.event("authn_login_fail");
        metrics.gauge("waiting", "Who waits", || -3);
        metrics.counter("lost", "What was lost", || 7);
        let text = metrics.text();
        for line in [
            "postern_sign_ins_total{result=\"success\"} 1",
            "postern_sign_ins_total{result=\"failure\"} 2",
            "postern_sign_in_alarms_total 0",
            "postern_limit_decisions_total{limit=\"account\",decision=\"refused\"} 1",
            "postern_audit_events_total{event=\"authn_login_fail\"} 1",
            "# TYPE postern_waiting gauge",
            "postern_waiting -3",
            "postern_lost_total 7",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
