//! What a flow is bound to: the secret of who began, the client, the provider, its issuer, ten minutes, and once.

use std::sync::Arc;
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Consent, Person, Script};
use tokio::task::JoinSet;

use super::{APP, FACES, Proof, Scene, Stage, refused, returned, shared};
use crate::support::metadata;

/// Rows 97, 98 and 101: who copied the callback's URL has the code and the state, and gets nothing by them, whatever the
/// provider checks.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_without_the_flow_secret_is_nobodys() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let code = scene.code(id).await.unwrap();
        let another = scene.start(id).await.unwrap();
        for secret in ["", "guess", &another.flow_secret, &code.state] {
            let stolen = pb::ProviderCode { flow_secret: secret.to_owned(), ..code.clone() };
            refused(scene.exchange(Proof::ProviderCode(stolen)).await, "OAUTH_FLOW_INVALID");
        }
        assert_eq!(scene.stage(id).exchanges(), 0, "{id}: the provider was not asked");
        // Nor was the flow burned.
        scene.exchange(Proof::ProviderCode(code)).await.unwrap();
    }
}

/// Row 99.
#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_returns_at_once_one_goes_on() {
    let scene = shared(Scene::of(vec![Stage::google()]).await);
    let code = scene.code("google").await.unwrap();
    let mut returns = JoinSet::new();
    for _ in 0..20 {
        let (scene, code) = (Arc::clone(&scene), code.clone());
        returns.spawn(async move { scene.exchange(Proof::ProviderCode(code)).await });
    }
    let answers = returns.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        refused(answer, "OAUTH_FLOW_INVALID");
    }
    assert_eq!(scene.stage("google").exchanges(), 1);
}

/// Row 104: an honest provider's code is never taken to another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_goes_to_the_provider_that_was_asked() {
    let scene = Scene::of(Stage::all()).await;
    let code = scene.code("kakao").await.unwrap();
    for other in ["google", "naver", "kakao-plain"] {
        let mixed = pb::ProviderCode { provider: other.to_owned(), ..code.clone() };
        refused(scene.exchange(Proof::ProviderCode(mixed)).await, "OAUTH_FLOW_INVALID");
        assert_eq!(scene.stage(other).exchanges(), 0);
    }
    let unknown = pb::ProviderCode { provider: "evil".to_owned(), ..code.clone() };
    let status = refused(scene.exchange(Proof::ProviderCode(unknown)).await, "INVALID_FIELD");
    assert!(status.message().contains("must be one of google, kakao"), "{}", status.message());

    let evil = pb::ProviderCode { issuer: "https://evil.example".to_owned(), ..code.clone() };
    refused(scene.exchange(Proof::ProviderCode(evil)).await, "OAUTH_FLOW_INVALID");
    scene.exchange(Proof::ProviderCode(code)).await.unwrap();
}

/// RFC 9207: who says that they send their name must send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_promised_issuer_must_come() {
    let stage = Stage::new(FACES[6]);
    let member = "authorization_response_iss_parameter_supported";
    stage.fake.metadata(vec![(member.to_owned(), Some(true.into()))]);
    let scene = Scene::of(vec![stage]).await;
    let code = scene.code("keycloak").await.unwrap();
    for issuer in ["", "https://evil.example"] {
        let changed = pb::ProviderCode { issuer: issuer.to_owned(), ..code.clone() };
        refused(scene.exchange(Proof::ProviderCode(changed)).await, "OAUTH_FLOW_INVALID");
    }
    let own = pb::ProviderCode { issuer: scene.stage("keycloak").fake.base_url(), ..code };
    scene.exchange(Proof::ProviderCode(own)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_cannot_finish() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let code = scene.code("google").await.unwrap();
    refused(scene.exchange_as(&scene.other, Proof::ProviderCode(code.clone())).await, "OAUTH_FLOW_INVALID");
    scene.exchange(Proof::ProviderCode(code)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_dies_after_ten_minutes() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let (late, later) = (scene.code("google").await.unwrap(), scene.code("google").await.unwrap());
    scene.server.later(Duration::from_secs(599)).await;
    scene.exchange(Proof::ProviderCode(late)).await.unwrap();
    scene.server.later(Duration::from_secs(1)).await;
    refused(scene.exchange(Proof::ProviderCode(later)).await, "OAUTH_FLOW_INVALID");
    assert_eq!(scene.stage("google").exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_state_of_ours_is_refused() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let code = scene.code("google").await.unwrap();
    for state in
        ["", "x", "A".repeat(44).as_str(), &format!("{}=", code.state), &code.state[1..], &"\u{ac00}".repeat(9)]
    {
        let wrong = pb::ProviderCode { state: state.to_owned(), ..code.clone() };
        refused(scene.exchange(Proof::ProviderCode(wrong)).await, "OAUTH_FLOW_INVALID");
    }
    for (code, error) in [("", ""), ("code", "access_denied")] {
        let wrong = pb::ProviderCode { code: code.to_owned(), error: error.to_owned(), ..Default::default() };
        refused(scene.exchange(Proof::ProviderCode(wrong)).await, "INVALID_FIELD");
    }
}

/// Row 100: nothing of a flow is ever the same twice.
#[tokio::test(flavor = "multi_thread")]
async fn every_flow_has_secrets_of_its_own() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let started = scene.start("google").await.unwrap();
        let url: url::Url = started.authorization_url.parse().unwrap();
        let query: std::collections::BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((query["code_challenge_method"].as_str(), query["response_type"].as_str()), ("S256", "code"));
        assert_eq!(query["nonce"], started.nonce);
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(started.nonce.len() == 64 && started.nonce.bytes().all(is_hex), "{}", started.nonce);
        for value in ["state", "nonce", "code_challenge"].map(|name| query[name].clone()) {
            assert!(value.len() >= 43 && seen.insert(value));
        }
        assert!(seen.insert(started.flow_secret) && seen.insert(started.flow_id));
    }
}

/// Rows 107 and 132.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_allowed_is_passed_on() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let request = |return_url: &str, parameters: &[(&str, &str)]| pb::OAuthStartRequest {
        provider: "google".to_owned(),
        return_url: return_url.to_owned(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    for url in [
        "https://app.example.com/signed-in/",
        "https://app.example.com/signed-in?x",
        "https://app.example.com",
        "https://evil.example/signed-in",
        "https://app.example.com@evil.example/signed-in",
        "//app.example.com/signed-in",
        "HTTPS://app.example.com/signed-in",
        "https://app.example.com/signed-in#x",
        "https://app.example.com/%73igned-in",
    ] {
        let status = refused(scene.start_with(request(url, &[])).await, "INVALID_FIELD");
        assert!(status.message().starts_with("return_url"), "{}", status.message());
    }
    for name in
        ["redirect_uri", "scope", "state", "client_id", "nonce", "code_challenge", "response_type", "Login_Hint"]
    {
        let status = refused(scene.start_with(request(APP, &[(name, "evil")])).await, "INVALID_FIELD");
        assert!(status.message().contains("takes only: login_hint"), "{}", status.message());
    }
    let hint = "a&redirect_uri=https://evil.example#";
    let started = scene.start_with(request(APP, &[("login_hint", hint)])).await.unwrap();
    let url: url::Url = started.authorization_url.parse().unwrap();
    let all = |name: &str| {
        url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all("login_hint"), [hint]);
    assert_eq!(all("redirect_uri"), ["https://auth.example.com/callback/google"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_is_told_so() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let stage = scene.stage(id);
        stage.fake.script(Script { consent: Consent::Cancelled, ..Script::of(Person::new("1")) });
        let request =
            pb::OAuthStartRequest { provider: id.to_owned(), return_url: APP.to_owned(), ..Default::default() };
        let started = scene.start_with(request).await.unwrap();
        let code = returned(id, &stage.sent(&started.authorization_url), &started.flow_secret);
        // Only who began is told anything.
        let stranger = pb::ProviderCode { flow_secret: "x".to_owned(), ..code.clone() };
        refused(scene.exchange(Proof::ProviderCode(stranger)).await, "OAUTH_FLOW_INVALID");
        let status = refused(scene.exchange(Proof::ProviderCode(code.clone())).await, "OAUTH_CANCELLED");
        assert_eq!(metadata(&status, "returnUrl"), APP, "{id}");
        refused(scene.exchange(Proof::ProviderCode(code)).await, "OAUTH_FLOW_INVALID");
        assert_eq!(stage.exchanges(), 0);
    }
    for (error, expected) in [
        ("temporarily_unavailable", "OAUTH_PROVIDER_UNAVAILABLE"),
        ("server_error", "OAUTH_PROVIDER_UNAVAILABLE"),
        ("invalid_scope", "OAUTH_REJECTED"),
        ("<script>", "OAUTH_REJECTED"),
    ] {
        let code = scene.code("google").await.unwrap();
        let failed = pb::ProviderCode { code: String::new(), error: error.to_owned(), ..code };
        let status = refused(scene.exchange(Proof::ProviderCode(failed)).await, expected);
        assert!(!status.message().contains(error), "{}", status.message());
    }
    assert_eq!(scene.users().await, 1);
}
