//! Administration without a server, for whoever has its settings and what they lead to: the way back in when no
//! administrator knows a password any more. On an embedded store it takes the lock that a server takes, so that there is
//! never both. On PostgreSQL it is one more replica, without doors: what it changes reaches the servers as any change does.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::data_dir::DataDir;
use crate::app::service::{self, Engines};
use crate::app::{StartError, engines};
use crate::clock::Clock;
use crate::config::{self, Config, Postgres};
use crate::grpc::{self, InProcess};
use crate::store::Store;

/// Enough for one command. The servers may have taken all but a few of the connections that there are.
const CONNECTIONS: usize = 2;

/// An opened store with administration on it, and no door.
pub struct Offline {
    store: Store,
    admin: InProcess,
    background: TaskTracker,
    stop_background: CancellationToken,
    _data: Option<DataDir>,
}

impl Offline {
    /// Opens what a server has left; makes nothing where none has been.
    pub async fn open(mut config: Config) -> Result<Self, StartError> {
        // Nobody signs in here.
        config.providers.clear();
        config.trusted_issuers.clear();
        let clock = Clock::default();
        let (store, data) = match &config.store {
            config::Store::Sqlite { path } => embedded(&config, path, clock.clone()).await?,
            config::Store::Postgres(server) => (served(server, clock.clone()).await?, None),
        };
        let (background, stop_background) = (TaskTracker::new(), CancellationToken::new());
        let vault = engines::vault_when_asked(&config, &store, &background, &stop_background)?;
        let engines = Engines { store: store.clone(), vault, background: &background, stop: &stop_background };
        let (auth, _made_key) = service::open(&config, &clock, engines).await?;
        Ok(Self { store, admin: grpc::in_process(&auth), background, stop_background, _data: data })
    }

    /// AdminService, as the operator of this machine.
    pub fn admin(&self) -> InProcess {
        self.admin.clone()
    }

    /// Writes what is still to be written, and lets go of the data.
    pub async fn close(self) {
        let Self { store, background, stop_background, .. } = &self;
        stop_background.cancel();
        background.close();
        background.wait().await;
        store.close().await;
    }
}

async fn embedded(config: &Config, path: &Path, clock: Clock) -> Result<(Store, Option<DataDir>), StartError> {
    if !path.exists() {
        return Err(StartError::NoStore { path: path.to_owned() });
    }
    let mut data = DataDir::lock(&config.data_dir)?;
    data.sign().map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
    Ok((engines::store(config, clock).await?, Some(data)))
}

/// Never migrates: servers of another version may run on it.
async fn served(server: &Postgres, clock: Clock) -> Result<Store, StartError> {
    let few = Postgres { pool_size: server.pool_size.min(CONNECTIONS), ..server.clone() };
    let store = engines::connect(&few, engines::URL, clock).await?;
    // What the first start makes belongs to a server: nobody would look for a master key in the folder of an operator.
    if !store.has_master_keys().await? {
        let server = store.server().map(|facts| facts.server.clone()).unwrap_or_default();
        return Err(StartError::NeverServed { server });
    }
    Ok(store)
}
