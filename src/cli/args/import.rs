//! `postern admin import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args)]
pub(in crate::cli) struct Import {
    /// The file, or - for standard input
    pub(in crate::cli) file: PathBuf,
    /// What the file is
    #[arg(long, value_name = "FORM", default_value = "jsonl")]
    pub(in crate::cli) format: ImportFormat,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Write what became of each row to this new file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) report: Option<PathBuf>,
    /// With keycloak: what a realm role is called here; may be repeated
    #[arg(long, value_name = "THEIRS=OURS", value_parser = renamed)]
    pub(in crate::cli) role: Vec<(String, String)>,
    /// With keycloak: what an identity provider is called here; may be repeated
    #[arg(long, value_name = "THEIRS=OURS", value_parser = renamed)]
    pub(in crate::cli) provider: Vec<(String, String)>,
}

/// Forms of files with people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ImportFormat {
    /// A JSON object a line
    Jsonl,
    /// What Keycloak exports of a realm
    Keycloak,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => Ok((theirs.to_owned(), ours.to_owned())),
        _ => Err("not of the form THEIRS=OURS".to_owned()),
    }
}
