//! Administration of the store itself: of a data directory while no server runs on it, or of PostgreSQL beside the servers.

use std::path::Path;

use crate::app::{Offline, StartError};
use crate::cli::failure::Failure;
use crate::config::{Config, Sources};

/// With the settings that a server started here, with this file, would have.
pub(super) async fn open(data_dir: &Path, config: Option<&Path>) -> Result<Offline, Failure> {
    let overrides = vec![("data_dir".to_owned(), data_dir.display().to_string())];
    let config = Sources::from_process(config.map(Path::to_owned), overrides).and_then(Config::load);
    let config = config.map_err(|error| Failure::local(error.to_string()))?;
    Offline::open(config).await.map_err(|error| failure(&error))
}

fn failure(error: &StartError) -> Failure {
    let failure = Failure::local(error.to_string());
    match error {
        StartError::Locked { .. } => {
            failure.advise("Stop it first; or leave --offline away and ask it: postern login, then this command")
        }
        StartError::NoStore { .. } => failure.advise("Name the folder that the server was started with: --offline DIR"),
        _ => error.hints().into_iter().fold(failure, Failure::advise),
    }
}
