use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_rig::fuzz::fuzz;
use postern_rig::providers::{Asked, Fake, Key, Kind, Reply, Script, Signing};
use serde_json::json;

use super::*;
use crate::oauth::Absence;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OLD_SHOP: &str = "old-shop";

fn settings() -> Settings {
    Settings {
        name: "old-shop".parse().unwrap(),
        issuer: Some(OLD_SHOP.to_owned()),
        keys: Keys::Shared(SECRET.into()),
        audience: Some("shop".to_owned()),
        claim: "sub".to_owned(),
        person: PersonBy::ExternalId,
        clients: Vec::new(),
        max_age: Duration::from_hours(1),
        until: None,
        once: true,
    }
}

/// An issuer, and what time it is.
struct Scene {
    issuers: TrustedIssuers,
    clock: Clock,
}

impl Scene {
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let (mut settings, clock) = (settings(), Clock::default());
        change(&mut settings);
        Self { issuers: TrustedIssuers::new(vec![settings], &clock).unwrap(), clock }
    }

    fn new() -> Self {
        Self::with(|_| ())
    }

    fn now(&self) -> i64 {
        self.clock.now().secs()
    }

    fn claims(&self) -> Value {
        json!({ "iss": OLD_SHOP, "aud": "shop", "sub": "42", "iat": self.now(), "exp": self.now() + 600 })
    }

    async fn prove(&self, token: &str) -> Result<Voucher, ProviderFault> {
        let token = token.into();
        let (issuer, claimed) = self.issuers.whose(&token)?;
        issuer.prove(claimed).await
    }

    async fn says(&self, change: impl FnOnce(&mut Value)) -> Result<Voucher, ProviderFault> {
        let mut claims = self.claims();
        change(&mut claims);
        self.prove(&hs256(&claims.to_string())).await
    }
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Signed by whoever has this secret, whatever the header says.
fn signed(header: &str, claims: &str, secret: &str) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// As python-jose makes it.
fn hs256(claims: &str) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims, SECRET)
}

fn refusal(outcome: Result<Voucher, ProviderFault>) -> Rejection {
    match outcome {
        Err(ProviderFault::Rejected(why)) => why,
        Err(ProviderFault::Unavailable { why, .. }) => panic!("away: {}", why.name()),
        Ok(voucher) => panic!("taken for {}", voucher.person),
    }
}

#[tokio::test]
async fn what_it_says_of_a_person_is_taken_over() {
    let scene = Scene::new();
    let voucher = scene
        .says(|claims| {
            claims["amr"] = json!(["pwd", 7, "otp", "", "a b"]);
            claims["auth_time"] = json!(scene.now() - 50);
        })
        .await
        .unwrap();
    assert_eq!((voucher.person.as_str(), voucher.amr.as_slice()), ("42", &["pwd".to_owned(), "otp".to_owned()][..]));
    assert_eq!(voucher.auth_time.secs(), scene.now() - 50);
    assert!(voucher.over_at.secs() > scene.now() + 660);
    let plain = scene.says(|_| ()).await.unwrap();
    assert_eq!((plain.auth_time.secs(), plain.amr.len()), (scene.now(), 0));
    // Nobody proves anything in the future.
    let early = scene.says(|claims| claims["auth_time"] = json!(scene.now() + 500)).await.unwrap();
    assert!(early.auth_time <= scene.clock.now());
    let number = Scene::with(|settings| "user_id".clone_into(&mut settings.claim));
    let voucher = number.says(|claims| claims["user_id"] = json!(7)).await.unwrap();
    assert_eq!(voucher.person, "7");
    for no_name in [json!(""), json!(-1), json!(1.5), json!(null), json!(["7"]), json!("7".repeat(256))] {
        let told = refusal(number.says(|claims| claims["user_id"] = no_name).await);
        assert_eq!(told, Rejection::NoSubject);
    }
}

#[tokio::test]
async fn a_secret_proves_hs256_and_nothing_else() {
    let scene = Scene::new();
    let claims = scene.claims().to_string();
    for (header, why) in [
        (r#"{"alg":"HS384"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"RS256"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"ES256"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"EdDSA"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"none"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"hs256"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":["HS256"]}"#, Rejection::IdTokenAlgorithm),
        (r#"{"typ":"JWT"}"#, Rejection::IdTokenAlgorithm),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","crit":["exp"]}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","b64":false}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","zip":"DEF"}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","jwk":{"kty":"oct"}}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","jku":"https://evil.test"}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","kid":7}"#, Rejection::IdTokenMalformed),
        (r#"{"alg":"HS256","typ":"logout+jwt"}"#, Rejection::IdTokenMalformed),
    ] {
        assert_eq!(refusal(scene.prove(&signed(header, &claims, SECRET)).await), why, "{header}");
    }
    let good = hs256(&claims);
    scene.prove(&good).await.unwrap();
    let (text, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = text.split_once('.').unwrap();
    let other = json!({ "iss": OLD_SHOP, "aud": "shop", "sub": "1", "iat": scene.now(), "exp": scene.now() + 600 });
    for (token, why) in [
        (signed(r#"{"alg":"HS256"}"#, &claims, "another secret of thirty-two bytes"), Rejection::IdTokenSignature),
        (format!("{header}.{}.{signature}", part(&other.to_string())), Rejection::IdTokenSignature),
        (format!("{text}.{}", part("short")), Rejection::IdTokenSignature),
        (format!("{text}."), Rejection::IdTokenAlgorithm),
        (format!("{good}="), Rejection::IdTokenMalformed),
        (format!("{good}.{signature}.{signature}"), Rejection::IdTokenMalformed),
        (text.to_owned(), Rejection::IdTokenMalformed),
        (String::new(), Rejection::IdTokenMalformed),
        (format!("{text}.{}", "A".repeat(20_000)), Rejection::IdTokenMalformed),
    ] {
        assert_eq!(refusal(scene.prove(&token).await), why, "{token}");
    }
}

#[tokio::test]
async fn claims_are_held_against_what_they_must_say() {
    let scene = Scene::new();
    let now = scene.now();
    for (name, value, why) in [
        ("iss", json!("new-shop"), Rejection::IdTokenIssuer),
        ("iss", json!("old-shop/"), Rejection::IdTokenIssuer),
        ("iss", json!(null), Rejection::IdTokenMalformed),
        ("iss", json!(["old-shop"]), Rejection::IdTokenMalformed),
        ("aud", json!("other"), Rejection::IdTokenAudience),
        ("aud", json!(["other"]), Rejection::IdTokenAudience),
        ("aud", json!(["shop", 7]), Rejection::IdTokenAudience),
        ("aud", json!([]), Rejection::IdTokenAudience),
        ("aud", json!(null), Rejection::IdTokenAudience),
        ("exp", json!(now - 61), Rejection::IdTokenTime),
        ("exp", json!("never"), Rejection::IdTokenTime),
        ("exp", json!(null), Rejection::IdTokenTime),
        ("exp", json!(1e300), Rejection::IdTokenTime),
        ("nbf", json!(now + 120), Rejection::IdTokenTime),
        ("nbf", json!("soon"), Rejection::IdTokenTime),
        ("iat", json!(now + 120), Rejection::IdTokenTime),
        ("iat", json!(now - 3_700), Rejection::IdTokenTime),
        ("iat", json!("now"), Rejection::IdTokenTime),
        ("jti", json!(7), Rejection::IdTokenMalformed),
        ("jti", json!(""), Rejection::IdTokenMalformed),
        ("jti", json!("7".repeat(1_025)), Rejection::IdTokenMalformed),
        ("sub", json!(null), Rejection::NoSubject),
    ] {
        let shown = format!("{name}: {value}");
        assert_eq!(refusal(scene.says(|claims| claims[name] = value).await), why, "{shown}");
    }
    scene.says(|claims| claims["aud"] = json!(["other", "shop"])).await.unwrap();
    let claims = scene.claims().to_string();
    for twice in [r#""sub":"1""#, r#""iss":"old-shop""#, r#""x":{"a":1,"a":2}"#] {
        let doubled = claims.replacen('{', &format!("{{{twice},"), 1);
        assert_eq!(refusal(scene.prove(&hs256(&doubled)).await), Rejection::IdTokenMalformed, "{doubled}");
    }
    for no_object in ["[]", "null", "{}x", ""] {
        assert_eq!(refusal(scene.prove(&hs256(no_object)).await), Rejection::IdTokenMalformed, "{no_object}");
    }
}

/// The application of `FastAPI`'s tutorial writes `sub` and `exp`, and nothing else.
#[tokio::test]
async fn a_token_of_few_words_is_taken_if_it_ends_soon() {
    let scene = Scene::with(|settings| (settings.issuer, settings.audience) = (None, None));
    let now = scene.now();
    let few = |exp: i64| hs256(&json!({ "sub": "kim", "exp": exp }).to_string());
    let voucher = scene.prove(&few(now + 1_800)).await.unwrap();
    assert_eq!(voucher.person, "kim");
    assert!(voucher.auth_time.secs() <= now - 3_599, "as old as it may be");
    assert_eq!(refusal(scene.prove(&few(now + 3_700)).await), Rejection::IdTokenTime, "it may be years old");
    // Meant for somebody else.
    assert_eq!(refusal(scene.says(|_| ()).await), Rejection::IdTokenIssuer);
    let told = scene.says(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))).await;
    assert_eq!(refusal(told), Rejection::IdTokenAudience);
}

#[tokio::test]
async fn a_token_is_known_by_its_name_or_by_what_was_signed() {
    let scene = Scene::new();
    let named = |name: &'static str| scene.says(move |claims| claims["jti"] = json!(name));
    let (first, second) = (named("a").await.unwrap(), named("b").await.unwrap());
    assert_ne!(first.token, second.token);
    let changed = scene.says(|claims| (claims["jti"], claims["amr"]) = (json!("a"), json!(["otp"]))).await.unwrap();
    assert_eq!(first.token, changed.token, "one name is one token");
    let (plain, other) =
        (scene.says(|_| ()).await.unwrap(), scene.says(|claims| claims["x"] = json!(1)).await.unwrap());
    assert_ne!(plain.token, other.token);
}

#[tokio::test]
async fn an_address_counts_only_if_nobody_says_that_it_is_unproven() {
    let scene = Scene::with(|settings| {
        settings.person = PersonBy::Email;
        "email".clone_into(&mut settings.claim);
    });
    let says = |verified: Option<Value>| {
        scene.says(move |claims| {
            claims["email"] = json!("kim@example.com");
            if let Some(verified) = verified {
                claims["email_verified"] = verified;
            }
        })
    };
    assert_eq!(says(None).await.unwrap().person, "kim@example.com");
    assert_eq!(says(Some(json!(true))).await.unwrap().person, "kim@example.com");
    for unproven in [json!(false), json!("true"), json!(1), json!(null)] {
        assert_eq!(refusal(says(Some(unproven)).await), Rejection::NoSubject);
    }
}

#[test]
fn what_cannot_be_believed_does_not_start() {
    let wrong = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        TrustedIssuers::new(vec![settings], &Clock::default()).err().unwrap().to_string()
    };
    insta::assert_snapshot!(wrong(|settings| settings.keys = Keys::Shared("too short".into())), @"trusted_issuers `old-shop`: its secret has less than 32 bytes and can be guessed");
    insta::assert_snapshot!(wrong(|settings| settings.keys = published("http://127.0.0.1:1/keys", false)), @"trusted_issuers `old-shop`: jwks_uri: an address that must not be asked");
    insta::assert_snapshot!(wrong(|settings| {
        settings.keys = published("https://sso.example.com/keys", false);
        settings.audience = None;
    }), @"trusted_issuers `old-shop`: issuer and audience are needed with jwks_uri");
}

fn published(uri: &str, private_network: bool) -> Keys {
    let algorithms = vec!["RS256".to_owned(), "ES256".to_owned()];
    Keys::Published { uri: uri.to_owned(), algorithms, private_network, ca: None }
}

/// An issuer that publishes its keys, as Keycloak does.
fn keycloak() -> (Fake, Scene) {
    let fake = Fake::start(Kind::Oidc);
    let scene = Scene::with(|settings| {
        settings.issuer = Some(fake.base_url());
        settings.keys = published(&fake.url("/jwks"), true);
    });
    (fake, scene)
}

fn token_of(fake: &Fake, script: &Script) -> String {
    let asked = Asked {
        redirect_uri: String::new(),
        state: None,
        nonce: None,
        challenge: None,
        scope: String::new(),
        is_oidc: true,
    };
    let mut script = script.clone();
    script.claims.push(("aud".to_owned(), Some(json!("shop"))));
    fake.id_token(&script, &asked)
}

#[tokio::test]
async fn published_keys_prove_no_mac() {
    let (fake, scene) = keycloak();
    let with = |signing: Signing| token_of(&fake, &Script { signing, ..Script::default() });
    assert!(!scene.prove(&with(Signing::Usual)).await.unwrap().person.is_empty());
    for (signing, why) in [
        (Signing::PublicKeyAsSecret, Rejection::IdTokenAlgorithm),
        (Signing::ClientSecret, Rejection::IdTokenAlgorithm),
        (Signing::None, Rejection::IdTokenAlgorithm),
        (Signing::Forged, Rejection::IdTokenSignature),
        (Signing::Stale, Rejection::IdTokenSignature),
        (Signing::Kid(Some("made up".to_owned())), Rejection::IdTokenKey),
        (Signing::Key(Key::C), Rejection::IdTokenKey),
    ] {
        let shown = format!("{signing:?}");
        assert_eq!(refusal(scene.prove(&with(signing)).await), why, "{shown}");
    }
    let untimed = Script { claims: vec![("iat".to_owned(), None)], ..Script::default() };
    assert_eq!(refusal(scene.prove(&token_of(&fake, &untimed)).await), Rejection::IdTokenTime);
    let by_address = |verified: Value| Script {
        claims: vec![
            ("email".to_owned(), Some(json!("kim@example.com"))),
            ("email_verified".to_owned(), Some(verified)),
        ],
        ..Script::default()
    };
    let scene = Scene::with(|settings| {
        settings.issuer = Some(fake.base_url());
        settings.keys = published(&fake.url("/jwks"), true);
        (settings.claim, settings.person) = ("email".to_owned(), PersonBy::Email);
    });
    let proven = scene.prove(&token_of(&fake, &by_address(json!(true)))).await.unwrap();
    assert_eq!(proven.person, "kim@example.com");
    for unproven in [json!(false), json!("true"), Value::Null] {
        assert_eq!(refusal(scene.prove(&token_of(&fake, &by_address(unproven))).await), Rejection::NoSubject);
    }
}

#[tokio::test]
async fn an_issuer_whose_keys_are_away_is_no_forger() {
    let (fake, scene) = keycloak();
    fake.reply("/jwks", Reply::Json(503, json!({})));
    let outcome = scene.prove(&token_of(&fake, &Script::default())).await;
    assert!(matches!(outcome, Err(ProviderFault::Unavailable { why: Absence::ServerError | Absence::Keys, .. })));
}

#[test]
fn hostile_bytes() {
    let scene = Scene::new();
    let token = hs256(&scene.claims().to_string());
    let claims = scene.claims().to_string();
    let one = scene.issuers.all.first().unwrap();
    fuzz("trusted_issuer", &[token.as_bytes(), claims.as_bytes()], |input| {
        let text = SecretString::from(String::from_utf8_lossy(input).into_owned());
        drop(scene.issuers.whose(&text));
        if let Ok(claims) = super::claims(input)
            && let Ok(voucher) = one.judge(&claims, "")
        {
            assert!(!voucher.person.is_empty());
        }
    });
}
