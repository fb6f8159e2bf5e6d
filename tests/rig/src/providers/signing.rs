//! What a provider signs with. Keys are made once in a process: 2,048 bits take a while.

use std::sync::OnceLock;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// How an id_token is signed.
#[derive(Clone, Debug, Default)]
pub enum Signing {
    /// With the key that the provider signs with now.
    #[default]
    Usual,
    /// With this one, whatever is published.
    Key(Key),
    /// As `Usual`, but the header names no key, or another.
    Kid(Option<String>),
    /// With another key under the usual one's name.
    Forged,
    /// `alg: none`, without a signature.
    None,
    /// HS256 with the public key, as a careless library would check it.
    PublicKeyAsSecret,
    /// HS256 with the client secret.
    ClientSecret,
    /// The signature of another token.
    Stale,
}

/// Three keys; providers begin with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    A,
    B,
    C,
}

fn pair(key: Key) -> &'static RsaKeyPair {
    static PAIRS: [OnceLock<RsaKeyPair>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    PAIRS[key as usize].get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

impl Key {
    /// As a JWK names it.
    pub fn kid(self) -> String {
        format!("key-{self:?}")
    }

    /// As it is published.
    pub fn jwk(self) -> Value {
        // RFC 8017, appendix A.1.1: of 2,048 bits, the number always stands at the same place.
        let public = pair(self).public_key().as_ref();
        assert_eq!(public.len(), 270);
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid(), "n": encode(&public[9..265]), "e": "AQAB" })
    }

    fn sign(self, message: &[u8]) -> Vec<u8> {
        let pair = pair(self);
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &rand::SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }
}

/// A compact JWS. `header` adds to what the way of signing puts there, or takes away.
pub fn token(
    signing: &Signing,
    current: Key,
    header: &[(String, Option<Value>)],
    claims: &Value,
    client_secret: &str,
) -> String {
    let (algorithm, kid) = match signing {
        Signing::Usual | Signing::Forged | Signing::Stale => ("RS256", Some(current.kid())),
        Signing::Key(key) => ("RS256", Some(key.kid())),
        Signing::Kid(kid) => ("RS256", kid.clone()),
        Signing::None => ("none", Some(current.kid())),
        Signing::PublicKeyAsSecret | Signing::ClientSecret => ("HS256", Some(current.kid())),
    };
    let mut members = Map::from_iter([("alg".to_owned(), algorithm.into()), ("typ".to_owned(), "JWT".into())]);
    members.extend(kid.map(|kid| ("kid".to_owned(), kid.into())));
    super::change(&mut members, header);
    let signed = format!("{}.{}", encode(Value::Object(members).to_string()), encode(claims.to_string()));
    let mac =
        |secret: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes()).as_ref().to_vec();
    let other = if current == Key::C { Key::A } else { Key::C };
    let signature = match signing {
        Signing::Usual | Signing::Kid(_) => current.sign(signed.as_bytes()),
        Signing::Key(key) => key.sign(signed.as_bytes()),
        Signing::Forged => other.sign(signed.as_bytes()),
        Signing::Stale => current.sign(b"another"),
        Signing::None => return format!("{signed}."),
        Signing::PublicKeyAsSecret => mac(pair(current).public_key().as_ref()),
        Signing::ClientSecret => mac(client_secret.as_bytes()),
    };
    format!("{signed}.{}", encode(signature))
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
