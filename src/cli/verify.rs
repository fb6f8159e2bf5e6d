//! `verify`: the decision, and what to do about it.

#[cfg(test)]
mod tests;

use secrecy::ExposeSecret as _;

use super::args::{Level, VerifyArgs};
use super::caller::Caller;
use super::exit::Exit;
use super::failure::{self, Failure, refusal};
use super::output::Answer;
use super::prompt;
use super::shell_word;
use super::state::SignedIn;
use super::table::{Lines, padded, plain};
use super::view::View;
use crate::proto::auth::v1::{
    Assurance, AssuranceLevel, Check, Decision, Grant, Principal, PrincipalKind, Reason, Refusal, Verdict,
    VerifyRequest, VerifyResponse,
};

/// What was asked, as far as the answer does not repeat it.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    /// The name that the person signed in with; of a stranger's token nobody knows it.
    pub(super) name: Option<String>,
    pub(super) require: Vec<String>,
    pub(super) ask: Vec<String>,
    pub(super) tenant: String,
    pub(super) audience: String,
    /// What the commands that are advised need on their lines to ask the same server.
    pub(super) to_server: String,
    pub(super) to_admin: String,
}

pub(super) async fn run(args: VerifyArgs) -> Result<Answer, Failure> {
    let caller = Caller::new(&args.client)?;
    let mut question = Question {
        name: None,
        require: args.require.clone(),
        ask: args.ask.clone(),
        tenant: args.tenant.clone().unwrap_or_default(),
        audience: args.audience.clone().unwrap_or_default(),
        to_server: caller.to_server(),
        to_admin: caller.to_admin().to_owned(),
    };
    let assurance = assurance(&args)?;
    let request = |access_token| request(access_token, &question, assurance);
    let answer = if args.token_stdin {
        let token = prompt::token()?;
        judge(&caller, request(token.expose_secret().to_owned()))
            .await
            .map_err(|status| caller.failure(&status, None))?
    } else {
        let (answer, signed_in) = judge_own(&caller, async |token| request(token)).await?;
        question.name = Some(signed_in.identifier);
        answer
    };
    let text = render(&answer, &question, &caller.output.view(&caller.clock));
    let exit = Exit::of_decision(answer.decision());
    Ok(Answer::new(answer, text).with_exit(exit))
}

/// Asks about one's own token, which is renewed when the server says that it is past its time.
pub(super) async fn judge_own(
    caller: &Caller,
    request: impl AsyncFn(String) -> VerifyRequest,
) -> Result<(VerifyResponse, SignedIn), Failure> {
    let mut signed_in = caller.fresh().await?;
    for _ in 0..2 {
        let answer = judge(caller, request(signed_in.access_token.clone()).await)
            .await
            .map_err(|status| caller.failure(&status, Some(&signed_in.identifier)))?;
        let is_expired = answer.refusal.as_ref().is_some_and(|refusal| refusal.reason() == Reason::TokenExpired);
        if !is_expired {
            return Ok((answer, signed_in));
        }
        signed_in = caller.renewed(&signed_in.access_token).await?;
    }
    Err(Failure::local("the server calls even a new token expired").advise("Compare its clock with this machine's"))
}

async fn judge(caller: &Caller, request: VerifyRequest) -> Result<VerifyResponse, tonic::Status> {
    caller.auth(request, async |mut client, request| client.verify(request).await).await
}

fn request(access_token: String, question: &Question, assurance: Option<Assurance>) -> VerifyRequest {
    let checks = |permissions: &[String]| -> Vec<Check> {
        let tenant = &question.tenant;
        permissions.iter().map(|name| Check { permission: name.clone(), tenant: tenant.clone() }).collect()
    };
    VerifyRequest {
        access_token,
        audience: question.audience.clone(),
        require: checks(&question.require),
        // What is required is asked too, since only verdicts say what granted it.
        ask: [checks(&question.require), checks(&question.ask)].concat(),
        assurance,
        ..VerifyRequest::default()
    }
}

fn assurance(args: &VerifyArgs) -> Result<Option<Assurance>, Failure> {
    if args.max_age.is_none() && args.level.is_none() {
        return Ok(None);
    }
    let max_age = args.max_age.map(prost_types::Duration::try_from).transpose();
    let max_age = max_age.map_err(|_too_long| Failure::local("--max-age is too long"))?;
    let level = match args.level {
        None => AssuranceLevel::Unspecified,
        Some(Level::Single) => AssuranceLevel::SingleFactor,
        Some(Level::Multi) => AssuranceLevel::MultiFactor,
    };
    Ok(Some(Assurance { max_age, level: level.into() }))
}

/// The decision, what granted it or what is missing, and the next step.
pub(super) fn render(answer: &VerifyResponse, question: &Question, view: &View) -> String {
    let paint = view.paint;
    let refusal = answer.refusal.clone().unwrap_or_default();
    let name = name(answer.principal.as_ref(), question);
    let mut out = Lines::default();
    match answer.decision() {
        Decision::Allow => {
            out.add(format_args!("{}   {}", paint.good("ALLOW"), who(answer.principal.as_ref(), question)));
        }
        Decision::Unauthenticated => {
            out.add(format_args!("{}   {}", paint.warn("UNAUTHENTICATED"), no_good(&refusal, question)));
        }
        Decision::StepUp => {
            let sign_in = sign_in(question);
            out.add(format_args!("{}   {name} must sign in {}. {sign_in}", paint.warn("STEP_UP"), needed(&refusal)));
        }
        Decision::Deny | Decision::Unspecified => {
            let why = match &refusal.missing {
                // Without a tenant there is no place to speak of: who holds it in one does not hold it everywhere.
                Some(missing) if missing.tenant.is_empty() => format!(" lacks {}", plain(&missing.permission)),
                Some(missing) => format!(" lacks {} {}", plain(&missing.permission), place(&missing.tenant)),
                None => format!(": {}", refusal::short(refusal.reason()).unwrap_or("the server gave no decision")),
            };
            out.add(format_args!("{}    {name}{why}", paint.bad("DENY")));
        }
    }
    verdicts(&mut out, &answer.verdicts, question, refusal.missing.as_ref());
    if let (Some(missing), Decision::Deny) = (&refusal.missing, answer.decision()) {
        how_to_grant(&mut out, missing, answer.principal.as_ref(), question);
    }
    if let Some(freshness) = answer.freshness.as_ref().filter(|freshness| freshness.stale) {
        let age = freshness.age.map_or(0, |age| age.seconds);
        out.add(paint.warn(&format!("stale: judged by what was known {age} s ago")));
    }
    out.finish()
}

fn how_to_grant(out: &mut Lines, missing: &Check, principal: Option<&Principal>, question: &Question) {
    if principal.is_none_or(|principal| principal.kind() != PrincipalKind::User) {
        return;
    }
    let whom = shell_word(&name(principal, question));
    let place = match missing.tenant.as_str() {
        "" => "--everywhere".to_owned(),
        tenant => format!("--tenant {}", shell_word(&plain(tenant))),
    };
    let at = &question.to_admin;
    let (role, allow) = (role_for(&missing.permission), shell_word(&plain(&missing.permission)));
    out.add(format_args!("        To grant it:  postern admin roles put {role} --allow {allow}{at}  # a new role"));
    out.add(format_args!("                      postern admin bindings grant {whom} {role} {place}{at}"));
}

/// A name for a role that would grant just this. Not with `:`, lest `postern.` come out, which is reserved.
fn role_for(permission: &str) -> String {
    let name: String = permission.chars().map(|letter| if letter == ':' { '-' } else { letter }).take(64).collect();
    shell_word(&plain(&name))
}

fn sign_in(question: &Question) -> String {
    format!("{}{}", refusal::sign_in(question.name.as_deref()), question.to_server)
}

fn no_good(refusal: &Refusal, question: &Question) -> String {
    let (reason, wire) = (refusal.reason(), failure::wire_name(refusal.reason()));
    let why = refusal::short(reason).unwrap_or("the token is no good");
    match &question.name {
        Some(_) => format!("{wire}: {why}. {}", sign_in(question)),
        None => format!("{wire}: {why}"),
    }
}

fn needed(refusal: &Refusal) -> String {
    let Some(needed) = &refusal.needed else { return "again".to_owned() };
    let age = needed.max_age.and_then(|age| std::time::Duration::try_from(age).ok());
    let age = age.map(|age| format!("within {}", humantime::format_duration(age)));
    let level = match needed.level() {
        AssuranceLevel::MultiFactor => Some("with two factors".to_owned()),
        AssuranceLevel::SingleFactor => Some("with a factor".to_owned()),
        AssuranceLevel::Unspecified => None,
    };
    let parts: Vec<String> = age.into_iter().chain(level).collect();
    if parts.is_empty() { "again".to_owned() } else { format!("again, {}", parts.join(" and ")) }
}

/// What was asked one by one. The check that decided stands in the first line already.
fn verdicts(out: &mut Lines, verdicts: &[Verdict], question: &Question, decided: Option<&Check>) {
    let required = question.require.iter().map(|permission| (permission, true));
    let asked = required.chain(question.ask.iter().map(|permission| (permission, false)));
    let shown: Vec<_> = asked
        .zip(verdicts)
        .filter(|((permission, required), _)| {
            !(*required && decided.is_some_and(|check| check.permission == **permission))
        })
        .collect();
    let width = shown.iter().map(|((permission, _), _)| permission.len()).max().unwrap_or_default();
    for ((permission, required), verdict) in shown {
        let by = verdict.grant.as_ref().map(granted_by).unwrap_or_default();
        let answer = match (verdict.allowed, required) {
            (true, true) => by,
            (true, false) => format!("yes, {by}"),
            (false, _) => "no".to_owned(),
        };
        out.add(format_args!("        {}   {answer}", padded(&plain(permission), width)));
    }
}

fn granted_by(grant: &Grant) -> String {
    let through = match grant.inherited_role.as_str() {
        "" => String::new(),
        inherited => format!(" through {}", plain(inherited)),
    };
    format!("by role {}{through}, pattern {}, {}", plain(&grant.role), plain(&grant.pattern), place(&grant.tenant))
}

pub(super) fn place(tenant: &str) -> String {
    if tenant.is_empty() { "everywhere".to_owned() } else { format!("in {}", plain(tenant)) }
}

fn who(principal: Option<&Principal>, question: &Question) -> String {
    let kind = match principal.map(Principal::kind) {
        Some(PrincipalKind::Client) => "client",
        _ => "user",
    };
    match &question.name {
        Some(name) => format!("{} ({kind} {})", plain(name), plain(id(principal))),
        None => format!("{kind} {}", plain(id(principal))),
    }
}

fn name(principal: Option<&Principal>, question: &Question) -> String {
    question.name.as_deref().map_or_else(|| plain(id(principal)), plain)
}

fn id(principal: Option<&Principal>) -> &str {
    principal.map(|principal| principal.id.as_str()).unwrap_or_default()
}
