//! Linking and unlinking by the owner: recent, one's own, never the last way in (rows 57 and 120).

use std::time::Duration;

use postern::domain::account::Profile;
use postern::proto::account::v1 as account;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::Person;
use tonic::Code;

use super::{Scene, Stage, by, refused};
use crate::people;
use crate::support::{Answer, PASSWORD, login_request};

type LinkProof = account::link_identity_request::Proof;

pub(super) const ADDRESS: &str = "minji@example.com";

fn device() -> pb::Device {
    pb::Device { ip_address: "192.0.2.57".to_owned(), ..Default::default() }
}

pub(super) async fn link(scene: &Scene, access_token: &str, proof: LinkProof) -> Answer<account::Identity> {
    let request = account::LinkIdentityRequest {
        access_token: access_token.to_owned(),
        proof: Some(proof),
        device: Some(device()),
    };
    Ok(scene.accounts().link_identity(by(&scene.secret, request)).await?.into_inner().identity.unwrap())
}

pub(super) async fn link_by_flow(scene: &Scene, access_token: &str, provider: &str) -> Answer<account::Identity> {
    let code = scene.code(provider).await.unwrap();
    link(scene, access_token, LinkProof::ProviderCode(code)).await
}

pub(super) async fn unlink(scene: &Scene, access_token: &str, provider: &str, subject: &str) -> Answer<()> {
    let request = account::UnlinkIdentityRequest {
        access_token: access_token.to_owned(),
        provider: provider.to_owned(),
        subject: subject.to_owned(),
        device: Some(device()),
    };
    scene.accounts().unlink_identity(by(&scene.secret, request)).await.map(drop)
}

/// Signed in with a password, through the scene's client.
pub(super) async fn login(scene: &Scene, identifier: &str) -> pb::TokenPair {
    let request = by(&scene.secret, login_request(identifier, PASSWORD));
    let outcome = scene.server.client().login(request).await.unwrap().into_inner().outcome.unwrap();
    let pb::login_response::Outcome::SignIn(sign_in) = outcome else { panic!("no sign-in") };
    sign_in.tokens.unwrap()
}

pub(super) async fn person(scene: &Scene, email: &str) -> String {
    let profile = Profile { email: Some(email.parse().unwrap()), email_verified: true, ..Profile::default() };
    people::add(&scene.server, profile, Some(PASSWORD)).await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_person_adds_and_removes_ways_in() {
    let scene = Scene::of(Stage::all()).await;
    let user = person(&scene, ADDRESS).await;
    let token = login(&scene, ADDRESS).await.access_token;
    for id in ["google", "github"] {
        scene.stage(id).person(Person::new("7").with_email(Some("another@example.org"), false));
        let linked = link_by_flow(&scene, &token, id).await.unwrap();
        assert_eq!((linked.provider.as_str(), linked.subject.as_str()), (id, "7"));
        assert!(linked.last_sign_in_time.is_none());
        // Again is no error, and no second one.
        link_by_flow(&scene, &token, id).await.unwrap();
    }
    assert_eq!(scene.identities(&token).await.len(), 2);
    let session = scene.sign_in("google").await.unwrap();
    assert_eq!((session.principal.unwrap().id, session.user_created), (user, false));

    unlink(&scene, &token, "google", "7").await.unwrap();
    assert_eq!(unlink(&scene, &token, "google", "7").await.unwrap_err().code(), Code::NotFound);
    // What was opened that way is over.
    let refresh = pb::RefreshRequest { refresh_token: session.tokens.unwrap().refresh_token, ..Default::default() };
    refused(scene.server.client().refresh(by(&scene.secret, refresh)).await, "SESSION_ENDED");
    assert_eq!(scene.identities(&token).await.len(), 1, "the own session goes on");
    let events: Vec<(String, String)> = scene
        .server
        .database()
        .await
        .rows("SELECT kind, ip_address FROM audit WHERE kind LIKE 'identity_%' ORDER BY time, id", &[])
        .await;
    let from = |kind: &str| (kind.to_owned(), "192.0.2.57".to_owned());
    assert_eq!(events, ["identity_linked", "identity_linked", "identity_unlinked"].map(from));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_somebody_else_stays_theirs() {
    let scene = Scene::of(vec![Stage::google()]).await;
    scene.stage("google").person(Person::new("7").with_email(None, false));
    let owner = scene.sign_in("google").await.unwrap();
    person(&scene, ADDRESS).await;
    let token = login(&scene, ADDRESS).await.access_token;
    let status = refused(link_by_flow(&scene, &token, "google").await, "IDENTIFIER_TAKEN");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(!status.message().contains(&owner.principal.unwrap().id));
    let theirs = unlink(&scene, &token, "google", "7").await.unwrap_err();
    assert_eq!(theirs.code(), Code::NotFound, "as if it were nowhere");
    let mut database = scene.server.database().await;
    assert_eq!(database.audited_at_last("identity_link_fail").await, 1);
    let tried: Vec<(String, String)> =
        database.rows("SELECT ip_address, reason FROM audit WHERE kind = 'identity_link_fail'", &[]).await;
    assert_eq!(tried, [("192.0.2.57".to_owned(), "IDENTIFIER_TAKEN".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_way_in_stays_and_old_sign_ins_change_nothing() {
    let scene = Scene::of(vec![Stage::google(), Stage::new(super::FACES[5])]).await;
    scene.stage("google").person(Person::new("7").with_email(None, false));
    let tokens = scene.sign_in("google").await.unwrap().tokens.unwrap();
    refused(unlink(&scene, &tokens.access_token, "google", "7").await, "LAST_ONE");
    scene.server.later(Duration::from_mins(29)).await;
    let refresh = |refresh_token: String| pb::RefreshRequest { refresh_token, ..Default::default() };
    let next = scene.server.client().refresh(by(&scene.secret, refresh(tokens.refresh_token))).await.unwrap();
    let next = next.into_inner().tokens.unwrap();
    scene.server.later(Duration::from_mins(29)).await;
    let next = scene.server.client().refresh(by(&scene.secret, refresh(next.refresh_token))).await.unwrap();
    let next = next.into_inner().tokens.unwrap();
    scene.server.later(Duration::from_mins(3)).await;
    // A refresh does not make a sign-in younger.
    refused(link_by_flow(&scene, &next.access_token, "github").await, "REAUTHENTICATION_REQUIRED");
    refused(unlink(&scene, &next.access_token, "google", "7").await, "REAUTHENTICATION_REQUIRED");
    assert_eq!(scene.identities(&next.access_token).await.len(), 1);
}

/// The `LINK_IDENTITY` challenge: nobody goes to the provider twice, and nobody but the account's owner can use it.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_address_signs_in_and_links() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let user = person(&scene, ADDRESS).await;
    person(&scene, "thief@example.com").await;
    scene.stage("google").person(Person::new("7").with_email(Some(ADDRESS), true));
    let outcome = scene.arrive("google").await.unwrap().outcome.unwrap();
    let pb::o_auth_exchange_response::Outcome::Challenge(challenge) = outcome else { panic!("{outcome:?}") };
    let proof = || LinkProof::ChallengeToken(challenge.challenge_token.clone());

    // It opens nothing by itself, nor as another kind of challenge.
    let answer = pb::complete_challenge_request::Answer::NewPassword("quite another password".to_owned());
    let complete = pb::CompleteChallengeRequest {
        challenge_token: challenge.challenge_token.clone(),
        answer: Some(answer),
        ..Default::default()
    };
    refused(scene.server.client().complete_challenge(by(&scene.secret, complete)).await, "CHALLENGE_FAILED");
    let thief = login(&scene, "thief@example.com").await.access_token;
    refused(link(&scene, &thief, proof()).await, "CHALLENGE_FAILED");
    for token in ["", "pch_x", "phc_x"] {
        refused(link(&scene, &thief, LinkProof::ChallengeToken(token.to_owned())).await, "CHALLENGE_FAILED");
    }
    let token = login(&scene, ADDRESS).await.access_token;
    link(&scene, &token, proof()).await.unwrap();
    // A lost answer may be asked for again.
    link(&scene, &token, proof()).await.unwrap();
    assert_eq!(scene.stage("google").exchanges(), 1);
    let session = scene.sign_in("google").await.unwrap();
    assert_eq!(session.principal.unwrap().id, user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_link_dies_after_ten_minutes() {
    let scene = Scene::of(vec![Stage::google()]).await;
    person(&scene, ADDRESS).await;
    scene.stage("google").person(Person::new("7").with_email(Some(ADDRESS), true));
    let outcome = scene.arrive("google").await.unwrap().outcome.unwrap();
    let pb::o_auth_exchange_response::Outcome::Challenge(challenge) = outcome else { panic!("{outcome:?}") };
    scene.server.later(Duration::from_mins(10)).await;
    let token = login(&scene, ADDRESS).await.access_token;
    refused(link(&scene, &token, LinkProof::ChallengeToken(challenge.challenge_token)).await, "CHALLENGE_FAILED");
}
