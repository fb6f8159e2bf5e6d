//! The way that most go, and what is made of who comes.

use postern_rig::providers::{Consent, Person, Request};
use serde_json::{Value, json};

use super::*;
use crate::domain::identity::EmailTrust;

#[tokio::test]
async fn everybody_gets_in_by_every_face() {
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        let profile = scene.journey().await.unwrap();
        assert_eq!(profile.key.subject.as_str(), "1376016924429759228", "{kind:?} {is_oidc}");
        assert_eq!(profile.key.provider.as_str(), "it");
        assert_eq!(profile.issuer, scene.fake.base_url());
        assert_eq!(profile.display_name, "김민지", "{kind:?} {is_oidc}");
        assert_eq!(profile.email.unwrap().as_given(), "minji1376016924429759228@example.com");
        let avatar = match kind {
            Kind::Kakao => "https://k.kakaocdn.net/1/",
            Kind::Naver => "",
            _ => "https://pictures.example/minji.jpg",
        };
        assert!(profile.avatar_url.starts_with(avatar) && profile.avatar_url.is_empty() == avatar.is_empty());
        assert_eq!(profile.auth_time.is_some(), kind == Kind::Kakao && is_oidc);
        assert_eq!(scene.exchanges(), 1);
        assert!(scene.provider().is_available());

        // Nothing that is secret stands in a URL, and nobody asks for what cannot be read.
        for Request { query, headers, .. } in scene.fake.requests("") {
            let is_secret = |value: &String| value.contains(CLIENT_SECRET) || value.contains(VERIFIER);
            assert!(!query.values().any(is_secret) && !headers.contains_key("accept-encoding"), "{kind:?}");
            assert!(headers["user-agent"].starts_with("postern/"));
        }
    }
}

#[tokio::test]
async fn what_is_asked_for() {
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        let authorization = scene.authorize().await.unwrap();
        let said = parameters(authorization.url.expose_secret());
        let names: Vec<&str> = said.keys().map(String::as_str).collect();
        let expected = match (kind, is_oidc) {
            (Kind::Google | Kind::Oidc, _) | (Kind::Naver, true) => vec![
                "client_id",
                "code_challenge",
                "code_challenge_method",
                "nonce",
                "redirect_uri",
                "response_type",
                "scope",
                "state",
            ],
            (Kind::Kakao, true) => vec![
                "client_id",
                "code_challenge",
                "code_challenge_method",
                "nonce",
                "redirect_uri",
                "response_type",
                "state",
            ],
            (Kind::Kakao, false) => {
                vec!["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "state"]
            }
            (Kind::Naver, false) => vec!["client_id", "redirect_uri", "response_type", "state"],
            (Kind::GitHub, _) => vec![
                "client_id",
                "code_challenge",
                "code_challenge_method",
                "redirect_uri",
                "response_type",
                "scope",
                "state",
            ],
        };
        assert_eq!(names, expected, "{kind:?} {is_oidc}");
        let scope = match kind {
            Kind::Google | Kind::Oidc => Some("openid email profile"),
            Kind::Naver if is_oidc => Some("openid"),
            Kind::GitHub => Some("read:user user:email"),
            Kind::Naver | Kind::Kakao => None,
        };
        assert_eq!(said.get("scope").map(String::as_str), scope);
        assert_eq!(authorization.issuer, scene.fake.base_url());
        assert!(!authorization.sends_issuer);
    }
}

#[tokio::test]
async fn a_parameter_stays_one_parameter() {
    let scene = Scene::with(Kind::Google, true, |settings| {
        settings.parameters = vec!["login_hint".to_owned(), "ui_locales".to_owned()];
        settings.hosted_domain = Some("example.com".to_owned());
        settings.form_post = true;
        settings.scopes = Some(vec!["openid".to_owned()]);
    });
    scene.fake.metadata(vec![("authorization_response_iss_parameter_supported".to_owned(), Some(true.into()))]);
    let hint = "a&redirect_uri=https://evil.test/#\r\n%00\"<>";
    let passed =
        BTreeMap::from([("login_hint".to_owned(), hint.to_owned()), ("ui_locales".to_owned(), "ko".to_owned())]);
    let state = STATE.into();
    let ask = Ask { state: &state, nonce: NONCE, code_challenge: CHALLENGE, parameters: &passed };
    let authorization = scene.provider().authorize(&ask).await.unwrap();
    let url = authorization.url.expose_secret();
    let said = parameters(url);
    assert_eq!((said["login_hint"].as_str(), said["redirect_uri"].as_str()), (hint, REDIRECT));
    assert_eq!((said["hd"].as_str(), said["response_mode"].as_str()), ("example.com", "form_post"));
    assert_eq!(said["scope"], "openid");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('#'));
    assert!(authorization.sends_issuer);
}

#[tokio::test]
async fn who_does_not_consent_is_sent_back_or_shown_a_page() {
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        let url = scene.authorize().await.unwrap().url;
        scene.fake.script(Script { consent: Consent::Cancelled, ..Script::default() });
        let Visit::Sent(callback) = scene.fake.visit(url.expose_secret()) else { panic!("not sent back") };
        let back = parameters(&callback);
        assert_eq!((back["error"].as_str(), back["state"].as_str()), ("access_denied", STATE));
        scene.fake.script(Script { consent: Consent::Page("KOE205"), ..Script::default() });
        assert_eq!(scene.fake.visit(url.expose_secret()), Visit::Page("KOE205".to_owned()));
        assert_eq!(scene.exchanges(), 0);
    }
}

/// Row 118: what of an address may be believed.
#[tokio::test]
async fn how_far_an_address_is_believed() {
    use EmailTrust::{Authoritative, None as Nothing, Verified};
    let person = |email: &str, verified| Person::new("7").with_email(Some(email), verified);
    let account = |valid: Value, verified: Value| {
        let mut account = json!({ "email": "a@example.com", "is_email_valid": valid, "is_email_verified": verified });
        account.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        vec![("kakao_account".to_owned(), Some(account))]
    };
    let claim = |name: &str, value: Value| vec![(name.to_owned(), Some(value))];
    let of = |person: Person| Script::of(person);
    let claims = |claims| Script { claims, ..of(person("a@example.com", true)) };
    let profile = |profile| Script { profile, ..of(person("a@example.com", true)) };
    let hosted = Person { hosted_domain: Some("example.com".to_owned()), ..person("a@example.com", true) };
    let cases = [
        (Kind::Google, true, of(person("a@gmail.com", true)), Authoritative),
        (Kind::Google, true, of(person("a@GoogleMail.com", true)), Authoritative),
        (Kind::Google, true, of(hosted), Authoritative),
        (Kind::Google, true, of(person("a@example.com", true)), Verified),
        (Kind::Google, true, of(person("a@gmail.com.evil.test", true)), Verified),
        (Kind::Google, true, of(person("a@gmail.com", false)), Nothing),
        (Kind::Google, true, claims(claim("email_verified", json!("true"))), Nothing),
        (Kind::Google, true, claims(claim("email_verified", json!(1))), Nothing),
        (Kind::Google, true, claims(vec![("email_verified".to_owned(), None)]), Nothing),
        (Kind::Oidc, true, of(person("a@example.com", true)), Authoritative),
        (Kind::Oidc, true, of(person("a@example.com", false)), Nothing),
        (Kind::Oidc, true, claims(claim("email_verified", json!("true"))), Nothing),
        (Kind::Oidc, true, claims(vec![("email_verified".to_owned(), None)]), Nothing),
        (Kind::Kakao, true, of(person("a@example.com", true)), Authoritative),
        (Kind::Kakao, true, of(person("a@example.com", false)), Nothing),
        (Kind::Kakao, true, profile(vec![("email_verified".to_owned(), None)]), Nothing),
        (Kind::Kakao, false, profile(account(json!(true), json!(true))), Authoritative),
        (Kind::Kakao, false, profile(account(json!(true), json!(false))), Nothing),
        (Kind::Kakao, false, profile(account(json!(false), json!(true))), Nothing),
        (Kind::Kakao, false, profile(account(json!(false), json!(false))), Nothing),
        (Kind::Kakao, false, profile(account(json!(null), json!(true))), Nothing),
        (Kind::Kakao, false, profile(account(json!(true), json!(null))), Nothing),
        (Kind::Kakao, false, profile(account(json!("true"), json!(true))), Nothing),
        (Kind::Naver, true, of(person("a@naver.com", true)), Authoritative),
        (Kind::Naver, false, of(person("A@Naver.COM", true)), Authoritative),
        (Kind::Naver, false, of(person("a@gmail.com", true)), Nothing),
        (Kind::Naver, false, of(person("a@naver.com.evil.test", true)), Nothing),
        (Kind::Naver, false, of(person("a@evilnaver.com", true)), Nothing),
        (Kind::GitHub, false, of(person("a@example.com", true)), Authoritative),
    ];
    for (kind, is_oidc, script, trust) in cases {
        let email = script.person.email.clone().unwrap();
        let found = Scene::new(kind, is_oidc).sign_in(script).await.unwrap();
        assert_eq!(found.email_trust, trust, "{kind:?} {is_oidc} {email}");
        assert!(found.email.is_some());
        // Nobody is believed beyond the domains that the operator names.
        let narrow = Scene::with(kind, is_oidc, |settings| settings.link_domains = vec!["other.example".to_owned()]);
        let found = narrow.sign_in(Script::of(person("a@naver.com", true))).await.unwrap();
        assert!(found.email_trust < Authoritative, "{kind:?}");
    }
    let wide = Scene::with(Kind::Oidc, true, |settings| settings.link_domains = vec!["Example.com".to_owned()]);
    let found = wide.sign_in(Script::of(person("a@EXAMPLE.com", true))).await.unwrap();
    assert_eq!(found.email_trust, Authoritative);
}

#[tokio::test]
async fn who_gives_no_address_comes_without() {
    for (kind, is_oidc) in FACES {
        let nobody = Person::new("7").with_email(None, false);
        let found = Scene::new(kind, is_oidc).sign_in(Script::of(nobody)).await.unwrap();
        assert_eq!((found.email, found.email_trust), (None, EmailTrust::None), "{kind:?}");
    }
    let github = |emails: Value| Script { profile: vec![("emails".to_owned(), Some(emails))], ..Script::default() };
    let entry = |email: &str, primary: Value, verified: Value| json!({ "email": email, "primary": primary, "verified": verified });
    for emails in [
        json!([entry("1+minji@users.noreply.github.com", json!(true), json!(true))]),
        json!([entry("a@example.com", json!(true), json!(false))]),
        json!([entry("a@example.com", json!(false), json!(true))]),
        json!([entry("a@example.com", json!("true"), json!(true))]),
        json!([entry("no address", json!(true), json!(true))]),
        json!([null, 7, []]),
    ] {
        let found = Scene::new(Kind::GitHub, false).sign_in(github(emails.clone())).await.unwrap();
        assert_eq!(found.email, None, "{emails}");
    }
}

/// Only the id is certain.
#[tokio::test]
async fn what_is_absent_is_absent() {
    let kakao =
        |account: Option<Value>| Script { profile: vec![("kakao_account".to_owned(), account)], ..Script::default() };
    for account in [
        None,
        Some(Value::Null),
        Some(json!([])),
        Some(json!({})),
        Some(json!({ "email_needs_agreement": true })),
        Some(json!({ "profile": null, "email": null })),
        Some(json!({ "profile": { "nickname": null, "profile_image_url": 7 }, "email": ["a@example.com"] })),
        Some(json!({ "profile": { "is_default_image": true, "profile_image_url": "http://k.kakaocdn.net/x" } })),
    ] {
        let found = Scene::new(Kind::Kakao, false).sign_in(kakao(account.clone())).await.unwrap();
        assert_eq!(
            (found.email, found.display_name, found.avatar_url),
            (None, String::new(), String::new()),
            "{account:?}"
        );
    }
    let naver =
        |response: Value| Script { profile: vec![("response".to_owned(), Some(response))], ..Script::default() };
    for (response, id) in [
        (json!({ "id": "a+/b=" }), "a+/b="),
        (json!({ "id": "32742776", "email": null }), "32742776"),
        (json!({ "id": 32_742_776 }), "32742776"),
    ] {
        for is_oidc in [false, true] {
            let found = Scene::new(Kind::Naver, is_oidc).sign_in(naver(response.clone())).await.unwrap();
            assert_eq!((found.key.subject.as_str(), found.email), (id, None), "{response}");
        }
    }
    let shown = Scene::new(Kind::Naver, false);
    let full =
        json!({ "id": "1", "nickname": "별명", "name": "김민지", "profile_image": "https://phinf.pstatic.net/a.jpg" });
    let found = shown.sign_in(naver(full)).await.unwrap();
    assert_eq!((found.display_name.as_str(), found.avatar_url.as_str()), ("별명", "https://phinf.pstatic.net/a.jpg"));
}

#[tokio::test]
async fn native_apps_bring_an_id_token() {
    let native = |aud: Value, azp: Option<&str>| Script {
        claims: vec![("aud".to_owned(), Some(aud)), ("azp".to_owned(), azp.map(Value::from))],
        ..Script::default()
    };
    for kind in [Kind::Google, Kind::Kakao, Kind::Oidc] {
        let scene = Scene::new(kind, true);
        let with = |script: &Script| -> SecretString { scene.fake.id_token(script, &scene.asked()).into() };
        let good = with(&native(json!("native-app"), None));
        let found = scene.provider().native(&good, NONCE, None).await.unwrap();
        assert_eq!(found.key.subject.as_str(), "1376016924429759228");
        assert_eq!(found.email_trust == EmailTrust::None, kind == Kind::Kakao, "{kind:?}");
        assert_eq!(rejection(scene.provider().native(&good, "another", None).await), Some(Rejection::IdTokenNonce));
        assert_eq!(rejection(scene.provider().native(&good, "", None).await), Some(Rejection::IdTokenNonce));
        for (aud, azp, why) in [
            (json!(CLIENT_ID), None, Some(Rejection::IdTokenAudience)),
            (json!("another"), None, Some(Rejection::IdTokenAudience)),
            (json!("native-app"), Some("another"), Some(Rejection::IdTokenAudience)),
            (json!(["native-app", "x"]), None, Some(Rejection::IdTokenAudience)),
            (json!(["native-app", "x"]), Some(CLIENT_ID), None),
            (json!("native-app"), Some("native-app"), None),
        ] {
            let token = with(&native(aud.clone(), azp));
            assert_eq!(rejection(scene.provider().native(&token, NONCE, None).await), why, "{kind:?} {aud} {azp:?}");
        }
        assert_eq!(
            rejection(scene.provider().native(&"x.y.z".into(), NONCE, None).await),
            Some(Rejection::IdTokenMalformed)
        );
        assert!(scene.fake.requests(scene.userinfo_path()).is_empty());
    }
    for (kind, is_oidc) in [(Kind::Naver, true), (Kind::Naver, false), (Kind::GitHub, false), (Kind::Kakao, false)] {
        let scene = Scene::new(kind, is_oidc);
        let token = "x.y.z".into();
        assert_eq!(
            rejection(scene.provider().native(&token, NONCE, None).await),
            Some(Rejection::NotNative),
            "{kind:?}"
        );
        assert!(scene.fake.requests("").is_empty());
    }
}

#[tokio::test]
async fn only_people_of_the_wanted_domain() {
    let scene = Scene::with(Kind::Google, true, |settings| settings.hosted_domain = Some("example.com".to_owned()));
    for (domain, gets_in) in
        [(Some("example.com"), true), (Some("Example.COM"), true), (Some("evil.test"), false), (None, false)]
    {
        let hosted_domain = domain.map(ToOwned::to_owned);
        let outcome = scene.sign_in(Script::of(Person { hosted_domain, ..Person::new("7") })).await;
        assert_eq!(rejection(outcome), (!gets_in).then_some(Rejection::HostedDomain), "{domain:?}");
    }
}
