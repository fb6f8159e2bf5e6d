//! Buckets in memory, of one process: where a count need not be shared, and while the vault is away, so that an outage of
//! Redis is no time to guess passwords.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;

/// So many names at most: memory is not the attacker's to fill. At some 100 bytes each.
const NAMES_MAX: usize = 100_000;

/// Buckets by name: when each is full again. A full one is none.
#[derive(Debug, Default)]
pub struct LocalBuckets {
    full_at: Mutex<HashMap<Box<str>, Timestamp>>,
}

impl LocalBuckets {
    /// Takes one from the bucket of this name, if it has one.
    pub fn admit(&self, name: &str, quota: &Quota, now: Timestamp) -> Admission {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let left = buckets.get(name).map_or(std::time::Duration::ZERO, |full_at| full_at.since(now));
        match quota.take(left) {
            Ok(then) => {
                if buckets.len() >= NAMES_MAX {
                    make_room(&mut buckets, now);
                }
                buckets.insert(name.into(), now + then);
                Admission::Admitted
            }
            Err(wait) => Admission::After(wait),
        }
    }

    /// Puts back what was taken.
    pub fn give_back(&self, name: &str, quota: &Quota) {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(name) {
            *full_at = *full_at - quota.every;
        }
    }

    /// Makes the bucket full.
    pub fn remove(&self, name: &str) {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Forgets those that are full, and if that is not enough, the half of which that would be true first: who fills the memory
/// loses what was counted least.
fn make_room(buckets: &mut HashMap<Box<str>, Timestamp>, now: Timestamp) {
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() < NAMES_MAX {
        return;
    }
    let mut ends: Vec<Timestamp> = buckets.values().copied().collect();
    let (_, middle, _) = ends.select_nth_unstable(NAMES_MAX / 2);
    let middle = *middle;
    buckets.retain(|_, full_at| *full_at > middle);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const QUOTA: Quota = Quota { burst: 2, every: Duration::from_secs(10) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_bucket_empties_fills_and_takes_back() {
        let buckets = LocalBuckets::default();
        let admit = |name, now| buckets.admit(name, &QUOTA, at(now));
        assert_eq!([admit("a", 0), admit("a", 0)], [Admission::Admitted; 2]);
        assert_eq!(admit("a", 4), Admission::After(Duration::from_secs(6)));
        assert_eq!(admit("b", 4), Admission::Admitted);
        assert_eq!(admit("a", 10), Admission::Admitted);
        buckets.give_back("a", &QUOTA);
        assert_eq!(admit("a", 10), Admission::Admitted);
        assert_eq!(admit("a", 10), Admission::After(Duration::from_secs(10)));
        buckets.remove("a");
        assert_eq!(admit("a", 10), Admission::Admitted);
    }

    #[test]
    fn names_without_end_fill_no_memory_and_free_nobody_who_was_counted_most() {
        let buckets = LocalBuckets::default();
        while buckets.admit("victim", &QUOTA, at(0)) == Admission::Admitted {}
        for number in 0..NAMES_MAX + NAMES_MAX / 2 {
            buckets.admit(&number.to_string(), &QUOTA, at(1));
        }
        assert!(buckets.full_at.lock().unwrap().len() <= NAMES_MAX);
        assert!(matches!(buckets.admit("victim", &QUOTA, at(2)), Admission::After(_)));
        // Those that are full are forgotten first.
        for number in 0..NAMES_MAX {
            buckets.admit(&format!("later {number}"), &QUOTA, at(100));
        }
        assert!(buckets.full_at.lock().unwrap().len() <= NAMES_MAX);
    }
}
