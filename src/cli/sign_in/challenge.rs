//! The further step of a sign-in: a new password in the place of one that is due.

use std::io::IsTerminal as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use crate::cli::caller::Caller;
use crate::cli::failure::{Failure, reason_in};
use crate::cli::prompt;
use crate::proto::auth::v1::complete_challenge_request::Answer;
use crate::proto::auth::v1::{Challenge, ChallengeKind, CompleteChallengeRequest, CompleteChallengeResponse, Reason};

/// What the person can be asked for: nothing, if nobody is there to ask.
pub(super) fn supported(file: Option<&Path>) -> Vec<i32> {
    if file.is_some() || std::io::stdin().is_terminal() { vec![ChallengeKind::NewPassword.into()] } else { Vec::new() }
}

/// Asks for a new password until one is taken, or takes it from the file.
pub(super) async fn complete(
    caller: &Caller,
    identifier: &str,
    challenge: &Challenge,
    file: Option<&Path>,
) -> Result<CompleteChallengeResponse, Failure> {
    if !challenge.kinds.contains(&ChallengeKind::NewPassword.into()) {
        return Err(Failure::local("not signed in: the server asks for a step that this version does not know"));
    }
    caller.output.tell("The password is right, and it has to be changed before you are signed in.");
    loop {
        let password = match file {
            Some(file) => prompt::password_file(file)?,
            None => prompt::new_password("New password: ")?,
        };
        let request = CompleteChallengeRequest {
            challenge_token: challenge.challenge_token.clone(),
            answer: Some(Answer::NewPassword(password.expose_secret().to_owned())),
            device: Some(caller.device()),
            supported_challenges: supported(file),
        };
        let answer = caller.auth(request, async |mut client, request| client.complete_challenge(request).await).await;
        match answer {
            Ok(answer) => return Ok(answer),
            // The challenge still stands, and the person is here.
            Err(status) if file.is_none() && reason_in(&status) == Some(Reason::PasswordRefused) => {
                caller.output.tell(&format!("{}; try another", caller.failure(&status, None).headline()));
            }
            Err(status) => return Err(caller.failure(&status, Some(identifier))),
        }
    }
}
