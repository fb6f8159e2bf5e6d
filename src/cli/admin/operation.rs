//! `admin explain`, `fence` and `server`.

use secrecy::ExposeSecret as _;

use super::principal_id;
use crate::cli::args::admin::{Explain, Fence};
use crate::cli::caller::Caller;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, wire_name};
use crate::cli::output::Answer;
use crate::cli::prompt;
use crate::cli::table::{Lines, facts, or_dash, padded, plain};
use crate::cli::verify::place;
use crate::cli::view::View;
use crate::proto::admin::v1::explain_access_request::Subject;
use crate::proto::admin::v1::{
    EndAllSessionsRequest, ExplainAccessRequest, ExplainAccessResponse, GetServerInfoRequest, GetServerInfoResponse,
};
use crate::proto::auth::v1::{Check, GetKeysRequest, Reason};

pub(super) async fn explain(caller: &Caller, args: Explain) -> Result<Answer, Failure> {
    if let Some(id) = args.decision {
        let request = ExplainAccessRequest { subject: Some(Subject::DecisionId(id)), check: None };
        let answer = caller.admin(request, async |mut client, request| client.explain_access(request).await).await?;
        let text = render_decision(&answer, &caller.output.view(&caller.clock));
        return Ok(Answer::new(answer, text).with_exit(Exit::Denied));
    }
    let (name, permission, subject) = match (args.subject.as_slice(), args.token_stdin) {
        ([user, permission], false) => {
            (user.clone(), permission.clone(), Subject::PrincipalId(principal_id(caller, user).await?))
        }
        ([permission], true) => {
            let token = prompt::token()?.expose_secret().to_owned();
            ("the token".to_owned(), permission.clone(), Subject::AccessToken(token))
        }
        _ => {
            return Err(Failure::local("explain needs a user and a permission, or --token-stdin and a permission")
                .advise("postern admin explain mira@example.com orders:refund"));
        }
    };
    let check = Check { permission, tenant: args.tenant };
    let request = ExplainAccessRequest { subject: Some(subject), check: Some(check.clone()) };
    let answer = caller.admin(request, async |mut client, request| client.explain_access(request).await).await?;
    let text = render_explanation(&answer, &name, &check, &caller.output.view(&caller.clock));
    let exit = if answer.allowed { Exit::Done } else { Exit::Denied };
    Ok(Answer::new(answer, text).with_exit(exit))
}

pub(super) async fn fence(caller: &Caller, args: Fence) -> Result<Answer, Failure> {
    let request = EndAllSessionsRequest { confirm: args.confirm, note: args.note };
    let answer = caller.admin(request, async |mut client, request| client.end_all_sessions(request).await).await?;
    let text = format!("Ended everybody's sessions, yours too.\nNext: postern login{}\n", caller.to_server());
    Ok(Answer::new(answer, text))
}

pub(super) async fn server(caller: &Caller) -> Result<Answer, Failure> {
    let request = GetServerInfoRequest {};
    let answer = caller.admin(request, async |mut client, request| client.get_server_info(request).await).await?;
    // AdminService does not say it, and `fence --confirm` wants it.
    let keys = caller.auth(GetKeysRequest {}, async |mut client, request| client.get_keys(request).await);
    let issuer = if caller.is_offline() { None } else { keys.await.ok().map(|keys| keys.issuer) };
    let text = render_server(&answer, caller.server(), issuer.as_deref());
    Ok(Answer::new(answer, text))
}

fn render_explanation(answer: &ExplainAccessResponse, name: &str, check: &Check, view: &View) -> String {
    let (name, permission, place) = (plain(name), plain(&check.permission), place(&check.tenant));
    let mut out = Lines::default();
    if answer.allowed {
        out.add(format_args!("{}   {name} may {permission} {place}", view.paint.good("ALLOW")));
    } else {
        let reason = match answer.reason() {
            Reason::Unspecified => String::new(),
            reason => format!("   ({})", wire_name(reason)),
        };
        out.add(format_args!("{}    {name} may not {permission} {place}{reason}", view.paint.bad("DENY")));
    }
    add_steps(&mut out, answer, view);
    out.finish()
}

fn render_decision(answer: &ExplainAccessResponse, view: &View) -> String {
    let mut out = Lines::default();
    out.add(format_args!("{}   ({})", view.paint.bad("REFUSED"), wire_name(answer.reason())));
    add_steps(&mut out, answer, view);
    out.finish()
}

fn add_steps(out: &mut Lines, answer: &ExplainAccessResponse, view: &View) {
    let width = answer.steps.iter().map(|step| step.subject.chars().count()).max().unwrap_or_default();
    for step in &answer.steps {
        let held = if step.held { view.paint.good("yes") } else { view.paint.faint("no ") };
        out.add(format_args!("  {held}  {}  {}", padded(&plain(&step.subject), width), plain(&step.text)));
    }
}

fn render_server(answer: &GetServerInfoResponse, server: &str, issuer: Option<&str>) -> String {
    let freshness = answer.freshness.clone().unwrap_or_default();
    let knowledge = match (freshness.age, freshness.stale) {
        (None, _) => "current".to_owned(),
        (Some(age), false) => format!("{} s behind", age.seconds),
        (Some(age), true) => format!("stale, {} s behind", age.seconds),
    };
    let lines = [
        ("server", plain(server)),
        ("issuer", or_dash(issuer.unwrap_or_default())),
        ("version", or_dash(&answer.version)),
        ("schema", answer.schema_version.to_string()),
        ("replica", or_dash(&answer.replica_id)),
        ("knowledge", knowledge),
        ("revision", or_dash(&freshness.revision)),
    ];
    facts(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::view_at;
    use crate::proto::admin::v1::ExplainStep;

    #[test]
    fn an_explanation_shows_each_step() {
        let step =
            |subject: &str, held, text: &str| ExplainStep { subject: subject.to_owned(), held, text: text.to_owned() };
        let answer = ExplainAccessResponse {
            allowed: false,
            reason: Reason::PermissionMissing.into(),
            steps: vec![
                step("user", true, "active"),
                step("binding", true, "clerk in acme"),
                step("role", false, "clerk grants orders:read\u{1b}[8m"),
            ],
            ..ExplainAccessResponse::default()
        };
        let check = Check { permission: "orders:refund".to_owned(), tenant: "acme".to_owned() };
        let view = view_at("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(render_explanation(&answer, "mira", &check, &view));
    }

    #[test]
    fn a_server_says_how_current_it_is() {
        let mut answer = GetServerInfoResponse { version: "0.1.0".to_owned(), schema_version: 1, ..Default::default() };
        assert!(render_server(&answer, "http://x:1", Some("https://auth")).contains("issuer     https://auth\n"));
        let age = Some(prost_types::Duration { seconds: 7, nanos: 0 });
        answer.freshness = Some(crate::proto::auth::v1::Freshness { age, stale: true, ..Default::default() });
        assert!(render_server(&answer, "http://x:1", None).contains("knowledge  stale, 7 s behind\n"));
    }
}
