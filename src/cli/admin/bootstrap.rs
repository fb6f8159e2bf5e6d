//! `postern admin bootstrap`: the first administrator and the first client, written into the store itself, since nobody
//! can be asked for leave yet. Speaks to no server.

mod sign_in;

use std::io::{self, IsTerminal as _};

use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::app::{self, Bootstrap, BootstrapError, FirstClient, StartError};
use crate::cli::args::ClientArgs;
use crate::cli::args::admin::BootstrapArgs;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::prompt;
use crate::cli::shell_word;
use crate::cli::table::{Lines, plain};
use crate::config::{Config, Loaded, SecretSource};
use crate::domain::role::RoleId;

/// What a front needs that also asks for verdicts, as the command line does.
const ROLES: [&str; 2] = ["postern.front", "postern.backend"];

pub(super) async fn run(args: BootstrapArgs, caller: &ClientArgs) -> Result<Answer, Failure> {
    let loaded = args.serve.sources().and_then(Config::load_all).and_then(Loaded::look_around);
    let config = loaded.map_err(|error| Failure::local(error.to_string()))?.config;
    let user =
        args.user.parse().map_err(|_invalid| Failure::local(format!("{} is no user name", plain(&args.user))))?;
    let client = first_client(&args, caller)?;
    let password = match &args.password_file {
        Some(path) => SecretSource::File(path.clone()).open().map_err(|why| Failure::local(why.to_string()))?,
        None => prompt::new_password("Password of the administrator: ")?,
    };
    let secret_file = client.as_ref().and_then(|client| client.secret_file.clone());
    let made = app::bootstrap(&config, Bootstrap { user, password, client }).await.map_err(|why| refused(&why))?;

    let mut text = Lines::default();
    text.add(format_args!("Created administrator {} (user {})", plain(&args.user), made.user));
    if let Some(id) = &args.client {
        text.add(format_args!("Created client {}", plain(id)));
    }
    if let (true, Some(path)) = (made.wrote_secret, &secret_file) {
        text.add(format_args!("Its secret is in {}", plain(&path.display().to_string())));
    }
    if let Some(secret) = &made.client_secret {
        text.add(format_args!("Its secret, shown this once:  {}", secret.expose_secret()));
    }
    let options = sign_in::options(&config, caller, args.client.is_some());
    text.add(format_args!("Next: start the server, then  postern login {}{options}", shell_word(&plain(&args.user))));
    if config.tls.is_some() && caller.ca.is_none() {
        text.add("      with --ca FILE, if this system does not trust who signed the certificate");
    }
    let value = json!({ "user": { "id": made.user.to_string(), "userName": args.user }, "client": args.client });
    Ok(Answer::of_value(value, text.finish()))
}

fn first_client(args: &BootstrapArgs, caller: &ClientArgs) -> Result<Option<FirstClient>, Failure> {
    let Some(id) = &args.client else { return Ok(None) };
    let id = id.parse().map_err(|_invalid| Failure::local(format!("{} is no client's id", plain(id))))?;
    let role = |role: &str| -> Result<RoleId, Failure> {
        role.parse().map_err(|why| Failure::local(format!("{}: {why}", plain(role))))
    };
    let roles = match args.client_role.as_slice() {
        [] => ROLES.iter().map(|name| role(name)).collect::<Result<_, _>>()?,
        named => named.iter().map(|name| role(name)).collect::<Result<_, _>>()?,
    };
    let secret_file = caller.client_secret_file.clone();
    // What is no terminal is kept: a log, a file, the output of a job.
    if secret_file.is_none() && (caller.json || !io::stdout().is_terminal()) {
        return Err(Failure::local("the client's secret has nowhere to go")
            .advise("Name a file that only you can read:  --client-secret-file FILE"));
    }
    Ok(Some(FirstClient { id, roles, secret_file }))
}

fn refused(why: &BootstrapError) -> Failure {
    let failure = Failure::local(why.to_string());
    match why {
        BootstrapError::Done => failure.advise("Ask them, or sign in as one:  postern admin users create"),
        BootstrapError::NoClient { .. } => failure
            .advise("Make one with the administrator:  --client NAME --client-secret-file FILE")
            .advise("Or declare one in [[clients]], with the issuer among its token_audiences"),
        BootstrapError::Start(StartError::Locked { .. }) => {
            failure.advise("Stop the server first: this writes to its store directly")
        }
        BootstrapError::Start(error) => error.hints().into_iter().fold(failure, Failure::advise),
        _ => failure,
    }
}
