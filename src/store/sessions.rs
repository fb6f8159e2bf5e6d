//! The ends of sessions: revocations, the floors of generations, the fence. A session itself lives in the vault.

use std::collections::HashMap;

use crate::domain::audit::AuditEvent;
use crate::domain::change::{EndedSession, Revision};
use crate::domain::id::{SessionId, UserId};
use crate::domain::standing::{End, EndCause, Fence};
use crate::domain::time::Timestamp;
use crate::store::engine::{Row, built_query, query, query_scalar};
use crate::store::write::{Learn, Write};
use crate::store::{Store, StoreError, sql};

/// A statement has room for some thousand parameters.
const IDS_IN_ONE_STATEMENT: usize = 500;

/// What follows from `keep` of [`Store::end_all`].
#[derive(Debug, thiserror::Error)]
pub enum EndAllError {
    /// The session to be kept has itself ended: a stolen token must not save itself.
    #[error("the session to be kept has ended")]
    KeepIsDead,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Ends a session; `false` if it was ended before, which stays as it was.
    pub async fn end_session(&self, ended: &EndedSession, audit: &AuditEvent) -> Result<(bool, Revision), StoreError> {
        let (count, revision) = self.end_sessions(std::slice::from_ref(ended), audit).await?;
        Ok((count == 1, revision))
    }

    /// Ends sessions in one step; answers how many had not ended before.
    pub async fn end_sessions(
        &self,
        ended: &[EndedSession],
        audit: &AuditEvent,
    ) -> Result<(usize, Revision), StoreError> {
        let mut write = self.write().await?;
        let count = write.revoke(ended).await?;
        if count > 0 {
            write.audit(audit).await?;
        }
        Ok((count, write.commit().await?))
    }

    /// Ends all of a user's sessions, or all but one, which must be alive: not revoked, and the version of its token
    /// neither below the floor (unless it was kept the last time) nor below the fence. `None`: no such user.
    pub async fn end_all(
        &self,
        user: UserId,
        cause: EndCause,
        keep: Option<(SessionId, i64)>,
        audit: &AuditEvent,
    ) -> Result<Option<Revision>, EndAllError> {
        let mut write = self.write().await?;
        if let Some((session, version)) = keep {
            match write.is_alive(user, session, version).await? {
                None => return Ok(None),
                Some(false) => return Err(EndAllError::KeepIsDead),
                Some(true) => {}
            }
        }
        if !write.raise_floor(user, cause, keep.map(|(session, _)| session)).await? {
            return Ok(None);
        }
        write.audit(audit).await?;
        Ok(Some(write.commit().await?))
    }

    /// Ends everybody's sessions: no token or session from before counts any more.
    pub async fn raise_fence(&self, audit: &AuditEvent) -> Result<(Fence, Revision), StoreError> {
        // Above all versions too, or a user whose counter ran ahead would stand above it.
        const RAISE: &str = "UPDATE feed SET fence = (SELECT max(v) FROM (SELECT feed.fence + 1 AS v UNION ALL \
            SELECT $1 UNION ALL SELECT max(version) + 1 FROM users) AS candidates), fence_at = $2 RETURNING fence";
        let mut write = self.write().await?;
        let now = write.now();
        let version: i64 =
            query_scalar(RAISE).bind(now.millis()).bind(now.micros()).fetch_one(write.connection()).await?;
        write.learn(Learn::Fence);
        write.audit(audit).await?;
        Ok((Fence { version, at: now }, write.commit().await?))
    }

    /// A user's ended sessions, the newest sign-in first, those older than `before`.
    pub async fn ended_sessions(
        &self,
        user: UserId,
        before: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<EndedSession>, StoreError> {
        const LIST: &str = "SELECT user_id, session_id, cause, end_time, keep_until, summary FROM revocations \
            WHERE user_id = $1 AND session_id < $2 ORDER BY session_id DESC LIMIT $3";
        let before = before.map_or(uuid::Uuid::max(), SessionId::uuid);
        let rows = query(LIST).bind(user.uuid()).bind(before).bind(limit).fetch_all(&self.reader).await?;
        rows.iter().map(ended_session).collect()
    }

    /// Which of these sessions of a user are revoked, to be taken out of what the vault lists. Only these: somebody who
    /// signs in every minute has a hundred thousand revocations, and every sign-in asks.
    pub async fn revoked_among(
        &self,
        user: UserId,
        sessions: &[SessionId],
    ) -> Result<HashMap<SessionId, End>, StoreError> {
        const LIST: &str = "SELECT session_id, cause, end_time FROM revocations WHERE user_id = ";
        let mut revoked = HashMap::new();
        for sessions in sessions.chunks(IDS_IN_ONE_STATEMENT) {
            let places: Vec<String> = (2..sessions.len() + 2).map(|place| format!("${place}")).collect();
            let statement = format!("{LIST}$1 AND session_id IN ({})", places.join(", "));
            let query = built_query(statement).bind(user.uuid());
            let query = sessions.iter().fold(query, |query, session| query.bind(session.uuid()));
            let rows: Vec<(uuid::Uuid, String, i64)> = query.fetch_all(&self.reader).await?;
            for (session, cause, time) in rows {
                let end = End { cause: sql::cause(&cause)?, time: Timestamp::from_micros(time) };
                revoked.insert(SessionId::from_uuid(session), end);
            }
        }
        Ok(revoked)
    }

    /// Raises the lowest generation of a session that may still be answered; never lowers it.
    pub async fn write_generation_floor(
        &self,
        user: UserId,
        session: SessionId,
        generation: u32,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        const RAISE: &str = concat!(
            "INSERT INTO generation_floors (session_id, user_id, generation, at, keep_until) VALUES ($2, $3, $4, ",
            now!(),
            ", $5) ON CONFLICT (session_id) DO UPDATE SET generation = excluded.generation, at = excluded.at, \
             keep_until = excluded.keep_until WHERE excluded.generation > generation_floors.generation"
        );
        query(RAISE)
            .bind(self.clock.offset_micros())
            .bind(session.uuid())
            .bind(user.uuid())
            .bind(i64::from(generation))
            .bind(keep_until.micros())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

impl Write {
    /// Writes revocations where there are none; answers how many. Many in one statement: a thousand round trips to a server
    /// take longer than a call may.
    pub(super) async fn revoke(&mut self, ended: &[EndedSession]) -> Result<usize, StoreError> {
        const INSERT: &str =
            "INSERT INTO revocations (user_id, session_id, cause, end_time, keep_until, summary) VALUES ";
        const UNLESS_THERE: &str = " ON CONFLICT (user_id, session_id) DO NOTHING RETURNING user_id, session_id";
        let mut count = 0;
        for chunk in ended.chunks(IDS_IN_ONE_STATEMENT) {
            let statement = format!("{INSERT}{}{UNLESS_THERE}", sql::places(chunk.len(), 6));
            let query = chunk.iter().fold(built_query(statement), |query, one| {
                query
                    .bind(one.user.uuid())
                    .bind(one.session.uuid())
                    .bind(one.end.cause.name())
                    .bind(one.end.time.micros())
                    .bind(one.keep_until.micros())
                    .bind(one.summary.as_deref())
            });
            let new: Vec<(uuid::Uuid, uuid::Uuid)> = query.fetch_all(self.connection()).await?;
            count += new.len();
            for (user, session) in new {
                self.learn(Learn::Session(UserId::from_uuid(user), SessionId::from_uuid(session)));
            }
        }
        Ok(count)
    }

    /// Whether a session, by a token of this version, is alive. Judged in the transaction that rests on it, or it could die
    /// between the question and the answer. `None`: no such user.
    pub(super) async fn is_alive(
        &mut self,
        user: UserId,
        session: SessionId,
        version: i64,
    ) -> Result<Option<bool>, StoreError> {
        const IS_ALIVE: &str = "SELECT $3 >= feed.fence AND ($3 >= u.floor OR u.floor_except = $2) AND NOT EXISTS \
            (SELECT 1 FROM revocations r WHERE r.user_id = $1 AND r.session_id = $2) \
            FROM feed, users u WHERE u.id = $1";
        let alive: Option<Option<bool>> = query_scalar(IS_ALIVE)
            .bind(user.uuid())
            .bind(session.uuid())
            .bind(version)
            .fetch_optional(self.connection())
            .await?;
        // NULL, if there was no exemption to compare with, is a no.
        Ok(alive.map(|alive| alive == Some(true)))
    }

    /// Ends all of a user's sessions save one; `false`: no such user.
    pub(super) async fn raise_floor(
        &mut self,
        user: UserId,
        cause: EndCause,
        except: Option<SessionId>,
    ) -> Result<bool, StoreError> {
        const RAISE: &str = concat!(
            "UPDATE users SET version = ",
            raised!("version"),
            ", floor = ",
            raised!("version"),
            ", floor_at = $2, floor_cause = $3, floor_except = $4 WHERE id = $5"
        );
        let (least, now) = (self.least_version(), self.now());
        let done = query(RAISE)
            .bind(least)
            .bind(now.micros())
            .bind(cause.name())
            .bind(except.map(SessionId::uuid))
            .bind(user.uuid())
            .execute(self.connection())
            .await?;
        let found = done.rows_affected() == 1;
        if found {
            self.learn(Learn::User(user));
        }
        Ok(found)
    }
}

pub(super) fn ended_session(row: &Row) -> Result<EndedSession, StoreError> {
    Ok(EndedSession {
        user: UserId::from_uuid(row.try_get("user_id")?),
        session: SessionId::from_uuid(row.try_get("session_id")?),
        end: End { cause: sql::cause(row.try_get("cause")?)?, time: sql::time(row, "end_time")? },
        keep_until: sql::time(row, "keep_until")?,
        summary: row.try_get("summary")?,
    })
}

#[cfg(test)]
mod tests;
