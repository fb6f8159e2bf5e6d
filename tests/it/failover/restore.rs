//! An old backup of Redis put back, and a Redis that was emptied.

use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::redis::{Flavour, Rdb, Redis};
use tonic::Code;

use super::{assert_ended, back, block, generation, server_with};
use crate::people::{add_user, disable, enable, set_password};
use crate::support::{Answer, PASSWORD, Server, login_request, reason};

/// Longer than the grace.
const LATER: Duration = Duration::from_secs(40);
const NEXT: &str = "quite another password";
const SESSIONS_MAX: u32 = 7;

async fn start() -> (Redis, Server) {
    let redis = block(|| Redis::start(Flavour::Redis));
    let server = server_with(&redis.url(), |config| config.sessions.max_per_user = SESSIONS_MAX).await;
    back(&server, "").await;
    (redis, server)
}

/// The server loses its connections, and finds its way back by itself.
async fn put_back(server: &Server, redis: &mut Redis, rdb: &Rdb) {
    block(|| redis.restore(rdb));
    back(server, "").await;
}

async fn login(server: &Server, name: &str) -> pb::TokenPair {
    server.login(name, PASSWORD).await.unwrap().tokens.unwrap()
}

async fn next(server: &Server, tokens: &pb::TokenPair) -> pb::TokenPair {
    server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_revives_nothing_and_logs_nobody_out() {
    let (mut redis, server) = start().await;
    for name in ["kim", "sam", "pat", "ray"] {
        add_user(&server, name, Some(PASSWORD)).await;
    }
    let lee = add_user(&server, "lee", Some(PASSWORD)).await;
    let lou = add_user(&server, "lou", Some(PASSWORD)).await;
    let mut current = login(&server, "kim").await;
    let (gone, gone_by_id) = (login(&server, "kim").await, login(&server, "kim").await);
    let (disabled, changed, swept) =
        (login(&server, "lee").await, login(&server, "lou").await, login(&server, "sam").await);
    let (replaced, oldest) = (login(&server, "ray").await, login(&server, "pat").await);
    for _ in 1..SESSIONS_MAX {
        login(&server, "pat").await;
    }
    let rdb = block(|| redis.save());

    login(&server, "pat").await;
    let replace_refresh_token = replaced.refresh_token.clone();
    let request = pb::LoginRequest { replace_refresh_token, ..login_request("ray", PASSWORD) };
    server.client().login(request).await.unwrap();
    server.logout(&gone.refresh_token).await;
    let target = Some(pb::revoke_request::Target::SessionId(gone_by_id.session_id.clone()));
    let access_token = current.access_token.clone();
    server.revoke(pb::RevokeRequest { target, access_token, ..Default::default() }).await.unwrap();
    let target = Some(pb::revoke_request::Target::UserSessions(pb::UserSessions::default()));
    let access_token = swept.access_token.clone();
    server.revoke(pb::RevokeRequest { target, access_token, ..Default::default() }).await.unwrap();
    disable(&server, lee).await;
    set_password(&server, lou, NEXT).await;
    for _ in 0..5 {
        current = next(&server, &current).await;
    }
    let since = login(&server, "kim").await;

    put_back(&server, &mut redis, &rdb).await;
    for (tokens, cause) in [
        (&gone, "LOGOUT"),
        (&gone_by_id, "ENDED_BY_USER"),
        (&swept, "ENDED_BY_USER"),
        (&disabled, "USER_DISABLED"),
        (&changed, "CREDENTIAL_CHANGED"),
        (&replaced, "REPLACED"),
        (&oldest, "SESSION_LIMIT"),
    ] {
        assert_ended(&server, tokens, cause).await;
    }
    enable(&server, lee).await;
    assert_eq!(server.refresh(&disabled.refresh_token).await.unwrap_err().code(), Code::Unauthenticated);
    let answer = server.refresh(&current.refresh_token).await.unwrap();
    assert_eq!(answer.rotation(), pb::Rotation::Healed);
    assert_eq!(generation(&answer.tokens.unwrap().refresh_token), 6);
    // Whom the backup does not know has to log in again; nobody ended it, so its access token runs out by itself.
    assert_ended(&server, &since, "LOST").await;
    let living = server.sessions(&current.access_token, false).await;
    assert_eq!(living.iter().map(|session| &session.id).collect::<Vec<_>>(), [&current.session_id]);
    let mut database = server.home().database().await;
    assert_eq!(database.audited("authn_token_reuse").await, 0);
    assert_eq!(database.audited("authn_token_forged").await, 0);
}

/// 31 generations, whose newest token the owner has. SQL's floor lies at 15, so the thief of an older token is found at once, and
/// who has one of the 16 since then is found when the owner goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_gives_sixteen_generations_of_stolen_tokens_back_and_no_more() {
    const NEWEST: u32 = 31;
    const STOLEN: [u32; 7] = [0, 7, 13, 14, 15, 22, 30];
    let (mut redis, server) = start().await;
    add_user(&server, "kim", Some(PASSWORD)).await;
    let mut chains = Vec::new();
    for _ in STOLEN {
        chains.push(vec![login(&server, "kim").await]);
    }
    let mut rdb = None;
    for step in 0..NEWEST {
        for chain in &mut chains {
            chain.push(next(&server, chain.last().unwrap()).await);
        }
        if step == 1 {
            rdb = Some(block(|| redis.save()));
        }
        server.later(LATER).await;
    }
    let rdb = rdb.unwrap();
    put_back(&server, &mut redis, &rdb).await;

    let mut ended = Vec::new();
    for (chain, stolen) in chains.iter().zip(STOLEN) {
        let newest = chain.last().unwrap();
        assert_eq!(generation(&newest.refresh_token), NEWEST);
        let played = server.refresh(&chain[stolen as usize].refresh_token).await;
        if stolen + 16 < NEWEST {
            assert_eq!(reason(&played.unwrap_err()), "SESSION_REUSED", "generation {stolen}");
            assert_ended(&server, newest, "REFRESH_REUSED").await;
            ended.push(newest.clone());
            continue;
        }
        let thiefs = played.unwrap().tokens.unwrap();
        let owners = next(&server, newest).await;
        assert_eq!(generation(&owners.refresh_token), NEWEST + 1, "the owner is not locked out");
        server.later(LATER).await;
        let again = server.refresh(&thiefs.refresh_token).await;
        if stolen + 1 == NEWEST {
            // It was given the owner's own, which the owner has traded since: the same line, as without any backup.
            assert_eq!(generation(&thiefs.refresh_token), NEWEST);
            assert_eq!(generation(&again.unwrap().tokens.unwrap().refresh_token), NEWEST + 1);
        } else {
            assert_eq!(reason(&again.unwrap_err()), "SESSION_REUSED", "generation {stolen}");
            assert_ended(&server, &owners, "REFRESH_REUSED").await;
            ended.push(owners);
        }
    }
    assert_eq!(ended.len(), STOLEN.len() - 1);
    // The same backup once more.
    put_back(&server, &mut redis, &rdb).await;
    for tokens in &ended {
        assert_ended(&server, tokens, "REFRESH_REUSED").await;
    }
    let mut database = server.home().database().await;
    assert_eq!(database.audited("authn_token_reuse").await, i64::try_from(ended.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_revives_nothing_and_everybody_logs_in_again() {
    let (mut redis, server) = start().await;
    add_user(&server, "kim", Some(PASSWORD)).await;
    add_user(&server, "sam", Some(PASSWORD)).await;
    let (first, gone) = (login(&server, "kim").await, login(&server, "kim").await);
    let (absent, swept) = (login(&server, "kim").await, login(&server, "sam").await);
    let rdb = block(|| redis.save());
    let held = next(&server, &first).await;
    server.logout(&gone.refresh_token).await;
    assert_eq!(block(|| redis.cli(&["flushall"])), "OK");

    assert_ended(&server, &gone, "LOGOUT").await;
    for lost in [&first, &held] {
        assert_ended(&server, lost, "LOST").await;
    }
    assert!(server.sessions(&held.access_token, false).await.is_empty());
    let shown = server.sessions(&held.access_token, true).await;
    assert_eq!(shown.iter().map(|session| &session.id).collect::<Vec<_>>(), [&gone.session_id]);
    let again = login(&server, "kim").await;
    assert_eq!(server.refresh(&again.refresh_token).await.unwrap().rotation(), pb::Rotation::Advanced);
    let living = server.sessions(&again.access_token, false).await;
    assert_eq!(living.iter().map(|session| &session.id).collect::<Vec<_>>(), [&again.session_id]);
    assert_ended(&server, &held, "LOST").await;

    // What was ended while Redis had forgotten it stays ended when Redis remembers; what was only lost goes on.
    server.logout(&absent.refresh_token).await;
    let target = Some(pb::revoke_request::Target::UserSessions(pb::UserSessions::default()));
    let access_token = swept.access_token.clone();
    server.revoke(pb::RevokeRequest { target, access_token, ..Default::default() }).await.unwrap();
    put_back(&server, &mut redis, &rdb).await;
    assert_ended(&server, &absent, "LOGOUT").await;
    assert_ended(&server, &swept, "ENDED_BY_USER").await;
    assert_ended(&server, &gone, "LOGOUT").await;
    assert_eq!(server.refresh(&held.refresh_token).await.unwrap().rotation(), pb::Rotation::Healed);
    let mut database = server.home().database().await;
    assert_eq!(database.audited("authn_token_reuse").await, 0);
    assert_eq!(database.audited("authn_token_forged").await, 0);
}

async fn complete(server: &Server, challenge: &str, password: &str) -> Answer<pb::CompleteChallengeResponse> {
    let answer = Some(pb::complete_challenge_request::Answer::NewPassword(password.to_owned()));
    let request = pb::CompleteChallengeRequest { challenge_token: challenge.to_owned(), answer, ..Default::default() };
    Ok(server.client().complete_challenge(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_was_taken_and_put_back_opens_nothing_more() {
    let (mut redis, server) = start().await;
    let office = server.admin(&server.login_admin().await.access_token);
    let request = admin::CreateUserRequest {
        user: Some(admin::User { user_name: "kim".to_owned(), ..Default::default() }),
        password: PASSWORD.to_owned(),
        must_change_password: true,
        ..Default::default()
    };
    office.create_user(request).await.unwrap();
    let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
    let request = pb::LoginRequest { supported_challenges, ..login_request("kim", PASSWORD) };
    let outcome = server.client().login(request).await.unwrap().into_inner().outcome;
    let Some(pb::login_response::Outcome::Challenge(challenge)) = outcome else { panic!("no challenge") };
    let rdb = block(|| redis.save());
    complete(&server, &challenge.challenge_token, NEXT).await.unwrap();

    put_back(&server, &mut redis, &rdb).await;
    assert_eq!(block(|| redis.cli(&["--scan", "--pattern", "*:c{*"])).lines().count(), 1, "it is back");
    for password in ["a thief's own password", NEXT, PASSWORD] {
        let status = complete(&server, &challenge.challenge_token, password).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CHALLENGE_FAILED"));
    }
    assert_eq!(reason(&server.login("kim", PASSWORD).await.unwrap_err()), "INVALID_CREDENTIALS");
    let tokens = server.login("kim", NEXT).await.unwrap().tokens.unwrap();
    assert_eq!(server.sessions(&tokens.access_token, false).await.len(), 1);
}
