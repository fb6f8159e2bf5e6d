//! Id_tokens that should open nothing, and notices that should end nothing.

use postern_rig::providers::{Key, Signing, kakao_notice, naver_notice};
use serde_json::{Value, json};

use super::*;

fn claim(name: &str, value: Value) -> Script {
    let value = if value.is_null() { None } else { Some(value) };
    Script { claims: vec![(name.to_owned(), value)], ..Script::default() }
}

fn header(name: &str, value: Value) -> Script {
    Script { header: vec![(name.to_owned(), Some(value))], ..Script::default() }
}

/// Rows 102 and 103.
#[tokio::test]
async fn every_attack_on_a_token() {
    let now = Clock::default().now().secs();
    for kind in OPENID {
        let scene = Scene::new(kind, true);
        let signed = |signing: Signing| Script { signing, ..Script::default() };
        let cases = vec![
            (signed(Signing::None), Rejection::IdTokenAlgorithm),
            (signed(Signing::PublicKeyAsSecret), Rejection::IdTokenAlgorithm),
            (signed(Signing::ClientSecret), Rejection::IdTokenAlgorithm),
            (signed(Signing::Forged), Rejection::IdTokenSignature),
            (signed(Signing::Stale), Rejection::IdTokenSignature),
            (signed(Signing::Kid(Some("another".to_owned()))), Rejection::IdTokenKey),
            (header("alg", json!("ES256")), Rejection::IdTokenAlgorithm),
            (header("alg", json!("RS512")), Rejection::IdTokenAlgorithm),
            (header("crit", json!(["exp"])), Rejection::IdTokenMalformed),
            (header("b64", json!(false)), Rejection::IdTokenMalformed),
            (header("zip", json!("DEF")), Rejection::IdTokenMalformed),
            (header("jwk", Key::A.jwk()), Rejection::IdTokenMalformed),
            (header("jku", json!("https://evil.test/jwks")), Rejection::IdTokenMalformed),
            (header("x5u", json!("https://evil.test/x5u")), Rejection::IdTokenMalformed),
            (header("typ", json!("logout+jwt")), Rejection::IdTokenMalformed),
            (header("typ", json!("at+jwt")), Rejection::IdTokenMalformed),
            (claim("iss", json!("https://evil.test")), Rejection::IdTokenIssuer),
            (claim("iss", json!(format!("{}/", scene.fake.base_url()))), Rejection::IdTokenIssuer),
            (claim("iss", Value::Null), Rejection::IdTokenIssuer),
            (claim("aud", json!("another")), Rejection::IdTokenAudience),
            (claim("aud", json!(["another"])), Rejection::IdTokenAudience),
            (claim("aud", json!([CLIENT_ID, 7])), Rejection::IdTokenAudience),
            (claim("aud", json!("native-app")), Rejection::IdTokenAudience),
            (claim("aud", Value::Null), Rejection::IdTokenAudience),
            (claim("azp", json!("another")), Rejection::IdTokenAudience),
            (claim("azp", json!(7)), Rejection::IdTokenAudience),
            (claim("exp", json!(now - 120)), Rejection::IdTokenTime),
            (claim("exp", json!((now + 600).to_string())), Rejection::IdTokenTime),
            (claim("exp", Value::Null), Rejection::IdTokenTime),
            (claim("iat", json!(now + 120)), Rejection::IdTokenTime),
            (claim("iat", json!(now - 3_600)), Rejection::IdTokenTime),
            (claim("iat", Value::Null), Rejection::IdTokenTime),
            (claim("nbf", json!(now + 120)), Rejection::IdTokenTime),
            (claim("nonce", json!("another")), Rejection::IdTokenNonce),
            (claim("nonce", json!(NONCE[1..])), Rejection::IdTokenNonce),
            (claim("nonce", json!(NONCE.to_uppercase())), Rejection::IdTokenNonce),
            (claim("nonce", Value::Null), Rejection::IdTokenNonce),
            (claim("sub", json!("")), Rejection::NoSubject),
            (claim("sub", json!(7)), Rejection::NoSubject),
            (claim("sub", Value::Null), Rejection::NoSubject),
        ];
        for (script, why) in cases {
            let shown = format!("{kind:?} {:?} {:?} {:?}", script.signing, script.header, script.claims);
            assert_eq!(rejection(scene.sign_in(script).await), Some(why), "{shown}");
        }
        for harmless in [
            Script::default(),
            header("x5t", json!("whatever")),
            header("x5c", json!(["whatever"])),
            claim("aud", json!([CLIENT_ID])),
            claim("exp", json!(now - 30)),
            claim("iat", json!(now + 30)),
            claim("exp", json!(f64::from(u32::MAX) + 0.5)),
            signed(Signing::Kid(None)),
        ] {
            scene.sign_in(harmless).await.unwrap();
        }
        let several = Script {
            claims: vec![("aud".to_owned(), Some(json!([CLIENT_ID, "another"]))), ("azp".to_owned(), None)],
            ..Script::default()
        };
        assert_eq!(rejection(scene.sign_in(several).await), Some(Rejection::IdTokenAudience));
    }
}

#[tokio::test]
async fn two_keys_and_no_name() {
    let scene = Scene::new(Kind::Oidc, true);
    scene.fake.publish(&[Key::A, Key::B]);
    let nameless = Script { signing: Signing::Kid(None), ..Script::default() };
    assert_eq!(rejection(scene.sign_in(nameless).await), Some(Rejection::IdTokenKey));
}

#[tokio::test]
async fn the_profile_is_of_the_same_person() {
    let profile = vec![("sub".to_owned(), Some(json!("8")))];
    for kind in [Kind::Google, Kind::Kakao, Kind::Oidc] {
        // Asked for since the id_token leaves the address out.
        let script = Script { profile: profile.clone(), ..claim("email", Value::Null) };
        assert_eq!(
            rejection(Scene::new(kind, true).sign_in(script).await),
            Some(Rejection::SubjectMismatch),
            "{kind:?}"
        );
    }
    let found = Scene::new(Kind::Naver, true).sign_in(claim("sub", json!("another"))).await.unwrap();
    assert_eq!(found.key.subject.as_str(), "1376016924429759228", "the profile's, on both surfaces");
}

#[test]
fn notices_of_kakao_show_the_admin_key() {
    let scene = Scene::new(Kind::Kakao, true);
    let now = scene.clock.now();
    let unlinked = |authorization: &str, parameters: &BTreeMap<String, String>| {
        let authorization = authorization.into();
        scene.provider().unlinked(&Notice { authorization: &authorization, parameters }, now)
    };
    let (header, parameters) = kakao_notice(ADMIN_KEY, "123456789");
    let found = unlinked(&header, &parameters).unwrap();
    assert_eq!((found.subject.as_str(), found.at, found.http_status), ("123456789", None, 200));
    for header in ["", "KakaoAK ", "KakaoAK another", ADMIN_KEY, &format!("Bearer {ADMIN_KEY}"), &format!("{header} ")]
    {
        assert!(unlinked(header, &parameters).is_err(), "{header}");
    }
    for id in ["", "abc", "-1", "1.5", "007"] {
        assert!(unlinked(&header, &kakao_notice(ADMIN_KEY, id).1).is_err(), "{id}");
    }
    assert!(unlinked(&header, &BTreeMap::new()).is_err());
    let keyless = Scene::with(Kind::Kakao, true, |settings| settings.admin_key = None);
    let authorization = "KakaoAK ".into();
    let notice = Notice { authorization: &authorization, parameters: &parameters };
    assert!(keyless.provider().unlinked(&notice, now).is_err());
    for kind in [Kind::Google, Kind::GitHub, Kind::Oidc] {
        assert!(Scene::new(kind, kind != Kind::GitHub).provider().unlinked(&notice, now).is_err());
    }
}

#[test]
fn notices_of_naver_are_signed() {
    let scene = Scene::new(Kind::Naver, true);
    let now = scene.clock.now();
    let authorization = "".into();
    let unlinked = |parameters: &BTreeMap<String, String>| {
        scene.provider().unlinked(&Notice { authorization: &authorization, parameters }, now)
    };
    let good = naver_notice(CLIENT_ID, CLIENT_SECRET, "a+/b=", now.secs());
    let found = unlinked(&good).unwrap();
    assert_eq!((found.subject.as_str(), found.at, found.http_status), ("a+/b=", Some(now.floor_to_second()), 204));
    let standard: BTreeMap<String, String> = good.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    assert!(unlinked(&standard).is_ok(), "what came before comes again as it is: its time tells");
    for secs in [now.secs() - 601, now.secs() + 601, 0, -1] {
        assert!(unlinked(&naver_notice(CLIENT_ID, CLIENT_SECRET, "a", secs)).is_err(), "{secs}");
    }
    assert!(unlinked(&naver_notice("another", CLIENT_SECRET, "a", now.secs())).is_err());
    assert!(unlinked(&naver_notice(CLIENT_ID, "another", "a", now.secs())).is_err());
    assert!(unlinked(&naver_notice(CLIENT_ID, CLIENT_SECRET, "", now.secs())).is_err());
    for name in ["clientId", "encryptUniqueId", "timestamp", "signature"] {
        let mut bad = good.clone();
        bad.remove(name);
        assert!(unlinked(&bad).is_err(), "without {name}");
        for text in ["", "AAAA", "!", "9999999999", "한"] {
            bad.insert(name.to_owned(), text.to_owned());
            assert!(unlinked(&bad).is_err(), "{name} = {text}");
        }
    }
}
