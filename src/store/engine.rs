//! The two engines behind one set of words: a statement is written once, with `$1`, and runs on SQLite and on PostgreSQL.
//!
//! What differs between them is here and in `open` and `connect`: how a transaction begins, how long an answer may take, and what becomes
//! of a connection whose caller went away. A value is a UUID, text, a 64-bit number, a truth or bytes, and nothing else, so
//! that a column means the same in both.

mod counts;
mod lease;
mod value;

pub use counts::StoreCounts;
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

const SQLITE: &str = "sqlite";
const POSTGRES: &str = "postgresql";

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Whatever the server's default is, what was acknowledged is on disk, and on the synchronous standby if there is one. A lock
/// that somebody holds for longer than this is an outage, and a transaction that we have lost sight of must not hold up
/// those of others. All of it in one round trip, and for this transaction alone, since a pooler hands the connection to
/// others.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'; \
    SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Connections to one engine. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    connections: Connections,
    counts: StoreCounts,
}

#[derive(Clone)]
enum Connections {
    Sqlite(SqlitePool),
    Postgres(PostgresPool),
}

impl Pool {
    pub(super) fn sqlite(pool: SqlitePool, counts: &StoreCounts) -> Self {
        Self { connections: Connections::Sqlite(pool), counts: counts.clone() }
    }

    pub(super) fn postgres(manager: Manager, size: usize, counts: &StoreCounts) -> Result<Self, sqlx::Error> {
        let pool = PostgresPool::new(manager, size)?;
        Ok(Self { connections: Connections::Postgres(pool), counts: counts.clone() })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.connections, Connections::Sqlite(_))
    }

    /// Connections that there are, that of them are free, and that there may be.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        match &self.connections {
            Connections::Sqlite(pool) => {
                let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
                (count(pool.size()), pool.num_idle(), count(pool.options().get_max_connections()))
            }
            Connections::Postgres(pool) => pool.size(),
        }
    }

    /// For statements that each stand for themselves; [`Connection::commit`] ends them.
    pub(super) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        match &self.connections {
            Connections::Sqlite(pool) => {
                let lease = self.counts.waited(pool.acquire()).await?;
                Ok(self.lent(Lent::Sqlite(Box::new(SqliteLease::Plain(lease)))))
            }
            Connections::Postgres(pool) => {
                let mut lease = self.counts.waited(pool.lease()).await?;
                // A statement with values takes two steps, and between these a pooler would hand the connection on.
                if !lease.keeps_statements() {
                    self.counts.ran(POSTGRES, BEGIN_WRITE, lease.begin(BEGIN_WRITE)).await?;
                }
                Ok(self.lent(Lent::Postgres(Box::new(lease))))
            }
        }
    }

    /// A transaction that only reads, and sees one state of all tables.
    pub(super) async fn begin(&self) -> Result<Connection, sqlx::Error> {
        match &self.connections {
            Connections::Sqlite(pool) => {
                let transaction = self.counts.waited(pool.begin()).await?;
                Ok(self.lent(Lent::Sqlite(Box::new(SqliteLease::Transaction(transaction)))))
            }
            Connections::Postgres(pool) => {
                let mut lease = self.counts.waited(pool.lease()).await?;
                self.counts.ran(POSTGRES, BEGIN_READ, lease.begin(BEGIN_READ)).await?;
                Ok(self.lent(Lent::Postgres(Box::new(lease))))
            }
        }
    }

    /// A transaction that writes.
    pub(super) async fn begin_write(&self) -> Result<Connection, sqlx::Error> {
        match &self.connections {
            Connections::Sqlite(pool) => {
                // A plain BEGIN would fail when it turns from reading to writing beside another process.
                let transaction = self.counts.waited(pool.begin_with("BEGIN IMMEDIATE")).await?;
                Ok(self.lent(Lent::Sqlite(Box::new(SqliteLease::Transaction(transaction)))))
            }
            Connections::Postgres(pool) => {
                let mut lease = self.counts.waited(pool.lease()).await?;
                self.counts.ran(POSTGRES, BEGIN_WRITE, lease.begin(BEGIN_WRITE)).await?;
                Ok(self.lent(Lent::Postgres(Box::new(lease))))
            }
        }
    }

    fn lent(&self, lent: Lent) -> Connection {
        Connection { lent, counts: self.counts.clone() }
    }

    pub(super) async fn close(&self) {
        match &self.connections {
            Connections::Sqlite(pool) => pool.close().await,
            Connections::Postgres(pool) => pool.close(),
        }
    }
}

/// A connection that is ours until it is dropped, perhaps in a transaction. Dropped without a commit, it leaves nothing.
pub(super) struct Connection {
    lent: Lent,
    counts: StoreCounts,
}

enum Lent {
    Sqlite(Box<SqliteLease>),
    Postgres(Box<Lease>),
}

enum SqliteLease {
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
        const COMMIT: &str = "COMMIT";
        let counts = self.counts;
        match self.lent {
            Lent::Sqlite(lease) => match *lease {
                SqliteLease::Plain(_) => Ok(()),
                SqliteLease::Transaction(transaction) => counts.ran(SQLITE, COMMIT, transaction.commit()).await,
            },
            Lent::Postgres(lease) if lease.is_in_transaction() => counts.ran(POSTGRES, COMMIT, lease.commit()).await,
            Lent::Postgres(lease) => lease.commit().await,
        }
    }

    /// Gives long work on PostgreSQL the time that it needs; a call is not waiting for it.
    pub(super) fn allow(&mut self, time: Duration) {
        match &mut self.lent {
            Lent::Sqlite(_) => {}
            Lent::Postgres(lease) => lease.allow(time),
        }
    }

    pub(super) fn is_postgres(&self) -> bool {
        matches!(self.lent, Lent::Postgres(_))
    }

    /// Which of the connections that this process has made to the server it is; the same for all of SQLite's.
    pub(super) fn birth(&self) -> u64 {
        match &self.lent {
            Lent::Sqlite(_) => 0,
            Lent::Postgres(lease) => lease.birth(),
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

impl Statement {
    fn text(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Built(text) => text,
        }
    }
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
        let Connection { lent, counts } = connection;
        let text = self.statement.text();
        let rows_affected = match lent {
            Lent::Sqlite(lease) => {
                let query = to_sqlite(&self.statement, &self.values);
                counts.ran(SQLITE, text, query.execute(lease.connection())).await?.rows_affected()
            }
            Lent::Postgres(lease) => {
                let query = to_postgres(&self.statement, &self.values).persistent(lease.keeps_statements());
                let asked = async {
                    let (session, until) = lease.asking()?;
                    let answer = timeout_at(until, query.execute(session)).await;
                    lease.answered(answer)
                };
                counts.ran(POSTGRES, text, asked).await?.rows_affected()
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
        let Connection { lent, counts } = connection;
        let text = self.statement.text();
        match lent {
            Lent::Sqlite(lease) => {
                let query = to_sqlite(&self.statement, &self.values);
                let rows = counts.ran(SQLITE, text, query.fetch_all(lease.connection())).await?;
                rows.into_iter().map(Row::Sqlite).map(self.read).collect()
            }
            Lent::Postgres(lease) => {
                let query = to_postgres(&self.statement, &self.values).persistent(lease.keeps_statements());
                let asked = async {
                    let (session, until) = lease.asking()?;
                    let answer = timeout_at(until, query.fetch_all(session)).await;
                    lease.answered(answer)
                };
                counts.ran(POSTGRES, text, asked).await?.into_iter().map(Row::Postgres).map(self.read).collect()
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
