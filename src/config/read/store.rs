//! The SQL engine: a file of our own, or a PostgreSQL server.

use std::ops::RangeInclusive;

use super::super::reader::{Section, Wrong};
use super::super::{Postgres, Profile, SecretSource, Store};
use super::keys;

/// The lower end leaves a slow question and a quick one room beside each other.
const POOL_SIZE: RangeInclusive<usize> = 2..=500;

pub(super) fn read(section: &mut Section<'_>, profile: Profile, out: &mut Store) {
    let chosen = section.choice(&["sqlite", "postgres"]);
    if let Store::Sqlite { path } = out {
        section.section("sqlite", |sqlite| {
            sqlite.path("path", "the database; follows `data_dir`", path);
        });
    }
    let server = section.section("postgres", |section| postgres(section, profile));
    if chosen == Some("postgres") {
        // With the stand-in below, if there is none: that is told.
        *out = Store::Postgres(server);
    }
}

fn postgres(section: &mut Section<'_>, profile: Profile) -> Postgres {
    let mut out = Postgres {
        url: SecretSource::Value(String::new().into()),
        pool_size: 16,
        pooler: false,
        migrate: profile == Profile::Development,
        migrate_url: None,
    };
    let url = section.section("url", |url| {
        url.choice(&["file", "value"]);
        secret(url, "holds `postgres://user:password@host:5432/database`", "the URL itself; best from the environment")
    });
    match url {
        Some(url) => out.url = url,
        None if section.source() != super::super::Source::Default && !section.is_at_fault("url") => {
            let wrong = Wrong::new("missing", "url = { file = \"/run/secrets/postgres-url\" }");
            section.fault("url", section.source(), wrong);
        }
        None => {}
    }
    out.migrate_url = section.section("migrate_url", |url| {
        url.choice(&["file", "value"]);
        let file = "the same for a role that may make tables; unset: `url`";
        secret(url, file, "the URL itself; best from the environment")
    });
    let meaning = "connections at most, beside two for the feed";
    section.number("pool_size", meaning, &POOL_SIZE, &mut out.pool_size);
    let meaning = "whether a pooler in transaction mode stands between; the feed then polls, twice as often";
    section.flag("pooler", meaning, &mut out.pooler);
    let meaning = "bring the tables up to date at the start; on in development";
    section.flag("migrate", meaning, &mut out.migrate);
    out
}

/// A secret from a file, or from the settings.
pub(in super::super) fn secret(
    section: &mut Section<'_>,
    of_file: &'static str,
    of_value: &'static str,
) -> Option<SecretSource> {
    let mut file = None;
    section.optional_path("file", of_file, &mut file);
    match keys::value(section, of_value, "a secret") {
        Some(value) => {
            section.displace("file");
            Some(SecretSource::Value(value))
        }
        None => file.map(SecretSource::File),
    }
}
