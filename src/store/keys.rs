//! Signing keys, sealed, and the plan of their lives, which is set once from the database's clock.

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::domain::audit::AuditEvent;
use crate::domain::change::{RETENTION, Revision};
use crate::domain::key::{Algorithm, StoredKey};
use crate::domain::time::Timestamp;
use crate::store::write::{Learn, Write};
use crate::store::{Store, StoreError, sql};

/// A key to be stored; the store sets its times.
pub struct NewKey {
    pub kid: String,
    pub algorithm: Algorithm,
    /// The master key that seals it.
    pub master_key: u8,
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Store {
    /// All keys, the oldest first.
    pub async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let mut connection = self.reader.acquire().await?;
        list(&mut connection, Timestamp::from_micros(i64::MIN)).await
    }

    /// Stores the very first key, which signs at once. `None` if there is a key: another start was faster.
    pub async fn insert_first_key(&self, key: &NewKey, audit: &AuditEvent) -> Result<Option<Revision>, StoreError> {
        let mut write = self.write().await?;
        if !list(write.connection(), Timestamp::from_micros(i64::MIN)).await?.is_empty() {
            return Ok(None);
        }
        write.insert_key(key, Duration::ZERO).await?;
        write.audit(audit).await?;
        Ok(Some(write.commit().await?))
    }

    /// Publishes a key that signs `sign_after` from now; those that sign until then verify as long as their last
    /// tokens may live, and retire.
    pub async fn insert_key(
        &self,
        key: &NewKey,
        sign_after: Duration,
        audit: &AuditEvent,
    ) -> Result<Revision, StoreError> {
        const RETIRE: &str = "UPDATE signing_keys SET retire_time = $1 WHERE retire_time IS NULL";
        let mut write = self.write().await?;
        let retire_time = write.now() + sign_after + RETENTION;
        sqlx::query(RETIRE).bind(retire_time.micros()).execute(write.connection()).await?;
        write.insert_key(key, sign_after).await?;
        write.audit(audit).await?;
        write.commit().await
    }
}

impl Write {
    async fn insert_key(&mut self, key: &NewKey, sign_after: Duration) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO signing_keys (kid, algorithm, master_key, sealed, publish_time, sign_time) \
            VALUES ($1, $2, $3, $4, $5, $6)";
        let now = self.now();
        sqlx::query(INSERT)
            .bind(key.kid.as_str())
            .bind(key.algorithm.name())
            .bind(i64::from(key.master_key))
            .bind(key.sealed.as_slice())
            .bind(now.micros())
            .bind((now + sign_after).micros())
            .execute(self.connection())
            .await?;
        self.learn(Learn::Keys);
        Ok(())
    }
}

/// What verifiers hold.
pub(super) async fn not_retired(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<StoredKey>, StoreError> {
    list(connection, now).await
}

async fn list(connection: &mut SqliteConnection, retired_after: Timestamp) -> Result<Vec<StoredKey>, StoreError> {
    const LIST: &str = "SELECT kid, algorithm, master_key, sealed, publish_time, sign_time, retire_time \
        FROM signing_keys WHERE retire_time IS NULL OR retire_time > $1 ORDER BY publish_time, kid";
    let rows = sqlx::query(LIST).bind(retired_after.micros()).fetch_all(connection).await?;
    rows.iter().map(stored_key).collect()
}

fn stored_key(row: &SqliteRow) -> Result<StoredKey, StoreError> {
    let master_key: i64 = row.try_get("master_key")?;
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        algorithm: Algorithm::from_name(row.try_get("algorithm")?)
            .ok_or(StoreError::corrupt("an unknown algorithm of a key"))?,
        master_key: u8::try_from(master_key).map_err(|_too_large| StoreError::corrupt("a master key's number"))?,
        sealed: row.try_get("sealed")?,
        publish_time: sql::time(row, "publish_time")?,
        sign_time: sql::time(row, "sign_time")?,
        retire_time: row.try_get::<Option<i64>, _>("retire_time")?.map(Timestamp::from_micros),
    })
}
