//! What statements share: fragments of SQL, and how columns become values.

use std::str::FromStr;

use crate::domain::id::{SessionId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;
use crate::domain::standing::{EndCause, Fence, Floor, Owner};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::engine::Row;

/// The database's time in microseconds, once for the whole statement; `$1` is the clock's offset, zero outside tests.
macro_rules! now {
    () => {
        "((SELECT clock.now FROM clock) + $1)"
    };
}

/// A counter of `users` one higher, or `$1`, the lowest version that a change may have now, if that is more.
macro_rules! raised {
    ($counter:literal) => {
        concat!("CASE WHEN ", $counter, " >= $1 THEN ", $counter, " + 1 ELSE $1 END")
    };
}

/// A user `u` as far as tokens are concerned, with one of the bindings `b` in each row.
macro_rules! owner_columns {
    () => {
        "u.id AS user_id, u.state, u.version, u.roles_at, u.floor, u.floor_at, u.floor_cause, u.floor_except, \
         u.external_id, b.role, b.tenant, b.expires_at"
    };
}

/// The bindings of `u` that have not ended.
macro_rules! join_bindings {
    () => {
        concat!("LEFT JOIN bindings b ON b.user_id = u.id AND (b.expires_at IS NULL OR b.expires_at > ", now!(), ")")
    };
}

pub(super) const ACTIVE: &str = "active";
pub(super) const DISABLED: &str = "disabled";

/// `($1, $2), ($3, $4), …`: placeholders for so many rows of so many columns.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

pub(super) fn time(row: &Row, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

pub(super) fn fence(row: &Row) -> Result<Fence, StoreError> {
    Ok(Fence { version: row.try_get("fence")?, at: time(row, "fence_at")? })
}

/// Text that was checked when it was written.
pub(super) fn parse<T: FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_unreadable| StoreError::corrupt(what))
}

pub(super) fn cause(name: &str) -> Result<EndCause, StoreError> {
    EndCause::from_name(name).ok_or(StoreError::corrupt("an unknown cause of an end"))
}

pub(super) fn is_active(state: &str) -> Result<bool, StoreError> {
    match state {
        ACTIVE => Ok(true),
        DISABLED => Ok(false),
        _ => Err(StoreError::corrupt("an unknown state of a user")),
    }
}

/// As bindings keep it: empty for everywhere.
pub(super) fn tenant(scope: &Scope) -> &str {
    scope.tenant().map_or("", |tenant| tenant.as_str())
}

/// The user of rows with [`owner_columns`]; `None` if no user was joined.
pub(super) fn owner(rows: &[Row]) -> Result<Option<(UserId, Owner)>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let Some(id) = first.try_get::<Option<uuid::Uuid>>("user_id")? else { return Ok(None) };
    let bindings = rows.iter().filter_map(|row| bound_role(row).transpose()).collect::<Result<_, _>>()?;
    let owner = Owner {
        active: is_active(first.try_get("state")?)?,
        version: first.try_get("version")?,
        roles_at: first.try_get("roles_at")?,
        floor: Floor {
            version: first.try_get("floor")?,
            at: time(first, "floor_at")?,
            cause: cause(first.try_get("floor_cause")?)?,
            except: first.try_get::<Option<uuid::Uuid>>("floor_except")?.map(SessionId::from_uuid),
        },
        bindings,
        external_id: first.try_get::<Option<String>>("external_id")?.unwrap_or_default(),
    };
    Ok(Some((UserId::from_uuid(id), owner)))
}

/// The binding of a row, if one was joined.
pub(super) fn bound_role(row: &Row) -> Result<Option<BoundRole>, StoreError> {
    let Some(role) = row.try_get::<Option<&str>>("role")? else { return Ok(None) };
    let tenant: &str = row.try_get("tenant")?;
    Ok(Some(BoundRole {
        role: parse(role, "a binding's role")?,
        scope: if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(parse(tenant, "a binding's tenant")?) },
        expires_at: row.try_get::<Option<i64>>("expires_at")?.map(Timestamp::from_micros),
    }))
}
