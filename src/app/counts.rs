//! What other rooms count for themselves, under the names that `/metrics` has for it.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::audit::Audit;
use crate::auth::feed::FeedCounts;
use crate::auth::keyring::Keyring;
use crate::auth::passwords::Passwords;
use crate::clock::Clock;
use crate::domain::key::KeyState;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::store::{Store, StoreCounts};
use crate::telemetry;
use crate::tls::ServerTls;
use crate::vault::observed::VaultCounts;
use crate::verifier::Verifier;

fn as_gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn of_passwords(metrics: &Metrics, passwords: &Passwords) {
    let (running, waiting, refused) = (passwords.clone(), passwords.clone(), passwords.clone());
    metrics.gauge("password_jobs_running", "Passwords that are hashed", move || running.jobs().0.into());
    metrics.gauge("password_jobs_waiting", "Passwords that wait to be hashed", move || waiting.jobs().1.into());
    metrics.counter("password_jobs_shed", "Passwords that found no place in time", move || refused.refused());
    let threads = passwords.threads();
    metrics.gauge("password_threads", "Threads that only hash", move || threads.into());
    let (waits, hashes) = passwords.durations();
    metrics.register_seconds("password_wait", "How long a password waited to be hashed", waits);
    metrics.register_seconds("password_hash", "How long the hashing of a password took", hashes);
}

/// What is written down elsewhere, and may be lost on the way.
pub(super) fn of_records(metrics: &Metrics, audit: &Audit) {
    let audit = audit.clone();
    metrics.counter("audit_events_lost", "Audit events that are in the log alone", move || audit.lost());
    metrics.counter("log_lines_lost", "Lines of the log that nobody read in time", telemetry::lost_lines);
    metrics.counter("spans_lost", "Spans of traces that no collector took", telemetry::lost_spans);
}

pub(super) fn of_verifier(metrics: &Metrics, verifier: &Arc<Verifier>, feed: &FeedCounts, clock: &Clock) {
    let counted = Arc::clone(verifier);
    metrics.counters(
        "verifier_cache_lookups",
        "Tokens whose signature was known, or was not: what is no token is among the latter",
        "result",
        move || {
            let counts = counted.cache_counts();
            vec![("hit", counts.hits), ("miss", counts.misses)]
        },
    );
    let (entries, bytes) = (Arc::clone(verifier), Arc::clone(verifier));
    metrics.gauge("verifier_cache_entries", "Tokens whose signature is known", move || {
        as_gauge(entries.cache_counts().entries)
    });
    metrics.gauge("verifier_cache_bytes", "Memory that they take", move || {
        i64::try_from(bytes.cache_counts().bytes).unwrap_or(i64::MAX)
    });
    let (aged, clock) = (Arc::clone(verifier), clock.clone());
    metrics.seconds("feed_age", "Since the store last said that this server knows of everything", move || {
        aged.loaded().then(|| aged.age(clock.moment()).as_secs_f64())
    });
    let max = verifier.max_staleness().as_secs_f64();
    metrics.seconds("feed_max_staleness", "From which age of the feed on Verify does not answer", move || Some(max));
    metrics.register_seconds("feed_delay", "From a change to when this server judges by it", feed.delays.clone());
    metrics.register("feed_changes", "Changes that the feed brought", feed.changes.clone());
    metrics.register("feed_reloads", "How often all of the state was read anew", feed.reloads.clone());
}

pub(super) fn of_engines(metrics: &Metrics, store: &Store, vault: VaultCounts) {
    let StoreCounts { statements, waits, errors } = store.counts();
    metrics.register_seconds("store_statement_duration", "What a statement of SQL took", statements);
    metrics.register_seconds("store_wait", "What a piece of work waited for a connection to the store", waits);
    metrics.register("store_errors", "Statements and connections that failed", errors);
    let (counted, max) = (store.clone(), store.connections().2);
    metrics.gauges("store_connections", "Connections to the store, by whether they work", "state", move || {
        let (in_use, idle, _max) = counted.connections();
        vec![("in_use", as_gauge(in_use)), ("idle", as_gauge(idle))]
    });
    metrics.gauge("store_connections_max", "Connections to the store that there may be", move || as_gauge(max));
    metrics.register_seconds("vault_operation_duration", "What a step of the vault took", vault.durations);
    metrics.register("vault_errors", "Steps of the vault that failed", vault.errors);
}

pub(super) fn of_keys(metrics: &Metrics, keyring: &Arc<Keyring>, clock: &Clock) {
    let (known, counted_at) = (Arc::clone(keyring), clock.clone());
    metrics.gauges("signing_keys", "Signing keys, by where they are in their life", "state", move || {
        let states = known.states(counted_at.now());
        let count = |state| i64::try_from(states.iter().filter(|it| **it == state).count()).unwrap_or(i64::MAX);
        vec![
            ("pending", count(KeyState::Published)),
            ("signing", count(KeyState::Signing)),
            ("verifying", count(KeyState::Verifying)),
        ]
    });
    let (keyring, clock) = (Arc::clone(keyring), clock.clone());
    metrics.seconds("signing_key_age", "Since the key that signs was made", move || {
        let now = clock.now();
        keyring.signing(now).ok().map(|key| now.since(key.stored.publish_time).as_secs_f64())
    });
}

/// What only a process with ports has.
pub(super) fn of_process(metrics: &Metrics, readiness: &Arc<Readiness>, tls: Option<Arc<ServerTls>>) {
    let readiness = Arc::clone(readiness);
    metrics.gauge("ready", "Whether this server takes work", move || readiness.is_ready().into());
    if let Some(tls) = tls {
        metrics.seconds("tls_certificate_expiry_timestamp", "When the certificate ends, since 1970", move || {
            tls.ends().map(|end| Duration::from_millis(end.millis().unsigned_abs()).as_secs_f64())
        });
    }
}
