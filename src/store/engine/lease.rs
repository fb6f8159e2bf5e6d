//! Connections to PostgreSQL: made, lent for one piece of work, and given back clean or not at all.
//!
//! Whatever becomes of the server (away, silent behind a dead network, stopped), a piece of work ends in time: it waits a
//! bounded time for a connection and a bounded time for all its answers. A connection that has failed takes the idle ones
//! with it, because what ended one has mostly ended all; and one whose caller went away in the middle is put in order by a
//! task, or closed. Must not know what is asked.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use crate::budget;

/// All the work of a lease, if nobody asked for more and its call has as much left.
const ANSWERS_MAX: Duration = Duration::from_millis(1_600);
/// One answer, however long all of them may take. A server that is silent for so long is taken for gone.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Of it, how long for a connection that is free, or a new one.
const CONNECTION_MAX: Duration = Duration::from_millis(1_200);
/// A wait that was shorter says nothing of the server: the call had no more time left.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// How long an abandoned connection has to come to rest.
const CLEAN_UP_MAX: Duration = Duration::from_secs(1);
/// A connection that was idle for longer may be gone without a word.
const ASK_AFTER_IDLE: Duration = Duration::from_secs(30);
/// A silent one is not worth the time of whoever waits.
const PING_MAX: Duration = Duration::from_millis(300);
/// Then it is made anew, so that connections follow the server's address and its memory is freed.
const AGE_MAX: Duration = Duration::from_mins(30);

/// Makes connections.
pub(in crate::store) struct Manager {
    options: PgConnectOptions,
    /// Whether a connection stays the same from one transaction to the next; behind some poolers it does not.
    own_session: bool,
    births: AtomicU64,
    abandoned: Abandoned,
}

impl Manager {
    pub(in crate::store) fn new(options: PgConnectOptions, own_session: bool) -> Self {
        Self { options, own_session, births: AtomicU64::new(0), abandoned: Abandoned::default() }
    }
}

/// One connection to the server.
pub(in crate::store) struct Session {
    connection: PgConnection,
    birth: u64,
    backend: Option<Backend>,
}

/// A process of the server: its number, which is given again, and the microsecond of its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backend {
    pid: i32,
    began: i64,
}

/// Processes of the server whose answer nobody waited for. One that waits itself (for a lock, or a standby that is gone) does not
/// notice that its connection was closed; if each were left behind, they would soon be all that the server lets in.
#[derive(Default)]
struct Abandoned(Mutex<Vec<Backend>>);

impl Abandoned {
    /// More than a pool has; the rest ends by `statement_timeout`, or with the server.
    const MAX: usize = 1_000;

    fn lock(&self) -> MutexGuard<'_, Vec<Backend>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, backend: Option<Backend>) {
        let mut all = self.lock();
        if let Some(backend) = backend
            && all.len() < Self::MAX
        {
            all.push(backend);
        }
    }

    /// What ends them, on a connection that answers. What such a process had committed it had committed; that nobody was told.
    async fn end(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let all = std::mem::take(&mut *self.lock());
        if all.is_empty() {
            return Ok(());
        }
        // Numbers only. What began at another time, or as another role, is somebody else's by now.
        let rows: Vec<String> = all.iter().map(|Backend { pid, began }| format!("({pid}, {began}::bigint)")).collect();
        let statement = format!(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN (VALUES {}) AS gone (pid, began) \
             ON a.pid = gone.pid AND (extract(epoch FROM a.backend_start) * 1000000)::bigint = gone.began \
             WHERE a.usename = current_user",
            rows.join(", ")
        );
        let ended = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
        if ended.is_err() {
            self.lock().extend(all);
        }
        ended.map(drop)
    }
}

impl managed::Manager for Manager {
    type Type = Session;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Session, sqlx::Error> {
        const LOOK: &str = "SELECT pg_is_in_recovery()";
        const LOOK_AND_SET: &str = "SELECT pg_is_in_recovery(), (SELECT set_config('synchronous_commit', 'on', false) \
            WHERE current_setting('synchronous_commit') IN ('off', 'local')), pg_backend_pid(), \
            (SELECT (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity \
             WHERE pid = pg_backend_pid())";
        // Apart, because it is seldom, and as large as all the rest of a call.
        let mut connection = Box::pin(self.options.connect()).await?;
        // What a standby says may be old, and it takes no change. As one message, because of a pooler; and what a session
        // keeps, a statement outside of transactions needs: that it is on disk when it is acknowledged.
        let look = sqlx::raw_sql(if self.own_session { LOOK_AND_SET } else { LOOK });
        let row = look.fetch_one(&mut connection).await?;
        if row.try_get(0)? {
            return Err(sqlx::Error::Io(io::Error::other("the server is a standby")));
        }
        let mut backend = None;
        if self.own_session {
            if let Some(began) = row.try_get(3)? {
                backend = Some(Backend { pid: row.try_get(2)?, began });
            }
            self.abandoned.end(&mut connection).await?;
        }
        Ok(Session { connection, birth: self.births.fetch_add(1, Ordering::Relaxed) + 1, backend })
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > AGE_MAX {
            return Err(RecycleError::message("made anew from time to time"));
        }
        if metrics.last_used() > ASK_AFTER_IDLE {
            match timeout(PING_MAX, session.connection.ping()).await {
                Ok(answer) => answer?,
                Err(_elapsed) => return Err(RecycleError::message("silent")),
            }
        }
        Ok(())
    }
}

/// A bounded number of connections.
#[derive(Clone)]
pub(in crate::store) struct PostgresPool {
    pool: managed::Pool<Manager>,
    own_session: bool,
}

impl PostgresPool {
    pub(super) fn new(manager: Manager, size: usize) -> Result<Self, sqlx::Error> {
        let own_session = manager.own_session;
        let pool = managed::Pool::builder(manager)
            .max_size(size)
            .build()
            .map_err(|why| sqlx::Error::Configuration(why.into()))?;
        Ok(Self { pool, own_session })
    }

    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        let until = budget::until(ANSWERS_MAX);
        let object = match timeout_at(budget::until(CONNECTION_MAX), Box::pin(self.pool.get())).await {
            Ok(Ok(object)) => object,
            Ok(Err(PoolError::Backend(why))) => return Err(why),
            Ok(Err(PoolError::Closed)) => return Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        Ok(Lease {
            object: Some(object),
            pool: self.pool.clone(),
            own_session: self.own_session,
            until,
            in_transaction: false,
            asked: None,
            broken: false,
        })
    }

    /// Connections that there are, that of them are free, and that there may be.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let managed::Status { size, available, max_size, .. } = self.pool.status();
        (size, available, max_size)
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// A connection that is ours until it is dropped.
pub(in crate::store) struct Lease {
    /// Gone only while it is dropped.
    object: Option<Object<Manager>>,
    pool: managed::Pool<Manager>,
    own_session: bool,
    until: Instant,
    in_transaction: bool,
    /// Since when an answer is on its way.
    asked: Option<Instant>,
    broken: bool,
}

impl Lease {
    /// Whether the server may keep prepared statements by name for later.
    pub(super) fn keeps_statements(&self) -> bool {
        self.own_session
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub(super) fn birth(&self) -> u64 {
        self.object.as_ref().map_or(0, |object| object.birth)
    }

    pub(super) fn allow(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    /// The connection, and until when to wait for its answer, which goes to [`Lease::answered`].
    pub(super) fn asking(&mut self) -> Result<(&mut PgConnection, Instant), sqlx::Error> {
        if self.broken || self.asked.is_some() {
            return Err(sqlx::Error::Io(io::ErrorKind::NotConnected.into()));
        }
        let now = Instant::now();
        self.asked = Some(now);
        let object = self.object.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        Ok((&mut object.connection, self.until.min(now + ANSWER_MAX)))
    }

    pub(super) fn answered<T>(&mut self, answer: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, sqlx::Error> {
        let Ok(answer) = answer else {
            // What was waited for in short is still on its way, and may well come.
            self.broken |= self.asked.is_none_or(|asked| asked.elapsed() >= SILENT_AFTER);
            return Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
        };
        self.asked = None;
        if let Err(why) = &answer {
            self.broken |= breaks(why);
        }
        answer
    }

    pub(super) async fn begin(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        // From here on it may have begun, whatever we hear of it.
        self.in_transaction = true;
        self.say(statement).await
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        if !self.in_transaction {
            return Ok(());
        }
        let committed = self.say("COMMIT").await;
        self.in_transaction = committed.is_err();
        committed
    }

    async fn say(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let (connection, until) = self.asking()?;
        let answer = timeout_at(until, sqlx::raw_sql(statement).execute(connection)).await;
        self.answered(answer).map(drop)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        if self.broken {
            if self.asked.is_some() {
                self.pool.manager().abandoned.add(object.backend);
            }
            drop(Object::take(object));
            drop(self.pool.retain(|_session, _metrics| false));
            return;
        }
        if self.asked.is_none() && !self.in_transaction {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(Object::take(object));
            return;
        };
        let pool = self.pool.clone();
        // Of its own, because whoever would wait has gone; it lives for a second at most.
        drop(runtime.spawn(async move {
            let rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut object.connection);
            if !matches!(timeout(CLEAN_UP_MAX, rolled_back).await, Ok(Ok(_))) {
                pool.manager().abandoned.add(object.backend);
                drop(Object::take(object));
            }
        }));
    }
}

/// Whether nothing more is to be had of a connection that answered so.
fn breaks(why: &sqlx::Error) -> bool {
    match why {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // Connection exceptions, shutdown by the operator, a server that has become a standby, a transaction that
            // was idle for too long; https://www.postgresql.org/docs/current/errcodes-appendix.html
            code.starts_with("08") || code.starts_with("57P") || code == "25006" || code == "25P03"
        }),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}
