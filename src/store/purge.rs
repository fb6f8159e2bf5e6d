//! What is thrown away when its time is over. Any replica does it hourly.

use std::time::Duration;

use crate::domain::change::RETENTION;
use crate::store::engine::{query, query_scalar};
use crate::store::{Store, StoreError, sql};

/// How long a repeated `request_id` gets the same user.
const CREATIONS_KEPT: Duration = Duration::from_hours(24);

/// Of names, whose memory is the guesser's. Those of accounts are kept.
const LOGIN_FAILURES_KEPT: Duration = Duration::from_hours(24);

/// Takes a fraction of the time that a statement has.
const AT_ONCE: i64 = 2_000;

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub changes: u64,
    pub revocations: u64,
    pub generation_floors: u64,
    pub vault: u64,
    pub creations: u64,
    pub bindings: u64,
    pub login_failures: u64,
}

impl Store {
    /// Removes what no question will ask for again, by the database's clock.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        const NOW: &str = concat!("SELECT ", now!(), " AS now");
        // Not the last row before the window: in a quiet hour it is where all readers stand.
        const CHANGES: &str = "DELETE FROM changes WHERE id IN (SELECT id FROM changes \
            WHERE at < $1 AND id < (SELECT max(id) FROM changes WHERE at < $1) LIMIT $2)";
        const REVOCATIONS: &str = "DELETE FROM revocations WHERE (user_id, session_id) IN \
            (SELECT user_id, session_id FROM revocations WHERE keep_until < $1 LIMIT $2)";
        const GENERATION_FLOORS: &str = "DELETE FROM generation_floors WHERE session_id IN \
            (SELECT session_id FROM generation_floors WHERE keep_until < $1 LIMIT $2) AND keep_until < $1";
        const VAULT: &str = "DELETE FROM vault WHERE (kind, partition, key) IN \
            (SELECT kind, partition, key FROM vault WHERE expires_at < $1 LIMIT $2) AND expires_at < $1";
        const CREATIONS: &str = "DELETE FROM creations WHERE request_id IN \
            (SELECT request_id FROM creations WHERE at < $1 LIMIT $2)";
        const BINDINGS: &str = "DELETE FROM bindings WHERE (role, tenant, expires_at) IN \
            (SELECT role, tenant, expires_at FROM bindings WHERE expires_at < $1 LIMIT $2)";
        const LOGIN_FAILURES: &str = "DELETE FROM login_failures WHERE name IN \
            (SELECT name FROM login_failures WHERE time < $1 LIMIT $2) AND time < $1";
        let row = query(NOW).bind(self.clock.offset_micros()).fetch_one(&self.reader).await?;
        let now = sql::time(&row, "now")?;
        let recent = (now - RETENTION).micros();
        // Each as far as it goes: what holds up one must not hold up the others for ever.
        let changes = self.delete(CHANGES, recent).await;
        let revocations = self.delete(REVOCATIONS, now.micros()).await;
        let generation_floors = self.delete(GENERATION_FLOORS, now.micros()).await;
        let vault = self.delete(VAULT, now.micros()).await;
        let creations = self.delete(CREATIONS, (now - CREATIONS_KEPT).micros()).await;
        let bindings = self.delete(BINDINGS, recent).await;
        let login_failures = self.delete(LOGIN_FAILURES, (now - LOGIN_FAILURES_KEPT).micros()).await;
        Ok(Purged {
            changes: changes?,
            revocations: revocations?,
            generation_floors: generation_floors?,
            vault: vault?,
            creations: creations?,
            bindings: bindings?,
            login_failures: login_failures?,
        })
    }

    /// Removes events that are older than this from the audit log, and answers how many. PostgreSQL keeps those of the last thirty
    /// days, whatever is asked for.
    pub async fn purge_audit(&self, kept: Duration) -> Result<u64, StoreError> {
        const ON_SQLITE: &str =
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time < $1 ORDER BY time LIMIT $2)";
        const ON_POSTGRES: &str = "SELECT purge_audit($1, $2)";
        let before = (self.time().await? - kept).micros();
        if self.writer.is_sqlite() {
            return self.delete(ON_SQLITE, before).await;
        }
        let mut all = 0;
        loop {
            let gone: i64 = query_scalar(ON_POSTGRES).bind(before).bind(AT_ONCE).fetch_one(&self.writer).await?;
            all += gone.unsigned_abs();
            if gone < AT_ONCE {
                return Ok(all);
            }
        }
    }

    /// Some at a time, so that each statement ends in time however much there is, and sign-ins get their turn in between.
    async fn delete(&self, statement: &'static str, before: i64) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let gone = query(statement).bind(before).bind(AT_ONCE).execute(&self.writer).await?.rows_affected();
            all += gone;
            // More than asked for, where several rows have one name.
            if gone < AT_ONCE.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests;
