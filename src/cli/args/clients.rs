//! The commands of `postern admin clients`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(in crate::cli) enum Clients {
    /// List clients, those of the server's configuration too
    List,
    /// Register a client; its secret is shown once
    Create(CreateClient),
    /// Change a client; an empty value removes
    Update(UpdateClient),
    /// Make a new secret; the one before works on for a while
    RotateSecret(RotateSecret),
    /// Delete a client and its roles
    Delete {
        #[arg(value_name = "CLIENT")]
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(in crate::cli) struct CreateClient {
    /// Its id, of a-z, 0-9 and -
    #[arg(value_name = "CLIENT")]
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) fields: ClientFields,
    /// Without a secret: its certificate proves it
    #[arg(long, conflicts_with = "secret_file")]
    pub(in crate::cli) no_secret: bool,
    /// Write the secret into a new file instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) secret_file: Option<PathBuf>,
}

#[derive(Args)]
pub(in crate::cli) struct UpdateClient {
    #[arg(value_name = "CLIENT")]
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) fields: ClientFields,
    /// Whether it is shut out
    #[arg(long, value_name = "BOOL")]
    pub(in crate::cli) disabled: Option<bool>,
    /// Refuse if the client is no longer the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(in crate::cli) etag: String,
}

#[derive(Args)]
pub(in crate::cli) struct RotateSecret {
    #[arg(value_name = "CLIENT")]
    pub(in crate::cli) id: String,
    /// How long the secret before works on; 0s: not at all
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "24h")]
    pub(in crate::cli) overlap: Duration,
    /// Write the secret into a new file instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) secret_file: Option<PathBuf>,
}

#[derive(Args, Default)]
pub(in crate::cli) struct ClientFields {
    /// A name to show
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) display_name: Option<String>,
    /// A name in the certificate that proves it: a DNS name or a URI; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) san: Option<Vec<String>>,
    /// What it is as a resource: the audience it verifies tokens for
    #[arg(long, value_name = "AUDIENCE")]
    pub(in crate::cli) audience: Option<String>,
    /// What it may ask tokens for, the default first; may be repeated
    #[arg(long, value_name = "AUDIENCE")]
    pub(in crate::cli) token_audience: Option<Vec<String>>,
    /// Where a sign-in at a provider may come back to; may be repeated
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) return_url: Option<Vec<String>>,
    /// Life of its access tokens, such as 10m, or `server`
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) access_ttl: Option<Limit>,
    /// Its sessions end when they are not used for so long
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) idle_ttl: Option<Limit>,
    /// Its sessions end after so long
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) absolute_ttl: Option<Limit>,
    /// How long a spent refresh token is answered with the current one
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) refresh_grace: Option<Limit>,
    /// How many sessions a user may have, or 0 for as many as the server says
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max_per_user: Option<i32>,
}

/// A limit of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Limit {
    /// As the server has it.
    Server,
    Is(Duration),
}

impl Limit {
    /// On the wire.
    pub(in crate::cli) fn duration(self) -> Option<prost_types::Duration> {
        match self {
            Self::Server => None,
            Self::Is(duration) => prost_types::Duration::try_from(duration).ok(),
        }
    }
}

impl FromStr for Limit {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "server" { Ok(Self::Server) } else { humantime::parse_duration(text).map(Self::Is) }
    }
}
