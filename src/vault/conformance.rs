//! What every engine of the vault must do, stamped into the tests of each by [`conformance!`]. One left off the list is
//! dead code, so the build says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;
use crate::vault::{Kind, Slot, Swap, Vault};

/// Stamps all behaviours. `$engine` makes a fresh engine; the rest says how to get at its vault and its clock.
macro_rules! conformance {
    ($engine:expr => |$name:ident| ($vault:expr, $clock:expr)) => {
        $crate::vault::conformance::conformance!(@each $engine, $name, $vault, $clock,
            [
                insert_refuses_what_is_there,
                insert_succeeds_over_an_expired_value,
                get_does_not_judge_expiry,
                slots_do_not_meet,
                values_are_opaque,
                swap_compares,
                take_removes,
                remove_says_whether_there_was_something,
                list_is_of_one_partition_in_order,
                insert_is_won_once,
                swap_is_won_once,
                take_is_won_once,
                a_bucket_holds_its_burst,
                a_bucket_fills_again,
                buckets_do_not_meet,
                what_is_given_back_can_be_taken,
                of_many_at_once_the_burst_is_admitted,
            ]);
    };
    (@each $engine:expr, $name:ident, $vault:expr, $clock:expr, [$($behaviour:ident,)*]) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $behaviour() {
            let $name = $engine.await;
            $crate::vault::conformance::$behaviour(std::sync::Arc::new($vault.clone()), $clock).await;
        }
    )*};
}
pub(crate) use conformance;

type Engine = Arc<dyn Vault>;

/// The time by which an engine expires. Not every engine's can be moved with ours.
pub(crate) trait Time {
    fn now(&self) -> Timestamp;

    async fn advance(&self, by: Duration);
}

impl Time for Clock {
    fn now(&self) -> Timestamp {
        self.now()
    }

    async fn advance(&self, by: Duration) {
        self.advance(by);
    }
}

fn slot(partition: &str, key: &str) -> Slot {
    Slot { kind: Kind::Session, partition: partition.into(), key: key.into() }
}

fn soon(clock: &impl Time) -> Timestamp {
    clock.now() + Duration::from_mins(1)
}

pub(crate) async fn insert_refuses_what_is_there(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    assert!(vault.insert(&slot, b"one", soon(clock)).await.unwrap());
    assert!(!vault.insert(&slot, b"two", soon(clock)).await.unwrap());
    assert_eq!(vault.get(&slot).await.unwrap().unwrap(), b"one");
}

pub(crate) async fn insert_succeeds_over_an_expired_value(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    assert!(vault.insert(&slot, b"one", soon(clock)).await.unwrap());
    clock.advance(Duration::from_mins(2)).await;
    assert!(vault.insert(&slot, b"two", soon(clock)).await.unwrap());
    assert_eq!(vault.get(&slot).await.unwrap().unwrap(), b"two");
}

/// An engine may drop an expired value, never answer another one.
pub(crate) async fn get_does_not_judge_expiry(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    vault.insert(&slot, b"one", soon(clock)).await.unwrap();
    clock.advance(Duration::from_mins(2)).await;
    assert!(vault.get(&slot).await.unwrap().is_none_or(|value| value == b"one"));
}

pub(crate) async fn slots_do_not_meet(vault: Engine, clock: &impl Time) {
    vault.insert(&slot("p", "k"), b"pk", soon(clock)).await.unwrap();
    assert!(vault.insert(&slot("p", "k2"), b"pk2", soon(clock)).await.unwrap());
    assert!(vault.insert(&slot("pk", ""), b"pk-", soon(clock)).await.unwrap());
    assert_eq!(vault.get(&slot("p", "k")).await.unwrap().unwrap(), b"pk");
    assert_eq!(vault.get(&slot("q", "k")).await.unwrap(), None);
}

pub(crate) async fn values_are_opaque(vault: Engine, clock: &impl Time) {
    let values: [Vec<u8>; 3] = [Vec::new(), vec![0; 3], (0..=u8::MAX).cycle().take(70_000).collect()];
    for (number, value) in values.iter().enumerate() {
        let slot = slot("'; DROP TABLE vault; --{x}\r\n", &format!("{number}\u{0}\u{1F511}"));
        assert!(vault.insert(&slot, value, soon(clock)).await.unwrap());
        assert_eq!(&vault.get(&slot).await.unwrap().unwrap(), value);
        assert_eq!(vault.swap(&slot, value, b"new", soon(clock)).await.unwrap(), Swap::Swapped);
        assert_eq!(vault.take(&slot).await.unwrap().unwrap(), b"new");
    }
}

pub(crate) async fn swap_compares(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    assert_eq!(vault.swap(&slot, b"one", b"two", soon(clock)).await.unwrap(), Swap::Lost(None));
    vault.insert(&slot, b"one", soon(clock)).await.unwrap();
    assert_eq!(vault.swap(&slot, b"on", b"two", soon(clock)).await.unwrap(), Swap::Lost(Some(b"one".to_vec())));
    assert_eq!(vault.swap(&slot, b"one", b"two", soon(clock)).await.unwrap(), Swap::Swapped);
    assert_eq!(vault.swap(&slot, b"one", b"three", soon(clock)).await.unwrap(), Swap::Lost(Some(b"two".to_vec())));
    // The new end holds: at the old one the value is still in the way.
    assert_eq!(vault.swap(&slot, b"two", b"four", soon(clock) + Duration::from_hours(1)).await.unwrap(), Swap::Swapped);
    clock.advance(Duration::from_mins(2)).await;
    assert!(!vault.insert(&slot, b"five", soon(clock)).await.unwrap());
}

pub(crate) async fn take_removes(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    assert_eq!(vault.take(&slot).await.unwrap(), None);
    vault.insert(&slot, b"one", soon(clock)).await.unwrap();
    assert_eq!(vault.take(&slot).await.unwrap().unwrap(), b"one");
    assert_eq!(vault.get(&slot).await.unwrap(), None);
    assert!(vault.list(Kind::Session, "p").await.unwrap().is_empty());
}

pub(crate) async fn remove_says_whether_there_was_something(vault: Engine, clock: &impl Time) {
    let slot = slot("p", "k");
    assert!(!vault.remove(&slot).await.unwrap());
    vault.insert(&slot, b"one", soon(clock)).await.unwrap();
    assert!(vault.remove(&slot).await.unwrap());
    assert_eq!(vault.get(&slot).await.unwrap(), None);
}

pub(crate) async fn list_is_of_one_partition_in_order(vault: Engine, clock: &impl Time) {
    for (partition, key) in [("p", "b"), ("q", "c"), ("p", "a")] {
        vault.insert(&slot(partition, key), key.as_bytes(), soon(clock)).await.unwrap();
    }
    let listed = vault.list(Kind::Session, "p").await.unwrap();
    assert_eq!(listed, [("a".to_owned(), b"a".to_vec()), ("b".to_owned(), b"b".to_vec())]);
    assert!(vault.list(Kind::Session, "r").await.unwrap().is_empty());
}

pub(crate) async fn insert_is_won_once(vault: Engine, clock: &impl Time) {
    let end = soon(clock);
    let won = race(&vault, |vault, number| async move { vault.insert(&slot("p", "k"), &[number], end).await.unwrap() });
    assert_eq!(won.await, 1);
}

pub(crate) async fn swap_is_won_once(vault: Engine, clock: &impl Time) {
    let end = soon(clock);
    vault.insert(&slot("p", "k"), b"old", end).await.unwrap();
    let won = race(&vault, |vault, number| async move {
        vault.swap(&slot("p", "k"), b"old", &[number], end).await.unwrap() == Swap::Swapped
    });
    assert_eq!(won.await, 1);
}

pub(crate) async fn take_is_won_once(vault: Engine, clock: &impl Time) {
    vault.insert(&slot("p", "k"), b"once", soon(clock)).await.unwrap();
    let won = race(&vault, |vault, _| async move { vault.take(&slot("p", "k")).await.unwrap().is_some() });
    assert_eq!(won.await, 1);
}

const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(30) };

async fn admitted(vault: &Engine, bucket: &str) -> bool {
    vault.admit(bucket, &QUOTA).await.unwrap() == Admission::Admitted
}

pub(crate) async fn a_bucket_holds_its_burst(vault: Engine, _clock: &impl Time) {
    for _ in 0..3 {
        assert!(admitted(&vault, "b").await);
    }
    for _ in 0..2 {
        let Admission::After(wait) = vault.admit("b", &QUOTA).await.unwrap() else { panic!("a fourth") };
        assert!(wait > Duration::from_secs(25) && wait <= QUOTA.every, "{wait:?}");
    }
}

pub(crate) async fn a_bucket_fills_again(vault: Engine, clock: &impl Time) {
    while admitted(&vault, "b").await {}
    clock.advance(QUOTA.every).await;
    assert!(admitted(&vault, "b").await);
    assert!(!admitted(&vault, "b").await);
    clock.advance(Duration::from_hours(1)).await;
    for _ in 0..3 {
        assert!(admitted(&vault, "b").await);
    }
    assert!(!admitted(&vault, "b").await, "and no fuller than full");
}

pub(crate) async fn buckets_do_not_meet(vault: Engine, _clock: &impl Time) {
    while admitted(&vault, "b").await {}
    assert!(admitted(&vault, "").await);
    assert!(admitted(&vault, "b{x}").await);
    assert!(vault.remove(&Slot::of_bucket("b")).await.unwrap());
    assert!(admitted(&vault, "b").await);
}

pub(crate) async fn what_is_given_back_can_be_taken(vault: Engine, _clock: &impl Time) {
    vault.give_back("b", &QUOTA).await.unwrap();
    while admitted(&vault, "b").await {}
    vault.give_back("b", &QUOTA).await.unwrap();
    assert!(admitted(&vault, "b").await);
    assert!(!admitted(&vault, "b").await);
    for _ in 0..9 {
        vault.give_back("b", &QUOTA).await.unwrap();
    }
    for _ in 0..3 {
        assert!(admitted(&vault, "b").await);
    }
    assert!(!admitted(&vault, "b").await, "and no fuller than full");
}

pub(crate) async fn of_many_at_once_the_burst_is_admitted(vault: Engine, _clock: &impl Time) {
    let won = race(&vault, |vault, _| async move { admitted(&vault, "b").await });
    assert_eq!(won.await, 3);
}

/// Sixteen tasks at once; how many won.
async fn race<F>(vault: &Engine, attempt: impl Fn(Engine, u8) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        tasks.spawn(attempt(Arc::clone(vault), number));
    }
    tasks.join_all().await.into_iter().filter(|won| *won).count()
}
