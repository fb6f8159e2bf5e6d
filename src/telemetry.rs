//! What the process tells about itself: the log, on standard error. Owns which lines are written and that one event is
//! one line, whatever a caller put into it; knows no other room than `config` and `clock`, and what is secret it never
//! sees: such types do not print themselves.

mod lines;
mod people;
mod sink;
mod traces;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::clock::Clock;
use crate::config::{Log, LogFormat, Telemetry};
use crate::spans;
use lines::{Format, Lines};
use sink::Sink;
use traces::Traces;

/// Libraries whose debug lines tell about frames and pools, and drown ours.
const TALKATIVE: [&str; 9] = ["axum", "h2", "hyper", "hyper_util", "mio", "sqlx", "tokio", "tonic", "tower"];

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    #[error("{0}")]
    Taken(#[from] TryInitError),
    #[error("the log has no thread: {0}")]
    Thread(#[from] io::Error),
    #[error("telemetry: {why}")]
    Traces { why: String },
}

/// The sink of this process, once it logs.
static SINK: OnceLock<Sink> = OnceLock::new();
/// Of its traces, if there are any.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
/// How long the end of the process waits for a collector.
const TRACES_FAREWELL: Duration = Duration::from_secs(2);
/// How long the end of the process waits for a reader of its log.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends the events of this process to standard error: pretty on a terminal, else one JSON object a line; and its traces to
/// whom `telemetry` names. To be called on a runtime.
///
/// # Errors
/// If a setting cannot be used, or the process logs somewhere already.
pub fn init(log: &Log, telemetry: &Telemetry, is_terminal: bool) -> Result<(), TelemetryError> {
    let sink = Sink::start(io::stderr())?;
    let traces = Traces::start(telemetry)?;
    let maker = traces.as_ref().map(|traces| traces.tracer.clone());
    subscriber_with(log, is_terminal, sink.clone(), maker)?.try_init()?;
    if let Some(Traces { provider, .. }) = traces {
        PROVIDER.get_or_init(|| provider);
    }
    std::panic::set_hook(Box::new(log_panic));
    sink.tell_of_losses()?;
    SINK.get_or_init(|| sink);
    Ok(())
}

/// Has all traces sent, before the process ends; nothing is traced from then on.
pub fn end_traces() {
    if let Some(provider) = PROVIDER.get()
        && let Err(why) = provider.shutdown_with_timeout(TRACES_FAREWELL)
    {
        tracing::debug!(%why, "the last traces were not taken");
    }
}

/// Spans that no collector took, since the start.
pub fn lost_spans() -> u64 {
    traces::lost()
}

/// Has what was logged written, before the process says something by another way, or ends.
pub fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(FAREWELL);
    }
}

/// Lines of the log that nobody read in time and that were dropped, since the start.
pub fn lost_lines() -> u64 {
    SINK.get().map_or(0, Sink::lost)
}

/// The subscriber that `init` installs, over any writer.
///
/// # Errors
/// If the filter cannot be read.
pub fn subscriber<W>(log: &Log, is_terminal: bool, writer: W) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber_with(log, is_terminal, writer, None)
}

fn subscriber_with<W>(
    log: &Log,
    is_terminal: bool,
    writer: W,
    tracer: Option<SdkTracer>,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let pretty = Format::Pretty { colour: is_terminal };
    let format = match log.format {
        LogFormat::Auto if is_terminal => pretty,
        LogFormat::Pretty => pretty,
        LogFormat::Auto | LogFormat::Json => Format::Json,
    };
    // Each has a filter of its own: what is traced does not hang on what is logged.
    let lines = Lines::new(format, log.addresses, writer, Clock::default());
    let lines = lines.with_filter(quiet(&log.filter).and(EnvFilter::try_new(&log.filter)?));
    let exported = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            // Times of waiting, places in the sources, threads and events are of no use to who reads a trace, and events might hold what a span must not.
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == spans::TARGET))
    });
    Ok(tracing_subscriber::registry().with(exported).with(lines))
}

/// Stands beside the filter: the talkative libraries keep to `info`, unless the filter names one.
fn quiet(filter: &str) -> Targets {
    let named = |library: &str| {
        filter.split(',').map(str::trim).any(|part| {
            part.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '=', '[']))
        })
    };
    let quiet = TALKATIVE.into_iter().filter(|library| !named(library)).map(|library| (library, LevelFilter::INFO));
    // What is for traces alone would double the fields of lines that are within.
    Targets::new().with_default(LevelFilter::TRACE).with_targets(quiet).with_target(spans::TARGET, LevelFilter::OFF)
}

/// Where, and not in which words: a panic's text may hold what a caller sent, or a secret that a library was given.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, "a task panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing::subscriber::with_default;

    use super::*;
    use crate::config::LogAddresses;

    /// A writer that keeps what it is given.
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str, is_terminal: bool, events: impl FnOnce()) -> String {
        written_with(LogAddresses::Full, format, filter, is_terminal, events)
    }

    fn written_with(
        addresses: LogAddresses,
        format: LogFormat,
        filter: &str,
        is_terminal: bool,
        events: impl FnOnce(),
    ) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = Log { format, filter: filter.to_owned(), addresses };
        let subscriber = subscriber(&log, is_terminal, move || writer.clone()).unwrap();
        with_default(subscriber, events);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The lines without the time.
    fn pretty(events: impl FnOnce()) -> String {
        let text = written(LogFormat::Pretty, "info", false, events);
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }

    fn json(events: impl FnOnce()) -> Vec<serde_json::Value> {
        let text = written(LogFormat::Auto, "info", false, events);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    const HOSTILE: [&str; 8] = [
        "a\nINFO forged",
        "a\r\nforged",
        "a\u{1b}[2J",
        "a\u{2028}forged",
        "a\"} , {\"level\":\"INFO\"",
        "a\u{85}\u{9b}2J",
        "a\u{202e}forged",
        "a\u{7f}\0\u{8}",
    ];

    /// What may not reach a terminal or a line-based reader.
    fn is_tame(text: &str) -> bool {
        text.chars().all(|c| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)))
    }

    #[test]
    fn whatever_a_field_holds_is_one_json_line() {
        for hostile in HOSTILE {
            let text = written(LogFormat::Json, "info", false, || {
                let span = tracing::info_span!("rpc", request_id = hostile);
                span.in_scope(|| tracing::info!(user_agent = hostile, debug = ?hostile, shown = %hostile, "{hostile}"));
            });
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(is_tame(&text), "{text}");
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(line["level"], "INFO");
            assert_eq!(line["user_agent"], hostile);
            assert_eq!(line["shown"], hostile);
            assert_eq!(line["message"], hostile);
            assert_eq!(line["request_id"], hostile);
        }
    }

    #[test]
    fn whatever_a_field_holds_is_one_pretty_line() {
        for hostile in HOSTILE {
            let text = written(LogFormat::Pretty, "info", false, || {
                let span = tracing::info_span!("rpc", request_id = hostile);
                span.in_scope(|| tracing::info!(user_agent = hostile, debug = ?hostile, shown = %hostile, "{hostile}"));
            });
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(is_tame(&text), "{text}");
        }
        insta::assert_snapshot!(pretty(|| {
            tracing::info!(kid = HOSTILE[0], "{}", HOSTILE[2]);
            tracing::info!(kid = HOSTILE[4], "{}", HOSTILE[3]);
        }), @r#"
        INFO  a\u{1b}[2J  kid="a\nINFO forged"
        INFO  a\u{2028}forged  kid="a\"} , {\"level\":\"INFO\""
        "#);
    }

    #[test]
    fn a_json_line_has_flat_fields_of_event_and_spans() {
        let lines = json(|| {
            let outer = tracing::info_span!("rpc", request_id = "r1", who = "outer", late = tracing::field::Empty);
            let inner = tracing::info_span!(parent: &outer, "step", who = "inner");
            outer.record("late", 7);
            inner.in_scope(|| tracing::warn!(count = 3, ok = true, ratio = 0.5, level = "mine", "done"));
        });
        let mut line = lines[0].clone();
        let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert_eq!((timestamp.len(), &timestamp[10..11], &timestamp[19..20]), (27, "T", "."), "{timestamp}");
        assert!(timestamp.ends_with('Z'));
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok());
        insta::assert_snapshot!(line, @r#"{"count":3,"field.level":"mine","late":7,"level":"WARN","message":"done","ok":true,"ratio":0.5,"request_id":"r1","target":"postern::telemetry::tests","who":"inner"}"#);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store is away")]
        struct Away(#[source] io::Error);
        let away = Away(io::Error::other("connection refused"));
        let lines = json(|| {
            tracing::error!(error = &away as &dyn std::error::Error, "login failed");
        });
        assert_eq!(lines[0]["error"], "the store is away: connection refused");
    }

    #[test]
    fn pretty_is_short_and_coloured_only_on_a_terminal() {
        insta::assert_snapshot!(pretty(|| {
            let span = tracing::info_span!("rpc", request_id = "r1");
            span.in_scope(|| tracing::info!(user = "admin", device = "a phone", "signed in"));
            tracing::error!(target: "sqlx::query", "slow");
        }), @r#"
        INFO  signed in  user=admin device="a phone" request_id=r1
        ERROR sqlx::query: slow
        "#);
        let coloured = written(LogFormat::Auto, "info", true, || tracing::info!("up"));
        assert!(coloured.contains("\u{1b}[32mINFO\u{1b}[0m"), "{coloured:?}");
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        let events = || {
            tracing::debug!(target: "h2::codec", "frame");
            tracing::debug!(target: "sqlx::query", "statement");
            tracing::info!(target: "sqlx", "migrated");
            tracing::debug!("ours");
        };
        let lines = |filter| {
            let text = written(LogFormat::Json, filter, false, events);
            text.lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        insta::assert_snapshot!(lines("info"), @r#""migrated""#);
        insta::assert_snapshot!(lines("debug"), @r#""migrated" "ours""#);
        insta::assert_snapshot!(lines("debug,h2=debug"), @r#""frame" "migrated" "ours""#);
        insta::assert_snapshot!(lines("warn,sqlx::query=debug"), @r#""statement""#);
        insta::assert_snapshot!(lines("off"), @"");
    }

    #[test]
    fn addresses_of_people_are_cut_as_the_settings_say() {
        let logged = |addresses| {
            let text = written_with(addresses, LogFormat::Json, "info", false, || {
                for ip in ["198.51.100.77", "2001:db8:1:2:3:4:5:6", "::ffff:198.51.100.77", "127.0.0.1", "odd", ""] {
                    tracing::info!(ip, "signed in");
                }
                let peer: std::net::SocketAddr = "198.51.100.77:4711".parse().unwrap();
                let span = tracing::info_span!("connection", %peer);
                span.in_scope(|| tracing::info!(server = "198.51.100.1:5432", "asked"));
            });
            let told = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                ["ip", "peer", "server"].iter().find_map(|name| line.get(name).map(ToString::to_string))
            };
            text.lines().filter_map(told).collect::<Vec<_>>().join(" ")
        };
        insta::assert_snapshot!(logged(LogAddresses::Full), @r#""198.51.100.77" "2001:db8:1:2:3:4:5:6" "::ffff:198.51.100.77" "127.0.0.1" "odd" "" "198.51.100.77:4711""#);
        insta::assert_snapshot!(logged(LogAddresses::Truncated), @r#""198.51.100.0/24" "2001:db8:1::/48" "198.51.100.0/24" "127.0.0.1" "odd" "" "198.51.100.0/24""#);
        insta::assert_snapshot!(logged(LogAddresses::None), @r#""" "" "" "127.0.0.1" "odd" "" """#);
    }

    #[test]
    fn what_is_very_long_is_cut() {
        let long = "한".repeat(100_000);
        let text = written(LogFormat::Json, "info", false, || tracing::info!(agent = long, "{long}"));
        assert!(text.len() < 20_000, "{}", text.len());
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        for name in ["agent", "message"] {
            let told = line[name].as_str().unwrap();
            assert!(told.starts_with("한한") && told.ends_with(" [291810 bytes more]"), "{told}");
        }
    }

    #[test]
    fn details_are_an_object_and_only_if_they_are_one() {
        let text = written(LogFormat::Json, "info", false, || {
            tracing::info!(detail = "{\"note\":\"a\u{2028}\\nb\",\"count\":\"3\"}", "one");
            tracing::info!(detail = "{\"note\":\"torn", "two");
            tracing::info!(detail = "{\"a\":{\"b\":1}}", "three");
        });
        let told: Vec<&str> = text.lines().map(|line| line.split_once("\"detail\":").unwrap().1).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        {"count":"3","note":"a\u2028\u000ab"}}
        "{\"note\":\"torn"}
        "{\"a\":{\"b\":1}}"}
        "#);
        let text = pretty(|| tracing::info!(detail = "{\"note\":\"left the company\",\"count\":\"3\"}", "one"));
        insta::assert_snapshot!(text, @r#"INFO  one  count=3 note="left the company""#);
    }

    #[test]
    fn a_panic_tells_where_and_not_in_which_words() {
        let text = written(LogFormat::Json, "info", false, || {
            // The hook is of the whole process, where other tests may be panicking: only this thread has the subscriber.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let caught = std::panic::catch_unwind(|| panic!("canary-{}", "secret"));
            std::panic::set_hook(before);
            assert!(caught.is_err());
        });
        assert!(text.contains("a task panicked") && text.contains("src/telemetry.rs:"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
