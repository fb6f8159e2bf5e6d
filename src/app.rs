//! Composition: settings in, a running service out. The only room that knows all others; it decides nothing.

mod bootstrap;
mod check;
mod clients;
mod counts;
mod data_dir;
mod engines;
mod error;
mod first_start;
pub mod gateway;
mod hardening;
pub mod master_key;
mod migrate;
mod migrate_store;
mod offline;
mod ports;
mod providers;
mod report;
mod service;
mod trusted;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::data_dir::DataDir;
use crate::app::ports::{Listeners, Ports};
use crate::app::service::Engines;
use crate::auth::Auth;
use crate::auth::password_rules::PasswordRules;
use crate::auth::passwords::HashSettings;
use crate::breached::BreachedFile;
use crate::clock::Clock;
use crate::config::{self, Config, Profile};
use crate::domain::password::Context;
use crate::grpc::{self, GrpcParts};
use crate::http::gateway::Gateway;
use crate::http::operations;
use crate::listener::Patience;
use crate::readiness::Readiness;
use crate::store::Store;
use crate::tls::{self, ServerTls};

pub use bootstrap::{Bootstrap, BootstrapError, Bootstrapped, FirstClient, bootstrap};
pub use check::{Found, check};
pub use error::StartError;
pub use first_start::{FirstPassword, InitialPassword, NewAdministrator};
pub use migrate::{Migration, migrate};
pub use migrate_store::{MoveError, Moved, Plan, migrate_store};
pub use offline::Offline;
pub use report::{SigningKeyReport, StartReport, StorePlace};

pub use crate::grpc::InProcess;
pub use crate::store::{CopiedTable, CopyError, ServerFacts};

const PURGE_EVERY: Duration = Duration::from_hours(1);

/// A service that listens but does not answer yet: [`App::run`] does.
pub struct App {
    pub auth: Arc<Auth>,
    pub report: StartReport,
    /// How long peers may be silent.
    pub patience: Patience,
    readiness: Arc<Readiness>,
    ports: Ports,
    gateway: Option<Gateway>,
    connection_age: Duration,
    background: TaskTracker,
    stop_background: CancellationToken,
    _data: Option<DataDir>,
}

impl App {
    /// Opens everything, makes what the first start makes, and loads the verifier. `first` says where a first
    /// password may go.
    pub async fn start(mut config: Config, clock: Clock, first: FirstPassword) -> Result<Self, StartError> {
        let began = clock.moment();
        let mut data = data_dir(&config)?;
        let ports = Ports::open(&config, &clock)?;
        // Said to nobody yet: clients and providers are told where browsers come back to.
        gateway::settle_url(&mut config, ports.gateway());
        if let Some(data) = &mut data {
            data.sign().map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
        }

        let store = engines::store(&config, clock.clone()).await?;
        let (background, stop_background) = (TaskTracker::new(), CancellationToken::new());
        let vault = engines::vault(&config, &store, &background, &stop_background).await?;
        let engines = Engines { store, vault, background: &background, stop: &stop_background };
        let (auth, master_key_created) = service::open(&config, &clock, engines).await?;
        let store = auth.store.clone();
        let noting = master_key::Noting::start(&store, &auth.masters, &auth.clients).await?;
        let administrator = match &data {
            Some(data) if config.profile == Profile::Development => {
                first_start::administrator(&store, &auth.passwords, data, first).await?
            }
            _ => first_start::nobody_made_up(&store).await?,
        };
        let signing = auth.keyring.signing_or_next(clock.now()).map_err(internal)?;

        background.spawn(purge(store.clone(), config.audit.retention, stop_background.clone()));
        background.spawn(noting.run(stop_background.clone()));
        background.spawn(engines::watch_standby(store, stop_background.clone()));
        if let Some(tls) = ports.tls.clone() {
            background.spawn(tls.watch(tls::POLL_INTERVAL, stop_background.clone()));
        }
        let (levelling, stop_levelling) = (Arc::clone(&auth), stop_background.clone());
        background.spawn(async move { levelling.level_passwords(stop_levelling).await });
        let (rotating, stop_rotating) = (Arc::clone(&auth), stop_background.clone());
        background.spawn(async move { rotating.rotate_keys(stop_rotating).await });
        let report = StartReport {
            version: env!("CARGO_PKG_VERSION"),
            profile: config.profile,
            store: engines::place(&config, &auth.store),
            vault: engines::vault_place(&config),
            store_created: auth.store.created(),
            schema: auth.store.schema_version(),
            master_key_path: match &config.keys.master {
                config::SecretSource::File(path) => Some(path.clone()),
                config::SecretSource::Value(_) => None,
            },
            master_key_created,
            signing_key: SigningKeyReport {
                algorithm: signing.stored.algorithm.name(),
                kid: signing.stored.kid.clone(),
            },
            issuer: auth.rules.issuer.clone(),
            grpc: ports.grpc().unwrap_or(config.listen.grpc),
            admin: ports.admin().or(config.listen.admin),
            operations: ports.operations().unwrap_or(config.listen.operations),
            gateway: ports.gateway().and_then(|_| config.gateway.url.clone()),
            tls: ports.tls.is_some(),
            // A stranger need not be told what there is to call.
            reflection: config.profile == Profile::Development,
            administrator,
            elapsed: clock.moment().since(began),
        };
        let gateway = match ports.gateway() {
            Some(_) => Some(gateway::in_process(&config, &auth, clock.clone())?),
            None => None,
        };
        let readiness = Arc::new(Readiness::default());
        readiness.loaded();
        counts::of_process(&auth.metrics, &readiness, ports.tls.clone());
        if let Some(gateway) = &gateway {
            let help = "Requests of browsers that were answered, by route and class of status";
            auth.metrics.register("gateway_requests", help, gateway.requests());
        }
        let (patience, connection_age) = (Patience::default(), config.limits.connection_age);
        Ok(Self {
            auth,
            report,
            patience,
            readiness,
            ports,
            gateway,
            connection_age,
            background,
            stop_background,
            _data: data,
        })
    }

    /// The certificate that is shown, for whoever cannot wait until a change of its files is noticed.
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.ports.tls.clone()
    }
}

impl App {
    /// Serves until `shutdown`, then drains: calls first, then what they left behind, then the store.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let Self {
            auth, report, patience, readiness, ports, gateway, connection_age, background, stop_background, ..
        } = self;
        if report.administrator.is_some() {
            first_start::administrator_was_told(&auth.store).await?;
        }
        let (stop_grpc, stop_operations) = (CancellationToken::new(), CancellationToken::new());
        let Listeners { doors, operations: probe_door, gateway: page_door } =
            ports.into_listeners(patience, &auth.metrics).map_err(internal)?;
        let parts = GrpcParts {
            auth: Arc::clone(&auth),
            readiness: Arc::clone(&readiness),
            reflection: report.reflection,
            connection_age,
        };
        let calls = grpc::serve(doors, parts, stop_grpc.clone());
        // On the heap: it is large, and all that waits for it would be as large on every stack.
        let pages = Box::pin(async {
            if let Some((gateway, listener)) = gateway.zip(page_door) {
                gateway.serve(listener, stop_grpc.clone()).await;
            }
        });
        let probes =
            operations::serve(probe_door, Arc::clone(&readiness), auth.metrics.clone(), stop_operations.clone());
        let asked = async {
            shutdown.await;
            readiness.drain();
            stop_grpc.cancel();
        };
        let answered = async {
            let mut calls = std::pin::pin!(calls);
            let serving = async {
                tokio::select! {
                    failed = calls.as_mut() => failed,
                    () = asked => calls.await,
                }
            };
            // Beside the calls, not behind them: what browsers have begun needs no port of gRPC, only what stands behind it.
            let (answered, ()) = tokio::join!(serving, pages);
            // The probes stay open until the last call is answered, so that the drain can be seen.
            stop_operations.cancel();
            answered.map_err(internal)
        };
        let (outcome, ()) = tokio::join!(answered, probes);
        stop_background.cancel();
        background.close();
        background.wait().await;
        auth.store.close().await;
        outcome
    }
}

/// Where a store of our own is kept, or what development makes. A replica in production keeps nothing on its machine.
fn data_dir(config: &Config) -> Result<Option<DataDir>, StartError> {
    let keeps_nothing = config.profile == Profile::Production && matches!(config.store, config::Store::Postgres(_));
    if keeps_nothing { Ok(None) } else { DataDir::lock(&config.data_dir).map(Some) }
}

fn internal(why: impl std::error::Error + Send + Sync + 'static) -> StartError {
    StartError::Internal(Box::new(why))
}

/// Starts, tells what there is to tell, and serves until the process is asked to stop.
pub async fn serve(
    config: Config,
    first_password: FirstPassword,
    started: impl FnOnce(&StartReport),
) -> Result<(), StartError> {
    if config.profile == Profile::Production {
        hardening::keep_memory_private().map_err(internal)?;
    }
    let app = App::start(config, Clock::default(), first_password).await?;
    // Before anybody is told: whoever waits for that may ask at once, and would end the process without a drain.
    let (asked, asked_again) = signals();
    started(&app.report);
    tokio::select! {
        outcome = app.run(asked) => outcome,
        () = asked_again => Err(StartError::Interrupted),
    }
}

/// Ctrl-C, or what a supervisor sends; caught from this call on, not from the first poll. The second future, Ctrl-C from
/// then on, drives the first.
fn signals() -> (impl Future<Output = ()>, impl Future<Output = ()>) {
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let stop = CancellationToken::new();
    let asked = stop.clone().cancelled_owned();
    let asked_again = async move {
        // One listener hears both: to a second one that has yet to hear the first, two signals would be one.
        tokio::select! {
            biased;
            () = received(&mut interrupt) => {}
            () = received(&mut terminate) => {}
        }
        tracing::info!("stopping: calls that have begun may finish; Ctrl-C again ends them");
        stop.cancel();
        received(&mut interrupt).await;
    };
    (asked, asked_again)
}

async fn received(signal: &mut io::Result<Signal>) {
    match signal {
        Ok(signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}

fn hash_settings(passwords: &config::Passwords) -> HashSettings {
    HashSettings {
        memory_kib: passwords.memory_kib,
        iterations: passwords.iterations,
        parallelism: passwords.parallelism,
        threads: NonZeroUsize::new(passwords.threads).unwrap_or(NonZeroUsize::MIN),
        queue: passwords.queue,
    }
}

/// Beside what is configured, nobody's password may live on the product's name or the host's.
fn password_rules(passwords: &config::Passwords, issuer: Option<&str>) -> PasswordRules {
    let url = issuer.and_then(|issuer| url::Url::parse(issuer).ok());
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    // The last label is nobody's name.
    let named = host.rsplit_once('.').map_or(host, |(named, _last)| named);
    let words = passwords.context_words.iter().map(String::as_str);
    PasswordRules {
        min_length: passwords.min_length,
        context: Context::of(["postern", named].into_iter().chain(words)),
        breached: passwords.breached_file.clone().map(BreachedFile::at),
    }
}

/// Frees what has outlived its use. Nothing is judged by it.
async fn purge(store: Store, audit_kept: Option<Duration>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PURGE_EVERY) => {}
            () = stop.cancelled() => return,
        }
        match store.purge().await {
            Ok(purged) => tracing::debug!(?purged, "purged"),
            Err(why) => tracing::warn!(%why, "the hourly purge failed"),
        }
        let Some(kept) = audit_kept else { continue };
        match store.purge_audit(kept).await {
            Ok(purged) => tracing::debug!(purged, "the audit log was purged"),
            Err(why) => tracing::warn!(%why, "the audit log was not purged"),
        }
    }
}
