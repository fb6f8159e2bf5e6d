//! Refresh over the wire: what each presented token is worth, what ends a session, and what a vault that forgets or is
//! tampered with can and cannot do.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::config::Config;
use postern::proto::auth::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;

use crate::people::{
    add_user, delete, disable, enable, end_all_sessions, hash_with, kim, set_hash, set_password, sign_in,
};
use crate::support::{Answer, PASSWORD, Server, metadata, quick, reason, verdict};

/// Past the grace, and past what a record remembers beyond it.
const PAST: Duration = Duration::from_secs(36);
const DAY: Duration = Duration::from_hours(24);

/// How a refresh was answered, and with which refresh token.
async fn refreshed(server: &Server, token: &str) -> (pb::Rotation, String) {
    let answer = server.refresh(token).await.unwrap();
    (answer.rotation(), answer.tokens.unwrap().refresh_token)
}

async fn advanced(server: &Server, token: &str) -> String {
    let (rotation, next) = refreshed(server, token).await;
    assert_eq!(rotation, pb::Rotation::Advanced);
    assert_ne!(next, token);
    next
}

/// The reason of a refusal, with the cause if it has one.
async fn refused(server: &Server, token: &str) -> String {
    refusal(&server.refresh(token).await)
}

fn refusal(answer: &Answer<pb::RefreshResponse>) -> String {
    let status = answer.as_ref().map(|_| ()).unwrap_err();
    let cause = metadata(status, "endCause");
    if reason(status) != "ENGINE_UNAVAILABLE" {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    if cause.is_empty() { reason(status) } else { format!("{} {cause}", reason(status)) }
}

async fn decided(server: &Server, access_token: &str) -> (pb::Decision, pb::Reason) {
    verdict(&server.verify(access_token).await)
}

const DEAD: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);

// ---- rotation ----

#[tokio::test(flavor = "multi_thread")]
async fn each_refresh_gives_a_new_pair_that_speaks_for_the_same_sign_in() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let signed_in = server.verify(&first.access_token).await.principal.unwrap();
    let mut seen = BTreeSet::from([first.refresh_token.clone(), first.access_token.clone()]);
    let mut token = first.refresh_token;
    for _ in 0..5 {
        server.later(Duration::from_mins(1)).await;
        let answer = server.refresh(&token).await.unwrap();
        let (tokens, principal) = (answer.tokens.unwrap(), answer.principal.unwrap());
        assert!(seen.insert(tokens.refresh_token.clone()) && seen.insert(tokens.access_token.clone()));
        assert_eq!(principal.id, id.to_string());
        let verified = server.verify(&tokens.access_token).await.principal.unwrap();
        assert_eq!((verified.auth_time, &verified.amr), (signed_in.auth_time, &signed_in.amr));
        assert_eq!(verified.session_id, first.session_id);
        assert_eq!(
            (tokens.session_id, tokens.session_expire_time),
            (first.session_id.clone(), first.session_expire_time)
        );
        token = tokens.refresh_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_within_the_grace_gets_the_current_token_again_and_nothing_more() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let next = advanced(&server, &first.refresh_token).await;
    for _ in 0..3 {
        assert_eq!(refreshed(&server, &first.refresh_token).await, (pb::Rotation::Repeated, next.clone()));
    }
    server.advance(Duration::from_secs(28));
    let after = advanced(&server, &next).await;
    assert_eq!(refreshed(&server, &first.refresh_token).await, (pb::Rotation::Repeated, after.clone()));
    // Repeats do not stretch the grace: it counts from when the token was superseded.
    server.later(Duration::from_secs(3)).await;
    assert_eq!(refused(&server, &first.refresh_token).await, "SESSION_REUSED");
    assert_eq!(refused(&server, &after).await, "SESSION_ENDED REFRESH_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_lost_for_longer_than_the_grace_is_forgiven_once() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    advanced(&server, &first.refresh_token).await;
    server.later(Duration::from_mins(10)).await;
    let (rotation, current) = refreshed(&server, &first.refresh_token).await;
    assert_eq!(rotation, pb::Rotation::Late);
    let mut database = server.database().await;
    assert_eq!(database.audited_at_last("authn_token_late").await, 1);
    let next = advanced(&server, &current).await;
    // A second one within 32 generations is taken for theft.
    server.later(PAST).await;
    assert_eq!(refused(&server, &current).await, "SESSION_REUSED");
    assert_eq!(refused(&server, &next).await, "SESSION_ENDED REFRESH_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_late_repeats_a_late_retry_ends_the_session() {
    let server = Server::start_with(|config: &mut Config| {
        quick(config);
        config.refresh.late_repeats = false;
    })
    .await;
    let (_, first) = kim(&server).await;
    advanced(&server, &first.refresh_token).await;
    server.later(PAST).await;
    assert_eq!(refused(&server, &first.refresh_token).await, "SESSION_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_refreshes_in_a_loop_is_held_and_nothing_is_lost() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let mut tokens = vec![first.refresh_token];
    for _ in 0..8 {
        let next = advanced(&server, tokens.last().unwrap()).await;
        tokens.push(next);
    }
    let current = tokens.last().unwrap().clone();
    for _ in 0..3 {
        assert_eq!(refreshed(&server, &current).await, (pb::Rotation::Held, current.clone()));
    }
    for spent in tokens.iter().take(8) {
        assert_eq!(refreshed(&server, spent).await, (pb::Rotation::Repeated, current.clone()));
    }
    server.later(PAST).await;
    advanced(&server, &current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_refreshes_at_once_one_advances_and_all_are_answered_alike() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let mut token = first.refresh_token;
    for round in 0..12 {
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let (mut client, refresh_token) = (server.client(), token.clone());
            let request = pb::RefreshRequest { refresh_token, ..Default::default() };
            tasks.spawn(async move { client.refresh(request).await.unwrap().into_inner() });
        }
        let answers = tasks.join_all().await;
        let advances = answers.iter().filter(|answer| answer.rotation() == pb::Rotation::Advanced).count();
        assert_eq!(advances, 1, "round {round}");
        let next: BTreeSet<_> = answers.iter().map(|answer| &answer.tokens.as_ref().unwrap().refresh_token).collect();
        assert_eq!(next.len(), 1, "round {round}: one live child");
        let next = (*next.first().unwrap()).clone();
        let access = &answers.first().unwrap().tokens.as_ref().unwrap().access_token;
        assert_eq!(decided(&server, access).await, ALLOW);
        token = next;
        server.later(PAST).await;
    }
    advanced(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_race_for_one_token_and_still_make_one_child() {
    let server = Server::quick().await;
    let replicas = [server.replica().await, server.replica().await];
    let (_, first) = kim(&server).await;
    let mut token = first.refresh_token;
    for round in 0..8 {
        let mut tasks = JoinSet::new();
        for index in 0..18 {
            let at = [&server, &replicas[0], &replicas[1]][index % 3];
            let (mut client, refresh_token) = (at.client(), token.clone());
            let request = pb::RefreshRequest { refresh_token, ..Default::default() };
            tasks.spawn(async move { client.refresh(request).await.unwrap().into_inner() });
        }
        let answers = tasks.join_all().await;
        let advances = answers.iter().filter(|answer| answer.rotation() == pb::Rotation::Advanced).count();
        assert_eq!(advances, 1, "round {round}");
        let next: BTreeSet<_> = answers.into_iter().map(|answer| answer.tokens.unwrap().refresh_token).collect();
        assert_eq!(next.len(), 1, "round {round}");
        token = next.into_iter().next().unwrap();
        server.later(PAST).await;
    }
}

// ---- theft ----

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_token_ends_the_whole_session_everywhere_at_once() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let bystander = sign_in(&server).await;
    let mut access = vec![first.access_token.clone()];
    let mut tokens = vec![first.refresh_token.clone()];
    for _ in 0..2 {
        let answer = server.refresh(tokens.last().unwrap()).await.unwrap().tokens.unwrap();
        access.push(answer.access_token);
        tokens.push(answer.refresh_token);
        server.later(PAST).await;
    }
    let status = server.refresh(&tokens[0]).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_REUSED"));
    for token in &access {
        assert_eq!(decided(&server, token).await, DEAD, "without delay on the replica that found it");
    }
    for token in &tokens {
        assert_eq!(refused(&server, token).await, "SESSION_ENDED REFRESH_REUSED");
    }
    let mut database = server.database().await;
    assert_eq!(database.audited("authn_token_reuse").await, 1);
    assert_eq!(database.causes(id).await, ["REFRESH_REUSED"]);
    assert_eq!(decided(&server, &bystander.access_token).await, ALLOW, "only this session");
    let ended = server.sessions(&bystander.access_token, true).await;
    let ended = ended.iter().find(|one| one.id == first.session_id).unwrap();
    assert_eq!(ended.end_cause(), pb::EndCause::RefreshReused);
}

#[tokio::test(flavor = "multi_thread")]
async fn thief_and_owner_who_both_go_on_are_found_at_the_second_refresh_out_of_step() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let stolen = first.refresh_token.clone();
    let owner = advanced(&server, &first.refresh_token).await;
    server.later(PAST).await;
    let (rotation, thief) = refreshed(&server, &stolen).await;
    assert_eq!(rotation, pb::Rotation::Late, "once it looks like a lost answer");
    let mut hands = [owner, thief];
    for play in 0..4 {
        server.later(PAST).await;
        let hand = &mut hands[play % 2];
        match server.refresh(hand).await {
            Ok(answer) => *hand = answer.tokens.unwrap().refresh_token,
            Err(status) => {
                assert_eq!(reason(&status), "SESSION_REUSED");
                for token in &hands {
                    assert_eq!(refused(&server, token).await, "SESSION_ENDED REFRESH_REUSED");
                }
                return;
            }
        }
    }
    panic!("not found in four plays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_every_second_does_not_keep_a_spent_token_alive() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let next = advanced(&server, &first.refresh_token).await;
    let after = advanced(&server, &next).await;
    let mut answered = 0;
    loop {
        server.advance(Duration::from_secs(1));
        match server.refresh(&first.refresh_token).await {
            Ok(answer) => assert_eq!(answer.tokens.unwrap().refresh_token, after),
            Err(status) => {
                assert_eq!(reason(&status), "SESSION_REUSED");
                break;
            }
        }
        answered += 1;
    }
    assert!((25..=30).contains(&answered), "{answered} seconds");
}

// ---- limits ----

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_used_ends_idle() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    server.advance(13 * DAY);
    let next = advanced(&server, &first.refresh_token).await;
    server.advance(14 * DAY + Duration::from_secs(95));
    assert_eq!(refused(&server, &next).await, "SESSION_ENDED IDLE");
    // Long after, when the vault has forgotten it: the token says itself how old it is.
    server.advance(30 * DAY);
    assert_eq!(refused(&server, &next).await, "SESSION_ENDED IDLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rotation_extends_the_absolute_end() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let end = first.session_expire_time.unwrap();
    let mut token = first.refresh_token;
    for day in 1..90 {
        server.advance(DAY);
        let tokens = server.refresh(&token).await.unwrap_or_else(|why| panic!("day {day}: {why:?}")).tokens.unwrap();
        assert_eq!(tokens.session_expire_time.unwrap().seconds, end.seconds);
        assert!(tokens.refresh_expire_time.unwrap().seconds <= end.seconds);
        assert!(tokens.access_expire_time.unwrap().seconds <= end.seconds);
        token = tokens.refresh_token;
    }
    // One last time within the last day: nothing that is issued outlives the session.
    server.advance(Duration::from_mins(24 * 60 - 5));
    let last = server.refresh(&token).await.unwrap().tokens.unwrap();
    assert!(last.access_expire_time.unwrap().seconds <= end.seconds);
    server.advance(Duration::from_secs(301));
    assert_eq!(refused(&server, &last.refresh_token).await, "SESSION_ENDED EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_cannot_ask_for_another_audience_than_the_clients_own() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let ask = |audiences: Vec<String>| pb::RefreshRequest {
        refresh_token: first.refresh_token.clone(),
        token_options: Some(pb::TokenOptions { audiences, ..Default::default() }),
        ..Default::default()
    };
    for foreign in ["https://other.example", "", &format!("{}/", server.issuer), "*"] {
        let status = server.client().refresh(ask(vec![server.issuer.clone(), foreign.to_owned()])).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{foreign}");
    }
    // Nothing was spent by that.
    let answer = server.client().refresh(ask(vec![server.issuer.clone()])).await.unwrap().into_inner();
    assert_eq!(answer.rotation(), pb::Rotation::Advanced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_asked_for_holds_for_that_access_token_only() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let request = pb::RefreshRequest {
        refresh_token: first.refresh_token.clone(),
        token_options: Some(pb::TokenOptions { tenant: "acme".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let narrowed = server.client().refresh(request).await.unwrap().into_inner().tokens.unwrap();
    assert_eq!(claim(&narrowed.access_token, "tenant"), Some("acme".into()));
    let usual = server.refresh(&narrowed.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(claim(&usual.access_token, "tenant"), None);
}

fn claim(access_token: &str, name: &str) -> Option<serde_json::Value> {
    let payload = URL_SAFE_NO_PAD.decode(access_token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    claims.get(name).cloned()
}

// ---- what is no refresh token ----

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_token_is_never_taken_for_another() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let invalid = (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid);
    assert_eq!(decided(&server, &tokens.refresh_token).await, invalid);
    assert_eq!(refused(&server, &tokens.access_token).await, "REFRESH_TOKEN_INVALID");
    assert_eq!(server.logout(&tokens.access_token).await.ended_count, 0);
    let list = pb::ListSessionsRequest { access_token: tokens.refresh_token.clone(), ..Default::default() };
    let status = server.client().list_sessions(list).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    assert_eq!(decided(&server, &tokens.access_token).await, ALLOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_before_any_store_is_asked() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let good = tokens.refresh_token;
    let elsewhere = Server::quick().await;
    let (_, foreign) = kim(&elsewhere).await;
    server.auth.store.close().await;
    let mut body = URL_SAFE_NO_PAD.decode(&good[4..]).unwrap();
    let whole = body.clone();
    let mut cases = vec![
        String::new(),
        "ptr_".to_owned(),
        good[..123].to_owned(),
        good[..60].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        good.replacen("ptr_", "PTR_", 1),
        good.replacen("ptr_", "ptr-", 1),
        good.replacen("ptr_", "", 1),
        format!("{}\0", &good[..123]),
        format!("{}+", &good[..123]),
        format!("{}/", &good[..123]),
        format!("{}가", &good[..121]),
        "\0".repeat(124),
        "x".repeat(60_000),
        foreign.refresh_token,
    ];
    // The last letter carries bits that mean nothing: only one spelling is ours.
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    cases.extend(letters.chars().map(|last| format!("{}{last}", &good[..123])).filter(|other| *other != good));
    for index in 0..whole.len() {
        body.clone_from(&whole);
        body[index] ^= 0x10;
        cases.push(format!("ptr_{}", URL_SAFE_NO_PAD.encode(&body)));
    }
    for case in &cases {
        assert_eq!(refused(&server, case).await, "REFRESH_TOKEN_INVALID", "{case:?}");
    }
    let status = server.refresh(&"x".repeat(1 << 20)).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    // The store is closed indeed: an outage is no refusal, and says when to come back.
    let status = server.refresh(&good).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_ends_no_session_and_does_not_reach_verify() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    server.auth.store.close().await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "ENGINE_UNAVAILABLE");
    let status = server.login("kim", PASSWORD).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000", "nothing was begun");
    assert_eq!(decided(&server, &tokens.access_token).await, ALLOW);
    // Nor does it take the server out of the service: judging goes on.
    for path in ["/readyz", "/livez"] {
        assert!(get(&server, path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let server = server.restart_with(quick).await;
    advanced(&server, &tokens.refresh_token).await;
}

async fn get(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.operations).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

// ---- what ends sessions from outside ----

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_all_sessions_at_once() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let second = sign_in(&server).await;
    set_password(&server, id, "quite another password").await;
    for tokens in [&first, &second] {
        assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED CREDENTIAL_CHANGED");
        assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
    }
    let fresh = server.login("kim", "quite another password").await.unwrap().tokens.unwrap();
    assert_eq!(decided(&server, &fresh.access_token).await, ALLOW);
    let next = advanced(&server, &fresh.refresh_token).await;
    assert_eq!(refused(&server, &first.refresh_token).await, "SESSION_ENDED CREDENTIAL_CHANGED");
    advanced(&server, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_races_a_new_password_does_not_survive_it() {
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    for round in 0..20_u64 {
        let password = format!("yet another password {round}");
        let before = if round == 0 { PASSWORD.to_owned() } else { format!("yet another password {}", round - 1) };
        let tokens = server.login("kim", &before).await.unwrap().tokens.unwrap();
        let hash = hash_with(&server.auth.passwords, &password).await;
        let (answer, ()) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_micros(round * 131 % 2_000)).await;
                server.refresh(&tokens.refresh_token).await
            },
            set_hash(&server, id, &hash)
        );
        let token = match answer {
            Ok(answer) => {
                let next = answer.tokens.unwrap();
                assert_eq!(decided(&server, &next.access_token).await, DEAD, "round {round}");
                next.refresh_token
            }
            Err(_) => tokens.refresh_token,
        };
        assert_eq!(refused(&server, &token).await, "SESSION_ENDED CREDENTIAL_CHANGED", "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_gets_in_nowhere_and_an_enabled_one_signs_in_anew() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    disable(&server, id).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED USER_DISABLED");
    assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
    assert_eq!(reason(&server.login("kim", PASSWORD).await.unwrap_err()), "INVALID_CREDENTIALS");
    enable(&server, id).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED USER_DISABLED", "what ended stays ended");
    assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
    let fresh = sign_in(&server).await;
    assert_eq!(decided(&server, &fresh.access_token).await, ALLOW);
    advanced(&server, &fresh.refresh_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_gone_with_all_sessions_and_the_name_brings_none_back() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    delete(&server, id).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED USER_DISABLED");
    assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
    assert_eq!(reason(&server.login("kim", PASSWORD).await.unwrap_err()), "INVALID_CREDENTIALS");
    add_user(&server, "kim", Some(PASSWORD)).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED USER_DISABLED");
    assert_eq!(decided(&server, &tokens.access_token).await, DEAD);
}

// ---- a vault that forgets, and one that lies ----

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_a_backup_heals_forward_and_logs_nobody_out() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let mut database = server.database().await;
    let backup = database.record(&first.session_id).await;
    let mut token = first.refresh_token;
    for _ in 0..5 {
        token = advanced(&server, &token).await;
        server.later(PAST).await;
    }
    database.put_record(id, &first.session_id, &backup).await;
    let (rotation, next) = refreshed(&server, &token).await;
    assert_eq!(rotation, pb::Rotation::Healed);
    assert_ne!(next, token);
    assert_eq!(
        refreshed(&server, &token).await,
        (pb::Rotation::Repeated, next.clone()),
        "a retry gets the same answer"
    );
    server.later(PAST).await;
    advanced(&server, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_older_than_the_idle_limit_still_heals() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let mut database = server.database().await;
    let backup = database.record(&first.session_id).await;
    let mut token = first.refresh_token;
    for _ in 0..20 {
        server.advance(DAY);
        token = advanced(&server, &token).await;
    }
    database.put_record(id, &first.session_id, &backup).await;
    let (rotation, next) = refreshed(&server, &token).await;
    assert_eq!(rotation, pb::Rotation::Healed);
    server.later(PAST).await;
    advanced(&server, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_record_revives_only_the_newest_sixteen_generations() {
    let server = Server::quick().await;
    let (id, first) = kim(&server).await;
    let mut database = server.database().await;
    let mut history = vec![(first.refresh_token.clone(), database.record(&first.session_id).await)];
    for _ in 0..40 {
        let next = advanced(&server, &history.last().unwrap().0).await;
        history.push((next, database.record(&first.session_id).await));
        server.later(PAST).await;
    }
    // A writer of the vault who stole token 2 puts back the record in which it was current.
    let (stolen, record) = history.get(2).unwrap();
    database.put_record(id, &first.session_id, record).await;
    assert_eq!(refused(&server, stolen).await, "SESSION_REUSED");
    assert_eq!(refused(&server, &history.last().unwrap().0).await, "SESSION_ENDED REFRESH_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_that_is_put_back_revives_an_ended_session() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (id, _) = kim(&server).await;

    // Logged out.
    let tokens = sign_in(&server).await;
    let record = database.record(&tokens.session_id).await;
    server.logout(&tokens.refresh_token).await;
    database.put_record(id, &tokens.session_id, &record).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED LOGOUT");

    // Ended because a spent token came back; the newest token would heal it.
    let tokens = sign_in(&server).await;
    let record = database.record(&tokens.session_id).await;
    let mut token = tokens.refresh_token.clone();
    for _ in 0..3 {
        token = advanced(&server, &token).await;
        server.later(PAST).await;
    }
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_REUSED");
    database.put_record(id, &tokens.session_id, &record).await;
    assert_eq!(refused(&server, &token).await, "SESSION_ENDED REFRESH_REUSED");

    // Below the floor of a new password.
    let tokens = sign_in(&server).await;
    let record = database.record(&tokens.session_id).await;
    set_password(&server, id, "quite another password").await;
    database.put_record(id, &tokens.session_id, &record).await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED CREDENTIAL_CHANGED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_moved_or_written_by_hand_does_not_open() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (kim_id, kims) = kim(&server).await;
    let lee_id = add_user(&server, "lee", Some(PASSWORD)).await;
    let lees = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let record = database.record(&kims.session_id).await;

    // Kim's record under Lee's session: Lee's token must not open Kim's things, nor Kim's become Lee's.
    database.put_record(lee_id, &lees.session_id, &record).await;
    assert_eq!(refused(&server, &lees.refresh_token).await, "SESSION_ENDED LOST");
    assert!(database.audited_at_last("authn_token_forged").await >= 1);
    // In Lee's partition under Kim's session id: not even listed.
    database.put_record(lee_id, &kims.session_id, &record).await;
    let other = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let listed: Vec<_> = server.sessions(&other.access_token, true).await.into_iter().map(|one| one.id).collect();
    assert_eq!(listed, std::slice::from_ref(&other.session_id));
    // Kim's own place, one bit flipped; then plain nonsense.
    let mut flipped = record.clone();
    let last = flipped.0.len() - 1;
    flipped.0[last] ^= 1;
    for bad in [flipped, (Vec::new(), record.1), (b"{}".to_vec(), record.1)] {
        database.put_record(kim_id, &kims.session_id, &bad).await;
        assert_eq!(refused(&server, &kims.refresh_token).await, "SESSION_ENDED LOST");
    }
    // It was damage, not an end: the true record put back is good again.
    database.put_record(kim_id, &kims.session_id, &record).await;
    advanced(&server, &kims.refresh_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_vault_does_not_forget_why_sessions_ended() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (id, before_password) = kim(&server).await;
    server.later(Duration::from_secs(1)).await;
    set_password(&server, id, PASSWORD).await;
    let before_fence = sign_in(&server).await;
    server.later(Duration::from_secs(1)).await;
    end_all_sessions(&server).await;
    let after = sign_in(&server).await;
    database.flush().await;
    assert_eq!(refused(&server, &before_password.refresh_token).await, "SESSION_ENDED CREDENTIAL_CHANGED");
    assert_eq!(refused(&server, &before_fence.refresh_token).await, "SESSION_ENDED ENDED_FOR_ALL");
    assert_eq!(refused(&server, &after.refresh_token).await, "SESSION_ENDED LOST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_vault_makes_everybody_sign_in_again_and_nothing_worse() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (_, tokens) = kim(&server).await;
    let other = sign_in(&server).await;
    server.logout(&other.refresh_token).await;
    database.flush().await;
    assert_eq!(refused(&server, &tokens.refresh_token).await, "SESSION_ENDED LOST");
    assert_eq!(refused(&server, &other.refresh_token).await, "SESSION_ENDED LOGOUT", "why one ended is in SQL");
    assert_eq!(decided(&server, &other.access_token).await, DEAD);
    assert_eq!(decided(&server, &tokens.access_token).await, ALLOW, "until it expires");
    let fresh = sign_in(&server).await;
    advanced(&server, &fresh.refresh_token).await;
    assert_eq!(database.audited("authn_token_reuse").await + database.audited("authn_token_forged").await, 0);
}

// ---- what is kept ----

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_server_holds_a_password_or_a_token() {
    const CANARY: &str = "canary of a password 4711";
    let mut server = Server::quick().await;
    let id = add_user(&server, "kim", Some(CANARY)).await;
    let mut secrets = vec![("password", CANARY.as_bytes().to_vec())];
    let keep = |secrets: &mut Vec<_>, tokens: &pb::TokenPair| {
        let refresh = tokens.refresh_token.as_bytes().to_vec();
        let raw = URL_SAFE_NO_PAD.decode(&tokens.refresh_token[4..]).unwrap();
        secrets.push(("refresh token's secret", raw[42..74].to_vec()));
        secrets.push(("refresh token's secret, as text", refresh[refresh.len() - 60..].to_vec()));
        secrets.push(("refresh token", refresh));
        let signature = tokens.access_token.rsplit('.').next().unwrap();
        secrets.push(("access token's signature", signature.as_bytes().to_vec()));
        secrets.push(("access token's raw signature", URL_SAFE_NO_PAD.decode(signature).unwrap()));
    };
    for round in 0..10 {
        let first = server.login("kim", CANARY).await.unwrap().tokens.unwrap();
        keep(&mut secrets, &first);
        let next = server.refresh(&first.refresh_token).await.unwrap().tokens.unwrap();
        keep(&mut secrets, &next);
        server.login("kim", &format!("wrong password as typed {round}")).await.unwrap_err();
        if round % 3 == 0 {
            server.logout(&next.refresh_token).await;
        }
    }
    secrets.push(("password as typed wrongly", b"wrong password as typed".to_vec()));
    secrets.push(("first password", server.admin_password.clone().unwrap().into_bytes()));
    // While it runs (an embedded store has its log beside it), and afterwards.
    for running in [true, false] {
        if !running {
            server.stop().await;
        }
        let mut is_id_found = false;
        for (place, content) in server.home().stored().await {
            for (what, secret) in &secrets {
                let found = content.windows(secret.len()).any(|window| window == secret.as_slice());
                assert!(!found, "a {what} is in {place}");
            }
            is_id_found |= content.windows(16).any(|window| window == id.uuid().as_bytes());
        }
        assert!(is_id_found, "the search finds what is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_are_random_and_never_alike() {
    let server = Server::quick().await;
    kim(&server).await;
    let mut seen = BTreeSet::new();
    let mut ones = [0_u32; 256];
    for _ in 0..25 {
        let mut token = sign_in(&server).await.refresh_token;
        for _ in 0..8 {
            let raw = URL_SAFE_NO_PAD.decode(&token[4..]).unwrap();
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(raw[42 + bit / 8] >> (bit % 8) & 1);
            }
            assert!(seen.insert(raw[42..74].to_vec()));
            token = advanced(&server, &token).await;
        }
    }
    // 200 tosses of 256 coins: beyond six deviations none is fair.
    assert!(ones.iter().all(|count| (57..=143).contains(count)), "{ones:?}");
}
