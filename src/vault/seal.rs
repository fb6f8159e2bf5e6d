//! Sealing: `format(1) | key(1) | nonce(24) | XChaCha20-Poly1305(expires_at(8) | plain)`.
//!
//! The associated data names the kind, the partition and the key under which a value stands, each with its length, so
//! a value that was moved to another user, or read as another kind, does not open. The end of validity stands inside;
//! what a store keeps beside it only frees memory.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::domain::time::Timestamp;

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 2;
const NONCE_LEN: usize = 24;

/// Where a sealed value stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub kind: &'a str,
    pub partition: &'a str,
    pub key: &'a str,
}

/// An opened value.
pub struct Opened {
    pub expires_at: Timestamp,
    pub plain: Zeroizing<Vec<u8>>,
}

/// Why a value was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Written under a master key that this process does not have.
    #[error("sealed with master key {0}, which is not configured")]
    UnknownKey(u8),
    /// Damaged, moved, or made by somebody else.
    #[error("does not open: damaged, moved or forged")]
    Damaged,
    #[error("the system's random generator failed")]
    NoRandomness,
}

/// Seals and opens values of one kind under numbered keys; seals with the highest number unless told otherwise.
#[derive(Clone)]
pub struct Sealer {
    ciphers: BTreeMap<u8, XChaCha20Poly1305>,
    current: u8,
}

impl Sealer {
    pub fn new(keys: impl IntoIterator<Item = (u8, Zeroizing<[u8; 32]>)>) -> Self {
        let ciphers: BTreeMap<_, _> =
            keys.into_iter().map(|(number, key)| (number, XChaCha20Poly1305::new((&*key).into()))).collect();
        let current = ciphers.last_key_value().map_or(0, |(number, _)| *number);
        Self { ciphers, current }
    }

    /// Seals with this number from here on: a newer key may be known before it is used.
    #[must_use]
    pub fn sealing_with(self, current: u8) -> Self {
        Self { current, ..self }
    }

    pub fn seal(&self, place: &Place<'_>, expires_at: Timestamp, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let number = &self.current;
        let cipher = self.ciphers.get(number).ok_or(SealError::UnknownKey(*number))?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_unspecified| SealError::NoRandomness)?;
        let mut message = Zeroizing::new(Vec::with_capacity(8 + plain.len()));
        message.extend_from_slice(&expires_at.micros().to_be_bytes());
        message.extend_from_slice(plain);
        let aad = associated_data(*number, place);
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &message, aad: &aad })
            .map_err(|_opaque| SealError::Damaged)?;
        let mut value = Vec::with_capacity(HEAD_LEN + NONCE_LEN + sealed.len());
        value.extend_from_slice(&[FORMAT, *number]);
        value.extend_from_slice(&nonce);
        value.extend_from_slice(&sealed);
        Ok(value)
    }

    pub fn open(&self, place: &Place<'_>, value: &[u8]) -> Result<Opened, SealError> {
        let ([format, number], rest) = value.split_first_chunk::<HEAD_LEN>().ok_or(SealError::Damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        if *format != FORMAT {
            return Err(SealError::Damaged);
        }
        let cipher = self.ciphers.get(number).ok_or(SealError::UnknownKey(*number))?;
        let aad = associated_data(*number, place);
        let message = cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_opaque| SealError::Damaged)?;
        let (expires_at, plain) = message.split_first_chunk::<8>().ok_or(SealError::Damaged)?;
        Ok(Opened {
            expires_at: Timestamp::from_micros(i64::from_be_bytes(*expires_at)),
            plain: Zeroizing::new(plain.to_vec()),
        })
    }
}

fn associated_data(number: u8, place: &Place<'_>) -> Vec<u8> {
    let mut data = vec![FORMAT, number];
    for part in [place.kind, place.partition, place.key] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'_> = Place { kind: "session", partition: "ab", key: "c" };

    fn sealer(numbers: &[u8]) -> Sealer {
        Sealer::new(numbers.iter().map(|number| (*number, Zeroizing::new([*number; 32]))))
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let sealed = sealer(&[1]).seal(&HERE, Timestamp::from_secs(7), b"plain").unwrap();
        let opened = sealer(&[1]).open(&HERE, &sealed).unwrap();
        assert_eq!((opened.expires_at, opened.plain.as_slice()), (Timestamp::from_secs(7), b"plain".as_slice()));
        for place in [
            Place { kind: "code", ..HERE },
            Place { partition: "a", key: "bc", ..HERE },
            Place { partition: "abc", key: "", ..HERE },
            Place { key: "d", ..HERE },
        ] {
            assert_eq!(sealer(&[1]).open(&place, &sealed).err(), Some(SealError::Damaged), "{place:?}");
        }
    }

    #[test]
    fn a_changed_byte_does_not_open() {
        let sealed = sealer(&[1]).seal(&HERE, Timestamp::from_secs(7), b"plain").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(sealer(&[1]).open(&HERE, &changed).is_err(), "byte {index}");
            assert!(sealer(&[1]).open(&HERE, &sealed[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn the_newest_key_seals_and_every_known_key_opens() {
        let old = sealer(&[1]).seal(&HERE, Timestamp::MAX, b"x").unwrap();
        let new = sealer(&[1, 2]).seal(&HERE, Timestamp::MAX, b"x").unwrap();
        assert_eq!((old[1], new[1]), (1, 2));
        assert!(sealer(&[1, 2]).open(&HERE, &old).is_ok());
        let known = sealer(&[1, 2]).sealing_with(1);
        assert_eq!(known.seal(&HERE, Timestamp::MAX, b"x").unwrap()[1], 1, "known before it is used");
        assert!(known.open(&HERE, &new).is_ok());
        assert_eq!(sealer(&[1]).open(&HERE, &new).err(), Some(SealError::UnknownKey(2)));
    }

    /// Whoever writes to the vault makes nothing that opens, and what opens is read or refused.
    #[test]
    fn hostile_values() {
        let sealer = Sealer::new([(1, Zeroizing::new([7; 32]))]);
        let place = Place { kind: "session", partition: "p", key: "k" };
        let value = sealer.seal(&place, Timestamp::from_secs(1), b"value").unwrap();
        postern_rig::fuzz::fuzz("sealed_value", &[&value], |input| {
            assert!(sealer.open(&place, input).is_err() || input == value);
        });
    }
}
