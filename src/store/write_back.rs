//! What a verifier gives back to a store that was thrown back by a fail-over or a restore: revocations, floors and the
//! fence that were acknowledged and are gone. It can be done by every replica, any number of times.

use std::time::Duration;

use crate::domain::change::{EndedSession, PrincipalState, Revision};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::standing::{EndCause, Fence};
use crate::store::engine::query;
use crate::store::write::{Learn, Write};
use crate::store::{Store, StoreError, sql};

/// It may be much, and no call waits for it.
const WRITE_BACK_MAX: Duration = Duration::from_secs(15);

impl Store {
    /// Writes what is missing and raises what is lower; lowers nothing.
    pub async fn write_back(
        &self,
        sessions: &[EndedSession],
        floors: &[PrincipalState],
        fence: Fence,
    ) -> Result<Revision, StoreError> {
        let mut write = self.write().await?;
        write.connection().allow(WRITE_BACK_MAX);
        write.restore_fence(fence).await?;
        write.revoke(sessions).await?;
        for state in floors {
            if let PrincipalId::User(user) = state.id {
                write.restore_floor(user, state).await?;
            }
        }
        write.commit().await
    }
}

impl Write {
    async fn restore_fence(&mut self, known: Fence) -> Result<(), StoreError> {
        const RAISE: &str = "UPDATE feed SET fence = $1, fence_at = $2 WHERE fence < $1";
        let done = query(RAISE).bind(known.version).bind(known.at.micros()).execute(self.connection()).await?;
        if done.rows_affected() == 1 {
            self.stand_above(known.version);
            self.learn(Learn::Fence);
        }
        Ok(())
    }

    async fn restore_floor(&mut self, user: UserId, known: &PrincipalState) -> Result<(), StoreError> {
        const STORED: &str = "SELECT version, floor, state FROM users WHERE id = $1";
        let Some(row) = query(STORED).bind(user.uuid()).fetch_optional(self.connection()).await? else {
            return Ok(());
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
                return Ok(());
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
        Ok(())
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
