//! What providers publish: keys that change, documents that lie, and providers that are away.

use postern_rig::providers::{Key, Reply, Signing};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;

const DOCUMENT: &str = "/.well-known/openid-configuration";

/// Row 127.
#[tokio::test]
async fn a_new_key_is_fetched_once() {
    for kind in OPENID {
        let scene = Scene::new(kind, true);
        let fetches = || scene.fake.requests(scene.jwks_path()).len();
        for _ in 0..3 {
            scene.sign_in(Script::default()).await.unwrap();
        }
        assert_eq!(fetches(), 1);
        scene.fake.publish(&[Key::A, Key::B]);
        scene.fake.sign_with(Key::B);
        for _ in 0..3 {
            scene.sign_in(Script::default()).await.unwrap();
        }
        assert_eq!(fetches(), 2, "one more for the new key");
        scene.fake.publish(&[Key::B]);
        let old = Script { signing: Signing::Key(Key::A), ..Script::default() };
        scene.sign_in(old.clone()).await.unwrap();
        assert_eq!(fetches(), 2, "what is known is not asked for again");
    }
}

#[tokio::test]
async fn names_that_are_made_up_cause_no_flood() {
    let scene = Scene::new(Kind::Google, true);
    let fetches = || scene.fake.requests(scene.jwks_path()).len();
    for number in 0..1_000 {
        let kid = Signing::Kid(Some(format!("made-up-{number}")));
        let script = Script {
            signing: kid,
            claims: vec![("aud".to_owned(), Some(json!("native-app"))), ("azp".to_owned(), None)],
            ..Script::default()
        };
        let token = scene.fake.id_token(&script, &scene.asked()).into();
        assert_eq!(rejection(scene.provider().native(&token, NONCE, None).await), Some(Rejection::IdTokenKey));
    }
    assert!(fetches() <= 2, "{}", fetches());
    scene.clock.advance(Duration::from_secs(61));
    let script = Script {
        claims: vec![("aud".to_owned(), Some(json!("native-app"))), ("azp".to_owned(), None)],
        ..Script::default()
    };
    let fresh = |script: &Script| -> SecretString { scene.fake.id_token(script, &scene.asked()).into() };
    scene.provider().native(&fresh(&script), NONCE, None).await.unwrap();
    assert!(fetches() <= 2);
}

#[tokio::test]
async fn known_keys_count_while_the_provider_is_away() {
    let scene = Scene::new(Kind::Google, true);
    // The fake's clock stands still while ours moves.
    let token = |after: Duration| -> SecretString {
        let now = scene.clock.now().secs() + i64::try_from(after.as_secs()).unwrap();
        let claims =
            [("aud", json!("native-app")), ("azp", Value::Null), ("iat", json!(now)), ("exp", json!(now + 600))];
        let claims =
            claims.map(|(name, value)| (name.to_owned(), Some(value).filter(|value| !value.is_null()))).to_vec();
        scene.fake.id_token(&Script { claims, ..Script::default() }, &scene.asked()).into()
    };
    scene.provider().native(&token(Duration::ZERO), NONCE, None).await.unwrap();
    scene.fake.reply(scene.jwks_path(), Reply::Json(503, json!({})));
    scene.fake.reply(DOCUMENT, Reply::Json(503, json!({})));
    for minutes in [10, 7 * 60, 16 * 60] {
        scene.clock.advance(Duration::from_mins(minutes));
        scene.provider().native(&token(Duration::ZERO), NONCE, None).await.unwrap();
    }
    scene.clock.advance(Duration::from_hours(2));
    let outcome = scene.provider().native(&token(Duration::ZERO), NONCE, None).await;
    assert!(absence(outcome).is_some(), "not for longer than a day");
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_nobodys_fault() {
    for reply in [
        Reply::Json(200, json!({ "keys": "none" })),
        Reply::Json(404, json!({})),
        Reply::Json(500, json!({})),
        Reply::Redirect("http://169.254.169.254/".to_owned()),
        Reply::Json(200, json!({ "keys": vec![Key::A.jwk(); 10_000] })),
        Reply::Json(200, json!({ "keys": [Key::A.jwk(), Key::A.jwk()] })),
        Reply::Raw(200, vec![("content-type", "text/plain".to_owned())], b"{\"keys\":[]}".to_vec()),
    ] {
        let scene = Scene::new(Kind::Google, true);
        scene.fake.reply(scene.jwks_path(), reply);
        assert!(absence(scene.sign_in(Script::default()).await).is_some());
    }
    let own_type = Scene::new(Kind::Google, true);
    let set = json!({ "keys": [Key::A.jwk()] }).to_string().into_bytes();
    own_type.fake.reply(
        own_type.jwks_path(),
        Reply::Raw(200, vec![("content-type", "application/jwk-set+json".to_owned())], set),
    );
    own_type.sign_in(Script::default()).await.unwrap();
}

/// Rows 125 and 126.
#[tokio::test]
async fn documents_that_lie_disable_their_provider() {
    for (name, value) in [
        ("issuer", json!("https://evil.test")),
        ("issuer", Value::Null),
        ("jwks_uri", json!("http://10.0.0.1:6379/")),
        ("jwks_uri", json!("http://169.254.169.254/latest")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("jwks_uri", json!(7)),
        ("jwks_uri", json!("https://keys.evil.test/")),
        ("token_endpoint", json!("https://evil.test/token")),
        ("token_endpoint", json!("https://user:pass@127.0.0.1/")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("userinfo_endpoint", json!("http://[fe80::1]/")),
    ] {
        let scene = Scene::new(Kind::Google, true);
        scene.fake.metadata(vec![(name.to_owned(), Some(value.clone()).filter(|value| !value.is_null()))]);
        assert_eq!(absence(scene.authorize().await), Some(Absence::Discovery), "{name} {value}");
        assert!(!scene.provider().is_available());
        // Not asked again with every sign-in, and again after a while.
        assert_eq!(absence(scene.authorize().await), Some(Absence::Discovery));
        assert_eq!(scene.fake.requests(DOCUMENT).len(), 1);
        scene.fake.metadata(Vec::new());
        scene.clock.advance(Duration::from_secs(11));
        scene.authorize().await.unwrap();
        assert!(scene.provider().is_available());
    }
}

#[tokio::test]
async fn what_the_settings_name_comes_first() {
    let scene = Scene::new(Kind::Oidc, true);
    let base = scene.fake.base_url();
    let mut named = settings(&scene.fake, Kind::Oidc, true);
    named.authorization = Some(format!("{base}/authorize"));
    named.token = Some(format!("{base}/token"));
    named.userinfo = Some(format!("{base}/userinfo"));
    named.jwks = Some(format!("{base}/jwks"));
    let providers = Providers::with_patience(vec![named], &scene.clock, SHORT).unwrap();
    let named = Scene { providers, ..scene };
    named.journey().await.unwrap();
    assert!(named.fake.requests(DOCUMENT).is_empty(), "nobody had to be asked");
}

#[tokio::test]
async fn it_is_kept_current_in_the_background() {
    let scene = Scene::new(Kind::Kakao, true);
    let stop = CancellationToken::new();
    let running = scene.providers.clone().run(stop.clone());
    let watching = async {
        while scene.fake.requests(scene.jwks_path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    tokio::join!(running, watching);
    scene.authorize().await.unwrap();
    assert_eq!(scene.fake.requests(DOCUMENT).len(), 1);
}

#[test]
fn endpoints_out_of_reach_are_told_before_anybody_asks() {
    for url in [
        "http://127.0.0.1:6379/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://localhost/",
        "http://accounts.google.com/",
    ] {
        for field in 0..3 {
            let fake = Fake::start(Kind::Google);
            let mut settings = settings(&fake, Kind::Google, true);
            settings.private_network = false;
            settings.issuer = None;
            *[&mut settings.discovery, &mut settings.jwks, &mut settings.token][field] = Some(url.to_owned());
            assert!(
                Providers::new(vec![settings], &Clock::default()).is_err() || field == 0 && url.is_empty(),
                "{url}"
            );
            assert!(fake.requests("").is_empty());
        }
    }
}
