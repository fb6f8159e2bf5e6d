//! Being woken by other replicas' changes. A net under it polls, so that a lost notification costs half a second and no
//! more.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::connect::{self, PostgresSettings};
use crate::store::{Engine, Store, StoreError};

/// What every transaction that verifiers must learn of notifies, with nothing in it.
pub(super) const CHANNEL: &str = "postern";

const CONNECT_MAX: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A server that vanished without a word is never heard of again: asked anew at times.
const LISTEN_MAX: Duration = Duration::from_mins(1);

impl Store {
    /// Wakes whoever waits on [`Store::committed`] when another process has committed a change, until `stop`. There is
    /// nothing to hear behind a pooler, nor on an embedded store.
    pub async fn listen(self, stop: CancellationToken) {
        let Engine::Postgres { settings, .. } = &self.engine else { return };
        if settings.pooler {
            return;
        }
        loop {
            tokio::select! {
                outcome = self.listen_once(settings) => match outcome {
                    // Only asked anew: whatever is committed meanwhile waits for half a second, so not for longer.
                    Ok(()) => continue,
                    Err(why) => tracing::debug!(%why, "not listening for changes; polling goes on"),
                },
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = sleep(AGAIN_AFTER) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn listen_once(&self, settings: &PostgresSettings) -> Result<(), StoreError> {
        let options = connect::options(settings).map_err(|why| StoreError::Unavailable { source: why.into() })?;
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let elapsed = |elapsed: tokio::time::error::Elapsed| StoreError::Unavailable { source: elapsed.into() };
        let mut listener = timeout(CONNECT_MAX, listening).await.map_err(elapsed)??;
        // What was committed before this moment was told to nobody here.
        self.committed.send_modify(|_newest| {});
        let heard = async {
            while listener.try_recv().await?.is_some() {
                self.committed.send_modify(|_newest| {});
            }
            Ok::<_, sqlx::Error>(())
        };
        match timeout(LISTEN_MAX, heard).await {
            Ok(ended) => {
                ended?;
                Err(StoreError::Unavailable { source: "the connection ended".into() })
            }
            Err(_elapsed) => Ok(()),
        }
    }
}
