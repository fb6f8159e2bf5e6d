//! Tokens that are not what they say, and genuine ones that nobody should have issued.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_rig::fuzz::fuzz;
use proptest::prelude::*;

use super::*;

#[test]
fn a_good_token_is_good() {
    let fixture = Fixture::new();
    assert!(fixture.accepts(&fixture.token()));
}

#[test]
fn any_flipped_bit_voids_a_token() {
    let fixture = Fixture::new();
    let token = fixture.token();
    // Also when the good one is in the cache.
    assert!(fixture.accepts(&token));
    for place in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            if let Ok(flipped) = String::from_utf8(bytes) {
                fixture.why(&flipped);
            }
        }
    }
}

#[test]
fn only_canonical_compact_serialization() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let json = format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#);
    let mut spellings = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{header}. {payload}.{signature}"),
        format!("{token}\0"),
        format!("Bearer {token}"),
        json,
    ];
    // The last character of the signature holds four bits that mean nothing: any of them set is another spelling.
    let (all_but_last, last) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=";
    spellings.extend(
        alphabet
            .chars()
            .filter(|letter| !last.starts_with(*letter))
            .map(|letter| format!("{header}.{payload}.{all_but_last}{letter}")),
    );
    for spelling in spellings {
        fixture.why(&spelling);
    }
    assert!(fixture.accepts(&token));
}

#[test]
fn the_algorithm_is_that_of_the_key() {
    let fixture = Fixture::new();
    let header = fixture.forge.header();
    for alg in ["none", "None", "noNE", "", "HS256", "RS256", "ES256", "ES384", "Ed25519", "eddsa", "EDDSA", "EdDSA "] {
        let header = header.clone().with("alg", format!("\"{alg}\""));
        let token = fixture.forge.forge(header.to_string(), fixture.claims().to_string());
        assert_eq!(fixture.why(&token), InvalidWhy::Algorithm, "{alg}");
    }
    for raw in ["[\"EdDSA\"]", "null", "1", "true", "{}"] {
        let token = fixture.forge.forge(header.clone().with("alg", raw).to_string(), fixture.claims().to_string());
        assert_eq!(fixture.why(&token), InvalidWhy::Header, "{raw}");
    }
    // The classic: an HMAC keyed with the public key.
    for secret in [fixture.forge.public().to_vec(), URL_SAFE_NO_PAD.encode(fixture.forge.public()).into_bytes()] {
        let header = header.clone().with("alg", "\"HS256\"").to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(fixture.claims().to_string()));
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        let tag = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        fixture.why(&format!("{signed}.{tag}"));
    }
}

#[test]
fn the_header_has_three_members_and_no_others() {
    let fixture = Fixture::new();
    let good = fixture.forge.header();
    let mut headers: Vec<String> = good.names().iter().map(|name| good.clone().without(name).to_string()).collect();
    headers.extend(good.names().into_iter().map(|name| good.clone().and_again(name, good.get(name)).to_string()));
    let public = URL_SAFE_NO_PAD.encode(fixture.forge.public());
    for (name, raw) in [
        ("crit", r#"["x"]"#),
        ("crit", "[]"),
        ("crit", r#"["b64"]"#),
        ("crit", "null"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", "\"DEF\""),
        ("enc", "\"A256GCM\""),
        ("p2c", "1000000000"),
        ("jku", "\"http://127.0.0.1:1/keys\""),
        ("x5u", "\"http://127.0.0.1:1/keys\""),
        ("x5c", r#"["MII"]"#),
        ("x5t", "\"a\""),
        ("cty", "\"JWT\""),
        ("jwk", &format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}"#)),
    ] {
        headers.push(good.clone().with(name, raw).to_string());
    }
    headers.push(format!(r#"["EdDSA","at+jwt","{}"]"#, fixture.forge.kid));
    headers.extend(["", "null", "[]", "{}", "\"EdDSA\""].map(ToOwned::to_owned));
    headers.push(format!("\u{feff}{good}"));
    headers.push(format!("{good}{good}"));
    headers.push(good.clone().with("typ", format!("\"at+jwt{}\"", " ".repeat(2_000))).to_string());
    for header in headers {
        fixture.why(&fixture.forge.forge(&header, fixture.claims().to_string()));
    }
    let respaced = good.to_string().replace(',', " ,\n ");
    assert!(fixture.accepts(&fixture.forge.forge(respaced, fixture.claims().to_string())), "signed as it is");
}

#[test]
fn only_access_tokens_by_type() {
    let fixture = Fixture::new();
    let token = |typ: &str| {
        let header = fixture.forge.header().with("typ", typ);
        fixture.forge.forge(header.to_string(), fixture.claims().to_string())
    };
    for typ in ["JWT", "", "at", "refresh+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "at+jwt ", "x/at+jwt"] {
        assert_eq!(fixture.why(&token(&format!("\"{typ}\""))), InvalidWhy::Type, "{typ}");
    }
    for raw in ["null", "1", "[\"at+jwt\"]"] {
        assert_eq!(fixture.why(&token(raw)), InvalidWhy::Header, "{raw}");
    }
    for typ in ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"] {
        assert!(fixture.accepts(&token(&format!("\"{typ}\""))), "{typ}");
    }
}

#[test]
fn the_key_id_is_an_opaque_name() {
    let fixture = Fixture::new();
    for kid in ["../../etc/passwd", "' OR 1=1 --", "k1\\u0000", "K1", "k1 ", "k", &"k".repeat(128)] {
        let header = fixture.forge.header().with("kid", format!("\"{kid}\""));
        let token = fixture.forge.forge(header.to_string(), fixture.claims().to_string());
        assert_eq!(fixture.why(&token), InvalidWhy::UnknownKey, "{kid}");
    }
    for raw in [format!("\"{}\"", "k".repeat(129)), "\"\"".to_owned(), "1".to_owned(), "null".to_owned()] {
        let header = fixture.forge.header().with("kid", &raw);
        let token = fixture.forge.forge(header.to_string(), fixture.claims().to_string());
        assert_eq!(fixture.why(&token), InvalidWhy::Header, "{raw}");
    }
    let impostor = Forge::new("k1", 2);
    assert_eq!(fixture.why(&impostor.token(&fixture.claims())), InvalidWhy::Signature);
}

#[test]
fn the_signature_comes_before_the_claims() {
    let fixture = Fixture::new();
    let impostor = Forge::new("k1", 2);
    let dead = fixture.claims().with("exp", 1).with("iss", "1");
    assert_eq!(fixture.why(&impostor.token(&dead)), InvalidWhy::Signature);
    assert_eq!(fixture.why(&impostor.forge(impostor.header().to_string(), b"\xff")), InvalidWhy::Signature);
}

#[test]
fn every_claim_is_needed_and_none_stands_twice() {
    let fixture = Fixture::new();
    let good = fixture.claims();
    for name in good.names() {
        let token = fixture.forge.token(&good.clone().without(name));
        assert_eq!(fixture.why(&token), InvalidWhy::Claims, "without {name}");
        let token = fixture.forge.token(&good.clone().and_again(name, good.get(name)));
        assert_eq!(fixture.why(&token), InvalidWhy::Claims, "{name} twice");
        let token = fixture.forge.token(&good.clone().with(name, "null"));
        assert_eq!(fixture.why(&token), InvalidWhy::Claims, "null {name}");
    }
    for (name, raw) in [
        ("roles", r#"{"":["viewer"],"":["admin"]}"#),
        ("roles", r#"{"acme":["viewer"],"\u0061cme":["admin"]}"#),
        ("more", r#"{"a":{"b":1,"b":2}}"#),
        ("more", r#"[{"b":1,"b":2}]"#),
    ] {
        assert_eq!(fixture.why(&fixture.forge.token(&good.clone().with(name, raw))), InvalidWhy::Claims, "{raw}");
    }
    let respelled = good.clone().and_again("\\u0073ub", good.get("sub"));
    assert_eq!(fixture.why(&fixture.forge.token(&respelled)), InvalidWhy::Claims);
}

#[test]
fn times_and_versions_are_integers_in_their_range() {
    let fixture = Fixture::new();
    for name in ["exp", "iat", "auth_time", "nbf", "ver"] {
        let now = NOW.secs();
        for raw in [
            "null",
            "true",
            "\"\"",
            "[]",
            "{}",
            "-1",
            "1e30",
            "1e9",
            "1767225600.0",
            "9223372036854775808",
            "18446744073709551616",
            &format!("\"{now}\""),
            &format!("[{now}]"),
        ] {
            let token = fixture.forge.token(&fixture.claims().with(name, raw));
            assert_eq!(fixture.why(&token), InvalidWhy::Claims, "{name} {raw}");
        }
        if name != "ver" {
            let token = fixture.forge.token(&fixture.claims().with(name, i64::MAX));
            assert_eq!(fixture.why(&token), InvalidWhy::Claims, "{name}");
        }
    }
}

#[test]
fn names_are_in_their_one_form() {
    let fixture = Fixture::new();
    let long = format!("\"{}\"", "a".repeat(257));
    let longer = format!("\"{}\"", "a".repeat(5 * 1_024));
    let upper = format!("\"{}\"", USER.to_uppercase());
    let bare = format!("\"{}\"", USER.replace('-', ""));
    let crowd = format!("[\"a\",{long}]");
    for (name, raw) in [
        ("sub", "\"\""),
        ("sub", "\"web\""),
        ("sub", &longer),
        ("sub", &upper),
        ("sub", &bare),
        ("sub", "1"),
        ("sid", "\"\""),
        ("sid", &upper),
        ("sid", "\"web\""),
        ("client_id", "\"\""),
        ("client_id", "\"Web\""),
        ("client_id", &long),
        ("client_id", &format!("\"{USER}\"")),
        ("jti", "\"\""),
        ("jti", &format!("\"{}\"", "a".repeat(129))),
        ("jti", "7"),
        ("aud", "[]"),
        ("aud", "\"\""),
        ("aud", "[\"orders\",\"\"]"),
        ("aud", "[\"orders\",1]"),
        ("aud", "[[\"orders\"]]"),
        ("aud", "1"),
        ("aud", "{\"orders\":1}"),
        ("aud", &crowd),
        ("amr", "\"pwd\""),
        ("amr", "[1]"),
        ("amr", "[\"\"]"),
        ("roles", "[]"),
        ("roles", "[\"viewer\"]"),
        ("roles", "\"viewer\""),
        ("roles", "{\"\":\"viewer\"}"),
        ("roles", "{\"\":[\"View er\"]}"),
        ("roles", "{\"\":[\"\"]}"),
        ("roles", "{\"\":[1]}"),
        ("roles", "{\"a b\":[\"viewer\"]}"),
        ("roles", "{\"\":{\"viewer\":1}}"),
        ("tenant", "\"\""),
        ("tenant", "null"),
        ("tenant", "\"a b\""),
        ("tenant", "1"),
        ("external_id", "null"),
        ("external_id", "\"\""),
        ("external_id", "7"),
        ("external_id", &long),
    ] {
        assert_eq!(
            fixture.why(&fixture.forge.token(&fixture.claims().with(name, raw))),
            InvalidWhy::Claims,
            "{name} {raw}"
        );
    }
    // A program's token, which does not exist.
    let program = fixture.claims().with("sub", "\"web\"").without("sid");
    assert_eq!(fixture.why(&fixture.forge.token(&program)), InvalidWhy::Claims);
}

#[test]
fn what_nobody_reads_is_only_well_formed() {
    let fixture = Fixture::new();
    let accepts = |raw: &str| fixture.accepts(&fixture.forge.token(&fixture.claims().with("more", raw)));
    for raw in ["null", "1.5", "{\"a\":[1,{\"b\":null}]}", "\"\\u00e9\"", "[]"] {
        assert!(accepts(raw), "{raw}");
    }
    for raw in ["", "01", "\"\\q\"", "{\"a\"}", "1e999"] {
        assert!(!accepts(raw), "{raw}");
    }
    assert!(!accepts(&format!("{}{}", "[".repeat(100), "]".repeat(100))));
}

#[test]
fn payloads_are_one_utf8_object() {
    let fixture = Fixture::new();
    let claims = fixture.claims().to_string();
    let utf16: Vec<u8> = claims.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut broken = claims.clone().into_bytes();
    broken[10] = 0xff;
    for payload in [
        utf16,
        broken,
        format!("\u{feff}{claims}").into_bytes(),
        format!("{claims}{claims}").into_bytes(),
        format!("[{claims}]").into_bytes(),
        format!("{claims}\0").into_bytes(),
        b"null".to_vec(),
        b"{}".to_vec(),
    ] {
        assert_eq!(fixture.why(&fixture.forge.forge(fixture.forge.header().to_string(), payload)), InvalidWhy::Claims);
    }
}

#[test]
fn size_is_bounded_before_anything_is_read() {
    let fixture = Fixture::new();
    let padded =
        |length: usize| fixture.forge.token(&fixture.claims().with("more", format!("\"{}\"", "a".repeat(length))));
    let mut length = 5_000;
    while padded(length).len() < token::TOKEN_BYTES_MAX {
        length += 1;
    }
    let (fits, too_long) = if padded(length).len() == token::TOKEN_BYTES_MAX {
        (padded(length), padded(length + 1))
    } else {
        (padded(length - 1), padded(length))
    };
    assert!(fixture.accepts(&fits));
    assert_eq!(fixture.why(&too_long), InvalidWhy::TooLong);
    assert_eq!(fixture.why(&"a".repeat(1 << 20)), InvalidWhy::TooLong);
    let crowd = "\"c\":1,".repeat(100_000);
    let crowd = fixture.forge.forge(fixture.forge.header().to_string(), format!("{{{crowd}\"z\":1}}"));
    assert_eq!(fixture.why(&crowd), InvalidWhy::TooLong);
}

#[test]
fn the_issuer_is_exactly_ours() {
    let fixture = Fixture::new();
    for iss in ["", "https://auth.example.com/", "https://AUTH.example.com", "http://auth.example.com", "https://other"]
    {
        let token = fixture.forge.token(&fixture.claims().with("iss", format!("\"{iss}\"")));
        assert_eq!(fixture.why(&token), InvalidWhy::Issuer, "{iss}");
    }
    for raw in [format!("[\"{ISSUER}\"]"), "1".to_owned()] {
        assert_eq!(fixture.why(&fixture.forge.token(&fixture.claims().with("iss", &raw))), InvalidWhy::Claims, "{raw}");
    }
}

proptest! {
    /// Whatever is signed, and whatever is sent, is answered.
    #[test]
    fn nothing_panics(
        name in prop::sample::select(vec!["exp", "iat", "nbf", "auth_time", "ver", "aud", "roles", "amr", "sid", "x"]),
        raw in prop_oneof!["\\PC{0,40}", "-?[0-9]{1,25}(\\.[0-9]{1,3})?(e[0-9]{1,4})?", "[\\[\\]{}\",:a1]{0,40}"],
        garbage in "[A-Za-z0-9_.=-]{0,200}",
    ) {
        let fixture = Fixture::new();
        let token = fixture.forge.token(&fixture.claims().with(name, raw));
        prop_assert!(fixture.judgement(&question(&token, &[])).is_ok());
        prop_assert!(!fixture.accepts(&garbage));
    }
}

/// No bytes but those that were signed are a token.
#[test]
fn hostile_bytes() {
    let fixture = Fixture::new();
    let good = fixture.token();
    let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), good.split('.').nth(1).unwrap());
    fuzz("access_token", &[good.as_bytes(), none.as_bytes(), b".."], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        assert!(!fixture.accepts(text) || text == good, "{text}");
    });
}
