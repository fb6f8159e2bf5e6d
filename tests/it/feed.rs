//! The change feed between processes: what one server does, the others know within a second, whatever happens to the log.

use std::time::{Duration, Instant};

use postern::proto::auth::v1 as pb;

use crate::database::Database;
use crate::people::{add_user, disable, end_all_sessions, kim, set_password, sign_in};
use crate::support::{PASSWORD, Server, metadata, reason, verdict};

/// Until `server` refuses the token as revoked.
async fn until_dead(server: &Server, access_token: &str) -> Duration {
    let since = now();
    loop {
        let answer = server.verify(access_token).await;
        if answer.decision() == pb::Decision::Unauthenticated {
            assert_eq!(verdict(&answer).1, pb::Reason::TokenRevoked);
            return since.elapsed();
        }
        assert!(since.elapsed() < Duration::from_secs(1), "a revocation takes longer than promised");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a promise about real time")]
fn now() -> Instant {
    Instant::now()
}

async fn is_alive(server: &Server, access_token: &str) -> bool {
    server.verify(access_token).await.decision() == pb::Decision::Allow
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_revokes_is_refused_here_within_a_second() {
    let server = Server::quick().await;
    // With the poll as it is in production.
    let replica = server.replica_with(|config| config.passwords.memory_kib = 64).await;
    kim(&server).await;
    let mut delays = Vec::new();
    for round in 0..7 {
        let tokens = sign_in(&server).await;
        assert!(is_alive(&replica, &tokens.access_token).await);
        tokio::time::sleep(Duration::from_millis(round * 71)).await;
        server.logout(&tokens.refresh_token).await;
        delays.push(until_dead(&replica, &tokens.access_token).await);
        let refused = replica.refresh(&tokens.refresh_token).await.unwrap_err();
        assert_eq!((reason(&refused).as_str(), metadata(&refused, "endCause").as_str()), ("SESSION_ENDED", "LOGOUT"));
    }
    delays.sort();
    let told = format!("revoked elsewhere, refused here: median {:?}, worst {:?}", delays[3], delays[6]);
    println!("{told}");
    assert!(delays[6] < Duration::from_secs(1), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_a_new_password_and_the_fence_arrive_everywhere() {
    let server = Server::quick().await;
    let replica = server.replica().await;
    let (kim_id, _) = kim(&server).await;
    let lee_id = add_user(&server, "lee", Some(PASSWORD)).await;
    let lees = replica.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let kims = [sign_in(&server).await, sign_in(&replica).await, sign_in(&server).await];
    set_password(&server, kim_id, "quite another password").await;
    for tokens in &kims {
        until_dead(&replica, &tokens.access_token).await;
    }
    assert!(is_alive(&replica, &lees.access_token).await);
    let fresh = replica.login("kim", "quite another password").await.unwrap().tokens.unwrap();
    assert!(is_alive(&server, &fresh.access_token).await);
    disable(&replica, lee_id).await;
    until_dead(&server, &lees.access_token).await;
    end_all_sessions(&replica).await;
    until_dead(&server, &fresh.access_token).await;
    let fresh = server.login("kim", "quite another password").await.unwrap().tokens.unwrap();
    assert!(is_alive(&replica, &fresh.access_token).await, "above the fence, also where it just arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_thrown_back_loses_no_revocation() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (_, tokens) = kim(&server).await;
    let record = database.record(&tokens.session_id).await;
    let (user, head) = (user_of(&server, &tokens).await, database.head().await);
    server.logout(&tokens.refresh_token).await;

    // A fail-over to a copy that lacks the newest rows, with the vault of before as well.
    database
        .run_all(&[
            ("UPDATE feed SET head = $1", &[head.into()]),
            ("DELETE FROM changes WHERE id > $1", &[head.into()]),
            ("DELETE FROM revocations", &[]),
        ])
        .await;
    database.put_record(user, &tokens.session_id, &record).await;

    until(async || database_count(&server, "revocations").await == 1, "what was lost is written back").await;
    assert!(!is_alive(&server, &tokens.access_token).await);
    let refused = server.refresh(&tokens.refresh_token).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), metadata(&refused, "endCause").as_str()), ("SESSION_ENDED", "LOGOUT"));

    // And the feed is not blind afterwards: what changes now is seen, here and on a replica.
    let replica = server.replica().await;
    assert!(!is_alive(&replica, &tokens.access_token).await);
    for _ in 0..12 {
        let tokens = sign_in(&server).await;
        server.logout(&tokens.refresh_token).await;
        until_dead(&server, &tokens.access_token).await;
        until_dead(&replica, &tokens.access_token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_thrown_back_loses_no_floor_and_no_fence() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    let (id, first) = kim(&server).await;
    let lee_id = add_user(&server, "lee", Some(PASSWORD)).await;
    let lees = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let (head, fence): (i64, i64) = database.row("SELECT head, fence FROM feed", &[]).await;
    let before: (i64, i64) = marks(&mut database, id).await;
    set_password(&server, id, "quite another password").await;
    assert!(!is_alive(&server, &first.access_token).await);
    let floor = marks(&mut database, id).await.0;

    let back = "UPDATE users SET floor = $2, version = $3 WHERE id = $1";
    database
        .run_all(&[
            ("UPDATE feed SET head = $1, fence = $2", &[head.into(), fence.into()]),
            ("DELETE FROM changes WHERE id > $1", &[head.into()]),
            (back, &[id.into(), before.0.into(), before.1.into()]),
        ])
        .await;

    let mut again = server.database().await;
    until(async || marks(&mut again, id).await.0 >= floor, "the floor is written back").await;
    let refused = server.refresh(&first.refresh_token).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), metadata(&refused, "endCause").as_str()),
        ("SESSION_ENDED", "CREDENTIAL_CHANGED")
    );
    assert!(!is_alive(&server, &first.access_token).await);
    assert!(is_alive(&server, &lees.access_token).await, "others are not touched");

    // The same for the fence.
    let (head, fence): (i64, i64) = database.row("SELECT head, fence FROM feed", &[]).await;
    end_all_sessions(&server).await;
    assert!(!is_alive(&server, &lees.access_token).await);
    database
        .run_all(&[
            ("UPDATE feed SET head = $1, fence = $2", &[head.into(), fence.into()]),
            ("DELETE FROM changes WHERE id > $1", &[head.into()]),
        ])
        .await;
    until(async || fence_of(&mut again).await > fence, "the fence is written back").await;
    assert!(!is_alive(&server, &lees.access_token).await);
    assert_eq!(reason(&server.refresh(&lees.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    assert_ne!(lee_id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_grew_to_the_same_length_is_noticed_by_its_marks() {
    let server = Server::quick().await;
    let mut database = server.database().await;
    kim(&server).await;
    let (lost, other) = (sign_in(&server).await, sign_in(&server).await);
    server.logout(&lost.refresh_token).await;
    // The newest row is replaced by another of the same id: another history, told by its mark alone.
    let user = user_of(&server, &other).await;
    let session: uuid::Uuid = other.session_id.parse().unwrap();
    let another = "INSERT INTO revocations \
        SELECT $1, $2, 'LOGOUT', at, at + 8000000000000, NULL FROM changes ORDER BY id DESC LIMIT 1";
    let row = "UPDATE changes SET mark = $2, session_id = $1 WHERE id = (SELECT head FROM feed)";
    database
        .run_all(&[
            ("DELETE FROM revocations", &[]),
            (another, &[user.into(), session.into()]),
            (row, &[session.into(), b"a mark..".as_slice().into()]),
        ])
        .await;
    until_dead(&server, &other.access_token).await;
    until(async || database_count(&server, "revocations").await == 2, "and the lost one is written back").await;
    assert!(!is_alive(&server, &lost.access_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_started_after_a_revocation_knows_it() {
    let server = Server::quick().await;
    let (_, tokens) = kim(&server).await;
    let alive = sign_in(&server).await;
    server.logout(&tokens.refresh_token).await;
    let server = server.restart_with(crate::support::quick).await;
    assert!(!is_alive(&server, &tokens.access_token).await);
    assert!(is_alive(&server, &alive.access_token).await);
}

async fn user_of(server: &Server, tokens: &pb::TokenPair) -> postern::domain::id::UserId {
    server.verify(&tokens.access_token).await.principal.unwrap().id.parse().unwrap()
}

async fn database_count(server: &Server, table: &'static str) -> i64 {
    server.database().await.count(table).await
}

async fn marks(database: &mut Database, id: postern::domain::id::UserId) -> (i64, i64) {
    database.row("SELECT floor, version FROM users WHERE id = $1", &[id.into()]).await
}

async fn fence_of(database: &mut Database) -> i64 {
    database.row::<(i64,)>("SELECT fence FROM feed", &[]).await.0
}

async fn until(mut holds: impl AsyncFnMut() -> bool, what: &str) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within two seconds: {what}");
}
