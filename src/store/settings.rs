//! What is fixed at the first start.

use crate::domain::time::Timestamp;
use crate::store::engine::{query, query_as, query_scalar};
use crate::store::{Store, StoreError, sql};

impl Store {
    /// The database's time.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        const NOW: &str = concat!("SELECT ", now!(), " AS now");
        let row = query(NOW).bind(self.clock.offset_micros()).fetch_one(&self.reader).await?;
        sql::time(&row, "now")
    }

    /// Whether any master key was ever used on this store.
    pub async fn has_master_keys(&self) -> Result<bool, StoreError> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM master_keys)";
        Ok(query_scalar(ANY).fetch_one(&self.reader).await?)
    }

    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const GET: &str = "SELECT value FROM settings WHERE name = $1";
        Ok(query_scalar(GET).bind(name).fetch_optional(&self.reader).await?)
    }

    /// Sets what nobody has set; answers what holds.
    pub async fn fix_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        // The update changes nothing; without it, RETURNING is silent about a row that was there.
        const FIX: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
            ON CONFLICT (name) DO UPDATE SET value = settings.value RETURNING value";
        // All rows, because only the step after the last one says whether it was committed.
        let mut values: Vec<String> = query_scalar(FIX).bind(name).bind(value).fetch_all(&self.writer).await?;
        values.pop().ok_or(StoreError::corrupt("a setting that was written is missing"))
    }

    /// Sets a number, unless a greater one is there.
    pub async fn raise_setting(&self, name: &str, value: i64) -> Result<(), StoreError> {
        const RAISE: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
            SET value = excluded.value WHERE CAST(settings.value AS BIGINT) < CAST(excluded.value AS BIGINT)";
        query(RAISE).bind(name).bind(value.to_string()).execute(&self.writer).await?;
        Ok(())
    }

    /// Sets it; answers what held before.
    pub async fn replace_setting(&self, name: &str, value: &str) -> Result<Option<String>, StoreError> {
        const PUT: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let before = self.setting(name).await?;
        if before.as_deref() != Some(value) {
            query(PUT).bind(name).bind(value).execute(&self.writer).await?;
        }
        Ok(before)
    }

    /// Compares master keys' check values with those known for their numbers, and takes down the new ones. Answers the
    /// first number under which others are known: nothing that those sealed would open; then nothing is taken down.
    pub async fn check_master_keys(&self, keys: &[(u8, [u8; 4])]) -> Result<Option<u8>, StoreError> {
        const RECORD: &str =
            "INSERT INTO master_keys (number, check_value) VALUES ($1, $2) ON CONFLICT (number) DO NOTHING";
        const KNOWN: &str = "SELECT check_value FROM master_keys WHERE number = $1";
        let mut write = self.write().await?;
        for (number, check) in keys {
            let known: Option<Vec<u8>> =
                query_scalar(KNOWN).bind(i64::from(*number)).fetch_optional(write.connection()).await?;
            if known.is_some_and(|known| known != check) {
                return Ok(Some(*number));
            }
        }
        for (number, check) in keys {
            let record = query(RECORD).bind(i64::from(*number)).bind(check.as_slice());
            record.execute(write.connection()).await?;
        }
        write.commit().await?;
        Ok(None)
    }

    /// The check values of all master keys that were ever known here, by number.
    pub async fn master_keys(&self) -> Result<Vec<(u8, Vec<u8>)>, StoreError> {
        const LIST: &str = "SELECT number, check_value FROM master_keys ORDER BY number";
        let rows: Vec<(i64, Vec<u8>)> = query_as(LIST).fetch_all(&self.reader).await?;
        let number = |number| u8::try_from(number).map_err(|_too_large| StoreError::corrupt("a master key's number"));
        rows.into_iter().map(|(of, check)| Ok((number(of)?, check))).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use crate::store::testing::{Engine, Scratch};

    async fn the_first_to_fix_a_setting_wins(engine: Engine) {
        let scratch = Scratch::new(engine).await;
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

    async fn a_setting_that_is_replaced_tells_what_held_before(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let replace = async |value| scratch.store.replace_setting("issuer", value).await.unwrap();
        assert_eq!(replace("a").await, None);
        assert_eq!(replace("a").await.as_deref(), Some("a"));
        assert_eq!(replace("b").await.as_deref(), Some("a"));
        assert_eq!(scratch.store.setting("issuer").await.unwrap().as_deref(), Some("b"));
    }

    async fn a_number_stands_for_one_master_key(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let check = async |keys: &[(u8, [u8; 4])]| scratch.store.check_master_keys(keys).await.unwrap();
        assert_eq!(check(&[(1, *b"aaaa")]).await, None);
        assert_eq!(check(&[(1, *b"aaaa")]).await, None);
        // All are compared before one is taken down.
        assert_eq!(check(&[(3, *b"cccc"), (1, *b"bbbb"), (2, *b"bbbb")]).await, Some(1));
        assert_eq!(scratch.store.master_keys().await.unwrap(), [(1, b"aaaa".to_vec())]);
        assert_eq!(check(&[(1, *b"aaaa"), (2, *b"bbbb")]).await, None);
        assert_eq!(scratch.store.master_keys().await.unwrap().len(), 2);
    }

    crate::store::testing::conformance![
        the_first_to_fix_a_setting_wins,
        a_setting_that_is_replaced_tells_what_held_before,
        a_number_stands_for_one_master_key,
    ];
}
