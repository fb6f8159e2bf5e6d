//! Signing keys: made here, kept in the store under the master key, and opened again into what signs and what verifies.
//! A verification key is always derived from the sealed private key, so that whoever can write to the database cannot
//! plant one.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::json;

use crate::auth::error::AuthError;
use crate::domain::key::{Algorithm, KeyState, StoredKey};
use crate::domain::time::Timestamp;
use crate::store::NewKey;
use crate::vault::seal::{Place, SealError, Sealer};
use crate::verifier::{KeyFault, VerificationKey};

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
    pub kid: String,
    pub algorithm: Algorithm,
    pub sign_time: Timestamp,
    pub retire_time: Option<Timestamp>,
    pub signing: EncodingKey,
    public: Vec<u8>,
}

/// Where in their lives keys are that sign from the first and are refused from the second time on: of those that may
/// sign, the one that began last does.
pub fn states(plans: &[(Timestamp, Option<Timestamp>)], now: Timestamp) -> Vec<KeyState> {
    let is_retired = |retire_time: &Option<Timestamp>| retire_time.is_some_and(|time| now >= time);
    let may_sign = plans.iter().filter(|(sign_time, retire_time)| *sign_time <= now && !is_retired(retire_time));
    let newest = may_sign.map(|(sign_time, _)| *sign_time).max();
    let state = |(sign_time, retire_time): &(Timestamp, Option<Timestamp>)| {
        if is_retired(retire_time) {
            KeyState::Retired
        } else if *sign_time > now {
            KeyState::Published
        } else if Some(*sign_time) == newest {
            KeyState::Signing
        } else {
            KeyState::Verifying
        }
    };
    plans.iter().map(state).collect()
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

    /// Makes a new Ed25519 key, sealed under the current master key.
    pub fn make(&self, master_key: u8) -> Result<NewKey, KeyringError> {
        let pair = Ed25519KeyPair::generate().map_err(|_unspecified| KeyringError::NotMade)?;
        let der = pair.to_pkcs8().map_err(|_unspecified| KeyringError::NotMade)?;
        let kid = thumbprint(pair.public_key().as_ref());
        let algorithm = Algorithm::EdDsa;
        let sealed = self
            .sealer
            .seal(&place(&kid, algorithm), Timestamp::MAX, der.as_ref())
            .map_err(|why| KeyringError::Sealed { kid: kid.clone(), why })?;
        Ok(NewKey { kid, algorithm, master_key, sealed })
    }

    /// Opens the store's keys, takes them over for signing, and answers the keys to verify with.
    pub fn take_over(&self, stored: &[StoredKey]) -> Result<Vec<VerificationKey>, KeyringError> {
        let opened: Vec<Arc<OpenKey>> =
            stored.iter().map(|key| self.open(key).map(Arc::new)).collect::<Result<_, _>>()?;
        let verification = opened
            .iter()
            .map(|key| VerificationKey::ed25519(&key.kid, &key.public, key.retire_time))
            .collect::<Result<_, _>>()?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = opened.into();
        Ok(verification)
    }

    /// The key that signs now: the one that began last.
    pub fn signing(&self, now: Timestamp) -> Result<Arc<OpenKey>, AuthError> {
        self.all(now)
            .into_iter()
            .find_map(|(key, state)| (state == KeyState::Signing).then_some(key))
            .ok_or_else(|| AuthError::internal("no key signs"))
    }

    /// RFC 7517, public members only: what signs, will sign, or signed not long ago.
    pub fn jwks(&self, now: Timestamp) -> String {
        let keys: Vec<_> = self
            .all(now)
            .into_iter()
            .filter(|(_, state)| *state != KeyState::Retired)
            .map(|(key, _)| {
                json!({
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": URL_SAFE_NO_PAD.encode(&key.public),
                    "use": "sig",
                    "alg": key.algorithm.name(),
                    "kid": key.kid,
                })
            })
            .collect();
        json!({ "keys": keys }).to_string()
    }

    fn all(&self, now: Timestamp) -> Vec<(Arc<OpenKey>, KeyState)> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let plans: Vec<_> = keys.iter().map(|key| (key.sign_time, key.retire_time)).collect();
        keys.iter().cloned().zip(states(&plans, now)).collect()
    }

    fn open(&self, stored: &StoredKey) -> Result<OpenKey, KeyringError> {
        let kid = stored.kid.clone();
        let der = match self.sealer.open(&place(&kid, stored.algorithm), &stored.sealed) {
            Ok(opened) => opened.plain,
            Err(why) => return Err(KeyringError::Sealed { kid, why }),
        };
        let Ok(pair) = Ed25519KeyPair::from_pkcs8(&der) else {
            return Err(KeyringError::Damaged { kid, why: "not an Ed25519 key" });
        };
        let public = pair.public_key().as_ref().to_vec();
        if thumbprint(&public) != kid {
            return Err(KeyringError::Damaged { kid, why: "its id is not its thumbprint" });
        }
        Ok(OpenKey {
            kid,
            algorithm: stored.algorithm,
            sign_time: stored.sign_time,
            retire_time: stored.retire_time,
            signing: EncodingKey::from_ed_der(&der),
            public,
        })
    }
}

/// The seal binds the private key to its id and its algorithm: one key, one algorithm.
fn place(kid: &str, algorithm: Algorithm) -> Place<'_> {
    Place { kind: "signing-key", partition: algorithm.name(), key: kid }
}

/// RFC 7638 with the members of RFC 8037, section 2.
fn thumbprint(public: &[u8]) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public));
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    /// RFC 8037, appendix A.3.
    #[test]
    fn thumbprint_of_the_rfc() {
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_is_made_opened_and_bound_to_its_row() {
        let keyring = Keyring::new(Sealer::new([(1, Zeroizing::new([7; 32]))]));
        let now = Timestamp::from_secs(1_000);
        let NewKey { kid, algorithm, master_key, sealed } = keyring.make(1).unwrap();
        let stored =
            StoredKey { kid, algorithm, master_key, sealed, publish_time: now, sign_time: now, retire_time: None };
        assert_eq!(keyring.take_over(std::slice::from_ref(&stored)).unwrap().len(), 1);
        assert_eq!(keyring.signing(now).unwrap().kid, stored.kid);
        assert!(keyring.signing(Timestamp::from_secs(999)).is_err());

        let jwks = keyring.jwks(now);
        assert!(jwks.contains(&stored.kid) && !jwks.contains("\"d\""), "{jwks}");

        let moved = StoredKey { kid: "another".into(), ..stored };
        assert!(matches!(keyring.take_over(&[moved]), Err(KeyringError::Sealed { .. })));
    }

    #[test]
    fn of_keys_that_may_sign_the_newest_does() {
        let at = Timestamp::from_secs;
        let plans = [(at(10), Some(at(100))), (at(20), None), (at(90), None), (at(5), Some(at(50)))];
        let expected = [KeyState::Verifying, KeyState::Signing, KeyState::Published, KeyState::Retired];
        assert_eq!(states(&plans, at(60)), expected);
        // Until the successor signs, the one that is to retire does.
        assert_eq!(
            states(&[(at(10), Some(at(100))), (at(70), None)], at(60)),
            [KeyState::Signing, KeyState::Published]
        );
    }
}
