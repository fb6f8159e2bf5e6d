//! Words that anybody could try: the service's name, the operator's, the person's own. A password may hold them, but not live on them.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::domain::account::Profile;

/// Fewer letters stand in every second password by chance. A Hangul syllable is worth two.
const LETTERS_MIN: usize = 3;
const SYLLABLES_MIN: usize = 2;
/// A number is a word from here on: a phone number is, a year is not.
const DIGITS_MIN: usize = 6;
/// In the place of a word, so that what stood around it makes no new one.
const GAP: &str = "\0";

/// The words, each in lower case and of letters and digits alone.
#[derive(Clone, Default)]
pub struct Context {
    words: BTreeSet<String>,
}

impl Context {
    /// Each text counts as a whole, and so does each of its parts: between signs, and between digits.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut context = Self::default();
        texts.into_iter().for_each(|text| context.add(text));
        context
    }

    /// With what names one person: user name, e-mail address and its part before the at sign, the name that is shown.
    #[must_use]
    pub fn and_of(&self, profile: &Profile) -> Self {
        let mut context = self.clone();
        if let Some(email) = &profile.email {
            let address = email.as_given();
            context.keep(&folded(address));
            context.add(address.rsplit_once('@').map_or(address, |(local, _domain)| local));
        }
        if let Some(name) = &profile.user_name {
            context.add(name.as_given());
        }
        context.add(&profile.display_name);
        context
    }

    /// How many letters are left of a password when signs, digits and these words are taken out; `None` if it holds none of
    /// the words.
    pub(super) fn own_letters(&self, password: &str) -> Option<usize> {
        let whole = Zeroizing::new(folded(password));
        let mut rest = whole.clone();
        let mut words: Vec<&String> = self.words.iter().collect();
        // The longest first: "kimminsu" before "kim".
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        for word in words {
            rest = Zeroizing::new(rest.replace(word.as_str(), GAP));
        }
        (rest != whole).then(|| rest.chars().filter(|letter| letter.is_alphabetic()).count())
    }

    fn add(&mut self, text: &str) {
        self.keep(&folded(text));
        for part in lower(text).split(|letter: char| !letter.is_alphanumeric()) {
            self.keep(part);
            part.split(char::is_numeric).for_each(|letters| self.keep(letters));
        }
    }

    fn keep(&mut self, word: &str) {
        let length = word.chars().count();
        let least = if word.chars().all(char::is_numeric) {
            DIGITS_MIN
        } else if word.is_ascii() {
            LETTERS_MIN
        } else {
            SYLLABLES_MIN
        };
        if length >= least {
            self.words.insert(word.to_owned());
        }
    }
}

/// Its letters and digits, in lower case.
fn folded(text: &str) -> String {
    Zeroizing::new(lower(text)).chars().filter(|letter| letter.is_alphanumeric()).collect()
}

/// Full-width letters are the same letters.
fn lower(text: &str) -> String {
    text.nfkc().collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests;
