use super::*;
use crate::domain::permission::Permission;
use crate::proto::auth::v1::{Assurance as WireAssurance, Check as WireCheck};
use crate::verifier::{InvalidWhy, Level, NotFresh, TokenFault};

fn permission() -> Permission {
    "orders:refund".parse().unwrap()
}

#[test]
fn a_question_is_read_as_a_whole() {
    let bad = WireCheck { permission: "*".into(), ..Default::default() };
    let request = VerifyRequest {
        require: vec![WireCheck { permission: "a".into(), ..Default::default() }, bad.clone()],
        ask: vec![bad],
        assurance: Some(WireAssurance {
            max_age: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            ..Default::default()
        }),
        min_revision: "!".into(),
        ..Default::default()
    };
    let Err(AuthError::InvalidField(faults)) = Asked::read(&request) else { panic!("read") };
    let paths: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(paths, ["require[1].permission", "ask[0].permission", "assurance.max_age", "min_revision"]);
}

#[test]
fn a_token_of_any_shape_is_a_question() {
    for token in [String::new(), "x".repeat(60_000), "\u{1b}".to_owned()] {
        assert!(Asked::read(&VerifyRequest { access_token: token, ..Default::default() }).is_ok());
    }
}

#[test]
fn only_so_much_is_asked_at_once() {
    let check = WireCheck { permission: "a".into(), ..Default::default() };
    for (require, ask, fits) in [(16, 256, true), (17, 0, false), (0, 257, false)] {
        let request = VerifyRequest {
            require: vec![check.clone(); require],
            ask: vec![check.clone(); ask],
            ..Default::default()
        };
        assert_eq!(Asked::read(&request).is_ok(), fits, "{require} {ask}");
    }
}

#[test]
fn every_outcome_has_its_decision_code_and_reason() {
    let missing = Check { permission: permission(), tenant: Some("acme".parse().unwrap()) };
    let needed = Assurance { max_age: None, level: Level::MultiFactor };
    for (outcome, expected, reason, code) in [
        (Outcome::Deny { missing }, Decision::Deny, Reason::PermissionMissing, 7),
        (Outcome::StepUp { needed }, Decision::StepUp, Reason::AssuranceTooLow, 16),
        (
            Outcome::Unauthenticated(TokenFault::Invalid(InvalidWhy::Audience)),
            Decision::Unauthenticated,
            Reason::TokenInvalid,
            16,
        ),
        (Outcome::Unauthenticated(TokenFault::Expired), Decision::Unauthenticated, Reason::TokenExpired, 16),
        (Outcome::Unauthenticated(TokenFault::Revoked), Decision::Unauthenticated, Reason::TokenRevoked, 16),
    ] {
        let (decided, refusal) = decision(outcome);
        let refusal = refusal.unwrap();
        assert_eq!((decided, refusal.reason(), refusal.code), (expected, reason, code));
        assert_eq!(refusal.missing.is_some(), decided == Decision::Deny);
        assert_eq!(refusal.needed.is_some(), decided == Decision::StepUp);
    }
    assert_eq!(decision(Outcome::Allow { grants: Vec::new() }), (Decision::Allow, None));
}

#[test]
fn an_item_that_was_not_judged_lets_nobody_through() {
    for (error, reason, code) in [
        (AuthError::field("require[0].permission", "must be one"), Reason::InvalidField, 3),
        (AuthError::NotFresh(NotFresh::Behind), Reason::NotFresh, 14),
    ] {
        let response = undecided(&error);
        assert_eq!(response.decision(), Decision::Unspecified);
        let refusal = response.refusal.unwrap();
        assert_eq!((refusal.reason(), refusal.code), (reason, code));
        assert!(response.principal.is_none());
    }
}
