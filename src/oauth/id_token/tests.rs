use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_rig::fuzz::fuzz;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn demand() -> Demand<'static> {
    Demand {
        issuers: &["https://accounts.google.com", "accounts.google.com"],
        audiences: &["us"],
        parties: &["us"],
        nonce: "n",
        now: NOW,
    }
}

fn judged(claims: &Value) -> Result<Claims, Rejection> {
    judge(claims.to_string().as_bytes(), &demand())
}

#[test]
fn both_spellings_of_google_count() {
    for issuer in ["https://accounts.google.com", "accounts.google.com"] {
        let claims =
            json!({ "iss": issuer, "aud": "us", "sub": "1", "nonce": "n", "exp": 1_000_060, "iat": 1_000_000 });
        assert!(judged(&claims).is_ok());
    }
    for issuer in ["http://accounts.google.com", "https://accounts.google.com/", "accounts.google.com.evil.test"] {
        let claims =
            json!({ "iss": issuer, "aud": "us", "sub": "1", "nonce": "n", "exp": 1_000_060, "iat": 1_000_000 });
        assert_eq!(judged(&claims).err(), Some(Rejection::IdTokenIssuer));
    }
}

#[test]
fn a_member_twice_is_no_claim() {
    let twice = r#"{"iss":"accounts.google.com","iss":"accounts.google.com","aud":"us"}"#;
    assert_eq!(judge(twice.as_bytes(), &demand()).err(), Some(Rejection::IdTokenMalformed));
    let empty = Demand { nonce: "", ..demand() };
    let claims = json!({ "iss": "accounts.google.com", "aud": "us", "sub": "1", "nonce": "", "exp": 1_000_060, "iat": 1_000_000 });
    assert_eq!(judge(claims.to_string().as_bytes(), &empty).err(), Some(Rejection::IdTokenNonce));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_nothing_panics(text in "\\PC{0,120}", number in proptest::num::f64::ANY, name in 0..8_usize) {
        drop(Unproven::parse(&text, &Algorithm::ALL));
        drop(Unproven::parse(&format!("{text}.{text}.{text}"), &Algorithm::ALL));
        let name = ["iss", "aud", "azp", "sub", "nonce", "exp", "iat", "auth_time"][name];
        let mut claims = json!({ "iss": "accounts.google.com", "aud": "us", "sub": "1", "nonce": "n", "exp": 1_000_060, "iat": 1_000_000 });
        for value in [json!(text), json!(number), json!([text]), json!({ "a": number })] {
            claims[name] = value;
            drop(judged(&claims));
        }
        drop(judge(text.as_bytes(), &demand()));
    }
}

#[test]
fn hostile_bytes() {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let header = part(r#"{"alg":"RS256","kid":"1","typ":"JWT"}"#);
    let claims = r#"{"iss":"https://accounts.google.com","aud":["us"],"azp":"us","sub":"1","nonce":"n","exp":1000060,"iat":1000000}"#;
    let token = format!("{header}.{}.{}", part(claims), part("signature"));
    let algorithms: Vec<Algorithm> = ["RS256", "ES256"].into_iter().filter_map(Algorithm::from_name).collect();
    fuzz("id_token", &[token.as_bytes(), claims.as_bytes()], |input| {
        if let Ok(text) = std::str::from_utf8(input) {
            drop(Unproven::parse(text, &algorithms));
        }
        if let Ok(claims) = judge(input, &demand()) {
            assert!(!claims.subject.as_str().is_empty());
        }
    });
}
