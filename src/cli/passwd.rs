//! `passwd`: a person changes the own password.

use secrecy::ExposeSecret as _;

use super::args::PasswdArgs;
use super::caller::Caller;
use super::failure::{Failure, reason_in};
use super::output::Answer;
use super::prompt;
use super::state::SignedIn;
use crate::proto::account::v1::{ChangePasswordRequest, ChangePasswordResponse};
use crate::proto::auth::v1::Reason;

pub(super) async fn run(args: PasswdArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    if caller.is_exposed() {
        let warning = caller.output.view(&caller.clock).paint.warn("warning:");
        let server = caller.server();
        caller.output.tell(&format!("{warning} {server} is not this machine, and the passwords go there unencrypted"));
    }
    // Before anybody types: who is not signed in is told so at once.
    caller.fresh().await?;
    let current = if args.first { None } else { Some(prompt::password("Current password: ")?) };
    let new = prompt::new_password("New password: ")?;
    // Again: a person takes their time.
    caller.fresh().await?;
    let mut locked = caller.states()?.lock()?;
    let stored = locked.get(caller.server()).cloned().ok_or_else(|| Failure::not_signed_in(caller.server()))?;
    let request = ChangePasswordRequest {
        access_token: stored.access_token.clone(),
        current_password: current.map(|current| current.expose_secret().to_owned()).unwrap_or_default(),
        new_password: new.expose_secret().to_owned(),
    };
    let answer: ChangePasswordResponse = caller
        .account(request, async |mut client, request| client.change_password(request).await)
        .await
        .map_err(|status| {
            let failure = caller.failure(&status, Some(&stored.identifier));
            match reason_in(&status) {
                Some(Reason::InvalidCredentials) => {
                    failure.reworded("the current password is wrong; nothing was changed")
                }
                _ => failure,
            }
        })?;
    let tokens = answer.tokens.as_ref();
    let next = tokens.and_then(|tokens| SignedIn::new(stored.identifier, stored.user_id, tokens)).ok_or_else(|| {
        Failure::local("the password was changed, but the server's answer has no tokens: sign in again")
    })?;
    locked.put(caller.server(), next)?;
    let text = "The password is changed. This session goes on; all others have ended.\n".to_owned();
    Ok(Answer::new(answer, text))
}
