//! Notices of Kakao and Naver that a person ended the connection there.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::providers::{ADMIN_KEY, CLIENT_ID, CLIENT_SECRET, Person, kakao_notice, naver_notice};

use super::{Proof, Scene, Stage, by, refused};
use crate::support::Answer;

async fn notify(
    scene: &Scene,
    provider: &str,
    authorization: &str,
    parameters: &BTreeMap<String, String>,
) -> Answer<i32> {
    let parameters: HashMap<String, String> = parameters.clone().into_iter().collect();
    let request =
        pb::OAuthUnlinkRequest { provider: provider.to_owned(), authorization: authorization.to_owned(), parameters };
    Ok(scene.server.client().o_auth_unlink(by(&scene.secret, request)).await?.into_inner().http_status)
}

async fn lives(scene: &Scene, tokens: &pb::TokenPair) -> bool {
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    scene.server.client().refresh(by(&scene.secret, refresh)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn kakaos_notice_ends_what_was_opened_there() {
    let scene = Scene::of(Stage::all()).await;
    scene.stage("kakao").person(Person::new("42").with_email(None, false));
    let user = scene.sign_in("kakao").await.unwrap().principal.unwrap().id;
    let tokens = scene.sign_in("kakao").await.unwrap().tokens.unwrap();
    scene.stage("kakao").person(Person::new("43").with_email(None, false));
    let other = scene.sign_in("kakao").await.unwrap().tokens.unwrap();

    let (good, parameters) = kakao_notice(ADMIN_KEY, "42");
    for wrong in ["", "KakaoAK ", "KakaoAK x", "Bearer x", &good[1..], &format!("{good} ")] {
        refused(notify(&scene, "kakao", wrong, &parameters).await, "OAUTH_REJECTED");
    }
    refused(notify(&scene, "google", &good, &parameters).await, "OAUTH_REJECTED");
    assert!(lives(&scene, &tokens).await);
    assert_eq!(notify(&scene, "kakao", &good, &parameters).await.unwrap(), 200);
    assert!(!lives(&scene, &tokens).await);
    assert!(lives(&scene, &other).await, "nobody else's");
    // Unknown people are nobody's business, and the provider hears the same.
    let (good, parameters) = kakao_notice(ADMIN_KEY, "999");
    assert_eq!(notify(&scene, "kakao", &good, &parameters).await.unwrap(), 200);
    // It was the only way in, so who agrees again is the same person.
    scene.stage("kakao").person(Person::new("42").with_email(None, false));
    assert_eq!(scene.sign_in("kakao").await.unwrap().principal.unwrap().id, user);
}

#[tokio::test(flavor = "multi_thread")]
async fn navers_notice_is_signed_and_does_not_come_twice() {
    let scene = Scene::of(Stage::all()).await;
    let subject = "a+b/c=";
    scene.stage("naver").person(Person::new(subject).with_email(None, false));
    let first = scene.sign_in("naver").await.unwrap().tokens.unwrap();
    // A second way in, so that the first can go.
    scene.stage("google").person(Person::new("7").with_email(None, false));
    let code = scene.code("google").await.unwrap();
    let link = postern::proto::account::v1::LinkIdentityRequest {
        access_token: first.access_token.clone(),
        proof: Some(postern::proto::account::v1::link_identity_request::Proof::ProviderCode(code)),
        device: None,
    };
    scene.accounts().link_identity(by(&scene.secret, link)).await.unwrap();

    let secs = |after: i64| scene.server.clock.now().secs() + after;
    let notice = |at: i64| naver_notice(CLIENT_ID, CLIENT_SECRET, subject, at);
    let mut forged = notice(secs(1));
    forged.insert("signature".to_owned(), "A".repeat(43));
    refused(notify(&scene, "naver", "", &forged).await, "OAUTH_REJECTED");
    let foreign = naver_notice(CLIENT_ID, "another secret", subject, secs(1));
    refused(notify(&scene, "naver", "", &foreign).await, "OAUTH_REJECTED");
    for at in [secs(-3600), secs(3600)] {
        refused(notify(&scene, "naver", "", &notice(at)).await, "OAUTH_REJECTED");
    }
    scene.server.later(Duration::from_secs(2)).await;
    let good = notice(secs(0));
    assert_eq!(notify(&scene, "naver", "", &good).await.unwrap(), 204);
    assert!(!lives(&scene, &first).await);
    let google = scene.sign_in("google").await.unwrap().tokens.unwrap();
    let left = scene.identities(&google.access_token).await;
    assert_eq!(left.iter().map(|identity| identity.provider.as_str()).collect::<Vec<_>>(), ["google"]);

    // Whoever recorded the notice cannot end what began after it.
    scene.server.later(Duration::from_secs(2)).await;
    let again = scene.sign_in("naver").await.unwrap();
    assert!(again.user_created, "the connection was ended, and this account has no other way to be found");
    assert_eq!(notify(&scene, "naver", "", &good).await.unwrap(), 204);
    assert!(lives(&scene, &again.tokens.unwrap()).await);
    let code = scene.code("naver").await.unwrap();
    scene.exchange(Proof::ProviderCode(code)).await.unwrap();
}
