//! The refresh token: `ptr_` and 90 bytes in canonical unpadded base64url (124 characters), one spelling per token.
//!
//! `format(1) | key(1) | user(16) | session(16) | generation(4) | issued(4) | secret(32) | tag(16)`. The tag, a MAC over
//! all before it, lets a forged or mangled token be refused without touching a store. The secret follows from the
//! session's sealed seed, so any copy of the record, however old, proves any generation, and the tag key alone proves
//! nothing.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{Seed, Session};
use crate::domain::time::Timestamp;

/// The whole token's length in characters.
pub const TOKEN_LEN: usize = PREFIX.len() + 120;

const PREFIX: &str = "ptr_";
const FORMAT: u8 = 1;
const SIGNED_LEN: usize = 74;
const BYTES_LEN: usize = SIGNED_LEN + 16;

/// A refresh token taken apart. Only [`TagKey::open`] makes one from text, so its tag is proven.
#[derive(Clone)]
pub struct Presented {
    pub key: u8,
    pub user: UserId,
    pub session: SessionId,
    pub generation: u32,
    /// Whole seconds.
    pub issued: Timestamp,
    pub secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("session", &self.session)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Not a refresh token of ours, or not in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token of this service")]
pub struct InvalidToken;

/// The number of the master key that a token names, before anything about it is proven; `None` for what cannot be one.
pub fn key_number(token: &str) -> Option<u8> {
    decode(token).and_then(|bytes| bytes.get(1).copied())
}

fn decode(token: &str) -> Option<Zeroizing<[u8; BYTES_LEN]>> {
    if token.len() != TOKEN_LEN {
        return None;
    }
    let mut bytes = Zeroizing::new([0; BYTES_LEN]);
    // 90 bytes are 120 characters without spare bits, and the engine refuses padding and foreign letters, so equal
    // bytes mean equal text.
    let written = URL_SAFE_NO_PAD.decode_slice(token.strip_prefix(PREFIX)?, bytes.as_mut_slice()).ok()?;
    (written == BYTES_LEN && bytes.first() == Some(&FORMAT)).then_some(bytes)
}

/// Makes and checks tags.
pub struct TagKey {
    number: u8,
    key: hmac::Key,
}

impl TagKey {
    pub fn new(number: u8, key: &[u8; 32]) -> Self {
        Self { number, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// Takes a token apart if its tag is ours.
    pub fn open(&self, token: &str) -> Result<Presented, InvalidToken> {
        let bytes = decode(token).ok_or(InvalidToken)?;
        let (signed, tag) = bytes.split_at(SIGNED_LEN);
        let expected = hmac::sign(&self.key, signed);
        let expected = expected.as_ref().get(..tag.len()).ok_or(InvalidToken)?;
        verify_slices_are_equal(expected, tag).map_err(|_unequal| InvalidToken)?;
        let mut fields = Fields(signed);
        let [_format, key] = fields.take()?;
        if key != self.number {
            return Err(InvalidToken);
        }
        Ok(Presented {
            key,
            user: UserId::from_uuid(uuid::Uuid::from_bytes(fields.take()?)),
            session: SessionId::from_uuid(uuid::Uuid::from_bytes(fields.take()?)),
            generation: u32::from_be_bytes(fields.take()?),
            issued: Timestamp::from_secs(i64::from(u32::from_be_bytes(fields.take()?))),
            secret: Zeroizing::new(fields.take()?),
        })
    }

    /// The current token of `session`.
    pub fn issue(&self, session: &Session, chain: &ChainKey) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_LEN));
        bytes.extend_from_slice(&[FORMAT, self.number]);
        bytes.extend_from_slice(session.user.uuid().as_bytes());
        bytes.extend_from_slice(session.id.uuid().as_bytes());
        bytes.extend_from_slice(&session.generation.to_be_bytes());
        let issued = u32::try_from(session.advanced_at.secs()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&issued.to_be_bytes());
        let secret = chain.secret(&session.seed, session.user, session.id, session.generation);
        bytes.extend_from_slice(secret.as_ref());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref().iter().take(BYTES_LEN - SIGNED_LEN));
        let mut token = String::with_capacity(TOKEN_LEN);
        token.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut token);
        SecretString::from(token)
    }
}

/// Derives the secrets of a session from its seed.
pub struct ChainKey(hmac::Key);

impl ChainKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Whether the presented secret is the one that follows from the seed.
    pub fn proves(&self, seed: &Seed, presented: &Presented) -> bool {
        let expected = self.secret(seed, presented.user, presented.session, presented.generation);
        verify_slices_are_equal(expected.as_ref(), presented.secret.as_slice()).is_ok()
    }

    fn secret(&self, seed: &Seed, user: UserId, session: SessionId, generation: u32) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(seed.as_bytes());
        context.update(user.uuid().as_bytes());
        context.update(session.uuid().as_bytes());
        context.update(&generation.to_be_bytes());
        context.sign()
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], InvalidToken> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(InvalidToken)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests;
