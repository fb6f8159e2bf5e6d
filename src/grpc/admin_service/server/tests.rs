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
    assert!(matches!(read_explain(wire::ExplainAccessRequest { subject, check }), Ok((Subject::Token(_), _))));
}

#[test]
fn reasons_are_those_of_verify() {
    for (refusal, expected) in [
        (Refusal::Unknown, Reason::NotFound),
        (Refusal::Token(TokenFault::Invalid(InvalidWhy::Signature)), Reason::TokenInvalid),
        (Refusal::Token(TokenFault::Expired), Reason::TokenExpired),
        (Refusal::Token(TokenFault::Revoked), Reason::TokenRevoked),
        (Refusal::PermissionMissing, Reason::PermissionMissing),
    ] {
        assert_eq!(reason(refusal), expected);
    }
}
