//! What is fixed at the first start.

use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, sql};

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
    /// The database's time.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        const NOW: &str = concat!("SELECT ", now!(), " AS now");
        let row = sqlx::query(NOW).bind(self.clock.offset_micros()).fetch_one(&self.reader).await?;
        sql::time(&row, "now")
    }

    /// Whether any master key was ever used on this store.
    pub async fn has_master_keys(&self) -> Result<bool, StoreError> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM master_keys)";
        Ok(sqlx::query_scalar(ANY).fetch_one(&self.reader).await?)
    }

    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const GET: &str = "SELECT value FROM settings WHERE name = $1";
        Ok(sqlx::query_scalar(GET).bind(name).fetch_optional(&self.reader).await?)
    }

    /// Sets what nobody has set; answers what holds.
    pub async fn fix_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        // The update changes nothing; without it, RETURNING is silent about a row that was there.
        const FIX: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
            ON CONFLICT (name) DO UPDATE SET value = settings.value RETURNING value";
        // All rows, because only the step after the last one says whether it was committed.
        let mut values: Vec<String> = sqlx::query_scalar(FIX).bind(name).bind(value).fetch_all(&self.writer).await?;
        values.pop().ok_or(StoreError::corrupt("a setting that was written is missing"))
    }

    /// Sets it; answers what held before.
    pub async fn replace_setting(&self, name: &str, value: &str) -> Result<Option<String>, StoreError> {
        const PUT: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let before = self.setting(name).await?;
        if before.as_deref() != Some(value) {
            sqlx::query(PUT).bind(name).bind(value).execute(&self.writer).await?;
        }
        Ok(before)
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

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::store::testing::Scratch;

    #[tokio::test]
    async fn the_first_to_fix_a_setting_wins() {
        let scratch = Scratch::new().await;
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let store = scratch.store.clone();
            tasks.spawn(async move { store.fix_setting("issuer", &number.to_string()).await.unwrap() });
        }
        let mut held = tasks.join_all().await;
        held.dedup();
        assert_eq!(held.len(), 1);
        assert_eq!(scratch.store.setting("issuer").await.unwrap(), held.pop());
        assert_eq!(scratch.store.setting("other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_setting_that_is_replaced_tells_what_held_before() {
        let scratch = Scratch::new().await;
        let replace = async |value| scratch.store.replace_setting("issuer", value).await.unwrap();
        assert_eq!(replace("a").await, None);
        assert_eq!(replace("a").await.as_deref(), Some("a"));
        assert_eq!(replace("b").await.as_deref(), Some("a"));
        assert_eq!(scratch.store.setting("issuer").await.unwrap().as_deref(), Some("b"));
    }

    #[tokio::test]
    async fn a_number_stands_for_one_master_key() {
        let scratch = Scratch::new().await;
        let check = async |number, check| scratch.store.check_master_key(number, check).await.unwrap();
        assert_eq!(check(1, *b"aaaa").await, KeyCheck::New);
        assert_eq!(check(1, *b"aaaa").await, KeyCheck::Same);
        assert_eq!(check(1, *b"bbbb").await, KeyCheck::Different);
        assert_eq!(check(2, *b"bbbb").await, KeyCheck::New);
    }
}
