//! Bindings: who holds which role, where, until when.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId, built_in};
use crate::domain::time::Timestamp;
use crate::store::user_state::administrators;
use crate::store::write::{Learn, Write};
use crate::store::{Changed, Store, StoreError, sql};

/// A role given to a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub principal: PrincipalId,
    pub bound: BoundRole,
    pub create_time: Timestamp,
    /// `None`: the server itself, at its first start.
    pub granted_by: Option<PrincipalId>,
}

/// Which bindings to list; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct BindingFilter {
    pub principal: Option<PrincipalId>,
    pub role: Option<RoleId>,
    pub scope: Option<Scope>,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingKey {
    pub user: UserId,
    pub role: RoleId,
    pub scope: Scope,
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("there is no such user")]
    UnknownUser,
    #[error("there is no such role")]
    UnknownRole,
    #[error("nobody would be left who administers everything, everywhere, for good")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    #[error("nobody would be left who administers everything, everywhere, for good")]
    LastAdministrator,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Gives a user a role; given again with another end, it is the newer grant that stands.
    pub async fn grant(
        &self,
        user: UserId,
        bound: &BoundRole,
        granted_by: &PrincipalId,
        audit: &AuditEvent,
    ) -> Result<(Binding, Revision), GrantError> {
        const EXISTS: &str = "SELECT count(*) FROM users WHERE id = $1";
        let mut write = self.write().await?;
        let users: i64 = sqlx::query_scalar(EXISTS)
            .bind(user.uuid())
            .fetch_one(write.connection())
            .await
            .map_err(StoreError::from)?;
        if users == 0 {
            return Err(GrantError::UnknownUser);
        }
        if !write.role_exists(&bound.role).await? {
            return Err(GrantError::UnknownRole);
        }
        if let Some(binding) = find(write.connection(), user, bound).await?
            && binding.bound == *bound
        {
            return Ok((binding, write.commit().await?));
        }
        let before = administrators(write.connection()).await?;
        write.bind_role(user, bound, Some(granted_by)).await?;
        write.raise_roles(user).await?;
        if write.lost_the_last_administrator(before).await? {
            return Err(GrantError::LastAdministrator);
        }
        write.audit(audit).await?;
        let binding =
            find(write.connection(), user, bound).await?.ok_or(StoreError::corrupt("a new binding is missing"))?;
        Ok((binding, write.commit().await?))
    }

    pub async fn withdraw(
        &self,
        user: UserId,
        role: &RoleId,
        scope: &Scope,
        audit: &AuditEvent,
    ) -> Result<Changed, WithdrawError> {
        const DELETE: &str = "DELETE FROM bindings WHERE user_id = $1 AND role = $2 AND tenant = $3";
        let mut write = self.write().await?;
        let before = administrators(write.connection()).await?;
        let done = sqlx::query(DELETE)
            .bind(user.uuid())
            .bind(role.as_str())
            .bind(sql::tenant(scope))
            .execute(write.connection())
            .await
            .map_err(StoreError::from)?;
        let changed = done.rows_affected() == 1;
        if changed {
            if write.lost_the_last_administrator(before).await? {
                return Err(WithdrawError::LastAdministrator);
            }
            write.raise_roles(user).await?;
            write.audit(audit).await?;
        }
        Ok(Changed { changed, revision: write.commit().await? })
    }

    /// Bindings that have not ended, in the order of their keys, those behind `after`.
    pub async fn list_bindings(
        &self,
        filter: &BindingFilter,
        after: Option<&BindingKey>,
        limit: u32,
    ) -> Result<Vec<Binding>, StoreError> {
        const LIST: &str = concat!(
            "SELECT user_id, role, tenant, expires_at, create_time, granted_by FROM bindings \
             WHERE (user_id, role, tenant) > ($2, $3, $4) AND ($5 IS NULL OR user_id = $5) \
             AND ($6 IS NULL OR role = $6) AND ($7 IS NULL OR tenant = $7) \
             AND (expires_at IS NULL OR expires_at > ",
            now!(),
            ") ORDER BY user_id, role, tenant LIMIT $8"
        );
        let user = match &filter.principal {
            None => None,
            Some(PrincipalId::User(user)) => Some(user.uuid()),
            // Bound in memory, as configured.
            Some(PrincipalId::Client(_)) => return Ok(Vec::new()),
        };
        let rows = sqlx::query(LIST)
            .bind(self.clock.offset_micros())
            .bind(after.map_or(Uuid::nil(), |key| key.user.uuid()))
            .bind(after.map_or("", |key| key.role.as_str()))
            .bind(after.map_or("", |key| sql::tenant(&key.scope)))
            .bind(user)
            .bind(filter.role.as_ref().map(RoleId::as_str))
            .bind(filter.scope.as_ref().map(sql::tenant))
            .bind(limit)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(binding).collect()
    }
}

impl Write {
    /// The built-in ones are in no table.
    pub(super) async fn role_exists(&mut self, role: &RoleId) -> Result<bool, StoreError> {
        const EXISTS: &str = "SELECT count(*) FROM roles WHERE id = $1";
        if role.is_built_in() {
            return Ok(built_in().iter().any(|known| known.id == *role));
        }
        let count: i64 = sqlx::query_scalar(EXISTS).bind(role.as_str()).fetch_one(self.connection()).await?;
        Ok(count == 1)
    }

    pub(super) async fn bind_role(
        &mut self,
        user: UserId,
        bound: &BoundRole,
        granted_by: Option<&PrincipalId>,
    ) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO bindings (user_id, role, tenant, expires_at, create_time, granted_by) \
            VALUES ($1, $2, $3, $4, $5, $6) \
            ON CONFLICT (user_id, role, tenant) DO UPDATE SET expires_at = excluded.expires_at, \
            create_time = excluded.create_time, granted_by = excluded.granted_by";
        let now = self.now().micros();
        sqlx::query(PUT)
            .bind(user.uuid())
            .bind(bound.role.as_str())
            .bind(sql::tenant(&bound.scope))
            .bind(bound.expires_at.map(Timestamp::micros))
            .bind(now)
            .bind(granted_by.map(ToString::to_string))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// From here on, older tokens of the user are judged by what the feed says of their roles.
    pub(super) async fn raise_roles(&mut self, user: UserId) -> Result<(), StoreError> {
        const RAISE: &str = concat!(
            "UPDATE users SET version = ",
            raised!("version"),
            ", roles_at = ",
            raised!("version"),
            " WHERE id = $2"
        );
        let least = self.least_version();
        sqlx::query(RAISE).bind(least).bind(user.uuid()).execute(self.connection()).await?;
        self.learn(Learn::User(user));
        Ok(())
    }
}

async fn find(
    connection: &mut SqliteConnection,
    user: UserId,
    bound: &BoundRole,
) -> Result<Option<Binding>, StoreError> {
    const GET: &str = "SELECT user_id, role, tenant, expires_at, create_time, granted_by FROM bindings \
        WHERE user_id = $1 AND role = $2 AND tenant = $3";
    let row = sqlx::query(GET)
        .bind(user.uuid())
        .bind(bound.role.as_str())
        .bind(sql::tenant(&bound.scope))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(binding).transpose()
}

fn binding(row: &SqliteRow) -> Result<Binding, StoreError> {
    let granted_by: Option<&str> = row.try_get("granted_by")?;
    Ok(Binding {
        principal: PrincipalId::User(UserId::from_uuid(row.try_get("user_id")?)),
        bound: sql::bound_role(row)?.ok_or(StoreError::corrupt("a binding without a role"))?,
        create_time: sql::time(row, "create_time")?,
        granted_by: granted_by.map(|text| sql::parse(text, "who granted a role")).transpose()?,
    })
}

#[cfg(test)]
mod tests;
