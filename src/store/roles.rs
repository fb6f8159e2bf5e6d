//! Roles that are not built in, one by one; `policy` replaces them all.

use uuid::Uuid;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::id::UserId;
use crate::domain::permission::Pattern;
use crate::domain::role::{Role, RoleFault, RoleId, check_roles};
use crate::store::engine::{Connection, Row, query, query_scalar};
use crate::store::write::{Learn, Write};
use crate::store::{Changed, Store, StoreError, sql};

#[derive(Debug, thiserror::Error)]
pub enum PutRoleError {
    #[error("the role has changed since")]
    StaleEtag,
    /// With this role, all roles together would be no policy.
    #[error(transparent)]
    Fault(#[from] RoleFault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteRoleError {
    #[error("{bindings} bindings give the role")]
    Bound { bindings: i64 },
    #[error("role `{by}` inherits it")]
    Inherited { by: RoleId },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// All roles but the built-in ones, and the version of the whole.
    pub async fn roles(&self) -> Result<(Vec<Role>, i64), StoreError> {
        let mut snapshot = self.reader.begin().await?;
        let (version, roles) = all(&mut snapshot).await?;
        snapshot.commit().await?;
        Ok((roles, version))
    }

    pub async fn role(&self, id: &RoleId) -> Result<Option<Role>, StoreError> {
        const GET: &str = "SELECT id, description, patterns, inherits, etag FROM roles WHERE id = $1";
        let row = query(GET).bind(id.as_str()).fetch_optional(&self.reader).await?;
        row.as_ref().map(role).transpose()
    }

    /// Creates or replaces a role; with an etag, only the role that has it. Answers it with its new etag.
    pub async fn put_role(
        &self,
        role: &Role,
        etag: Option<&str>,
        audit: &AuditEvent,
    ) -> Result<(Role, Revision), PutRoleError> {
        let mut write = self.write().await?;
        let (_, mut roles) = all(write.connection()).await?;
        let stored = roles.iter().position(|one| one.id == role.id).map(|index| roles.swap_remove(index));
        if etag.is_some_and(|etag| stored.as_ref().is_none_or(|stored| stored.etag != etag)) {
            return Err(PutRoleError::StaleEtag);
        }
        if let Some(stored) = stored
            && says_the_same(&stored, role)
        {
            return Ok((stored, write.commit().await?));
        }
        // Checked here with the others: two puts that are sound alone may make a cycle together.
        roles.push(role.clone());
        check_roles(&roles)?;
        let version = write.next_policy().await?;
        write.write_role(role, version).await?;
        write.audit(audit).await?;
        Ok((Role { etag: version.to_string(), ..role.clone() }, write.commit().await?))
    }

    /// Deletes a role that nobody has and none inherits; by `force`, takes it from them first.
    pub async fn delete_role(&self, id: &RoleId, force: bool, audit: &AuditEvent) -> Result<Changed, DeleteRoleError> {
        let mut write = self.write().await?;
        let (_, roles) = all(write.connection()).await?;
        if !roles.iter().any(|role| role.id == *id) {
            return Ok(Changed { changed: false, revision: write.commit().await? });
        }
        let heirs: Vec<&Role> = roles.iter().filter(|role| role.inherits.contains(id)).collect();
        if !force {
            let bindings = write.count_bindings(id).await?;
            if bindings > 0 {
                return Err(DeleteRoleError::Bound { bindings });
            }
            if let Some(heir) = heirs.first() {
                return Err(DeleteRoleError::Inherited { by: heir.id.clone() });
            }
        }
        let version = write.next_policy().await?;
        for heir in heirs {
            let inherits = heir.inherits.iter().filter(|parent| *parent != id).cloned().collect();
            write.write_role(&Role { inherits, ..heir.clone() }, version).await?;
        }
        write.remove_role(id).await?;
        write.audit(audit).await?;
        Ok(Changed { changed: true, revision: write.commit().await? })
    }
}

impl Write {
    /// Raises the version of the policy, which also marks the roles that it changes: a role that is deleted and made
    /// again never has an earlier etag.
    pub(super) async fn next_policy(&mut self) -> Result<i64, StoreError> {
        const RAISE: &str =
            concat!("UPDATE feed SET policy_version = ", raised!("policy_version"), " RETURNING policy_version");
        let least = self.now().millis();
        let version = query_scalar(RAISE).bind(least).fetch_one(self.connection()).await?;
        self.learn(Learn::Policy);
        Ok(version)
    }

    pub(super) async fn write_role(&mut self, role: &Role, etag: i64) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO roles (id, description, patterns, inherits, etag) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (id) DO UPDATE SET description = excluded.description, patterns = excluded.patterns, \
            inherits = excluded.inherits, etag = excluded.etag";
        query(PUT)
            .bind(role.id.as_str())
            .bind(role.description.as_str())
            .bind(json(role.patterns.iter().map(Pattern::as_str)))
            .bind(json(role.inherits.iter().map(RoleId::as_str)))
            .bind(etag)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Deletes a role and withdraws it from everybody.
    pub(super) async fn remove_role(&mut self, id: &RoleId) -> Result<(), StoreError> {
        const HOLDERS: &str = "SELECT DISTINCT user_id FROM bindings WHERE role = $1 AND user_id IS NOT NULL";
        const CLIENTS: &str = "SELECT DISTINCT client_id FROM bindings WHERE role = $1 AND client_id IS NOT NULL";
        const WITHDRAW: &str = "DELETE FROM bindings WHERE role = $1";
        const DELETE: &str = "DELETE FROM roles WHERE id = $1";
        let holders: Vec<Uuid> = query_scalar(HOLDERS).bind(id.as_str()).fetch_all(self.connection()).await?;
        for holder in holders {
            self.raise_roles(UserId::from_uuid(holder)).await?;
        }
        let clients: Vec<String> = query_scalar(CLIENTS).bind(id.as_str()).fetch_all(self.connection()).await?;
        for client in clients {
            self.raise_client(&sql::parse(&client, "a binding's client")?).await?;
        }
        query(WITHDRAW).bind(id.as_str()).execute(self.connection()).await?;
        query(DELETE).bind(id.as_str()).execute(self.connection()).await?;
        Ok(())
    }

    /// Those that have not ended.
    pub(super) async fn count_bindings(&mut self, role: &RoleId) -> Result<i64, StoreError> {
        const COUNT: &str = "SELECT count(*) FROM bindings WHERE role = $1 AND (expires_at IS NULL OR expires_at > $2)";
        let now = self.now().micros();
        Ok(query_scalar(COUNT).bind(role.as_str()).bind(now).fetch_one(self.connection()).await?)
    }
}

/// The policy's version and roles; the connection must be in a transaction.
pub(super) async fn all(connection: &mut Connection) -> Result<(i64, Vec<Role>), StoreError> {
    const VERSION: &str = "SELECT policy_version FROM feed";
    const LIST: &str = "SELECT id, description, patterns, inherits, etag FROM roles ORDER BY id";
    let version = query_scalar(VERSION).fetch_one(&mut *connection).await?;
    let rows = query(LIST).fetch_all(connection).await?;
    Ok((version, rows.iter().map(role).collect::<Result<_, _>>()?))
}

/// Etags aside.
pub(super) fn says_the_same(a: &Role, b: &Role) -> bool {
    a.id == b.id && a.description == b.description && a.patterns == b.patterns && a.inherits == b.inherits
}

fn role(row: &Row) -> Result<Role, StoreError> {
    let etag: i64 = row.try_get("etag")?;
    let patterns = texts(row.try_get("patterns")?)?;
    let inherits = texts(row.try_get("inherits")?)?;
    Ok(Role {
        id: sql::parse(row.try_get("id")?, "a role's id")?,
        description: row.try_get("description")?,
        patterns: patterns.iter().map(|text| sql::parse(text, "a role's pattern")).collect::<Result<_, _>>()?,
        inherits: inherits.iter().map(|text| sql::parse(text, "a role's parent")).collect::<Result<_, _>>()?,
        etag: etag.to_string(),
    })
}

fn json<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<serde_json::Value>().to_string()
}

fn texts(json: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Corrupt { what: "a role's list is not JSON", source: Some(error.into()) })
}

#[cfg(test)]
mod tests;
