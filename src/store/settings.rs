//! What is fixed at the first start.

use crate::store::{Store, StoreError};

/// Whether a master key is the one that its number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCheck {
    /// The number was unknown and now stands for this key.
    New,
    Same,
    /// Other bytes have this number: nothing sealed with it would open.
    Different,
}

impl Store {
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const GET: &str = "SELECT value FROM settings WHERE name = $1";
        Ok(sqlx::query_scalar(GET).bind(name).fetch_optional(&self.reader).await?)
    }

    /// Sets what nobody has set; answers what holds.
    pub async fn fix_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        // The update changes nothing; without it, RETURNING is silent about a row that was there.
        const FIX: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
            ON CONFLICT (name) DO UPDATE SET value = settings.value RETURNING value";
        Ok(sqlx::query_scalar(FIX).bind(name).bind(value).fetch_one(&self.writer).await?)
    }

    /// Compares a master key's check value with the one known for its number, which it becomes if there is none.
    pub async fn check_master_key(&self, number: u8, check: [u8; 4]) -> Result<KeyCheck, StoreError> {
        const RECORD: &str =
            "INSERT INTO master_keys (number, check_value) VALUES ($1, $2) ON CONFLICT (number) DO NOTHING";
        const KNOWN: &str = "SELECT check_value FROM master_keys WHERE number = $1";
        let mut write = self.write().await?;
        let recorded = sqlx::query(RECORD)
            .bind(i64::from(number))
            .bind(check.as_slice())
            .execute(write.connection())
            .await?
            .rows_affected();
        let known: Vec<u8> = sqlx::query_scalar(KNOWN).bind(i64::from(number)).fetch_one(write.connection()).await?;
        write.commit().await?;
        Ok(match (recorded, known == check) {
            (1, _) => KeyCheck::New,
            (_, true) => KeyCheck::Same,
            (_, false) => KeyCheck::Different,
        })
    }
}
