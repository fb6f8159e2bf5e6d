//! Administration without a server, for whoever may read the data directory: the way back in when no administrator knows
//! a password any more. It takes the lock that a server takes, so that there is never both.

use crate::app::{App, FirstPassword, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::grpc::{self, InProcess};

/// An opened store with administration on it, and no door.
pub struct Offline {
    app: App,
    admin: InProcess,
}

impl Offline {
    /// Opens what a server has left; makes nothing where none has been.
    pub async fn open(mut config: Config) -> Result<Self, StartError> {
        let crate::config::Store::Sqlite { path } = &config.store else {
            return Err(StartError::NotEmbedded { what: "--offline" });
        };
        if !path.exists() {
            return Err(StartError::NoStore { path: path.clone() });
        }
        // Ports that nobody is told of and nobody answers at.
        let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        (config.listen.grpc, config.listen.admin, config.listen.operations) = (any, None, any);
        config.tls = None;
        let app = App::start(config, Clock::default(), FirstPassword::WriteToFile).await?;
        let admin = grpc::in_process(&app.auth);
        Ok(Self { app, admin })
    }

    /// AdminService, as the operator of this machine.
    pub fn admin(&self) -> InProcess {
        self.admin.clone()
    }

    /// Writes what is still to be written, and lets go of the data.
    pub async fn close(self) {
        let App { auth, background, stop_background, .. } = self.app;
        stop_background.cancel();
        background.close();
        background.wait().await;
        auth.store.close().await;
    }
}
