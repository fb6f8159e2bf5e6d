use super::*;
use crate::proto::auth::v1 as auth_wire;
use crate::verifier::{InvalidWhy, TokenFault};

fn paths<T>(read: Result<T, AuthError>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(AuthError::InvalidField(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_question_names_who_and_what() {
    assert_eq!(paths(read_explain(wire::ExplainAccessRequest::default())), ["subject", "check"]);
    let subject = Some(WireSubject::PrincipalId("K".into()));
    let check = Some(auth_wire::Check { permission: "a:*".into(), tenant: "no spaces".into() });
    let request = wire::ExplainAccessRequest { subject, check };
    assert_eq!(paths(read_explain(request)), ["principal_id", "check.permission", "check.tenant"]);
    let check = Some(auth_wire::Check { permission: "a:b".into(), tenant: String::new() });
    let subject = Some(WireSubject::AccessToken("whatever it is".into()));
    assert!(matches!(read_explain(wire::ExplainAccessRequest { subject, check }), Ok(Ask::Now(Subject::Token(_), _))));
}

/// A decision has its own permission.
#[test]
fn a_decision_stands_for_itself() {
    let ask = |id: &str, check| wire::ExplainAccessRequest { subject: Some(WireSubject::DecisionId(id.into())), check };
    let id = "019a8c1e-0000-7000-8000-00000000b7f3";
    assert!(matches!(read_explain(ask(id, None)), Ok(Ask::Decision(_))));
    assert_eq!(paths(read_explain(ask("x", Some(auth_wire::Check::default())))), ["check", "decision_id"]);
}

#[test]
fn reasons_are_those_of_verify() {
    for (refusal, expected) in [
        (Refusal::Unknown, Reason::NotFound),
        (Refusal::Token(TokenFault::Invalid(InvalidWhy::Signature)), Reason::TokenInvalid),
        (Refusal::Token(TokenFault::Expired), Reason::TokenExpired),
        (Refusal::Token(TokenFault::Revoked), Reason::TokenRevoked),
        (Refusal::PermissionMissing, Reason::PermissionMissing),
        (Refusal::Decided("ASSURANCE_TOO_LOW".to_owned()), Reason::AssuranceTooLow),
        (Refusal::Decided("of a later version".to_owned()), Reason::Unspecified),
    ] {
        assert_eq!(reason(refusal), expected);
    }
}
