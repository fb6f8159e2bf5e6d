//! Row 131: a provider that is away costs those who want in by it, and nobody else; and it is left alone until it is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Person, Reply};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Proof, Scene, Stage, refused, shared};
use crate::support::PASSWORD;

/// How often the others are asked meanwhile.
const LOGINS: usize = 20;

#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn median_login(scene: &Scene) -> Duration {
    let mut took = Vec::new();
    for _ in 0..LOGINS {
        let began = Instant::now();
        scene.server.login("kim", PASSWORD).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took[LOGINS / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn a_provider_that_hangs_slows_nobody_else() {
    let scene = shared(Scene::of(vec![Stage::google(), Stage::new(super::FACES[5])]).await);
    crate::people::add_user(&scene.server, "kim", Some(PASSWORD)).await;
    scene.stage("github").person(Person::new("1"));
    let alone = median_login(&scene).await;
    let mut codes = Vec::new();
    for _ in 0..100 {
        codes.push(scene.code("google").await.unwrap());
    }
    let kept = scene.code("google").await.unwrap();
    scene.stage("google").fake.reply("/token", Reply::Late(Duration::from_secs(30)));
    let began = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for code in codes {
        let scene = Arc::clone(&scene);
        waiting.spawn(async move { scene.exchange(Proof::ProviderCode(code)).await });
    }
    let beside = median_login(&scene).await;
    scene.sign_in("github").await.unwrap();
    println!("a login took {alone:?} alone, {beside:?} beside 100 sign-ins that wait for a provider");
    for answer in waiting.join_all().await {
        let status = refused(answer, "OAUTH_PROVIDER_UNAVAILABLE");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_error_details().retry_info().is_some());
    }
    println!("all were refused after {:?}", began.elapsed());

    // Left alone from now on: the refusal comes at once, and the provider hears nothing.
    let asked = scene.stage("google").fake.requests("").len();
    refused(scene.start("google").await, "OAUTH_PROVIDER_UNAVAILABLE");
    refused(scene.exchange(Proof::ProviderCode(kept.clone())).await, "OAUTH_PROVIDER_UNAVAILABLE");
    assert_eq!(scene.stage("google").fake.requests("").len(), asked);
    scene.stage("google").fake.reply("/token", Reply::Usual);
    scene.server.later(Duration::from_secs(11)).await;
    scene.stage("google").person(Person::new("2"));
    scene.sign_in("google").await.unwrap();
    // Nobody asked with it, so it is as good as before.
    scene.exchange(Proof::ProviderCode(kept)).await.unwrap();
}

/// What no provider sends is not sent to one.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_none_is_refused_unasked() {
    let scene = Scene::of(vec![Stage::google()]).await;
    scene.stage("google").person(Person::new("1"));
    let good = scene.code("google").await.unwrap();
    for code in ["a\0b", "a\r\nb", "\u{ac00}", "a\u{7f}", &"a".repeat(4097)] {
        let bad = pb::ProviderCode { code: code.to_owned(), ..good.clone() };
        refused(scene.exchange(Proof::ProviderCode(bad)).await, "INVALID_FIELD");
    }
    assert_eq!(scene.stage("google").exchanges(), 0);
    scene.exchange(Proof::ProviderCode(good)).await.unwrap();
}

/// A provider whose document is another's is away; the rest works (row 126).
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_anothers_name_is_away() {
    let stage = Stage::new(super::FACES[6]);
    stage.fake.metadata(vec![("issuer".to_owned(), Some("https://evil.example".into()))]);
    let scene = Scene::of(vec![stage, Stage::google()]).await;
    refused(scene.start("keycloak").await, "OAUTH_PROVIDER_UNAVAILABLE");
    scene.sign_in("google").await.unwrap();
}
