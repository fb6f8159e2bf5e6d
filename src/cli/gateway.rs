//! The gateway as a process of its own: settings from all layers, the log, then browsers until it is told to stop.

use std::io::{self, IsTerminal as _};

use serde_json::json;

use super::args::ServeArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::serve::{begin, not_started};
use super::table::{Lines, padded, plain};
use crate::app::gateway::{self, GatewayReport};
use crate::config::{Config, ConfigError, Loaded, Profile};
use crate::telemetry;

pub(super) async fn run(args: ServeArgs) -> Exit {
    let output = Output::new(false);
    let config = match load(&args).map_err(|error| Failure::local(error.to_string())).and_then(begin) {
        Ok(config) => config,
        Err(failure) => return output.failure(&failure),
    };
    let is_terminal = io::stdout().is_terminal();
    let started = |report: &GatewayReport| {
        let text = if is_terminal { for_people(report) } else { for_programs(report) };
        telemetry::flush();
        // A gateway whose terminal is gone goes on serving.
        output.say(&text).unwrap_or_default();
    };
    let served = Box::pin(gateway::serve(config, started)).await;
    telemetry::end_traces();
    telemetry::flush();
    match served {
        Ok(()) => Exit::Done,
        Err(error) => output.failure(&not_started(&error)),
    }
}

fn load(args: &ServeArgs) -> Result<Loaded, ConfigError> {
    let loaded = Config::load_gateway(args.sources()?)?;
    match loaded.config.profile {
        Profile::Development => Ok(loaded),
        Profile::Production => loaded.look_around_gateway(),
    }
}

fn for_people(report: &GatewayReport) -> String {
    let mut out = Lines::default();
    out.add(format_args!("\n  Postern {}   gateway\n", report.version));
    let rows =
        [("browser", plain(&report.url)), ("listens", report.listens.to_string()), ("server", plain(&report.server))];
    for (name, what) in rows {
        out.add(format_args!("  {}{what}", padded(name, 10)));
    }
    out.add("\n  Ready. Ctrl-C stops it.\n");
    out.finish()
}

/// As the server has it: one fact a line.
fn for_programs(report: &GatewayReport) -> String {
    let GatewayReport { version, profile, url, listens, server, tls } = report;
    let profile = match profile {
        Profile::Development => "development",
        Profile::Production => "production",
    };
    let mut out = Lines::default();
    for fact in [
        json!({ "fact": "postern", "version": version, "profile": profile }),
        json!({ "fact": "gateway", "url": url, "address": listens.to_string(), "tls": tls }),
        json!({ "fact": "server", "url": server }),
        json!({ "fact": "ready" }),
    ] {
        out.add(fact);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_it_is_and_whom_it_asks() {
        let report = GatewayReport {
            version: "0.1.0",
            profile: Profile::Production,
            url: "https://auth.example.com".to_owned(),
            listens: ([127, 0, 0, 1], 7302).into(),
            server: "https://postern.internal:7301".to_owned(),
            tls: true,
        };
        insta::assert_snapshot!(for_people(&report) + &for_programs(&report), @r#"
          Postern 0.1.0   gateway

          browser   https://auth.example.com
          listens   127.0.0.1:7302
          server    https://postern.internal:7301

          Ready. Ctrl-C stops it.

        {"fact":"postern","profile":"production","version":"0.1.0"}
        {"address":"127.0.0.1:7302","fact":"gateway","tls":true,"url":"https://auth.example.com"}
        {"fact":"server","url":"https://postern.internal:7301"}
        {"fact":"ready"}
        "#);
    }
}
