//! Master keys, and what is derived from them (HKDF-SHA256, RFC 5869, salt `postern/v1`).
//!
//! A key file holds one line a key: `postern-master-key <number> <base64url of 32 bytes>`; blank lines and lines that
//! begin with `#` are passed over. The line `current <number>` names the one that is used for what is new (the highest
//! if there is no such line); the others open what they sealed. So a new key can be known on every server before the
//! first one uses it, and an old one can be kept until nothing is left that it opens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::domain::refresh_token::{ChainKey, TagKey};
use crate::vault::seal::Sealer;

const WORD: &str = "postern-master-key";
const CURRENT: &str = "current";
const SALT: &[u8] = b"postern/v1";

/// The file or variable does not hold master keys. Never shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    #[error("holds no master key; a line reads `postern-master-key <number> <base64url of 32 bytes>`")]
    Empty,
    #[error(
        "line {0} is neither `postern-master-key <number 1 to 255> <base64url of 32 bytes>` nor the only `current <number>`"
    )]
    Line(usize),
    #[error("has two keys with number {0}")]
    Twice(u8),
    #[error("names key {0} as current and does not hold it")]
    CurrentMissing(u8),
    #[error("holds no key {0}")]
    Unknown(u8),
    #[error("uses key {0} for what is new")]
    InUse(u8),
    #[error("has no number left: 255 is the last")]
    Full,
    #[error("key {0} has no randomness in it")]
    Weak(u8),
    #[error("the system's random generator failed")]
    NoRandomness,
}

/// All configured master keys.
pub struct MasterKeys {
    keys: BTreeMap<u8, Arc<MasterKey>>,
    current: Arc<MasterKey>,
}

/// One master key's derived keys for refresh tokens and names, with its number.
pub struct MasterKey {
    prk: hkdf::Prk,
    pub number: u8,
    pub tag: TagKey,
    pub chain: ChainKey,
    names: hmac::Key,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeys").field("numbers", &self.keys.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl MasterKeys {
    /// The text of a new key file with one key, number 1.
    pub fn generate() -> Result<SecretString, MasterKeyError> {
        Ok(SecretString::from(format!("{}\n", new_line(1)?.as_str())))
    }

    /// The text of a key file with one more key, which is known from now on and not used yet; and its number.
    pub fn extend(text: &SecretString) -> Result<(SecretString, u8), MasterKeyError> {
        let keys = Self::parse(text)?;
        let highest = keys.keys.last_key_value().map_or(0, |(number, _)| *number);
        let number = highest.checked_add(1).ok_or(MasterKeyError::Full)?;
        let text = text.expose_secret().trim_end_matches('\n');
        let names_current = text.lines().any(|line| first_word(line) == Some(CURRENT));
        let current = if names_current { String::new() } else { format!("{CURRENT} {}\n", keys.current.number) };
        let added = format!("{text}\n{}\n{current}", new_line(number)?.as_str());
        Ok((SecretString::from(added), number))
    }

    /// The text of a key file in which the key of this number is the one that is used.
    pub fn using(text: &SecretString, number: u8) -> Result<SecretString, MasterKeyError> {
        Self::parse(text)?.get(number).ok_or(MasterKeyError::Unknown(number))?;
        let lines = text.expose_secret().lines().filter(|line| first_word(line) != Some(CURRENT));
        let kept = Zeroizing::new(lines.fold(String::new(), |text, line| text + line + "\n"));
        Ok(SecretString::from(format!("{}{CURRENT} {number}\n", kept.as_str())))
    }

    /// The text of a key file without the key of this number, which is not the one that is used.
    pub fn without(text: &SecretString, number: u8) -> Result<SecretString, MasterKeyError> {
        let keys = Self::parse(text)?;
        keys.get(number).ok_or(MasterKeyError::Unknown(number))?;
        if keys.current.number == number {
            return Err(MasterKeyError::InUse(number));
        }
        let is_it = |line: &&str| parse_line(line.trim()).is_some_and(|(own, _)| own == number);
        let lines = text.expose_secret().lines().filter(|line| !is_it(line));
        Ok(SecretString::from(lines.fold(String::new(), |text, line| text + line + "\n")))
    }

    pub fn parse(text: &SecretString) -> Result<Self, MasterKeyError> {
        let (mut keys, mut current) = (BTreeMap::new(), None);
        for (index, line) in text.expose_secret().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(number) = line.strip_prefix(CURRENT) {
                let number = number.trim().parse().ok().filter(|_| current.is_none());
                current = Some(number.ok_or(MasterKeyError::Line(index + 1))?);
                continue;
            }
            let (number, bytes) = parse_line(line).ok_or(MasterKeyError::Line(index + 1))?;
            // A file of zeros or of one repeated letter is a mistake, not a key.
            if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
                return Err(MasterKeyError::Weak(number));
            }
            if keys.insert(number, Arc::new(MasterKey::derive(number, &bytes))).is_some() {
                return Err(MasterKeyError::Twice(number));
            }
        }
        let highest = keys.keys().next_back().copied().ok_or(MasterKeyError::Empty)?;
        let current = current.unwrap_or(highest);
        let current = keys.get(&current).map(Arc::clone).ok_or(MasterKeyError::CurrentMissing(current))?;
        Ok(Self { keys, current })
    }

    /// The key for what is new.
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    pub fn get(&self, number: u8) -> Option<&MasterKey> {
        self.keys.get(&number).map(AsRef::as_ref)
    }

    /// Each key's number and check value: four bytes that stop a process started with other bytes under one number.
    pub fn check_values(&self) -> impl Iterator<Item = (u8, [u8; 4])> + '_ {
        self.keys.values().map(|key| (key.number, key.prk_bytes::<4>("check")))
    }

    /// Seals and opens values of `kind`.
    pub fn sealer(&self, kind: &str) -> Sealer {
        let label = format!("seal/{kind}");
        self.sealer_of(&label)
    }

    /// Seals and opens signing keys.
    pub fn keyring_sealer(&self) -> Sealer {
        self.sealer_of("keyring")
    }

    fn sealer_of(&self, label: &str) -> Sealer {
        Sealer::new(self.keys_for(label)).sealing_with(self.current.number)
    }

    /// What is derived of each for one purpose, by number.
    pub(super) fn keys_for(&self, label: &str) -> impl Iterator<Item = (u8, Zeroizing<[u8; 32]>)> {
        self.keys.values().map(move |key| (key.number, Zeroizing::new(key.prk_bytes::<32>(label))))
    }
}

impl MasterKey {
    fn derive(number: u8, bytes: &[u8; 32]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes);
        let tag = Zeroizing::new(expand::<32>(&prk, "refresh-tag"));
        let chain = Zeroizing::new(expand::<32>(&prk, "refresh-chain"));
        let names = Zeroizing::new(expand::<32>(&prk, "names"));
        let names = hmac::Key::new(hmac::HMAC_SHA256, names.as_slice());
        Self { prk, number, tag: TagKey::new(number, &tag), chain: ChainKey::new(&chain), names }
    }

    /// Under which name the vault keeps what belongs to a secret that was handed out. Keyed, so that who reads the vault
    /// can neither present the secret nor check a guess.
    pub fn name(&self, kind: &str, secret: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.names);
        for part in [kind.as_bytes(), secret] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        URL_SAFE_NO_PAD.encode(context.sign().as_ref())
    }

    fn prk_bytes<const N: usize>(&self, label: &str) -> [u8; N] {
        expand(&self.prk, label)
    }
}

fn expand<const N: usize>(prk: &hkdf::Prk, label: &str) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; N];
    let filled = prk.expand(&[label.as_bytes()], Length(N)).and_then(|okm| okm.fill(&mut bytes));
    // HKDF fails only above 255 blocks; all lengths here are at most one.
    assert!(filled.is_ok(), "HKDF of {N} bytes");
    bytes
}

fn new_line(number: u8) -> Result<Zeroizing<String>, MasterKeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_unspecified| MasterKeyError::NoRandomness)?;
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    Ok(Zeroizing::new(format!("{WORD} {number} {}", encoded.as_str())))
}

fn first_word(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().next()
}

fn parse_line(line: &str) -> Option<(u8, Zeroizing<[u8; 32]>)> {
    let mut words = line.split_ascii_whitespace();
    let (word, number, key) = (words.next()?, words.next()?, words.next()?);
    if word != WORD || words.next().is_some() {
        return None;
    }
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(key).ok()?);
    Some((number, Zeroizing::new(bytes.as_slice().try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MasterKeys, MasterKeyError> {
        MasterKeys::parse(&SecretString::from(text))
    }

    #[test]
    fn a_generated_key_is_read_back() {
        let text = MasterKeys::generate().unwrap();
        let (one, again) = (MasterKeys::parse(&text).unwrap(), MasterKeys::parse(&text).unwrap());
        assert_eq!(one.check_values().collect::<Vec<_>>(), again.check_values().collect::<Vec<_>>());
        let other = MasterKeys::parse(&MasterKeys::generate().unwrap()).unwrap();
        assert_ne!(one.check_values().collect::<Vec<_>>(), other.check_values().collect::<Vec<_>>());
    }

    #[test]
    fn the_highest_number_is_current() {
        let a = URL_SAFE_NO_PAD.encode((0..32).collect::<Vec<u8>>());
        let b = URL_SAFE_NO_PAD.encode((1..33).collect::<Vec<u8>>());
        let keys = parse(&format!("# two\n\n{WORD} 2 {b}\n{WORD} 1 {a}\n")).unwrap();
        assert_eq!(keys.current().number, 2);
        assert!(keys.get(1).is_some() && keys.get(3).is_none());
        assert_eq!(format!("{keys:?}"), "MasterKeys { numbers: [1, 2], .. }");
    }

    #[test]
    fn a_new_key_is_known_before_it_is_used() {
        let numbers = |keys: &MasterKeys| keys.check_values().map(|(number, _)| number).collect::<Vec<_>>();
        let one = MasterKeys::generate().unwrap();
        let (two, number) = MasterKeys::extend(&one).unwrap();
        let keys = MasterKeys::parse(&two).unwrap();
        assert_eq!((number, keys.current().number, numbers(&keys)), (2, 1, vec![1, 2]));
        let kept: Vec<_> = MasterKeys::parse(&one).unwrap().check_values().collect();
        assert!(keys.check_values().any(|value| kept.contains(&value)), "the old one is the old one");
        let used = SecretString::from(two.expose_secret().replace("current 1", "current 2"));
        assert_eq!(MasterKeys::parse(&used).unwrap().current().number, 2);
        let (three, number) = MasterKeys::extend(&used).unwrap();
        let keys = MasterKeys::parse(&three).unwrap();
        assert_eq!((number, keys.current().number, numbers(&keys)), (3, 2, vec![1, 2, 3]));
        let last = SecretString::from(one.expose_secret().replace(" 1 ", " 255 "));
        assert_eq!(MasterKeys::extend(&last).err(), Some(MasterKeyError::Full));
    }

    #[test]
    fn a_key_is_used_and_another_dropped() {
        let one = SecretString::from(format!("# ours\n{}", MasterKeys::generate().unwrap().expose_secret()));
        let (two, _) = MasterKeys::extend(&one).unwrap();
        let used = MasterKeys::using(&two, 2).unwrap();
        assert_eq!(MasterKeys::parse(&used).unwrap().current().number, 2);
        assert_eq!(MasterKeys::using(&used, 3).err(), Some(MasterKeyError::Unknown(3)));
        assert_eq!(MasterKeys::without(&used, 3).err(), Some(MasterKeyError::Unknown(3)));
        assert_eq!(MasterKeys::without(&used, 2).err(), Some(MasterKeyError::InUse(2)));
        let dropped = MasterKeys::without(&used, 1).unwrap();
        let keys = MasterKeys::parse(&dropped).unwrap();
        assert_eq!((keys.current().number, keys.get(1).is_none()), (2, true));
        let expected = used.expose_secret().lines().filter(|line| !line.starts_with(&format!("{WORD} 1 ")));
        assert!(dropped.expose_secret().lines().eq(expected), "all else is as it was");
        // A lone file names none as current.
        assert_eq!(MasterKeys::without(&one, 1).err(), Some(MasterKeyError::InUse(1)));
    }

    #[test]
    fn what_is_no_key_is_named() {
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        let short = URL_SAFE_NO_PAD.encode((0..31).collect::<Vec<u8>>());
        let good = URL_SAFE_NO_PAD.encode((0..32).collect::<Vec<u8>>());
        for (text, error) in [
            (String::new(), MasterKeyError::Empty),
            ("secret".into(), MasterKeyError::Line(1)),
            (format!("\n{WORD} 0 {good}"), MasterKeyError::Line(2)),
            (format!("{WORD} 1 {short}"), MasterKeyError::Line(1)),
            (format!("{WORD} 1 {zeros}"), MasterKeyError::Weak(1)),
            (format!("{WORD} 1 {good}\n{WORD} 1 {good}"), MasterKeyError::Twice(1)),
            (format!("{WORD} 1 {good}\ncurrent 2"), MasterKeyError::CurrentMissing(2)),
            (format!("{WORD} 1 {good}\ncurrent 1\ncurrent 1"), MasterKeyError::Line(3)),
            (format!("{WORD} 1 {good}\ncurrent"), MasterKeyError::Line(2)),
            (format!("current 1\n{WORD} 1 {good}\ncurrently 1"), MasterKeyError::Line(3)),
            ("current 1".into(), MasterKeyError::Empty),
        ] {
            assert_eq!(parse(&text).err(), Some(error), "{text}");
        }
    }
}
