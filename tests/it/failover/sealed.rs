//! What Redis holds: nothing that could be presented or read, nothing that outlives its session, and nothing that a writer
//! could make, edit or move.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::domain::account::Profile;
use postern::domain::id::UserId;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::redis::{Flavour, Redis};
use tonic::Code;

use super::wire::{Reply, Wire};
use super::{assert_ended, back, block, server_on, server_with};
use crate::people::{add, kim, sign_in};
use crate::support::{PASSWORD, Server, login_request, reason};

const USERS: usize = 4;
/// Of each user: a hundred canaries in all.
const SESSIONS: usize = 25;
const ADDRESS: &str = "198.51.100.77";
const AGENT: &str = "canary-agent/1.0";
const DEVICE: &str = "canary-device";

fn email(user: usize) -> String {
    format!("canary{user}@example.org")
}

/// Signs in and refreshes; answers what must not be found, as text and as the bytes behind it.
async fn canaries(server: &Server) -> Vec<Vec<u8>> {
    let mut secrets: Vec<Vec<u8>> = [ADDRESS, AGENT, DEVICE, PASSWORD].map(|text| text.as_bytes().to_vec()).into();
    for user in 0..USERS {
        let profile = Profile { email: Some(email(user).parse().unwrap()), ..Profile::default() };
        add(server, profile, Some(PASSWORD)).await;
        secrets.push(email(user).into_bytes());
        for _ in 0..SESSIONS {
            let device = pb::Device {
                ip_address: ADDRESS.to_owned(),
                user_agent: AGENT.to_owned(),
                display_name: DEVICE.to_owned(),
                ..Default::default()
            };
            let request = pb::LoginRequest { device: Some(device), ..login_request(&email(user), PASSWORD) };
            let outcome = server.client().login(request).await.unwrap().into_inner().outcome;
            let Some(pb::login_response::Outcome::SignIn(sign_in)) = outcome else { panic!("no sign-in") };
            let tokens = sign_in.tokens.unwrap();
            let newer = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
            for token in [tokens, newer] {
                secrets.push(secret_of(&token.refresh_token, "ptr_", 42));
                secrets.push(token.refresh_token.into_bytes());
                secrets.push(token.access_token.rsplit('.').next().unwrap().as_bytes().to_vec());
            }
        }
    }
    secrets
}

/// A challenge too, for somebody whose password is due: its token, and what must not be found.
async fn challenge(server: &Server, user_name: &str) -> (String, Vec<Vec<u8>>) {
    let office = server.admin(&server.login_admin().await.access_token);
    let request = admin::CreateUserRequest {
        user: Some(admin::User { user_name: user_name.to_owned(), ..Default::default() }),
        password: PASSWORD.to_owned(),
        must_change_password: true,
        ..Default::default()
    };
    office.create_user(request).await.unwrap();
    // The device held a session before.
    let replaced = server.login_admin().await.refresh_token;
    let request = pb::LoginRequest {
        supported_challenges: vec![pb::ChallengeKind::NewPassword.into()],
        replace_refresh_token: replaced.clone(),
        ..login_request(user_name, PASSWORD)
    };
    let outcome = server.client().login(request).await.unwrap().into_inner().outcome;
    let Some(pb::login_response::Outcome::Challenge(challenge)) = outcome else { panic!("no challenge") };
    let token = challenge.challenge_token;
    let secrets = vec![
        secret_of(&token, "pch_", 1),
        token.clone().into_bytes(),
        secret_of(&replaced, "ptr_", 42),
        replaced.into_bytes(),
    ];
    (token, secrets)
}

/// The 32 bytes of a token that make it worth something.
fn secret_of(token: &str, prefix: &str, at: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.strip_prefix(prefix).unwrap()).unwrap()[at..at + 32].to_vec()
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_redis_or_its_backup_has_nothing_and_no_key_is_immortal() {
    // Nothing hidden by compression.
    let redis = block(|| Redis::start_with(Flavour::Redis, &["rdbcompression no"]));
    let server = server_on(&redis.url()).await;
    back(&server, "").await;
    let mut secrets = canaries(&server).await;
    secrets.extend(challenge(&server, "due").await.1);

    let mut wire = Wire::to(&redis);
    let names = wire.names();
    // The records, an index for each user, and those of the administrator.
    assert!(names.len() >= USERS * (SESSIONS + 1) + 2, "{}", names.len());
    // To the idle end, and a week in which a record from a backup still tells idle from lost.
    let session = Duration::from_hours(24) * (14 + 7);
    let mut seen = Vec::new();
    for name in &names {
        let text = String::from_utf8_lossy(name);
        let left = wire.ask(&[b"PTTL", name]).number();
        let longest = if text.starts_with("postern:c{") { Duration::from_mins(10) } else { session };
        assert!(left > 0 && left <= i64::try_from(longest.as_millis()).unwrap(), "{text}: {left}");
        seen.extend_from_slice(name);
        seen.extend(wire.ask(&[b"DUMP", name]).bytes());
    }
    let rdb = block(|| redis.save());
    for all in [seen.as_slice(), rdb.bytes()] {
        // What is there is found.
        assert!(contains(all, b"postern:s{") && contains(all, b"postern:c{"));
        for secret in &secrets {
            assert!(!contains(all, secret), "{}", String::from_utf8_lossy(secret));
        }
    }
}

fn name_of(user: UserId, tokens: &pb::TokenPair) -> Vec<u8> {
    let session: uuid::Uuid = tokens.session_id.parse().unwrap();
    format!("postern:s{{{}}}{}", short(user.uuid()), short(session)).into_bytes()
}

/// As ids stand in names.
fn short(id: uuid::Uuid) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_made_edited_or_moved_opens_nothing_and_is_told() {
    let redis = block(|| Redis::start(Flavour::Valkey));
    let server = server_on(&redis.url()).await;
    back(&server, "").await;
    let (kim, tokens) = kim(&server).await;
    let second = sign_in(&server).await;
    let profile = Profile { user_name: Some("lee".parse().unwrap()), ..Profile::default() };
    let lee = add(&server, profile, Some(PASSWORD)).await;
    let foreign = server.login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let mut wire = Wire::to(&redis);
    let own = name_of(kim, &tokens);
    let genuine = wire.get(&own);
    let mut forged: Vec<Vec<u8>> = vec![
        // Another's, and another of one's own.
        wire.get(&name_of(lee, &foreign)),
        wire.get(&name_of(kim, &second)),
        // By hand.
        Vec::new(),
        b"{\"generation\":0}".to_vec(),
        vec![0; genuine.len()],
        genuine[..genuine.len() - 1].to_vec(),
    ];
    // Edited: its format, its key, its nonce, what is in it, and its seal.
    for at in [0, 1, 2, 26, genuine.len() / 2, genuine.len() - 1] {
        let mut edited = genuine.clone();
        edited[at] ^= 1;
        forged.push(edited);
    }
    let mut database = server.home().database().await;
    for (round, value) in (1..).zip(&forged) {
        wire.put(&own, value);
        assert_ended(&server, &tokens, "LOST").await;
        while database.audited("authn_token_forged").await < round {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(database.audited("authn_token_forged").await, round);
    }
    let shown = server.sessions(&second.access_token, false).await;
    assert_eq!(shown.iter().map(|session| &session.id).collect::<Vec<_>>(), [&second.session_id]);
    // Nobody was logged out by it: with the true record back, and all others, everybody goes on.
    wire.put(&own, &genuine);
    for tokens in [&tokens, &second, &foreign] {
        assert_eq!(server.refresh(&tokens.refresh_token).await.unwrap().rotation(), pb::Rotation::Advanced);
    }
    assert_eq!(database.audited("authn_token_reuse").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_was_made_edited_or_moved_opens_nothing_and_is_told() {
    const NEXT: &str = "quite another password";
    let redis = block(|| Redis::start(Flavour::Redis));
    let server = server_on(&redis.url()).await;
    back(&server, "").await;
    let mut wire = Wire::to(&redis);
    let challenges = |wire: &mut Wire| -> Vec<Vec<u8>> {
        wire.names().into_iter().filter(|name| name.starts_with(b"postern:c{")).collect()
    };
    let (token, _) = challenge(&server, "kim").await;
    let own = challenges(&mut wire).pop().unwrap();
    challenge(&server, "lee").await;
    let other = challenges(&mut wire).into_iter().find(|name| *name != own).unwrap();
    let genuine = wire.get(&own);
    let mut edited = genuine.clone();
    edited[genuine.len() / 2] ^= 1;
    let complete = async || {
        let answer = Some(pb::complete_challenge_request::Answer::NewPassword(NEXT.to_owned()));
        let request = pb::CompleteChallengeRequest { challenge_token: token.clone(), answer, ..Default::default() };
        server.client().complete_challenge(request).await
    };
    let mut database = server.home().database().await;
    for (round, value) in (1..).zip([wire.get(&other), edited, Vec::new(), b"by hand".to_vec()]) {
        wire.put(&own, &value);
        let status = complete().await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CHALLENGE_FAILED"));
        while database.audited("authn_login_fail").await < round {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    wire.put(&own, &genuine);
    complete().await.unwrap();
}

/// Of any number of sessions, ending them all asks Redis for no more than what is that user's.
#[tokio::test(flavor = "multi_thread")]
async fn ending_all_sessions_of_a_user_looks_at_nothing_else() {
    const MANY: usize = 300;
    let redis = block(|| Redis::start(Flavour::Redis));
    let server = server_with(&redis.url(), |config| config.sessions.max_per_user = 1000).await;
    back(&server, "").await;
    let (kim, first) = kim(&server).await;
    let mut all = vec![first];
    for _ in 1..MANY {
        all.push(sign_in(&server).await);
    }
    let mut monitor = Wire::to(&redis);
    monitor.ask(&[b"MONITOR"]);
    let target = Some(pb::revoke_request::Target::UserSessions(pb::UserSessions::default()));
    let access_token = all[0].access_token.clone();
    let ended = server.revoke(pb::RevokeRequest { target, access_token, ..Default::default() }).await.unwrap();
    assert_eq!(usize::try_from(ended.ended_count).unwrap(), MANY);
    for tokens in all.iter().step_by(60) {
        assert_ended(&server, tokens, "ENDED_BY_USER").await;
    }
    let living = sign_in(&server).await;
    assert_eq!(server.sessions(&living.access_token, false).await.len(), 1);
    block(|| redis.cli(&["echo", "that-was-all"]));
    let mut asked = Vec::new();
    loop {
        let Reply::Text(line) = monitor.read() else { panic!("no line") };
        let line = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if line.contains("that-was-all") {
            break;
        }
        asked.push(line);
    }
    assert!(asked.iter().any(|line| line.contains("\"zrange\"")), "the list of sessions was seen");
    for line in &asked {
        assert!(!line.contains("\"keys\"") && !line.contains("scan\""), "{line}");
        // Each name that is asked for is of this user, and so in one slot of a cluster.
        for name in line.split('"').filter(|word| word.starts_with("postern:") && !is_bucket(word)) {
            assert!(name.contains(&format!("{{{}}}", short(kim.uuid()).to_ascii_lowercase())), "{line}");
        }
    }
    assert!(
        Wire::to(&redis)
            .names()
            .iter()
            .filter(|name| !is_bucket(&String::from_utf8_lossy(name)))
            .all(|name| contains(name, format!("{{{}}}", short(kim.uuid())).as_bytes()))
    );
}

/// Of tries, which are counted for names and not for users.
fn is_bucket(name: &str) -> bool {
    name.contains("b{")
}
