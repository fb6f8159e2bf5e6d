//! The lives of signing keys, at the port: rotation under load, retirement at once, each algorithm, and what a writer of
//! the database can do to them.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use postern::app::master_key::{self, MasterKeyFault};
use postern::app::{App, FirstPassword, StartError};
use postern::clock::Clock;
use postern::config::{Config, SecretSource};
use postern::domain::key::{Algorithm, StoredKey};
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern::vault::seal::Place;
use tokio::task::JoinSet;
use tonic::Code;

use crate::backstage::{self, claims, decoded};
use crate::database::Database;
use crate::engines::Home;
use crate::support::{PASSWORD, Server, metadata, quick, reason, start_once_free, verdict};

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
/// to keys; a clock that jumps makes a feed look silent for a moment, so it says `NOT_FRESH` then and nothing else.
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
    server.later(WAIT.saturating_sub(Duration::from_secs(30))).await;
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
    let mut database = server.database().await;
    let audited: Vec<(String,)> =
        database.rows("SELECT detail FROM audit WHERE kind = 'key_created' ORDER BY time, id", &[]).await;
    assert_eq!(audited.len(), 2);
    assert!(audited[1].0.contains(r#""why":"age""#) && audited[1].0.contains(&first), "{audited:?}");
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

/// What everybody who reads the database and the master key's file could do; the attacks below need less.
struct Stolen {
    kid: String,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Vec<u8>,
}

impl Stolen {
    async fn all(server: &Server) -> Vec<Self> {
        let keys = server.auth.store.keys().await.unwrap();
        let sealer = server.auth.masters.keyring_sealer();
        let open = |key: StoredKey| {
            let place = Place { kind: "signing-key", partition: key.algorithm.name(), key: &key.kid };
            let plain = sealer.open(&place, &key.sealed).unwrap().plain;
            let (private, public) = match key.algorithm {
                Algorithm::EdDsa => {
                    let pair = Ed25519KeyPair::from_pkcs8(&plain).unwrap();
                    (EncodingKey::from_ed_der(&plain), pair.public_key().as_ref().to_vec())
                }
                Algorithm::Es256 => {
                    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &plain).unwrap();
                    (EncodingKey::from_ec_der(&plain), pair.public_key().as_ref().to_vec())
                }
                Algorithm::Hs256 => (EncodingKey::from_secret(&plain), Vec::new()),
            };
            Self { kid: key.kid, algorithm: key.algorithm, private, public }
        };
        keys.into_iter().map(open).collect()
    }

    fn sign(&self, kid: &str, alg: &str, claims: &str) -> String {
        signed_with(&self.private, self.algorithm, kid, alg, claims)
    }
}

fn signed_with(key: &EncodingKey, algorithm: Algorithm, kid: &str, alg: &str, claims: &str) -> String {
    let header = format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let library = match algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
    };
    format!("{signed}.{}", jsonwebtoken::crypto::sign(signed.as_bytes(), key, library).unwrap())
}

/// Rows 61 and 62, between all that we issue.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_has_one_algorithm() {
    let server = Server::start_with(|config| {
        quick(config);
        config.keys.algorithm = Algorithm::Es256;
    })
    .await;
    rotate(&server, "HS256").await;
    server.later(WAIT).await;
    rotate(&server, "EdDSA").await;
    let token = server.login_admin().await.access_token;
    assert_eq!(alg(&token), "HS256");
    let claims = serde_json::Value::Object(claims(&token)).to_string();
    let stolen = Stolen::all(&server).await;
    let algorithms: Vec<Algorithm> = stolen.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::Es256, Algorithm::Hs256, Algorithm::EdDsa]);

    // The control: each by its own algorithm is good.
    let own: Vec<String> = stolen.iter().map(|key| key.sign(&key.kid, key.algorithm.name(), &claims)).collect();
    for answer in backstage::judge_all(&server, &own).await {
        assert_eq!(verdict(&answer), ALLOW);
    }
    let mut forged = Vec::new();
    for (key, other) in stolen.iter().flat_map(|key| stolen.iter().map(move |other| (key, other))) {
        if key.kid != other.kid {
            // The right signature under the wrong name, and under the name of the algorithm that goes with it.
            forged.push(key.sign(&key.kid, other.algorithm.name(), &claims));
            forged.push(key.sign(&other.kid, other.algorithm.name(), &claims));
            forged.push(key.sign(&other.kid, key.algorithm.name(), &claims));
        }
    }
    for key in &stolen {
        // An HMAC whose key everybody has.
        let text = URL_SAFE_NO_PAD.encode(&key.public);
        for secret in [key.public.clone(), text.into_bytes(), key.kid.clone().into_bytes(), Vec::new()] {
            for alg in ["HS256", key.algorithm.name()] {
                let secret = EncodingKey::from_secret(&secret);
                forged.push(signed_with(&secret, Algorithm::Hs256, &key.kid, alg, &claims));
            }
        }
        // ES256 at its edges: r and s of zero, of the order, of other lengths; and DER, which it is not.
        let good = key.sign(&key.kid, key.algorithm.name(), &claims);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let order = P256_ORDER.concat();
        for false_one in [
            vec![0; 64],
            vec![0; 32],
            [signature.clone(), vec![0]].concat(),
            signature[..signature.len() - 1].to_vec(),
            [order.clone(), order].concat(),
            [vec![0x30, 0x3e, 0x02, 0x1d], vec![1; 60]].concat(),
        ] {
            forged.push(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(false_one)));
        }
    }
    for (answer, token) in backstage::judge_all(&server, &forged).await.iter().zip(&forged) {
        assert_eq!(verdict(answer), INVALID, "{token}");
    }
    // The secret is in no answer, whatever is asked.
    assert_eq!(published(&server).await.len(), 2);
}

const P256_ORDER: [[u8; 8]; 4] = [
    0xFFFF_FFFF_0000_0000_u64.to_be_bytes(),
    0xFFFF_FFFF_FFFF_FFFF_u64.to_be_bytes(),
    0xBCE6_FAAD_A717_9E84_u64.to_be_bytes(),
    0xF3B9_CAC2_FC63_2551_u64.to_be_bytes(),
];

/// The other spelling of an ES256 token: (r, n-s) is as good a signature as (r, s).
fn twin(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (byte, order) in signature[32..].iter_mut().rev().zip(P256_ORDER.concat().iter().rev()) {
        let difference = i16::from(*order) - i16::from(*byte) - borrow;
        borrow = i16::from(difference < 0);
        *byte = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Row 73: a revocation is of the session, so no spelling of the token escapes it, proven before or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_tokens_twin_is_revoked() {
    let server = Server::start_with(|config| {
        quick(config);
        config.keys.algorithm = Algorithm::Es256;
    })
    .await;
    for twin_was_proven in [true, false] {
        let tokens = server.login_admin().await;
        let twin = twin(&tokens.access_token);
        assert_ne!(twin, tokens.access_token);
        assert_eq!(verdict(&server.verify(&tokens.access_token).await), ALLOW);
        if twin_was_proven {
            assert_eq!(verdict(&server.verify(&twin).await), ALLOW, "the same words by the same key");
        }
        server.logout(&tokens.refresh_token).await;
        for token in [&tokens.access_token, &twin] {
            let expected = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
            assert_eq!(verdict(&server.verify(token).await), expected);
        }
    }
}

/// Puts a row into the change log by hand, as whoever can write the database can.
async fn announce(database: &mut Database) {
    let row = "INSERT INTO changes (id, mark, at, kind) SELECT head, $1, 0, 'keys' FROM feed";
    let mark = uuid::Uuid::now_v7();
    database.run_all(&[("UPDATE feed SET head = head + 1", &[]), (row, &[mark.as_bytes()[8..].into()])]).await;
}

/// F12: whoever writes the database plants no key, and what he breaks harms nothing that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_key_opens_nothing() {
    let mut server = Server::quick().await;
    let token = server.login_admin().await.access_token;
    let text = serde_json::Value::Object(claims(&token)).to_string();
    let mut database = server.database().await;
    let planted = Ed25519KeyPair::generate().unwrap();
    let private = planted.to_pkcs8().unwrap();
    for (algorithm, sealed) in [
        ("EdDSA", planted.public_key().as_ref().to_vec()),
        ("EdDSA", private.as_ref().to_vec()),
        ("HS256", vec![7; 32]),
    ] {
        let plant = "INSERT INTO signing_keys VALUES ('planted', $1, 1, $2, 0, 0, NULL)";
        database.run(plant, &[algorithm.into(), sealed.as_slice().into()]).await;
        announce(&mut database).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let key = EncodingKey::from_ed_der(private.as_ref());
        let forged = [
            signed_with(&key, Algorithm::EdDsa, "planted", "EdDSA", &text),
            signed_with(&EncodingKey::from_secret(&[7; 32]), Algorithm::Hs256, "planted", "HS256", &text),
        ];
        for forged in forged {
            assert_ne!(server.verify(&forged).await.decision(), pb::Decision::Allow);
        }
        assert_eq!(verdict(&server.verify(&token).await), ALLOW);
        database.run("DELETE FROM signing_keys WHERE kid = 'planted'", &[]).await;
        until(async || server.auth.verifier.age(server.clock.moment()).as_millis() < 200, "the feed is whole again")
            .await;
    }

    // The same before a start: nothing starts on it, nothing is lost by it.
    server.stop().await;
    for (spoil, mend) in [
        ("UPDATE signing_keys SET algorithm = 'ES256'", "UPDATE signing_keys SET algorithm = 'EdDSA'"),
        ("UPDATE signing_keys SET algorithm = 'HS256'", "UPDATE signing_keys SET algorithm = 'EdDSA'"),
        ("UPDATE signing_keys SET kid = '..' || kid", "UPDATE signing_keys SET kid = substr(kid, 3)"),
        ("UPDATE signing_keys SET algorithm = 'none'", "UPDATE signing_keys SET algorithm = 'EdDSA'"),
    ] {
        database.run(spoil, &[]).await;
        let refused = start_once_free(server.home().config(), &Clock::default()).await;
        assert!(refused.is_err(), "{spoil}");
        database.run(mend, &[]).await;
    }
    let server = server.restart_with(quick).await;
    assert_eq!(verdict(&server.verify(&token).await), ALLOW);
}

/// F11: known everywhere, used, dropped; with two replicas that restart one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_known_then_used_then_dropped() {
    let server = Server::quick().await;
    let replica = server.replica().await;
    let began = server.clock.now();
    backstage::user(&server, "kim").await;
    let limits = admin::SessionPolicy {
        absolute_ttl: Some(prost_types::Duration { seconds: 365 * 24 * 3600, nanos: 0 }),
        ..Default::default()
    };
    let device = admin::Client { id: "device".to_owned(), session_policy: Some(limits), ..Default::default() };
    let create = admin::CreateClientRequest { client: Some(device), with_secret: true };
    server.admin(&server.login_admin().await.access_token).create_client(create).await.unwrap();
    let sign_in = async |server: &Server| server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let mut old = sign_in(&server).await;
    old = replica.refresh(&old.refresh_token).await.unwrap().tokens.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let one = std::fs::read_to_string(server.data_dir().join("master.key")).unwrap();
    let known = file("known", &one);
    assert_eq!(master_key::extend(&known).unwrap(), (2, 1));
    let known_text = std::fs::read_to_string(&known).unwrap();
    let used = file("used", &known_text);
    master_key::make_current(&used, 2).unwrap();
    let dropped = file("dropped", &std::fs::read_to_string(&used).unwrap());
    let on = |key: &std::path::PathBuf| {
        let key = key.clone();
        move |config: &mut Config| {
            quick(config);
            config.keys.master = SecretSource::File(key);
        }
    };
    let elsewhere = Home::sharing(Arc::clone(&server.home().engines));
    let without_first =
        file("without", known_text.lines().find(|line| line.starts_with("postern-master-key 2 ")).unwrap());

    // Known, one after the other; nothing is used that the other one could not open.
    let replica = replica.restart_with(on(&known)).await;
    old = replica.refresh(&old.refresh_token).await.unwrap().tokens.unwrap();
    let server = server.restart_with(on(&known)).await;
    // Used by one, opened by both.
    let replica = replica.restart_with(on(&used)).await;
    let mut new = sign_in(&replica).await;
    new = server.refresh(&new.refresh_token).await.unwrap().tokens.unwrap();
    old = replica.refresh(&old.refresh_token).await.unwrap().tokens.unwrap();
    old = server.refresh(&old.refresh_token).await.unwrap().tokens.unwrap();
    for one in [&server, &replica] {
        assert_eq!(verdict(&one.verify(&new.access_token).await), ALLOW);
    }
    let server = server.restart_with(on(&used)).await;
    // Signing keys follow by themselves, by a rotation.
    until(async || published(&server).await.len() == 2, "a rotation begins").await;
    let too_early = App::start(
        {
            let mut config = elsewhere.config();
            on(&without_first)(&mut config);
            config
        },
        server.clock.clone(),
        FirstPassword::Show,
    )
    .await;
    assert!(matches!(too_early.err(), Some(StartError::MasterKeyInUse { number: 1, .. })));
    let drop_first = async |end_its_sessions| {
        let mut config = elsewhere.config();
        on(&dropped)(&mut config);
        master_key::drop_key(&config, server.clock.clone(), &dropped, 1, end_its_sessions).await
    };
    let sealed = drop_first(true).await.unwrap_err();
    assert!(matches!(sealed, MasterKeyFault::SealsKeys { number: 1 }), "{sealed}");
    server.later(WAIT + VERIFIES).await;
    until(async || replica.verify_with(pb::VerifyRequest::default()).await.is_ok(), "fresh").await;
    new = server.refresh(&new.refresh_token).await.unwrap().tokens.unwrap();
    old = replica.refresh(&old.refresh_token).await.unwrap().tokens.unwrap();

    // Dropped before its sessions are over, which nobody does by mistake: that ends these, and no others. A client's own
    // sessions may live for longer than the server's.
    let early = drop_first(false).await.unwrap_err();
    let MasterKeyFault::HasSessions { number: 1, end: Some(end) } = early else { panic!("{early}") };
    let longest = Duration::from_hours(24 * 365);
    assert!(end > began + longest && end < server.clock.now() + longest + Duration::from_hours(1), "{end}");
    drop_first(true).await.unwrap();
    let server = server.restart_with(on(&dropped)).await;
    let refused = server.refresh(&old.refresh_token).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "REFRESH_TOKEN_INVALID"));
    let replica = replica.restart_with(on(&dropped)).await;
    let tokens = replica.refresh(&new.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(verdict(&server.verify(&tokens.access_token).await), ALLOW);
}
