//! The engines behind the server's back: what an operator at their console sees, and what a fault can do to them.

use std::path::Path;

use postern::domain::id::UserId;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, FromRow, SqliteConnection};
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::engines::Engines;

/// A second connection to the database, as another process has it.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A session's record, as the vault keeps it.
pub(crate) type Record = (Vec<u8>, i64);

/// A challenge's record: partition and value.
pub(crate) type Challenge = (String, Vec<u8>);

/// What a statement is given.
pub(crate) enum Value {
    Uuid(Uuid),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

macro_rules! values {
    ($($from:ty => |$value:ident| $into:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        })*
    };
}

values! {
    Uuid => |value| Self::Uuid(value);
    UserId => |value| Self::Uuid(value.uuid());
    i64 => |value| Self::Number(value);
    &str => |value| Self::Text(value.to_owned());
    &[u8] => |value| Self::Bytes(value.to_owned());
}

/// A tuple that can be read from a row of either engine.
pub(crate) trait Columns: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Columns for T {}

macro_rules! bound {
    ($query:expr, $values:expr) => {
        $values.iter().fold($query, |query, value| match value {
            Value::Uuid(uuid) => query.bind(*uuid),
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.as_str()),
            Value::Bytes(bytes) => query.bind(bytes.as_slice()),
        })
    };
}

impl Database {
    pub(crate) async fn of(engines: &Engines) -> Self {
        match engines {
            Engines::Sqlite { file } => Self::in_file(file).await,
            Engines::Postgres { url } => {
                Self::Postgres(url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap())
            }
        }
    }

    pub(crate) async fn in_file(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(5));
        Self::Sqlite(options.connect().await.unwrap())
    }

    /// Runs a statement, which is the same for both engines, with `$1`.
    pub(crate) async fn run(&mut self, statement: &'static str, values: &[Value]) {
        match self {
            Self::Sqlite(connection) => {
                bound!(sqlx::query(statement), values).execute(connection).await.unwrap();
            }
            Self::Postgres(connection) => {
                bound!(sqlx::query(statement), values).execute(connection).await.unwrap();
            }
        }
    }

    /// All of them or none, as one that commits at once.
    pub(crate) async fn run_all(&mut self, statements: &[(&'static str, &[Value])]) {
        self.run("BEGIN", &[]).await;
        for (statement, values) in statements {
            self.run(statement, values).await;
        }
        self.run("COMMIT", &[]).await;
    }

    pub(crate) async fn rows<T: Columns>(&mut self, question: &'static str, values: &[Value]) -> Vec<T> {
        match self {
            Self::Sqlite(connection) => bound!(sqlx::query_as(question), values).fetch_all(connection).await,
            Self::Postgres(connection) => bound!(sqlx::query_as(question), values).fetch_all(connection).await,
        }
        .unwrap()
    }

    pub(crate) async fn row<T: Columns>(&mut self, question: &'static str, values: &[Value]) -> T {
        self.rows(question, values).await.pop().unwrap()
    }

    async fn number(&mut self, question: &'static str, values: &[Value]) -> i64 {
        self.row::<(i64,)>(question, values).await.0
    }

    async fn texts(&mut self, question: &'static str, values: &[Value]) -> Vec<String> {
        self.rows::<(String,)>(question, values).await.into_iter().map(|(text,)| text).collect()
    }

    /// All tables of a server with their bytes.
    pub(crate) async fn tables(&mut self) -> Vec<(String, Vec<u8>)> {
        let all = "SELECT table_name::text FROM information_schema.tables \
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name";
        let names = self.texts(all, &[]).await;
        let Self::Postgres(connection) = self else { panic!("an embedded store is a file") };
        let mut tables = Vec::new();
        for name in names {
            // Texts and bytes as they are, where the form for people has them in hexadecimal.
            let copy = format!("COPY {name} TO STDOUT (FORMAT binary)");
            let mut content = Vec::new();
            let mut parts = connection.copy_out_raw(&copy).await.unwrap();
            while let Some(part) = parts.next().await {
                content.extend_from_slice(&part.unwrap());
            }
            drop(parts);
            tables.push((format!("table {name}"), content));
        }
        tables
    }

    pub(crate) async fn count(&mut self, table: &'static str) -> i64 {
        let count = match table {
            "revocations" => "SELECT count(*) FROM revocations",
            "users" => "SELECT count(*) FROM users",
            "vault" => "SELECT count(*) FROM vault",
            "changes" => "SELECT count(*) FROM changes",
            "audit" => "SELECT count(*) FROM audit",
            other => panic!("{other}"),
        };
        self.number(count, &[]).await
    }

    /// All password hashes.
    pub(crate) async fn hashes(&mut self) -> Vec<String> {
        self.texts("SELECT hash FROM passwords ORDER BY user_id", &[]).await
    }

    pub(crate) async fn hash_of(&mut self, user: UserId) -> String {
        self.row::<(String,)>("SELECT hash FROM passwords WHERE user_id = $1", &[user.into()]).await.0
    }

    /// How often something happened, as the audit log has it.
    pub(crate) async fn audited(&mut self, kind: &str) -> i64 {
        self.number("SELECT count(*) FROM audit WHERE kind = $1", &[kind.into()]).await
    }

    /// The same, once the writer behind the queue has written it.
    pub(crate) async fn audited_at_last(&mut self, kind: &str) -> i64 {
        for _ in 0..100 {
            let count = self.audited(kind).await;
            if count > 0 {
                return count;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        0
    }

    /// What happened, and who did it.
    pub(crate) async fn actors(&mut self) -> Vec<(String, String)> {
        self.rows("SELECT kind, coalesce(actor, '') FROM audit ORDER BY time", &[]).await
    }

    /// The causes of all revocations of a user.
    pub(crate) async fn causes(&mut self, user: UserId) -> Vec<String> {
        self.texts("SELECT cause FROM revocations WHERE user_id = $1 ORDER BY cause", &[user.into()]).await
    }

    /// Where the change log stands.
    pub(crate) async fn head(&mut self) -> i64 {
        self.number("SELECT head FROM feed", &[]).await
    }
}

/// The vault.
impl Database {
    pub(crate) async fn record(&mut self, session: &str) -> Record {
        let get = "SELECT value, expires_at FROM vault WHERE kind = 'session' AND key = $1";
        self.row(get, &[session.into()]).await
    }

    /// Throws a session back to an earlier record, or puts one back that was removed.
    pub(crate) async fn put_record(&mut self, user: UserId, session: &str, record: &Record) {
        let put = "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ('session', $1, $2, $3, $4) \
            ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        let partition = user.to_string();
        self.run(put, &[partition.as_str().into(), session.into(), record.0.as_slice().into(), record.1.into()]).await;
    }

    pub(crate) async fn lose_record(&mut self, session: &str) {
        self.run("DELETE FROM vault WHERE key = $1", &[session.into()]).await;
    }

    pub(crate) async fn sessions_of(&mut self, user: UserId) -> i64 {
        let count = "SELECT count(*) FROM vault WHERE kind = 'session' AND partition = $1";
        let partition = user.to_string();
        self.number(count, &[partition.as_str().into()]).await
    }

    pub(crate) async fn challenges(&mut self) -> Vec<Challenge> {
        self.rows("SELECT partition, value FROM vault WHERE kind = 'challenge'", &[]).await
    }

    /// The same for a challenge.
    pub(crate) async fn put_challenge(&mut self, (partition, value): &Challenge) {
        let put = "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ('challenge', $1, 'challenge', $2, $3) \
            ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value";
        self.run(put, &[partition.as_str().into(), value.as_slice().into(), i64::MAX.into()]).await;
    }

    /// What FLUSHALL does.
    pub(crate) async fn flush(&mut self) {
        self.run("DELETE FROM vault", &[]).await;
    }
}
