//! What may be set, what it is for, and within which bounds. Knows what the settings mean, and nothing of files or variables.

mod clients;
mod doors;
mod gateway;
mod issuer;
mod keys;
mod log;
mod providers;
mod store;
mod telemetry;
mod tries;
mod trusted;
mod vault;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Key, Section, Wrong, in_words};
use super::{Config, DEFAULT_DATA_DIR, Feed, Limits, Passwords, Profile, Sessions, WhenStale};

pub(super) use issuer::host_of;
pub(super) use providers::is_loopback;

/// Changes stay in the feed for 70 minutes: a token that lived longer than an hour could outlive its revocation.
const ACCESS_TTL: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(1);
/// The lower end stays above the longest grace.
const SESSION_TTL: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(365 * 24);
const REFRESH_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);
const MAX_PER_USER: RangeInclusive<u32> = 1..=1_000;
/// Nobody may be asked for more than 64 code points, which every service must accept.
const MIN_LENGTH: RangeInclusive<usize> = 8..=64;
const CONTEXT_WORD_MAX: usize = 64;
/// The lower end, with 2 iterations, is the weakest that OWASP's cheat sheet recommends.
const MEMORY_KIB: RangeInclusive<u32> = 19_456..=262_144;
const ITERATIONS: RangeInclusive<u32> = 1..=10;
const PARALLELISM: RangeInclusive<u32> = 1..=8;
/// From here on OWASP allows a single iteration.
const MEMORY_KIB_FOR_ONE_ITERATION: u32 = 47_104;
pub(super) const THREADS: RangeInclusive<usize> = 1..=256;
const QUEUE: RangeInclusive<usize> = 1..=10_000;
const POLL_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
const MAX_STALENESS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(10);
/// The lower end is what PostgreSQL's role for servers cannot go below either.
const AUDIT_RETENTION: RangeInclusive<Duration> = Duration::from_hours(30 * 24)..=Duration::from_hours(3_650 * 24);
const CONNECTIONS: RangeInclusive<usize> = 10..=1_000_000;
const CONNECTIONS_PER_ADDRESS: RangeInclusive<usize> = 1..=1_000_000;
/// The lower end leaves a connection long enough to be worth its handshake.
const CONNECTION_AGE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24);

pub(super) fn config(root: &mut Section<'_>) -> Config {
    let mut profile = Profile::Development;
    let profiles = [("development", Profile::Development), ("production", Profile::Production)];
    let meaning = "what the server takes for granted about its surroundings";
    root.word("profile", meaning, &profiles, &mut profile);
    // Under a profile that nobody knows, no address is too open.
    let is_loopback_only = profile == Profile::Development && !root.is_at_fault("profile");
    let mut data_dir = PathBuf::from(DEFAULT_DATA_DIR);
    root.path("data_dir", "the embedded store, and in development the master key", &mut data_dir);
    let mut config = Config::defaults(profile, &data_dir);

    root.section("issuer", |section| issuer::read(section, &mut config.issuer));
    root.section("listen", |section| doors::listen(section, is_loopback_only, &mut config.listen));
    config.tls = root.section("tls", doors::tls);
    root.section("store", |section| store::read(section, profile, &mut config.store));
    root.section("vault", |section| vault::read(section, &mut config.vault));
    root.section("keys", |section| keys::read(section, &mut config.keys));
    root.section("tokens", |tokens| {
        let meaning = "life of an access token; a revocation does not wait for its end";
        tokens.duration("access_ttl", meaning, &ACCESS_TTL, &mut config.tokens.access_ttl);
    });
    root.section("sessions", |section| sessions(section, &mut config.sessions));
    root.section("refresh", |refresh| {
        let meaning = "forgive one repeat after the grace in 32 refreshes";
        refresh.flag("late_repeats", meaning, &mut config.refresh.late_repeats);
    });
    root.section("audit", |audit| {
        let meaning = "how long the audit log keeps events; unset: for good";
        audit.optional_duration("retention", meaning, &AUDIT_RETENTION, &mut config.audit.retention);
    });
    root.section("passwords", |section| passwords(section, &mut config.passwords));
    root.section("feed", |section| feed(section, &mut config.feed));
    root.section("limits", |section| limits(section, &mut config.limits));
    root.section("log", |section| log::read(section, &mut config.log));
    root.section("telemetry", |section| telemetry::read(section, &mut config.telemetry));
    config.clients = clients::read(root, &config.sessions);
    root.section("gateway", |section| gateway::read(section, profile, &mut config.gateway));
    root.section("accounts", |section| providers::accounts(section, &mut config.accounts));
    config.providers = providers::read(root, profile);
    config.trusted_issuers = trusted::read(root, &config.providers);
    config
}

fn sessions(section: &mut Section<'_>, out: &mut Sessions) {
    let meaning = "ends a session that is not refreshed for so long";
    let idle = section.duration("idle_ttl", meaning, &SESSION_TTL, &mut out.idle_ttl);
    let meaning = "ends it whatever happens";
    let absolute = section.duration("absolute_ttl", meaning, &SESSION_TTL, &mut out.absolute_ttl);
    let meaning = "a superseded refresh token is still answered";
    section.duration("refresh_grace", meaning, &REFRESH_GRACE, &mut out.refresh_grace);
    section.number("max_per_user", "with one more, the oldest ends", &MAX_PER_USER, &mut out.max_per_user);
    idles_no_longer_than_it_lives(section, (out.idle_ttl, out.absolute_ttl), idle.max(absolute));
}

fn idles_no_longer_than_it_lives(section: &mut Section<'_>, ttl: (Duration, Duration), source: super::Source) {
    let (idle, absolute) = ttl;
    if idle > absolute {
        let (idle, absolute) = (in_words(idle), in_words(absolute));
        let what = format!("{idle} is longer than absolute_ttl, {absolute}");
        section.fault("idle_ttl", source, Wrong::new(what, format!("\"{absolute}\" or less")));
    }
}

fn passwords(section: &mut Section<'_>, out: &mut Passwords) {
    section.number("min_length", "of new passwords, in code points", &MIN_LENGTH, &mut out.min_length);
    let meaning =
        "names that no new password may live on, beside Postern's, the issuer's and the person's own; file only";
    let key = Key { name: "context_words", meaning, bounds: format!("texts of 3 to {CONTEXT_WORD_MAX}") };
    section.texts(key, &mut out.context_words, context_word);
    let meaning = "no new password may stand there: ordered lines `SHA1:COUNT`, as Have I Been Pwned has them";
    section.optional_path("breached_file", meaning, &mut out.breached_file);
    let meaning = "goes into each hash, so that the database alone is no use to a guesser; its owner's alone (0600)";
    section.optional_path("pepper_file", meaning, &mut out.pepper_file);
    let memory = section.number("memory_kib", "argon2id; weaker does not start", &MEMORY_KIB, &mut out.memory_kib);
    let meaning = "of argon2id; 1 only from 47104 KiB";
    let iterations = section.number("iterations", meaning, &ITERATIONS, &mut out.iterations);
    section.number("parallelism", "of argon2id", &PARALLELISM, &mut out.parallelism);
    if out.iterations < 2 && out.memory_kib < MEMORY_KIB_FOR_ONE_ITERATION {
        let what = format!("1 iteration over {} KiB is too weak", out.memory_kib);
        let right = format!("iterations = 2, or memory_kib = {MEMORY_KIB_FOR_ONE_ITERATION}");
        section.fault("iterations", memory.max(iterations), Wrong::new(what, right));
    }
    out.threads = super::defaults::threads(out.memory_kib);
    section.number("threads", "that only hash; each needs `memory_kib`", &THREADS, &mut out.threads);
    out.queue = super::defaults::queue(out.threads);
    section.number("queue", "how many hashes may wait; one more is refused", &QUEUE, &mut out.queue);
}

fn context_word(text: &str) -> Result<String, Wrong> {
    let right = format!("3 to {CONTEXT_WORD_MAX} characters, a letter among them");
    let fits = (3..=CONTEXT_WORD_MAX).contains(&text.chars().count()) && text.chars().any(char::is_alphabetic);
    if fits { Ok(text.to_owned()) } else { Err(Wrong::new("no word", right)) }
}

fn feed(section: &mut Section<'_>, out: &mut Feed) {
    section.duration("poll_interval", "how often changes are looked for", &POLL_INTERVAL, &mut out.poll_interval);
    let meaning = "how long `Verify` answers without news from the store";
    section.duration("max_staleness", meaning, &MAX_STALENESS, &mut out.max_staleness);
    let words = [("refuse", WhenStale::Refuse), ("serve", WhenStale::Serve)];
    section.word("when_stale", "and what then; `serve` marks its answers", &words, &mut out.when_stale);
}

fn limits(section: &mut Section<'_>, out: &mut Limits) {
    let all = section.number("connections", "at once, on each listener", &CONNECTIONS, &mut out.connections);
    out.connections_per_address = out.connections_per_address.min(out.connections);
    let (name, meaning) = ("connections_per_address", "at once, from one address");
    let one = section.number(name, meaning, &CONNECTIONS_PER_ADDRESS, &mut out.connections_per_address);
    if out.connections_per_address > out.connections {
        let what = format!("{} from one address are more than all, {}", out.connections_per_address, out.connections);
        section.fault(name, all.max(one), Wrong::new(what, format!("{} or less", out.connections)));
    }
    let meaning = "then a peer is asked to connect anew; a tenth more or less by chance";
    section.duration("connection_age", meaning, &CONNECTION_AGE, &mut out.connection_age);
    tries::read(section, &mut out.tries);
}
