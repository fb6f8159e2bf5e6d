use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use postern_rig::fuzz::fuzz;
use serde_json::json;

use super::*;

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn set(keys: &[Value]) -> Result<KeySet, NoKeySet> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// How many of the keys passed.
fn passed(keys: &[Value]) -> usize {
    set(keys).unwrap().keys.len()
}

fn modulus(bits: usize) -> Vec<u8> {
    let mut modulus: Vec<u8> = (0..bits.div_ceil(8)).map(|index| u8::try_from(index * 37 % 251).unwrap() | 1).collect();
    modulus[0] = 0x80;
    modulus
}

fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({ "kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": encoded(modulus), "e": encoded(exponent) })
}

fn ec_key(curve: &str) -> Value {
    let signing = if curve == "P-256" { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
    let pair = EcdsaKeyPair::generate(signing).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    json!({ "kty": "EC", "crv": curve, "kid": "e", "x": encoded(x), "y": encoded(y) })
}

fn with(mut key: Value, name: &str, value: impl Into<Value>) -> Value {
    key[name] = value.into();
    key
}

#[test]
fn rsa_keys_are_long_enough_and_odd() {
    for (bits, passes) in [(2048, 1), (3072, 1), (8192, 1), (1024, 0), (2040, 0), (8200, 0), (0, 0)] {
        let modulus = if bits == 0 { Vec::new() } else { modulus(bits) };
        assert_eq!(passed(&[rsa_key(&modulus, &[1, 0, 1])]), passes, "{bits}");
    }
    let zeros = [vec![0; 3], modulus(2048)].concat();
    assert_eq!(passed(&[rsa_key(&zeros, &[0, 1, 0, 1])]), 1, "leading zeros are no part of a number");
    let mut even = modulus(2048);
    *even.last_mut().unwrap() &= 0xfe;
    assert_eq!(passed(&[rsa_key(&even, &[1, 0, 1])]), 0);
    for exponent in [&[1][..], &[3], &[0xff, 0xff], &[1, 0, 0], &[1, 0, 2], &[], &[0], &[4, 0, 0, 0, 1], &[1; 9]] {
        assert_eq!(passed(&[rsa_key(&modulus(2048), exponent)]), 0, "{exponent:?}");
    }
}

#[test]
fn points_are_on_their_curve() {
    for (curve, other) in [("P-256", "P-384"), ("P-384", "P-256")] {
        let key = ec_key(curve);
        assert_eq!(passed(std::slice::from_ref(&key)), 1, "{curve}");
        assert_eq!(passed(&[with(key.clone(), "crv", other)]), 0);
        assert_eq!(passed(&[with(key.clone(), "kty", "RSA")]), 0);
        let x = key["x"].clone();
        assert_eq!(passed(&[with(key.clone(), "y", x)]), 0, "off the curve");
        assert_eq!(passed(&[with(key.clone(), "y", "AA")]), 0);
        assert_eq!(passed(&[with(key, "crv", "secp256k1")]), 0);
    }
    let edwards = json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(&[7; 32]) });
    assert_eq!(passed(std::slice::from_ref(&edwards)), 1);
    assert_eq!(passed(&[with(edwards.clone(), "alg", "Ed25519")]), 1);
    assert_eq!(passed(&[with(edwards.clone(), "x", encoded(&[7; 31]))]), 0);
    assert_eq!(passed(&[with(edwards.clone(), "crv", "X25519")]), 0);
    assert_eq!(passed(&[with(edwards, "alg", "ES256")]), 0);
}

#[test]
fn purposes_agree() {
    let key = rsa_key(&modulus(2048), &[1, 0, 1]);
    for (name, value, passes) in [
        ("use", json!("enc"), 0),
        ("use", json!(["sig"]), 0),
        ("use", Value::Null, 0),
        ("key_ops", json!(["verify"]), 1),
        ("key_ops", json!(["sign", "verify"]), 0),
        ("key_ops", json!(["encrypt"]), 0),
        ("key_ops", json!(["verify", "verify"]), 0),
        ("key_ops", json!([]), 0),
        ("key_ops", json!("verify"), 0),
        ("alg", json!("RS512"), 1),
        ("alg", json!("PS256"), 1),
        ("alg", json!("HS256"), 0),
        ("alg", json!("ES256"), 0),
        ("alg", json!("none"), 0),
        ("alg", json!("RS1"), 0),
        ("alg", json!(1), 0),
        ("kty", json!("EC"), 0),
        ("kty", json!("rsa"), 0),
        ("kid", json!(7), 0),
        ("kid", json!(""), 0),
        ("d", json!("AQAB"), 0),
        ("x5c", json!(["whatever"]), 1),
        ("n", json!("not base64!"), 0),
        ("n", Value::Null, 0),
    ] {
        assert_eq!(passed(&[with(key.clone(), name, value.clone())]), passes, "{name} {value}");
    }
}

#[test]
fn a_set_is_unambiguous_and_small() {
    let key = |kid: &str| with(rsa_key(&modulus(2048), &[1, 0, 1]), "kid", kid);
    assert!(set(&[key("a"), key("a")]).is_err());
    assert!(set(&[key("a"), with(key("a"), "use", "enc")]).is_err(), "even if one of them is for something else");
    assert!(set(&[key("a"), json!({ "kty": "oct", "kid": "s", "k": "AAAA" })]).is_err());
    let many = |count: usize| (0..count).map(|index| key(&index.to_string())).collect::<Vec<_>>();
    assert_eq!(passed(&many(50)), 50);
    assert!(set(&many(51)).is_err());
    for body in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":null}", "{\"keys\":[],\"keys\":[]}", "null"] {
        assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(passed(&[json!(null), json!([]), json!("a"), json!({})]), 0);
}

#[test]
fn without_a_name_only_the_one_that_fits() {
    let nameless = |mut key: Value| {
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let rsa = || nameless(rsa_key(&modulus(2048), &[1, 0, 1]));
    let both = set(&[rsa(), nameless(ec_key("P-256"))]).unwrap();
    assert!(both.find(None, Algorithm::Rs256).is_some() && both.find(None, Algorithm::Es256).is_some());
    assert!(both.find(None, Algorithm::Rs512).is_none(), "its alg says RS256");
    assert!(both.find(Some("r"), Algorithm::Rs256).is_none());
    assert!(set(&[rsa(), rsa()]).unwrap().find(None, Algorithm::Rs256).is_none(), "none is tried");
}

/// Project Wycheproof: sets with two keys of one name, of mixed purposes, weak, off the curve, of the wrong type. All that
/// is invalid is refused; of the valid ones, those with a MAC are refused, too.
#[test]
fn wycheproof_json_web_key() {
    use wycheproof_ng_kdf_jose::json_web::{TestName, TestSet};

    let (mut genuine, mut forged) = (Vec::new(), 0);
    for group in TestSet::load(TestName::JsonWebKey).unwrap().test_groups {
        let keys = group.public_key.or(group.private_key).unwrap();
        let keys = if keys.get("keys").is_some() { keys } else { json!({ "keys": [keys] }) };
        for test in group.tests {
            let token = test.jws.and_then(|token| token.as_str().map(ToOwned::to_owned)).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let header = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().0).unwrap();
            let header: Value = serde_json::from_slice(&header).unwrap();
            let accepted = KeySet::parse(keys.to_string().as_bytes()).is_ok_and(|set| {
                Algorithm::from_name(header["alg"].as_str().unwrap()).is_some_and(|algorithm| {
                    let key = set.find(header["kid"].as_str(), algorithm);
                    key.is_some_and(|key| key.verifies(algorithm, signature, signed.as_bytes()))
                })
            });
            if accepted {
                assert!(!test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                genuine.push(test.tc_id);
            } else {
                forged += 1;
            }
        }
    }
    assert_eq!((genuine, forged), (vec![5], 25));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_nothing_panics(text in "\\PC{0,200}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        drop(KeySet::parse(text.as_bytes()));
        drop(KeySet::parse(&bytes));
        for name in ["n", "e", "x", "y", "kty", "crv", "use", "kid", "alg"] {
            for key in [rsa_key(&modulus(2048), &[1, 0, 1]), json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })] {
                let set = set(&[with(key.clone(), name, text.clone())]);
                proptest::prop_assert!(set.is_ok() || text == "oct");
                drop(self::set(&[with(key, name, encoded(&bytes))]));
            }
        }
    }
}

#[test]
fn hostile_bytes() {
    let keys =
        json!({ "keys": [rsa_key(&modulus(2048), &[1, 0, 1]), { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }] });
    fuzz("key_set", &[keys.to_string().as_bytes()], |input| drop(KeySet::parse(input)));
}
