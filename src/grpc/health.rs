//! What the gRPC health service says. The server and AuthService follow readiness alone, so that no outage of an engine
//! takes Verify out of a load balancer; `postern.login` follows the engines, for dashboards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::auth::Auth;
use crate::proto::auth::v1::auth_service_server::SERVICE_NAME as AUTH_SERVICE;
use crate::readiness::{Readiness, State};

/// The server itself.
const SERVER: &str = "";
const LOGIN: &str = "postern.login";
const READY: [&str; 2] = [SERVER, AUTH_SERVICE];

const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The names, and who asks for them.
pub(super) struct Health {
    reporter: HealthReporter,
    /// What was said of readiness: said again, it would be news to whoever watches.
    said_ready: AtomicBool,
}

impl Health {
    /// Says at once what is known, so that the first to ask after the start is told the truth.
    pub(super) async fn new(reporter: HealthReporter, readiness: &Readiness) -> Self {
        let is_ready = readiness.is_ready();
        let health = Self { reporter, said_ready: AtomicBool::new(is_ready) };
        for name in READY.into_iter().chain([LOGIN]) {
            health.set(name, is_ready).await;
        }
        health
    }

    /// Follows until `stop`, and then says that nothing serves any more.
    pub(super) async fn follow(&self, readiness: &Readiness, auth: &Auth, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_readiness(readiness) => {}
            () = self.follow_engines(auth) => {}
        }
        self.set_ready(false).await;
        self.set(LOGIN, false).await;
    }

    /// Ends the streams of all who watch, which would hold their connections open to the end of the drain.
    pub(super) async fn dismiss(mut self) {
        for name in READY.into_iter().chain([LOGIN]) {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn follow_readiness(&self, readiness: &Readiness) {
        let mut states = readiness.watch();
        loop {
            let state = *states.borrow_and_update();
            self.set_ready(state == State::Ready).await;
            if states.changed().await.is_err() {
                // Whoever sets the state is gone, so it stays as it is.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn follow_engines(&self, auth: &Auth) {
        loop {
            let store =
                async { tokio::time::timeout(PING_TIMEOUT, auth.store.ping()).await.is_ok_and(|it| it.is_ok()) };
            let vault =
                async { tokio::time::timeout(PING_TIMEOUT, auth.vault.ping()).await.is_ok_and(|it| it.is_ok()) };
            let (store, vault) = tokio::join!(store, vault);
            auth.metrics.engines(store, vault);
            self.set(LOGIN, store && vault).await;
            tokio::time::sleep(PING_INTERVAL).await;
        }
    }

    async fn set_ready(&self, is_ready: bool) {
        if self.said_ready.swap(is_ready, Ordering::Relaxed) == is_ready {
            return;
        }
        for name in READY {
            self.set(name, is_ready).await;
        }
    }

    async fn set(&self, name: &str, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(name, status).await;
    }
}
