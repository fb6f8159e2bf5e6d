//! Signing keys, sealed, and the plan of their lives, which is set once from the database's clock.

use std::time::Duration;

use crate::domain::audit::AuditEvent;
use crate::domain::change::{RETENTION, Revision};
use crate::domain::key::plan::{self, Retirement, Successor};
use crate::domain::key::{Algorithm, KeyPlan, KeyState, StoredKey};
use crate::domain::time::Timestamp;
use crate::store::engine::{Connection, Row, query, query_scalar};
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
        let keys = list(&mut connection, Timestamp::from_micros(i64::MIN)).await?;
        connection.commit().await?;
        Ok(keys)
    }

    /// Stores the very first key, which signs at once. `None` if there is a key: another start was faster.
    pub async fn insert_first_key(&self, key: &NewKey, audit: &AuditEvent) -> Result<Option<Revision>, StoreError> {
        let mut write = self.write().await?;
        if !list(write.connection(), Timestamp::from_micros(i64::MIN)).await?.is_empty() {
            return Ok(None);
        }
        let now = write.now();
        write.insert_key(key, now, None).await?;
        write.audit(audit).await?;
        Ok(Some(write.commit().await?))
    }

    /// Publishes `new`, which signs `wait` from now; the last of the line verifies as long as its last tokens may live,
    /// and retires. `None` if a key waits for its turn already, or if `due`, asked inside the transaction, says no: of
    /// many replicas that try at once, one rotates.
    pub async fn rotate_key(
        &self,
        new: &NewKey,
        wait: Duration,
        due: impl FnOnce(&[StoredKey], Timestamp) -> bool + Send,
        event: AuditEvent,
    ) -> Result<Option<KeyChange>, StoreError> {
        let mut write = self.write().await?;
        let now = write.now();
        let keys = list(write.connection(), now).await?;
        let plans: Vec<KeyPlan> = keys.iter().map(StoredKey::plan).collect();
        if plan::is_rotating(&plans, now) || !due(&keys, now) {
            return Ok(None);
        }
        let (key, event) = write.publish(new, now + wait, event).await?;
        Ok(Some(KeyChange { key, revision: write.commit().await?, events: vec![event] }))
    }

    /// Takes the key out of service. By plan, one that signs is succeeded by `new` `wait` from now, one that waits goes
    /// before its turn, and one that only verifies has its end already. At once, its tokens are refused from now on, and
    /// if nobody else signs, `new` does after [`plan::EMERGENCY_WAIT`], in the same transaction.
    ///
    /// `None` if there is no such key.
    pub async fn retire_key(
        &self,
        kid: &str,
        immediately: bool,
        new: &NewKey,
        wait: Duration,
        events: KeyEvents,
    ) -> Result<Option<KeyChange>, StoreError> {
        let mut write = self.write().await?;
        let now = write.now();
        let keys = list(write.connection(), Timestamp::from_micros(i64::MIN)).await?;
        let Some(index) = keys.iter().position(|key| key.kid == kid) else { return Ok(None) };
        let plans: Vec<KeyPlan> = keys.iter().map(StoredKey::plan).collect();
        let mut events_written = Vec::new();
        match plan::states(&plans, now).get(index) {
            Some(KeyState::Retired) | None => {}
            Some(KeyState::Signing) if !immediately => {
                // One that has an end has a successor that waits.
                if keys.get(index).is_some_and(|key| key.retire_time.is_none()) {
                    let (_, created) = write.publish(new, now + wait, events.created).await?;
                    events_written.push(created);
                }
            }
            Some(KeyState::Verifying) if !immediately => {}
            Some(KeyState::Published | KeyState::Signing | KeyState::Verifying) => {
                write.end_key(kid, Some(now)).await?;
                let mut retired = events.retired;
                retired.detail.push(("immediately", immediately.to_string()));
                write.audit(&retired).await?;
                events_written.push(retired);
                let Retirement { reopened, successor } = plan::retire_at_once(&plans, index, now);
                if let Some(key) = reopened.and_then(|reopened| keys.get(reopened)) {
                    write.end_key(&key.kid, None).await?;
                }
                if let Some(Successor { retire_time }) = successor {
                    write.insert_key(new, now + plan::EMERGENCY_WAIT, retire_time).await?;
                    let created = planned(events.created, new, now + plan::EMERGENCY_WAIT);
                    write.audit(&created).await?;
                    events_written.push(created);
                }
            }
        }
        let keys = list(write.connection(), Timestamp::from_micros(i64::MIN)).await?;
        let key = keys.into_iter().find(|key| key.kid == kid).ok_or(StoreError::corrupt("a key vanished"))?;
        Ok(Some(KeyChange { key, revision: write.commit().await?, events: events_written }))
    }
}

/// What came of a change of keys.
#[derive(Debug)]
pub struct KeyChange {
    /// The one that was asked for, with its plan.
    pub key: StoredKey,
    pub revision: Revision,
    /// As they were written down.
    pub events: Vec<AuditEvent>,
}

/// What is written down of a retirement, step by step.
pub struct KeyEvents {
    pub retired: AuditEvent,
    pub created: AuditEvent,
}

impl Write {
    /// `key` becomes the last of the line.
    async fn publish(
        &mut self,
        key: &NewKey,
        sign_time: Timestamp,
        event: AuditEvent,
    ) -> Result<(StoredKey, AuditEvent), StoreError> {
        const RETIRE: &str = "UPDATE signing_keys SET retire_time = $1 WHERE retire_time IS NULL RETURNING kid";
        let retire_time = sign_time + RETENTION;
        let succeeded: Vec<String> =
            query_scalar(RETIRE).bind(retire_time.micros()).fetch_all(self.connection()).await?;
        let stored = self.insert_key(key, sign_time, None).await?;
        let mut event = planned(event, key, sign_time);
        for kid in succeeded {
            event.detail.push(("succeeds", kid));
            event.detail.push(("retire_time", retire_time.to_string()));
        }
        self.audit(&event).await?;
        Ok((stored, event))
    }

    async fn end_key(&mut self, kid: &str, retire_time: Option<Timestamp>) -> Result<(), StoreError> {
        const END: &str = "UPDATE signing_keys SET retire_time = $2 WHERE kid = $1";
        let retire_time = retire_time.map(Timestamp::micros);
        query(END).bind(kid).bind(retire_time).execute(self.connection()).await?;
        self.learn(Learn::Keys);
        Ok(())
    }

    async fn insert_key(
        &mut self,
        key: &NewKey,
        sign_time: Timestamp,
        retire_time: Option<Timestamp>,
    ) -> Result<StoredKey, StoreError> {
        const INSERT: &str = "INSERT INTO signing_keys \
            (kid, algorithm, master_key, sealed, publish_time, sign_time, retire_time) \
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let publish_time = self.now();
        query(INSERT)
            .bind(key.kid.as_str())
            .bind(key.algorithm.name())
            .bind(i64::from(key.master_key))
            .bind(key.sealed.as_slice())
            .bind(publish_time.micros())
            .bind(sign_time.micros())
            .bind(retire_time.map(Timestamp::micros))
            .execute(self.connection())
            .await?;
        self.learn(Learn::Keys);
        Ok(StoredKey {
            kid: key.kid.clone(),
            algorithm: key.algorithm,
            master_key: key.master_key,
            sealed: key.sealed.clone(),
            publish_time,
            sign_time,
            retire_time,
        })
    }
}

/// The creation of `key` as it is written down: with the plan, which nobody else tells afterwards.
fn planned(mut event: AuditEvent, key: &NewKey, sign_time: Timestamp) -> AuditEvent {
    event.target = Some(key.kid.clone());
    event.detail.push(("algorithm", key.algorithm.name().to_owned()));
    event.detail.push(("sign_time", sign_time.to_string()));
    event
}

/// What verifiers hold.
pub(super) async fn not_retired(connection: &mut Connection, now: Timestamp) -> Result<Vec<StoredKey>, StoreError> {
    list(connection, now).await
}

async fn list(connection: &mut Connection, retired_after: Timestamp) -> Result<Vec<StoredKey>, StoreError> {
    const LIST: &str = "SELECT kid, algorithm, master_key, sealed, publish_time, sign_time, retire_time \
        FROM signing_keys WHERE retire_time IS NULL OR retire_time > $1 ORDER BY publish_time, kid";
    let rows = query(LIST).bind(retired_after.micros()).fetch_all(connection).await?;
    rows.iter().map(stored_key).collect()
}

fn stored_key(row: &Row) -> Result<StoredKey, StoreError> {
    let master_key: i64 = row.try_get("master_key")?;
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        algorithm: Algorithm::from_name(row.try_get("algorithm")?)
            .ok_or(StoreError::corrupt("an unknown algorithm of a key"))?,
        master_key: u8::try_from(master_key).map_err(|_too_large| StoreError::corrupt("a master key's number"))?,
        sealed: row.try_get("sealed")?,
        publish_time: sql::time(row, "publish_time")?,
        sign_time: sql::time(row, "sign_time")?,
        retire_time: row.try_get::<Option<i64>>("retire_time")?.map(Timestamp::from_micros),
    })
}
