//! Hashes that other programs made. They are checked as they are, and replaced by one of ours when their owner signs in; none
//! is ever made here. Which forms there are says [`read`].
//!
//! A hash says what it costs to check it, so it is a way to exhaust the machine: what asks for too much is refused at the
//! import, and once more before it is computed.

mod read;

pub(super) use read::stored;

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{HashError, failed};

/// What is kept of a hash.
const TEXT_BYTES_MAX: usize = 512;
/// Makers have 10 to 14; each step doubles the time, and 15 takes two seconds.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=15;
/// What bcrypt looks at.
const BCRYPT_BYTES_MAX: usize = 72;
/// A little above what Django (1.5 million) and OWASP (1.3 million of SHA-1) ask for.
const PBKDF2_ITERATIONS_MAX: u32 = 2_000_000;
/// Eight times what passlib makes by default.
const SCRYPT_WORK_MAX: u64 = 1 << 22;
/// As for argon2.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
const OUTPUT_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
const SALT_BYTES_MAX: usize = 128;
/// Firebase has one for a project; its length is that of its hashes.
const SIGNER_KEY_BYTES_MAX: usize = 128;

/// Why a hash cannot be taken over. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignHashError {
    #[error("is longer than any hash")]
    TooLong,
    #[error("is of no form that is known here (docs/importing.md lists them)")]
    Unknown,
    #[error("is not a well-formed hash of {0}")]
    Malformed(&'static str),
    #[error("asks for more work than may be done for it: {0}")]
    TooDear(&'static str),
    #[error("cannot be checked: {0}")]
    Unusable(&'static str),
}

/// A hash that another program made, of a form and at a cost that can be checked.
pub struct ForeignHash {
    text: SecretString,
    scheme: String,
}

impl ForeignHash {
    /// Reads what another program wrote.
    pub fn parse(text: &str) -> Result<Self, ForeignHashError> {
        let (text, stored) = read::any(text.trim_ascii())?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(ForeignHashError::TooLong);
        }
        Ok(Self { scheme: stored.scheme(), text: SecretString::from(text) })
    }

    /// As it is kept.
    pub fn stored(&self) -> SecretString {
        self.text.clone()
    }

    /// What it costs to check it; the same for all hashes that cost the same.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }
}

/// A foreign hash taken apart.
#[derive(Debug)]
pub(super) struct Foreign {
    work: Work,
    salt: Vec<u8>,
    pub(super) output: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Bcrypt { cost: u32, before: Before },
    Pbkdf2 { digest: Digest, iterations: NonZeroU32 },
    Scrypt { log_n: u8, r: u32, p: u32, signer_key: Option<Vec<u8>> },
}

/// What is done to a password before bcrypt looks at it, since it looks at 72 bytes only.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Django.
    Sha256Hex,
    /// passlib, the first version.
    Sha256Base64,
    /// passlib, the second one: keyed by the salt as it is written.
    HmacBase64(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|digest| digest.name() == name)
    }

    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

impl Work {
    /// Refuses what costs more than may be.
    fn bounded(self) -> Result<Self, ForeignHashError> {
        match &self {
            Self::Bcrypt { cost, .. } if cost < BCRYPT_COST.start() => Err(ForeignHashError::Malformed("bcrypt")),
            Self::Bcrypt { cost, .. } if cost > BCRYPT_COST.end() => Err(ForeignHashError::TooDear("a cost above 15")),
            Self::Pbkdf2 { iterations, .. } if iterations.get() > PBKDF2_ITERATIONS_MAX => {
                Err(ForeignHashError::TooDear("more than 2,000,000 iterations"))
            }
            Self::Scrypt { log_n, r, p, .. } => {
                let blocks = 1_u64.checked_shl((*log_n).into()).filter(|_| *log_n < 32).unwrap_or(u64::MAX);
                let work = blocks.saturating_mul((*r).into());
                if *log_n == 0 || *r == 0 || *p == 0 {
                    Err(ForeignHashError::Malformed("scrypt"))
                } else if work.saturating_mul(128) > SCRYPT_BYTES_MAX {
                    Err(ForeignHashError::TooDear("more than 256 MiB"))
                } else if work.saturating_mul((*p).into()) > SCRYPT_WORK_MAX {
                    Err(ForeignHashError::TooDear("N × r × p above 4,194,304"))
                } else {
                    Ok(self)
                }
            }
            Self::Bcrypt { .. } | Self::Pbkdf2 { .. } => Ok(self),
        }
    }
}

impl Foreign {
    fn new(work: Work, salt: Vec<u8>, output: Vec<u8>, form: &'static str) -> Result<Self, ForeignHashError> {
        let work = work.bounded()?;
        let key = match &work {
            Work::Scrypt { signer_key: Some(key), .. } => Some(key.len()),
            _ => None,
        };
        let fits = match key {
            Some(len) => len == output.len() && (1..=SIGNER_KEY_BYTES_MAX).contains(&len),
            None => OUTPUT_BYTES.contains(&output.len()),
        };
        if !fits || salt.len() > SALT_BYTES_MAX {
            return Err(ForeignHashError::Malformed(form));
        }
        Ok(Self { work, salt, output })
    }

    /// What `password` comes to with the salt and at the cost of this one.
    pub(super) fn compute(&self, password: &[u8]) -> Result<Vec<u8>, HashError> {
        Ok(match &self.work {
            Work::Bcrypt { cost, before } => {
                let password = before.applied_to(password);
                // As it is in C: with the zero at the end of a string, if that still fits.
                let mut looked_at = Zeroizing::new(password.clone());
                looked_at.push(0);
                looked_at.truncate(BCRYPT_BYTES_MAX);
                let salt = self.salt.as_slice().try_into().map_err(failed)?;
                // The last byte is not written down by any program.
                bcrypt::bcrypt(*cost, salt, &looked_at).iter().copied().take(self.output.len()).collect()
            }
            Work::Pbkdf2 { digest, iterations } => {
                let mut output = vec![0; self.output.len()];
                pbkdf2::derive(digest.algorithm(), *iterations, &self.salt, password, &mut output);
                output
            }
            Work::Scrypt { log_n, r, p, signer_key } => {
                let params = scrypt::Params::new(*log_n, *r, *p).map_err(failed)?;
                let len = if signer_key.is_some() { 32 } else { self.output.len() };
                let mut derived = Zeroizing::new(vec![0; len]);
                scrypt::scrypt(password, &self.salt, &params, &mut derived).map_err(failed)?;
                match signer_key {
                    None => derived.to_vec(),
                    Some(signer_key) => encrypted(&derived, signer_key)?,
                }
            }
        })
    }

    pub(super) fn scheme(&self) -> String {
        match &self.work {
            Work::Bcrypt { cost, .. } => format!("bcrypt:{cost}"),
            Work::Pbkdf2 { digest, iterations } => {
                // Each block of output costs all iterations.
                format!("pbkdf2-{}:{iterations}:{}", digest.name(), self.output.len())
            }
            Work::Scrypt { log_n, r, p, .. } => format!("scrypt:{log_n}:{r}:{p}"),
        }
    }

    /// A hash that costs what those of a scheme cost, to be measured; its output is that of no known password.
    pub(super) fn sample(scheme: &str) -> Option<Self> {
        let mut parts = scheme.split(':');
        let kind = parts.next()?;
        let mut number = || parts.next()?.parse::<u32>().ok();
        let (work, len) = match kind {
            "bcrypt" => (Work::Bcrypt { cost: number()?, before: Before::Nothing }, 23),
            "scrypt" => {
                let log_n = u8::try_from(number()?).ok()?;
                (Work::Scrypt { log_n, r: number()?, p: number()?, signer_key: None }, 64)
            }
            _ => {
                let digest = Digest::from_name(kind.strip_prefix("pbkdf2-")?)?;
                let iterations = NonZeroU32::new(number()?)?;
                (Work::Pbkdf2 { digest, iterations }, usize::try_from(number()?).ok()?)
            }
        };
        Self::new(work, vec![0; 16], vec![0; len], "sample").ok()
    }
}

impl Before {
    fn applied_to(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let sha256 = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes);
        Zeroizing::new(match self {
            Self::Nothing => password.to_vec(),
            Self::Sha256Hex => {
                sha256(password).as_ref().iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
            }
            Self::Sha256Base64 => STANDARD.encode(sha256(password)).into_bytes(),
            Self::HmacBase64(salt) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
                STANDARD.encode(hmac::sign(&key, password)).into_bytes()
            }
        })
    }
}

/// AES-256 in counter mode from zero: Firebase keeps its own key, encrypted under what the password comes to.
fn encrypted(key: &[u8], text: &[u8]) -> Result<Vec<u8>, HashError> {
    let key = UnboundCipherKey::new(&AES_256, key).map_err(failed)?;
    let mut text = text.to_vec();
    let zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    EncryptingKey::ctr(key).map_err(failed)?.less_safe_encrypt(&mut text, zero).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
