//! Composition: settings in, a running service out. The only room that knows all others; it decides nothing.

mod bootstrap;
mod check;
mod clients;
mod data_dir;
mod first_start;
mod hardening;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::data_dir::DataDir;
use crate::auth::audit::Audit;
use crate::auth::clients::ClientConflict;
use crate::auth::feed::FeedTask;
use crate::auth::keyring::Keyring;
use crate::auth::passwords::{HashSettings, Passwords};
use crate::auth::{Auth, Rules};
use crate::clock::Clock;
use crate::config::{self, Config, Profile, WhenStale};
use crate::domain::id::ClientId;
use crate::grpc::{self, GrpcParts};
use crate::http;
use crate::readiness::Readiness;
use crate::store::{OpenError, Store, StoreError};
use crate::vault::sessions::Sessions;
use crate::verifier::{CACHE_BYTES_DEFAULT, Settings, Verifier};

pub use bootstrap::{Bootstrap, BootstrapError, Bootstrapped, FirstClient, bootstrap};
pub use check::{Found, check};
pub use first_start::{FirstPassword, InitialPassword, NewAdministrator};

const JWKS_MAX_AGE: Duration = Duration::from_mins(5);
const PURGE_EVERY: Duration = Duration::from_hours(1);

/// Why the service did not start. Nothing that was there is changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path} cannot be used: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("another postern{} runs on {}", pid(*.holder), .path.display())]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error("{address} cannot be listened on: {source}")]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    #[error("the master key cannot be used: {wrong}")]
    MasterKey { wrong: String },
    #[error("the master key is missing: {}", .path.display())]
    MasterKeyLost { path: PathBuf },
    #[error("there is no master key yet: {} does not exist", .path.display())]
    MasterKeyNotMade { path: PathBuf },
    #[error("{place} holds another master key {number} than the one this store was made with")]
    MasterKeyForeign { number: u8, place: String },
    #[error("{0}")]
    Clients(#[from] ClientConflict),
    #[error("client `{id}` in [[clients]]: its secret cannot be used: {wrong}")]
    ClientSecret { id: ClientId, wrong: String },
    #[error("{0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

fn pid(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl StartError {
    /// What to do about it, a line each.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Locked { .. } => Some(
                "stop it, or start this one elsewhere:  postern --data ./other \
                 --listen.grpc 127.0.0.1:7311 --listen.operations 127.0.0.1:7313"
                    .into(),
            ),
            Self::Listen { setting, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some(format!("name another port beside your other options:  --{setting} 127.0.0.1:7321"))
            }
            Self::MasterKeyLost { .. } => Some(
                "put the key file back from your backups; without it sessions and signing keys cannot be opened".into(),
            ),
            Self::MasterKeyNotMade { .. } => {
                Some("in production nobody makes it up: postern master-key new, and keep it apart from the data".into())
            }
            Self::MasterKeyForeign { .. } => {
                Some("put back the key file that belongs to this data directory; nothing was changed".into())
            }
            Self::Clients(ClientConflict::AlsoStored { id }) => Some(format!(
                "take it out of [[clients]], or start without it and delete the other:  postern admin clients delete {id}"
            )),
            Self::Clients(ClientConflict::Reserved { .. }) => Some("give it another id in [[clients]]".into()),
            Self::Clients(_) => {
                Some("leave it to one of them in [[clients]]; what AdminService registered is changed there".into())
            }
            Self::ClientSecret { .. } => Some(
                "it must be `pcs_` and 32 random bytes:  \
                 printf 'pcs_%s' \"$(openssl rand 32 | basenc --base64url | tr -d =)\""
                    .into(),
            ),
            _ => None,
        };
        hint.into_iter().collect()
    }
}

/// What a server has to tell once it serves. Its `Debug` shows no password, since `SecretString` has none to show.
#[derive(Debug)]
pub struct StartReport {
    /// Of the binary.
    pub version: &'static str,
    pub profile: Profile,
    pub store_path: PathBuf,
    /// By this start.
    pub store_created: bool,
    /// The version of the store's tables.
    pub schema: i64,
    /// Unset if the key is in the configuration.
    pub master_key_path: Option<PathBuf>,
    /// By this start.
    pub master_key_created: bool,
    pub signing_key: SigningKeyReport,
    pub issuer: String,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
    /// Whether gRPC reflection answers.
    pub reflection: bool,
    /// Only at the very first start.
    pub administrator: Option<NewAdministrator>,
    pub elapsed: Duration,
}

/// The key that signs.
#[derive(Debug)]
pub struct SigningKeyReport {
    pub algorithm: &'static str,
    pub kid: String,
}

/// A service that listens but does not answer yet: [`App::run`] does.
pub struct App {
    pub auth: Arc<Auth>,
    pub report: StartReport,
    readiness: Arc<Readiness>,
    grpc: TcpListener,
    operations: TcpListener,
    background: TaskTracker,
    stop_background: CancellationToken,
    _data: DataDir,
}

impl App {
    /// Opens everything, makes what the first start makes, and loads the verifier. `first` says where a first
    /// password may go.
    pub async fn start(config: Config, clock: Clock, first: FirstPassword) -> Result<Self, StartError> {
        let began = clock.moment();
        let mut data = DataDir::lock(&config.data_dir)?;
        let grpc = listen("listen.grpc", config.listen.grpc).await?;
        let operations = listen("listen.operations", config.listen.operations).await?;
        data.sign().map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;

        let config::Store::Sqlite { path } = &config.store;
        let store = Store::open(path, clock.clone()).await?;
        let (masters, master_key_created) = first_start::master_keys(&config, &store).await?;
        let issuer = first_start::issuer(&config, &store).await?;
        let keyring = Arc::new(Keyring::new(masters.keyring_sealer()));
        first_start::signing_key(&store, &keyring, &masters).await?;

        let verifier = Arc::new(Verifier::new(Settings {
            issuer: issuer.clone(),
            max_staleness: config.feed.max_staleness,
            serve_stale: config.feed.when_stale == WhenStale::Serve,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }));
        let clients = Arc::new(clients::clients(&config, &issuer)?);
        clients.check(&store.clients().await?)?;
        let (feed, mut feed_task) = FeedTask::new(
            store.clone(),
            Arc::clone(&verifier),
            Arc::clone(&keyring),
            Arc::clone(&clients),
            clock.clone(),
            config.feed.poll_interval,
        );
        feed_task.load().await.map_err(internal)?;

        let passwords = Passwords::start(&hash_settings(&config.passwords)).map_err(internal)?;
        let administrator = match config.profile {
            Profile::Development => first_start::administrator(&store, &passwords, &data, first).await?,
            Profile::Production => first_start::nobody_made_up(&store).await?,
        };
        let (audit, audit_task) = Audit::new(store.clone());
        let signing = keyring.signing(clock.now()).map_err(internal)?;

        let background = TaskTracker::new();
        let stop_background = CancellationToken::new();
        background.spawn(feed_task.run(stop_background.clone()));
        background.spawn(audit_task.run(stop_background.clone()));
        background.spawn(purge(store.clone(), stop_background.clone()));

        let auth = Arc::new(Auth {
            sessions: Sessions::new(Arc::new(store.vault()), masters.sealer("session")),
            summaries: masters.sealer("summary"),
            clients,
            rules: Rules {
                issuer: issuer.clone(),
                late_repeats: config.refresh.late_repeats,
                password_min_length: config.passwords.min_length,
                jwks_max_age: JWKS_MAX_AGE,
            },
            store,
            verifier,
            keyring,
            masters,
            passwords,
            feed,
            audit,
            clock: clock.clone(),
            replica: uuid::Uuid::now_v7(),
        });
        let report = StartReport {
            version: env!("CARGO_PKG_VERSION"),
            profile: config.profile,
            store_path: path.clone(),
            store_created: auth.store.created(),
            schema: auth.store.schema_version(),
            master_key_path: match &config.keys.master {
                config::SecretSource::File(path) => Some(path.clone()),
                config::SecretSource::Value(_) => None,
            },
            master_key_created,
            signing_key: SigningKeyReport { algorithm: signing.algorithm.name(), kid: signing.kid.clone() },
            issuer,
            grpc: local(&grpc, config.listen.grpc),
            operations: local(&operations, config.listen.operations),
            // A stranger need not be told what there is to call.
            reflection: config.profile == Profile::Development,
            administrator,
            elapsed: clock.moment().since(began),
        };
        let readiness = Arc::new(Readiness::default());
        readiness.loaded();
        Ok(Self { auth, report, readiness, grpc, operations, background, stop_background, _data: data })
    }
}

impl App {
    /// Serves until `shutdown`, then drains: calls first, then what they left behind, then the store.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let Self { auth, report, readiness, grpc, operations, background, stop_background, .. } = self;
        if report.administrator.is_some() {
            first_start::administrator_was_told(&auth.store).await?;
        }
        let (stop_grpc, stop_operations) = (CancellationToken::new(), CancellationToken::new());
        let parts =
            GrpcParts { auth: Arc::clone(&auth), readiness: Arc::clone(&readiness), reflection: report.reflection };
        let grpc = grpc::serve(grpc, parts, stop_grpc.clone());
        let operations = http::serve(operations, Arc::clone(&readiness), stop_operations.clone());
        let (mut grpc, mut operations) = (std::pin::pin!(grpc), std::pin::pin!(operations));
        let outcome = tokio::select! {
            // A door that closes by itself has failed.
            outcome = &mut grpc => outcome.map_err(internal),
            outcome = &mut operations => outcome.map_err(internal),
            () = shutdown => {
                readiness.drain();
                stop_grpc.cancel();
                // The probes stay open until the last call is answered, so that the drain can be seen.
                let drained = tokio::select! {
                    drained = &mut grpc => drained.map_err(internal),
                    outcome = &mut operations => outcome.map_err(internal),
                };
                stop_operations.cancel();
                operations.await.map_err(internal).and(drained)
            }
        };
        stop_background.cancel();
        background.close();
        background.wait().await;
        auth.store.close().await;
        outcome
    }
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
    let asked = asked_to_stop();
    started(&app.report);
    app.run(asked).await
}

/// Ctrl-C, or what a supervisor sends; caught from this call on, not from the first poll.
fn asked_to_stop() -> impl Future<Output = ()> {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
        }
        tracing::info!("stopping: calls that have begun may finish");
    }
}

async fn received(signal: io::Result<Signal>) {
    match signal {
        Ok(mut signal) => drop(signal.recv().await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { setting, address, source })
}

/// The address with the port that the system chose, if it was asked to.
fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
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

/// Frees what has outlived its use. Nothing is judged by it.
async fn purge(store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PURGE_EVERY) => {}
            () = stop.cancelled() => return,
        }
        match store.purge().await {
            Ok(purged) => tracing::debug!(?purged, "purged"),
            Err(why) => tracing::warn!(%why, "the hourly purge failed"),
        }
    }
}
