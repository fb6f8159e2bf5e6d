//! Limits on tries, and sign-ins at a provider: these try no password, so guessers do not stop them.

use std::time::Duration;

use postern::domain::rate::Quota;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::Person;
use tonic::Code;

use super::handoff::VERIFIER;
use super::{Proof, Scene, Stage, returned};
use crate::people::set_password;
use crate::support::{login_request, reason};

const PASSWORD: &str = "a password of the very best kind";

/// Row 14: whoever signs in at a provider is let in, and their device is known from then on.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_attacked_comes_in_by_a_provider() {
    let scene = Scene::with(vec![Stage::google()], |config| {
        config.limits.tries.account = Quota { burst: 5, every: Duration::from_mins(3) };
    })
    .await;
    scene.stage("google").person(Person::new("42").with_email(Some("minji@gmail.com"), true));
    let first = scene.sign_in("google").await.unwrap();
    let id = first.principal.unwrap().id;
    set_password(&scene.server, id.parse().unwrap(), PASSWORD).await;
    let login = async |password: &str, device_token: &str| {
        let device = pb::Device { device_token: device_token.to_owned(), ..Default::default() };
        let request = pb::LoginRequest { device: Some(device), ..login_request("minji@gmail.com", password) };
        scene.server.client().login(super::by(&scene.secret, request)).await
    };
    while reason(&login("wrong", "").await.unwrap_err()) != "THROTTLED" {}
    assert_eq!(reason(&login(PASSWORD, "").await.unwrap_err()), "THROTTLED");
    let again = scene.sign_in("google").await.unwrap();
    assert_eq!(again.principal.unwrap().id, id);
    assert!(login(PASSWORD, &again.device_token).await.is_ok());
}

/// A hand-off code is the second half of one sign-in, whose beginning was paid back with the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_collected_pays_nothing_back_for_others() {
    let scene = Scene::with(vec![Stage::google()], |config| {
        config.limits.tries.address = Quota { burst: 5, every: Duration::from_hours(1) };
    })
    .await;
    scene.stage("google").person(Person::new("42"));
    let device = Some(pb::Device { ip_address: "192.0.2.1".to_owned(), ..Default::default() });
    let start =
        || pb::OAuthStartRequest { provider: "google".to_owned(), device: device.clone(), ..Default::default() };
    for _ in 0..3 {
        scene.start_with(start()).await.unwrap();
    }
    let exchange = async |proof| {
        let request = pb::OAuthExchangeRequest { proof: Some(proof), device: device.clone(), ..Default::default() };
        let answer = scene.server.client().o_auth_exchange(super::by(&scene.secret, request)).await.unwrap();
        answer.into_inner().outcome.unwrap()
    };
    let (return_url, handoff_challenge) = (super::APP.to_owned(), super::handoff::challenge(VERIFIER));
    let started = scene.start_with(pb::OAuthStartRequest { return_url, handoff_challenge, ..start() }).await.unwrap();
    let callback = scene.stage("google").sent(&started.authorization_url);
    let code = returned("google", &callback, &started.flow_secret);
    let pb::o_auth_exchange_response::Outcome::Handoff(handoff) = exchange(Proof::ProviderCode(code)).await else {
        panic!("no code")
    };
    let code = pb::HandoffCode { code: handoff.code, verifier: VERIFIER.to_owned() };
    exchange(Proof::HandoffCode(code)).await;
    // Three that were never finished are still counted.
    for _ in 0..2 {
        scene.start_with(start()).await.unwrap();
    }
    assert_eq!(reason(&scene.start_with(start()).await.unwrap_err()), "THROTTLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_without_end_waits_and_who_comes_back_has_taken_nothing() {
    let scene = Scene::with(vec![Stage::google()], |config| {
        config.limits.tries.address = Quota { burst: 4, every: Duration::from_mins(3) };
    })
    .await;
    scene.stage("google").person(Person::new("42"));
    let device = Some(pb::Device { ip_address: "192.0.2.1".to_owned(), ..Default::default() });
    let start =
        || pb::OAuthStartRequest { provider: "google".to_owned(), device: device.clone(), ..Default::default() };
    for _ in 0..8 {
        let started = scene.start_with(start()).await.unwrap();
        let callback = scene.stage("google").sent(&started.authorization_url);
        let code = returned("google", &callback, &started.flow_secret);
        let request = pb::OAuthExchangeRequest {
            proof: Some(Proof::ProviderCode(code)),
            device: device.clone(),
            ..Default::default()
        };
        scene.server.client().o_auth_exchange(super::by(&scene.secret, request)).await.unwrap();
    }
    for _ in 0..4 {
        scene.start_with(start()).await.unwrap();
    }
    let status = scene.start_with(start()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "THROTTLED"));
    // A hand-off code that is guessed is a try as well.
    let other = Some(pb::Device { ip_address: "192.0.2.2".to_owned(), ..Default::default() });
    let mut told = Vec::new();
    for _ in 0..6 {
        let code = pb::HandoffCode { code: "phc_guess".to_owned(), verifier: "v".repeat(43) };
        let request = pb::OAuthExchangeRequest {
            proof: Some(Proof::HandoffCode(code)),
            device: other.clone(),
            ..Default::default()
        };
        let outcome = scene.server.client().o_auth_exchange(super::by(&scene.secret, request)).await;
        told.push(reason(&outcome.unwrap_err()));
    }
    assert_eq!(told.iter().filter(|reason| *reason == "OAUTH_FLOW_INVALID").count(), 4);
    assert_eq!(told.last().unwrap(), "THROTTLED");
}
