//! The two engines behind one set of words: a statement is written once, with `$1`, and runs on SQLite and on PostgreSQL.
//!
//! What differs between them is here and in `open` and `connect`: how a transaction begins, how long an answer may take, and what becomes
//! of a connection whose caller went away. A value is a UUID, text, a 64-bit number, a truth or bytes, and nothing else, so
//! that a column means the same in both.

mod lease;
mod value;

pub(super) use lease::Manager;
pub(super) use value::Value;

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Decode, FromRow, Postgres, Row as _, Sqlite, SqliteConnection, Type};
use tokio::time::timeout_at;

use crate::store::engine::lease::{Lease, PostgresPool};
use crate::store::engine::value::{to_postgres, to_sqlite};

/// Whatever the server's default is, what was acknowledged is on disk, and on the synchronous standby if there is one. A lock
/// that somebody holds for longer than this is an outage, and a transaction that we have lost sight of must not hold up
/// those of others. All of it in one round trip, and for this transaction alone, since a pooler hands the connection to
/// others.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'; \
    SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Connections to one engine. Clones share them.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PostgresPool),
}

impl Pool {
    pub(super) fn postgres(manager: Manager, size: usize) -> Result<Self, sqlx::Error> {
        PostgresPool::new(manager, size).map(Self::Postgres)
    }

    /// For statements that each stand for themselves; [`Connection::commit`] ends them.
    pub(super) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(Box::new(SqliteLease::Plain(pool.acquire().await?))),
            Self::Postgres(pool) => {
                let mut lease = pool.lease().await?;
                // A statement with values takes two steps, and between these a pooler would hand the connection on.
                if !lease.keeps_statements() {
                    lease.begin(BEGIN_WRITE).await?;
                }
                Connection::Postgres(Box::new(lease))
            }
        })
    }

    /// A transaction that only reads, and sees one state of all tables.
    pub(super) async fn begin(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(Box::new(SqliteLease::Transaction(pool.begin().await?))),
            Self::Postgres(pool) => {
                let mut lease = pool.lease().await?;
                lease.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                Connection::Postgres(Box::new(lease))
            }
        })
    }

    /// A transaction that writes.
    pub(super) async fn begin_write(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => {
                // A plain BEGIN would fail when it turns from reading to writing beside another process.
                let transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                Connection::Sqlite(Box::new(SqliteLease::Transaction(transaction)))
            }
            Self::Postgres(pool) => {
                let mut lease = pool.lease().await?;
                lease.begin(BEGIN_WRITE).await?;
                Connection::Postgres(Box::new(lease))
            }
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close(),
        }
    }
}

/// A connection that is ours until it is dropped, perhaps in a transaction. Dropped without a commit, it leaves nothing.
pub(super) enum Connection {
    Sqlite(Box<SqliteLease>),
    Postgres(Box<Lease>),
}

pub(super) enum SqliteLease {
    Plain(PoolConnection<Sqlite>),
    Transaction(sqlx::Transaction<'static, Sqlite>),
}

impl SqliteLease {
    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Plain(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl Connection {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(lease) => match *lease {
                SqliteLease::Plain(_) => Ok(()),
                SqliteLease::Transaction(transaction) => transaction.commit().await,
            },
            Self::Postgres(lease) => lease.commit().await,
        }
    }

    /// Gives long work on PostgreSQL the time that it needs; a call is not waiting for it.
    pub(super) fn allow(&mut self, time: Duration) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(lease) => lease.allow(time),
        }
    }

    pub(super) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Which of the connections that this process has made to the server it is; the same for all of SQLite's.
    pub(super) fn birth(&self) -> u64 {
        match self {
            Self::Sqlite(_) => 0,
            Self::Postgres(lease) => lease.birth(),
        }
    }
}

/// A row of either engine.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn try_get<'r, T>(&'r self, column: &str) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

/// A statement with its values, and what becomes of its rows.
pub(super) struct Query<'q, T> {
    statement: Statement,
    values: Vec<Value<'q>>,
    read: fn(Row) -> Result<T, sqlx::Error>,
}

enum Statement {
    Fixed(&'static str),
    /// Placeholders only: values never get into it.
    Built(String),
}

/// Whole rows, whose columns are read by name.
pub(super) fn query<'q>(statement: &'static str) -> Query<'q, Row> {
    Query { statement: Statement::Fixed(statement), values: Vec::new(), read: Ok }
}

/// A statement whose number of placeholders is not known beforehand.
pub(super) fn built_query<'q, T: Columns>(statement: String) -> Query<'q, T> {
    Query { statement: Statement::Built(statement), values: Vec::new(), read: columns::<T> }
}

/// The same of whole rows.
pub(super) fn built_rows<'q>(statement: String) -> Query<'q, Row> {
    Query { statement: Statement::Built(statement), values: Vec::new(), read: Ok }
}

/// The first column.
pub(super) fn query_scalar<'q, T>(statement: &'static str) -> Query<'q, T>
where
    (T,): Columns,
{
    let read = |row| columns::<(T,)>(row).map(|(value,)| value);
    Query { statement: Statement::Fixed(statement), values: Vec::new(), read }
}

/// The columns in their order.
pub(super) fn query_as<'q, T: Columns>(statement: &'static str) -> Query<'q, T> {
    Query { statement: Statement::Fixed(statement), values: Vec::new(), read: columns::<T> }
}

/// A tuple that can be read from a row of either engine.
pub(super) trait Columns: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> {}

impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>> Columns for T {}

fn columns<T: Columns>(row: Row) -> Result<T, sqlx::Error> {
    match row {
        Row::Sqlite(row) => T::from_row(&row),
        Row::Postgres(row) => T::from_row(&row),
    }
}

/// Where a statement runs.
pub(super) enum On<'c> {
    Pool(&'c Pool),
    Connection(&'c mut Connection),
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        Self::Connection(connection)
    }
}

/// What a statement did.
pub(super) struct Done {
    rows_affected: u64,
}

impl Done {
    pub(super) fn rows_affected(&self) -> u64 {
        self.rows_affected
    }
}

impl<'q, T> Query<'q, T> {
    pub(super) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) async fn execute(self, on: impl Into<On<'_>>) -> Result<Done, sqlx::Error> {
        match on.into() {
            On::Connection(connection) => self.execute_on(connection).await,
            On::Pool(pool) => {
                let mut connection = pool.acquire().await?;
                let done = self.execute_on(&mut connection).await?;
                connection.commit().await?;
                Ok(done)
            }
        }
    }

    async fn execute_on(self, connection: &mut Connection) -> Result<Done, sqlx::Error> {
        let rows_affected = match connection {
            Connection::Sqlite(lease) => {
                to_sqlite(&self.statement, &self.values).execute(lease.connection()).await?.rows_affected()
            }
            Connection::Postgres(lease) => {
                let query = to_postgres(&self.statement, &self.values).persistent(lease.keeps_statements());
                let (session, until) = lease.asking()?;
                let answer = timeout_at(until, query.execute(session)).await;
                lease.answered(answer)?.rows_affected()
            }
        };
        Ok(Done { rows_affected })
    }

    /// Always all rows: only the step after the last one says whether a change was made.
    pub(super) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>, sqlx::Error> {
        match on.into() {
            On::Connection(connection) => self.fetch_on(connection).await,
            On::Pool(pool) => {
                let mut connection = pool.acquire().await?;
                let rows = self.fetch_on(&mut connection).await?;
                connection.commit().await?;
                Ok(rows)
            }
        }
    }

    async fn fetch_on(self, connection: &mut Connection) -> Result<Vec<T>, sqlx::Error> {
        match connection {
            Connection::Sqlite(lease) => {
                let rows = to_sqlite(&self.statement, &self.values).fetch_all(lease.connection()).await?;
                rows.into_iter().map(Row::Sqlite).map(self.read).collect()
            }
            Connection::Postgres(lease) => {
                let query = to_postgres(&self.statement, &self.values).persistent(lease.keeps_statements());
                let (session, until) = lease.asking()?;
                let answer = timeout_at(until, query.fetch_all(session)).await;
                lease.answered(answer)?.into_iter().map(Row::Postgres).map(self.read).collect()
            }
        }
    }

    pub(super) async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<T>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    pub(super) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }
}
