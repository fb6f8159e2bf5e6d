//! The gate that a provider's keys pass (RFC 7517, RFC 7518 section 6, RFC 8037 section 2): what is weak, of another purpose
//! or off its curve is no key. A set in which one name means two keys is no set.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use crate::domain::json;

/// More than anybody rotates through.
const KEYS_MAX: usize = 50;
const KID_BYTES_MAX: usize = 255;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// F4, below which exponents have a history.
const RSA_EXPONENT_MIN: u64 = 65_537;
/// What the library takes.
const RSA_EXPONENT_BITS_MAX: u32 = 33;
const ED25519_BYTES: usize = 32;
const UNCOMPRESSED: u8 = 4;

/// A key that checks signatures.
pub(super) struct Key {
    kid: Option<String>,
    /// What it may check: by its type, and by its `alg` if it has one.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// All that a provider publishes and that passed.
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// No set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKeySet;

impl KeySet {
    /// Keys that do not pass are left out: a provider may publish others for other purposes.
    pub(super) fn parse(body: &[u8]) -> Result<Self, NoKeySet> {
        let mut document: Map<String, Value> = json::parse_object(body).map_err(|_why| NoKeySet)?;
        let Some(Value::Array(entries)) = document.remove("keys") else { return Err(NoKeySet) };
        if entries.len() > KEYS_MAX {
            return Err(NoKeySet);
        }
        let mut kids = BTreeSet::new();
        for kid in entries.iter().filter_map(|entry| entry.get("kid")?.as_str()) {
            if !kids.insert(kid) {
                return Err(NoKeySet);
            }
        }
        // Whoever publishes a secret among public keys has mistaken one for the other.
        if entries.iter().any(|entry| entry.get("kty").and_then(Value::as_str) == Some("oct")) {
            return Err(NoKeySet);
        }
        Ok(Self { keys: entries.iter().filter_map(key).collect() })
    }

    /// The key of this name, or without a name the only one that fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid));
        let first = fitting.next()?;
        if fitting.next().is_none() { Some(first) } else { None }
    }
}

impl Key {
    /// Whether `signature`, in base64url, is its signature of `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, signature: &str, message: &[u8]) -> bool {
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm.in_jsonwebtoken())
                .unwrap_or(false)
    }
}

fn key(entry: &Value) -> Option<Key> {
    let entry = entry.as_object()?;
    let kid = match entry.get("kid") {
        None => None,
        Some(Value::String(kid)) if (1..=KID_BYTES_MAX).contains(&kid.len()) => Some(kid.clone()),
        Some(_) => return None,
    };
    // A private key that everybody has proves nothing.
    if !is_for_signatures(entry) || entry.contains_key("d") {
        return None;
    }
    let (of_its_type, decoding) = match text(entry, "kty")? {
        "RSA" => (&Algorithm::ALL[..4], rsa(entry)?),
        "EC" => match text(entry, "crv")? {
            "P-256" => (&[Algorithm::Es256][..], point(entry, 32, &ECDSA_P256_SHA256_FIXED)?),
            "P-384" => (&[Algorithm::Es384][..], point(entry, 48, &ECDSA_P384_SHA384_FIXED)?),
            _ => return None,
        },
        "OKP" if text(entry, "crv")? == "Ed25519" => (&[Algorithm::EdDsa][..], ed25519(entry)?),
        _ => return None,
    };
    let mut algorithms = of_its_type.to_vec();
    match entry.get("alg") {
        None => {}
        // One of its type, or else type and algorithm contradict each other.
        Some(Value::String(name)) => {
            algorithms.retain(|algorithm| algorithm.name() == name || is_ed25519(*algorithm, name));
        }
        Some(_) => return None,
    }
    if algorithms.is_empty() { None } else { Some(Key { kid, algorithms, decoding }) }
}

/// The name that RFC 9864 gives to what `EdDSA` means here.
fn is_ed25519(algorithm: Algorithm, name: &str) -> bool {
    algorithm == Algorithm::EdDsa && name == "Ed25519"
}

/// `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3), which must agree if both are there.
fn is_for_signatures(entry: &Map<String, Value>) -> bool {
    let is_use = entry.get("use").is_none_or(|purpose| purpose.as_str() == Some("sig"));
    let is_operation = entry.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| {
            let names: BTreeSet<_> = operations.iter().filter_map(Value::as_str).collect();
            names.len() == operations.len() && names.contains("verify") && names.iter().all(|name| *name == "verify")
        })
    });
    is_use && is_operation
}

fn rsa(entry: &Map<String, Value>) -> Option<DecodingKey> {
    let (modulus, exponent) = (number(entry, "n")?, number(entry, "e")?);
    let first = modulus.first()?;
    let bits = modulus.len() * 8 - usize::try_from(first.leading_zeros()).ok()?;
    let is_odd = modulus.last()? & 1 == 1;
    if !RSA_BITS.contains(&bits) || !is_odd || has_roca_fingerprint(&modulus) {
        return None;
    }
    if exponent.len() > 8 {
        return None;
    }
    let value = exponent.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
    let is_sound = value >= RSA_EXPONENT_MIN && value % 2 == 1 && value.ilog2() < RSA_EXPONENT_BITS_MAX;
    is_sound.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Keys of CVE-2017-15361 are powers of 65537 modulo each small prime, so that they can be told, and factored. Of a sound
/// key this is so once in 2^27 or less.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0u32, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * (65_537 % prime) % prime;
            power == remainder
        })
    })
}

fn point(entry: &Map<String, Value>, bytes: usize, curve: &'static EcdsaVerificationAlgorithm) -> Option<DecodingKey> {
    let (x, y) = (decoded(entry, "x")?, decoded(entry, "y")?);
    if x.len() != bytes || y.len() != bytes {
        return None;
    }
    let point = [vec![UNCOMPRESSED], x, y].concat();
    ParsedPublicKey::new(curve, &point).ok()?;
    Some(DecodingKey::from_ec_der(&point))
}

fn ed25519(entry: &Map<String, Value>) -> Option<DecodingKey> {
    let x = decoded(entry, "x")?;
    (x.len() == ED25519_BYTES && !entry.contains_key("y")).then(|| DecodingKey::from_ed_der(&x))
}

/// Without leading zeros, which some write although there should be none.
fn number(entry: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let bytes = decoded(entry, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec)
}

fn decoded(entry: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(entry, name)?).ok()
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}

#[cfg(test)]
mod tests;
