//! Networks that fail: slowly, in the middle, or with more than anybody can hold.

use std::time::Instant;

use postern_rig::providers::Reply;
use serde_json::json;

use super::*;

const FACES_HERE: [(Kind, bool); 3] = [(Kind::Google, true), (Kind::Kakao, false), (Kind::Naver, false)];

/// Row 124.
#[tokio::test]
async fn nothing_takes_longer_than_it_may() {
    for (kind, is_oidc) in FACES_HERE {
        for reply in [Reply::Late(Duration::from_secs(8)), Reply::Dripped(Duration::from_millis(400))] {
            let scene = Scene::new(kind, is_oidc);
            scene.authorize().await.unwrap();
            #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
            let began = Instant::now();
            let script = Script { token: reply, ..Script::default() };
            assert_eq!(absence(scene.sign_in(script).await), Some(Absence::Timeout), "{kind:?}");
            assert!(began.elapsed() < Duration::from_secs(3));
            assert_eq!(scene.exchanges(), 1);
        }
    }
}

#[tokio::test]
async fn a_torn_connection_costs_one_request() {
    for (kind, is_oidc) in FACES_HERE {
        let scene = Scene::new(kind, is_oidc);
        scene.authorize().await.unwrap();
        let outcome = scene.sign_in(Script { token: Reply::ResetAfter, ..Script::default() }).await;
        assert_eq!(absence(outcome), Some(Absence::Connection), "{kind:?}");
        assert_eq!(scene.exchanges(), 1, "a code is never sent twice");
        scene.fake.reply(scene.token_path(), Reply::ResetBefore);
        assert_eq!(absence(scene.sign_in(Script::default()).await), Some(Absence::Connection));
        assert_eq!(scene.exchanges(), 1, "it was not read");
    }
}

#[tokio::test]
async fn what_is_huge_is_not_held() {
    for (kind, is_oidc) in FACES_HERE {
        for with_length in [true, false] {
            let scene = Scene::new(kind, is_oidc);
            let outcome = scene.sign_in(Script { token: Reply::Huge { with_length }, ..Script::default() }).await;
            assert_eq!(rejection(outcome), Some(Rejection::TooLarge), "{kind:?}");
            assert!(scene.fake.huge_sent() < 30_000_000);
        }
        let scene = Scene::new(kind, is_oidc);
        let members = vec![("id_token".to_owned(), Some(json!("x".repeat(1_000_000))))];
        let outcome = scene.sign_in(Script { token_members: members, ..Script::default() }).await;
        assert_eq!(rejection(outcome), Some(Rejection::TooLarge));
    }
    let long = Scene::new(Kind::Kakao, false);
    let nickname = json!({ "profile": { "nickname": "가".repeat(1_000) } });
    let profile = vec![("kakao_account".to_owned(), Some(nickname))];
    let found = long.sign_in(Script { profile, ..Script::default() }).await.unwrap();
    assert_eq!(found.display_name.chars().count(), 128);
}

#[tokio::test]
async fn what_is_compressed_is_not_opened() {
    for encoding in ["gzip", "br", "deflate", "identity, gzip"] {
        let headers = vec![("content-type", "application/json".to_owned()), ("content-encoding", encoding.to_owned())];
        let token = Reply::Raw(200, headers, vec![0x1f, 0x8b, 8, 0]);
        let outcome = Scene::new(Kind::Google, true).sign_in(Script { token, ..Script::default() }).await;
        assert_eq!(rejection(outcome), Some(Rejection::Encoded), "{encoding}");
    }
}

#[tokio::test]
async fn it_says_when_to_come_back() {
    let scene = Scene::new(Kind::Google, true);
    let headers = vec![("content-type", "text/html".to_owned()), ("retry-after", "42".to_owned())];
    let outcome = scene.sign_in(Script { token: Reply::Raw(503, headers, Vec::new()), ..Script::default() }).await;
    let Err(ProviderFault::Unavailable { why, retry_after }) = outcome else { panic!("available") };
    assert_eq!((why, retry_after), (Absence::ServerError, Duration::from_secs(42)));
}

/// Row 131.
#[tokio::test]
async fn a_dead_provider_is_left_alone() {
    let scene = Scene::new(Kind::Google, true);
    let dead = || Script { token: Reply::Json(500, json!({})), ..Script::default() };
    for _ in 0..5 {
        assert_eq!(absence(scene.sign_in(dead()).await), Some(Absence::ServerError));
    }
    assert!(!scene.provider().is_available());
    assert_eq!(absence(scene.sign_in(Script::default()).await), Some(Absence::Resting));
    assert_eq!(absence(scene.authorize().await), Some(Absence::Resting));
    assert_eq!(scene.exchanges(), 5);
    scene.clock.advance(Duration::from_secs(10));
    scene.sign_in(Script::default()).await.unwrap();
    assert!(scene.provider().is_available());
    // What it refuses is an answer.
    for _ in 0..6 {
        assert_eq!(rejection(scene.exchange("made up").await), Some(Rejection::CodeRefused));
    }
    assert!(scene.provider().is_available());
}

/// A code that makes the provider stumble is one person's, and so is the trouble.
#[tokio::test]
async fn nobody_alone_has_it_left_alone() {
    let scene = Scene::new(Kind::Google, true);
    for n in 0..20 {
        for status in [500, 429] {
            let dead = Script { token: Reply::Json(status, json!({})), ..Script::default() };
            let code = scene.fake.issue(dead, scene.asked());
            // All of a /24 are one.
            assert!(scene.exchange_from(IpAddr::from([203, 0, 113, n]), &code).await.is_err());
        }
    }
    assert_eq!(scene.exchanges(), 40);
    scene.sign_in(Script::default()).await.unwrap();
}

/// What is judged without a word of the provider's says nothing about how it is.
#[tokio::test]
async fn no_token_of_an_app_hides_that_it_is_dead() {
    let scene = Scene::with(Kind::Google, true, |settings| settings.native_client_ids = vec!["native-app".to_owned()]);
    scene.sign_in(Script::default()).await.unwrap();
    for _ in 0..5 {
        let dead = Script { token: Reply::Json(500, json!({})), ..Script::default() };
        assert_eq!(absence(scene.sign_in(dead).await), Some(Absence::ServerError));
        let made_up = scene.provider().native(&"x.y.z".into(), NONCE, None).await;
        assert_eq!(rejection(made_up), Some(Rejection::IdTokenMalformed));
    }
    assert!(scene.provider().is_ready().is_err());
}

/// Faults are logged by others: nothing that a provider said may stand in them.
#[tokio::test]
async fn faults_quote_nobody() {
    let canary = json!({ "error": "canary", "error_description": "canary", "access_token": "canary" });
    for status in [200, 400, 500] {
        let token = Reply::Json(status, canary.clone());
        let fault = Scene::new(Kind::Google, true).sign_in(Script { token, ..Script::default() }).await.unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("canary"));
    }
}
