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
    let Loaded { config, warnings, .. } = match load(&args) {
        Ok(loaded) => loaded,
        // It aligns its own lines, and counts the faults in the first.
        Err(error) => return output.failure(&Failure::local(error.to_string())),
    };
    if let Err(error) = telemetry::init(&config.log, io::stderr().is_terminal()) {
        return output.failure(&Failure::local(error.to_string()));
    }
    for warning in warnings {
        let config::Fault { source, key, wrong, right } = warning;
        tracing::warn!(%source, key, right, "{wrong}");
    }
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
        // A server whose terminal is gone goes on serving.
        output.say(&text).unwrap_or_default();
    };
    match Box::pin(app::serve(config, first_password, started)).await {
        Ok(()) => Exit::Done,
        Err(error) => output.failure(&not_started(&error)),
    }
}

/// All that can be said before anything is made. Development finds out as it goes, since it makes what is missing.
pub(super) fn load(args: &ServeArgs) -> Result<Loaded, ConfigError> {
    let loaded = Config::load_all(args.sources()?)?;
    match loaded.config.profile {
        Profile::Development => Ok(loaded),
        Profile::Production => loaded.look_around(),
    }
}

fn not_started(error: &StartError) -> Failure {
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
