//! The keys that tokens are checked with. Each is bound to one algorithm; what a token's header asks for never chooses it. Must not know where keys come from.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use foldhash::fast::RandomState;
use jsonwebtoken::DecodingKey;
use zeroize::Zeroizing;

use crate::domain::key::Algorithm;
use crate::domain::time::Timestamp;

/// Longer than any thumbprint.
pub(super) const KID_BYTES_MAX: usize = 128;
const ED25519_PUBLIC_BYTES: usize = 32;
/// Uncompressed: one spelling of a point.
const P256_PUBLIC_BYTES: usize = 65;
const P256_UNCOMPRESSED: u8 = 4;
/// As long as the hash (RFC 7518, section 3.2).
const HMAC_KEY_BYTES: usize = 32;

/// What checks signatures, under its name.
#[derive(Clone)]
pub struct VerificationKey {
    kid: String,
    algorithm: Algorithm,
    material: Zeroizing<Vec<u8>>,
    decoding_key: DecodingKey,
    refuse_from: Option<Timestamp>,
}

impl VerificationKey {
    /// From the 32 bytes of RFC 8032, the 65 bytes of an uncompressed point of P-256, or the 32 bytes of an HMAC key.
    /// What is weak is no key. `refuse_from` is the end of its life, from where on its tokens are refused.
    pub fn new(
        kid: &str,
        algorithm: Algorithm,
        material: &[u8],
        refuse_from: Option<Timestamp>,
    ) -> Result<Self, KeyFault> {
        if !(1..=KID_BYTES_MAX).contains(&kid.len()) {
            return Err(KeyFault::Kid);
        }
        let decoding_key = decoding_key(algorithm, material);
        let decoding_key = decoding_key.map_err(|why| KeyFault::Material { kid: kid.to_owned(), why })?;
        let material = Zeroizing::new(material.to_owned());
        Ok(Self { kid: kid.to_owned(), algorithm, material, decoding_key, refuse_from })
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether its tokens still count.
    pub fn accepts_at(&self, now: Timestamp) -> bool {
        self.refuse_from.is_none_or(|end| now < end)
    }

    /// Whether `signature`, in base64url, is its signature of `message`.
    pub(super) fn verifies(&self, signature: &str, message: &[u8]) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        };
        jsonwebtoken::crypto::verify(signature, message, &self.decoding_key, algorithm).unwrap_or(false)
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.material == other.material
    }
}

/// The gate of strength: what is too short, off the curve or without randomness opens to anybody.
fn decoding_key(algorithm: Algorithm, material: &[u8]) -> Result<DecodingKey, &'static str> {
    match algorithm {
        Algorithm::EdDsa => {
            if material.len() != ED25519_PUBLIC_BYTES {
                return Err("not the 32 bytes of an Ed25519 key");
            }
            Ok(DecodingKey::from_ed_der(material))
        }
        Algorithm::Es256 => {
            if material.len() != P256_PUBLIC_BYTES || material.first() != Some(&P256_UNCOMPRESSED) {
                return Err("not the 65 bytes of an uncompressed P-256 point");
            }
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, material)
                .map_err(|_off_the_curve| "not a point of P-256")?;
            Ok(DecodingKey::from_ec_der(material))
        }
        Algorithm::Hs256 => {
            if material.len() != HMAC_KEY_BYTES {
                return Err("not 32 bytes of secret");
            }
            if material.iter().all(|byte| Some(byte) == material.first()) {
                return Err("a secret without randomness");
            }
            Ok(DecodingKey::from_secret(material))
        }
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why something is no key, or no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("a key's id is 1 to {KID_BYTES_MAX} bytes")]
    Kid,
    #[error("key `{kid}` is no key: {why}")]
    Material { kid: String, why: &'static str },
    #[error("two different keys are called `{kid}`")]
    Ambiguous { kid: String },
}

/// All keys, by an id that is compared and never interpreted.
#[derive(Default)]
pub(super) struct Keys {
    by_kid: HashMap<String, Arc<VerificationKey>, RandomState>,
}

impl Keys {
    /// `keys` in place of these. A key that is in both stays the same allocation, so that what was proven with it
    /// outlives the rotation of another.
    pub(super) fn replaced_by(&self, keys: Vec<VerificationKey>) -> Result<Self, KeyFault> {
        let mut by_kid: HashMap<String, Arc<VerificationKey>, RandomState> = HashMap::default();
        for key in keys {
            if by_kid.get(&key.kid).is_some_and(|other| !other.is_same_key(&key)) {
                return Err(KeyFault::Ambiguous { kid: key.kid });
            }
            let known =
                self.get(&key.kid).filter(|known| known.is_same_key(&key) && known.refuse_from == key.refuse_from);
            by_kid.insert(key.kid.clone(), known.map_or_else(|| Arc::new(key), Arc::clone));
        }
        Ok(Self { by_kid })
    }

    pub(super) fn get(&self, kid: &str) -> Option<&Arc<VerificationKey>> {
        self.by_kid.get(kid)
    }

    /// Whether this very key, not just one of its name, is among them.
    pub(super) fn has(&self, key: &Arc<VerificationKey>) -> bool {
        self.get(&key.kid).is_some_and(|known| Arc::ptr_eq(known, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, byte: u8) -> VerificationKey {
        VerificationKey::new(kid, Algorithm::EdDsa, &[byte; 32], None).unwrap()
    }

    #[test]
    fn one_name_is_one_key() {
        let fault = Keys::default().replaced_by(vec![key("a", 1), key("b", 2), key("a", 3)]).err();
        assert_eq!(fault, Some(KeyFault::Ambiguous { kid: "a".to_owned() }));
        assert!(Keys::default().replaced_by(vec![key("a", 1), key("a", 1)]).is_ok());
    }

    #[test]
    fn a_key_that_stays_is_the_same_key() {
        let before = Keys::default().replaced_by(vec![key("a", 1), key("b", 2)]).unwrap();
        let mut ending = key("b", 2);
        ending.refuse_from = Some(Timestamp::from_secs(9));
        let after = before.replaced_by(vec![key("a", 1), ending, key("c", 3)]).unwrap();
        assert!(after.has(before.get("a").unwrap()));
        assert!(!after.has(before.get("b").unwrap()), "its life was shortened");
        assert!(
            !before.replaced_by(vec![key("a", 9)]).unwrap().has(before.get("a").unwrap()),
            "another under its name"
        );
    }

    #[test]
    fn weak_keys_are_none() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

        let made = |kid: &str, algorithm, material: &[u8]| VerificationKey::new(kid, algorithm, material, None).is_ok();
        assert!(!made("", Algorithm::EdDsa, &[0; 32]) && !made(&"k".repeat(129), Algorithm::EdDsa, &[0; 32]));
        assert!(!made("k", Algorithm::EdDsa, &[0; 31]) && !made("k", Algorithm::EdDsa, &[0; 33]));

        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let changed = |index: usize, byte: u8| {
            let mut point = point.clone();
            point[index] = byte;
            point
        };
        assert!(made("k", Algorithm::Es256, &point));
        let compressed: Vec<u8> = [2 + (point[64] & 1)].into_iter().chain(point[1..33].iter().copied()).collect();
        let off_the_curve = changed(64, point[64] ^ 1);
        let hybrid = changed(0, 6 + (point[64] & 1));
        for material in [&point[..64], &point[1..], &compressed, &off_the_curve, &hybrid, &[0], &[4; 65], &[]] {
            assert!(!made("k", Algorithm::Es256, material), "{material:?}");
        }

        let secret: Vec<u8> = (0..32).collect();
        assert!(made("k", Algorithm::Hs256, &secret));
        for material in [&secret[..31], &secret[..16], b"secret", &[7; 32], &[]] {
            assert!(!made("k", Algorithm::Hs256, material), "{material:?}");
        }
        // Of one kind as of another.
        assert!(!made("k", Algorithm::Hs256, &point) && !made("k", Algorithm::EdDsa, &point));
    }

    #[test]
    fn one_key_has_one_algorithm() {
        let secret: Vec<u8> = (0..32).collect();
        let key = |algorithm| VerificationKey::new("k", algorithm, &secret, None).unwrap();
        let both = Keys::default().replaced_by(vec![key(Algorithm::EdDsa), key(Algorithm::Hs256)]).err();
        assert_eq!(both, Some(KeyFault::Ambiguous { kid: "k".to_owned() }));
    }

    /// Project Wycheproof: edge cases of points and scalars, malleability, truncated and padded signatures.
    #[test]
    fn wycheproof_ed25519() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        use wycheproof_ng_eddsa::{TestName, TestSet};

        let set = TestSet::load(TestName::Ed25519).unwrap();
        let (mut genuine, mut forged) = (0, 0);
        for group in &set.test_groups {
            let key = VerificationKey::new("k", Algorithm::EdDsa, &group.key.pk, None).unwrap();
            for test in &group.tests {
                let accepted = key.verifies(&URL_SAFE_NO_PAD.encode(&*test.sig), &test.msg);
                assert_eq!(accepted, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                *if accepted { &mut genuine } else { &mut forged } += 1;
            }
        }
        assert_eq!((genuine, forged), (88, 63));
    }

    /// Project Wycheproof's tokens of ES256, whose key is known: r and s of zero, one, the order and beyond, lengths that
    /// are off, and what is signed with another key. Two of them are genuine.
    #[test]
    fn wycheproof_es256() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        use wycheproof_ng_kdf_jose::json_web::{TestName, TestSet};

        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let (x, y) = ("04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY", "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw");
        let point = [vec![P256_UNCOMPRESSED], part(x), part(y)].concat();
        let key = VerificationKey::new("k", Algorithm::Es256, &point, None).unwrap();
        let set = TestSet::load(TestName::JsonWebSignature).unwrap();
        let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
        let tests = tests.filter(|test| (18..=32).contains(&test.tc_id) || (378..=401).contains(&test.tc_id));
        let (mut genuine, mut seen) = (Vec::new(), 0);
        for test in tests {
            seen += 1;
            let token = test.jws.and_then(|token| token.as_str().map(ToOwned::to_owned)).unwrap();
            let Some((signed, signature)) = token.rsplit_once('.') else { continue };
            if key.verifies(signature, signed.as_bytes()) {
                genuine.push(test.tc_id);
            }
        }
        assert_eq!((genuine, seen), (vec![18, 378], 39));
    }
}
