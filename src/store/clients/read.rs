//! Rows into registrations.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::client::{HeldSecret, Origin, Registration, San, SecretDigest, SessionLimits};
use crate::domain::id::ClientId;
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;
use crate::store::engine::{Connection, Row, query, query_scalar};
use crate::store::{StoreError, sql};

/// All clients in the order of their ids; the connection must be in a transaction.
pub(in crate::store) async fn all(
    snapshot: &mut Connection,
    offset_micros: i64,
) -> Result<Vec<Registration>, StoreError> {
    let now = now(snapshot, offset_micros).await?;
    read(snapshot, now, None).await
}

pub(super) async fn one(
    snapshot: &mut Connection,
    offset_micros: i64,
    id: &ClientId,
) -> Result<Option<Registration>, StoreError> {
    let now = now(snapshot, offset_micros).await?;
    one_at(snapshot, now, id).await
}

pub(super) async fn one_at(
    snapshot: &mut Connection,
    now: Timestamp,
    id: &ClientId,
) -> Result<Option<Registration>, StoreError> {
    Ok(read(snapshot, now, Some(id)).await?.pop())
}

pub(super) fn json(texts: &[String]) -> String {
    texts.iter().map(String::as_str).collect::<serde_json::Value>().to_string()
}

async fn now(snapshot: &mut Connection, offset_micros: i64) -> Result<Timestamp, StoreError> {
    const NOW: &str = concat!("SELECT ", now!());
    let now: i64 = query_scalar(NOW).bind(offset_micros).fetch_one(snapshot).await?;
    Ok(Timestamp::from_micros(now))
}

/// One, or all; with the secrets and bindings that have not ended.
async fn read(
    snapshot: &mut Connection,
    now: Timestamp,
    id: Option<&ClientId>,
) -> Result<Vec<Registration>, StoreError> {
    const CLIENTS: &str = "SELECT id, display_name, audience, token_audiences, return_urls, access_ttl, idle_ttl, \
        absolute_ttl, refresh_grace, max_per_user, disabled, create_time, etag FROM clients WHERE $1 IS NULL OR id = $1 ORDER BY id";
    const SANS: &str = "SELECT client_id, san FROM client_sans WHERE $1 IS NULL OR client_id = $1 \
        ORDER BY client_id, position";
    const SECRETS: &str = "SELECT client_id, digest, end_time FROM client_secrets \
        WHERE ($1 IS NULL OR client_id = $1) AND (end_time IS NULL OR end_time > $2) ORDER BY create_time, digest";
    const BINDINGS: &str = "SELECT client_id, role, tenant, expires_at FROM bindings WHERE client_id IS NOT NULL \
        AND ($1 IS NULL OR client_id = $1) AND (expires_at IS NULL OR expires_at > $2) ORDER BY role, tenant";
    let id = id.map(ClientId::as_str);
    let mut sans: HashMap<String, Vec<San>> = HashMap::new();
    for row in query(SANS).bind(id).fetch_all(&mut *snapshot).await? {
        let san = sql::parse(row.try_get("san")?, "a client's name")?;
        sans.entry(row.try_get("client_id")?).or_default().push(san);
    }
    let mut secrets: HashMap<String, Vec<HeldSecret>> = HashMap::new();
    for row in query(SECRETS).bind(id).bind(now.micros()).fetch_all(&mut *snapshot).await? {
        secrets.entry(row.try_get("client_id")?).or_default().push(secret(&row)?);
    }
    let mut roles: HashMap<String, Vec<BoundRole>> = HashMap::new();
    for row in query(BINDINGS).bind(id).bind(now.micros()).fetch_all(&mut *snapshot).await? {
        let bound = sql::bound_role(&row)?.ok_or(StoreError::corrupt("a binding without a role"))?;
        roles.entry(row.try_get("client_id")?).or_default().push(bound);
    }
    let rows = query(CLIENTS).bind(id).fetch_all(snapshot).await?;
    rows.iter()
        .map(|row| {
            let id: &str = row.try_get("id")?;
            Ok(Registration {
                mtls_sans: sans.remove(id).unwrap_or_default(),
                secrets: secrets.remove(id).unwrap_or_default(),
                roles: roles.remove(id).unwrap_or_default(),
                ..client(row, id)?
            })
        })
        .collect()
}

fn client(row: &Row, id: &str) -> Result<Registration, StoreError> {
    let ttl = |column: &str| -> Result<Option<Duration>, StoreError> {
        let micros: Option<i64> = row.try_get(column)?;
        let ttl = micros.map(|micros| u64::try_from(micros).map(Duration::from_micros)).transpose();
        ttl.map_err(|_negative| StoreError::corrupt("a client's limit is negative"))
    };
    let max_per_user: Option<i64> = row.try_get("max_per_user")?;
    let etag: i64 = row.try_get("etag")?;
    Ok(Registration {
        display_name: row.try_get("display_name")?,
        audience: row.try_get("audience")?,
        token_audiences: texts(row.try_get("token_audiences")?)?,
        return_urls: texts(row.try_get("return_urls")?)?,
        limits: SessionLimits {
            access_ttl: ttl("access_ttl")?,
            idle_ttl: ttl("idle_ttl")?,
            absolute_ttl: ttl("absolute_ttl")?,
            refresh_grace: ttl("refresh_grace")?,
            max_per_user: max_per_user
                .map(usize::try_from)
                .transpose()
                .map_err(|_negative| StoreError::corrupt("a client's limit is negative"))?,
        },
        disabled: row.try_get("disabled")?,
        create_time: sql::time(row, "create_time")?,
        etag: etag.to_string(),
        ..Registration::new(sql::parse(id, "a client's id")?, Origin::Store)
    })
}

fn secret(row: &Row) -> Result<HeldSecret, StoreError> {
    let digest: &[u8] = row.try_get("digest")?;
    let digest = digest.try_into().map_err(|_wrong_length| StoreError::corrupt("the digest of a client's secret"))?;
    let end: Option<i64> = row.try_get("end_time")?;
    Ok(HeldSecret { digest: SecretDigest::from_bytes(digest), ends_at: end.map(Timestamp::from_micros) })
}

fn texts(json: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Corrupt { what: "a client's list is not JSON", source: Some(error.into()) })
}
