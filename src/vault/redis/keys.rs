//! What things are called in Redis, in one place: `PREFIX KIND {PARTITION} KEY`. What stands in the braces decides the slot
//! of a cluster, so that a partition's values and its index lie together. Short, since each session pays for it: an id is
//! written in 22 letters, and `!` stands before what is none.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fred::util::redis_keyslot;
use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::vault::{Kind, Slot};

/// 2100-01-01. Nothing is kept longer: a value that never ended would fill Redis, and beyond 2^53 a score of the index would
/// not be exact.
const LATEST_MILLIS: i64 = 4_102_444_800_000;

/// Makes the names under one prefix.
#[derive(Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(super) fn value(&self, slot: &Slot) -> String {
        self.values_of(slot.kind, &slot.partition) + &short(&slot.key)
    }

    /// What all values of a partition begin with.
    pub(super) fn values_of(&self, kind: Kind, partition: &str) -> String {
        let letter = match kind {
            Kind::Session => 's',
            Kind::Challenge => 'c',
            Kind::Flow => 'f',
            Kind::Code => 'k',
            Kind::Link => 'l',
            Kind::Traded => 't',
            Kind::Bucket => 'b',
        };
        self.tagged(letter, partition)
    }

    /// The index of a partition: which keys it has, by their ends.
    pub(super) fn index(&self, kind: Kind, partition: &str) -> String {
        let letter = match kind {
            Kind::Session => 'S',
            Kind::Challenge => 'C',
            Kind::Flow => 'F',
            Kind::Code => 'K',
            Kind::Link => 'L',
            Kind::Traded => 'T',
            Kind::Bucket => 'B',
        };
        self.tagged(letter, partition)
    }

    /// A name that is not ours, whatever the prefix.
    pub(super) fn foreign(&self) -> String {
        let first = if self.prefix.starts_with('x') { 'y' } else { 'x' };
        format!("{first}{}", self.prefix)
    }

    /// A brace would end the tag early, and two partitions could meet.
    fn tagged(&self, letter: char, partition: &str) -> String {
        let mut name = String::with_capacity(self.prefix.len() + partition.len() + 26);
        name.push_str(&self.prefix);
        name.push(letter);
        name.push('{');
        for letter in short(partition).chars() {
            match letter {
                // Writing to a string does not fail.
                '{' | '}' | '%' => drop(write!(name, "%{:02x}", u32::from(letter))),
                letter => name.push(letter),
            }
        }
        name.push('}');
        name
    }
}

/// As a key stands in names and in the index.
pub(super) fn short(text: &str) -> String {
    match Uuid::parse_str(text) {
        Ok(id) if id.hyphenated().to_string() == text => URL_SAFE_NO_PAD.encode(id.as_bytes()),
        _ => format!("!{text}"),
    }
}

/// The key that stands there so; `None` if we did not write it.
pub(super) fn long(short: &str) -> Option<String> {
    if let Some(text) = short.strip_prefix('!') {
        return Some(text.to_owned());
    }
    let id = Uuid::from_slice(&URL_SAFE_NO_PAD.decode(short).ok()?).ok()?;
    Some(id.hyphenated().to_string())
}

/// The slot of a cluster in which a name lies.
pub(super) fn slot_of(name: &str) -> u16 {
    redis_keyslot(name.as_bytes())
}

/// When Redis may free a value, in milliseconds of Unix time. What has ended by now is freed at once.
pub(super) fn end_millis(expires_at: Timestamp) -> i64 {
    expires_at.millis().clamp(1, LATEST_MILLIS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keys() -> Keys {
        Keys::new("postern:".to_owned())
    }

    fn name(partition: &str, key: &str) -> String {
        keys().value(&Slot { kind: Kind::Session, partition: partition.into(), key: key.into() })
    }

    #[test]
    fn a_partition_lies_in_one_slot() {
        assert_eq!(name("p", "k"), "postern:s{!p}!k");
        assert_eq!(keys().index(Kind::Session, "p"), "postern:S{!p}");
        for partition in ["p", "", "}", "{", "%", "a}b{c", "{}", "'; DROP TABLE vault; --{x}\r\n", "\u{0}\u{1F511}"] {
            let slots: BTreeSet<u16> = ["", "k", "}", "{k}", "\r\n"].map(|key| slot_of(&name(partition, key))).into();
            assert_eq!(slots, BTreeSet::from([slot_of(&keys().index(Kind::Session, partition))]), "{partition:?}");
        }
    }

    #[test]
    fn no_two_places_have_one_name() {
        let id = "019a8c1e-0000-7000-8000-00000000b7f3";
        let short = short(id);
        assert_eq!(short.len(), 22);
        let (upper, simple) = (id.to_uppercase(), id.replace('-', ""));
        let parts =
            ["", "a", "}", "{", "%", "%7d", "a}", "}a", "s{a}", "a}a", "a}a}a", "!", "!a", id, &short, &upper, &simple];
        let mut names = BTreeSet::new();
        for partition in parts {
            assert!(names.insert(keys().index(Kind::Session, partition)), "{partition:?}");
            for key in parts {
                assert!(names.insert(name(partition, key)), "{partition:?} {key:?}");
            }
        }
        for key in parts {
            assert_eq!(long(&super::short(key)).as_deref(), Some(key));
        }
        for foreign in ["", "a", "AAAA", "019a8c1e-0000-7000-8000-00000000b7f3"] {
            assert_eq!(long(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn every_end_is_one_that_redis_takes() {
        assert_eq!(end_millis(Timestamp::MAX), LATEST_MILLIS);
        assert_eq!(end_millis(Timestamp::from_secs(-5)), 1);
        assert_eq!(end_millis(Timestamp::from_micros(1_500)), 1);
        assert_eq!(end_millis(Timestamp::from_secs(2_000_000_000)), 2_000_000_000_000);
    }
}
