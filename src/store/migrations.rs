//! The schema's history on both engines: the same numbers, names, tables and columns. What was released is never edited.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The schema that this version works on.
pub(super) fn newest() -> i64 {
    sqlite().iter().map(|migration| migration.version).max().unwrap_or(0)
}

// By hand, because `migrate!` would build both drivers a second time for the host.
macro_rules! history {
    ($folder:literal) => {
        Migrator::with_migrations(vec![
            one(1, "core", include_str!(concat!("../../migrations/", $folder, "/0001_core.sql"))),
            one(2, "clients", include_str!(concat!("../../migrations/", $folder, "/0002_clients.sql"))),
            one(3, "password due", include_str!(concat!("../../migrations/", $folder, "/0003_password_due.sql"))),
            one(4, "clock", include_str!(concat!("../../migrations/", $folder, "/0004_clock.sql"))),
            one(5, "identities", include_str!(concat!("../../migrations/", $folder, "/0005_identities.sql"))),
            one(6, "defence", include_str!(concat!("../../migrations/", $folder, "/0006_defence.sql"))),
        ])
    };
}

pub(super) fn sqlite() -> Migrator {
    history!("sqlite")
}

pub(super) fn postgres() -> Migrator {
    history!("postgres")
}

fn one(version: i64, name: &'static str, statements: &'static str) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, statements.into_sql_str(), false)
}

/// How what was applied to a database compares with what this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// Up to this one, which may be 0 or the newest.
    Known(i64),
    /// A later version was here.
    Newer(i64),
    /// This one was applied with other content.
    Other(i64),
}

/// Judges `applied`, in its order: versions and checksums.
pub(super) fn judge(known: &Migrator, applied: &[(i64, Vec<u8>)]) -> Schema {
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > newest() {
        return Schema::Newer(found);
    }
    let differs = |(version, checksum): &&(i64, Vec<u8>)| {
        known.iter().any(|one| one.version == *version && *one.checksum != **checksum)
    };
    match applied.iter().find(differs) {
        Some((version, _)) => Schema::Other(*version),
        None => Schema::Known(found),
    }
}
