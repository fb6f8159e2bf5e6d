//! Opening the embedded database: what is there is looked at before anything is written, so that a file that is not ours
//! stays as it is.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteError, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::engine::{Pool, StoreCounts};
use crate::store::migrations::{self, Schema, newest};
use crate::store::{Engine, Store};

/// "PSTN", in the header of the file: tells our databases from those of other programs.
const APPLICATION_ID: u32 = 0x5053_544E;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_LEN: usize = 100;
const APPLICATION_ID_AT: usize = 68;

/// A connection that is not free in this time is not coming: shed load rather than queue it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long another program may hold the file. With the wait for a connection before it 2 s: an outage is told within
/// that time, and before any call's deadline, which would tell nothing.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Nobody else should have the file open at start.
const CHECK_BUSY_TIMEOUT: Duration = Duration::from_millis(500);
const READERS: u32 = 4;
/// Files up to this size are read through at start, which takes some milliseconds.
const QUICK_CHECK_BYTES_MAX: u64 = 32 << 20;

// Result codes (https://www.sqlite.org/rescode.html), without their extensions.
const SQLITE_BUSY: i32 = 5;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// Why the store does not open; says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot read {path}; check that it is a file and that this user may read and write it")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a database; move it away, or choose another data directory")]
    NotADatabase { path: PathBuf },
    #[error("{path} belongs to another program; choose another data directory")]
    Foreign { path: PathBuf },
    #[error("{path} is damaged ({what}); restore it from a backup, then run `postern admin fence`")]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path} has schema {found} and this version knows {known}; start the newer version again, or restore a backup"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{path} was migrated by another build (migration {version} differs); start that build again")]
    OtherBuild { path: PathBuf, version: i64 },
    #[error("{path} is in use by another program; stop it first")]
    InUse { path: PathBuf },
    #[error("cannot write {path}; check the free space, and that this user may write the file and its folder")]
    Unwritable {
        path: PathBuf,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Store {
    /// Opens a database that is there and up to date; `None` if there is none, or another version made it: whoever only
    /// looks must not migrate what a server runs on.
    pub async fn open_existing(path: &Path, clock: Clock) -> Result<Option<Self>, OpenError> {
        match look(path)? {
            Found::Database { len } if check(path, len).await? == newest() => Self::open(path, clock).await.map(Some),
            Found::Database { .. } | Found::Nothing => Ok(None),
        }
    }

    /// Opens the database at `path`, makes it if there is none, and brings it up to date.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let mut found = look(path)?;
        if matches!(found, Found::Database { .. }) && rollback_journal(path).exists() {
            roll_back(path).await?;
            found = look(path)?;
        }
        let applied = match found {
            Found::Database { len } => check(path, len).await?,
            Found::Nothing => {
                create(path).await?;
                0
            }
        };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(
                options(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A revocation that was acknowledged survives a power failure.
                    .synchronous(SqliteSynchronous::Full),
            )
            .await
            .map_err(|error| unusable(path, error))?;
        migrations::sqlite()
            .run(&writer)
            .await
            .map_err(|error| OpenError::Unwritable { path: path.to_owned(), source: error.into() })?;
        prove_writable(&writer).await.map_err(|error| unusable(path, error))?;
        let counts = StoreCounts::default();
        Ok(Self {
            writer: Pool::sqlite(writer, &counts),
            reader: Pool::sqlite(readers(path, READERS).await?, &counts),
            follower: Pool::sqlite(readers(path, 1).await?, &counts),
            counts,
            clock,
            committed: watch::Sender::new(0),
            followed: Arc::default(),
            engine: Engine::Sqlite,
            created: applied == 0,
            schema_version: newest(),
        })
    }
}

impl Store {
    /// Proves that no other process has the database open, by asking for all of it for a moment.
    pub async fn prove_unused(path: &Path) -> Result<(), OpenError> {
        let options = options(path).busy_timeout(CHECK_BUSY_TIMEOUT).locking_mode(SqliteLockingMode::Exclusive);
        let mut connection = options.connect().await.map_err(|error| unusable(path, error))?;
        let alone = sqlx::raw_sql("BEGIN EXCLUSIVE; ROLLBACK").execute(&mut connection).await;
        connection.close().await.map_err(|error| unusable(path, error))?;
        alone.map(drop).map_err(|error| unusable(path, error))
    }

    /// The schema of the database at `path`, if there is one; read only, so that a start can be judged beforehand.
    pub async fn inspect(path: &Path) -> Result<Option<i64>, OpenError> {
        match look(path)? {
            Found::Nothing => Ok(None),
            Found::Database { len } => check(path, len).await.map(Some),
        }
    }
}

async fn readers(path: &Path, count: u32) -> Result<SqlitePool, OpenError> {
    SqlitePoolOptions::new()
        .max_connections(count)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        // Not opened read-only: such a connection cannot restore the index of the write-ahead log.
        .connect_with(options(path).pragma("query_only", "ON"))
        .await
        .map_err(|error| unusable(path, error))
}

enum Found {
    Nothing,
    Database { len: u64 },
}

/// Reads the header with plain file operations: SQLite itself may write as soon as it opens a file.
fn look(path: &Path) -> Result<Found, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    // Asked before opening, because opening a pipe would wait for its writer.
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_file() {
        return Err(unreadable(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    // A first start that was killed before SQLite wrote anything.
    if metadata.len() == 0 {
        return Ok(Found::Nothing);
    }
    let mut header = [0; HEADER_LEN];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(OpenError::NotADatabase { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    }
    if !header.starts_with(MAGIC) {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let id = header.get(APPLICATION_ID_AT..).and_then(|rest| rest.first_chunk());
    if id.is_none_or(|bytes| u32::from_be_bytes(*bytes) != APPLICATION_ID) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(Found::Database { len: metadata.len() })
}

/// Makes the file, for this user alone (SQLite gives its companions the same mode), and marks it as ours before it
/// turns to write-ahead logging, so that the mark is in the file itself whenever we are killed.
async fn create(path: &Path) -> Result<(), OpenError> {
    let io_error = |source: io::Error| OpenError::Unwritable { path: path.to_owned(), source: source.into() };
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io_error)?;
    let options = options(path).pragma("application_id", APPLICATION_ID.to_string());
    let connection = options.connect().await.map_err(|error| unusable(path, error))?;
    connection.close().await.map_err(|error| unusable(path, error))
}

/// A first start that was killed before it turned to write-ahead logging leaves one; a connection that may only read
/// could not open the database beside it.
fn rollback_journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// Opening the database undoes the transaction that was cut short, down to an empty file if it was the first one.
async fn roll_back(path: &Path) -> Result<(), OpenError> {
    const TOUCH: &str = "SELECT count(*) FROM sqlite_schema";
    let options = options(path).busy_timeout(CHECK_BUSY_TIMEOUT);
    let mut connection = options.connect().await.map_err(|error| unusable(path, error))?;
    let touched = sqlx::query(TOUCH).execute(&mut connection).await;
    connection.close().await.map_err(|error| unusable(path, error))?;
    touched.map(drop).map_err(|error| unusable(path, error))
}

/// Reads the schema version (0: none) and, if the file is small, all of it.
async fn check(path: &Path, len: u64) -> Result<i64, OpenError> {
    let options = options(path).read_only(true).busy_timeout(CHECK_BUSY_TIMEOUT);
    let mut connection = options.connect().await.map_err(|error| unusable(path, error))?;
    let result = inspect(path, len, &mut connection).await;
    connection.close().await.map_err(|error| unusable(path, error))?;
    result
}

async fn inspect(path: &Path, len: u64, connection: &mut SqliteConnection) -> Result<i64, OpenError> {
    const MIGRATED: &str = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let unusable = |error| unusable(path, error);
    let migrated: i64 = sqlx::query_scalar(MIGRATED).fetch_one(&mut *connection).await.map_err(unusable)?;
    let applied: Vec<(i64, Vec<u8>)> = match migrated {
        0 => Vec::new(),
        _ => sqlx::query_as(APPLIED).fetch_all(&mut *connection).await.map_err(unusable)?,
    };
    let found = match migrations::judge(&migrations::sqlite(), &applied) {
        Schema::Known(found) => found,
        Schema::Newer(found) => return Err(OpenError::Newer { path: path.to_owned(), found, known: newest() }),
        Schema::Other(version) => return Err(OpenError::OtherBuild { path: path.to_owned(), version }),
    };
    if len <= QUICK_CHECK_BYTES_MAX {
        let report: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(unusable)?;
        if report != "ok" {
            let what = report.lines().last().unwrap_or_default().to_owned();
            return Err(OpenError::Damaged { path: path.to_owned(), what });
        }
    }
    Ok(found)
}

/// SQLite opens a file that it may only read without a word, and would refuse the first sign-in instead of the start.
async fn prove_writable(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("UPDATE feed SET head = head").execute(&mut *transaction).await?;
    transaction.rollback().await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).foreign_keys(true).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

/// What a failure at start means to the operator.
fn unusable(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    let code = error.as_database_error().and_then(primary_code);
    match code {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => OpenError::Damaged { path, what: error.to_string() },
        Some(SQLITE_BUSY) => OpenError::InUse { path },
        _ => OpenError::Unwritable { path, source: error.into() },
    }
}

/// Whether either engine says that what it keeps is damaged.
pub(super) fn is_damage(error: &dyn DatabaseError) -> bool {
    let in_file = matches!(primary_code(error), Some(SQLITE_CORRUPT | SQLITE_NOTADB));
    in_file || matches!(error.code().as_deref(), Some("XX001" | "XX002"))
}

/// The low byte of SQLite's extended result code.
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<SqliteError>()?;
    Some(error.code()?.parse::<i32>().ok()? & 0xFF)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::StoreError;
    use crate::store::engine::{query, query_scalar};
    use crate::store::testing::{Engine, Scratch};

    /// Opens a file that must be refused, and proves that nobody touched it or its folder.
    async fn refused(path: &Path) -> OpenError {
        let before = fs::read(path).unwrap();
        let error = Store::open(path, Clock::default()).await.err().expect("refused");
        assert_eq!(fs::read(path).unwrap(), before);
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && !text.contains('\n'), "{text}");
        error
    }

    async fn foreign(path: &Path, statement: &'static str) {
        let mut connection = options(path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_new_file_is_private_and_known_again() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        assert!(scratch.store.created());
        assert_eq!(scratch.store.schema_version(), 6);
        scratch.execute("INSERT INTO settings VALUES ('a', 'b')").await;
        for file in fs::read_dir(scratch.path().parent().unwrap()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let scratch = scratch.reopened().await;
        assert!(!scratch.store.created());
        assert_eq!(scratch.store.setting("a").await.unwrap().as_deref(), Some("b"));
        scratch.store.ping().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_on_the_disk() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        let mut connection = scratch.store.writer.acquire().await.unwrap();
        let mode: String = query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        let synchronous: i64 = query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap();
        let foreign_keys: i64 = query_scalar("PRAGMA foreign_keys").fetch_one(&mut connection).await.unwrap();
        assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        let refused = query("DELETE FROM feed").execute(&scratch.store.reader).await;
        assert!(matches!(refused.map_err(StoreError::from), Err(StoreError::Unavailable { .. })));
    }

    /// Somebody makes a backup, or looks into the file and forgets it.
    #[tokio::test]
    async fn a_file_that_others_hold_is_an_outage_and_no_long_wait() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        let mut other = options(&scratch.path()).connect().await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let refused = tokio::time::timeout(Duration::from_secs(3), scratch.store.write()).await.expect("within 2 s");
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
        other.close().await.unwrap();
        assert!(scratch.store.write().await.is_ok());
    }

    #[tokio::test]
    async fn a_start_that_was_killed_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postern.db");
        fs::write(&path, b"").unwrap();
        assert!(Store::open(&path, Clock::default()).await.unwrap().created());

        let path = folder.path().join("marked.db");
        create(&path).await.unwrap();
        assert!(Store::open(&path, Clock::default()).await.unwrap().created());
    }

    /// A transaction on a file of 500 small rows that is cut short: the pages that did not fit into the cache are in the
    /// file, and what was there before is in the journal.
    async fn cut_short(path: &Path, before: &'static str) {
        const WORK: &str = "BEGIN; CREATE TABLE t (v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
            WHERE i < 500) INSERT INTO t SELECT randomblob(500) FROM n;";
        let made = path.with_added_extension("made");
        let mut connection = options(&made).create_if_missing(true).pragma("cache_size", "1").connect().await.unwrap();
        sqlx::raw_sql(before).execute(&mut connection).await.unwrap();
        sqlx::raw_sql(WORK).execute(&mut connection).await.unwrap();
        fs::copy(&made, path).unwrap();
        fs::copy(rollback_journal(&made), rollback_journal(path)).unwrap();
    }

    #[tokio::test]
    async fn a_start_that_was_killed_within_a_transaction_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        // Of the transaction that makes the first page, its journal says that there was no page before.
        let first = folder.path().join("first.db");
        cut_short(&first, "").await;
        fs::remove_file(&first).unwrap();
        let marked = folder.path().join("marked.db");
        create(&marked).await.unwrap();
        fs::rename(marked, &first).unwrap();
        let later = folder.path().join("later.db");
        cut_short(&later, "PRAGMA application_id = 0x5053544E").await;
        for path in [first, later] {
            assert!(matches!(look(&path).unwrap(), Found::Database { .. }) && rollback_journal(&path).exists());
            let store = Store::open(&path, Clock::default()).await.unwrap();
            assert!(store.created());
            store.close().await;
            let store = Store::open(&path, Clock::default()).await.unwrap();
            assert!(!store.created(), "known again");
            store.close().await;
        }
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);

        fs::write(path("text"), "SQLite".repeat(100)).unwrap();
        assert!(matches!(refused(&path("text")).await, OpenError::NotADatabase { .. }));
        fs::write(path("short"), MAGIC).unwrap();
        assert!(matches!(refused(&path("short")).await, OpenError::NotADatabase { .. }));
        foreign(&path("foreign"), "CREATE TABLE users (id)").await;
        assert!(matches!(refused(&path("foreign")).await, OpenError::Foreign { .. }));
        fs::create_dir(path("folder")).unwrap();
        let folder_error = Store::open(&path("folder"), Clock::default()).await.err().unwrap();
        assert!(matches!(folder_error, OpenError::Unreadable { .. }));
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let pipe = Store::open(&path("pipe"), Clock::default()).await.err().unwrap();
        assert!(matches!(pipe, OpenError::Unreadable { .. }));
        let nowhere = Store::open(&path("nowhere/postern.db"), Clock::default()).await.err().unwrap();
        assert!(matches!(nowhere, OpenError::Unwritable { .. }));
    }

    #[tokio::test]
    async fn a_newer_or_other_schema_is_left_alone() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        scratch.execute("UPDATE _sqlx_migrations SET checksum = x'00'").await;
        scratch.store.close().await;
        assert!(matches!(refused(&scratch.path()).await, OpenError::OtherBuild { version: 1, .. }));

        let scratch = Scratch::new(Engine::Sqlite).await;
        scratch
            .execute(
                "INSERT INTO _sqlx_migrations SELECT 7, 'x', installed_on, 1, x'', 0 FROM _sqlx_migrations LIMIT 1",
            )
            .await;
        scratch.store.close().await;
        assert!(
            matches!(refused(&scratch.path()).await, OpenError::Newer { found: 7, known, .. } if known == newest())
        );
    }

    #[tokio::test]
    async fn a_damaged_file_is_left_alone() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        scratch.store.close().await;
        let whole = fs::read(scratch.path()).unwrap();
        for damage in [whole.len() / 4, whole.len() / 2] {
            let mut bytes = whole.clone();
            bytes[damage..damage + 4096].fill(0xA5);
            fs::write(scratch.path(), &bytes).unwrap();
            assert!(matches!(refused(&scratch.path()).await, OpenError::Damaged { .. }));
            fs::write(scratch.path(), &whole[..damage]).unwrap();
            assert!(matches!(refused(&scratch.path()).await, OpenError::Damaged { .. }));
        }
        fs::write(scratch.path(), whole).unwrap();
        Store::open(&scratch.path(), Clock::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_another_program_holds_is_refused() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        scratch.store.close().await;
        let mut holder = options(&scratch.path()).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE feed SET head = head")
            .execute(&mut holder)
            .await
            .unwrap();
        assert!(matches!(refused(&scratch.path()).await, OpenError::InUse { .. }));
        holder.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_at_run_time_is_unavailable() {
        let scratch = Scratch::new(Engine::Sqlite).await;
        scratch.execute("PRAGMA max_page_count = 1").await;
        let big = "x".repeat(1 << 20);
        assert!(matches!(scratch.store.fix_setting("big", &big).await, Err(StoreError::Unavailable { .. })));
        scratch.store.close().await;
        assert!(matches!(scratch.store.ping().await, Err(StoreError::Unavailable { .. })));
    }
}
