//! The engines behind the server's back: what an operator at their console sees, and what a fault can do to them.

mod redis;
mod vault;

use std::path::Path;

use postern::domain::id::UserId;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, FromRow, SqliteConnection};
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::engines::Engines;
use redis::Redis;

/// Connections to the engines, as another process has them.
pub(crate) struct Database {
    sql: Sql,
    /// Where sessions are not in the store.
    redis: Option<Redis>,
}

enum Sql {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

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
            Engines::Postgres { url, prefix } => {
                let sql = Sql::Postgres(url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap());
                let redis = match prefix {
                    Some(prefix) => Some(Redis::connect(prefix).await),
                    None => None,
                };
                Self { sql, redis }
            }
        }
    }

    pub(crate) async fn in_file(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(5));
        Self { sql: Sql::Sqlite(options.connect().await.unwrap()), redis: None }
    }

    /// Runs a statement, which is the same for both engines, with `$1`.
    pub(crate) async fn run(&mut self, statement: &'static str, values: &[Value]) {
        match &mut self.sql {
            Sql::Sqlite(connection) => {
                bound!(sqlx::query(statement), values).execute(connection).await.unwrap();
            }
            Sql::Postgres(connection) => {
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
        match &mut self.sql {
            Sql::Sqlite(connection) => bound!(sqlx::query_as(question), values).fetch_all(connection).await,
            Sql::Postgres(connection) => bound!(sqlx::query_as(question), values).fetch_all(connection).await,
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
        let Sql::Postgres(connection) = &mut self.sql else { panic!("an embedded store is a file") };
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
        if let ("vault", Some(redis)) = (table, &self.redis) {
            return redis.values("").await.len().try_into().unwrap();
        }
        let count = match table {
            "revocations" => "SELECT count(*) FROM revocations",
            "users" => "SELECT count(*) FROM users",
            "vault" => "SELECT count(*) FROM vault WHERE kind <> 'bucket'",
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
