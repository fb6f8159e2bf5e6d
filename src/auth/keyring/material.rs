//! The bytes of keys, algorithm by algorithm: how one is made, opened, named and shown. `aws-lc-rs` makes and reads
//! them, `jsonwebtoken` signs with them.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::auth::keyring::KeyringError;
use crate::domain::key::Algorithm;

const SECRET_BYTES: usize = 32;

/// A new key: its id, and what is to be sealed.
pub(super) fn generate(algorithm: Algorithm) -> Result<(String, Zeroizing<Vec<u8>>), KeyringError> {
    let not_made = |_unspecified| KeyringError::NotMade;
    match algorithm {
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(not_made)?;
            let der = pair.to_pkcs8().map_err(not_made)?;
            Ok((ed25519_thumbprint(pair.public_key().as_ref()), Zeroizing::new(der.as_ref().to_vec())))
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(not_made)?;
            let der = pair.to_pkcs8v1().map_err(not_made)?;
            let kid = p256_thumbprint(pair.public_key().as_ref()).ok_or(KeyringError::NotMade)?;
            Ok((kid, Zeroizing::new(der.as_ref().to_vec())))
        }
        Algorithm::Hs256 => {
            let (mut kid, mut secret) = ([0; 32], Zeroizing::new(vec![0; SECRET_BYTES]));
            aws_lc_rs::rand::fill(&mut kid).map_err(not_made)?;
            aws_lc_rs::rand::fill(&mut secret).map_err(not_made)?;
            Ok((URL_SAFE_NO_PAD.encode(kid), secret))
        }
    }
}

/// What signs and what verifies, from what was sealed under `kid`.
pub(super) fn open(
    algorithm: Algorithm,
    kid: &str,
    private: Zeroizing<Vec<u8>>,
) -> Result<(EncodingKey, Zeroizing<Vec<u8>>), &'static str> {
    let (signing, public, thumbprint) = match algorithm {
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(&private).map_err(|_rejected| "not an Ed25519 key")?;
            let public = pair.public_key().as_ref().to_vec();
            let thumbprint = ed25519_thumbprint(&public);
            (EncodingKey::from_ed_der(&private), public, thumbprint)
        }
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private);
            let pair = pair.map_err(|_rejected| "not a P-256 key")?;
            let public = pair.public_key().as_ref().to_vec();
            let thumbprint = p256_thumbprint(&public).ok_or("not an uncompressed point")?;
            (EncodingKey::from_ec_der(&private), public, thumbprint)
        }
        // Its id is random, and bound to it by the seal alone; the verifier refuses it if it is weak.
        Algorithm::Hs256 => return Ok((EncodingKey::from_secret(&private), private)),
    };
    if thumbprint != kid {
        return Err("its id is not its thumbprint");
    }
    Ok((signing, Zeroizing::new(public)))
}

/// The public half as RFC 7517 has it; a secret has none.
pub(super) fn jwk(algorithm: Algorithm, kid: &str, public: &[u8]) -> Option<Value> {
    let alg = algorithm.name();
    match algorithm {
        Algorithm::EdDsa => {
            let x = URL_SAFE_NO_PAD.encode(public);
            Some(json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": alg, "kid": kid}))
        }
        Algorithm::Es256 => {
            let (x, y) = coordinates(public)?;
            Some(json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": alg, "kid": kid}))
        }
        Algorithm::Hs256 => None,
    }
}

/// RFC 7638 with the members of RFC 8037, section 2.
fn ed25519_thumbprint(public: &[u8]) -> String {
    hashed(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public)))
}

/// RFC 7638, section 3.2.
fn p256_thumbprint(public: &[u8]) -> Option<String> {
    let (x, y) = coordinates(public)?;
    Some(hashed(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
}

fn hashed(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes()))
}

/// Of an uncompressed point: a byte 4, then both with all their leading zeros.
fn coordinates(public: &[u8]) -> Option<(String, String)> {
    let (x, y) = public.strip_prefix(&[4])?.split_at_checked(32)?;
    (y.len() == 32).then(|| (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.3.
    #[test]
    fn thumbprint_of_the_rfc() {
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(ed25519_thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// The key of RFC 7515, appendix A.3. Its thumbprint is in no RFC; it was computed by other means.
    #[test]
    fn thumbprint_of_a_point() {
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let public = [vec![4], part(x), part(y)].concat();
        assert_eq!(p256_thumbprint(&public).unwrap(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        let shown = jwk(Algorithm::Es256, "k", &public).unwrap();
        assert_eq!((shown["x"].as_str(), shown["y"].as_str()), (Some(x), Some(y)));
        for wrong in [&public[1..], &public[..64], &[2], &[]] {
            assert_eq!(p256_thumbprint(wrong), None);
        }
    }

    #[test]
    fn no_two_secrets_share_an_id_and_none_is_its_hash() {
        let (kid, secret) = generate(Algorithm::Hs256).unwrap();
        let (other, _) = generate(Algorithm::Hs256).unwrap();
        assert_ne!(kid, other);
        assert_eq!((kid.len(), secret.len()), (43, 32));
        let members = format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode(&*secret));
        assert_ne!(kid, hashed(&members));
        assert_eq!(jwk(Algorithm::Hs256, &kid, &secret), None);
    }
}
