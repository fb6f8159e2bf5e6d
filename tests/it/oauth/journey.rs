//! The way that most go, by every face of every provider; and what of it is left behind.

use std::collections::BTreeSet;

use postern::proto::auth::v1 as pb;
use postern_rig::providers::Person;

use super::{Proof, Scene, Stage, returned};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_comes_back_signed_in_by_every_provider() {
    let scene = Scene::with(Stage::all(), |config| {
        config.accounts.roles = vec!["postern.backend".parse().unwrap()];
    })
    .await;
    let mut users = BTreeSet::new();
    for stage in &scene.stages {
        stage.person(Person::new("1376016924429759228").with_email(None, false));
        let first = scene.sign_in(stage.id).await.unwrap();
        assert!(first.user_created, "{}", stage.id);
        let tokens = first.tokens.unwrap();
        let verified = scene.server.may(&tokens.access_token, "postern:auth:verify", "").await;
        // Not the audience of `dev`: this one asks as the client whose token it is.
        assert_ne!(verified.decision(), pb::Decision::Allow);
        let check = pb::Check { permission: "postern:auth:verify".to_owned(), tenant: String::new() };
        let ask = pb::VerifyRequest {
            access_token: tokens.access_token.clone(),
            audience: "shop".to_owned(),
            require: vec![check],
            ..Default::default()
        };
        let verified = scene.server.verify_with(ask).await.unwrap();
        assert_eq!(verified.decision(), pb::Decision::Allow, "{}: the default role", stage.id);
        assert_eq!(verified.principal.unwrap().amr, ["fed"]);

        let again = scene.sign_in(stage.id).await.unwrap();
        assert!(!again.user_created);
        assert_eq!(again.principal.unwrap().id, first.principal.as_ref().unwrap().id, "{}", stage.id);
        // The same number at another provider is somebody else (row 117).
        assert!(users.insert(first.principal.unwrap().id), "{}", stage.id);

        let list = pb::ListSessionsRequest { access_token: tokens.access_token.clone(), ..Default::default() };
        let sessions = scene.server.client().list_sessions(super::by(&scene.secret, list)).await.unwrap().into_inner();
        let methods: BTreeSet<_> = sessions.sessions.iter().map(|session| session.method.as_str()).collect();
        assert_eq!((sessions.sessions.len(), methods), (2, BTreeSet::from([stage.id])));
        let identities = scene.identities(&tokens.access_token).await;
        assert_eq!((identities.len(), identities[0].provider.as_str()), (1, stage.id));
        assert!(identities[0].last_sign_in_time.is_some());

        let next = pb::RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
        scene.server.client().refresh(super::by(&scene.secret, next)).await.unwrap();
        assert_eq!(stage.exchanges(), 2, "each code is traded in once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_is_told_what_the_provider_said() {
    let scene = Scene::of(vec![Stage::google()]).await;
    let person = Person::new("42").with_email(Some("Minji@gmail.com"), true);
    scene.stage("google").person(person.clone());
    let profile = scene.arrive("google").await.unwrap().profile.unwrap();
    let expected = pb::ProviderProfile {
        provider: "google".into(),
        subject: "42".into(),
        email: "Minji@gmail.com".into(),
        email_verified: true,
        display_name: person.name,
        avatar_url: person.picture,
    };
    assert_eq!(profile, expected);
    let request = super::by(&scene.secret, pb::ListProvidersRequest {});
    let providers = scene.server.client().list_providers(request).await.unwrap().into_inner().providers;
    assert_eq!((providers[0].id.as_str(), providers[0].display_name.as_str()), ("google", "Google"));
    assert_eq!((providers[0].kind.as_str(), providers[0].available), ("google", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_app_brings_an_id_token() {
    use postern_rig::providers::{Asked, Script};
    let scene = Scene::of(Stage::all()).await;
    for (before, id) in ["google", "kakao", "keycloak"].into_iter().enumerate() {
        let stage = scene.stage(id);
        let script = Script {
            claims: vec![("aud".to_owned(), Some("native-app".into())), ("azp".to_owned(), None)],
            ..Script::of(Person::new("77").with_email(None, false))
        };
        let started = scene.start(id).await.unwrap();
        let asked = Asked { nonce: Some(started.nonce.clone()), ..Asked::default() };
        let proof = |flow_secret: &str, id_token: String| {
            Proof::ProviderIdToken(pb::ProviderIdToken {
                flow_id: started.flow_id.clone(),
                flow_secret: flow_secret.to_owned(),
                id_token,
            })
        };
        let good = stage.fake.id_token(&script, &asked);
        super::refused(scene.exchange(proof("stolen", good.clone())).await, "OAUTH_FLOW_INVALID");
        let answer = scene.exchange(proof(&started.flow_secret, good.clone())).await.unwrap();
        assert!(matches!(answer.outcome, Some(pb::o_auth_exchange_response::Outcome::SignIn(_))), "{id}");
        // Spent, with its nonce.
        super::refused(scene.exchange(proof(&started.flow_secret, good)).await, "OAUTH_FLOW_INVALID");

        for (what, nonce, audience) in [("nonce", "0".repeat(64), "native-app"), ("aud", String::new(), "other-app")] {
            let started = scene.start(id).await.unwrap();
            let nonce = if nonce.is_empty() { started.nonce } else { nonce };
            let script = Script { claims: vec![("aud".to_owned(), Some(audience.into()))], ..script.clone() };
            let id_token = stage.fake.id_token(&script, &Asked { nonce: Some(nonce), ..Asked::default() });
            let flow = pb::ProviderIdToken { flow_id: started.flow_id, flow_secret: started.flow_secret, id_token };
            let answer = scene.exchange(Proof::ProviderIdToken(flow)).await;
            super::refused(answer, "OAUTH_REJECTED");
            // The administrator, and one by each provider so far.
            assert_eq!(scene.users().await, 1 + before + 1, "{id} {what}");
        }
    }
    let started = scene.start("github").await.unwrap();
    let pb::OAuthStartResponse { flow_id, flow_secret, .. } = started;
    let flow = pb::ProviderIdToken { flow_id, flow_secret, id_token: "a.b.c".to_owned() };
    super::refused(scene.exchange(Proof::ProviderIdToken(flow)).await, "OAUTH_REJECTED");
}

/// Row 129: what a provider gave us is not kept, sealed or not, and what we sealed does not show.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_provider_gave_is_kept() {
    let scene = Scene::of(vec![Stage::new(super::FACES[3])]).await;
    let started = scene.start("naver").await.unwrap();
    let callback = scene.stage("naver").sent(&started.authorization_url);
    let code = returned("naver", &callback, &started.flow_secret);
    let secrets = [code.code.clone(), code.state.clone(), started.flow_secret.clone(), started.nonce.clone()];
    let before = dump(&scene).await;
    scene.exchange(Proof::ProviderCode(code)).await.unwrap();
    let after = dump(&scene).await;
    let tokens: Vec<String> = scene
        .stage("naver")
        .fake
        .requests("")
        .iter()
        .map(|asked| asked.header("authorization").replace("Bearer ", ""))
        .filter(|token| !token.is_empty())
        .collect();
    assert!(!tokens.is_empty(), "the profile was asked for with a token");
    for secret in secrets.iter().chain(&tokens) {
        for dump in [&before, &after] {
            assert!(!dump.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}

/// Everything that is on disk, or in the tables of the server.
async fn dump(scene: &Scene) -> Vec<u8> {
    let tables = scene.server.home().tables().await.into_iter().flat_map(|(_, bytes)| bytes);
    let expiring = scene.server.database().await.expiring().await.into_iter().flat_map(|(_, bytes)| bytes);
    let files = crate::support::files_below(&scene.server.data_dir());
    let files = files.into_iter().flat_map(|path| std::fs::read(path).unwrap_or_default());
    tables.chain(expiring).chain(files).collect()
}
