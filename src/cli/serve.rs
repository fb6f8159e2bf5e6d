//! Serving: settings from all layers, the log, then the app until it is told to stop.

use std::io::{self, IsTerminal as _};

use super::args::ServeArgs;
use super::banner;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use crate::app::{self, FirstPassword, StartError};
use crate::config::{self, Config, ConfigError, Loaded, Profile};
use crate::telemetry;

pub(super) async fn run(args: ServeArgs) -> Exit {
    let output = Output::new(false);
    // The error aligns its own lines, and counts the faults in the first.
    let config = match load(&args).map_err(|error| Failure::local(error.to_string())).and_then(begin) {
        Ok(config) => config,
        Err(failure) => return output.failure(&failure),
    };
    // Both must be terminals: a password on a redirected stream would be kept with the log.
    let is_terminal = io::stdout().is_terminal();
    let first_password = if is_terminal { FirstPassword::Show } else { FirstPassword::WriteToFile };
    let program =
        std::env::args_os().next().map_or_else(|| "postern".into(), |name| name.to_string_lossy().into_owned());
    let started = |report: &app::StartReport| {
        let text = if is_terminal {
            banner::for_people(report, &program, output.paint(true))
        } else {
            banner::for_programs(report)
        };
        telemetry::flush();
        // A server whose terminal is gone goes on serving.
        output.say(&text).unwrap_or_default();
    };
    let served = Box::pin(app::serve(config, first_password, started)).await;
    telemetry::end_traces();
    telemetry::flush();
    match served {
        Ok(()) => Exit::Done,
        Err(error) => output.failure(&not_started(&error)),
    }
}

/// Opens the log, and tells there what the operator should know.
pub(super) fn begin(loaded: Loaded) -> Result<Config, Failure> {
    let Loaded { config, warnings, .. } = loaded;
    telemetry::init(&config.log, &config.telemetry, io::stderr().is_terminal())
        .map_err(|error| Failure::local(error.to_string()))?;
    for warning in warnings {
        let config::Fault { source, key, wrong, right } = warning;
        tracing::warn!(%source, key, right, "{wrong}");
    }
    Ok(config)
}

/// All that can be said before anything is made. Development finds out as it goes, since it makes what is missing.
pub(super) fn load(args: &ServeArgs) -> Result<Loaded, ConfigError> {
    let loaded = Config::load_all(args.sources()?)?;
    match loaded.config.profile {
        Profile::Development => Ok(loaded),
        Profile::Production => loaded.look_around(),
    }
}

pub(super) fn not_started(error: &StartError) -> Failure {
    error.hints().into_iter().fold(Failure::local(error.to_string()), Failure::advise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::Paint;

    #[test]
    fn a_start_error_is_one_line_and_what_to_do() {
        let error = StartError::Locked { path: "./postern-data".into(), holder: Some(4182) };
        let failure = not_started(&error);
        assert_eq!(failure.exit, Exit::Refused);
        insta::assert_snapshot!(failure.text(Paint::Off));
    }
}
