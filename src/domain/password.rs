//! Passwords as people choose them.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// More is refused before any work is done.
pub const BYTES_MAX: usize = 1024;
/// The configured minimum may not be lower.
pub const MIN_LENGTH_FLOOR: usize = 8;

/// A password in NFC, because a Korean keyboard and macOS do not agree otherwise. Nothing is trimmed, folded or cut.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Refuses only what is too long to be looked at.
    pub fn from_typed(text: &str) -> Result<Self, PasswordRule> {
        if text.len() > BYTES_MAX {
            return Err(PasswordRule::TooLong);
        }
        Ok(Self(Zeroizing::new(text.nfc().collect())))
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether this may become somebody's password. No composition rules: length is what counts.
    pub fn check_new(&self, min_length: usize) -> Result<(), PasswordRule> {
        if self.0.chars().count() < min_length { Err(PasswordRule::TooShort { min_length }) } else { Ok(()) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([redacted])")
    }
}

/// The rule that a new password breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRule {
    #[error("must have at least {min_length} characters")]
    TooShort { min_length: usize },
    #[error("must have at most {BYTES_MAX} bytes")]
    TooLong,
    #[error("must differ from the current one")]
    Unchanged,
}

impl PasswordRule {
    /// For `metadata.rule` of `PASSWORD_REFUSED`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "min_length",
            Self::TooLong => "max_bytes",
            Self::Unchanged => "unchanged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str, min: usize) -> Result<(), PasswordRule> {
        Password::from_typed(text).unwrap().check_new(min)
    }

    #[test]
    fn length_is_counted_in_code_points() {
        assert!(new("1234567", 8).is_err());
        assert!(new(&"가".repeat(15), 15).is_ok());
        assert!(new(&"가".repeat(14), 15).is_err());
        assert!(new(&"\u{1F600}".repeat(5), 15).is_err());
        assert!(new(&"\u{1F600}".repeat(64), 15).is_ok());
        assert!(new(&"0".repeat(15), 15).is_ok());
        assert!(new(&" ".repeat(15), 15).is_ok());
    }

    #[test]
    fn only_the_normal_form_is_changed() {
        let bytes = |text| Password::from_typed(text).unwrap().as_bytes().to_vec();
        assert_eq!(bytes("\u{e9}"), bytes("e\u{301}"));
        assert_ne!(bytes("a "), bytes("a"));
        assert_ne!(bytes("A"), bytes("a"));
        assert_ne!(bytes("a\0b"), bytes("a"));
        assert!(Password::from_typed(&"a".repeat(1025)).is_err());
    }
}
