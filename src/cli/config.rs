//! `config`: what a server would make of its settings, without starting one.

use serde_json::{Value, json};

use super::args::{ConfigArgs, ConfigCheckArgs, ConfigCommand};
use super::exit::Exit;
use super::failure::Failure;
use super::output::Answer;
use super::table::{Lines, Table, plain};
use crate::app::{self, Found};
use crate::config::{self, Config, ConfigError, Fault, Loaded, Profile};

pub(super) async fn run(args: ConfigArgs) -> Result<Answer, Failure> {
    match args.command {
        ConfigCommand::Check(args) => check(&args).await,
        ConfigCommand::Table => Ok(Answer::of_value(Value::Null, config::settings_table())),
    }
}

async fn check(args: &ConfigCheckArgs) -> Result<Answer, Failure> {
    let loaded = args.serve.sources().and_then(Config::load_all).and_then(Loaded::look_around);
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) if args.json => return Ok(faults(&error)),
        Err(error) => return Err(Failure::local(error.to_string())),
    };
    match app::check(&loaded.config).await {
        Ok(found) => {
            let lacks_standby = found.server.as_ref().is_some_and(|server| !server.synchronous_standby);
            if lacks_standby && loaded.config.profile == Profile::Production {
                let wrong = "has no synchronous standby: a fail-over may forget a revocation that was acknowledged";
                loaded.warn("store.postgres.url", wrong, "a server with synchronous_standby_names set");
            }
            Ok(sound(&loaded, &found))
        }
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

fn sound(loaded: &Loaded, found: &Found) -> Answer {
    let Loaded { settings, warnings, .. } = loaded;
    let set = || settings.iter().filter(|setting| !setting.value.is_empty());
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for setting in set() {
        table.row([setting.key.clone(), setting.value.clone(), setting.source.to_string()]);
    }
    let mut text = Lines::default();
    text.add(table.render());
    if !warnings.is_empty() {
        let noun = if warnings.len() == 1 { "warning" } else { "warnings" };
        let lines = config::in_columns(warnings);
        text.add(format_args!("{} {noun}", warnings.len()));
        lines.lines().for_each(|line| text.add(format_args!("  {}", plain(line.trim_start()))));
        text.add("");
    }
    let store = match found.schema {
        Some(schema) => format!("the store has schema {schema}"),
        None => "the first start makes the store".to_owned(),
    };
    let key = if found.makes_master_key { " and the master key" } else { "" };
    text.add(format_args!("A server can start on these settings; {store}{key}."));
    let value = json!({
        "settings": set().map(|setting| json!({
            "key": setting.key, "value": setting.value, "source": setting.source.to_string(),
        })).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(fault).collect::<Vec<_>>(),
        "schema": found.schema,
    });
    Answer::of_value(value, text.finish())
}
