//! Peppers: keys that go into each password's hash and are kept out of the database (RFC 9106, section 3.1: the secret value
//! K). Who has read the database alone cannot even begin to guess.
//!
//! The file is one of master keys, of its own: it is made, extended and thinned out by the same commands, and what is said of
//! its numbers holds here. A hash names the pepper that is in it (`keyid` of the PHC string), so passwords move to the newest
//! one at their owners' next sign-ins.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::auth::master_key::{MasterKeyError, MasterKeys};

const KEY_LEN: usize = 32;

/// All peppers by number, and which one goes into new hashes. The default has none.
#[derive(Default)]
pub struct Peppers {
    keys: BTreeMap<u8, Zeroizing<[u8; KEY_LEN]>>,
    current: Option<u8>,
}

impl Peppers {
    pub fn parse(text: &SecretString) -> Result<Self, MasterKeyError> {
        let keys = MasterKeys::parse(text)?;
        Ok(Self { current: Some(keys.current().number), keys: keys.keys_for("pepper").collect() })
    }

    /// As a new hash names it: empty without one.
    pub(super) fn current(&self) -> &[u8] {
        self.current.as_slice()
    }

    /// The key that a hash names, which is empty where it names none; `None` if it is not among these.
    pub(super) fn named(&self, name: &[u8]) -> Option<&[u8]> {
        match name {
            [] => Some(&[]),
            [number] => self.keys.get(number).map(|key| key.as_slice()),
            _ => None,
        }
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peppers").field("numbers", &self.keys.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
