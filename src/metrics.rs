//! What is counted, and how it is told to Prometheus. Owns the names, and that the value of every label is one of few that
//! stand in our sources: whatever a caller sends must never become a series. Knows no other room.
//!
//! What happens in `auth` is counted here; what the rooms below it measure they keep themselves, and `app` registers it.

mod elsewhere;
mod format;
mod histogram;
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use elsewhere::{Elsewhere, Read};
use format::plain;
use process::Process;

pub use format::Format;
pub use histogram::Histogram;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;

/// Words of ours: no text that was made at run time is `'static`.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A handle on the counts of one server.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    registry: Mutex<Registry>,
    /// What every process has, under names without ours before them.
    process: Registry,
    sign_ins: Family<Labels<1>, Counter>,
    alarms: Counter,
    limits: Family<Labels<2>, Counter>,
    events: Family<Labels<1>, Counter>,
    decisions: Family<Labels<2>, Counter>,
    /// Of [`Counts::decisions`]: by far the most frequent one is not looked for.
    allowed: Counter,
    sessions: Family<Labels<1>, Counter>,
    rpcs: Family<Labels<3>, Counter>,
    rpc_durations: Family<Labels<2>, Histogram>,
    rpcs_in_flight: Gauge,
    engines: Family<Labels<1>, Gauge>,
}

/// What becomes of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Opened,
    /// A refresh answered the next token,
    Advanced,
    /// the current one again, within the grace,
    Repeated,
    /// the same once after it,
    Late,
    /// or the presented one, to a client that refreshes in a loop.
    Held,
    /// A refresh token was newer than its record, which must have been thrown back.
    Healed,
    /// A spent refresh token came back, and its session was ended.
    Reused,
    /// Ended by somebody.
    Revoked,
    /// A refresh was refused for any other reason.
    Refused,
}

impl SessionEvent {
    const ALL: [Self; 9] = [
        Self::Opened,
        Self::Advanced,
        Self::Repeated,
        Self::Late,
        Self::Held,
        Self::Healed,
        Self::Reused,
        Self::Revoked,
        Self::Refused,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Advanced => "advanced",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Held => "held",
            Self::Healed => "healed",
            Self::Reused => "reused",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let decisions = Family::<Labels<2>, Counter>::default();
        let allowed = decisions.get_or_create(&[("decision", "ALLOW"), ("reason", "")]).clone();
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        let counts = Counts {
            registry: Mutex::new(Registry::with_prefix("postern")),
            process,
            sign_ins: Family::default(),
            alarms: Counter::default(),
            limits: Family::default(),
            events: Family::default(),
            decisions,
            allowed,
            sessions: Family::default(),
            rpcs: Family::default(),
            rpc_durations: Family::default(),
            rpcs_in_flight: Gauge::default(),
            engines: Family::default(),
        };
        for result in ["success", "failure"] {
            drop(counts.sign_ins.get_or_create(&[("result", result)]));
        }
        for event in SessionEvent::ALL {
            drop(counts.sessions.get_or_create(&[("event", event.name())]));
        }
        let build = Family::<Labels<1>, ConstGauge<i64>>::new_with_constructor(|| ConstGauge::new(1));
        drop(build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]));
        let metrics = Self(Arc::new(counts));
        let Counts { sign_ins, alarms, limits, events, decisions, sessions, rpcs, rpc_durations, .. } = &*metrics.0;
        metrics.register("build_info", "The version that runs", build);
        metrics.register(
            "sign_ins",
            "Tries to sign in, and of a current password, that were judged, by their result",
            sign_ins.clone(),
        );
        metrics.register(
            "sign_in_alarms",
            "Minutes in which most of a hundred or more tries have failed: somebody may be guessing passwords",
            alarms.clone(),
        );
        metrics.register("limit_decisions", "What the limits on tries have said, by limit", limits.clone());
        metrics.register("audit_events", "Events of the audit log, written or counted, by kind", events.clone());
        metrics.register("decisions", "Answers of Verify and BatchVerify, by decision and reason", decisions.clone());
        metrics.register("session_events", "What became of sessions", sessions.clone());
        metrics.register("rpc_requests", "Calls that ended, by method and code", rpcs.clone());
        metrics.register_seconds(
            "rpc_duration",
            "From the head of a call to the head of its answer",
            rpc_durations.clone(),
        );
        metrics.register(
            "engine_up",
            "Whether it answered when it was last asked, which is each second",
            metrics.0.engines.clone(),
        );
        metrics.register("rpc_in_flight", "Calls that have begun and not ended", metrics.0.rpcs_in_flight.clone());
        metrics
    }

    /// All that is counted.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry())
            .and_then(|()| encode_registry(&mut text, &self.0.process))
            .and_then(|()| encode_eof(&mut text));
        match (written, format) {
            (Ok(()), Format::OpenMetrics) => text,
            (Ok(()), Format::Plain) => plain(&text),
            // Writing into memory does not fail; half of the numbers would be worse than none.
            (Err(fmt::Error), _) => String::new(),
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

    /// `Verify` allowed.
    pub fn allowed(&self) {
        self.0.allowed.inc();
    }

    /// `Verify` did not allow. Both words are those of the contract.
    pub fn refused(&self, decision: &'static str, reason: &'static str) {
        self.0.decisions.get_or_create(&[("decision", decision), ("reason", reason)]).inc();
    }

    pub fn session(&self, event: SessionEvent) {
        self.sessions(event, 1);
    }

    /// The same of many at once.
    pub fn sessions(&self, event: SessionEvent, count: u64) {
        self.0.sessions.get_or_create(&[("event", event.name())]).inc_by(count);
    }

    /// Which engines answered when they were last asked.
    pub fn engines(&self, store: bool, vault: bool) {
        for (engine, answers) in [("store", store), ("vault", vault)] {
            self.0.engines.get_or_create(&[("engine", engine)]).set(answers.into());
        }
    }

    /// A handle on the counts of one method, for whoever answers it.
    pub fn rpc(&self, service: &'static str, method: &'static str) -> Rpc {
        Rpc { service, method, metrics: self.clone(), counts: OnceLock::new() }
    }

    /// A number that goes up and down and is known elsewhere: it is read when somebody asks for all.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        self.elsewhere(name, help, Read::Gauge(Box::new(read)));
    }

    /// The same of a number that only grows.
    pub fn counter(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.elsewhere(name, help, Read::Counter(Box::new(read)));
    }

    /// Several such numbers, one for each value of a label.
    pub fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(&'static str, i64)> + Send + Sync + 'static,
    ) {
        self.elsewhere(name, help, Read::Gauges(label, Box::new(read)));
    }

    /// The same of numbers that only grow.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    ) {
        self.elsewhere(name, help, Read::Counters(label, Box::new(read)));
    }

    /// The same of seconds, which go to the end of the name. Without one, nothing is told.
    pub fn seconds(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.elsewhere(name, help, Read::Seconds(Box::new(read)));
    }

    fn elsewhere(&self, name: &'static str, help: &'static str, read: Read) {
        self.registry().register_collector(Box::new(Elsewhere { name, help, read }));
    }

    /// What another room keeps of its own.
    pub fn register(&self, name: &'static str, help: &'static str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// The same of seconds.
    pub fn register_seconds(&self, name: &'static str, help: &'static str, metric: impl Metric) {
        self.registry().register_with_unit(name, help, Unit::Seconds, metric);
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of one method.
#[derive(Debug)]
pub struct Rpc {
    service: &'static str,
    method: &'static str,
    metrics: Metrics,
    /// What nobody calls is not told of; and what is called is not looked for each time.
    counts: OnceLock<(Counter, Histogram)>,
}

impl Rpc {
    /// The code of an answer that is none of the others.
    pub const OK: &'static str = "OK";

    pub fn begun(&self) {
        self.metrics.0.rpcs_in_flight.inc();
    }

    /// `code`: as the gRPC documents spell it.
    pub fn ended(&self, code: &'static str, took: Duration) {
        let Counts { rpcs, rpc_durations, rpcs_in_flight, .. } = &*self.metrics.0;
        let of = |code| [("service", self.service), ("method", self.method), ("code", code)];
        let (ok, duration) = self.counts.get_or_init(|| {
            let duration = rpc_durations.get_or_create(&[("service", self.service), ("method", self.method)]).clone();
            (rpcs.get_or_create(&of(Self::OK)).clone(), duration)
        });
        rpcs_in_flight.dec();
        duration.observe(took);
        if code == Self::OK {
            ok.inc();
        } else {
            rpcs.get_or_create(&of(code)).inc();
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
        metrics.seconds("age", "How old", || Some(1.5));
        metrics.seconds("end", "Who has none", || None);
        metrics.allowed();
        metrics.refused("DENY", "PERMISSION_MISSING");
        metrics.session(SessionEvent::Healed);
        let text = metrics.text(Format::OpenMetrics);
        for line in [
            "postern_sign_ins_total{result=\"success\"} 1",
            "postern_sign_ins_total{result=\"failure\"} 2",
            "postern_sign_in_alarms_total 0",
            "postern_limit_decisions_total{limit=\"account\",decision=\"refused\"} 1",
            "postern_audit_events_total{event=\"authn_login_fail\"} 1",
            "# TYPE postern_waiting gauge",
            "postern_waiting -3",
            "postern_lost_total 7",
            "postern_age_seconds 1.5",
            "postern_decisions_total{decision=\"ALLOW\",reason=\"\"} 1",
            "postern_decisions_total{decision=\"DENY\",reason=\"PERMISSION_MISSING\"} 1",
            "postern_session_events_total{event=\"healed\"} 1",
            "postern_session_events_total{event=\"reused\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("postern_end"));
    }

    #[test]
    fn a_call_is_counted_by_its_method_and_code() {
        let metrics = Metrics::new();
        let rpc = metrics.rpc("AuthService", "Verify");
        assert!(!metrics.text(Format::Plain).contains("AuthService"), "nobody called it");
        for code in ["OK", "OK", "UNAVAILABLE"] {
            rpc.begun();
            rpc.ended(code, Duration::from_millis(1));
        }
        rpc.begun();
        let text = metrics.text(Format::Plain);
        for line in [
            "postern_rpc_requests_total{service=\"AuthService\",method=\"Verify\",code=\"OK\"} 2",
            "postern_rpc_requests_total{service=\"AuthService\",method=\"Verify\",code=\"UNAVAILABLE\"} 1",
            "postern_rpc_duration_seconds_count{service=\"AuthService\",method=\"Verify\"} 3",
            "postern_rpc_in_flight 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
