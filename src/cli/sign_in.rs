//! `login`, `whoami`, `refresh` and `logout`: being signed in on this machine.

mod challenge;

use secrecy::ExposeSecret as _;

use super::args::{ClientArgs, LoginArgs, RefreshArgs};
use super::caller::Caller;
use super::failure::Failure;
use super::json::Secrets;
use super::output::Answer;
use super::prompt;
use super::state::SignedIn;
use super::table::{facts, or_dash, plain};
use super::verify::{self, Question};
use super::view::View;
use crate::proto::auth::v1::complete_challenge_response::Outcome as Completed;
use crate::proto::auth::v1::login_request::Credential;
use crate::proto::auth::v1::login_response::Outcome;
use crate::proto::auth::v1::revoke_request::Target;
use crate::proto::auth::v1::{
    Decision, Device, LoginRequest, PasswordCredential, Principal, RevokeRequest, Rotation, TokenOptions, TokenPair,
    VerifyRequest, VerifyResponse,
};

pub(super) async fn login(args: LoginArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let view = caller.output.view(&caller.clock);
    if caller.is_exposed() {
        let warning = view.paint.warn("warning:");
        caller.output.tell(&format!(
            "{warning} {} is not this machine, and the password goes there unencrypted",
            caller.server()
        ));
    }
    let identifier = match args.identifier {
        Some(identifier) => identifier,
        None => prompt::text(caller.output, "E-mail or user name: ", "Name the user: postern login IDENTIFIER")?,
    };
    let password = match &args.password_file {
        Some(file) => prompt::password_file(file)?,
        None => prompt::password("Password: ")?,
    };
    // Before anything is sent: a session whose tokens cannot be kept would live on without an owner.
    let mut locked = caller.states()?.lock()?;
    let credential =
        PasswordCredential { identifier: identifier.clone(), password: password.expose_secret().to_owned() };
    let request = LoginRequest {
        credential: Some(Credential::Password(credential)),
        device: Some(Device { device_token: locked.device(caller.server()), ..caller.device() }),
        token_options: args.tenant.map(|tenant| TokenOptions { audiences: Vec::new(), tenant }),
        supported_challenges: challenge::supported(args.new_password_file.as_deref()),
        replace_refresh_token: locked.get(caller.server()).map(|old| old.refresh_token.clone()).unwrap_or_default(),
    };
    let answer = caller
        .auth(request, async |mut client, request| client.login(request).await)
        .await
        .map_err(|status| caller.failure(&status, Some(&identifier)))?;
    let unknown = || Failure::local("not signed in: the server asks for a step that this version does not know");
    let (answer, sign_in) = match answer.outcome.clone() {
        Some(Outcome::SignIn(sign_in)) => (Answer::new(answer, String::new()), sign_in),
        Some(Outcome::Challenge(asked)) => {
            // Other commands must not wait for a person who thinks of a password.
            drop(locked);
            let completed =
                challenge::complete(&caller, &identifier, &asked, args.new_password_file.as_deref()).await?;
            locked = caller.states()?.lock()?;
            let Some(Completed::SignIn(sign_in)) = completed.outcome.clone() else { return Err(unknown()) };
            (Answer::new(completed, String::new()), sign_in)
        }
        None => return Err(unknown()),
    };
    let tokens = sign_in.tokens.clone().unwrap_or_default();
    let user_id = sign_in.principal.as_ref().map(|principal| principal.id.clone()).unwrap_or_default();
    let signed_in = SignedIn::new(identifier.clone(), user_id, &tokens)
        .ok_or_else(|| Failure::local("the server's answer has no tokens"))?;
    locked.put_device(caller.server(), sign_in.device_token);
    locked.put(caller.server(), signed_in)?;
    let text = render_login(&identifier, &tokens, &caller.states()?.shown_path(), &view);
    Ok(answer.with_text(text).with_secrets(secrets(args.show_tokens)))
}

pub(super) async fn whoami(args: ClientArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args)?;
    let (answer, signed_in) = verify::judge_own(&caller, async |access_token: String| VerifyRequest {
        access_token,
        include_roles: true,
        ..VerifyRequest::default()
    })
    .await?;
    let view = caller.output.view(&caller.clock);
    let name = Some(signed_in.identifier);
    let text = match (&answer.principal, answer.decision()) {
        (Some(principal), Decision::Allow) => render_whoami(name.as_deref().unwrap_or_default(), principal, &view),
        _ => verify::render(&answer, &Question { name, to_server: caller.to_server(), ..Question::default() }, &view),
    };
    let exit = super::exit::Exit::of_decision(answer.decision());
    Ok(Answer::new::<VerifyResponse>(answer, text).with_exit(exit))
}

pub(super) async fn refresh(args: RefreshArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let (answer, signed_in) = {
        let mut locked = caller.states()?.lock()?;
        caller.refresh(&mut locked).await?
    };
    let view = caller.output.view(&caller.clock);
    let tokens = answer.tokens.clone().unwrap_or_default();
    let text = render_refresh(&signed_in.identifier, &tokens, answer.rotation(), &view);
    Ok(Answer::new(answer, text).with_secrets(secrets(args.show_tokens)))
}

pub(super) async fn logout(args: ClientArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args)?;
    let mut locked = caller.states()?.lock()?;
    let stored = locked.get(caller.server()).cloned().ok_or_else(|| Failure::not_signed_in(caller.server()))?;
    let request =
        RevokeRequest { target: Some(Target::RefreshToken(stored.refresh_token)), ..RevokeRequest::default() };
    // If this fails, the tokens stay: without them the session could not be ended from here any more.
    let answer = caller
        .auth(request, async |mut client, request| client.revoke(request).await)
        .await
        .map_err(|status| caller.failure(&status, Some(&stored.identifier)))?;
    locked.remove(caller.server())?;
    let name = plain(&stored.identifier);
    let text = match answer.ended_count {
        0 => format!("Signed out {name}. The session was over already; its tokens are forgotten here."),
        _ => format!("Signed out {name}. The session is over, everywhere, and its tokens are forgotten here."),
    };
    Ok(Answer::new(answer, text))
}

const fn secrets(shown: bool) -> Secrets {
    if shown { Secrets::Shown } else { Secrets::Hidden }
}

fn render_login(name: &str, tokens: &TokenPair, state_file: &str, view: &View) -> String {
    let until = view.local(tokens.session_expire_time.as_ref().min_by_time(tokens.refresh_expire_time.as_ref()));
    format!(
        "Signed in as {}. Access token until {}, renewed by itself; the session ends {until} unless used.\n\
         Signed-in state: {state_file}\n",
        view.paint.strong(&plain(name)),
        view.local(tokens.access_expire_time.as_ref()),
    )
}

fn render_refresh(name: &str, tokens: &TokenPair, rotation: Rotation, view: &View) -> String {
    let what = match rotation {
        Rotation::Advanced => "the next pair",
        Rotation::Repeated => "the same pair again, as a retry gets it",
        Rotation::Healed => "the next pair; the server had lost some and moved forward",
        Rotation::Late => "the current pair anew, as a late retry gets it",
        Rotation::Held => "a new access token; refreshed too often for a new refresh token",
        Rotation::Unspecified => "a pair of tokens",
    };
    let access = view.local(tokens.access_expire_time.as_ref());
    format!("Refreshed {}: {what}. Access token until {access}.\n", view.paint.strong(&plain(name)))
}

fn render_whoami(name: &str, principal: &Principal, view: &View) -> String {
    let signed_in = view.relative(principal.auth_time.as_ref());
    let how =
        if principal.amr.is_empty() { String::new() } else { format!(", by {}", plain(&principal.amr.join("+"))) };
    let access = principal.expire_time.as_ref();
    let mut lines = vec![
        ("name", view.paint.strong(&plain(name))),
        ("user", plain(&principal.id)),
        ("session", or_dash(&principal.session_id)),
        ("signed in", format!("{signed_in}{how}")),
        ("access token", format!("until {}, {}", view.local(access), view.relative(access))),
    ];
    if !principal.external_id.is_empty() {
        lines.insert(2, ("external id", plain(&principal.external_id)));
    }
    for (index, held) in principal.roles.iter().enumerate() {
        let place =
            if held.tenant.is_empty() { "everywhere".to_owned() } else { format!("in {}", plain(&held.tenant)) };
        lines.push((if index == 0 { "roles" } else { "" }, format!("{}  {place}", plain(&held.role))));
    }
    if principal.roles.is_empty() {
        lines.push(("roles", "none".to_owned()));
    }
    facts(lines)
}

/// The earlier of two wire times.
trait MinByTime: Sized {
    fn min_by_time(self, other: Self) -> Self;
}

impl MinByTime for Option<&prost_types::Timestamp> {
    fn min_by_time(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if (b.seconds, b.nanos) < (a.seconds, a.nanos) { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};
    use crate::proto::auth::v1::RoleInTenant;

    fn tokens() -> TokenPair {
        TokenPair {
            access_expire_time: time("2026-03-01T14:32:00Z"),
            refresh_expire_time: time("2026-03-15T14:02:00Z"),
            session_expire_time: time("2026-05-30T14:02:00Z"),
            ..TokenPair::default()
        }
    }

    #[test]
    fn login_says_until_when_and_where_it_is_kept() {
        let text =
            render_login("admin", &tokens(), "~/.local/state/postern/default.json", &view_at("2026-03-01T14:02:00Z"));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn refresh_says_what_happened() {
        let view = view_at("2026-03-01T14:02:00Z");
        let text = render_refresh("admin", &tokens(), Rotation::Repeated, &view);
        assert_eq!(text, "Refreshed admin: the same pair again, as a retry gets it. Access token until 14:32.\n");
    }

    #[test]
    fn whoami_lists_the_roles() {
        let role = |role: &str, tenant: &str| RoleInTenant { role: role.to_owned(), tenant: tenant.to_owned() };
        let principal = Principal {
            id: "019a8c1e-0000-7000-8000-00000000b7f3".to_owned(),
            session_id: "019a8c1f-0000-7000-8000-0000000002d1".to_owned(),
            auth_time: time("2026-03-01T13:59:00Z"),
            expire_time: time("2026-03-01T14:32:00Z"),
            amr: vec!["pwd".to_owned()],
            roles: vec![role("postern.admin", ""), role("clerk", "acme")],
            ..Principal::default()
        };
        insta::assert_snapshot!(render_whoami("admin", &principal, &view_at("2026-03-01T14:02:00Z")));
    }
}
