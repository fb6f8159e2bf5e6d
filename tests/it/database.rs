//! The database behind the server's back: what an operator with the file in hand sees, and what a fault can do to it.

use std::path::Path;

use postern::domain::id::UserId;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

/// A second connection to the file, as another process has it.
pub(crate) struct Database(pub(crate) SqliteConnection);

/// A session's record, as the vault keeps it.
pub(crate) type Record = (Vec<u8>, i64);

impl Database {
    pub(crate) async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(5));
        Self(options.connect().await.unwrap())
    }

    pub(crate) async fn count(&mut self, table: &'static str) -> i64 {
        let count = match table {
            "revocations" => "SELECT count(*) FROM revocations",
            "users" => "SELECT count(*) FROM users",
            "vault" => "SELECT count(*) FROM vault",
            "changes" => "SELECT count(*) FROM changes",
            "audit" => "SELECT count(*) FROM audit",
            other => panic!("{other}"),
        };
        sqlx::query_scalar(count).fetch_one(&mut self.0).await.unwrap()
    }

    /// All password hashes.
    pub(crate) async fn hashes(&mut self) -> Vec<String> {
        sqlx::query_scalar("SELECT hash FROM passwords ORDER BY user_id").fetch_all(&mut self.0).await.unwrap()
    }

    pub(crate) async fn hash_of(&mut self, user: UserId) -> String {
        let get = "SELECT hash FROM passwords WHERE user_id = $1";
        sqlx::query_scalar(get).bind(user.uuid()).fetch_one(&mut self.0).await.unwrap()
    }

    /// How often something happened, as the audit log has it.
    pub(crate) async fn audited(&mut self, kind: &str) -> i64 {
        let count = "SELECT count(*) FROM audit WHERE kind = $1";
        sqlx::query_scalar(count).bind(kind).fetch_one(&mut self.0).await.unwrap()
    }

    /// The same, once the writer behind the queue has written it.
    pub(crate) async fn audited_at_last(&mut self, kind: &str) -> i64 {
        for _ in 0..100 {
            let count = self.audited(kind).await;
            if count > 0 {
                return count;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        0
    }

    /// What happened, and who did it.
    pub(crate) async fn actors(&mut self) -> Vec<(String, String)> {
        let all = "SELECT kind, coalesce(actor, '') FROM audit ORDER BY time";
        sqlx::query_as(all).fetch_all(&mut self.0).await.unwrap()
    }

    pub(crate) async fn record(&mut self, session: &str) -> Record {
        let get = "SELECT value, expires_at FROM vault WHERE kind = 'session' AND key = $1";
        sqlx::query_as(get).bind(session).fetch_one(&mut self.0).await.unwrap()
    }

    /// Throws a session back to an earlier record, or puts one back that was removed.
    pub(crate) async fn put_record(&mut self, user: UserId, session: &str, record: &Record) {
        let put = "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ('session', $1, $2, $3, $4) \
            ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        sqlx::query(put)
            .bind(user.to_string())
            .bind(session)
            .bind(&record.0)
            .bind(record.1)
            .execute(&mut self.0)
            .await
            .unwrap();
    }

    pub(crate) async fn lose_record(&mut self, session: &str) {
        sqlx::query("DELETE FROM vault WHERE key = $1").bind(session).execute(&mut self.0).await.unwrap();
    }

    /// What FLUSHALL does.
    pub(crate) async fn flush(&mut self) {
        sqlx::query("DELETE FROM vault").execute(&mut self.0).await.unwrap();
    }

    /// The causes of all revocations of a user.
    pub(crate) async fn causes(&mut self, user: UserId) -> Vec<String> {
        let get = "SELECT cause FROM revocations WHERE user_id = $1 ORDER BY cause";
        sqlx::query_scalar(get).bind(user.uuid()).fetch_all(&mut self.0).await.unwrap()
    }

    /// Where the change log stands.
    pub(crate) async fn head(&mut self) -> i64 {
        sqlx::query_scalar("SELECT head FROM feed").fetch_one(&mut self.0).await.unwrap()
    }
}
