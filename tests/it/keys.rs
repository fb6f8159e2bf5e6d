//! The lives of signing keys, at the port: rotation under load, retirement at once, each algorithm, and what a writer of
//! the database can do to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postern::domain::key::Algorithm;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use crate::backstage::{self, claims, decoded};
use crate::database::Database;
use crate::support::{PASSWORD, Server, metadata, quick, reason, verdict};

const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);
const INVALID: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid);
/// Twice the time for which keys may be cached, and as long as a verifier may be without news.
const WAIT: Duration = Duration::from_mins(11);
/// The longest access token, and ten minutes.
const VERIFIES: Duration = Duration::from_mins(70);

fn kid(token: &str) -> String {
    decoded(token.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned()
}

fn alg(token: &str) -> String {
    decoded(token.split('.').next().unwrap())["alg"].as_str().unwrap().to_owned()
}

/// The ids in the key set, as everybody can have it.
async fn published(server: &Server) -> Vec<String> {
    let text = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner().jwks_json;
    let set: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = set["keys"].as_array().unwrap();
    for key in keys {
        let secret = ["d", "p", "q", "dp", "dq", "qi", "k"].iter().find(|member| key.get(**member).is_some());
        assert_eq!(secret, None, "{key}");
    }
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// State by id, the oldest key first.
async fn listed(server: &Server, admin_token: &str) -> Vec<(String, admin::KeyState)> {
    let answer = server.admin(admin_token).list_keys(admin::ListKeysRequest::default()).await.unwrap();
    answer.keys.iter().rev().map(|key| (key.id.clone(), key.state())).collect()
}

async fn rotate(server: &Server, algorithm: &str) -> admin::Key {
    let token = server.login_admin().await.access_token;
    let request = admin::RotateKeyRequest { algorithm: algorithm.to_owned() };
    server.admin(&token).rotate_key(request).await.unwrap().key.unwrap()
}

async fn retire(server: &Server, id: &str, immediately: bool) -> admin::Key {
    let token = server.login_admin().await.access_token;
    let request = admin::RetireKeyRequest { id: id.to_owned(), immediately };
    server.admin(&token).retire_key(request).await.unwrap().key.unwrap()
}

async fn until(mut holds: impl AsyncFnMut() -> bool, what: &str) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}

async fn knows(server: &Server, id: &str) {
    until(async || published(server).await.contains(&id.to_owned()), "the key is known here").await;
}

/// Signs in and judges without a pause, on all servers, and counts what was answered. Not one may fail, whatever happens
/// to keys; a clock that jumps makes a feed look silent for a moment, so it says NOT_FRESH then and nothing else.
struct Load {
    stop: Arc<AtomicBool>,
    judged: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(servers: &[&Server], user_name: &'static str) -> Self {
        let (stop, judged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let mut front = server.client();
            let mut back = servers[(index + 1) % servers.len()].client();
            let (stop, judged) = (Arc::clone(&stop), Arc::clone(&judged));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let login = front.login(crate::support::login_request(user_name, PASSWORD)).await.unwrap();
                    let Some(pb::login_response::Outcome::SignIn(sign_in)) = login.into_inner().outcome else {
                        panic!("no outcome")
                    };
                    let access_token = sign_in.tokens.unwrap().access_token;
                    for _ in 0..4 {
                        let request = pb::VerifyRequest { access_token: access_token.clone(), ..Default::default() };
                        // At the one who signed and at the other one.
                        for client in [&mut front, &mut back] {
                            match client.verify(request.clone()).await {
                                Ok(answer) => {
                                    assert_eq!(verdict(&answer.into_inner()), ALLOW, "{}", kid(&access_token));
                                    judged.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(status) => assert_eq!(reason(&status), "NOT_FRESH", "{status:?}"),
                            }
                        }
                    }
                }
            });
        }
        Self { stop, judged, tasks }
    }

    /// Lets at least so many more pass.
    async fn runs(&self) {
        let before = self.judged.load(Ordering::Relaxed);
        until(async || self.judged.load(Ordering::Relaxed) > before + 20, "the load runs").await;
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Row 81: published, waiting, signing, verifying, gone; under load, with two replicas, across a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_noticed_by_nobody() {
    let server = Server::quick().await;
    let replica = server.replica().await;
    backstage::user(&server, "kim").await;
    let load = Load::start(&[&server, &replica], "kim");
    load.runs().await;

    let old = server.login_admin().await.access_token;
    let first = kid(&old);
    let next = rotate(&server, "").await;
    assert_eq!((next.algorithm.as_str(), next.state()), ("EdDSA", admin::KeyState::Published));
    let (published_at, signs_at) = (next.publish_time.unwrap(), next.sign_time.unwrap());
    assert_eq!(signs_at.seconds - published_at.seconds, i64::try_from(WAIT.as_secs()).unwrap());
    assert_eq!(next.retire_time, None);
    // Published everywhere, and not yet signing anywhere.
    knows(&replica, &next.id).await;
    assert_eq!(published(&server).await, [first.clone(), next.id.clone()]);
    assert_eq!(kid(&server.login("kim", PASSWORD).await.unwrap().tokens.unwrap().access_token), first);
    load.runs().await;
    let token = server.login_admin().await.access_token;
    let refused = server.admin(&token).rotate_key(admin::RotateKeyRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "ROTATION_PENDING"));
    assert_eq!(metadata(&refused, "key"), next.id);

    // A moment before its time it still waits. The server restarts there; the replica goes on.
    load.end().await;
    let server = server.restart_with(quick).await;
    let load = Load::start(&[&server, &replica], "kim");
    server.later(WAIT - Duration::from_secs(30)).await;
    assert_eq!(kid(&server.login_admin().await.access_token), first);
    load.runs().await;
    server.later(Duration::from_secs(31)).await;
    for signer in [&server, &replica] {
        assert_eq!(kid(&signer.login_admin().await.access_token), next.id);
    }
    load.runs().await;
    let still_old = server.verify(&old).await;
    assert_eq!(verdict(&still_old), ALLOW, "until it expires");
    let now = server.login_admin().await.access_token;
    let states = listed(&server, &now).await;
    assert_eq!(states, [(first.clone(), admin::KeyState::Verifying), (next.id.clone(), admin::KeyState::Signing)]);
    assert_eq!(published(&replica).await, [first.clone(), next.id.clone()]);
    load.end().await;

    server.later(VERIFIES + Duration::from_secs(1)).await;
    until(async || replica.verify_with(pb::VerifyRequest::default()).await.is_ok(), "the replica is fresh").await;
    for one in [&server, &replica] {
        assert_eq!(published(one).await, [next.id.as_str()]);
        assert_eq!(verdict(&one.verify(&old).await), INVALID);
    }
    let now = server.login_admin().await.access_token;
    assert_eq!(listed(&server, &now).await[0], (first, admin::KeyState::Retired));
}

/// Row 82: refused everywhere, without a restart; those who were signed in refresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_key_is_refused_at_once() {
    let server = Server::quick().await;
    let replica = server.replica().await;
    let kim = server.someone().await;
    let leaked = kid(&kim.tokens.access_token);
    for one in [&server, &replica] {
        // Proven and remembered, which must not help.
        assert_eq!(verdict(&one.verify(&kim.tokens.access_token).await), ALLOW);
    }
    let retired = retire(&server, &leaked, true).await;
    assert_eq!((retired.id.as_str(), retired.state()), (leaked.as_str(), admin::KeyState::Retired));
    assert_eq!(verdict(&server.verify(&kim.tokens.access_token).await), INVALID);
    until(async || verdict(&replica.verify(&kim.tokens.access_token).await) == INVALID, "the replica refuses it too")
        .await;
    // For two seconds nobody signs; that is an outage and no denial, and costs nobody the session.
    for one in [&server, &replica] {
        let refused = one.refresh(&kim.tokens.refresh_token).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
        assert_eq!(metadata(&refused, "engine"), "keyring");
        let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
        let pushback: u64 = pushback.parse().unwrap();
        assert!((100..=2_000).contains(&pushback), "{pushback}");
        let refused = one.login("kim", PASSWORD).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
    }
    server.later(Duration::from_secs(2)).await;
    let tokens = replica.refresh(&kim.tokens.refresh_token).await.unwrap().tokens.unwrap();
    assert_ne!(kid(&tokens.access_token), leaked);
    for one in [&server, &replica] {
        until(async || one.verify_with(pb::VerifyRequest::default()).await.is_ok(), "fresh").await;
        assert_eq!(verdict(&one.verify(&tokens.access_token).await), ALLOW);
        assert_eq!(published(one).await, [kid(&tokens.access_token)]);
    }
    // Told twice, it is done once.
    let again = retire(&server, &leaked, true).await;
    assert_eq!(again.retire_time, retired.retire_time);
    assert_eq!(published(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_retires_by_plan_or_before_its_turn() {
    let server = Server::quick().await;
    let signing = kid(&server.login_admin().await.access_token);
    // By plan: a successor, and so much time as the last token lives.
    let retiring = retire(&server, &signing, false).await;
    assert_eq!(retiring.state(), admin::KeyState::Signing);
    let token = server.login_admin().await.access_token;
    let states = listed(&server, &token).await;
    assert_eq!(states[0], (signing.clone(), admin::KeyState::Signing));
    assert_eq!(states[1].1, admin::KeyState::Published);
    assert_eq!(retire(&server, &signing, false).await.retire_time, retiring.retire_time);
    assert_eq!(published(&server).await.len(), 2, "not a second successor");

    // Taken back: who waits goes, and who signs goes on for good.
    let waiting = retire(&server, &states[1].0, false).await;
    assert_eq!(waiting.state(), admin::KeyState::Retired);
    assert_eq!(published(&server).await, [signing.as_str()]);
    server.later(WAIT + VERIFIES).await;
    let token = server.login_admin().await.access_token;
    assert_eq!(kid(&token), signing);
    let nobody = admin::RetireKeyRequest { id: "nobody".to_owned(), immediately: true };
    let refused = server.admin(&token).retire_key(nobody).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
    let empty = server.admin(&token).retire_key(admin::RetireKeyRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let unknown = admin::RotateKeyRequest { algorithm: "none".to_owned() };
    assert_eq!(server.admin(&token).rotate_key(unknown).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Of all replicas, one rotates, and it is written down.
#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_by_age_and_by_one_replica() {
    let monthly = |config: &mut postern::config::Config| {
        quick(config);
        config.keys.rotate_every = Some(Duration::from_hours(24 * 30));
    };
    let server = Server::start_with(monthly).await;
    let replica = server.replica_with(monthly).await;
    let first = kid(&server.login_admin().await.access_token);
    server.later(Duration::from_hours(24 * 30) - Duration::from_mins(1)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(published(&server).await, [first.as_str()]);
    server.later(Duration::from_mins(1)).await;
    until(async || published(&server).await.len() == 2, "the age is noticed").await;
    until(async || published(&replica).await.len() == 2, "and told").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(published(&server).await.len(), 2, "once");
    server.later(WAIT).await;
    assert_ne!(kid(&server.login_admin().await.access_token), first);
    let mut database = Database::open(&server.database()).await;
    let audited: Vec<String> =
        sqlx::query_scalar("SELECT detail FROM audit WHERE kind = 'key_created' ORDER BY time, id")
            .fetch_all(&mut database.0)
            .await
            .unwrap();
    assert_eq!(audited.len(), 2);
    assert!(audited[1].contains(r#""why":"age""#) && audited[1].contains(&first), "{audited:?}");
}

/// The settings say another algorithm: nothing breaks, and after a rotation by plan it is so.
#[tokio::test(flavor = "multi_thread")]
async fn another_algorithm_comes_by_a_rotation() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let mut server = server;
    let mut tokens = kim.tokens;
    for (algorithm, known) in [(Algorithm::Es256, 2), (Algorithm::Hs256, 2), (Algorithm::EdDsa, 2)] {
        let before = alg(&tokens.access_token);
        server = server
            .restart_with(|config| {
                quick(config);
                config.keys.algorithm = algorithm;
            })
            .await;
        // The new key is there and waits.
        until(
            async || {
                let token = server.login_admin().await.access_token;
                assert_eq!(alg(&token), before, "not at once");
                listed(&server, &token).await.iter().any(|(_, state)| *state == admin::KeyState::Published)
            },
            "a rotation begins",
        )
        .await;
        server.later(WAIT).await;
        assert_eq!(verdict(&server.verify(&tokens.access_token).await), ALLOW);
        tokens = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
        assert_eq!(alg(&tokens.access_token), algorithm.name());
        assert_eq!(verdict(&server.verify(&tokens.access_token).await), ALLOW);
        assert_eq!(claims(&tokens.access_token)["sub"], kim.id.as_str());
        // Who could check it could sign it: HS256 is shown to nobody.
        let shown = published(&server).await;
        assert_eq!(shown.contains(&kid(&tokens.access_token)), algorithm != Algorithm::Hs256);
        let states = listed(&server, &server.login_admin().await.access_token).await;
        assert_eq!(states.iter().filter(|(_, state)| *state != admin::KeyState::Retired).count(), known);
        server.later(VERIFIES).await;
        tokens = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
    }
}
