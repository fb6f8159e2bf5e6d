use super::*;
use crate::cli::view::view_at;
use crate::proto::auth::v1::Freshness;

const ID: &str = "019a8c1e-0000-7000-8000-00000000b7f3";

fn question(require: &[&str], ask: &[&str], tenant: &str) -> Question {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Question {
        name: Some("admin".to_owned()),
        require: owned(require),
        ask: owned(ask),
        tenant: tenant.to_owned(),
        ..Question::default()
    }
}

fn answer(decision: Decision, refusal: Option<Refusal>) -> VerifyResponse {
    let principal = Principal { id: ID.to_owned(), kind: PrincipalKind::User.into(), ..Principal::default() };
    VerifyResponse { decision: decision.into(), principal: Some(principal), refusal, ..VerifyResponse::default() }
}

fn granted(role: &str, pattern: &str) -> Verdict {
    let grant = Grant { role: role.to_owned(), pattern: pattern.to_owned(), ..Grant::default() };
    Verdict { allowed: true, grant: Some(grant), ..Verdict::default() }
}

fn shown(answer: &VerifyResponse, question: &Question) -> String {
    render(answer, question, &view_at("2026-03-01T12:00:00Z"))
}

#[test]
fn allow_says_what_granted_it() {
    let mut allowed = answer(Decision::Allow, None);
    allowed.verdicts = vec![granted("postern.admin", "postern:**"), Verdict::default()];
    let text = shown(&allowed, &question(&["postern:users:write"], &["orders:refund"], ""));
    insta::assert_snapshot!(text);
}

#[test]
fn deny_says_how_to_grant_it() {
    let missing = Check { permission: "orders:refund".to_owned(), tenant: "acme".to_owned() };
    let refusal = Refusal { reason: Reason::PermissionMissing.into(), missing: Some(missing), ..Refusal::default() };
    let mut denied = answer(Decision::Deny, Some(refusal));
    denied.verdicts = vec![Verdict::default()];
    insta::assert_snapshot!(shown(&denied, &question(&["orders:refund"], &[], "acme")));
}

#[test]
fn an_ended_session_says_how_to_sign_in() {
    let refusal = Refusal { reason: Reason::TokenRevoked.into(), ..Refusal::default() };
    let mut over = answer(Decision::Unauthenticated, Some(refusal));
    over.principal = None;
    assert_eq!(
        shown(&over, &question(&[], &[], "")),
        "UNAUTHENTICATED   TOKEN_REVOKED: this session was ended. Sign in: postern login admin\n"
    );
    assert_eq!(shown(&over, &Question::default()), "UNAUTHENTICATED   TOKEN_REVOKED: this session was ended\n");
}

#[test]
fn step_up_says_what_is_needed() {
    let needed = Assurance {
        max_age: Some(prost_types::Duration { seconds: 900, nanos: 0 }),
        level: AssuranceLevel::MultiFactor.into(),
    };
    let refusal = Refusal { reason: Reason::AssuranceTooLow.into(), needed: Some(needed), ..Refusal::default() };
    assert_eq!(
        shown(&answer(Decision::StepUp, Some(refusal)), &question(&[], &[], "")),
        "STEP_UP   admin must sign in again, within 15m and with two factors. Sign in: postern login admin\n"
    );
}

#[test]
fn a_stale_judgement_is_marked() {
    let mut allowed = answer(Decision::Allow, None);
    let age = Some(prost_types::Duration { seconds: 75, nanos: 0 });
    allowed.freshness = Some(Freshness { stale: true, age, ..Freshness::default() });
    assert!(shown(&allowed, &question(&[], &[], "")).ends_with("stale: judged by what was known 75 s ago\n"));
}

#[test]
fn a_decision_of_a_later_server_is_a_denial() {
    let mut unknown = answer(Decision::Unspecified, None);
    unknown.decision = 77;
    assert_eq!(unknown.decision(), Decision::Unspecified);
    assert!(shown(&unknown, &question(&[], &[], "")).starts_with("DENY    admin"));
}

#[test]
fn hints_are_safe_to_paste() {
    let missing = Check { permission: "a;rm -rf ~".to_owned(), tenant: "x y'z".to_owned() };
    let refusal = Refusal { reason: Reason::PermissionMissing.into(), missing: Some(missing), ..Refusal::default() };
    let text = shown(&answer(Decision::Deny, Some(refusal)), &question(&[], &[], ""));
    assert!(text.contains("--allow 'a;rm -rf ~'") && text.contains(r"--tenant 'x y'\''z'"), "{text}");
    assert_eq!(role_for("postern:users:write"), "postern-users-write");
}

#[test]
fn what_is_required_is_also_asked() {
    let request = request("t".to_owned(), &question(&["a:b"], &["c:d"], "acme"), None);
    assert_eq!(request.require.len(), 1);
    let asked: Vec<_> = request.ask.iter().map(|check| (check.permission.as_str(), check.tenant.as_str())).collect();
    assert_eq!(asked, [("a:b", "acme"), ("c:d", "acme")]);
}
