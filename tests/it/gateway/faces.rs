//! The same for each provider and each of its faces, from the link to the session (rows 97 to 99, 101, 104 and 134), since
//! not every one of them would notice a code in the wrong hands.

use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinSet;

use super::scene::{ACCESS, Flow, Scene, sets_nothing};
use super::*;
use crate::oauth::{FACES, Stage};

/// Row 97: somebody else's code and state open nothing, and nobody asks the provider.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_opens_nothing_in_another_browser() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let (mine, theirs) = (scene.begin(id).await, scene.begin(id).await);
        let value = |flow: &Flow| flow.cookie.split_once('=').unwrap().1.to_owned();
        let forged = format!("{}={}", mine.cookie.split('=').next().unwrap(), value(&theirs));
        for cookie in ["", &theirs.cookie, &forged, &format!("{0}; {0}", mine.cookie)] {
            let reply = scene.come_back(&mine.callback, cookie, &[]).await;
            assert_eq!(reply.status, 400, "{id} {cookie}");
            sets_nothing(&reply);
        }
        assert_eq!(scene.stage(id).exchanges(), 0, "{id}: it was asked");
        let reply = scene.come_back(&mine.callback, &mine.cookie, &[]).await;
        assert!(reply.status == 303 && reply.cookie(ACCESS).is_some(), "{id}: {reply:?}");
    }
}

/// Row 99.
#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_returns_at_once_one_signs_in() {
    let scene = Arc::new(Scene::of(Stage::all()).await);
    for (id, ..) in FACES {
        let flow = Arc::new(scene.begin(id).await);
        let mut returns = JoinSet::new();
        for _ in 0..20 {
            let (scene, flow) = (Arc::clone(&scene), Arc::clone(&flow));
            returns.spawn(async move { scene.come_back(&flow.callback, &flow.cookie, &[]).await });
        }
        let (let_in, refused): (Vec<Reply>, Vec<Reply>) =
            returns.join_all().await.into_iter().partition(|reply| reply.status == 303);
        let [only] = &let_in[..] else { panic!("{id}: {let_in:?}") };
        for reply in refused {
            assert_eq!(reply.status, 400, "{id}: {reply:?}");
            sets_nothing(&reply);
        }
        assert_eq!(scene.stage(id).exchanges(), 1, "{id}");
        assert_eq!(scene.sessions(&only.cookie_value(ACCESS), true).await.len(), 1, "{id}");
    }
}

/// Row 104: each provider has a callback of its own, and a name of its own where it says one.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_belongs_to_the_provider_that_was_asked() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let flow = scene.begin(id).await;
        for (other, ..) in FACES.into_iter().filter(|(other, ..)| *other != id) {
            let mixed = flow.callback.replace(&format!("/callback/{id}?"), &format!("/callback/{other}?"));
            let reply = scene.come_back(&mixed, &flow.cookie, &[]).await;
            assert_eq!(reply.status, 400, "{id} to {other}: {reply:?}");
            sets_nothing(&reply);
        }
        let evil = scene.come_back(&flow.with("iss", Some("https://evil.example")), &flow.cookie, &[]).await;
        assert_eq!(evil.status, 400, "{id}: {evil:?}");
        sets_nothing(&evil);
        let reply = scene.come_back("/callback/evil?code=a&state=b", &flow.cookie, &[]).await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    for (id, ..) in FACES {
        assert_eq!(scene.stage(id).exchanges(), 0, "{id}: it was asked");
    }
}

/// RFC 9207: who says that they send their name must send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_promised_issuer_must_come() {
    let stage = Stage::new(FACES[6]);
    let member = "authorization_response_iss_parameter_supported";
    stage.fake.metadata(vec![(member.to_owned(), Some(Value::Bool(true)))]);
    let scene = Scene::of(vec![stage]).await;
    let flow = scene.begin("keycloak").await;
    for callback in [flow.with("iss", None), flow.with("iss", Some("")), flow.with("iss", Some("https://evil.example"))]
    {
        let reply = scene.come_back(&callback, &flow.cookie, &[]).await;
        assert_eq!(reply.status, 400, "{callback}: {reply:?}");
        sets_nothing(&reply);
    }
    assert_eq!(scene.stage("keycloak").exchanges(), 0);
    let own = flow.with("iss", Some(&scene.stage("keycloak").fake.base_url()));
    assert_eq!(scene.come_back(&own, &flow.cookie, &[]).await.status, 303);
}

/// Row 134: an image, a frame or a script signs nobody in, even where the browser lets the cookie go along; a person does.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_on_the_way_is_signed_in() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let flow = scene.begin(id).await;
        for headers in [
            [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("sec-fetch-site", "same-site")],
            [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "same-origin")],
            [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "same-origin")],
        ] {
            let reply = scene.come_back(&flow.callback, &flow.cookie, &headers).await;
            assert_eq!(reply.status, 403, "{id} {headers:?}: {reply:?}");
            assert!(reply.headers("set-cookie").is_empty(), "{reply:?}");
        }
        assert_eq!(scene.stage(id).exchanges(), 0, "{id}: it was asked");
        let person = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "cross-site")];
        let reply = scene.come_back(&flow.callback, &flow.cookie, &person).await;
        assert_eq!(reply.status, 303, "{id}: {reply:?}");
    }
}

/// OAuth 2.0 Form Post Response Mode: the post comes from another site, without the flow's cookie, and begins again as a GET.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_may_post_the_person_back() {
    let stages = [FACES[0], FACES[6]].map(Stage::new).into();
    let scene = Scene::with(stages, |config| config.providers.iter_mut().for_each(|it| it.form_post = true)).await;
    for id in ["google", "keycloak"] {
        let flow = scene.begin(id).await;
        assert!(flow.authorization_url.contains("response_mode=form_post"), "{}", flow.authorization_url);
        let (path, form) = flow.callback.split_once('?').unwrap();
        let origin = scene.stage(id).fake.base_url();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", &*origin),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let posted = scene.browser.raw(&format!("POST {path} HTTP/1.1"), &headers, form).await;
        assert_eq!(posted.status, 303, "{posted:?}");
        assert!(posted.headers("set-cookie").is_empty() && posted.header("location").starts_with(path), "{posted:?}");
        assert_eq!(scene.stage(id).exchanges(), 0, "{id}: nothing is decided by a post");
        is_armed(&posted);
        let reply = scene.come_back(&posted.header("location"), &flow.cookie, &headers[2..]).await;
        assert!(reply.status == 303 && reply.cookie(ACCESS).is_some(), "{reply:?}");
        assert_eq!(scene.stage(id).exchanges(), 1);
    }
}
