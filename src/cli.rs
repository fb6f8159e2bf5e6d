//! The command line: serving, and a client for people. Owns the commands, what they print and how they exit. The client
//! knows a server by its contract alone, never by the rooms behind it; only `serve` hands over to `app`.

mod admin;
mod args;
mod banner;
mod caller;
mod config;
mod exit;
mod failure;
mod files;
mod gateway;
mod generate;
mod health;
mod json;
mod master_key;
mod migrate;
mod migrate_store;
mod output;
mod pages;
mod passwd;
mod prompt;
mod serve;
mod sessions;
mod sign_in;
mod state;
mod table;
mod verify;
mod view;

pub use args::Cli;
pub use exit::Exit;

use args::Command;
use output::{Answer, Output};

/// Does what was asked, and tells it.
pub async fn run(cli: Cli) -> Exit {
    let command = match cli.command {
        None => return Box::pin(serve::run(cli.serve)).await,
        Some(Command::Gateway(args)) => return Box::pin(gateway::run(*args)).await,
        Some(command) => command,
    };
    let output = match &command {
        Command::Config(args) => args.output(),
        Command::Health(args) => args.client.output(),
        Command::Login(args) => args.client.output(),
        Command::Refresh(args) => args.client.output(),
        Command::Verify(args) => args.client.output(),
        Command::Sessions(args) => args.client.output(),
        Command::Passwd(args) => args.client.output(),
        Command::Revoke(args) => args.client.output(),
        Command::Whoami(client) | Command::Logout(client) => client.output(),
        Command::Admin(args) => args.client.output(),
        Command::MasterKey(args) => Output::new(args.json),
        Command::Migrate(args) => Output::new(args.json),
        Command::MigrateStore(args) => Output::new(args.json),
        Command::Gateway(_) | Command::Proto(_) | Command::Completions(_) | Command::Man(_) => Output::new(false),
    };
    match ask(command).await {
        Ok(answer) => output.answer(answer),
        Err(failure) => output.failure(&failure),
    }
}

/// Tells that the process could not even begin.
pub fn complain(error: &dyn std::fmt::Display) -> Exit {
    Output::new(false).failure(&failure::Failure::local(error.to_string()))
}

async fn ask(command: Command) -> Result<Answer, failure::Failure> {
    match command {
        // It serves, and never gets here.
        Command::Gateway(_) => Ok(Answer::of_text(String::new())),
        Command::Config(args) => config::run(*args).await,
        Command::Health(args) => health::run(args).await,
        Command::Login(args) => sign_in::login(args).await,
        Command::Whoami(args) => sign_in::whoami(args).await,
        Command::Refresh(args) => sign_in::refresh(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Sessions(args) => sessions::list(args).await,
        Command::Revoke(args) => sessions::revoke(args).await,
        Command::Logout(args) => sign_in::logout(args).await,
        Command::Passwd(args) => passwd::run(args).await,
        Command::Admin(args) => admin::run(*args).await,
        Command::MasterKey(args) => master_key::run(args).await,
        Command::Migrate(args) => migrate::run(*args).await,
        Command::MigrateStore(args) => Box::pin(migrate_store::run(*args)).await,
        Command::Proto(args) => generate::proto(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    }
}

/// A word as a shell reads it: hints are made to be pasted, also when a stranger chose the name in them.
fn shell_word(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "@%_+=:,./-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_more_into_them() {
        for (word, quoted) in [
            ("admin", "admin"),
            ("mira@example.com", "mira@example.com"),
            ("orders:*", "'orders:*'"),
            ("a;b", "'a;b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }
}
