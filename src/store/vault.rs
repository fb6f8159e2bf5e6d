//! The SQL form of the vault: one table beside the others, which makes the embedded server need nothing else and
//! survive a restart.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;
use crate::store::engine::{query, query_as, query_scalar};
use crate::store::{Store, StoreError};
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};

/// The vault on the store's own connections.
#[derive(Clone)]
pub struct SqlVault {
    store: Store,
}

impl SqlVault {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }
}

/// When a bucket is full again, or now if it is.
macro_rules! later {
    () => {
        concat!("CASE WHEN vault.expires_at > ", now!(), " THEN vault.expires_at ELSE ", now!(), " END")
    };
}

#[async_trait]
impl Vault for SqlVault {
    async fn insert(&self, slot: &Slot, value: &[u8], expires_at: Timestamp) -> Result<bool, VaultError> {
        const INSERT: &str = concat!(
            "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ($2, $3, $4, $5, $6) \
             ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at \
             WHERE vault.expires_at <= ",
            now!()
        );
        let done = query(INSERT)
            .bind(self.store.clock.offset_micros())
            .bind(slot.kind.name())
            .bind(slot.partition.as_str())
            .bind(slot.key.as_str())
            .bind(value)
            .bind(expires_at.micros())
            .execute(&self.store.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn get(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        const GET: &str = "SELECT value FROM vault WHERE kind = $1 AND partition = $2 AND key = $3";
        Ok(query_scalar(GET)
            .bind(slot.kind.name())
            .bind(slot.partition.as_str())
            .bind(slot.key.as_str())
            .fetch_optional(&self.store.reader)
            .await?)
    }

    async fn swap(&self, slot: &Slot, expected: &[u8], new: &[u8], expires_at: Timestamp) -> Result<Swap, VaultError> {
        const SWAP: &str = "UPDATE vault SET value = $5, expires_at = $6 \
            WHERE kind = $1 AND partition = $2 AND key = $3 AND value = $4";
        let done = query(SWAP)
            .bind(slot.kind.name())
            .bind(slot.partition.as_str())
            .bind(slot.key.as_str())
            .bind(expected)
            .bind(new)
            .bind(expires_at.micros())
            .execute(&self.store.writer)
            .await?;
        if done.rows_affected() == 1 {
            return Ok(Swap::Swapped);
        }
        // A later value than the one that won is as good an answer: the loser reads it and decides again.
        Ok(Swap::Lost(self.get(slot).await?))
    }

    async fn take(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        const TAKE: &str = "DELETE FROM vault WHERE kind = $1 AND partition = $2 AND key = $3 RETURNING value";
        // All rows, though there is at most one: only the step after the last one says whether the deletion was committed.
        let mut values = query_scalar(TAKE)
            .bind(slot.kind.name())
            .bind(slot.partition.as_str())
            .bind(slot.key.as_str())
            .fetch_all(&self.store.writer)
            .await?;
        Ok(values.pop())
    }

    async fn remove(&self, slot: &Slot) -> Result<bool, VaultError> {
        const REMOVE: &str = "DELETE FROM vault WHERE kind = $1 AND partition = $2 AND key = $3";
        let done = query(REMOVE)
            .bind(slot.kind.name())
            .bind(slot.partition.as_str())
            .bind(slot.key.as_str())
            .execute(&self.store.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.store.ping().await.map_err(|why| VaultError::Unavailable { source: why.into() })
    }

    async fn admit(&self, bucket: &str, quota: &Quota) -> Result<Admission, VaultError> {
        // `expires_at` is when the bucket is full again.
        const ADMIT: &str = concat!(
            "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ($2, $3, '', $4, ",
            now!(),
            " + $5) ON CONFLICT (kind, partition, key) DO UPDATE SET expires_at = ",
            later!(),
            " + $5 WHERE ",
            later!(),
            " + $5 <= ",
            now!(),
            " + $6"
        );
        const LEFT: &str =
            concat!("SELECT expires_at - ", now!(), " FROM vault WHERE kind = $2 AND partition = $3 AND key = ''");
        let (every, window) = (micros(quota.every), micros(quota.window()));
        let done = query(ADMIT)
            .bind(self.store.clock.offset_micros())
            .bind(Kind::Bucket.name())
            .bind(bucket)
            .bind(&[][..])
            .bind(every)
            .bind(window)
            .execute(&self.store.writer)
            .await?;
        if done.rows_affected() == 1 {
            return Ok(Admission::Admitted);
        }
        let left: Option<i64> = query_scalar(LEFT)
            .bind(self.store.clock.offset_micros())
            .bind(Kind::Bucket.name())
            .bind(bucket)
            .fetch_optional(&self.store.reader)
            .await?;
        let left = Duration::from_micros(u64::try_from(left.unwrap_or(0)).unwrap_or(0));
        // Something may have grown again between the two statements.
        Ok(Admission::After(quota.take(left).err().unwrap_or(quota.every)))
    }

    async fn give_back(&self, bucket: &str, quota: &Quota) -> Result<(), VaultError> {
        const GIVE_BACK: &str =
            "UPDATE vault SET expires_at = expires_at - $3 WHERE kind = $1 AND partition = $2 AND key = ''";
        query(GIVE_BACK)
            .bind(Kind::Bucket.name())
            .bind(bucket)
            .bind(micros(quota.every))
            .execute(&self.store.writer)
            .await?;
        Ok(())
    }

    async fn list(&self, kind: Kind, partition: &str) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        const LIST: &str = "SELECT key, value FROM vault WHERE kind = $1 AND partition = $2 ORDER BY key";
        Ok(query_as(LIST).bind(kind.name()).bind(partition).fetch_all(&self.store.reader).await?)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<sqlx::Error> for VaultError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable { source: StoreError::from(error).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Engine, Scratch};

    struct Sql {
        scratch: Scratch,
        vault: SqlVault,
    }

    async fn sql(engine: Engine) -> Sql {
        let scratch = Scratch::new(engine).await;
        let vault = scratch.store.vault();
        Sql { scratch, vault }
    }

    mod on_sqlite {
        use super::*;
        crate::vault::conformance::conformance![sql(Engine::Sqlite) => |engine| (&engine.vault, &engine.scratch.clock)];
    }

    mod on_postgres {
        use super::*;
        crate::vault::conformance::conformance![sql(Engine::Postgres) => |engine| (&engine.vault, &engine.scratch.clock)];
    }

    mod on_limited {
        use super::*;
        crate::vault::conformance::conformance![sql(Engine::Limited) => |engine| (&engine.vault, &engine.scratch.clock)];
    }

    mod on_pooled {
        use super::*;
        crate::vault::conformance::conformance![sql(Engine::Pooled) => |engine| (&engine.vault, &engine.scratch.clock)];
    }

    async fn values_survive_a_restart(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let slot = Slot { kind: Kind::Session, partition: "p".into(), key: "k".into() };
        assert!(scratch.store.vault().insert(&slot, b"value", Timestamp::MAX).await.unwrap());
        let scratch = scratch.reopened().await;
        assert_eq!(scratch.store.vault().get(&slot).await.unwrap().as_deref(), Some(&b"value"[..]));
    }

    async fn a_closed_engine_is_unavailable(engine: Engine) {
        let engine = sql(engine).await;
        engine.scratch.store.close().await;
        let slot = Slot { kind: Kind::Session, partition: "p".into(), key: "k".into() };
        assert!(matches!(engine.vault.get(&slot).await, Err(VaultError::Unavailable { .. })));
        assert!(matches!(engine.vault.take(&slot).await, Err(VaultError::Unavailable { .. })));
    }

    crate::store::testing::conformance![values_survive_a_restart, a_closed_engine_is_unavailable,];
}
