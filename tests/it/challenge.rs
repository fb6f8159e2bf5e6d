//! A password that is due: what a front is told, what may take its place, and that a challenge opens one session at most,
//! whatever happens to the vault.

use postern::auth::challenge::{ATTEMPTS_MAX, CHALLENGE_TTL};
use postern::domain::id::UserId;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Code;

use crate::people::{add_user, disable, enable, end_all_sessions, set_password};
use crate::raw;
use crate::support::{Answer, PASSWORD, Server, login_request, metadata, quick, reason, verdict};

const NEXT: &str = "quite another password";
const LOGIN: &str = "/postern.auth.v1.AuthService/Login";
const COMPLETE: &str = "/postern.auth.v1.AuthService/CompleteChallenge";

/// Kim, whose [`PASSWORD`] an administrator set and wants changed.
async fn kim_is_due(server: &Server) -> UserId {
    let admin = server.login_admin().await.access_token;
    let request = admin::CreateUserRequest {
        user: Some(admin::User { user_name: "kim".to_owned(), ..Default::default() }),
        password: PASSWORD.to_owned(),
        must_change_password: true,
        ..Default::default()
    };
    server.admin(&admin).create_user(request).await.unwrap().user.unwrap().id.parse().unwrap()
}

fn able_login(password: &str) -> pb::LoginRequest {
    let supported_challenges = vec![99, pb::ChallengeKind::Unspecified.into(), pb::ChallengeKind::NewPassword.into()];
    pb::LoginRequest { supported_challenges, ..login_request("kim", password) }
}

async fn login(server: &Server, request: pb::LoginRequest) -> pb::login_response::Outcome {
    server.client().login(request).await.unwrap().into_inner().outcome.unwrap()
}

async fn challenged(server: &Server) -> pb::Challenge {
    match login(server, able_login(PASSWORD)).await {
        pb::login_response::Outcome::Challenge(challenge) => challenge,
        pb::login_response::Outcome::SignIn(_) => panic!("signed in"),
    }
}

fn completion(token: &str, new_password: &str) -> pb::CompleteChallengeRequest {
    let answer = Some(pb::complete_challenge_request::Answer::NewPassword(new_password.to_owned()));
    pb::CompleteChallengeRequest { challenge_token: token.to_owned(), answer, ..Default::default() }
}

async fn complete(server: &Server, token: &str, new_password: &str) -> Answer<pb::SignIn> {
    let answer = server.client().complete_challenge(completion(token, new_password)).await?.into_inner();
    match answer.outcome.unwrap() {
        pb::complete_challenge_response::Outcome::SignIn(sign_in) => Ok(sign_in),
        pb::complete_challenge_response::Outcome::Challenge(_) => panic!("a further step"),
    }
}

async fn failed(server: &Server, token: &str, why: &str) {
    let status = complete(server, token, NEXT).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CHALLENGE_FAILED"), "{why}");
}

async fn refused(server: &Server, token: &str, new_password: &str, rule: &str) {
    let status = complete(server, token, new_password).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "PASSWORD_REFUSED"), "{status:?}");
    assert_eq!(metadata(&status, "rule"), rule);
}

// ---- signing in ----

#[tokio::test(flavor = "multi_thread")]
async fn a_due_password_opens_a_session_only_in_exchange_for_a_new_one() {
    let server = Server::quick().await;
    let id = kim_is_due(&server).await;
    let challenge = challenged(&server).await;
    assert_eq!(challenge.kinds, [i32::from(pb::ChallengeKind::NewPassword)]);
    assert!(challenge.challenge_token.starts_with("pch_") && challenge.challenge_token.len() == 48);
    let now = server.clock.now();
    let left = challenge.expire_time.unwrap().seconds - now.secs();
    assert!((CHALLENGE_TTL.as_secs().cast_signed() - 5..=CHALLENGE_TTL.as_secs().cast_signed()).contains(&left));
    let mut database = server.database().await;
    assert_eq!(database.sessions_of(id).await, 0, "a challenge opens nothing");

    let device = Some(pb::Device { display_name: "phone".to_owned(), ..Default::default() });
    let request = pb::CompleteChallengeRequest { device, ..completion(&challenge.challenge_token, NEXT) };
    let answer = server.client().complete_challenge(request).await.unwrap().into_inner();
    let Some(pb::complete_challenge_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    let (tokens, principal) = (sign_in.tokens.unwrap(), sign_in.principal.unwrap());
    assert_eq!((principal.id.as_str(), principal.amr.as_slice()), (id.to_string().as_str(), &["pwd".to_owned()][..]));
    assert_eq!(server.verify(&tokens.access_token).await.decision(), pb::Decision::Allow);
    assert_eq!(server.refresh(&tokens.refresh_token).await.unwrap().rotation(), pb::Rotation::Advanced);
    let sessions = server.sessions(&tokens.access_token, false).await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].device.as_ref().unwrap().display_name, "phone");

    // It is due no more, for fronts of every kind.
    assert!(server.login("kim", NEXT).await.is_ok());
    assert_eq!(reason(&server.login("kim", PASSWORD).await.unwrap_err()), "INVALID_CREDENTIALS");
    failed(&server, &challenge.challenge_token, "spent").await;
    assert_eq!(database.audited_at_last("authn_login_challenge").await, 1);
    assert_eq!(database.audited("authn_password_change").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_cannot_ask_is_refused_and_a_stranger_learns_nothing() {
    let server = Server::quick().await;
    kim_is_due(&server).await;
    let status = server.login("kim", PASSWORD).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "CHALLENGE_UNSUPPORTED"));
    add_user(&server, "lee", Some(PASSWORD)).await;
    let mut answers = Vec::new();
    for (name, is_able) in [("kim", true), ("kim", false), ("lee", true), ("nobody", true), ("nobody", false)] {
        let mut request = login_request(name, "not the right password");
        if is_able {
            request.supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
        }
        let body = raw::frame(&request.encode_to_vec());
        let mut raw = raw::call(&server.channel, LOGIN, &[("x-request-id", "same")], body).await.unwrap();
        assert_eq!((raw.code, raw.reason().as_str()), (Code::Unauthenticated, "INVALID_CREDENTIALS"));
        raw.metadata.remove("date");
        answers.push((raw.metadata, raw.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Whose password is not due is asked for nothing.
    let request = pb::LoginRequest {
        supported_challenges: vec![pb::ChallengeKind::NewPassword.into()],
        ..login_request("lee", PASSWORD)
    };
    assert!(matches!(login(&server, request).await, pb::login_response::Outcome::SignIn(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_makes_a_password_due_and_ends_all_sessions_by_it() {
    let server = Server::quick().await;
    let someone = server.someone().await;
    let set = |must_change_password| admin::SetPasswordRequest {
        id: someone.id.clone(),
        password: PASSWORD.to_owned(),
        must_change_password,
    };
    let root = server.admin(&someone.admin);
    root.set_password(set(true)).await.unwrap();
    let over = server.refresh(&someone.tokens.refresh_token).await.unwrap_err();
    assert_eq!(metadata(&over, "endCause"), "CREDENTIAL_CHANGED");
    let challenge = challenged(&server).await;
    // Set anew without the wish, it is due no more, and the old challenge is void.
    root.set_password(set(false)).await.unwrap();
    assert!(server.login("kim", PASSWORD).await.is_ok());
    failed(&server, &challenge.challenge_token, "another password was set").await;
    let wish = admin::CreateUserRequest {
        user: Some(admin::User { user_name: "lee".to_owned(), ..Default::default() }),
        must_change_password: true,
        ..Default::default()
    };
    let status = root.create_user(wish).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn completing_ends_what_the_old_password_opened_and_what_the_device_held() {
    let server = Server::quick().await;
    let someone = server.someone().await;
    add_user(&server, "lee", Some(PASSWORD)).await;
    let lees = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let due = "UPDATE passwords SET due = TRUE WHERE user_id = $1";
    let id: UserId = someone.id.parse().unwrap();
    let mut database = server.database().await;
    database.run(due, &[id.into()]).await;

    let request = pb::LoginRequest { replace_refresh_token: lees.refresh_token.clone(), ..able_login(PASSWORD) };
    let pb::login_response::Outcome::Challenge(challenge) = login(&server, request).await else { panic!("signed in") };
    let kept = server.refresh(&lees.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(server.verify(&someone.tokens.access_token).await.decision(), pb::Decision::Allow, "nothing ended yet");

    let fresh = complete(&server, &challenge.challenge_token, NEXT).await.unwrap().tokens.unwrap();
    let old = server.verify(&someone.tokens.access_token).await;
    assert_eq!(verdict(&old), (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked), "at once");
    let over = server.refresh(&someone.tokens.refresh_token).await.unwrap_err();
    assert_eq!(metadata(&over, "endCause"), "CREDENTIAL_CHANGED");
    let over = server.refresh(&kept.refresh_token).await.unwrap_err();
    assert_eq!(metadata(&over, "endCause"), "REPLACED");
    assert_eq!(server.verify(&fresh.access_token).await.decision(), pb::Decision::Allow);
}

// ---- the new password ----

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_breaks_a_rule_leaves_the_challenge_as_it_was() {
    let server = Server::quick().await;
    kim_is_due(&server).await;
    let token = challenged(&server).await.challenge_token;
    for _ in 0..2 * ATTEMPTS_MAX {
        refused(&server, &token, "too short", "min_length").await;
    }
    refused(&server, &token, &"x".repeat(1025), "max_bytes").await;
    refused(&server, &token, "", "min_length").await;
    refused(&server, &token, PASSWORD, "unchanged").await;
    let unanswered = pb::CompleteChallengeRequest { challenge_token: token.clone(), ..Default::default() };
    let status = server.client().complete_challenge(unanswered).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert!(complete(&server, &token, NEXT).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_no_endless_question_about_the_current_password() {
    let server = Server::quick().await;
    kim_is_due(&server).await;
    let token = challenged(&server).await.challenge_token;
    for _ in 0..ATTEMPTS_MAX {
        refused(&server, &token, PASSWORD, "unchanged").await;
    }
    failed(&server, &token, "asked too often").await;
    // The person is not locked out by it.
    let token = challenged(&server).await.challenge_token;
    assert!(complete(&server, &token, NEXT).await.is_ok());
}

// ---- what a challenge is worth ----

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_no_challenge_gets_byte_for_byte_the_same_answer() {
    let server = Server::quick().await;
    let id = kim_is_due(&server).await;
    let spent = challenged(&server).await.challenge_token;
    complete(&server, &spent, NEXT).await.unwrap();
    set_due(&server, id).await;
    let void = challenged(&server).await.challenge_token;
    set_due(&server, id).await;
    let flip = |text: &str| {
        let other = if text.ends_with('A') { "B" } else { "A" };
        format!("{}{other}", &text[..text.len() - 1])
    };
    let living = challenged(&server).await.challenge_token;
    let mut answers = Vec::new();
    for token in [
        String::new(),
        "pch_".to_owned(),
        "x".repeat(60_000),
        spent.clone(),
        void,
        flip(&living),
        format!("{living}="),
        living.to_uppercase(),
        format!("pch_{}", "_".repeat(44)),
    ] {
        let body = raw::frame(&completion(&token, NEXT).encode_to_vec());
        let mut raw = raw::call(&server.channel, COMPLETE, &[("x-request-id", "same")], body).await.unwrap();
        assert_eq!((raw.code, raw.reason().as_str()), (Code::Unauthenticated, "CHALLENGE_FAILED"));
        raw.metadata.remove("date");
        answers.push((raw.metadata, raw.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(complete(&server, &living, "one more other password").await.is_ok());
}

async fn set_due(server: &Server, id: UserId) {
    let request =
        admin::SetPasswordRequest { id: id.to_string(), password: PASSWORD.to_owned(), must_change_password: true };
    let admin = server.login_admin().await.access_token;
    server.admin(&admin).set_password(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_dies_with_its_time_and_with_whatever_ends_the_persons_sessions() {
    let server = Server::quick().await;
    let id = kim_is_due(&server).await;
    let token = challenged(&server).await.challenge_token;
    disable(&server, id).await;
    failed(&server, &token, "disabled").await;
    enable(&server, id).await;
    failed(&server, &token, "what was ended stays ended").await;
    let token = challenged(&server).await.challenge_token;
    end_all_sessions(&server).await;
    failed(&server, &token, "the fence was raised").await;
    let token = challenged(&server).await.challenge_token;
    let whose = pb::UserSessions { user_id: id.to_string(), keep_current: false };
    let access_token = server.login_admin().await.access_token;
    let target = Some(pb::revoke_request::Target::UserSessions(whose));
    server.revoke(pb::RevokeRequest { access_token, target, ..Default::default() }).await.unwrap();
    failed(&server, &token, "signed out everywhere").await;
    let token = challenged(&server).await.challenge_token;
    server.later(CHALLENGE_TTL).await;
    failed(&server, &token, "expired").await;
    let token = challenged(&server).await.challenge_token;
    set_password(&server, id, NEXT).await;
    failed(&server, &token, "the password is due no more").await;
    assert!(server.login("kim", NEXT).await.is_ok());
}

// ---- once ----

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_complete_at_once_one_does() {
    let server = Server::quick().await;
    let id = kim_is_due(&server).await;
    for round in 0..5 {
        let token = challenged(&server).await.challenge_token;
        let mut tasks = JoinSet::new();
        for racer in 0..16 {
            let (mut client, request) =
                (server.client(), completion(&token, &format!("new password {round} of {racer}")));
            tasks.spawn(async move { (racer, client.complete_challenge(request).await) });
        }
        let outcomes = tasks.join_all().await;
        let winners: Vec<i32> = outcomes.iter().filter(|(_, done)| done.is_ok()).map(|(racer, _)| *racer).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        for (_, outcome) in &outcomes {
            assert!(outcome.as_ref().is_ok_or_reason("CHALLENGE_FAILED"));
        }
        assert!(server.login("kim", &format!("new password {round} of {}", winners[0])).await.is_ok());
        set_due(&server, id).await;
    }
}

trait OkOrReason {
    fn is_ok_or_reason(&self, wanted: &str) -> bool;
}

impl<T> OkOrReason for Result<T, &tonic::Status> {
    fn is_ok_or_reason(&self, wanted: &str) -> bool {
        self.as_ref().map_or_else(|status| reason(status) == wanted, |_| true)
    }
}

/// F6: what a store throws back opens nothing a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_put_back_is_void() {
    let server = Server::quick().await;
    let id = kim_is_due(&server).await;
    let token = challenged(&server).await.challenge_token;
    let mut database = server.database().await;
    let record = database.challenges().await.pop().unwrap();
    complete(&server, &token, NEXT).await.unwrap();
    assert!(database.challenges().await.is_empty(), "spent");
    database.put_challenge(&record).await;
    failed(&server, &token, "put back").await;
    // Nor after the password fell due again.
    set_due(&server, id).await;
    database.put_challenge(&record).await;
    failed(&server, &token, "put back, and due again").await;
    // One that was moved to another name, or damaged, does not open.
    database.flush().await;
    let living = challenged(&server).await.challenge_token;
    let (partition, _) = database.challenges().await.pop().unwrap();
    database.put_challenge(&(partition, record.1)).await;
    failed(&server, &living, "another record under its name").await;
    // And a lost one costs the person one more sign-in.
    let lost = challenged(&server).await.challenge_token;
    database.flush().await;
    failed(&server, &lost, "lost").await;
    let token = challenged(&server).await.challenge_token;
    assert!(complete(&server, &token, NEXT).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_survives_a_restart_and_counts_at_every_replica() {
    let server = Server::quick().await;
    kim_is_due(&server).await;
    let token = challenged(&server).await.challenge_token;
    let server = server.restart_with(quick).await;
    let replica = server.replica().await;
    assert!(complete(&replica, &token, NEXT).await.is_ok());
    failed(&server, &token, "spent at the other one").await;
}

/// Row 28: neither the vault nor its backups hold what was handed out.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_has_nothing_that_could_be_presented() {
    let mut server = Server::quick().await;
    kim_is_due(&server).await;
    let lees = {
        add_user(&server, "lee", Some(PASSWORD)).await;
        server.login("lee", PASSWORD).await.unwrap().tokens.unwrap().refresh_token
    };
    let request = pb::LoginRequest { replace_refresh_token: lees.clone(), ..able_login(PASSWORD) };
    let pb::login_response::Outcome::Challenge(challenge) = login(&server, request).await else { panic!("signed in") };
    refused(&server, &challenge.challenge_token, PASSWORD, "unchanged").await;
    server.stop().await;
    let secrets = [challenge.challenge_token[4..].to_owned(), lees, PASSWORD.to_owned()];
    for (place, bytes) in server.home().stored().await {
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(secret), "{place}");
        }
    }
}
