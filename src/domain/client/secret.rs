//! A client's secret: `pcs_` and 32 random bytes in canonical unpadded base64url (47 characters), one spelling each. It is
//! kept as its SHA-256 and found by it: with 256 random bits there is nothing to guess that a slow hash could protect, and a
//! look-up by digest tells nobody how much of a guess was right.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

const PREFIX: &str = "pcs_";
const BYTES_LEN: usize = 32;
const TEXT_LEN: usize = PREFIX.len() + 43;

/// A secret in clear: what a client presents, or what it is told once.
pub struct ClientSecret(Zeroizing<[u8; BYTES_LEN]>);

/// The SHA-256 of a secret's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretDigest([u8; 32]);

/// Not a secret in its one spelling; says nothing of what it is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `pcs_` and 43 letters, as `postern admin clients rotate-secret` makes it")]
pub struct InvalidSecret;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

impl ClientSecret {
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; BYTES_LEN]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_unspecified| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Whether a text claims to be one: it is then judged as one and as nothing else.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    pub fn digest(&self) -> SecretDigest {
        let digest = digest::digest(&digest::SHA256, self.0.as_slice());
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        SecretDigest(bytes)
    }

    /// As it is handed out.
    pub fn text(&self) -> SecretString {
        let mut text = String::with_capacity(TEXT_LEN);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut text);
        SecretString::from(text)
    }
}

impl FromStr for ClientSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        if text.len() != TEXT_LEN {
            return Err(InvalidSecret);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let mut bytes = Zeroizing::new([0; BYTES_LEN]);
        // The engine refuses padding, foreign letters and spare bits that are set, so equal bytes mean equal text.
        let written =
            URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut_slice()).map_err(|_not_base64| InvalidSecret)?;
        if written == BYTES_LEN { Ok(Self(bytes)) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret([redacted])")
    }
}

impl SecretDigest {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_secret_has_one_spelling() {
        let secret = ClientSecret::generate().unwrap();
        let text = secret.text();
        let text = text.expose_secret();
        assert_eq!((text.len(), ClientSecret::is_meant(text)), (TEXT_LEN, true));
        let read: ClientSecret = text.parse().unwrap();
        assert_eq!(read.digest(), secret.digest());
        assert_ne!(ClientSecret::generate().unwrap().digest(), secret.digest());
        let body = &text[PREFIX.len()..];
        for wrong in [
            String::new(),
            body.to_owned(),
            format!("{text}="),
            format!("{text}A"),
            format!(" {text}"),
            format!("PCS_{body}"),
            format!("ptr_{body}"),
            format!("pcs_{}", "+".repeat(43)),
            // The last letter of 32 bytes has two spare bits.
            format!("pcs_{}B", "A".repeat(42)),
            text[..TEXT_LEN - 1].to_owned(),
        ] {
            assert_eq!(wrong.parse::<ClientSecret>().err(), Some(InvalidSecret), "{wrong}");
        }
    }

    /// As others would compute it: `printf … | sha256sum` over the decoded bytes.
    #[test]
    fn the_digest_is_of_the_bytes() {
        let zeros: ClientSecret = format!("pcs_{}", "A".repeat(43)).parse().unwrap();
        let hex = 0x6668_7aad_f862_bd77_6c8f_c18b_8e9f_8e20_u128.to_be_bytes();
        assert_eq!(zeros.digest().as_bytes()[..16], hex);
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = ClientSecret::generate().unwrap();
        assert_eq!(format!("{secret:?}"), "ClientSecret([redacted])");
        assert!(!InvalidSecret.to_string().contains(secret.text().expose_secret()));
    }
}
