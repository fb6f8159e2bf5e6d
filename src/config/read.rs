//! What may be set, and within which bounds. Knows what the settings mean, and nothing of files or variables.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::reader::{Section, Wrong, in_words, into_text, quoted};
use super::{Config, DEFAULT_DATA_DIR, Feed, Keys, Listen, Log, LogFormat, Passwords, Profile, SecretSource, Sessions};
use super::{Store, WhenStale, default_queue};

/// Changes stay in the feed for 70 minutes: a token that lived longer than an hour could outlive its revocation.
const ACCESS_TTL: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(1);
/// The lower end stays above the longest grace.
const SESSION_TTL: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(365 * 24);
const REFRESH_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);
const MAX_PER_USER: RangeInclusive<u32> = 1..=1_000;
/// Nobody may be asked for more than 64 code points, which every service must accept.
const MIN_LENGTH: RangeInclusive<usize> = 8..=64;
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

pub(super) fn config(root: &mut Section<'_>) -> Config {
    let profile = profile(root);
    let mut data_dir = PathBuf::from(DEFAULT_DATA_DIR);
    root.path("data_dir", &mut data_dir);
    let mut config = Config::development_defaults(&data_dir);

    root.section("issuer", |issuer| {
        issuer.text("url", &mut config.issuer.url, |text| issuer_url(text).map(Some));
    });
    root.section("listen", |section| listen(section, profile, &mut config.listen));
    root.section("store", |section| store(section, &mut config.store));
    root.section("vault", |section| {
        section.choice(&["store"]);
        section.section("store", |_| {});
    });
    root.section("keys", |section| keys(section, &mut config.keys));
    root.section("tokens", |tokens| {
        tokens.duration("access_ttl", &ACCESS_TTL, &mut config.tokens.access_ttl);
    });
    root.section("sessions", |section| sessions(section, &mut config.sessions));
    root.section("refresh", |refresh| {
        refresh.flag("late_repeats", &mut config.refresh.late_repeats);
    });
    root.section("passwords", |section| passwords(section, &mut config.passwords));
    root.section("feed", |section| feed(section, &mut config.feed));
    root.section("log", |section| log(section, &mut config.log));
    config
}

/// The profile, if it is one that can be run. Production cannot as long as nothing checks what it demands: run as
/// development it would be a public service without TLS.
fn profile(root: &mut Section<'_>) -> Option<Profile> {
    let mut profile = Some(Profile::Development);
    let profiles = [("development", profile), ("production", None)];
    let source = root.word("profile", &profiles, &mut profile);
    if profile.is_none() {
        let what = "the production profile is not available in this version; nothing would check what it demands";
        root.fault("profile", source, Wrong::new(what, "\"development\", on this machine only"));
    }
    profile
}

fn listen(section: &mut Section<'_>, profile: Option<Profile>, out: &mut Listen) {
    let address = |default: SocketAddr| {
        move |text: &str| {
            let Ok(address) = text.parse::<SocketAddr>() else {
                return Err(Wrong::new(
                    format!("{} is not an address with a port", quoted(text)),
                    format!("\"{default}\" or \"[::1]:{}\"", default.port()),
                ));
            };
            if profile == Some(Profile::Development) && !address.ip().is_loopback() {
                return Err(Wrong::new(
                    format!("{address} can be reached by others, and development has no TLS"),
                    format!("\"127.0.0.1:{0}\" or \"[::1]:{0}\"", address.port()),
                ));
            }
            Ok(address)
        }
    };
    let (grpc, operations) = (address(out.grpc), address(out.operations));
    let grpc = section.text("grpc", &mut out.grpc, grpc);
    let operations = section.text("operations", &mut out.operations, operations);
    if out.grpc == out.operations && out.grpc.port() != 0 {
        let wrong = Wrong::new(format!("{} is also listen.grpc", out.grpc), "a port of its own");
        section.fault("operations", grpc.max(operations), wrong);
    }
}

fn store(section: &mut Section<'_>, out: &mut Store) {
    section.choice(&["sqlite"]);
    let Store::Sqlite { path } = out;
    section.section("sqlite", |sqlite| {
        sqlite.path("path", path);
    });
}

fn keys(keys: &mut Section<'_>, out: &mut Keys) {
    keys.section("master", |master| {
        master.choice(&["file", "value"]);
        let mut file = PathBuf::new();
        master.path("file", &mut file);
        if file != Path::new("") {
            out.master = SecretSource::File(file);
        }
        let mut value = None;
        master.set("value", &mut value, |value| match into_text(value)? {
            // Never quoted, whatever is wrong with it.
            text if text.is_empty() => Err(Wrong::new("empty", "the master key")),
            text => Ok(Some(SecretString::from(text))),
        });
        if let Some(value) = value {
            out.master = SecretSource::Value(value);
        }
    });
}

fn sessions(section: &mut Section<'_>, out: &mut Sessions) {
    let idle = section.duration("idle_ttl", &SESSION_TTL, &mut out.idle_ttl);
    let absolute = section.duration("absolute_ttl", &SESSION_TTL, &mut out.absolute_ttl);
    section.duration("refresh_grace", &REFRESH_GRACE, &mut out.refresh_grace);
    section.number("max_per_user", &MAX_PER_USER, &mut out.max_per_user);
    if out.idle_ttl > out.absolute_ttl {
        let (idle_ttl, absolute_ttl) = (in_words(out.idle_ttl), in_words(out.absolute_ttl));
        let what = format!("{idle_ttl} is longer than absolute_ttl, {absolute_ttl}");
        section.fault("idle_ttl", idle.max(absolute), Wrong::new(what, format!("\"{absolute_ttl}\" or less")));
    }
}

fn passwords(section: &mut Section<'_>, out: &mut Passwords) {
    section.number("min_length", &MIN_LENGTH, &mut out.min_length);
    let memory = section.number("memory_kib", &MEMORY_KIB, &mut out.memory_kib);
    let iterations = section.number("iterations", &ITERATIONS, &mut out.iterations);
    section.number("parallelism", &PARALLELISM, &mut out.parallelism);
    if out.iterations < 2 && out.memory_kib < MEMORY_KIB_FOR_ONE_ITERATION {
        let what = format!("1 iteration over {} KiB is too weak", out.memory_kib);
        let right = format!("iterations = 2, or memory_kib = {MEMORY_KIB_FOR_ONE_ITERATION}");
        section.fault("iterations", memory.max(iterations), Wrong::new(what, right));
    }
    section.number("threads", &THREADS, &mut out.threads);
    out.queue = default_queue(out.threads);
    section.number("queue", &QUEUE, &mut out.queue);
}

fn feed(section: &mut Section<'_>, out: &mut Feed) {
    section.duration("poll_interval", &POLL_INTERVAL, &mut out.poll_interval);
    section.duration("max_staleness", &MAX_STALENESS, &mut out.max_staleness);
    section.word("when_stale", &[("refuse", WhenStale::Refuse), ("serve", WhenStale::Serve)], &mut out.when_stale);
}

fn log(section: &mut Section<'_>, out: &mut Log) {
    let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    section.word("format", &formats, &mut out.format);
    section.text("filter", &mut out.filter, log_filter);
}

fn log_filter(text: &str) -> Result<String, Wrong> {
    let right = "\"info\", or \"info,postern=debug\"";
    // `debgu` would be the name of a module, and silence everything else.
    let is_bare = |part: &&str| part.is_empty() || (!part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
    let bare = text.split(',').map(str::trim).find(is_bare);
    if let Some(bare) = bare {
        return Err(Wrong::new(format!("{} is not a level", quoted(bare)), right));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(format!("{}: {error}", quoted(text)), right)),
    }
}

/// Clients compare `iss` byte by byte and append paths to it, so only one spelling is taken.
fn issuer_url(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| Err(Wrong::new(what, "\"https://auth.example.com\""));
    if text.contains('@') {
        return wrong("holds a user name or a password");
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return wrong(&format!("{} does not start with https:// or http://", quoted(text)));
    };
    if text.contains('?') || text.contains('#') {
        return wrong(&format!("{} has a query or a fragment", quoted(text)));
    }
    if text.ends_with('/') {
        return wrong(&format!("{} ends with a slash", quoted(text)));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.chars().any(|letter| letter.is_ascii_uppercase()) {
        return wrong(&format!("{} has capitals in the host", quoted(text)));
    }
    let uri = text.is_ascii().then(|| text.parse::<http::Uri>().ok()).flatten();
    let sound = uri.as_ref().and_then(http::Uri::authority).is_some_and(|authority| {
        let host = authority.host();
        !host.is_empty() && (authority.as_str() == host || authority.port_u16().is_some_and(|port| port != 0))
    });
    if sound { Ok(text.to_owned()) } else { wrong(&format!("{} is not a URL", quoted(text))) }
}
