//! Passwords as people choose them, and what may become one.

mod common;
mod context;

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

pub use context::Context;

/// More is refused before any work is done.
pub const BYTES_MAX: usize = 1024;
/// The configured minimum may not be lower.
pub const MIN_LENGTH_FLOOR: usize = 8;

/// A password in NFC, because a Korean keyboard and macOS do not agree otherwise. Nothing is trimmed, folded or cut.
#[derive(Clone)]
pub struct Password {
    normal: Zeroizing<String>,
    /// Where it differs: other programs hashed what came.
    typed: Option<Zeroizing<String>>,
}

impl Password {
    /// Refuses only what is too long to be looked at.
    pub fn from_typed(text: &str) -> Result<Self, PasswordRule> {
        if text.len() > BYTES_MAX {
            return Err(PasswordRule::TooLong);
        }
        let normal: Zeroizing<String> = Zeroizing::new(text.nfc().collect());
        let typed = (*normal != text).then(|| Zeroizing::new(text.to_owned()));
        Ok(Self { normal, typed })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.normal.as_bytes()
    }

    /// Where that differs from its normal form.
    pub fn as_typed(&self) -> Option<&[u8]> {
        self.typed.as_ref().map(|typed| typed.as_bytes())
    }

    /// Whether this may become somebody's password, as far as it can be told without reading a file. No composition rules:
    /// what counts is length, and that nobody guesses it early.
    pub fn check_new(&self, min_length: usize, context: &Context) -> Result<(), PasswordRule> {
        if self.normal.chars().count() < min_length {
            return Err(PasswordRule::TooShort { min_length });
        }
        if common::contains(&self.normal) {
            return Err(PasswordRule::Common);
        }
        // Half of the least length must be the person's own.
        if context.own_letters(&self.normal).is_some_and(|own| own < min_length.div_ceil(2)) {
            return Err(PasswordRule::Context);
        }
        Ok(())
    }

    /// For lists of breached passwords: as it is, and in lower case if that differs.
    pub fn spellings(&self) -> Vec<Zeroizing<String>> {
        let lower = Zeroizing::new(self.normal.to_lowercase());
        if lower == self.normal { vec![lower] } else { vec![self.normal.clone(), lower] }
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
    #[error("is one of the most common passwords")]
    Common,
    #[error("is known from a breach")]
    Breached,
    #[error("is little more than a name that anybody could try")]
    Context,
}

impl PasswordRule {
    /// For `metadata.rule` of `PASSWORD_REFUSED`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "min_length",
            Self::TooLong => "max_bytes",
            Self::Unchanged => "unchanged",
            Self::Common => "common",
            Self::Breached => "breached",
            Self::Context => "context",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str, min: usize) -> Result<(), PasswordRule> {
        Password::from_typed(text).unwrap().check_new(min, &Context::default())
    }

    #[test]
    fn length_is_counted_in_code_points() {
        assert!(new("1234567", 8).is_err());
        assert!(new(&"가".repeat(15), 15).is_ok());
        assert!(new(&"가".repeat(14), 15).is_err());
        assert!(new(&"\u{1F600}".repeat(5), 15).is_err());
        assert!(new(&"\u{1F600}".repeat(64), 15).is_ok());
    }

    #[test]
    fn nothing_is_said_about_its_letters() {
        for text in
            ["904715538261407", "a b c d e f g h i", "가나다라마바사아자차카타파하갸", "\u{1F600}\u{1F680}\u{1F981}"]
        {
            assert_eq!(new(text, text.chars().count()), Ok(()), "{text}");
        }
        assert_eq!(new(&" ".repeat(15), 15), Ok(()));
    }

    #[test]
    fn what_is_tried_first_is_refused_in_any_case() {
        for text in ["password", "12345678", "qwertyuiop", "1qaz2wsx3edc4rfv", "passwordpassword", "qwerty123456789"] {
            assert_eq!(new(text, 8), Err(PasswordRule::Common), "{text}");
            assert_eq!(new(&text.to_uppercase(), 8), Err(PasswordRule::Common), "{text}");
        }
        for text in ["vK3x-qutb-0gZr-8mLw", "9f1d0c77a2be46e8b350", "sommerregen auf blech"] {
            assert_eq!(new(text, 15), Ok(()), "{text}");
        }
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
