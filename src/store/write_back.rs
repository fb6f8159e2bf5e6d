//! What a verifier gives back to a store that was thrown back by a fail-over or a restore: revocations, floors and the
//! fence that were acknowledged and are gone. It can be done by every replica, any number of times.

use std::time::Duration;

use crate::domain::change::{EndedSession, PrincipalState};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::standing::{EndCause, Fence};
use crate::store::engine::query;
use crate::store::write::{Learn, Write};
use crate::store::{Store, StoreError, sql};

/// How much goes into one transaction. A store that was set back by an hour may lack thousands, and neither the time of
/// one transaction nor the patience of others who wait for it would do for them.
const AT_ONCE: usize = 20;
/// Each row takes up to four answers. Over a slow line that is longer than a call may take, and nobody calls.
const TRANSACTION_MAX: Duration = Duration::from_secs(10);

impl Store {
    /// Writes what is missing and raises what is lower; lowers nothing. Answers how much it wrote. Stopped in the middle, it
    /// has done a part, and does the rest when it is called again.
    pub async fn write_back(
        &self,
        sessions: &[EndedSession],
        states: &[PrincipalState],
        fence: Fence,
    ) -> Result<usize, StoreError> {
        let mut write = self.write().await?;
        let mut written = usize::from(write.restore_fence(fence).await?);
        write.commit().await?;
        for sessions in sessions.chunks(AT_ONCE) {
            let mut write = self.write().await?;
            write.connection().allow(TRANSACTION_MAX);
            written += write.revoke(sessions).await?;
            write.commit().await?;
        }
        for states in states.chunks(AT_ONCE) {
            let mut write = self.write().await?;
            write.connection().allow(TRANSACTION_MAX);
            for state in states {
                if let PrincipalId::User(user) = state.id {
                    written += usize::from(write.restore_state(user, state).await?);
                }
            }
            write.commit().await?;
        }
        Ok(written)
    }
}

impl Write {
    async fn restore_fence(&mut self, known: Fence) -> Result<bool, StoreError> {
        const RAISE: &str = "UPDATE feed SET fence = $1, fence_at = $2 WHERE fence < $1";
        let done = query(RAISE).bind(known.version).bind(known.at.micros()).execute(self.connection()).await?;
        let is_raised = done.rows_affected() == 1;
        if is_raised {
            self.stand_above(known.version);
            self.learn(Learn::Fence);
        }
        Ok(is_raised)
    }

    /// Whether anything was lost.
    async fn restore_state(&mut self, user: UserId, known: &PrincipalState) -> Result<bool, StoreError> {
        const STORED: &str = "SELECT version, floor, state FROM users WHERE id = $1";
        let Some(row) = query(STORED).bind(user.uuid()).fetch_optional(self.connection()).await? else {
            return Ok(false);
        };
        let (version, floor): (i64, i64) = (row.try_get("version")?, row.try_get("floor")?);
        let active = sql::is_active(row.try_get("state")?)?;
        let was_deleted = known.floor.version == i64::MAX;
        if was_deleted || (floor < known.floor.version && known.floor.cause == EndCause::UserDisabled) {
            // The disabling or the deletion is lost too. Disabled is the state from which an operator can go either way.
            if active {
                self.set_state(user, sql::DISABLED).await?;
                self.raise_floor(user, EndCause::UserDisabled, None).await?;
            }
            if was_deleted {
                return Ok(active);
            }
        }
        if floor < known.floor.version {
            self.put_back_floor(user, known).await?;
        }
        if version < known.version {
            // Above what was handed out; and whatever roles those tokens name, the store no longer knows who gave them.
            self.stand_above(known.version);
            self.raise_roles(user).await?;
        }
        Ok(floor < known.floor.version || version < known.version)
    }

    async fn put_back_floor(&mut self, user: UserId, known: &PrincipalState) -> Result<(), StoreError> {
        const RAISE: &str = "UPDATE users SET floor = $2, floor_at = $3, floor_cause = $4, floor_except = $5 \
            WHERE id = $1 AND floor < $2";
        query(RAISE)
            .bind(user.uuid())
            .bind(known.floor.version)
            .bind(known.floor.at.micros())
            .bind(known.floor.cause.name())
            .bind(known.floor.except.map(SessionId::uuid))
            .execute(self.connection())
            .await?;
        self.learn(Learn::User(user));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
