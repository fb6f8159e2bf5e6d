//! What expires, wherever it is kept.

use postern::domain::id::UserId;

use super::Database;

/// A session's record, as the vault keeps it, and when it may go.
pub(crate) type Record = (Vec<u8>, i64);

/// A challenge's record: partition and value.
pub(crate) type Challenge = (String, Vec<u8>);

impl Database {
    pub(crate) async fn record(&mut self, session: &str) -> Record {
        if let Some(redis) = &self.redis {
            let (name, _, _) = redis.values("s").await.into_iter().find(|(_, _, key)| key == session).unwrap();
            return (redis.value(&name).await, redis.end(&name).await);
        }
        let get = "SELECT value, expires_at FROM vault WHERE kind = 'session' AND key = $1";
        self.row(get, &[session.into()]).await
    }

    /// Throws a session back to an earlier record, or puts one back that was removed.
    pub(crate) async fn put_record(&mut self, user: UserId, session: &str, record: &Record) {
        let partition = user.to_string();
        if let Some(redis) = &self.redis {
            return redis.put_listed(("s", "S"), &partition, session, record).await;
        }
        let put = "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ('session', $1, $2, $3, $4) \
            ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
        self.run(put, &[partition.as_str().into(), session.into(), record.0.as_slice().into(), record.1.into()]).await;
    }

    pub(crate) async fn lose_record(&mut self, session: &str) {
        if let Some(redis) = &self.redis {
            let (name, _, _) = redis.values("s").await.into_iter().find(|(_, _, key)| key == session).unwrap();
            return redis.remove(&name).await;
        }
        self.run("DELETE FROM vault WHERE key = $1", &[session.into()]).await;
    }

    pub(crate) async fn sessions_of(&mut self, user: UserId) -> i64 {
        let wanted = user.to_string();
        if let Some(redis) = &self.redis {
            let all = redis.values("s").await;
            return all.iter().filter(|(_, partition, _)| *partition == wanted).count().try_into().unwrap();
        }
        let count = "SELECT count(*) FROM vault WHERE kind = 'session' AND partition = $1";
        self.number(count, &[wanted.as_str().into()]).await
    }

    pub(crate) async fn challenges(&mut self) -> Vec<Challenge> {
        if let Some(redis) = &self.redis {
            let mut challenges = Vec::new();
            for (name, partition, _) in redis.values("c").await {
                challenges.push((partition, redis.value(&name).await));
            }
            return challenges;
        }
        self.rows("SELECT partition, value FROM vault WHERE kind = 'challenge'", &[]).await
    }

    /// Throws a challenge back to an earlier record, or puts one back that was removed.
    pub(crate) async fn put_challenge(&mut self, (partition, value): &Challenge) {
        if let Some(redis) = &self.redis {
            return redis.put("c", partition, "challenge", value).await;
        }
        let put = "INSERT INTO vault (kind, partition, key, value, expires_at) VALUES ('challenge', $1, 'challenge', $2, $3) \
            ON CONFLICT (kind, partition, key) DO UPDATE SET value = excluded.value";
        self.run(put, &[partition.as_str().into(), value.as_slice().into(), i64::MAX.into()]).await;
    }

    /// The names of all buckets.
    pub(crate) async fn buckets(&mut self) -> Vec<String> {
        if let Some(redis) = &self.redis {
            let all = redis.everything().await.into_iter().map(|(name, _)| name);
            return all.filter(|name| name.contains("b{")).collect();
        }
        self.texts("SELECT partition FROM vault WHERE kind = 'bucket'", &[]).await
    }

    /// What failures of names are counted under.
    pub(crate) async fn failing_names(&mut self) -> Vec<String> {
        let names: Vec<(Vec<u8>, i64)> = self.rows("SELECT name, failures FROM login_failures", &[]).await;
        names.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect()
    }

    /// What FLUSHALL does.
    pub(crate) async fn flush(&mut self) {
        match &self.redis {
            Some(redis) => redis.flush().await,
            None => self.run("DELETE FROM vault", &[]).await,
        }
    }

    /// Everything on Redis; nothing, where sessions are in the store.
    pub(crate) async fn expiring(&mut self) -> Vec<(String, Vec<u8>)> {
        match &self.redis {
            Some(redis) => redis.everything().await,
            None => Vec::new(),
        }
    }
}
