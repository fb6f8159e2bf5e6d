//! The keys that tokens are checked with. Each is bound to one algorithm and one half of the key; what a token's header
//! asks for never chooses either. Must not know where keys come from.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use jsonwebtoken::DecodingKey;

use crate::domain::key::Algorithm;
use crate::domain::time::Timestamp;

/// Longer than any thumbprint.
pub(super) const KID_BYTES_MAX: usize = 128;
const ED25519_PUBLIC_BYTES: usize = 32;

/// A public key under its name.
#[derive(Clone)]
pub struct VerificationKey {
    kid: String,
    algorithm: Algorithm,
    public: Vec<u8>,
    decoding_key: DecodingKey,
    refuse_from: Option<Timestamp>,
}

impl VerificationKey {
    /// From the 32 bytes of RFC 8032. `refuse_from` is the end of its life, from where on its tokens are refused.
    pub fn ed25519(kid: &str, public: &[u8], refuse_from: Option<Timestamp>) -> Result<Self, KeyFault> {
        if !(1..=KID_BYTES_MAX).contains(&kid.len()) {
            return Err(KeyFault::Kid);
        }
        if public.len() != ED25519_PUBLIC_BYTES {
            return Err(KeyFault::Public { kid: kid.to_owned() });
        }
        Ok(Self {
            kid: kid.to_owned(),
            algorithm: Algorithm::EdDsa,
            public: public.to_owned(),
            decoding_key: DecodingKey::from_ed_der(public),
            refuse_from,
        })
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
        };
        jsonwebtoken::crypto::verify(signature, message, &self.decoding_key, algorithm).unwrap_or(false)
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.public == other.public
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
    #[error("the public half of key `{kid}` is not {ED25519_PUBLIC_BYTES} bytes")]
    Public { kid: String },
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
        VerificationKey::ed25519(kid, &[byte; 32], None).unwrap()
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
    fn shapes_are_checked() {
        assert_eq!(VerificationKey::ed25519("", &[0; 32], None).err(), Some(KeyFault::Kid));
        assert!(VerificationKey::ed25519(&"k".repeat(129), &[0; 32], None).is_err());
        assert!(VerificationKey::ed25519("k", &[0; 31], None).is_err());
        assert!(VerificationKey::ed25519("k", &[0; 33], None).is_err());
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
            let key = VerificationKey::ed25519("k", &group.key.pk, None).unwrap();
            for test in &group.tests {
                let accepted = key.verifies(&URL_SAFE_NO_PAD.encode(&*test.sig), &test.msg);
                assert_eq!(accepted, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                *if accepted { &mut genuine } else { &mut forged } += 1;
            }
        }
        assert_eq!((genuine, forged), (88, 63));
    }
}
