//! Follows the files of `[tls]`, so that a renewed certificate needs no restart. By polling: it sees swapped symbolic
//! links, as Kubernetes mounts secrets, and network file systems, where notices of changes are lost.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ServerTls;
use crate::domain::time::Timestamp;

/// How old what is in use may be.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Between two warnings that the certificate nears its end.
const WARN_INTERVAL: Duration = Duration::from_hours(24);

impl ServerTls {
    /// Reads the files every so often, until `stop`. What cannot be used is told once, and the old certificate stays.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut told = None;
        let mut warned = None;
        loop {
            self.warn_of_the_end(&mut warned);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let tls = Arc::clone(&self);
            // A file system may hang, and must not take a thread of the runtime with it.
            let Ok(outcome) = tokio::task::spawn_blocking(move || tls.reload()).await else { return };
            match outcome {
                Ok(is_news) => {
                    if is_news {
                        tracing::info!("the TLS certificate was read anew; new connections use it");
                        warned = None;
                    }
                    told = None;
                }
                Err(why) => {
                    let why = why.to_string();
                    if told.as_ref() != Some(&why) {
                        tracing::error!(%why, "the TLS files changed and cannot be used; the old ones stay in use");
                        told = Some(why);
                    }
                }
            }
        }
    }

    fn warn_of_the_end(&self, warned: &mut Option<Timestamp>) {
        let now = self.clock.now();
        if warned.is_some_and(|at| now.since(at) < WARN_INTERVAL) {
            return;
        }
        if let Some(ends) = self.ends_soon() {
            tracing::warn!(%ends, "the TLS certificate ends soon; replace the files of [tls], no restart is needed");
            *warned = Some(now);
        }
    }
}
