//! Bindings: who holds which role, where, until when.

use uuid::Uuid;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::{ClientId, PrincipalId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId, built_in};
use crate::domain::time::Timestamp;
use crate::store::engine::{Connection, Query, Row, query, query_scalar};
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
    pub principal: PrincipalId,
    pub role: RoleId,
    pub scope: Scope,
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("there is no such user or client")]
    UnknownPrincipal,
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

/// What one kind of principal holds.
macro_rules! list_by {
    ($principal:literal) => {
        concat!(
            "SELECT user_id, client_id, role, tenant, expires_at, create_time, granted_by FROM bindings WHERE (",
            $principal,
            ", role, tenant) > ($2, $3, $4) AND ($5 IS NULL OR role = $5) AND ($6 IS NULL OR tenant = $6) AND ($7 IS NULL OR ",
            $principal,
            " = $7) AND (expires_at IS NULL OR expires_at > ",
            now!(),
            ") ORDER BY ",
            $principal,
            ", role, tenant LIMIT $8"
        )
    };
}

impl Store {
    /// Gives a role; given again with another end, it is the newer grant that stands.
    pub async fn grant(
        &self,
        principal: &PrincipalId,
        bound: &BoundRole,
        granted_by: &PrincipalId,
        audit: &AuditEvent,
    ) -> Result<(Binding, Revision), GrantError> {
        let mut write = self.write().await?;
        if !write.principal_exists(principal).await? {
            return Err(GrantError::UnknownPrincipal);
        }
        if !write.role_exists(&bound.role).await? {
            return Err(GrantError::UnknownRole);
        }
        if let Some(binding) = find(write.connection(), principal, bound).await?
            && binding.bound == *bound
        {
            return Ok((binding, write.commit().await?));
        }
        let before = administrators(write.connection()).await?;
        write.bind_role(principal, bound, Some(granted_by)).await?;
        write.raise_principal(principal).await?;
        if write.lost_the_last_administrator(before).await? {
            return Err(GrantError::LastAdministrator);
        }
        write.audit(audit).await?;
        let binding =
            find(write.connection(), principal, bound).await?.ok_or(StoreError::corrupt("a new binding is missing"))?;
        Ok((binding, write.commit().await?))
    }

    pub async fn withdraw(
        &self,
        principal: &PrincipalId,
        role: &RoleId,
        scope: &Scope,
        audit: &AuditEvent,
    ) -> Result<Changed, WithdrawError> {
        let mut write = self.write().await?;
        let before = administrators(write.connection()).await?;
        let changed = write.unbind_role(principal, role, scope).await?;
        if changed {
            if write.lost_the_last_administrator(before).await? {
                return Err(WithdrawError::LastAdministrator);
            }
            write.raise_principal(principal).await?;
            write.audit(audit).await?;
        }
        Ok(Changed { changed, revision: write.commit().await? })
    }

    /// Bindings that have not ended, in the order of their keys, those behind `after`: of users first, then of clients.
    pub async fn list_bindings(
        &self,
        filter: &BindingFilter,
        after: Option<&BindingKey>,
        limit: u32,
    ) -> Result<Vec<Binding>, StoreError> {
        const OF_USERS: &str = list_by!("user_id");
        const OF_CLIENTS: &str = list_by!("client_id");
        let mut bindings = Vec::new();
        let after_user = after.is_none_or(|key| matches!(key.principal, PrincipalId::User(_)));
        if after_user && !matches!(filter.principal, Some(PrincipalId::Client(_))) {
            let first = after.map_or(Uuid::nil(), |key| user_id(&key.principal).unwrap_or_default());
            let query = query(OF_USERS).bind(self.clock.offset_micros()).bind(first);
            let only = filter.principal.as_ref().and_then(user_id);
            let rows = bind_filter(query, filter, after).bind(only).bind(limit).fetch_all(&self.reader).await?;
            bindings = rows.iter().map(binding).collect::<Result<_, _>>()?;
        }
        let rest = limit.saturating_sub(u32::try_from(bindings.len()).unwrap_or(u32::MAX));
        if rest > 0 && !matches!(filter.principal, Some(PrincipalId::User(_))) {
            let after = after.filter(|_| !after_user);
            let first = after.map_or("", |key| client_id(&key.principal).unwrap_or_default());
            let query = query(OF_CLIENTS).bind(self.clock.offset_micros()).bind(first);
            let only = filter.principal.as_ref().and_then(client_id);
            let rows = bind_filter(query, filter, after).bind(only).bind(rest).fetch_all(&self.reader).await?;
            for row in &rows {
                bindings.push(binding(row)?);
            }
        }
        Ok(bindings)
    }
}

/// `$3` to `$6` of both listings.
fn bind_filter<'q>(query: Query<'q, Row>, filter: &'q BindingFilter, after: Option<&'q BindingKey>) -> Query<'q, Row> {
    query
        .bind(after.map_or("", |key| key.role.as_str()))
        .bind(after.map_or("", |key| sql::tenant(&key.scope)))
        .bind(filter.role.as_ref().map(RoleId::as_str))
        .bind(filter.scope.as_ref().map(sql::tenant))
}

/// The column for one kind of principal; the other is NULL, which equals nothing.
fn user_id(principal: &PrincipalId) -> Option<Uuid> {
    match principal {
        PrincipalId::User(user) => Some(user.uuid()),
        PrincipalId::Client(_) => None,
    }
}

fn client_id(principal: &PrincipalId) -> Option<&str> {
    match principal {
        PrincipalId::User(_) => None,
        PrincipalId::Client(client) => Some(client.as_str()),
    }
}

impl Write {
    /// The built-in ones are in no table.
    pub(super) async fn role_exists(&mut self, role: &RoleId) -> Result<bool, StoreError> {
        const EXISTS: &str = "SELECT count(*) FROM roles WHERE id = $1";
        if role.is_built_in() {
            return Ok(built_in().iter().any(|known| known.id == *role));
        }
        let count: i64 = query_scalar(EXISTS).bind(role.as_str()).fetch_one(self.connection()).await?;
        Ok(count == 1)
    }

    pub(super) async fn principal_exists(&mut self, principal: &PrincipalId) -> Result<bool, StoreError> {
        const USER: &str = "SELECT count(*) FROM users WHERE id = $1";
        match principal {
            PrincipalId::Client(client) => self.client_exists(client).await,
            PrincipalId::User(user) => {
                let count: i64 = query_scalar(USER).bind(user.uuid()).fetch_one(self.connection()).await?;
                Ok(count == 1)
            }
        }
    }

    pub(super) async fn bind_role(
        &mut self,
        principal: &PrincipalId,
        bound: &BoundRole,
        granted_by: Option<&PrincipalId>,
    ) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO bindings (user_id, client_id, role, tenant, expires_at, create_time, granted_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        // First, and not ON CONFLICT: a binding is unique by one of two columns, and PostgreSQL takes only one of them.
        self.unbind_role(principal, &bound.role, &bound.scope).await?;
        let now = self.now().micros();
        query(PUT)
            .bind(user_id(principal))
            .bind(client_id(principal))
            .bind(bound.role.as_str())
            .bind(sql::tenant(&bound.scope))
            .bind(bound.expires_at.map(Timestamp::micros))
            .bind(now)
            .bind(granted_by.map(ToString::to_string))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Whether it was bound.
    async fn unbind_role(&mut self, principal: &PrincipalId, role: &RoleId, scope: &Scope) -> Result<bool, StoreError> {
        const DELETE: &str =
            "DELETE FROM bindings WHERE (user_id = $1 OR client_id = $2) AND role = $3 AND tenant = $4";
        let done = query(DELETE)
            .bind(user_id(principal))
            .bind(client_id(principal))
            .bind(role.as_str())
            .bind(sql::tenant(scope))
            .execute(self.connection())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn raise_principal(&mut self, principal: &PrincipalId) -> Result<(), StoreError> {
        match principal {
            PrincipalId::User(user) => self.raise_roles(*user).await,
            PrincipalId::Client(client) => self.raise_client(client).await,
        }
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
        query(RAISE).bind(least).bind(user.uuid()).execute(self.connection()).await?;
        self.learn(Learn::User(user));
        Ok(())
    }
}

async fn find(
    connection: &mut Connection,
    principal: &PrincipalId,
    bound: &BoundRole,
) -> Result<Option<Binding>, StoreError> {
    const GET: &str = "SELECT user_id, client_id, role, tenant, expires_at, create_time, granted_by FROM bindings \
        WHERE (user_id = $1 OR client_id = $2) AND role = $3 AND tenant = $4";
    let row = query(GET)
        .bind(user_id(principal))
        .bind(client_id(principal))
        .bind(bound.role.as_str())
        .bind(sql::tenant(&bound.scope))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(binding).transpose()
}

fn binding(row: &Row) -> Result<Binding, StoreError> {
    let granted_by: Option<&str> = row.try_get("granted_by")?;
    let (user, client): (Option<Uuid>, Option<&str>) = (row.try_get("user_id")?, row.try_get("client_id")?);
    let principal = match (user, client) {
        (Some(user), _) => PrincipalId::User(UserId::from_uuid(user)),
        (None, Some(client)) => PrincipalId::Client(sql::parse::<ClientId>(client, "a binding's client")?),
        (None, None) => return Err(StoreError::corrupt("a binding of nobody")),
    };
    Ok(Binding {
        principal,
        bound: sql::bound_role(row)?.ok_or(StoreError::corrupt("a binding without a role"))?,
        create_time: sql::time(row, "create_time")?,
        granted_by: granted_by.map(|text| sql::parse(text, "who granted a role")).transpose()?,
    })
}

#[cfg(test)]
mod tests;
