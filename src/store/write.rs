//! One transaction that changes something: it knows the time, stands in the line of all changes from its first statement on,
//! collects what verifiers must learn, and takes its place in the change log last.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::{SessionId, UserId};
use crate::domain::time::Timestamp;
use crate::store::engine::{Connection, built_query, query, query_as, query_scalar};
use crate::store::listen::CHANNEL;
use crate::store::{Store, StoreError, audit, sql};

/// Above so many changes at once, every verifier loads all of its state instead.
pub(super) const BULK: usize = 1_000;

/// A statement has room for some thousand parameters.
const ROWS_IN_ONE_STATEMENT: usize = 500;

/// What verifiers must learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Learn {
    Session(UserId, SessionId),
    User(UserId),
    Policy,
    Keys,
    Fence,
    Clients,
    Reload,
}

impl Learn {
    pub(super) const SESSION: &str = "session";
    pub(super) const USER: &str = "user";
    pub(super) const POLICY: &str = "policy";
    pub(super) const KEYS: &str = "keys";
    pub(super) const FENCE: &str = "fence";
    pub(super) const CLIENTS: &str = "clients";
    pub(super) const RELOAD: &str = "reload";

    const fn kind(self) -> &'static str {
        match self {
            Self::Session(..) => Self::SESSION,
            Self::User(_) => Self::USER,
            Self::Policy => Self::POLICY,
            Self::Keys => Self::KEYS,
            Self::Fence => Self::FENCE,
            Self::Clients => Self::CLIENTS,
            Self::Reload => Self::RELOAD,
        }
    }
}

/// A write transaction. Dropped without a commit, it leaves nothing.
pub(super) struct Write {
    transaction: Connection,
    now: Timestamp,
    /// Versions that a change makes are above this.
    above: i64,
    learn: BTreeSet<Learn>,
    committed: watch::Sender<i64>,
}

impl Store {
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        const NOW: &str = concat!("SELECT ", now!(), ", fence FROM feed");
        // On PostgreSQL, transactions that change something stand in line from here on, as SQLite has it: what they
        // judge (who administers, what is taken) holds until they commit, and the time is read when the turn has come.
        const NOW_IN_TURN: &str = concat!(
            "WITH turn AS MATERIALIZED (SELECT fence FROM feed WHERE id = 1 FOR UPDATE) SELECT ",
            now!(),
            ", fence FROM turn"
        );
        let mut transaction = self.writer.begin_write().await?;
        let statement = if transaction.is_postgres() { NOW_IN_TURN } else { NOW };
        let (now, fence): (i64, i64) =
            query_as(statement).bind(self.clock.offset_micros()).fetch_one(&mut transaction).await?;
        Ok(Write {
            transaction,
            now: Timestamp::from_micros(now),
            above: fence,
            learn: BTreeSet::new(),
            committed: self.committed.clone(),
        })
    }
}

impl Write {
    /// The database's time.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The lowest version that a change made now may have. Milliseconds, so that counters of a restored backup do not
    /// hand out again what later tokens already carry; above the fence, because tokens carry the greater of the two and
    /// must count as older than the change.
    pub(super) fn least_version(&self) -> i64 {
        self.now.millis().max(self.above.saturating_add(1))
    }

    /// From now on in this transaction, versions are above `version` too.
    pub(super) fn stand_above(&mut self, version: i64) {
        self.above = self.above.max(version);
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.transaction
    }

    /// Verifiers must learn this.
    pub(super) fn learn(&mut self, what: Learn) {
        self.learn.insert(what);
    }

    pub(super) async fn audit(&mut self, event: &AuditEvent) -> Result<(), StoreError> {
        audit::insert(self.connection(), std::slice::from_ref(event)).await
    }

    /// Commits; answers the change's place in the log, or the head if there is nothing to learn.
    pub(super) async fn commit(mut self) -> Result<Revision, StoreError> {
        const TAKE: &str = "UPDATE feed SET head = head + $1 RETURNING head";
        const APPEND: &str = "INSERT INTO changes (id, mark, at, kind, user_id, session_id) VALUES ";
        if self.learn.is_empty() {
            let head = head(self.connection()).await?;
            self.transaction.commit().await?;
            return Ok(head);
        }
        let learn = match self.learn.len() {
            0..=BULK => std::mem::take(&mut self.learn),
            _ => BTreeSet::from([Learn::Reload]),
        };
        let count = i64::try_from(learn.len()).unwrap_or(i64::MAX);
        let head: i64 = query_scalar(TAKE).bind(count).fetch_one(&mut self.transaction).await?;
        let rows: Vec<(i64, Learn)> = (head - count + 1..).zip(learn).collect();
        for chunk in rows.chunks(ROWS_IN_ONE_STATEMENT) {
            let mut query = built_query::<()>(format!("{APPEND}{}", sql::places(chunk.len(), 6)));
            for (id, what) in chunk {
                let (user, session) = match *what {
                    Learn::Session(user, session) => (Some(user), Some(session)),
                    Learn::User(user) => (Some(user), None),
                    Learn::Policy | Learn::Keys | Learn::Fence | Learn::Clients | Learn::Reload => (None, None),
                };
                query = query
                    .bind(*id)
                    .bind(mark()?)
                    .bind(self.now.micros())
                    .bind(what.kind())
                    .bind(user.map(UserId::uuid))
                    .bind(session.map(SessionId::uuid));
            }
            query.execute(&mut self.transaction).await?;
        }
        if self.transaction.is_postgres() {
            // Here and nowhere else, because it makes commits wait for each other, which these do anyway.
            const WAKE: &str = "SELECT pg_notify($1, '')";
            query(WAKE).bind(CHANNEL).execute(&mut self.transaction).await?;
        }
        self.transaction.commit().await?;
        // Of two commits, the later one may come here first.
        self.committed.send_modify(|known| *known = head.max(*known));
        Ok(Revision { id: head, at: self.now })
    }
}

/// The newest place in the log.
pub(super) async fn head(connection: &mut Connection) -> Result<Revision, StoreError> {
    const HEAD: &str = "SELECT id, at FROM changes ORDER BY id DESC LIMIT 1";
    let (id, at): (i64, i64) =
        query_as(HEAD).fetch_optional(connection).await?.ok_or(StoreError::corrupt("the change log is empty"))?;
    Ok(Revision { id, at: Timestamp::from_micros(at) })
}

fn mark() -> Result<Vec<u8>, StoreError> {
    let mut mark = vec![0; 8];
    aws_lc_rs::rand::fill(&mut mark).map_err(|error| StoreError::Unavailable { source: error.into() })?;
    Ok(mark)
}
