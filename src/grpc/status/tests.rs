use std::fmt::Write as _;

use super::*;
use crate::auth::error::{ChallengeFault, CredentialFault, Engine, FlowFault};
use crate::domain::id::SessionId;
use crate::domain::password::PasswordRule;
use crate::domain::standing::EndCause;
use crate::verifier::InvalidWhy;

/// All that a caller sees.
fn seen(error: &AuthError, repeat: Repeat) -> String {
    let status = refuse(error, repeat);
    let mut seen = format!("{:?}: {}\n", status.code(), status.message());
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "postern");
    let mut metadata: Vec<_> = info.metadata.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    metadata.sort();
    writeln!(seen, "  {}{}", info.reason, metadata.concat()).unwrap();
    for violation in details.bad_request().into_iter().flat_map(|request| &request.field_violations) {
        writeln!(seen, "  field {}: {}", violation.field, violation.description).unwrap();
    }
    if let Some(retry) = details.retry_info() {
        writeln!(seen, "  retry after {:?}", retry.retry_delay.unwrap()).unwrap();
    }
    for entry in status.metadata().clone().into_headers() {
        writeln!(seen, "  {}: {}", entry.0.unwrap(), entry.1.to_str().unwrap()).unwrap();
    }
    seen
}

fn every_error() -> Vec<AuthError> {
    vec![
        AuthError::InvalidField(vec![
            Violation { field: "password.identifier".into(), problem: "must be set".into() },
            Violation { field: "require[3].permission".into(), problem: "must be a permission".into() },
        ]),
        AuthError::InvalidCredentials(CredentialFault::WrongPassword),
        AuthError::ChallengeFailed(ChallengeFault::Expired),
        AuthError::ChallengeUnsupported(ChallengeKind::NewPassword),
        AuthError::ChallengeUnsupported(ChallengeKind::LinkIdentity),
        AuthError::OAuthCancelled { return_url: "https://app.example.com/".to_owned() },
        AuthError::OAuthFlowInvalid(FlowFault::Secret),
        AuthError::OAuthRejected { why: "malformed", return_url: String::new() },
        AuthError::OAuthProviderUnavailable { retry_after: Duration::from_secs(10), return_url: String::new() },
        AuthError::RefreshTokenInvalid,
        AuthError::SessionEnded(End { cause: EndCause::EndedByAdmin, time: Timestamp::from_micros(1_500_000) }),
        AuthError::SessionReused(SessionId::from_uuid(uuid::Uuid::nil())),
        AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Signature)),
        AuthError::TokenRefused(TokenFault::Expired),
        AuthError::TokenRefused(TokenFault::Revoked),
        AuthError::PermissionMissing {
            permission: "postern:users:write".parse().unwrap(),
            tenant: Some("acme".parse().unwrap()),
        },
        AuthError::PermissionMissing { permission: "postern:users:write".parse().unwrap(), tenant: None },
        AuthError::BeyondOwn { pattern: "orders:**".into() },
        AuthError::ClientUnauthenticated,
        AuthError::ClientNotAllowed { permission: "postern:auth:login" },
        AuthError::IdentifierTaken { field: "email" },
        AuthError::NotFound { what: "user" },
        AuthError::ReauthenticationRequired { max_age: Duration::from_hours(1) },
        AuthError::EtagMismatch,
        AuthError::RoleGraph(RoleFault::Cycle { role: "clerk".parse().unwrap(), parent: "boss".parse().unwrap() }),
        AuthError::RoleGraph(RoleFault::UnknownParent {
            role: "clerk".parse().unwrap(),
            parent: "boss".parse().unwrap(),
        }),
        AuthError::RoleGraph(RoleFault::Duplicate { role: "clerk".parse().unwrap() }),
        AuthError::LastOne { why: "would leave nobody who may administer" },
        AuthError::TenantRequired,
        AuthError::PasswordRefused(PasswordRule::TooShort { min_length: 12 }),
        AuthError::PasswordRefused(PasswordRule::TooLong),
        AuthError::PasswordRefused(PasswordRule::Unchanged),
        AuthError::Overloaded { retry_after: Duration::from_millis(750) },
        AuthError::Unavailable { engine: Engine::Store, source: "SELECT at /var/lib/secret".into(), begun: true },
        AuthError::NoSigningKey { retry_after: Duration::from_millis(1_900) },
        AuthError::KeyWaiting { kid: "kid".into(), sign_time: Timestamp::from_secs(9) },
        AuthError::NotFresh(NotFresh::NotLoaded),
        AuthError::NotFresh(NotFresh::Stale { age: Duration::from_secs(70) }),
        AuthError::NotFresh(NotFresh::Behind),
        AuthError::Internal("SELECT at /var/lib/secret".into()),
    ]
}

#[test]
fn every_refusal_as_the_caller_sees_it() {
    let all: Vec<String> = every_error().iter().map(|error| seen(error, Repeat::Safe)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

/// After it was begun, only what was shed before is worth another try.
#[test]
fn what_may_have_been_done_is_not_repeated() {
    let engine = AuthError::Unavailable { engine: Engine::Vault, source: "away".into(), begun: true };
    insta::assert_snapshot!(seen(&engine, Repeat::Unsafe), @"
    Unavailable: a store this call needs is away
      ENGINE_UNAVAILABLE engine=vault
      retry after 1s
      grpc-retry-pushback-ms: -1
    ");
    let early = engine.before_any_work();
    assert_eq!(seen(&early, Repeat::Unsafe), seen(&early, Repeat::Safe));
    let shed = AuthError::Overloaded { retry_after: Duration::from_secs(2) };
    assert_eq!(seen(&shed, Repeat::Unsafe), seen(&shed, Repeat::Safe));
}

#[test]
fn failed_sign_ins_are_equal_to_the_byte() {
    use CredentialFault::{Disabled, NoPassword, UnknownAccount, WrongPassword};
    let bytes = |fault| {
        let status = refuse(&AuthError::InvalidCredentials(fault), Repeat::Unsafe);
        let headers = status.clone().into_http::<tonic::body::Body>().headers().clone();
        (status.code(), status.message().to_owned(), status.details().to_vec(), format!("{headers:?}"))
    };
    for fault in [WrongPassword, NoPassword, Disabled] {
        assert_eq!(bytes(fault), bytes(UnknownAccount), "{fault:?}");
    }
}

#[test]
fn texts_are_lower_case_without_full_stop_and_without_causes() {
    for error in every_error() {
        for repeat in [Repeat::Safe, Repeat::Unsafe] {
            let status = refuse(&error, repeat);
            let message = status.message();
            assert!(message.starts_with(|first: char| first.is_ascii_lowercase()), "{message}");
            assert!(!message.ends_with('.'), "{message}");
            assert!(!seen(&error, repeat).contains("SELECT"), "{error:?}");
        }
    }
}

#[test]
fn a_summary_agrees_with_the_status() {
    for error in every_error() {
        let (code, reason) = summary(&error);
        let status = refuse(&error, Repeat::Safe);
        assert_eq!(code, status.code());
        let told = status.get_error_details().error_info().unwrap().reason.clone();
        assert_eq!(reason.as_str_name(), format!("REASON_{told}"));
    }
}
