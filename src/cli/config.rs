//! `config`: what a server would make of its settings, without starting one.

use serde_json::{Value, json};

use super::args::{ConfigArgs, ConfigCheckArgs, ConfigCommand};
use super::exit::Exit;
use super::failure::Failure;
use super::output::Answer;
use super::table::{Lines, Table, facts as facts_of, plain};
use crate::app::{self, Found, ServerFacts};
use crate::config::{self, Config, ConfigError, Fault, Loaded, Postgres, Setting};

pub(super) async fn run(args: ConfigArgs) -> Result<Answer, Failure> {
    match args.command {
        ConfigCommand::Check(args) => check(&args).await,
        ConfigCommand::Table => Ok(Answer::of_value(Value::Null, config::settings_table())),
    }
}

async fn check(args: &ConfigCheckArgs) -> Result<Answer, Failure> {
    let loaded = args.serve.sources().and_then(Config::load_all).and_then(Loaded::look_around);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) if args.json => return Ok(faults(&error)),
        Err(error) => return Err(Failure::local(error.to_string())),
    };
    match app::check(&loaded.config).await {
        Ok(found) => Ok(sound(loaded, found)),
        Err(error) => {
            let failure = Failure::local(error.to_string());
            Err(error.hints().into_iter().fold(failure, Failure::advise))
        }
    }
}

fn faults(error: &ConfigError) -> Answer {
    let faults: Vec<Value> = error.faults.iter().map(fault).collect();
    Answer::of_value(json!({ "faults": faults }), error.to_string()).with_exit(Exit::Refused)
}

fn fault(fault: &Fault) -> Value {
    let Fault { source, key, wrong, right } = fault;
    json!({ "source": source.to_string(), "key": key, "wrong": wrong, "right": right })
}

fn sound(loaded: Loaded, found: Found) -> Answer {
    let Loaded { settings, mut warnings, config } = loaded;
    if let (Some(server), config::Store::Postgres(set)) = (&found.server, &config.store) {
        warnings.extend(of_server(server, set, &settings));
    }
    let of_redis =
        found.of_redis.iter().map(|(wrong, right)| warning(&settings, "vault.redis.url", wrong.clone(), right));
    warnings.extend(of_redis);
    if let Some(before) = &found.other_issuer {
        let wrong = format!("servers have issued as {before}: every token that is out would be refused");
        warnings.push(warning(&settings, "issuer.url", wrong, "that one, unless it is meant"));
    }
    let set = || settings.iter().filter(|setting| !setting.value.is_empty());
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for setting in set() {
        table.row([setting.key.clone(), setting.value.clone(), setting.source.to_string()]);
    }
    let mut text = Lines::default();
    text.add(table.render());
    if !warnings.is_empty() {
        let noun = if warnings.len() == 1 { "warning" } else { "warnings" };
        let lines = config::in_columns(&warnings);
        text.add(format_args!("{} {noun}", warnings.len()));
        lines.lines().for_each(|line| text.add(format_args!("  {}", plain(line.trim_start()))));
        text.add("");
    }
    if let (Some(server), config::Store::Postgres(set)) = (&found.server, &config.store) {
        text.add(describe(server, set));
    }
    let store = match (found.schema, &found.server) {
        (Some(schema), Some(server)) if schema < server.newest_schema => {
            format!("the start brings the store from schema {schema} to {}", server.newest_schema)
        }
        (Some(schema), _) => format!("the store has schema {schema}"),
        (None, _) => "the first start makes the store".to_owned(),
    };
    let key = if found.makes_master_key { " and the master key" } else { "" };
    text.add(format_args!("A server can start on these settings; {store}{key}."));
    let value = json!({
        "settings": set().map(|setting| json!({
            "key": setting.key, "value": setting.value, "source": setting.source.to_string(),
        })).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(fault).collect::<Vec<_>>(),
        "schema": found.schema,
        "server": found.server.map(|server| json!({
            "address": server.server, "version": server.version, "encrypted": server.encrypted,
            "synchronousStandby": server.synchronous_standby, "connectionsMax": server.connections_max,
        })),
    });
    Answer::of_value(value, text.finish())
}

/// Beside one pool of the settings' size: the feed's two.
const BESIDE_POOL: usize = 2;

fn describe(server: &ServerFacts, set: &Postgres) -> String {
    let (version, minor) = (server.version / 10_000, server.version % 10_000);
    let facts = [
        ("server", format!("PostgreSQL {version}.{minor} at {}", plain(&server.server))),
        ("schema", format!("{} of {}", server.schema, server.newest_schema)),
        ("TLS", if server.encrypted { "yes" } else { "no" }.to_owned()),
        ("standby", if server.synchronous_standby { "synchronous" } else { "none that commits wait for" }.to_owned()),
        (
            "pool",
            format!(
                "{} connections a replica, and {BESIDE_POOL}; the server has {}",
                set.pool_size, server.connections_max
            ),
        ),
    ];
    facts_of(facts)
}

fn warning(settings: &[Setting], key: &str, wrong: String, right: &str) -> Fault {
    let source = settings.iter().find(|setting| setting.key.starts_with(key)).map(|setting| setting.source.clone());
    let (key, right) = (key.to_owned(), right.to_owned());
    Fault { source: source.unwrap_or(config::Source::Default), key, wrong, right }
}

/// What of the server an operator should change.
fn of_server(server: &ServerFacts, set: &Postgres, settings: &[Setting]) -> Vec<Fault> {
    let fault = |key: &str, wrong: String, right: &str| warning(settings, key, wrong, right);
    let mut faults = Vec::new();
    if !server.synchronous_standby {
        let wrong = "no synchronous standby: a fail-over may forget a revocation that was acknowledged".to_owned();
        faults.push(fault("store.postgres.url", wrong, "set synchronous_standby_names on the server"));
    }
    let is_here =
        server.server.starts_with('/') || server.server.starts_with("127.") || server.server.starts_with("localhost:");
    if !server.encrypted && !is_here {
        let wrong = "in clear text: whoever is on the way reads passwords' hashes and sealed keys".to_owned();
        faults.push(fault("store.postgres.url", wrong, "sslmode=verify-full, and sslrootcert=FILE"));
    }
    let taken = i64::try_from(set.pool_size.saturating_add(BESIDE_POOL)).unwrap_or(i64::MAX);
    if !set.pooler && taken > server.connections_max {
        let wrong =
            format!("{taken} connections of one replica are more than the server has ({})", server.connections_max);
        faults.push(fault("store.postgres.pool_size", wrong, "a smaller pool, or more max_connections"));
    }
    faults
}
