//! The tree of commands and flags. `--help` is how most people learn Postern, so each command shows how it is used and
//! what comes next.

pub(super) mod admin;
pub(super) mod clients;
mod help;
pub(super) mod import;
pub(super) mod operator;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::exit::Exit;
use super::output::Output;
use crate::config::{ConfigError, Sources};

pub(super) use help::command;
pub(super) use operator::{
    DropMasterKey, MasterKeyArgs, MasterKeyCommand, MigrateArgs, MigrateStoreArgs, NewMasterKey, UseMasterKey,
};

/// Where a server on this machine listens unless told otherwise.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:7301";

/// What was asked on the command line.
#[derive(Parser)]
#[command(
    name = "postern",
    version,
    about = "A gRPC authentication service. Without a command it serves; the commands are a client for people.",
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND",
    after_help = help::ROOT
)]
pub struct Cli {
    #[command(flatten)]
    pub(super) serve: ServeArgs,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

impl Cli {
    /// Reads the arguments of a process. `Err` holds how to end: help and version are done, all else is refused.
    pub fn parse_from_process(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, Exit> {
        use clap::FromArgMatches as _;
        let parsed = help::command().try_get_matches_from(arguments).and_then(|found| Self::from_arg_matches(&found));
        parsed.map_err(|error| {
            // Clap would exit with 2; here everything refused is 1. Nobody is left to hear that printing failed.
            error.print().unwrap_or_default();
            if error.use_stderr() { Exit::Refused } else { Exit::Done }
        })
    }

    /// Whether this process is to be a server.
    pub const fn serves(&self) -> bool {
        matches!(self.command, None | Some(Command::Gateway(_)))
    }
}

/// How the server is started. Everything not named here is set by `--set`, a file or the environment.
#[derive(Args)]
pub(super) struct ServeArgs {
    /// Settings in TOML [default: ./postern.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the server may take for granted about its surroundings [default: development]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Where the embedded store and the master key are kept [default: ./postern-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where gRPC is served [default: 127.0.0.1:7301]
    #[arg(long = "listen.grpc", value_name = "ADDR")]
    listen_grpc: Option<String>,
    /// Where AdminService is served [default: on the gRPC port; in production 127.0.0.1:7304]
    #[arg(long = "listen.admin", value_name = "ADDR")]
    listen_admin: Option<String>,
    /// Where liveness and readiness are served [default: 127.0.0.1:7303]
    #[arg(long = "listen.operations", value_name = "ADDR")]
    listen_operations: Option<String>,
    /// Where the gateway for browsers is served [default: 127.0.0.1:7302]
    #[arg(long = "listen.gateway", value_name = "ADDR")]
    listen_gateway: Option<String>,
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value,
          help = "Any setting by its dotted key; not for secrets, which every process could read here")]
    set: Vec<(String, String)>,
}

impl ServeArgs {
    /// All that a server with these flags reads.
    pub(super) fn sources(&self) -> Result<Sources, ConfigError> {
        Sources::from_process(self.config.clone(), self.overrides())
    }

    /// As dotted keys, which win over the file and the environment.
    fn overrides(&self) -> Vec<(String, String)> {
        let flags = [
            ("profile", &self.profile),
            ("data_dir", &self.data),
            ("listen.grpc", &self.listen_grpc),
            ("listen.admin", &self.listen_admin),
            ("listen.operations", &self.listen_operations),
            ("listen.gateway", &self.listen_gateway),
        ];
        let named = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        self.set.iter().cloned().chain(named).collect()
    }
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Serve browsers, in front of a server that is another process
    #[command(after_help = help::GATEWAY)]
    Gateway(Box<ServeArgs>),
    /// Look at the settings before a server does
    #[command(after_help = help::CONFIG)]
    Config(Box<ConfigArgs>),
    /// Ask a server whether it serves
    #[command(after_help = help::HEALTH)]
    Health(HealthArgs),
    /// Sign in and keep the tokens on this machine
    #[command(after_help = help::LOGIN)]
    Login(LoginArgs),
    /// Show who is signed in, until when, and with which roles
    #[command(after_help = help::WHOAMI)]
    Whoami(ClientArgs),
    /// Trade the refresh token for the next pair of tokens
    #[command(after_help = help::REFRESH)]
    Refresh(RefreshArgs),
    /// Ask whether a token is good, and whether its owner may do something
    #[command(after_help = help::VERIFY)]
    Verify(VerifyArgs),
    /// List sessions: where somebody is signed in
    #[command(after_help = help::SESSIONS)]
    Sessions(SessionsArgs),
    /// End one session, or all of them
    #[command(after_help = help::REVOKE)]
    Revoke(RevokeArgs),
    /// End this session and forget its tokens
    #[command(after_help = help::LOGOUT)]
    Logout(ClientArgs),
    /// Change one's own password; the other sessions end
    #[command(after_help = help::PASSWD)]
    Passwd(PasswdArgs),
    /// Make master keys, and see which are needed
    #[command(after_help = help::MASTER_KEY)]
    MasterKey(MasterKeyArgs),
    /// Bring the tables of PostgreSQL up to date, and let the servers' role use them
    #[command(after_help = help::MIGRATE)]
    Migrate(Box<MigrateArgs>),
    /// Move up: bring all that an embedded store holds into PostgreSQL
    #[command(after_help = help::MIGRATE_STORE)]
    MigrateStore(Box<MigrateStoreArgs>),
    /// Manage users, roles, bindings and keys
    #[command(after_help = help::ADMIN)]
    Admin(Box<admin::AdminArgs>),
    /// Write the contract for other tools: .proto files, descriptors, service config
    #[command(after_help = help::PROTO)]
    Proto(ProtoArgs),
    /// Print what makes a shell complete these commands
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the man page, or write those of all commands
    #[command(after_help = help::MAN)]
    Man(ManArgs),
}

#[derive(Args)]
pub(super) struct ProtoArgs {
    /// The folder, made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Replace files that differ
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Args)]
pub(super) struct CompletionsArgs {
    pub(super) shell: ShellName,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder instead
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace files that differ
    #[arg(long, requires = "out")]
    pub(super) force: bool,
}

/// Which server to ask, and how to print its answer.
#[derive(Args, Clone)]
#[command(next_help_heading = "Options of every client command")]
pub(super) struct ClientArgs {
    /// The server's gRPC address
    #[arg(long, value_name = "URL", env = "POSTERN_SERVER", default_value = DEFAULT_SERVER, hide_env_values = true,
          global = true)]
    pub(super) server: String,
    /// A file with the secret of the client that calls, for a server that knows its clients
    #[arg(long, value_name = "FILE", env = "POSTERN_CLIENT_SECRET_FILE", hide_env_values = true, global = true)]
    pub(super) client_secret_file: Option<PathBuf>,
    /// Where `admin` is served, if on a port of its own [default: as --server]
    #[arg(long, value_name = "URL", env = "POSTERN_ADMIN_SERVER", hide_env_values = true, global = true)]
    pub(super) admin_server: Option<String>,
    /// Who signs for an https server, in PEM [default: whom this system trusts]
    #[arg(long, value_name = "FILE", env = "POSTERN_CA", hide_env_values = true, global = true)]
    pub(super) ca: Option<PathBuf>,
    /// What to show to an https server that asks, in PEM
    #[arg(long, value_name = "FILE", env = "POSTERN_CERT", hide_env_values = true, global = true)]
    pub(super) cert: Option<PathBuf>,
    /// The key of --cert, in PEM; readable by its owner only
    #[arg(long, value_name = "FILE", env = "POSTERN_KEY", hide_env_values = true, global = true)]
    pub(super) key: Option<PathBuf>,
    /// Print the answer as JSON (proto3 mapping), errors too
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl ClientArgs {
    pub(super) fn output(&self) -> Output {
        Output::new(self.json)
    }
}

#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

impl ConfigArgs {
    pub(super) fn output(&self) -> Output {
        Output::new(matches!(&self.command, ConfigCommand::Check(args) if args.json))
    }
}

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Check them as a start would: each fault with its place, or what holds and where it was set
    #[command(after_help = help::CONFIG)]
    Check(ConfigCheckArgs),
    /// Print the table of the README
    #[command(hide = true)]
    Table,
}

#[derive(Args)]
pub(super) struct ConfigCheckArgs {
    #[command(flatten)]
    pub(super) serve: ServeArgs,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct HealthArgs {
    /// Which service: empty for the server, postern.auth.v1.AuthService, postern.login
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(super) service: String,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Args)]
pub(super) struct LoginArgs {
    /// E-mail or user name; asked for if left out
    pub(super) identifier: Option<String>,
    /// Only this tenant's roles, and those that hold everywhere
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// A file with the password in one line; without it, it is asked for, or read from standard input
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// A file with the new password in one line, should the server ask for one and nobody be there to type it
    #[arg(long, value_name = "FILE")]
    pub(super) new_password_file: Option<PathBuf>,
    /// Put the tokens into the JSON
    #[arg(long, requires = "json")]
    pub(super) show_tokens: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Args)]
pub(super) struct RefreshArgs {
    /// Put the tokens into the JSON
    #[arg(long, requires = "json")]
    pub(super) show_tokens: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Args)]
pub(super) struct PasswdArgs {
    /// There is no password yet: one came by a provider, at most an hour ago
    #[arg(long)]
    pub(super) first: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// A permission that must hold, such as orders:refund; may be repeated, then all must
    #[arg(long, value_name = "PERMISSION")]
    pub(super) require: Vec<String>,
    /// A permission to be told about, without effect on the decision; may be repeated
    #[arg(long, value_name = "PERMISSION")]
    pub(super) ask: Vec<String>,
    /// The tenant in which the permissions are asked for [default: only what holds everywhere]
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// The audience that the token must be for [default: the calling program's own]
    #[arg(long, value_name = "AUDIENCE")]
    pub(super) audience: Option<String>,
    /// At most so long ago must the person have signed in, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) max_age: Option<Duration>,
    /// How strong the sign-in must be
    #[arg(long, value_name = "LEVEL")]
    pub(super) level: Option<Level>,
    /// Judge the access token on standard input instead of one's own
    #[arg(long)]
    pub(super) token_stdin: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// One factor or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Single,
    Multi,
}

#[derive(Args)]
pub(super) struct SessionsArgs {
    /// Also those that ended, with their cause
    #[arg(long)]
    pub(super) all: bool,
    /// Somebody else's: id, e-mail, user name or ext:ID. Needs postern:sessions:read
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<String>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    /// The session, as `postern sessions` lists it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) session: Option<String>,
    /// All sessions
    #[arg(long)]
    pub(super) all: bool,
    /// All but the one that this machine is signed in with
    #[arg(long, requires = "all")]
    pub(super) keep_current: bool,
    /// Somebody else's: id, e-mail, user name or ext:ID. Needs postern:sessions:revoke
    #[arg(long, value_name = "USER", conflicts_with = "keep_current")]
    pub(super) user: Option<String>,
    /// For the audit log
    #[arg(long, value_name = "TEXT", requires = "user")]
    pub(super) note: Option<String>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as sessions.idle_ttl=7d"),
    }
}
