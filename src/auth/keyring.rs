//! Signing keys: made here, kept in the store under the master key, and opened again into what signs and what verifies.
//! What verifies is always derived from the sealed private half, so that whoever can write to the database cannot plant
//! a key. Must not know when a key does what: that is `domain::key::plan`.

mod material;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::EncodingKey;
use serde_json::json;
use zeroize::Zeroizing;

use crate::auth::error::AuthError;
use crate::domain::key::plan::{next_signature, signer, states};
use crate::domain::key::{Algorithm, KeyPlan, KeyState, StoredKey};
use crate::domain::time::Timestamp;
use crate::store::NewKey;
use crate::vault::seal::{Place, SealError, Sealer};
use crate::verifier::{KeyFault, VerificationKey};

/// Told with "come back": soon, but not at once.
const RETRY_LEAST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// A key that does not open or is not what its row says.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("signing key {kid} cannot be opened: {why}")]
    Sealed { kid: String, why: SealError },
    #[error("signing key {kid} is damaged: {why}")]
    Damaged { kid: String, why: &'static str },
    #[error("a signing key cannot verify: {0}")]
    Unusable(#[from] KeyFault),
    #[error("a signing key could not be made")]
    NotMade,
}

/// An opened key.
pub struct OpenKey {
    pub stored: StoredKey,
    pub signing: EncodingKey,
    /// What checks: the public half, or the secret itself.
    verifying: Zeroizing<Vec<u8>>,
}

/// All keys of the service, as last read from the store.
pub struct Keyring {
    sealer: Sealer,
    keys: RwLock<Arc<[Arc<OpenKey>]>>,
}

impl Keyring {
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, keys: RwLock::new(Arc::new([])) }
    }

    /// Makes a new key, sealed under the current master key.
    pub fn make(&self, algorithm: Algorithm, master_key: u8) -> Result<NewKey, KeyringError> {
        let (kid, private) = material::generate(algorithm)?;
        let sealed = self
            .sealer
            .seal(&place(&kid, algorithm), Timestamp::MAX, &private)
            .map_err(|why| KeyringError::Sealed { kid: kid.clone(), why })?;
        Ok(NewKey { kid, algorithm, master_key, sealed })
    }

    /// Opens the store's keys, takes them over for signing, and answers the keys to verify with. If one does not open,
    /// all stays as it was.
    pub fn take_over(&self, stored: &[StoredKey]) -> Result<Vec<VerificationKey>, KeyringError> {
        let opened: Vec<Arc<OpenKey>> =
            stored.iter().map(|key| self.open(key).map(Arc::new)).collect::<Result<_, _>>()?;
        let verification = opened
            .iter()
            .map(AsRef::as_ref)
            .map(|OpenKey { stored, verifying, .. }| {
                VerificationKey::new(&stored.kid, stored.algorithm, verifying, stored.retire_time)
            })
            .collect::<Result<_, _>>()?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = opened.into();
        Ok(verification)
    }

    /// The key that signs now. For two seconds after one was retired at once there is none.
    pub fn signing(&self, now: Timestamp) -> Result<Arc<OpenKey>, AuthError> {
        let keys = self.keys();
        let plans = plans(&keys);
        let signing = signer(&plans, now).and_then(|index| keys.get(index));
        signing.cloned().ok_or_else(|| {
            let wait = next_signature(&plans, now).map_or(RETRY_MOST, |time| time.since(now));
            AuthError::NoSigningKey { retry_after: wait.clamp(RETRY_LEAST, RETRY_MOST) }
        })
    }

    /// The key that signs now, or the one that will next: for telling, not for signing.
    pub fn signing_or_next(&self, now: Timestamp) -> Result<Arc<OpenKey>, AuthError> {
        self.signing(now).or_else(|why| {
            let keys = self.keys();
            let next = keys.iter().filter(|key| key.stored.sign_time > now).min_by_key(|key| key.stored.sign_time);
            next.cloned().ok_or(why)
        })
    }

    /// Where each key that is known is in its life.
    pub fn states(&self, now: Timestamp) -> Vec<KeyState> {
        states(&plans(&self.keys()), now)
    }

    /// The rows behind the keys.
    pub fn stored(&self) -> Vec<StoredKey> {
        self.keys().iter().map(|key| key.stored.clone()).collect()
    }

    /// RFC 7517, public members only: what signs, will sign, or signed not long ago. A key of HS256 has none.
    pub fn jwks(&self, now: Timestamp) -> String {
        let keys = self.keys();
        let states = states(&plans(&keys), now);
        let shown = keys.iter().zip(states).filter(|(_, state)| *state != KeyState::Retired);
        let keys: Vec<_> =
            shown.filter_map(|(key, _)| material::jwk(key.stored.algorithm, &key.stored.kid, &key.verifying)).collect();
        json!({ "keys": keys }).to_string()
    }

    fn keys(&self) -> Arc<[Arc<OpenKey>]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self, stored: &StoredKey) -> Result<OpenKey, KeyringError> {
        let (kid, algorithm) = (stored.kid.clone(), stored.algorithm);
        let private = match self.sealer.open(&place(&kid, algorithm), &stored.sealed) {
            Ok(opened) => opened.plain,
            Err(why) => return Err(KeyringError::Sealed { kid, why }),
        };
        match material::open(algorithm, &kid, private) {
            Ok((signing, verifying)) => Ok(OpenKey { stored: stored.clone(), signing, verifying }),
            Err(why) => Err(KeyringError::Damaged { kid, why }),
        }
    }
}

fn plans(keys: &[Arc<OpenKey>]) -> Vec<KeyPlan> {
    keys.iter().map(|key| key.stored.plan()).collect()
}

/// The seal binds the private half to its id and its algorithm: one key, one algorithm.
fn place(kid: &str, algorithm: Algorithm) -> Place<'_> {
    Place { kind: "signing-key", partition: algorithm.name(), key: kid }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn keyring() -> Keyring {
        Keyring::new(Sealer::new([(1, Zeroizing::new([7; 32]))]))
    }

    fn stored(keyring: &Keyring, algorithm: Algorithm) -> StoredKey {
        let NewKey { kid, algorithm, master_key, sealed } = keyring.make(algorithm, 1).unwrap();
        StoredKey { kid, algorithm, master_key, sealed, publish_time: NOW, sign_time: NOW, retire_time: None }
    }

    #[test]
    fn a_key_of_each_algorithm_is_made_opened_and_bound_to_its_row() {
        for algorithm in Algorithm::ALL {
            let keyring = keyring();
            let key = stored(&keyring, algorithm);
            let verification = keyring.take_over(std::slice::from_ref(&key)).unwrap();
            assert_eq!((verification[0].kid(), verification[0].algorithm()), (key.kid.as_str(), algorithm));
            let signing = keyring.signing(NOW).unwrap();
            assert_eq!(signing.stored, key);

            let jwks = keyring.jwks(NOW);
            assert_eq!(jwks.contains(&key.kid), algorithm != Algorithm::Hs256, "{jwks}");
            assert!(["\"d\"", "\"k\"", "oct"].iter().all(|member| !jwks.contains(member)), "{jwks}");

            let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm).unwrap();
            for tampered in
                [StoredKey { kid: "another".into(), ..key.clone() }, StoredKey { algorithm: other, ..key.clone() }]
            {
                let refused = keyring.take_over(&[tampered]);
                assert!(matches!(refused, Err(KeyringError::Sealed { .. })));
            }
            assert_eq!(keyring.signing(NOW).unwrap().stored, key, "a row that does not open harms nothing known");
        }
    }

    /// What only the holder of the master key could write, and still must not.
    #[test]
    fn a_well_sealed_row_that_is_no_such_key_does_not_open() {
        let keyring = keyring();
        let key = stored(&keyring, Algorithm::EdDsa);
        let private = keyring.sealer.open(&place(&key.kid, key.algorithm), &key.sealed).unwrap().plain;
        for (kid, algorithm, private) in [
            ("another", Algorithm::EdDsa, private.to_vec()),
            (key.kid.as_str(), Algorithm::Es256, private.to_vec()),
            (key.kid.as_str(), Algorithm::Hs256, private.to_vec()),
            ("short", Algorithm::Hs256, vec![1; 16]),
            ("even", Algorithm::Hs256, vec![1; 32]),
            ("none", Algorithm::Es256, Vec::new()),
        ] {
            let sealed = keyring.sealer.seal(&place(kid, algorithm), Timestamp::MAX, &private).unwrap();
            let row = StoredKey { kid: kid.into(), algorithm, sealed, ..key.clone() };
            let refused = keyring.take_over(&[row]).err();
            let is_named = matches!(refused, Some(KeyringError::Damaged { .. } | KeyringError::Unusable(_)));
            assert!(is_named, "{kid} as {algorithm:?}: {refused:?}");
        }
    }

    #[test]
    fn while_nobody_signs_it_is_said_when_to_come_back() {
        let keyring = keyring();
        let key = StoredKey { sign_time: NOW + Duration::from_secs(2), ..stored(&keyring, Algorithm::EdDsa) };
        keyring.take_over(&[key]).unwrap();
        let refused = keyring.signing(NOW).err();
        assert!(matches!(refused, Some(AuthError::NoSigningKey { retry_after }) if retry_after.as_secs() == 2));
        assert!(keyring.signing(NOW + Duration::from_secs(2)).is_ok());
    }
}
