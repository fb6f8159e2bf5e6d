//! `postern migrate-store`: from the embedded store to PostgreSQL.

use std::path::PathBuf;

use serde_json::json;

use super::args::MigrateStoreArgs;
use super::failure::Failure;
use super::output::{Answer, Output};
use super::serve;
use super::shell_word;
use super::table::{Lines, Table, plain};
use crate::app::{self, CopyError, MoveError, Moved, Plan, StartError};
use crate::config::SecretSource;

/// After so many rows a word, that somebody is still at work.
const TELL_EVERY: u64 = 10_000;
/// Letters of a digest that a person compares.
const SHORT: usize = 12;

pub(super) async fn run(args: MigrateStoreArgs) -> Result<Answer, Failure> {
    let from = source(&args.from)?;
    let to = match (args.to, args.to_file) {
        (Some(url), _) if holds_a_password(&url) => {
            return Err(Failure::local("--to: every process of the machine can read the password in it")
                .advise("Put the URL into a file that only you can read:  --to-file FILE"));
        }
        (Some(url), _) => Some(SecretSource::Value(url.into())),
        (None, file) => file.map(SecretSource::File),
    };
    let config =
        serve::load(&args.serve).map(|loaded| loaded.config).map_err(|error| Failure::local(error.to_string()))?;
    let output = Output::new(args.json);
    let mut told = ("", 0);
    let tell = |table: &'static str, rows: u64| {
        let steps = rows / TELL_EVERY;
        if steps > 0 && told != (table, steps) {
            output.tell(&format!("{table}: {rows} rows"));
        }
        told = (table, steps);
    };
    let moved = app::migrate_store(&config, Plan { from, to }, tell).await.map_err(|why| failed(&why))?;
    Ok(Answer::of_value(value(&moved), text(&moved)))
}

/// `sqlite:PATH`, also with the two slashes of a URL.
fn source(from: &str) -> Result<PathBuf, Failure> {
    let path = from.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(Failure::local(format!("{} is no embedded store", plain(from)))
            .advise("Name its file or its folder:  --from sqlite:/var/lib/postern")),
    }
}

/// Rather one too many: what is taken for a password may as well stand in a file.
fn holds_a_password(url: &str) -> bool {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let written = behind_scheme.split_once('@').and_then(|(user, _)| user.split_once(':'));
    written.is_some_and(|(_, password)| !password.is_empty()) || url.contains("password=")
}

fn text(moved: &Moved) -> String {
    let mut text = Lines::default();
    let (from, to) = (plain(&moved.from.display().to_string()), plain(&moved.to));
    if moved.changed {
        text.add(format_args!("Moved {from} to {to}; all of it was read back and compared:"));
        let mut table = Table::new(&["TABLE", "ROWS", "SHA-256"]);
        for one in &moved.tables {
            let digest = one.digest.chars().take(SHORT).collect();
            table.row([one.table.to_owned(), one.rows.to_string(), digest]);
        }
        text.add(table.render());
        if let Some((place, sessions)) = &moved.vault {
            text.add(format_args!("{sessions} sessions and challenges are in {}", plain(place)));
        }
    } else {
        text.add(format_args!("Nothing to do: {to} holds all of {from} from an earlier run; nothing was changed"));
    }
    if let Some(behind) = moved.clock_behind {
        text.add(format_args!(
            "The clock of {to} is {} s behind this machine's: set it before a server starts, or new tokens are refused",
            behind.as_secs()
        ));
    }
    text.add("Next: start the servers on PostgreSQL, with the same master key and issuer, and none on the old file");
    text.finish()
}

fn value(moved: &Moved) -> serde_json::Value {
    let tables = moved.tables.iter().map(|one| json!({ "table": one.table, "rows": one.rows, "digest": one.digest }));
    json!({
        "from": moved.from.display().to_string(),
        "to": moved.to,
        "changed": moved.changed,
        "tables": tables.collect::<Vec<_>>(),
        "vault": moved.vault.as_ref().map(|(place, values)| json!({ "place": place, "values": values })),
        "clockBehindSeconds": moved.clock_behind.map(|behind| behind.as_secs()),
    })
}

fn failed(why: &MoveError) -> Failure {
    let failure = Failure::local(plain(&why.to_string()));
    match why {
        MoveError::Start(StartError::Locked { .. }) => {
            failure.advise("Stop it: what it wrote from now on would be lost")
        }
        MoveError::Start(why) => why.hints().into_iter().fold(failure, Failure::advise),
        MoveError::NoTarget => failure.advise(
            "Set [store.postgres] url, or name a file that holds the URL:  --to-file /run/secrets/postgres-url",
        ),
        MoveError::Older { path } => failure.advise(format!(
            "Start this version on it once, which brings it up to date:  postern --set store.sqlite.path={}",
            shell_word(&path.display().to_string())
        )),
        MoveError::Copy { why: CopyError::Outdated, .. } => failure
            .advise(
                "Whoever signed in there since has to sign in again: go on with PostgreSQL, and put the old file away",
            )
            .advise("Or begin anew, and lose what happened on PostgreSQL: an empty database, and this command again"),
        MoveError::Copy { why: CopyError::Other { .. } | CopyError::OtherMasterKey { .. }, .. } => {
            failure.advise("Name an empty database: createdb, then this command again")
        }
        MoveError::Copy { .. } | MoveError::Vault { .. } | MoveError::VaultDiffers { .. } => {
            failure.advise("Run it again: it takes up what is there")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_store_is_named_in_one_way() {
        for (from, path) in [
            ("sqlite:./data", "./data"),
            ("sqlite:/var/lib/postern/postern.db", "/var/lib/postern/postern.db"),
            ("sqlite:///var/lib/postern", "/var/lib/postern"),
        ] {
            assert_eq!(source(from).unwrap(), PathBuf::from(path));
        }
        for from in ["sqlite:", "./data", "postgres://127.0.0.1/postern"] {
            assert!(source(from).is_err(), "{from}");
        }
    }

    #[test]
    fn a_password_on_the_line_is_found() {
        for url in [
            "postgres://ann:secret@127.0.0.1:5432/postern",
            "postgres://ann:sec?ret@127.0.0.1/postern",
            "postgres://ann:12/secret@127.0.0.1/postern",
            "postgres://:secret@127.0.0.1/postern",
            "postgres://ann@127.0.0.1/postern?password=secret",
            "ann:secret@127.0.0.1/postern",
        ] {
            assert!(holds_a_password(url), "{url}");
        }
        for url in [
            "postgres://postgres@127.0.0.1:5432/postern?sslmode=verify-full",
            "postgres://127.0.0.1:5432/postern",
            "postgres://ann:@[::1]:5432/postern",
        ] {
            assert!(!holds_a_password(url), "{url}");
        }
    }
}
