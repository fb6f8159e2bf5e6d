//! A person's account: what identifies it, and in which spelling.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization as _;

use crate::domain::id::UserId;
use crate::domain::time::Timestamp;

/// The most bytes an identifier may have on the wire (RFC 5321, section 4.5.3.1.3, less the brackets).
pub const IDENTIFIER_BYTES_MAX: usize = 254;

/// Not acceptable; the text says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub &'static str);

/// An e-mail address: as it was given, and the canonical form in which it is unique (trimmed, NFKC, lower case), so
/// that full-width letters, decomposed accents and capitals are one address.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    given: String,
    canonical: String,
}

impl Email {
    pub fn as_given(&self) -> &str {
        &self.given
    }

    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl FromStr for Email {
    type Err = InvalidText;

    /// Checks the shape only; whether mail arrives there is for a code to prove.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let canonical = canonical(text).ok_or(InvalidText("must be 1 to 254 bytes without control characters"))?;
        let well_formed = canonical
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && is_domain(domain) && !local.contains(['@', ' ']));
        if !well_formed {
            return Err(InvalidText("must be an e-mail address such as kim@example.com"));
        }
        let given = given(text).ok_or(InvalidText("must have at most 254 bytes in normal form (NFC)"))?;
        Ok(Self { given, canonical })
    }
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
    })
}

/// A user name: no `@` in it, so that it is never taken for an address; unique in its canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct UserName {
    given: String,
    canonical: String,
}

impl UserName {
    pub fn as_given(&self) -> &str {
        &self.given
    }

    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl FromStr for UserName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const RULE: InvalidText =
            InvalidText("must be 1 to 64 letters, digits, dots, hyphens and underscores, and no UUID");
        let canonical = canonical(text).ok_or(RULE)?;
        let fits = canonical.chars().count() <= 64
            && canonical.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_'))
            // Or `admin` commands could not tell a name from an id.
            && uuid::Uuid::try_parse(&canonical).is_err();
        let given = given(text).filter(|_| fits).ok_or(RULE)?;
        Ok(Self { given, canonical })
    }
}

/// What a person types to sign in.
#[derive(Clone, PartialEq, Eq)]
pub enum Identifier {
    Email(String),
    UserName(String),
}

impl Identifier {
    /// The canonical form of what was typed. Nothing is refused but what no account could have, because the answer to
    /// an identifier that nobody has must not differ from that to a wrong password.
    pub fn from_typed(text: &str) -> Option<Self> {
        let canonical = canonical(text)?;
        Some(if canonical.contains('@') { Self::Email(canonical) } else { Self::UserName(canonical) })
    }

    /// One text for all spellings.
    pub fn canonical(&self) -> &str {
        match self {
            Self::Email(canonical) | Self::UserName(canonical) => canonical,
        }
    }
}

macro_rules! redacted_debug {
    ($($name:ident),*) => {$(
        /// Personal data: logs name users by id.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}
redacted_debug!(Email, UserName, Identifier);

/// As it is kept and shown. The normal form can be longer than the text, and what is kept must be readable again.
fn given(text: &str) -> Option<String> {
    let given: String = text.trim().nfc().collect();
    (given.len() <= IDENTIFIER_BYTES_MAX).then_some(given)
}

fn canonical(text: &str) -> Option<String> {
    if text.len() > IDENTIFIER_BYTES_MAX {
        return None;
    }
    // Lower-casing can undo a normal form ("İ"), so the normal form is taken again; the result is a fixpoint.
    let folded: String = text.trim().nfkc().collect::<String>().to_lowercase().nfkc().collect();
    let folded = folded.trim();
    let fits = !folded.is_empty() && folded.len() <= IDENTIFIER_BYTES_MAX && !folded.chars().any(char::is_control);
    fits.then(|| folded.to_owned())
}

/// May the user sign in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    Active,
    Disabled,
}

/// A person, as administration sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub external_id: String,
    pub email: Option<Email>,
    pub email_verified: bool,
    pub user_name: Option<UserName>,
    pub display_name: String,
    pub state: UserState,
    pub has_password: bool,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
    pub etag: String,
}

/// What administration may set of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub external_id: String,
    pub email: Option<Email>,
    pub email_verified: bool,
    pub user_name: Option<UserName>,
    pub display_name: String,
}

#[cfg(test)]
mod tests {
    use postern_rig::fuzz::fuzz;

    use super::*;
    use proptest::prelude::*;

    fn email(text: &str) -> String {
        text.parse::<Email>().unwrap().canonical().to_owned()
    }

    #[test]
    fn spellings_of_one_address_are_one_address() {
        let expected = "kim.é@example.com";
        for spelling in
            ["kim.é@example.com", " Kim.É@EXAMPLE.com ", "kim.e\u{301}@example.com", "ｋｉｍ.é@ｅxample.com"]
        {
            assert_eq!(email(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn what_no_account_can_have_is_refused() {
        for text in ["", " ", "kim", "@example.com", "kim@", "a@b@c.d", "kim@-x.com", "kim@x..com", "k\u{7}im@x.com"] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
        for text in ["", "a b", "kim@x", "a/b", "019a8c1e-0000-7000-8000-00000000b7f3", &"a".repeat(65)] {
            assert!(text.parse::<UserName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn identifiers_sort_themselves() {
        assert!(matches!(Identifier::from_typed(" Admin "), Some(Identifier::UserName(name)) if name == "admin"));
        assert!(matches!(Identifier::from_typed("A@B.c"), Some(Identifier::Email(mail)) if mail == "a@b.c"));
        assert!(Identifier::from_typed(&"a".repeat(255)).is_none());
    }

    /// Composition exclusions grow in NFC, full-width letters shrink in NFKC: both forms have to fit.
    #[test]
    fn what_is_kept_can_be_read_again() {
        let grows = "\u{958}".repeat(30) + &"\u{ff41}".repeat(40) + "@x.c";
        assert!(grows.len() <= IDENTIFIER_BYTES_MAX);
        assert!(grows.parse::<Email>().is_err());
        for text in ["\u{958}@x.c", "\u{ff2b}im@x.c", "\u{fb1d}@x.c"] {
            let email: Email = text.parse().unwrap();
            assert!(email.as_given().parse::<Email>() == Ok(email), "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixpoint(text in "\\PC{0,80}") {
            if let Some(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
            }
        }
    }

    /// What people and programs call themselves.
    #[test]
    fn hostile_names() {
        fuzz(
            "names",
            &[b"Kim.Minsu+a@Example.com", "김민수@예.한국".as_bytes(), b"admin", b"docs:*:read"],
            |input| {
                let Ok(text) = std::str::from_utf8(input) else { return };
                if let Ok(email) = text.parse::<Email>() {
                    assert!(email.canonical().len() <= 1_024 && email.canonical().contains('@'));
                    assert_eq!(email.canonical().parse::<Email>().unwrap().canonical(), email.canonical());
                }
                drop((text.parse::<UserName>(), Identifier::from_typed(text)));
                drop((text.parse::<crate::domain::id::ClientId>(), text.parse::<crate::domain::role::RoleId>()));
                drop(text.parse::<crate::domain::permission::Permission>());
            },
        );
    }
}
