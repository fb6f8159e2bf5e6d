//! Tickets: one-time secrets that are handed out and find a record in the vault. A master key's number and 32 random
//! bytes, in 44 letters of base64url without a spare bit, so that each has one spelling.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::auth::error::AuthError;
use crate::auth::master_key::MasterKeys;

const SECRET_LEN: usize = 32;

/// A secret that was handed out, or will be.
pub(super) struct Ticket {
    key: u8,
    secret: Zeroizing<[u8; SECRET_LEN]>,
}

impl Ticket {
    /// Under the master key that is used for what is new.
    pub(super) fn generate(masters: &MasterKeys) -> Result<Self, AuthError> {
        Ok(Self { key: masters.current().number, secret: random()? })
    }

    pub(super) fn encode(&self, prefix: &str) -> SecretString {
        let mut bytes = Zeroizing::new(vec![self.key]);
        bytes.extend_from_slice(self.secret.as_slice());
        SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    pub(super) fn parse(prefix: &str, ticket: &SecretString) -> Option<Self> {
        let text = ticket.expose_secret().strip_prefix(prefix)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let (key, secret) = bytes.split_first()?;
        Some(Self { key: *key, secret: Zeroizing::new(secret.try_into().ok()?) })
    }

    /// A ticket that follows from this one and does not lead back to it: who holds it finds the same things by
    /// another name, and cannot present the first.
    pub(super) fn shadow(&self) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret.copy_from_slice(digest::digest(&digest::SHA256, self.secret.as_slice()).as_ref());
        Self { key: self.key, secret }
    }

    /// Under which name the vault has its record; `None` under a master key that is gone.
    pub(super) fn name(&self, masters: &MasterKeys, kind: &str) -> Option<String> {
        masters.get(self.key).map(|key| key.name(kind, self.secret.as_slice()))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Fresh random bytes.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, AuthError> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(AuthError::internal)?;
    Ok(bytes)
}

/// SHA-256 of a secret's text, as records keep it.
pub(super) fn digest_of(secret: &SecretString) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret.expose_secret().as_bytes()).as_ref().to_vec()
}

/// S256 of a verifier (RFC 7636, section 4.2).
pub(super) fn s256(verifier: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(digest_of(verifier))
}

/// Compares without telling by its time where the two differ.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket { key: 7, secret: random().unwrap() }
    }

    #[test]
    fn a_ticket_has_one_spelling() {
        let ticket = ticket();
        let text = ticket.encode("pch_").expose_secret().to_owned();
        assert_eq!(text.len(), 48);
        let parse = |text: &str| Ticket::parse("pch_", &SecretString::from(text));
        let again = parse(&text).unwrap();
        assert_eq!((again.key, *again.secret), (7, *ticket.secret));
        assert_eq!(again.encode("pch_").expose_secret(), text);
        for wrong in [
            String::new(),
            "pch_".to_owned(),
            text.replacen("pch_", "ptr_", 1),
            format!("{text}A"),
            format!("{text}="),
            format!("{text} "),
            text[..47].to_owned(),
            format!("pch_{}", "é".repeat(22)),
        ] {
            assert!(parse(&wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{ticket:?}").contains("secret"));
    }

    #[test]
    fn a_shadow_leads_one_way() {
        let ticket = ticket();
        let shadow = ticket.shadow();
        assert_eq!(*shadow.secret, *ticket.shadow().secret);
        assert_ne!(*shadow.secret, *ticket.secret);
        assert_ne!(*shadow.shadow().secret, *ticket.secret);
    }

    /// RFC 7636, appendix B.
    #[test]
    fn s256_is_the_standards() {
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(s256(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
