use super::*;
use crate::domain::key::Algorithm;
use crate::domain::time::Timestamp;
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

#[test]
fn a_key_shows_nothing_of_its_private_half() {
    let key = StoredKey {
        kid: "kid".into(),
        algorithm: Algorithm::EdDsa,
        master_key: 1,
        sealed: vec![7; 40],
        publish_time: Timestamp::from_secs(1),
        sign_time: Timestamp::from_secs(2),
        retire_time: None,
    };
    let shown = render_key((key, KeyState::Signing));
    assert_eq!((shown.id.as_str(), shown.algorithm.as_str()), ("kid", "EdDSA"));
    assert_eq!(shown.state(), wire::KeyState::Signing);
    assert_eq!((shown.sign_time.unwrap().seconds, shown.retire_time), (2, None));
}
