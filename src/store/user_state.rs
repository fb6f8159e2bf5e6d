//! What ends a user's sessions or the user: disabling, deletion, a new password. And the rule that an administrator
//! remains.

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::{SessionId, UserId};
use crate::domain::standing::EndCause;
use crate::store::engine::{Connection, query, query_scalar};
use crate::store::write::{Learn, Write};
use crate::store::{Changed, Store, StoreError, sql};

/// The role without which nobody could administer any more.
const ADMINISTRATOR: &str = "postern.admin";

#[derive(Debug, thiserror::Error)]
pub enum ChangeUserError {
    #[error("there is no such user")]
    NotFound,
    #[error("nobody would be left who administers everything, everywhere, for good")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a person's own password stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The stored hash is not the one that was proven any more.
    #[error("the password was changed or hashed anew meanwhile")]
    Raced,
    /// Who asks has been signed out: a stolen token must not survive the change that was to end it.
    #[error("the session that asks has ended")]
    SessionIsDead,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A password that a person has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The user's, at and above which sessions live.
    pub version: i64,
    pub revision: Revision,
}

impl Store {
    /// How many active users hold `postern.admin` everywhere and for good.
    pub async fn administrators(&self) -> Result<i64, StoreError> {
        let mut connection = self.reader.acquire().await?;
        let count = administrators(&mut connection).await?;
        connection.commit().await?;
        Ok(count)
    }

    /// Ends all of the user's sessions and lets them sign in no more.
    pub async fn disable_user(&self, id: UserId, audit: &AuditEvent) -> Result<Changed, ChangeUserError> {
        let mut write = self.write().await?;
        if !write.is_active(id).await?.ok_or(ChangeUserError::NotFound)? {
            return Ok(Changed { changed: false, revision: write.commit().await? });
        }
        let before = administrators(write.connection()).await?;
        write.set_state(id, sql::DISABLED).await?;
        write.raise_floor(id, EndCause::UserDisabled, None).await?;
        if write.lost_the_last_administrator(before).await? {
            return Err(ChangeUserError::LastAdministrator);
        }
        write.audit(audit).await?;
        Ok(Changed { changed: true, revision: write.commit().await? })
    }

    pub async fn enable_user(&self, id: UserId, audit: &AuditEvent) -> Result<Changed, ChangeUserError> {
        let mut write = self.write().await?;
        let changed = !write.is_active(id).await?.ok_or(ChangeUserError::NotFound)?;
        if changed {
            // Nothing for the verifiers to learn: tokens from before stay below the floor.
            write.set_state(id, sql::ACTIVE).await?;
            write.audit(audit).await?;
        }
        Ok(Changed { changed, revision: write.commit().await? })
    }

    /// Deletes a user with all that is theirs. Revocations stay until their time, and the change tells verifiers that
    /// no token speaks for the user any more.
    pub async fn delete_user(&self, id: UserId, audit: &AuditEvent) -> Result<Changed, ChangeUserError> {
        const DELETE: &str = "DELETE FROM users WHERE id = $1";
        let mut write = self.write().await?;
        let before = administrators(write.connection()).await?;
        let done = query(DELETE).bind(id.uuid()).execute(write.connection()).await.map_err(StoreError::from)?;
        let changed = done.rows_affected() == 1;
        if changed {
            if write.lost_the_last_administrator(before).await? {
                return Err(ChangeUserError::LastAdministrator);
            }
            write.learn(Learn::User(id));
            write.audit(audit).await?;
        }
        Ok(Changed { changed, revision: write.commit().await? })
    }

    /// Sets a password and ends all sessions: whoever knew the old one is out. One that is `due` is asked to be changed
    /// at the next sign-in.
    pub async fn set_password(
        &self,
        id: UserId,
        hash: &str,
        due: bool,
        audit: &AuditEvent,
    ) -> Result<Revision, ChangeUserError> {
        let mut write = self.write().await?;
        if !write.raise_floor(id, EndCause::CredentialChanged, None).await? {
            return Err(ChangeUserError::NotFound);
        }
        write.put_password(id, hash, due).await?;
        write.touch(id).await?;
        write.audit(audit).await?;
        Ok(write.commit().await?)
    }

    /// Puts a person's own new password in the place of one that is due, and ends all sessions; `None` if it is not due
    /// any more, or if the user's sessions of `epoch` were ended meanwhile. So of many who hold the same permission to
    /// do this one does it, and none after a restored vault gave them that permission back.
    pub async fn renew_password(
        &self,
        id: UserId,
        epoch: i64,
        hash: &str,
        audit: &AuditEvent,
    ) -> Result<Option<Renewed>, StoreError> {
        const IS_DUE: &str = "SELECT count(*) FROM feed, users u JOIN passwords p ON p.user_id = u.id \
            WHERE u.id = $1 AND u.state = $2 AND u.floor <= $3 AND feed.fence <= $3 AND p.due";
        const VERSION: &str = "SELECT version FROM users WHERE id = $1";
        let mut write = self.write().await?;
        let due: i64 =
            query_scalar(IS_DUE).bind(id.uuid()).bind(sql::ACTIVE).bind(epoch).fetch_one(write.connection()).await?;
        if due == 0 {
            return Ok(None);
        }
        write.raise_floor(id, EndCause::CredentialChanged, None).await?;
        write.put_password(id, hash, false).await?;
        write.touch(id).await?;
        write.audit(audit).await?;
        let version = query_scalar(VERSION).bind(id.uuid()).fetch_one(write.connection()).await?;
        Ok(Some(Renewed { version, revision: write.commit().await? }))
    }

    /// Puts a person's own new password in the place of the one with the hash `proven`, and ends all sessions but the one that
    /// asks, with a token of this version. Of many changes at once, one is made.
    pub async fn change_password(
        &self,
        id: UserId,
        (session, version): (SessionId, i64),
        proven: Option<&str>,
        hash: &str,
        audit: &AuditEvent,
    ) -> Result<Revision, ChangePasswordError> {
        const HASH: &str = "SELECT hash FROM passwords WHERE user_id = $1";
        let mut write = self.write().await?;
        if write.is_alive(id, session, version).await? != Some(true) {
            return Err(ChangePasswordError::SessionIsDead);
        }
        let stored: Option<String> =
            query_scalar(HASH).bind(id.uuid()).fetch_optional(write.connection()).await.map_err(StoreError::from)?;
        if stored.as_deref() != proven {
            return Err(ChangePasswordError::Raced);
        }
        write.raise_floor(id, EndCause::CredentialChanged, Some(session)).await?;
        write.put_password(id, hash, false).await?;
        write.touch(id).await?;
        write.audit(audit).await?;
        Ok(write.commit().await?)
    }
}

impl Write {
    async fn is_active(&mut self, id: UserId) -> Result<Option<bool>, StoreError> {
        const STATE: &str = "SELECT state FROM users WHERE id = $1";
        let state: Option<String> = query_scalar(STATE).bind(id.uuid()).fetch_optional(self.connection()).await?;
        state.map(|state| sql::is_active(&state)).transpose()
    }

    pub(super) async fn set_state(&mut self, id: UserId, state: &str) -> Result<(), StoreError> {
        const SET: &str = "UPDATE users SET state = $2 WHERE id = $1";
        query(SET).bind(id.uuid()).bind(state).execute(self.connection()).await?;
        self.touch(id).await
    }

    async fn touch(&mut self, id: UserId) -> Result<(), StoreError> {
        const TOUCH: &str = "UPDATE users SET update_time = $2, etag = etag + 1 WHERE id = $1";
        let now = self.now().micros();
        query(TOUCH).bind(id.uuid()).bind(now).execute(self.connection()).await?;
        Ok(())
    }

    /// Whether this transaction took away the last of `before` administrators. Asked inside of it, or two who withdraw
    /// each other's role at once would both succeed.
    pub(super) async fn lost_the_last_administrator(&mut self, before: i64) -> Result<bool, StoreError> {
        Ok(before > 0 && administrators(self.connection()).await? == 0)
    }
}

pub(super) async fn administrators(connection: &mut Connection) -> Result<i64, StoreError> {
    const COUNT: &str = "SELECT count(*) FROM bindings b JOIN users u ON u.id = b.user_id \
        WHERE b.role = $1 AND b.tenant = '' AND b.expires_at IS NULL AND u.state = $2";
    Ok(query_scalar(COUNT).bind(ADMINISTRATOR).bind(sql::ACTIVE).fetch_one(connection).await?)
}

#[cfg(test)]
mod tests;
