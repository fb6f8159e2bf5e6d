//! `postern migrate`: the tables of PostgreSQL, before servers need them.

use serde_json::json;

use super::args::MigrateArgs;
use super::failure::Failure;
use super::output::Answer;
use super::serve;
use super::table::{Lines, plain};
use crate::app::{self, Migration};

pub(super) async fn run(args: MigrateArgs) -> Result<Answer, Failure> {
    let config =
        serve::load(&args.serve).map(|loaded| loaded.config).map_err(|error| Failure::local(error.to_string()))?;
    let role = args.grant_to.as_deref();
    let migration = app::migrate(&config, role)
        .await
        .map_err(|error| error.hints().into_iter().fold(Failure::local(plain(&error.to_string())), Failure::advise))?;
    let mut text = Lines::default();
    let done = match migration {
        Migration::ByTheStart => {
            text.add("Nothing to do: the embedded store is brought up to date by each start of the server");
            return Ok(Answer::of_value(json!({ "changed": false }), text.finish()));
        }
        Migration::Done(done) => done,
    };
    let server = plain(&done.server);
    match (done.from, done.to) {
        (from, to) if from == to => text.add(format_args!("{server} has schema {to} already; nothing to do")),
        (0, to) => text.add(format_args!("{server} has schema {to} now; it had none")),
        (from, to) => text.add(format_args!("{server} has schema {to} now; it had {from}")),
    }
    if let Some(role) = role {
        text.add(format_args!("Role {} may read and write the tables, and no more", plain(role)));
    }
    text.add("Next: postern config check, and start the servers");
    let value = json!({
        "server": done.server, "from": done.from, "to": done.to, "changed": done.from != done.to, "grantedTo": role,
    });
    Ok(Answer::of_value(value, text.finish()))
}
