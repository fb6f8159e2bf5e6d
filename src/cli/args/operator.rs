//! What is done to a service from outside of it: to its master key, and to its store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ServeArgs, help};

#[derive(Args)]
pub(in crate::cli) struct MasterKeyArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: MasterKeyCommand,
    /// Print the answer as JSON, errors too
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

#[derive(Subcommand)]
pub(in crate::cli) enum MasterKeyCommand {
    /// Make a new key file, or add the next key to one
    #[command(after_help = help::MASTER_KEY_NEW)]
    New(NewMasterKey),
    /// Make a key of the file the one that is used for what is new
    #[command(after_help = help::MASTER_KEY_USE)]
    Use(UseMasterKey),
    /// Take a key out of the file, when nothing needs it any more
    #[command(after_help = help::MASTER_KEY_DROP)]
    Drop(Box<DropMasterKey>),
    /// Compare the configured keys with the store: which are in use, and what to do next
    #[command(after_help = help::MASTER_KEY_STATUS)]
    Status(ServeArgs),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct NewMasterKey {
    /// Write a new file with key 1; one that is there is left alone
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Add the next key to this file, known but not used yet
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) add: Option<PathBuf>,
}

#[derive(Args)]
pub(in crate::cli) struct UseMasterKey {
    /// Its number
    pub(in crate::cli) number: u8,
    /// The file that holds it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
}

#[derive(Args)]
pub(in crate::cli) struct DropMasterKey {
    /// Its number
    pub(in crate::cli) number: u8,
    /// The file that holds it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The emergency stop: although sessions were opened under it, which nobody refreshes then
    #[arg(long)]
    pub(in crate::cli) end_its_sessions: bool,
    #[command(flatten)]
    pub(in crate::cli) serve: ServeArgs,
}

#[derive(Args)]
pub(in crate::cli) struct MigrateArgs {
    /// Let this role do what a server does with the tables, and nothing else
    #[arg(long, value_name = "ROLE")]
    pub(in crate::cli) grant_to: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) serve: ServeArgs,
    /// Print the answer as JSON, errors too
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Args)]
pub(in crate::cli) struct MigrateStoreArgs {
    /// The embedded store, sqlite:PATH: its file, or the folder that it lies in
    #[arg(long, value_name = "STORE")]
    pub(in crate::cli) from: String,
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "to_file",
        help = "Where to; every process can read it here, so without a password [default: store.postgres of the settings]"
    )]
    pub(in crate::cli) to: Option<String>,
    /// A file with that URL, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) to_file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) serve: ServeArgs,
    /// Print the answer as JSON, errors too
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
