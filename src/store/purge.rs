//! What is thrown away when its time is over. Any replica does it hourly.

use std::time::Duration;

use crate::domain::change::RETENTION;
use crate::store::engine::query;
use crate::store::{Store, StoreError, sql};

/// How long a repeated `request_id` gets the same user.
const CREATIONS_KEPT: Duration = Duration::from_hours(24);

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub changes: u64,
    pub revocations: u64,
    pub generation_floors: u64,
    pub vault: u64,
    pub creations: u64,
    pub bindings: u64,
}

impl Store {
    /// Removes what no question will ask for again, by the database's clock.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        const NOW: &str = concat!("SELECT ", now!(), " AS now");
        // Not the last row before the window: in a quiet hour it is where all readers stand.
        const CHANGES: &str = "DELETE FROM changes \
            WHERE at < $1 AND id < (SELECT max(id) FROM changes WHERE at < $1)";
        const REVOCATIONS: &str = "DELETE FROM revocations WHERE keep_until < $1";
        const GENERATION_FLOORS: &str = "DELETE FROM generation_floors WHERE keep_until < $1";
        const VAULT: &str = "DELETE FROM vault WHERE expires_at < $1";
        const CREATIONS: &str = "DELETE FROM creations WHERE at < $1";
        const BINDINGS: &str = "DELETE FROM bindings WHERE expires_at < $1";
        let row = query(NOW).bind(self.clock.offset_micros()).fetch_one(&self.reader).await?;
        let now = sql::time(&row, "now")?;
        // Each on its own, so that sign-ins get their turn in between.
        let delete = async |statement: &'static str, before| -> Result<u64, StoreError> {
            Ok(query(statement).bind(before).execute(&self.writer).await?.rows_affected())
        };
        Ok(Purged {
            changes: delete(CHANGES, (now - RETENTION).micros()).await?,
            revocations: delete(REVOCATIONS, now.micros()).await?,
            generation_floors: delete(GENERATION_FLOORS, now.micros()).await?,
            vault: delete(VAULT, now.micros()).await?,
            creations: delete(CREATIONS, (now - CREATIONS_KEPT).micros()).await?,
            bindings: delete(BINDINGS, (now - RETENTION).micros()).await?,
        })
    }
}

#[cfg(test)]
mod tests;
