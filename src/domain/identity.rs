//! Identities: who a person is at a provider, what the provider says of them, and what of that may be believed.

use std::fmt;
use std::str::FromStr;

use crate::domain::account::Email;
use crate::domain::id::InvalidId;
use crate::domain::time::Timestamp;

/// How many identities an account may have.
pub const IDENTITIES_MAX: usize = 16;

const PROVIDER_BYTES_MAX: usize = 32;
const SUBJECT_BYTES_MAX: usize = 255;
const NAME_CHARS_MAX: usize = 128;

/// A configured provider, by the name it has in paths, in sessions and in the store: 1 to 32 of `a-z`, `0-9` and `-`,
/// beginning with a letter. Never `password`, which is how sessions name the other way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(String);

impl ProviderId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=PROVIDER_BYTES_MAX).contains(&text.len())
            && text.starts_with(|letter: char| letter.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && text != "password";
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which adapter speaks with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    Google,
    Kakao,
    Naver,
    GitHub,
    /// Any OpenID provider, by its discovery document.
    Oidc,
}

impl ProviderKind {
    pub const ALL: [Self; 5] = [Self::Google, Self::Kakao, Self::Naver, Self::GitHub, Self::Oidc];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Kakao => "kakao",
            Self::Naver => "naver",
            Self::GitHub => "github",
            Self::Oidc => "oidc",
        }
    }
}

/// The provider's id of a person (OpenID Connect Core, section 2): 1 to 255 ASCII characters that show, compared as they stand.
/// Numbers are kept as their decimal text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
    }
}

/// Personal data: logs name users by id.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject([redacted])")
    }
}

/// What opens an account: a provider and its id of the person. Never an address, which changes hands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    pub provider: ProviderId,
    pub subject: Subject,
}

/// How far an address that a provider names may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EmailTrust {
    /// Anybody could have typed it.
    None,
    /// The provider proved it once. Good enough to show, and to keep if nobody else has it.
    Verified,
    /// The provider is who gives out the address, or vouches that it is the person's today: an account may be linked
    /// by it, if the operator allows that.
    Authoritative,
}

/// What a provider says of a person, in one form for all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    pub key: IdentityKey,
    /// Who vouches: `iss` where there is one. Subjects are unique below it only.
    pub issuer: String,
    pub email: Option<Email>,
    pub email_trust: EmailTrust,
    /// Cut at 128 characters, without control characters; may be empty.
    pub display_name: String,
    /// An https URL, or empty.
    pub avatar_url: String,
    /// When the person last proved to the provider that they are there; unset if it does not say.
    pub auth_time: Option<Timestamp>,
}

impl Profile {
    /// Somebody of whom no more is known.
    pub fn new(key: IdentityKey, issuer: String) -> Self {
        Self {
            key,
            issuer,
            email: None,
            email_trust: EmailTrust::None,
            display_name: String::new(),
            avatar_url: String::new(),
            auth_time: None,
        }
    }

    /// The address, if the provider has proven it.
    pub fn verified_email(&self) -> Option<&Email> {
        self.email.as_ref().filter(|_| self.email_trust >= EmailTrust::Verified)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("provider", &self.key.provider).finish_non_exhaustive()
    }
}

/// A name as it may be kept and shown: control characters are dropped, and what is too long is cut.
pub fn display_name(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_providers() {
        for (text, is_one) in [
            ("kakao", true),
            ("login-7", true),
            ("", false),
            ("7up", false),
            ("Kakao", false),
            ("a_b", false),
            ("password", false),
            ("../x", false),
            (&"a".repeat(33), false),
        ] {
            assert_eq!(text.parse::<ProviderId>().is_ok(), is_one, "{text:?}");
        }
    }

    #[test]
    fn subjects_are_taken_as_they_stand() {
        for (text, is_one) in [
            ("123456789", true),
            ("a+b/c==", true),
            ("", false),
            (" 1", false),
            ("1\n", false),
            ("\u{ac00}", false),
            (&"9".repeat(256), false),
        ] {
            assert_eq!(text.parse::<Subject>().is_ok(), is_one, "{text:?}");
        }
        assert!(!format!("{:?}", "secret".parse::<Subject>().unwrap()).contains("secret"));
    }

    #[test]
    fn names_are_made_harmless() {
        assert_eq!(display_name(" Kim\u{7}\n\u{1b}[2J "), "Kim[2J");
        assert_eq!(display_name(&"\u{ac00}".repeat(500)).chars().count(), 128);
    }
}
