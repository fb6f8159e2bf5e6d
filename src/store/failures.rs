//! How often passwords have failed in a row. Written at each failure, so out of the line in which changes stand.

use crate::domain::id::UserId;
use crate::store::engine::query;
use crate::store::{Store, StoreError};

/// A sign-in that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// Whose account it was for; `None` if nobody has the name.
    pub user: Option<UserId>,
    /// What failures of the identifier are counted under.
    pub name: &'a [u8],
    /// Whether the device was one that the account knows.
    pub is_known: bool,
}

impl Store {
    /// Counts one more. The same two statements whoever it was, or their time would tell.
    pub async fn count_failure(&self, failed: &Failed<'_>) -> Result<(), StoreError> {
        const OF_ACCOUNT: &str = "UPDATE passwords SET \
            failures = failures + CASE WHEN $2 THEN 0 ELSE 1 END, \
            known_failures = known_failures + CASE WHEN $2 THEN 1 ELSE 0 END WHERE user_id = $1";
        const OF_NAME: &str = concat!(
            "INSERT INTO login_failures (name, failures, time) VALUES ($2, 1, ",
            now!(),
            ") ON CONFLICT (name) DO UPDATE SET failures = login_failures.failures + 1, time = excluded.time"
        );
        let user = failed.user.unwrap_or_else(|| UserId::from_uuid(uuid::Uuid::nil()));
        let mut transaction = self.writer.begin_write().await?;
        query(OF_ACCOUNT).bind(user.uuid()).bind(failed.is_known).execute(&mut transaction).await?;
        if !failed.is_known {
            query(OF_NAME).bind(self.clock.offset_micros()).bind(failed.name).execute(&mut transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The owner was here.
    pub async fn clear_failures(&self, user: UserId, name: &[u8]) -> Result<(), StoreError> {
        const OF_ACCOUNT: &str = "UPDATE passwords SET failures = 0, known_failures = 0 WHERE user_id = $1";
        const OF_NAME: &str = "DELETE FROM login_failures WHERE name = $1";
        let mut transaction = self.writer.begin_write().await?;
        query(OF_ACCOUNT).bind(user.uuid()).execute(&mut transaction).await?;
        query(OF_NAME).bind(name).execute(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::account::Identifier;
    use crate::store::Failures;
    use crate::store::testing::{Engine, Scratch};

    async fn failures_are_counted_by_name_and_account_until_a_success(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let store = &scratch.store;
        let kim = scratch.user("kim@example.com", Vec::new()).await;
        store.set_password(kim, "hash", false, &scratch.audit()).await.unwrap();
        let (typed, nobody) =
            (Identifier::from_typed("kim@example.com").unwrap(), Identifier::from_typed("nobody").unwrap());
        let failures = async |typed: &Identifier, name: &[u8]| store.credential(typed, name).await.unwrap().failures;
        assert!(!failures(&typed, b"k").await.any());
        for is_known in [false, true, false] {
            store.count_failure(&Failed { user: Some(kim), name: b"k", is_known }).await.unwrap();
        }
        store.count_failure(&Failed { user: None, name: b"n", is_known: false }).await.unwrap();
        let counted = Failures { of_name: 2, of_strangers: 2, of_known: 1 };
        assert_eq!(failures(&typed, b"k").await, counted);
        assert_eq!(failures(&nobody, b"n").await, Failures { of_name: 1, ..Failures::default() });
        // A name is forgotten a day after its last failure, an account's count never.
        scratch.clock.advance(Duration::from_hours(25));
        store.purge().await.unwrap();
        assert_eq!(failures(&typed, b"k").await, Failures { of_name: 0, ..counted });
        store.count_failure(&Failed { user: Some(kim), name: b"k", is_known: false }).await.unwrap();
        store.clear_failures(kim, b"k").await.unwrap();
        assert!(!failures(&typed, b"k").await.any());
        store.count_failure(&Failed { user: Some(kim), name: b"other", is_known: false }).await.unwrap();
        store.set_password(kim, "new", false, &scratch.audit()).await.unwrap();
        assert!(!failures(&typed, b"k").await.any(), "a new password has not failed yet");
    }

    async fn failures_at_once_are_all_counted(engine: Engine) {
        let scratch = Scratch::new(engine).await;
        let kim = scratch.user("kim@example.com", Vec::new()).await;
        scratch.store.set_password(kim, "hash", false, &scratch.audit()).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = scratch.store.clone();
            tasks.spawn(async move {
                store.count_failure(&Failed { user: Some(kim), name: b"k", is_known: false }).await.unwrap();
            });
        }
        tasks.join_all().await;
        let typed = Identifier::from_typed("kim@example.com").unwrap();
        let failures = scratch.store.credential(&typed, b"k").await.unwrap().failures;
        assert_eq!(failures, Failures { of_name: 16, of_strangers: 16, of_known: 0 });
    }

    crate::store::testing::conformance![
        failures_are_counted_by_name_and_account_until_a_success,
        failures_at_once_are_all_counted,
    ];
}
