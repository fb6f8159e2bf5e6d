//! `postern master-key`: the operator's side of the master key, on the machine where the server runs.

use serde_json::json;

use super::args::{DropMasterKey, MasterKeyArgs, MasterKeyCommand, NewMasterKey, ServeArgs, UseMasterKey};
use super::failure::Failure;
use super::output::{Answer, Output};
use super::serve;
use super::table::{Lines, Table, plain};
use super::view::{View, wire};
use crate::app::master_key::{self, MasterKeyFault, NumberStatus, Status};
use crate::clock::Clock;

pub(super) async fn run(args: MasterKeyArgs) -> Result<Answer, Failure> {
    let json = args.json;
    match args.command {
        MasterKeyCommand::New(new) => make(&new),
        MasterKeyCommand::Use(args) => make_current(&args),
        MasterKeyCommand::Drop(args) => drop_key(&args, Output::new(json)).await,
        MasterKeyCommand::Status(serve) => status(&serve, Output::new(json)).await,
    }
}

fn make(args: &NewMasterKey) -> Result<Answer, Failure> {
    let mut lines = Lines::default();
    let numbers = match (&args.out, &args.add) {
        (Some(path), _) => {
            master_key::create(path).map_err(|why| failed(&why))?;
            let path = path.display();
            lines
                .add(format_args!("Wrote master key 1 to {path}. Keep a copy apart from the backups of the database."));
            lines.add("Next: set keys.master.file to it on every server");
            json!({ "added": 1, "current": 1 })
        }
        (None, Some(path)) => {
            let (added, current) = master_key::extend(path).map_err(|why| failed(&why))?;
            let path = path.display();
            lines
                .add(format_args!("Added master key {added} to {path}. Key {current} is still the one in use.\nNext:"));
            lines.add("  1. give this file to every server, and restart them one by one");
            lines.add(format_args!(
                "  2. postern master-key use {added} --file {}; again every server",
                super::shell_word(&path.to_string())
            ));
            lines.add(format_args!("  3. postern master-key status says when key {current} can go"));
            json!({ "added": added, "current": current })
        }
        (None, None) => return Err(Failure::local("name a file: --out for a new one, --add for one that exists")),
    };
    Ok(Answer::of_value(numbers, lines.finish()))
}

fn make_current(args: &UseMasterKey) -> Result<Answer, Failure> {
    let (number, path) = (args.number, args.file.display());
    master_key::make_current(&args.file, number).map_err(|why| failed(&why))?;
    let mut lines = Lines::default();
    lines.add(format_args!("Key {number} of {path} is the one that is used for what is new"));
    lines.add("Next: give this file to every server, and restart them one by one; then  postern master-key status");
    Ok(Answer::of_value(json!({ "current": number }), lines.finish()))
}

async fn drop_key(args: &DropMasterKey, output: Output) -> Result<Answer, Failure> {
    let config =
        serve::load(&args.serve).map(|loaded| loaded.config).map_err(|error| Failure::local(error.to_string()))?;
    let (number, path, clock) = (args.number, args.file.display(), Clock::default());
    let view = output.view(&clock);
    let dropped = master_key::drop_key(&config, clock, &args.file, number, args.end_its_sessions).await;
    dropped.map_err(|why| match why {
        MasterKeyFault::HasSessions { end: Some(end), .. } => {
            failed(&why).advise(format!("The last of them is over at {}", view.local(Some(&wire(end)))))
        }
        _ => failed(&why),
    })?;
    let mut lines = Lines::default();
    lines.add(format_args!("Master key {number} is no longer in {path}"));
    lines.add("Next: give this file to every server, and restart them one by one");
    Ok(Answer::of_value(json!({ "dropped": number }), lines.finish()))
}

async fn status(args: &ServeArgs, output: Output) -> Result<Answer, Failure> {
    let config = serve::load(args).map(|loaded| loaded.config).map_err(|error| Failure::local(error.to_string()))?;
    let clock = Clock::default();
    let status = master_key::status(&config, clock.clone()).await.map_err(|why| failed(&why))?;
    let view = output.view(&clock);
    let keys = status.keys.iter().map(|key| {
        json!({
            "number": key.number,
            "held": key.held,
            "current": key.current,
            "matches": key.matches,
            "signingKeys": key.signing_keys,
            "sessionsEnd": key.sessions_end.map(|time| time.to_string()),
            "toDo": to_do(key, &status, &view),
        })
    });
    let keys: Vec<_> = keys.collect();
    Ok(Answer::of_value(json!({ "place": status.place, "keys": keys }), render(&status, &view)))
}

fn failed(why: &MasterKeyFault) -> Failure {
    let failure = Failure::local(why.to_string());
    match why {
        MasterKeyFault::Exists { path } => failure
            .advise("Nothing was changed: without an old master key, nothing that it sealed opens again")
            .advise(format!(
                "Add a key to it:  postern master-key new --add {}",
                super::shell_word(&path.display().to_string())
            )),
        MasterKeyFault::SealsKeys { .. } => failure
            .advise("Use another key and restart a server, which rotates them; or now:  postern admin keys rotate")
            .advise("Then wait, or retire each:  postern admin keys retire KEY --immediately"),
        MasterKeyFault::HasSessions { number, .. } => failure.advise("postern master-key status says when").advise(
            format!("To end them:  postern master-key drop {number} --end-its-sessions, with your other options"),
        ),
        _ => failure,
    }
}

fn render(status: &Status, view: &View) -> String {
    let mut table = Table::new(&["KEY", "IN THE FILE", "STORE", "SIGNING KEYS", "WHAT TO DO"]);
    for key in &status.keys {
        let store = match key.matches {
            Some(true) => "same",
            Some(false) => "another",
            None if key.held => "not seen",
            None => "known",
        };
        let held = if key.held { "yes" } else { "no" };
        table.marked_row(
            key.current,
            [
                key.number.to_string(),
                held.to_owned(),
                store.to_owned(),
                key.signing_keys.to_string(),
                to_do(key, status, view),
            ],
        );
    }
    let store = if status.has_store { "" } else { " (there is no store yet)" };
    format!("{}{store}; * is used for what is new\n{}", plain(&status.place), table.render())
}

fn to_do(key: &NumberStatus, status: &Status, view: &View) -> String {
    let current = status.keys.iter().find(|other| other.current).map_or(0, |other| other.number);
    match *key {
        NumberStatus { matches: Some(false), .. } => {
            "put the right file back: no server starts with this one".to_owned()
        }
        NumberStatus { held: false, signing_keys: 1.., .. } => {
            "put its line back: it seals signing keys, and no server starts without it".to_owned()
        }
        NumberStatus { held: false, .. } => "gone: none of its sessions is refreshed any more".to_owned(),
        NumberStatus { current: true, .. } => "nothing".to_owned(),
        NumberStatus { number, .. } if number > current => {
            format!("when every server knows it: postern master-key use {number} --file FILE")
        }
        NumberStatus { signing_keys: 1.., .. } => {
            "wait: a server that starts rotates its signing keys (postern admin keys list)".to_owned()
        }
        NumberStatus { sessions_end: Some(end), .. } if end > view.now => {
            format!("drop it after {}: until then that ends sessions", view.local(Some(&wire(end))))
        }
        NumberStatus { number, sessions_end: Some(_), .. } => {
            format!("postern master-key drop {number} --file FILE: it opens nothing")
        }
        NumberStatus { .. } => format!("start a server: key {current} was never used yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{instant, time, view_at};

    #[test]
    fn each_number_says_what_to_do() {
        let plain = NumberStatus {
            number: 1,
            held: true,
            current: false,
            matches: Some(true),
            signing_keys: 0,
            sessions_end: None,
        };
        let end = |text| time(text).map(|time| instant(&time));
        let keys = vec![
            NumberStatus { held: false, matches: None, ..plain },
            NumberStatus { number: 2, held: false, matches: None, signing_keys: 1, ..plain },
            NumberStatus { number: 3, sessions_end: end("2026-02-01T12:00:00Z"), ..plain },
            NumberStatus { number: 4, sessions_end: end("2026-05-01T12:00:00Z"), ..plain },
            NumberStatus { number: 5, signing_keys: 1, sessions_end: end("2026-05-01T12:00:00Z"), ..plain },
            NumberStatus { number: 6, matches: Some(false), ..plain },
            NumberStatus { number: 7, current: true, signing_keys: 2, ..plain },
            NumberStatus { number: 8, matches: None, ..plain },
        ];
        let status = Status { place: "/run/master.key".to_owned(), keys, has_store: true };
        insta::assert_snapshot!(render(&status, &view_at("2026-03-01T12:00:00Z")));
    }
}
