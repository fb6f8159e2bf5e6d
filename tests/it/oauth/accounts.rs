//! Whose account is meant: the identity decides, never an address (rows 117 to 121, decision of the operator about linking).

use postern::domain::account::Profile;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Person, Script};
use serde_json::json;
use tonic::Code;

use super::{Scene, Stage, refused};
use crate::people::{self, disable};
use crate::support::{PASSWORD, Server, login_request, metadata, reason};

const ADDRESS: &str = "minji@naver.com";

/// Somebody who is here already with [`ADDRESS`] and a password.
async fn local(server: &Server, email_verified: bool) -> postern::domain::id::UserId {
    let profile = Profile { email: Some(ADDRESS.parse().unwrap()), email_verified, ..Profile::default() };
    people::add(server, profile, Some(PASSWORD)).await
}

fn linking(mut stages: Vec<Stage>) -> (Vec<Stage>, impl FnOnce(&mut postern::config::Config)) {
    stages.truncate(7);
    (stages, |config: &mut postern::config::Config| {
        for provider in &mut config.providers {
            provider.link_by_email = true;
        }
    })
}

async fn linking_scene() -> Scene {
    let (stages, change) = linking(Stage::all());
    Scene::with(stages, change).await
}

/// Row 118: whatever a provider leaves in doubt about an address never opens the account that has it (nOAuth).
#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_doubt_opens_no_account() {
    let scene = linking_scene().await;
    let local = local(&scene.server, true).await.to_string();
    let mut subject = 1000;
    let mut tries: Vec<(&str, Script)> = Vec::new();
    let mut person = |email: &str, verified: bool| {
        subject += 1;
        Script::of(Person::new(&subject.to_string()).with_email(Some(email), verified))
    };
    for value in [json!(false), json!("true"), json!(1), json!(null), json!("false"), json!([true]), json!({})] {
        for id in ["google", "keycloak"] {
            let claim = vec![("email_verified".to_owned(), Some(value.clone()))];
            let script = person(ADDRESS, true);
            tries.push((id, Script { claims: claim.clone(), profile: claim, ..script }));
        }
    }
    for id in ["google", "keycloak"] {
        let absent = vec![("email_verified".to_owned(), None)];
        tries.push((id, Script { claims: absent.clone(), profile: absent, ..person(ADDRESS, true) }));
    }
    for (valid, verified) in [
        (json!(false), json!(true)),
        (json!(true), json!(false)),
        (json!(null), json!(true)),
        (json!("true"), json!(true)),
    ] {
        let account = json!({ "email": ADDRESS, "is_email_valid": valid, "is_email_verified": verified });
        let profile = vec![("kakao_account".to_owned(), Some(account))];
        tries.push(("kakao-plain", Script { profile, ..person(ADDRESS, true) }));
    }
    tries.push(("kakao", person(ADDRESS, false)));
    // Naver says nothing of addresses; only its own are believed, and these are not.
    for email in ["minji@naver.com.evil.test", "minji@evil-naver.com", "minji@gmail.com"] {
        tries.push(("naver", person(email, true)));
    }
    tries.push(("github", person(ADDRESS, false)));
    for (id, script) in tries {
        let told = format!("{id} {:?} {:?}", script.claims, script.profile);
        scene.stage(id).fake.script(script);
        match scene.arrive(id).await.map(|answer| answer.outcome.unwrap()) {
            Ok(pb::o_auth_exchange_response::Outcome::SignIn(sign_in)) => {
                assert_ne!(sign_in.principal.unwrap().id, local, "{told}");
            }
            Ok(pb::o_auth_exchange_response::Outcome::Challenge(challenge)) => {
                let kinds: Vec<_> = challenge.kinds().collect();
                assert_eq!(kinds, [pb::ChallengeKind::LinkIdentity], "{told}");
            }
            Ok(other) => panic!("{other:?}"),
            Err(status) => assert_eq!(reason(&status), "OAUTH_REJECTED", "{told}: {}", status.message()),
        }
    }
    assert!(scene.identities(&scene_login(&scene).await).await.is_empty());
}

async fn scene_login(scene: &Scene) -> String {
    let request = super::by(&scene.secret, login_request(ADDRESS, PASSWORD));
    let outcome = scene.server.client().login(request).await.unwrap().into_inner().outcome.unwrap();
    let pb::login_response::Outcome::SignIn(sign_in) = outcome else { panic!("no sign-in") };
    sign_in.tokens.unwrap().access_token
}

/// Rows 118 and 119: linking needs the operator, the provider and an address that was proven here, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_links_where_all_three_agree() {
    for (allowed, proven, links) in [(true, true, true), (false, true, false), (true, false, false)] {
        let stages = Stage::all();
        let scene = Scene::with(stages, |config| {
            for provider in &mut config.providers {
                provider.link_by_email = allowed;
            }
        })
        .await;
        let local = local(&scene.server, proven).await.to_string();
        for id in ["kakao", "kakao-plain", "naver", "naver-plain", "github", "keycloak"] {
            scene.stage(id).person(Person::new("4242").with_email(Some("MinJi@Naver.com"), true));
            match scene.arrive(id).await.unwrap().outcome.unwrap() {
                pb::o_auth_exchange_response::Outcome::SignIn(sign_in) if links => {
                    assert_eq!((sign_in.principal.unwrap().id, sign_in.user_created), (local.clone(), false), "{id}");
                }
                pb::o_auth_exchange_response::Outcome::Challenge(_) if !links => {}
                other => panic!("{id} {allowed} {proven}: {other:?}"),
            }
        }
        // Google gives out no such address, so it does not vouch for who has it today.
        scene.stage("google").person(Person::new("4242").with_email(Some(ADDRESS), true));
        let outcome = scene.arrive("google").await.unwrap().outcome.unwrap();
        assert!(matches!(outcome, pb::o_auth_exchange_response::Outcome::Challenge(_)), "{outcome:?}");
    }
}

/// Row 119: who registered another's address before its owner came gains nothing by it.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_registrant_does_not_get_the_owner() {
    let scene = linking_scene().await;
    let early = local(&scene.server, false).await;
    let token = scene_login(&scene).await;
    scene.stage("naver").person(Person::new("1").with_email(Some(ADDRESS), true));
    let outcome = scene.arrive("naver").await.unwrap().outcome.unwrap();
    assert!(matches!(outcome, pb::o_auth_exchange_response::Outcome::Challenge(_)), "{outcome:?}");
    assert!(scene.identities(&token).await.is_empty(), "nothing was linked to {early}");
    assert_eq!(scene.users().await, 2);
}

/// Row 121.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changes_moves_nobody() {
    let scene = linking_scene().await;
    let person = |id: &str, email: &str| Person::new(id).with_email(Some(email), true);
    scene.stage("kakao").person(person("1", "first@example.com"));
    let first = scene.sign_in("kakao").await.unwrap().principal.unwrap().id;
    scene.stage("kakao").person(person("1", "second@example.com"));
    assert_eq!(scene.sign_in("kakao").await.unwrap().principal.unwrap().id, first);
    // The old address went to somebody else there, who is not let into the first one's account: it has the address here,
    // proven by Kakao, and Kakao vouches for the new owner as well. Only a different way of proving it links.
    let scene = Scene::of(vec![Stage::new(super::FACES[1])]).await;
    scene.stage("kakao").person(person("1", "first@example.com"));
    scene.sign_in("kakao").await.unwrap();
    scene.stage("kakao").person(person("2", "first@example.com"));
    let outcome = scene.arrive("kakao").await.unwrap().outcome.unwrap();
    assert!(matches!(outcome, pb::o_auth_exchange_response::Outcome::Challenge(_)), "{outcome:?}");
}

/// Row 31: a disabled account is refused as at `Login`, byte by byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_hears_what_login_says() {
    let scene = Scene::of(vec![Stage::google()]).await;
    scene.stage("google").person(Person::new("1").with_email(None, false));
    let user = scene.sign_in("google").await.unwrap().principal.unwrap().id;
    disable(&scene.server, user.parse().unwrap()).await;
    let refusal = refused(scene.arrive("google").await, "INVALID_CREDENTIALS");
    let login =
        scene.server.client().login(super::by(&scene.secret, login_request("nobody", PASSWORD))).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unauthenticated, login.message()));
    assert_eq!(refusal.details(), login.details());
    let names = |status: &tonic::Status| {
        let mut names: Vec<String> = status.metadata().keys().map(|key| format!("{key:?}")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&refusal), names(&login));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_keep_strangers_out() {
    let scene = Scene::with(vec![Stage::google()], |config| config.providers[0].sign_up = false).await;
    refused(scene.arrive("google").await, "INVALID_CREDENTIALS");
    assert_eq!(scene.users().await, 1);
}

/// A role that nobody made is the operator's mistake: told in the log, and nobody is half made.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_role_that_is_missing_makes_nobody() {
    let scene = Scene::with(vec![Stage::google()], |config| {
        config.accounts.roles = vec!["member".parse().unwrap()];
    })
    .await;
    refused(scene.arrive("google").await, "INTERNAL");
    assert_eq!(scene.users().await, 1);
    let token = scene.server.login_admin().await.access_token;
    let role = admin::Role { id: "member".to_owned(), ..Default::default() };
    scene.server.admin(&token).put_role(admin::PutRoleRequest { role: Some(role) }).await.unwrap();
    scene.sign_in("google").await.unwrap();
}

/// A name in the configuration that came to mean another provider must not open the accounts of the first one's people.
#[tokio::test(flavor = "multi_thread")]
async fn another_provider_under_an_old_name_opens_nothing() {
    let mut scene = Scene::of(vec![Stage::new(super::FACES[6])]).await;
    scene.stage("keycloak").person(Person::new("1"));
    scene.sign_in("keycloak").await.unwrap();
    let impostor = Stage::new(super::FACES[6]);
    impostor.person(Person::new("1"));
    let settings = impostor.settings();
    let clients = vec![super::client("web", &scene.secret), super::client("other", &scene.other)];
    let server = scene.server.restart_with(|config| {
        crate::support::quick(config);
        (config.providers, config.clients) = (vec![settings], clients);
    });
    scene = Scene { server: server.await, stages: vec![impostor], secret: scene.secret, other: scene.other };
    refused(scene.arrive("keycloak").await, "OAUTH_REJECTED");
}

/// A front that cannot show it is told what to have the person do.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_without_that_challenge_gets_a_typed_refusal() {
    let scene = Scene::of(vec![Stage::new(super::FACES[3])]).await;
    local(&scene.server, true).await;
    scene.stage("naver").person(Person::new("1").with_email(Some(ADDRESS), true));
    let code = scene.code("naver").await.unwrap();
    let request = pb::OAuthExchangeRequest { proof: Some(super::Proof::ProviderCode(code)), ..Default::default() };
    let refusal = scene.server.client().o_auth_exchange(super::by(&scene.secret, request)).await;
    let status = refused(refusal.map(tonic::Response::into_inner), "CHALLENGE_UNSUPPORTED");
    assert_eq!((status.code(), metadata(&status, "challenge").as_str()), (Code::FailedPrecondition, "LINK_IDENTITY"));
}
