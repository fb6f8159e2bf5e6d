//! The commands of `postern admin`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::clients::Clients;
use super::import::Import;
use super::{ClientArgs, ServeArgs, help};

#[derive(Args)]
pub(in crate::cli) struct AdminArgs {
    #[command(subcommand)]
    pub(in crate::cli) area: Area,
    #[arg(
        long,
        value_name = "DATA_DIR",
        global = true,
        help_heading = "Options of every client command",
        help = "Work on the store itself, without sign-in: on the embedded one in this folder while no server runs on it, or \
                on PostgreSQL if the settings name it, beside the servers; the folder is then not used"
    )]
    pub(in crate::cli) offline: Option<PathBuf>,
    /// With --offline: the settings of the server [default: ./postern.toml if it exists]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Options of every client command")]
    pub(in crate::cli) config: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) client: ClientArgs,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Area {
    /// Create, change, disable and delete users
    #[command(subcommand, after_help = help::USERS)]
    Users(Users),
    /// Say what a role allows
    #[command(subcommand, after_help = help::ROLES)]
    Roles(Roles),
    /// Replace or save the whole set of roles as a file
    #[command(subcommand, after_help = help::POLICY)]
    Policy(Policy),
    /// Give roles to users and clients, in a tenant or everywhere
    #[command(subcommand, after_help = help::BINDINGS)]
    Bindings(Bindings),
    /// Register programs, and make their secrets
    #[command(subcommand, after_help = help::CLIENTS)]
    Clients(Clients),
    /// Show step by step why somebody may or may not
    #[command(after_help = help::EXPLAIN, override_usage = "postern admin explain [OPTIONS] USER PERMISSION\n       \
        postern admin explain [OPTIONS] --token-stdin PERMISSION\n       \
        postern admin explain [OPTIONS] --decision ID")]
    Explain(Explain),
    /// Show what happened, newest first
    #[command(after_help = help::AUDIT)]
    Audit(Audit),
    /// Bring people over from another system, with their passwords
    #[command(after_help = help::IMPORT)]
    Import(Import),
    /// List, rotate and retire the signing keys
    #[command(subcommand, after_help = help::KEYS)]
    Keys(Keys),
    /// End everybody's sessions: everybody signs in again
    #[command(after_help = help::FENCE)]
    Fence(Fence),
    /// Make the first administrator and the first client, before the server starts
    #[command(after_help = help::BOOTSTRAP)]
    Bootstrap(Box<BootstrapArgs>),
    /// Show version, schema and how current the server's knowledge is
    #[command(after_help = help::SERVER)]
    Server,
}

/// Takes the flags of the server too, since it opens the server's store.
#[derive(Args)]
pub(in crate::cli) struct BootstrapArgs {
    /// The administrator's user name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub(in crate::cli) user: String,
    /// A file with the password, readable by you alone; without it, it is asked for
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    /// The id of the first client; its secret is read from --client-secret-file, or made and put there
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) client: Option<String>,
    /// A role that the client holds; may be repeated [default: postern.front, postern.backend]
    #[arg(long, value_name = "ROLE", requires = "client")]
    pub(in crate::cli) client_role: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) serve: ServeArgs,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Users {
    /// List users
    List {
        /// Only those whose e-mail, user name or display name begins so
        #[arg(long, value_name = "PREFIX")]
        query: Option<String>,
        /// Only these
        #[arg(long)]
        state: Option<State>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: usize,
    },
    /// Show one user
    Show { user: String },
    /// Create a user; the password is asked for
    Create(CreateUser),
    /// Change a user; an empty value removes
    Update(UpdateUser),
    /// End all sessions of a user and let them sign in no more
    Disable(Noted),
    /// Let a disabled user sign in again
    Enable(Noted),
    /// Delete a user for good
    Delete {
        #[command(flatten)]
        whom: Noted,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set a user's password and end all their sessions
    SetPassword {
        user: String,
        /// The user must choose another one at the next sign-in
        #[arg(long)]
        must_change: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum State {
    Active,
    Disabled,
}

#[derive(Args)]
pub(in crate::cli) struct CreateUser {
    /// E-mail (with an @) or user name
    #[arg(required_unless_present = "external_id")]
    pub(in crate::cli) identifier: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) fields: UserFields,
    /// Without a password: the user cannot sign in with one until it is set
    #[arg(long)]
    pub(in crate::cli) no_password: bool,
    /// The user must choose another password at the first sign-in
    #[arg(long, conflicts_with = "no_password")]
    pub(in crate::cli) must_change: bool,
}

#[derive(Args)]
pub(in crate::cli) struct UpdateUser {
    pub(in crate::cli) user: String,
    #[command(flatten)]
    pub(in crate::cli) fields: UserFields,
}

#[derive(Args)]
pub(in crate::cli) struct UserFields {
    /// E-mail address
    #[arg(long)]
    pub(in crate::cli) email: Option<String>,
    /// Whether the address is proven to be theirs
    #[arg(long, value_name = "BOOL")]
    pub(in crate::cli) email_verified: Option<bool>,
    /// User name, without @
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user_name: Option<String>,
    /// A name to show
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) display_name: Option<String>,
    /// The id in an older system
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) external_id: Option<String>,
}

/// A user, and a word for the audit log.
#[derive(Args)]
pub(in crate::cli) struct Noted {
    pub(in crate::cli) user: String,
    /// For the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(in crate::cli) note: String,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Roles {
    /// List all roles
    List,
    /// Show one role
    Show { role: String },
    /// Create a role, or replace one by what is given
    Put(PutRole),
    /// Delete a role
    Delete {
        role: String,
        /// Withdraw it everywhere first
        #[arg(long)]
        force: bool,
    },
    /// The same as `policy apply`
    Apply(Apply),
}

#[derive(Args)]
pub(in crate::cli) struct PutRole {
    pub(in crate::cli) role: String,
    /// A pattern of permissions, such as 'orders:*'; may be repeated
    #[arg(long = "allow", value_name = "PATTERN")]
    pub(in crate::cli) patterns: Vec<String>,
    /// A role whose permissions it has too; may be repeated
    #[arg(long = "inherit", value_name = "ROLE")]
    pub(in crate::cli) inherits: Vec<String>,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(in crate::cli) description: String,
    /// Refuse if the role is no longer the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(in crate::cli) etag: String,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Policy {
    /// Replace the whole set of roles by a file, in one step
    Apply(Apply),
    /// Print all roles but the built-in ones as a file
    Export {
        /// The form of the file
        #[arg(long, default_value = "toml")]
        format: FileFormat,
    },
}

#[derive(Args)]
pub(in crate::cli) struct Apply {
    /// TOML, or JSON if it ends in .json
    pub(in crate::cli) file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Refuse if the policy is no longer this one, as a dry run told it
    #[arg(long, value_name = "REVISION", default_value = "", hide_default_value = true)]
    pub(in crate::cli) expect: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum FileFormat {
    Toml,
    Json,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Bindings {
    /// List who has which role where
    List {
        /// Only this user's, or client:ID
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Only of this role
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// Only in this tenant
        #[arg(long, value_name = "TENANT", conflicts_with = "everywhere")]
        tenant: Option<String>,
        /// Only those that hold everywhere
        #[arg(long)]
        everywhere: bool,
    },
    /// Give a role to a user, or to client:ID
    Grant {
        user: String,
        role: String,
        #[command(flatten)]
        place: Place,
        /// Ends by itself: in so long (8h, 30d) or at a time (2026-12-31T18:00:00Z)
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Take a role from a user, or from client:ID
    Withdraw {
        user: String,
        role: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a role is given. Required, so that nothing is granted everywhere by omission.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Place {
    /// In this tenant
    #[arg(long, value_name = "TENANT")]
    pub(in crate::cli) tenant: Option<String>,
    /// In every tenant, and where none is named
    #[arg(long)]
    pub(in crate::cli) everywhere: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Audit {
    /// By or about this user, or client as client:ID
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) user: Option<String>,
    /// In this session
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) session: Option<String>,
    /// Of this type, as `authn_login_fail`; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub(in crate::cli) types: Vec<String>,
    /// Not older than this, as 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(in crate::cli) since: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(in crate::cli) limit: usize,
}

#[derive(Args)]
pub(in crate::cli) struct Explain {
    // Hidden: clap would show it as a list of users. The usage line says what it is.
    #[arg(num_args = 1..=2, required_unless_present = "decision", hide = true)]
    pub(in crate::cli) subject: Vec<String>,
    /// Explain for the access token on standard input
    #[arg(long)]
    pub(in crate::cli) token_stdin: bool,
    /// Explain a decision of Verify that was refused, by the id that the caller was given
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "token_stdin", "tenant"])]
    pub(in crate::cli) decision: Option<String>,
    /// The tenant in which the permission is asked for
    #[arg(long, value_name = "TENANT", default_value = "", hide_default_value = true)]
    pub(in crate::cli) tenant: String,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Keys {
    /// List the signing keys, newest first
    List,
    /// Publish a new key; it signs once every cache has had time to see it
    Rotate {
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true,
            help = "EdDSA, ES256 or HS256 [default: as configured, which the next start of a server comes back to]"
        )]
        algorithm: String,
    },
    /// Take a key out of service: by plan, or at once if it leaked
    Retire {
        /// The key, as `postern admin keys list` shows it
        // One in 64 begins with a hyphen.
        #[arg(value_name = "KEY", allow_hyphen_values = true)]
        kid: String,
        /// Refuse its tokens now; you will have to refresh, too
        #[arg(long)]
        immediately: bool,
    },
}

#[derive(Args)]
pub(in crate::cli) struct Fence {
    /// The issuer (`iss` of the tokens), typed in full
    #[arg(long, value_name = "ISSUER")]
    pub(in crate::cli) confirm: String,
    /// For the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(in crate::cli) note: String,
}
