//! Notices of Kakao and Naver that a person ended the connection there, as these send them.

use std::collections::BTreeMap;

use postern_rig::providers::{ADMIN_KEY, CLIENT_ID, CLIENT_SECRET, kakao_notice, naver_notice};

use super::scene::Scene;
use super::*;
use crate::oauth::{FACES, Stage};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn encoded(parameters: &BTreeMap<String, String>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

async fn notify(scene: &Scene, provider: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let reply = scene.browser.raw(&format!("POST /notice/{provider} HTTP/1.1"), headers, body).await;
    is_armed(&reply);
    assert!(!reply.head.contains("set-cookie"), "{reply:?}");
    reply
}

async fn lives(scene: &Scene, access_token: &str) -> bool {
    !scene.sessions(access_token, false).await.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn kakao_proves_itself_by_its_key() {
    let scene = Scene::of([FACES[0], FACES[1]].map(Stage::new).into()).await;
    let (good, parameters) = kakao_notice(ADMIN_KEY, "4242");
    let (form, key) = (encoded(&parameters), ("authorization", &*good));
    let (token, _) = scene.sign_in("kakao").await;
    for (provider, headers, body, status) in [
        ("kakao", &[FORM][..], &*form, 403),
        ("kakao", &[FORM, ("authorization", "KakaoAK x")], &form, 403),
        ("kakao", &[FORM, ("authorization", "")], &form, 403),
        ("kakao", &[FORM, key, key], &form, 400),
        ("kakao", &[FORM, key], "app_id=1", 403),
        ("kakao", &[FORM, key], &format!("{form}&user_id=4242"), 400),
        ("kakao", &[FORM, key], "user_id=%ff", 400),
        ("kakao", &[key], &form, 415),
        ("kakao", &[key, ("content-type", "application/json")], "{\"user_id\":\"4242\"}", 415),
        ("kakao", &[key, ("content-type", "text/plain")], &form, 415),
        ("google", &[FORM, key], &form, 403),
        ("unknown", &[FORM, key], &form, 400),
        ("Kakao", &[FORM, key], &form, 404),
    ] {
        let reply = notify(&scene, provider, headers, body).await;
        assert_eq!(reply.status, status, "{provider} {headers:?} {body}: {reply:?}");
        assert!(!reply.body.contains("4242") && !reply.body.contains(ADMIN_KEY), "{reply:?}");
    }
    let put = scene.browser.raw(&format!("PUT /notice/kakao?{form} HTTP/1.1"), &[key], "").await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, POST".to_owned()));
    let keyless = scene.browser.get(&format!("/notice/kakao?{form}")).await;
    assert_eq!((keyless.status, &keyless.json()["error"]), (403, &"OAUTH_REJECTED".into()));
    assert!(lives(&scene, &token).await, "none of these was Kakao");

    // By GET and by POST, as its console lets one choose.
    let reply = scene.browser.raw(&format!("GET /notice/kakao?{form} HTTP/1.1"), &[key], "").await;
    assert_eq!((reply.status, &*reply.body), (200, ""));
    is_armed(&reply);
    assert!(!lives(&scene, &token).await);
    let (token, _) = scene.sign_in("kakao").await;
    assert_eq!(notify(&scene, "kakao", &[FORM, key], &form).await.status, 200);
    assert!(!lives(&scene, &token).await);
    // About people whom nobody knows it hears the same.
    let unknown = encoded(&kakao_notice(ADMIN_KEY, "999").1);
    assert_eq!(notify(&scene, "kakao", &[FORM, key], &unknown).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn naver_proves_itself_by_its_signature() {
    let scene = Scene::of([FACES[3], FACES[4]].map(Stage::new).into()).await;
    for id in ["naver", "naver-plain"] {
        let (token, _) = scene.sign_in(id).await;
        let now = scene.server.clock.now().secs();
        let signed = |secret: &str, at: i64| naver_notice(CLIENT_ID, secret, "4242", at);
        let mut unsigned = signed(CLIENT_SECRET, now);
        unsigned.remove("signature");
        let mut other = signed(CLIENT_SECRET, now);
        other.insert("encryptUniqueId".to_owned(), "AAAA".to_owned());
        for (what, parameters) in [
            ("forged", signed("another secret", now)),
            ("old", signed(CLIENT_SECRET, now - 3600)),
            ("early", signed(CLIENT_SECRET, now + 3600)),
            ("unsigned", unsigned),
            ("another", other),
            ("empty", BTreeMap::new()),
        ] {
            let reply = notify(&scene, id, &[FORM], &encoded(&parameters)).await;
            assert_eq!((reply.status, &reply.json()["error"]), (403, &"OAUTH_REJECTED".into()), "{id} {what}");
        }
        let good = encoded(&signed(CLIENT_SECRET, now));
        assert_eq!(notify(&scene, id, &[("content-type", "text/plain")], &good).await.status, 415);
        assert!(lives(&scene, &token).await, "none of these was Naver");
        scene.server.later(std::time::Duration::from_secs(2)).await;
        let good = encoded(&signed(CLIENT_SECRET, scene.server.clock.now().secs()));
        let reply = notify(&scene, id, &[FORM], &good).await;
        assert_eq!((reply.status, &*reply.body), (204, ""), "{id}: {reply:?}");
        assert!(!lives(&scene, &token).await);
    }
}
