use std::collections::HashMap;
use std::time::Duration;

use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

const AROUND: Circumstances<'static> =
    Circumstances { server: "http://127.0.0.1:7301", sign_in_at: "http://127.0.0.1:7301", identifier: Some("admin") };

fn refused(code: Code, message: &str, reason: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "postern", metadata))
}

fn told(status: &Status) -> (String, u8) {
    let failure = Failure::of_call(status, AROUND);
    (failure.text(Paint::Off), failure.exit as u8)
}

#[test]
fn a_revoked_token_says_how_to_sign_in_again() {
    let (text, exit) = told(&refused(Code::Unauthenticated, "", "TOKEN_REVOKED", &[]));
    assert_eq!(text, "error: this session was ended (TOKEN_REVOKED)\n  Sign in: postern login admin\n");
    assert_eq!(exit, 4);
}

#[test]
fn an_ended_session_names_its_cause() {
    let (text, exit) = told(&refused(Code::Unauthenticated, "x", "SESSION_ENDED", &[("endCause", "ENDED_BY_ADMIN")]));
    assert!(text.starts_with("error: this session is over: ended by an administrator (SESSION_ENDED)\n"), "{text}");
    assert_eq!(exit, 4);
}

#[test]
fn violations_are_listed_field_by_field() {
    let mut details = ErrorDetails::with_bad_request_violation("user.email", "not an e-mail address");
    details.add_bad_request_violation("password", "at least 15 characters\u{1b}[2J");
    details.set_error_info("INVALID_FIELD", "postern", HashMap::new());
    let (text, exit) = told(&Status::with_error_details(Code::InvalidArgument, "2 invalid fields", details));
    assert_eq!(
        text,
        "error: the server refused the input (INVALID_FIELD)\n  user.email: not an e-mail address\n  \
         password: at least 15 characters\u{fffd}[2J\n"
    );
    assert_eq!(exit, 1);
}

#[test]
fn an_outage_says_when_to_come_back_and_never_looks_like_a_denial() {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1_200)));
    details.set_error_info("OVERLOADED", "postern", HashMap::new());
    let (text, exit) = told(&Status::with_error_details(Code::Unavailable, "", details));
    assert_eq!(text, "error: the server is busy and did nothing (OVERLOADED)\n  Try again in 2s\n");
    assert_eq!(exit, 5);
}

#[test]
fn an_unknown_reason_falls_back_to_the_code_and_the_words_of_the_server() {
    let (text, exit) = told(&refused(Code::PermissionDenied, "moon phase", "MOON_PHASE", &[]));
    assert_eq!(text, "error: not allowed: moon phase (MOON_PHASE)\n");
    assert_eq!(exit, 3);
}

#[test]
fn the_server_is_quoted_only_where_it_can_add_something() {
    let (text, exit) = told(&refused(Code::Unauthenticated, "invalid credentials", "INVALID_CREDENTIALS", &[]));
    assert_eq!(text, "error: the sign-in failed: wrong name or password (INVALID_CREDENTIALS)\n");
    assert_eq!(exit, 4);
    let (text, exit) = told(&refused(Code::NotFound, "no role clerk", "NOT_FOUND", &[]));
    assert_eq!(text, "error: no such thing: no role clerk (NOT_FOUND)\n");
    assert_eq!(exit, 1);
    let rule = [("rule", "min_length")];
    let (text, _) = told(&refused(Code::InvalidArgument, "at least 15 characters", "PASSWORD_REFUSED", &rule));
    assert!(text.starts_with("error: the new password breaks the rule min_length: at least 15 characters"), "{text}");
}

#[test]
fn a_failing_server_names_the_request() {
    let mut status = refused(Code::Internal, "internal error", "INTERNAL", &[]);
    status.metadata_mut().insert("x-request-id", "req-1".parse().unwrap());
    let (text, _) = told(&status);
    assert!(text.contains("request id req-1"), "{text}");
}

#[test]
fn nothing_listening_says_how_to_start_it() {
    let error = io::Error::from(io::ErrorKind::ConnectionRefused);
    let mut status = Status::from_error(Box::new(error));
    assert!(status.source().is_some());
    let (text, exit) = told(&status);
    assert!(text.starts_with("error: nothing listens at http://127.0.0.1:7301\n  Is it running?"), "{text}");
    assert_eq!(exit, 5);
    status = Status::from_error(Box::new(std::fmt::Error));
    assert!(told(&status).0.contains("does not speak gRPC"));
}

#[test]
fn every_reason_has_words() {
    for number in 1..200 {
        if let Ok(reason) = Reason::try_from(number) {
            assert!(refusal::short(reason).is_some_and(|text| !text.ends_with('.')), "{reason:?}");
            assert_eq!(reason_of(wire_name(reason)), Some(reason));
        }
    }
}

#[test]
fn programs_get_one_object() {
    let failure = Failure::of_call(&refused(Code::Unauthenticated, "", "TOKEN_REVOKED", &[]), AROUND);
    let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
    assert_eq!(json["error"]["code"], "UNAUTHENTICATED");
    assert_eq!(json["error"]["reason"], "TOKEN_REVOKED");
}
