//! The rooms and their arrows, read from the sources: dependencies point one way, and each library has one room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room with all the rooms that it may name: those nearer to the heart of the service, and of those that stand aside
/// the ones it needs. An arrow that is not here is upward, or sideways, or a decision to be taken.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("breached", &[]),
    ("config", &["domain", "breached"]),
    ("proto", &[]),
    ("budget", &[]),
    ("readiness", &[]),
    ("metrics", &[]),
    ("spans", &[]),
    ("clock", &["domain"]),
    ("telemetry", &["config", "clock", "spans"]),
    ("verifier", &["domain"]),
    ("vault", &["domain", "config", "budget", "metrics", "spans"]),
    ("store", &["domain", "vault", "clock", "budget", "metrics", "spans"]),
    ("tls", &["domain", "config", "clock"]),
    ("oauth", &["domain", "tls", "clock", "spans"]),
    ("auth", &["domain", "verifier", "vault", "store", "oauth", "clock", "budget", "breached", "metrics", "spans"]),
    ("listener", &["domain", "tls", "clock", "metrics"]),
    (
        "grpc",
        &[
            "domain",
            "verifier",
            "store",
            "oauth",
            "auth",
            "proto",
            "clock",
            "readiness",
            "listener",
            "budget",
            "metrics",
            "spans",
        ],
    ),
    ("http", &["domain", "proto", "clock", "readiness", "listener", "metrics", "spans"]),
    (
        "app",
        &[
            "domain",
            "verifier",
            "vault",
            "store",
            "oauth",
            "auth",
            "tls",
            "listener",
            "grpc",
            "http",
            "config",
            "clock",
            "readiness",
            "breached",
            "metrics",
            "telemetry",
        ],
    ),
    ("cli", &["domain", "app", "proto", "config", "clock", "telemetry"]),
    ("main", &["cli"]),
];

/// Libraries that only some rooms may name.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("deadpool", &["store"]),
    ("fred", &["vault"]),
    ("tokio_rustls", &["tls"]),
    ("webpki", &["tls"]),
    ("hyper", &["grpc", "http", "oauth"]),
    ("hyper_util", &["grpc", "http", "oauth"]),
    ("oauth2", &["oauth"]),
    ("tonic_health", &["grpc", "cli"]),
    ("tonic_reflection", &["grpc"]),
    ("axum", &["http"]),
    ("anyhow", &["main", "cli"]),
    ("clap", &["cli"]),
    ("argon2", &["auth"]),
    ("aws_lc_rs", &["app", "auth", "breached", "domain", "grpc", "http", "oauth", "store", "tls", "vault", "verifier"]),
    ("bcrypt", &["auth"]),
    ("scrypt", &["auth"]),
    ("md5", &["oauth"]),
    ("chacha20poly1305", &["vault"]),
    ("jsonwebtoken", &["verifier", "auth", "oauth"]),
    (
        "tokio",
        &[
            "store",
            "vault",
            "oauth",
            "auth",
            "tls",
            "listener",
            "grpc",
            "http",
            "app",
            "cli",
            "main",
            "readiness",
            "budget",
        ],
    ),
    ("prometheus_client", &["metrics"]),
    ("async_trait", &["vault", "store", "grpc"]),
];

const LINES_MAX: usize = 400;

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments and without the tests at its end.
    code: String,
}

/// All sources but those that are compiled for tests only.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<(PathBuf, String)> = crate::support::files_below(&root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(files.len() > 60, "{}", files.len());
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    assert!(tests.len() > 10, "{tests:?}");
    let is_test = |path: &Path| path.ancestors().any(|above| tests.contains(above));
    files
        .into_iter()
        .filter(|(path, _)| !is_test(&path.with_extension("")))
        .map(|(path, text)| {
            let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = code.fold(String::new(), |code, line| code + line + "\n");
            Source { path, room: first.trim_end_matches(".rs").to_owned(), code }
        })
        .collect()
}

/// The modules that a file declares for tests, as paths without extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.with_extension("");
    let folder = if path == Path::new("lib.rs") { PathBuf::new() } else { folder };
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|after| {
        let line = after.lines().next()?.trim();
        line.rsplit_once("mod ")?.1.strip_suffix(';').map(|name| folder.join(name))
    });
    declared.collect()
}

/// The names that stand behind `crate::` or `postern::`.
fn named_rooms(code: &str) -> BTreeSet<&str> {
    let behind = ["crate::", "postern::"].iter().flat_map(|prefix| code.split(prefix).skip(1));
    behind.map(|rest| rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap()).collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib") {
        let room = source.room.as_str();
        let may_name = allowed.get(room).unwrap_or_else(|| panic!("the room {room} has no place in the order"));
        for name in named_rooms(&source.code).into_iter().filter(|name| allowed.contains_key(name) && *name != room) {
            seen.insert((room.to_owned(), name.to_owned()));
            if !may_name.contains(&name) {
                wrong.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The reader must read: some arrows that are surely there.
    for (room, name) in [("auth", "store"), ("store", "domain"), ("grpc", "auth"), ("main", "cli")] {
        assert!(seen.contains(&(room.to_owned(), name.to_owned())), "{room} -> {name}: {seen:?}");
    }
}

/// The table above is a direction and not just a list: no room may be reached from a room that it reaches.
#[test]
fn the_arrows_have_no_circle() {
    let mut below = BTreeSet::new();
    for (room, names) in ARROWS {
        for name in *names {
            assert!(below.contains(name), "{room} names {name}, which stands behind it");
        }
        assert!(below.insert(room), "{room} twice");
    }
}

#[test]
fn each_library_has_its_room() {
    for (library, rooms) in LIBRARIES {
        let mut namers = BTreeSet::new();
        for source in sources() {
            let is_named = source.code.lines().any(|line| {
                let line = line.trim_start();
                let path = format!("{library}::");
                line.contains(&path) && !line.contains(&format!("crate::{path}")) && !line.contains(&format!("_{path}"))
                    || line.contains(&format!("use {library};"))
                    || line.contains(&format!("use {library} as"))
            });
            if is_named {
                assert!(rooms.contains(&source.room.as_str()), "{} names {library}", source.path.display());
                namers.insert(source.room);
            }
        }
        assert!(!namers.is_empty(), "{library} is named nowhere: take it out of this table");
    }
}

/// `domain` and `verifier` are what a client library could use as it is.
#[test]
fn the_pure_rooms_do_not_wait() {
    for source in sources().iter().filter(|source| matches!(source.room.as_str(), "domain" | "verifier" | "config")) {
        // An address is a number; a socket waits.
        let words = ["async ", ".await", "Tcp", "Udp", "ToSocketAddrs", "tonic", "prost", "std::fs", "SystemTime"];
        for word in words.into_iter().chain(["Instant::now"]) {
            let is_settings = source.room == "config" && word == "std::fs";
            assert!(is_settings || !source.code.contains(word), "{} has {word}", source.path.display());
        }
    }
}

#[test]
fn files_are_beside_their_folders_and_not_too_long() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests"] {
        let files = crate::support::files_below(&root.join(folder));
        wrong.extend(files.into_iter().filter(|path| path.ends_with("mod.rs")).map(|path| path.display().to_string()));
    }
    for source in sources() {
        let text = std::fs::read_to_string(root.join("src").join(&source.path)).unwrap();
        let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
