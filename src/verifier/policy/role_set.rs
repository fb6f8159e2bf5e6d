//! Sets of roles, which are numbers here.

/// So few are kept as a list; more as a bitmap, which is 1.25 KB at most (ten thousand roles). So no graph of
/// inheritance costs more than 12.5 MB, where lists of all ancestors would cost up to 200.
const FEW: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum RoleSet {
    /// Ascending.
    Few(Vec<u32>),
    Many(Vec<u64>),
}

impl Default for RoleSet {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl RoleSet {
    pub(super) fn contains(&self, role: u32) -> bool {
        match self {
            Self::Few(roles) => roles.contains(&role),
            Self::Many(words) => words.get(word_of(role)).is_some_and(|word| word & bit_of(role) != 0),
        }
    }

    /// The lowest role that is in both.
    pub(super) fn first_common(&self, other: &Self) -> Option<u32> {
        match (self, other) {
            (Self::Many(ours), Self::Many(theirs)) => {
                let both = ours.iter().zip(theirs).map(|(ours, theirs)| ours & theirs);
                both.zip(0..).find(|(word, _)| *word != 0).map(|(word, place)| lowest(word, place))
            }
            (Self::Few(few), many) | (many, Self::Few(few)) => few.iter().copied().find(|role| many.contains(*role)),
        }
    }

    /// Adds all of `other`.
    pub(super) fn unite(&mut self, other: &Self) {
        match other {
            Self::Few(roles) => {
                for role in roles {
                    self.insert(*role);
                }
            }
            Self::Many(theirs) => {
                let mut ours = std::mem::take(self).into_words(theirs.len());
                for (ours, theirs) in ours.iter_mut().zip(theirs) {
                    *ours |= theirs;
                }
                *self = Self::Many(ours);
            }
        }
    }

    pub(super) fn insert(&mut self, role: u32) {
        if let Self::Few(roles) = self {
            let Err(place) = roles.binary_search(&role) else { return };
            if roles.len() < FEW {
                roles.insert(place, role);
                return;
            }
        }
        let mut words = std::mem::take(self).into_words(word_of(role) + 1);
        set_bit(&mut words, role);
        *self = Self::Many(words);
    }

    /// Ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let (few, many) = match self {
            Self::Few(roles) => (roles.as_slice(), [].as_slice()),
            Self::Many(words) => ([].as_slice(), words.as_slice()),
        };
        let in_words = many.iter().zip(0..).flat_map(|(word, place)| {
            let without_lowest = |word: &u64| Some(word & word.checked_sub(1)?);
            let remaining = std::iter::successors(Some(*word), without_lowest).take_while(|word| *word != 0);
            remaining.map(move |word| lowest(word, place))
        });
        few.iter().copied().chain(in_words)
    }

    /// As a bitmap of at least `len` words.
    fn into_words(self, len: usize) -> Vec<u64> {
        let mut words = match self {
            Self::Few(roles) => {
                let mut words = vec![0; roles.last().map_or(0, |last| word_of(*last) + 1)];
                for role in roles {
                    set_bit(&mut words, role);
                }
                words
            }
            Self::Many(words) => words,
        };
        words.resize(words.len().max(len), 0);
        words
    }
}

fn word_of(role: u32) -> usize {
    (role / u64::BITS) as usize
}

fn bit_of(role: u32) -> u64 {
    1 << (role % u64::BITS)
}

fn set_bit(words: &mut [u64], role: u32) {
    if let Some(word) = words.get_mut(word_of(role)) {
        *word |= bit_of(role);
    }
}

/// The lowest role in a word that is not zero.
fn lowest(word: u64, place: u32) -> u32 {
    place * u64::BITS + word.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Around the border between the two forms, and across words.
        #[test]
        fn sets_behave_as_sets(
            first in proptest::collection::vec(0_u32..300, 0..40),
            second in proptest::collection::vec(0_u32..300, 0..40),
        ) {
            let (ours, our_model) = both(&first);
            let (theirs, their_model) = both(&second);
            prop_assert_eq!(ours.iter().collect::<Vec<_>>(), our_model.iter().copied().collect::<Vec<_>>());
            for role in 0..400 {
                prop_assert_eq!(ours.contains(role), our_model.contains(&role));
            }
            prop_assert_eq!(ours.first_common(&theirs), our_model.intersection(&their_model).next().copied());
            let mut united = ours;
            united.unite(&theirs);
            prop_assert_eq!(united.iter().collect::<BTreeSet<_>>(), &our_model | &their_model);
        }
    }

    fn both(roles: &[u32]) -> (RoleSet, BTreeSet<u32>) {
        let mut set = RoleSet::default();
        for role in roles {
            set.insert(*role);
        }
        (set, roles.iter().copied().collect())
    }
}
