//! The lives of keys: published, so that every cache has seen it; signing; verifying, until its last token is over;
//! retired. The times are fixed when a key is made; everything here follows from them and from the time that is asked for.
//!
//! Keys stand in a line: each ends because a later one takes over, and the last one's end is open. A key signs until so
//! long before its end that its last token still lives out its life; that is the very moment at which its successor
//! begins. A key whose successor was taken away before its time must not sign again merely because it still verifies.

use std::time::Duration;

use crate::domain::change::RETENTION;
use crate::domain::time::Timestamp;

/// How long a key waits that is made because another was retired at once: by then every replica whose feed is in order
/// has heard of it. Until then nobody signs, which is the price of refusing a leaked key now.
pub const EMERGENCY_WAIT: Duration = Duration::from_secs(2);

/// When a key does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlan {
    pub publish_time: Timestamp,
    pub sign_time: Timestamp,
    /// From here on its tokens are refused; unset for the last of the line.
    pub retire_time: Option<Timestamp>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Published,
    Signing,
    Verifying,
    Retired,
}

/// What the retirement of one key asks of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retirement {
    /// This one is the last of the line now: its end is open again.
    pub reopened: Option<usize>,
    /// Nobody would sign [`EMERGENCY_WAIT`] from now, so a new key does from then on.
    pub successor: Option<Successor>,
}

/// A key to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Set if another one that waits already takes over later.
    pub retire_time: Option<Timestamp>,
}

impl KeyPlan {
    pub fn is_retired(&self, now: Timestamp) -> bool {
        self.retire_time.is_some_and(|end| now >= end)
    }

    /// Whether its tokens would live out their lives; the end of its own is far enough.
    fn has_time(&self, now: Timestamp) -> bool {
        self.retire_time.is_none_or(|end| now < end - RETENTION)
    }

    fn may_sign(&self, now: Timestamp) -> bool {
        self.sign_time <= now && self.has_time(now)
    }
}

/// Where keys are in their lives: of those that may sign, the one that began last does.
///
/// If none may, one that was published in the reader's future does: the clock that made its plan was ahead, so the plan
/// says nothing about how long to wait. Without that, a first start under a wrong clock would leave a service that signs
/// nothing until the true time has caught up. By less than [`EMERGENCY_WAIT`], it is the reader's clock that is late: the
/// key of an emergency would not be waited for.
pub fn states(plans: &[KeyPlan], now: Timestamp) -> Vec<KeyState> {
    let signer = signer(plans, now);
    let state = |(index, plan): (usize, &KeyPlan)| {
        if plan.is_retired(now) {
            KeyState::Retired
        } else if Some(index) == signer {
            KeyState::Signing
        } else if plan.sign_time > now {
            KeyState::Published
        } else {
            KeyState::Verifying
        }
    };
    plans.iter().enumerate().map(state).collect()
}

/// The one that signs.
pub fn signer(plans: &[KeyPlan], now: Timestamp) -> Option<usize> {
    let all = || plans.iter().enumerate();
    let began_last = all().filter(|(_, plan)| plan.may_sign(now)).max_by_key(|(_, plan)| plan.sign_time);
    let is_ahead = |plan: &KeyPlan| plan.publish_time > now + EMERGENCY_WAIT && plan.has_time(now);
    let ahead = || all().filter(|(_, plan)| is_ahead(plan)).min_by_key(|(_, plan)| plan.sign_time);
    began_last.or_else(ahead).map(|(index, _)| index)
}

/// When somebody signs again, if nobody does now.
pub fn next_signature(plans: &[KeyPlan], now: Timestamp) -> Option<Timestamp> {
    plans.iter().filter(|plan| plan.has_time(now)).map(|plan| plan.sign_time).filter(|time| *time > now).min()
}

/// Whether a key waits for its turn: a second one would be a second rotation at once.
pub fn is_rotating(plans: &[KeyPlan], now: Timestamp) -> bool {
    states(plans, now).contains(&KeyState::Published)
}

/// What follows if the key at `index` is refused from `now` on.
pub fn retire_at_once(plans: &[KeyPlan], index: usize, now: Timestamp) -> Retirement {
    let soon = now + EMERGENCY_WAIT;
    let rest: Vec<(usize, KeyPlan)> =
        plans.iter().copied().enumerate().filter(|(other, plan)| *other != index && !plan.is_retired(now)).collect();
    let has_last = rest.iter().any(|(_, plan)| plan.retire_time.is_none());
    let reopened = if has_last {
        None
    } else {
        // One that still signs, or waits: what was to follow it is gone. One that only verifies stays out of it.
        let open = rest.iter().filter(|(_, plan)| plan.has_time(now));
        open.max_by_key(|(_, plan)| plan.sign_time).map(|(other, _)| *other)
    };
    let rest: Vec<KeyPlan> = rest
        .into_iter()
        .map(|(other, plan)| if Some(other) == reopened { KeyPlan { retire_time: None, ..plan } } else { plan })
        .collect();
    // Asked of both times, because a clock that was ahead makes a signer now who is none by the plan.
    let is_covered = signer(&rest, now).is_some() || rest.iter().any(|plan| plan.may_sign(soon));
    let successor = (!is_covered).then(|| Successor {
        retire_time: rest
            .iter()
            .map(|plan| plan.sign_time)
            .filter(|time| *time > soon)
            .min()
            .map(|time| time + RETENTION),
    });
    Retirement { reopened, successor }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(NOW + secs)
    }

    /// Times in seconds from now.
    fn key(publish: i64, sign: i64, retire: Option<i64>) -> KeyPlan {
        KeyPlan { publish_time: at(publish), sign_time: at(sign), retire_time: retire.map(at) }
    }

    fn retention() -> i64 {
        i64::try_from(RETENTION.as_secs()).unwrap()
    }

    #[test]
    fn of_keys_that_may_sign_the_newest_does() {
        use KeyState::{Published, Retired, Signing, Verifying};
        let plans = [
            key(-9_000, -9_000, Some(-1)),
            key(-9_000, -8_000, Some(-100 + retention())),
            key(-800, -100, Some(600 + retention())),
            key(-60, 600, None),
        ];
        assert_eq!(states(&plans, at(0)), [Retired, Verifying, Signing, Published]);
        assert_eq!(states(&plans, at(599)), [Retired, Verifying, Signing, Published]);
        assert_eq!(states(&plans, at(600)), [Retired, Verifying, Verifying, Signing]);
        assert_eq!(states(&plans, at(600 + retention())), [Retired, Retired, Retired, Signing]);
    }

    #[test]
    fn who_was_succeeded_signs_never_again() {
        // The successor was retired at once, and the next one waits.
        let plans = [key(-9_000, -9_000, Some(-100 + retention())), key(-800, -100, Some(0)), key(0, 2, None)];
        assert_eq!(signer(&plans, at(0)), None);
        assert_eq!(next_signature(&plans, at(0)), Some(at(2)));
        assert_eq!(signer(&plans, at(2)), Some(2));
    }

    #[test]
    fn a_plan_of_a_clock_that_was_ahead_is_not_waited_for() {
        let first = [key(3_600, 3_600, None)];
        assert_eq!(states(&first, at(0)), [KeyState::Signing]);
        // But an ordinary wait is kept, and a key that signs is preferred.
        assert_eq!(signer(&[key(0, 2, None)], at(0)), None);
        // Also by a clock that is a little late: for it, the key of an emergency was published in the future.
        assert_eq!(signer(&[key(1, 3, None)], at(0)), None);
        assert_eq!(signer(&[key(2, 4, None)], at(0)), None);
        assert_eq!(signer(&[key(3, 5, None)], at(0)), Some(0));
        assert_eq!(signer(&[key(3_600, 4_000, None), key(-9, -9, Some(4_000 + retention()))], at(0)), Some(1));
    }

    #[test]
    fn a_key_that_goes_at_once_leaves_a_line_without_a_gap() {
        let kept = |retire_time: Option<i64>| Some(Successor { retire_time: retire_time.map(at) });
        let (signing, waiting) = (key(-900, -900, Some(600 + retention())), key(-60, 600, None));
        let alone = [key(-900, -900, None)];
        assert_eq!(retire_at_once(&alone, 0, at(0)), Retirement { reopened: None, successor: kept(None) });
        // The signing one, while another waits: a key for the time between.
        let expected = Retirement { reopened: None, successor: kept(Some(600 + retention())) };
        assert_eq!(retire_at_once(&[signing, waiting], 0, at(0)), expected);
        // The waiting one: the signing one goes on for good.
        assert_eq!(retire_at_once(&[signing, waiting], 1, at(0)), Retirement { reopened: Some(0), successor: None });
        // One that only verifies is missed by nobody.
        let verifying = key(-9_000, -9_000, Some(-900 + retention()));
        assert_eq!(retire_at_once(&[verifying, signing, waiting], 0, at(0)), Retirement::default());
        // And does not come back when all others go.
        let last = [verifying, key(-900, -900, None)];
        assert_eq!(retire_at_once(&last, 1, at(0)), Retirement { reopened: None, successor: kept(None) });
        // One that takes over within the wait is soon enough.
        let soon = [key(-900, -900, Some(1 + retention())), key(-60, 1, None)];
        assert_eq!(retire_at_once(&soon, 0, at(0)), Retirement::default());
    }

    /// The store's side in miniature: what it does with a plan.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Rotate,
        Retire(prop::sample::Index),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Rotate),
            any::<prop::sample::Index>().prop_map(Step::Retire),
            (0_u64..6_000).prop_map(Step::Wait),
            (0_u64..4).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn there_is_always_one_last_and_nobody_waits_longer_than_an_emergency(steps in steps()) {
            let mut now = at(0);
            let mut line = vec![key(0, 0, None)];
            let mut silent_until = now;
            for step in steps {
                match step {
                    Step::Wait(secs) => now = now + Duration::from_secs(secs),
                    Step::Rotate if is_rotating(&line, now) => {}
                    Step::Rotate => {
                        let sign_time = now + Duration::from_mins(11);
                        let ends = line.iter_mut().filter(|plan| plan.retire_time.is_none());
                        ends.for_each(|plan| plan.retire_time = Some(sign_time + RETENTION));
                        line.push(KeyPlan { publish_time: now, sign_time, retire_time: None });
                    }
                    Step::Retire(index) => {
                        let index = index.index(line.len());
                        if line[index].is_retired(now) {
                            continue;
                        }
                        let Retirement { reopened, successor } = retire_at_once(&line, index, now);
                        line[index].retire_time = Some(now);
                        if let Some(reopened) = reopened {
                            line[reopened].retire_time = None;
                        }
                        if let Some(Successor { retire_time }) = successor {
                            line.push(KeyPlan { publish_time: now, sign_time: now + EMERGENCY_WAIT, retire_time });
                        }
                        silent_until = now + EMERGENCY_WAIT;
                    }
                }
                prop_assert_eq!(line.iter().filter(|plan| plan.retire_time.is_none()).count(), 1, "{:?}", line);
                let signer = signer(&line, now);
                prop_assert!(signer.is_some() || now < silent_until, "nobody signs at {:?}: {:?}", now, line);
                if signer.is_none() {
                    let next = next_signature(&line, now);
                    prop_assert!(next.is_some_and(|next| next <= silent_until), "{:?}", line);
                }
                // Who lags a little signs with nothing before its time.
                for lag in [0, 1, 500, 1_999, 2_000].map(Duration::from_millis) {
                    let early = super::signer(&line, now - lag).filter(|index| line[*index].sign_time > now);
                    prop_assert_eq!(early, None, "{:?} behind {:?}: {:?}", lag, now, line);
                }
                let signing = states(&line, now).into_iter().filter(|state| *state == KeyState::Signing).count();
                prop_assert!(signing <= 1);
            }
        }
    }
}
