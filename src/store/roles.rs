//! Roles that are not built in, one by one; `policy` replaces them all.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::domain::permission::Pattern;
use crate::domain::role::{Role, RoleId};
use crate::store::{Store, StoreError, sql};

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
        let row = sqlx::query(GET).bind(id.as_str()).fetch_optional(&self.reader).await?;
        row.as_ref().map(role).transpose()
    }
}

/// The policy's version and roles; the connection must be in a transaction.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<(i64, Vec<Role>), StoreError> {
    const VERSION: &str = "SELECT policy_version FROM feed";
    const LIST: &str = "SELECT id, description, patterns, inherits, etag FROM roles ORDER BY id";
    let version = sqlx::query_scalar(VERSION).fetch_one(&mut *connection).await?;
    let rows = sqlx::query(LIST).fetch_all(connection).await?;
    Ok((version, rows.iter().map(role).collect::<Result<_, _>>()?))
}

fn role(row: &SqliteRow) -> Result<Role, StoreError> {
    let etag: i64 = row.try_get("etag")?;
    let patterns: Vec<Pattern> = texts(row.try_get("patterns")?)?
        .iter()
        .map(|text| sql::parse(text, "a role's pattern"))
        .collect::<Result<_, _>>()?;
    let inherits: Vec<RoleId> = texts(row.try_get("inherits")?)?
        .iter()
        .map(|text| sql::parse(text, "a role's parent"))
        .collect::<Result<_, _>>()?;
    Ok(Role {
        id: sql::parse(row.try_get("id")?, "a role's id")?,
        description: row.try_get("description")?,
        patterns,
        inherits,
        etag: etag.to_string(),
    })
}

fn texts(json: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Corrupt { what: "a role's list is not JSON", source: Some(error.into()) })
}
