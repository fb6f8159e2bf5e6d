//! Hand-off codes (row 110, protocol F6): one use, a minute, the client and the verifier of who began; a second use ends the
//! session.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::Person;

use super::{APP, Proof, Scene, Stage, refused, returned};
use crate::support::Answer;

pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()))
}

async fn scene() -> Scene {
    let scene = Scene::of(vec![Stage::google()]).await;
    scene.stage("google").person(Person::new("42"));
    scene
}

pub(super) async fn handed_off(scene: &Scene) -> String {
    let request = pb::OAuthStartRequest {
        provider: "google".to_owned(),
        return_url: APP.to_owned(),
        handoff_challenge: challenge(VERIFIER),
        ..Default::default()
    };
    let started = scene.start_with(request).await.unwrap();
    let callback = scene.stage("google").sent(&started.authorization_url);
    let code = returned("google", &callback, &started.flow_secret);
    let answer = scene.exchange(Proof::ProviderCode(code)).await.unwrap();
    assert_eq!(answer.return_url, APP);
    match answer.outcome.unwrap() {
        pb::o_auth_exchange_response::Outcome::Handoff(handoff) => handoff.code,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn collect(scene: &Scene, secret: &str, code: &str, verifier: &str) -> Answer<pb::SignIn> {
    let proof = Proof::HandoffCode(pb::HandoffCode { code: code.to_owned(), verifier: verifier.to_owned() });
    match scene.exchange_as(secret, proof).await?.outcome.unwrap() {
        pb::o_auth_exchange_response::Outcome::SignIn(sign_in) => Ok(sign_in),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_opens_one_session_and_ends_it_if_it_comes_twice() {
    let scene = scene().await;
    let code = handed_off(&scene).await;
    for (secret, verifier) in [(&scene.secret, ""), (&scene.secret, "guess"), (&scene.other, VERIFIER)] {
        refused(collect(&scene, secret, &code, verifier).await, "OAUTH_FLOW_INVALID");
    }
    let wrong = "x".repeat(43);
    refused(collect(&scene, &scene.secret, &code, &wrong).await, "OAUTH_FLOW_INVALID");
    // None of that burned it.
    let sign_in = collect(&scene, &scene.secret, &code, VERIFIER).await.unwrap();
    assert!(sign_in.user_created);
    let tokens = sign_in.tokens.unwrap();
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    scene.server.client().refresh(super::by(&scene.secret, refresh.clone())).await.unwrap();

    // Who has the code alone ends nothing; who has the verifier too does.
    refused(collect(&scene, &scene.secret, &code, &wrong).await, "OAUTH_FLOW_INVALID");
    scene.server.client().refresh(super::by(&scene.secret, refresh.clone())).await.unwrap();
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "OAUTH_FLOW_INVALID");
    let ended = scene.server.client().refresh(super::by(&scene.secret, refresh)).await;
    refused(ended, "SESSION_ENDED");
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "OAUTH_FLOW_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_none_stays_signed_in() {
    let scene = super::shared(scene().await);
    for _ in 0..5 {
        let code = handed_off(&scene).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (scene, code) = (Arc::clone(&scene), code.clone());
            tasks.spawn(async move { collect(&scene, &scene.secret.clone(), &code, VERIFIER).await });
        }
        let (opened, failed): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
        assert!(opened.len() <= 1, "one session at most, whatever was asked: {}", opened.len());
        for why in failed {
            refused(why, "OAUTH_FLOW_INVALID");
        }
        for sign_in in opened {
            let refresh_token = sign_in.unwrap().tokens.unwrap().refresh_token;
            let request = pb::RefreshRequest { refresh_token, ..Default::default() };
            refused(scene.server.client().refresh(super::by(&scene.secret, request)).await, "SESSION_ENDED");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_lives_a_minute() {
    let scene = scene().await;
    let (soon, late) = (handed_off(&scene).await, handed_off(&scene).await);
    scene.server.later(Duration::from_secs(59)).await;
    collect(&scene, &scene.secret, &soon, VERIFIER).await.unwrap();
    scene.server.later(Duration::from_secs(2)).await;
    refused(collect(&scene, &scene.secret, &late, VERIFIER).await, "OAUTH_FLOW_INVALID");
}

/// RFC 6749, section 4.1.2: a second use is one, however late it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_twice_ends_its_session_also_after_its_minute() {
    let scene = scene().await;
    let code = handed_off(&scene).await;
    let tokens = collect(&scene, &scene.secret, &code, VERIFIER).await.unwrap().tokens.unwrap();
    scene.server.later(Duration::from_mins(8)).await;
    for (secret, verifier) in [(&scene.secret, "x".repeat(43)), (&scene.other, VERIFIER.to_owned())] {
        refused(collect(&scene, secret, &code, &verifier).await, "OAUTH_FLOW_INVALID");
    }
    let refresh = |refresh_token: String| pb::RefreshRequest { refresh_token, ..Default::default() };
    let next = scene.server.client().refresh(super::by(&scene.secret, refresh(tokens.refresh_token))).await.unwrap();
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "OAUTH_FLOW_INVALID");
    let refresh_token = next.into_inner().tokens.unwrap().refresh_token;
    refused(scene.server.client().refresh(super::by(&scene.secret, refresh(refresh_token))).await, "SESSION_ENDED");
    assert_eq!(scene.server.database().await.audited_at_last("authn_token_reuse").await, 1);
}

/// What ends a user's sessions ends one that was not collected yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_dies_with_the_sessions_of_its_user() {
    let scene = scene().await;
    let code = handed_off(&scene).await;
    let admin = scene.server.login_admin().await.access_token;
    let users = scene.server.admin(&admin).list_users(admin::ListUsersRequest::default()).await.unwrap().users;
    let user = users.iter().find(|user| user.user_name.is_empty()).unwrap().id.clone();
    crate::people::end_all_sessions(&scene.server).await;
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "OAUTH_FLOW_INVALID");

    let code = handed_off(&scene).await;
    crate::people::disable(&scene.server, user.parse().unwrap()).await;
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "INVALID_CREDENTIALS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_must_be_one_and_lead_somewhere() {
    let scene = scene().await;
    let request = |handoff_challenge: &str, return_url: &str| pb::OAuthStartRequest {
        provider: "google".to_owned(),
        return_url: return_url.to_owned(),
        handoff_challenge: handoff_challenge.to_owned(),
        ..Default::default()
    };
    let good = challenge(VERIFIER);
    for (challenge, url) in [("short", APP), (&good[1..], APP), (&format!("{good}="), APP), (&good, "")] {
        refused(scene.start_with(request(challenge, url)).await, "INVALID_FIELD");
    }
    for code in ["", "phc_", "phc_x", "pch_AAAA"] {
        refused(collect(&scene, &scene.secret, code, VERIFIER).await, "OAUTH_FLOW_INVALID");
    }
}
