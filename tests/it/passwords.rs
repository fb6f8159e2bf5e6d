//! Passwords that people choose: what may become one, by every way there is to set one, and that none grows old.

mod change;

use std::path::Path;
use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tonic::{Code, Status};

use crate::people::{add_user, set_password};
use crate::support::{PASSWORD, Server, login_request, metadata, quick, reason};

/// In no list of common ones.
const BREACHED: &str = "sommerregen auf blech";
const BREACHED_LINE: &str = "4190375137E8E64CA4B9450248402630969FCD34:3\n";

async fn server(breached: Option<&Path>) -> Server {
    Server::start_with(|config| {
        quick(config);
        config.passwords.context_words = vec!["authsvc".to_owned()];
        config.passwords.breached_file = breached.map(Path::to_owned);
    })
    .await
}

/// One password for each rule, for a user called kim.minsu.
const REFUSED: &[(&str, &str)] = &[
    ("too short", "min_length"),
    ("1qaz2wsx3edc4rfv", "common"),
    ("PasswordPassword", "common"),
    ("sommerregen auf blech", "breached"),
    ("Sommerregen auf Blech", "breached"),
    ("kim.minsu-kim.minsu", "context"),
    ("authsvc-authsvc-1", "context"),
    ("postern postern 2026", "context"),
];

fn refused(status: &Status, rule: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::InvalidArgument, "PASSWORD_REFUSED"), "{status:?}");
    assert_eq!(metadata(status, "rule"), rule, "{status:?}");
}

fn new_user(password: &str, due: bool) -> admin::CreateUserRequest {
    let user = admin::User { email: "kim.minsu@x.kr".to_owned(), ..Default::default() };
    let password = password.to_owned();
    admin::CreateUserRequest { user: Some(user), password, must_change_password: due, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sets_none_that_breaks_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let breached = folder.path().join("breached");
    std::fs::write(&breached, BREACHED_LINE).unwrap();
    let server = server(Some(&breached)).await;
    let token = server.login_admin().await.access_token;
    let admin = server.admin(&token);
    for (password, rule) in REFUSED {
        refused(&admin.create_user(new_user(password, false)).await.unwrap_err(), rule);
    }
    let id = admin.create_user(new_user(PASSWORD, false)).await.unwrap().user.unwrap().id;
    for (password, rule) in REFUSED {
        let set = admin::SetPasswordRequest { id: id.clone(), password: (*password).to_owned(), ..Default::default() };
        refused(&admin.set_password(set).await.unwrap_err(), rule);
    }
    assert!(server.login("kim.minsu@x.kr", PASSWORD).await.is_ok(), "a refused change changes nothing");
    // For somebody else it is no name.
    let other = add_user(&server, "lee", None).await;
    set_password(&server, other, "kim.minsu-kim.minsu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_due_gives_way_to_none_that_breaks_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let breached = folder.path().join("breached");
    std::fs::write(&breached, BREACHED_LINE).unwrap();
    let server = server(Some(&breached)).await;
    let token = server.login_admin().await.access_token;
    server.admin(&token).create_user(new_user(PASSWORD, true)).await.unwrap();
    let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
    let login = pb::LoginRequest { supported_challenges, ..login_request("kim.minsu@x.kr", PASSWORD) };
    let answer = server.client().login(login).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::Challenge(challenge)) = answer.outcome else { panic!("no challenge") };
    let complete = |password: &str| pb::CompleteChallengeRequest {
        challenge_token: challenge.challenge_token.clone(),
        answer: Some(pb::complete_challenge_request::Answer::NewPassword(password.to_owned())),
        ..Default::default()
    };
    // More often than there are attempts: a password that breaks a rule is none.
    for (password, rule) in REFUSED.iter().chain(REFUSED) {
        refused(&server.client().complete_challenge(complete(password)).await.unwrap_err(), rule);
    }
    server.client().complete_challenge(complete("quite another password")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_gone_refuses_nobody_and_sign_ins_never_ask_it() {
    let folder = tempfile::tempdir().unwrap();
    let breached = folder.path().join("breached");
    std::fs::write(&breached, BREACHED_LINE).unwrap();
    let server = server(Some(&breached)).await;
    // Chosen before the rule was there.
    add_user(&server, "kim", Some(BREACHED)).await;
    assert!(server.login("kim", BREACHED).await.is_ok());
    let lee = add_user(&server, "lee", None).await;
    std::fs::remove_file(&breached).unwrap();
    set_password(&server, lee, BREACHED).await;
    assert!(server.login("lee", BREACHED).await.is_ok());
    // Put back, also with more in it, it counts again without a restart.
    std::fs::write(&breached, BREACHED_LINE).unwrap();
    let set = admin::SetPasswordRequest { id: lee.to_string(), password: BREACHED.to_owned(), ..Default::default() };
    let token = server.login_admin().await.access_token;
    refused(&server.admin(&token).set_password(set).await.unwrap_err(), "breached");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_grows_old() {
    let server = Server::quick().await;
    add_user(&server, "kim", Some(PASSWORD)).await;
    server.later(Duration::from_hours(5 * 365 * 24)).await;
    assert!(server.login("kim", PASSWORD).await.is_ok());
}
