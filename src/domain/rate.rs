//! How often something may be tried, and when most of what is tried fails.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// So many at once, and then one each time that `every` has passed: the generic cell rate algorithm (ITU-T I.371), which
/// needs no more memory of the past than one instant.
///
/// That instant is when the bucket will be full again. Each attempt moves it on by `every`, and may move it no further than
/// the bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub burst: u32,
    pub every: Duration,
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Not before so long.
    After(Duration),
}

impl Quota {
    /// How long an empty bucket takes until it is full.
    pub fn window(&self) -> Duration {
        self.every.saturating_mul(self.burst)
    }

    /// Of a bucket that is full again in `left`: how long it will be after one more attempt, or how long to wait for it.
    pub fn take(&self, left: Duration) -> Result<Duration, Duration> {
        let then = left.saturating_add(self.every);
        match then.checked_sub(self.window()) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(then),
        }
    }
}

/// Never so many failures in a row for one account (NIST SP 800-63B-4, section 3.2.2).
pub const FAILURES_MAX: u32 = 100;

/// What tries are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Where the person is, by network.
    Address,
    /// The program that calls.
    Caller,
    /// An account's name, whether or not anybody has it.
    Account,
    /// An account's name from one network.
    AccountAtAddress,
    /// A device that the account knows.
    Device,
    /// Passwords that one administrator sets.
    Administrator,
    /// Refresh tokens and client secrets that are none, from one network. In the memory of each replica: to refuse them costs
    /// less than to count them together.
    Token,
}

impl Limit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Caller => "caller",
            Self::Account => "account",
            Self::AccountAtAddress => "account_at_address",
            Self::Device => "device",
            Self::Administrator => "administrator",
            Self::Token => "token",
        }
    }
}

/// How much of each.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    pub address: Quota,
    pub caller: Quota,
    pub account: Quota,
    pub account_at_address: Quota,
    pub device: Quota,
    pub administrator: Quota,
    pub token: Quota,
    /// From which share of failures on the operator is told.
    pub alarm_percent: u8,
}

impl Quotas {
    pub const fn of(&self, limit: Limit) -> &Quota {
        match limit {
            Limit::Address => &self.address,
            Limit::Caller => &self.caller,
            Limit::Account => &self.account,
            Limit::AccountAtAddress => &self.account_at_address,
            Limit::Device => &self.device,
            Limit::Administrator => &self.administrator,
            Limit::Token => &self.token,
        }
    }

    /// From how many failures in a row on nobody is let in. Those that are under way already stay below the most that may be.
    pub const fn failures(&self) -> u32 {
        FAILURES_MAX.saturating_sub(self.account.burst)
    }
}

/// What an address is counted as: a host has a /64 of IPv6 to itself, and could come from each of its addresses once.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

/// Counts successes and failures of the last minute or two, and says when the failures stand out.
#[derive(Clone, Debug, Default)]
pub struct FailureRatio {
    began: Timestamp,
    failed: u64,
    succeeded: u64,
    told: bool,
}

/// Most of what was tried of late has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub failed: u64,
    pub succeeded: u64,
}

const MINUTE: Duration = Duration::from_mins(1);
/// Fewer say nothing: on a quiet night three typing errors are most of what happens.
const FAILURES_THAT_COUNT: u64 = 100;

impl FailureRatio {
    /// Notes an outcome. The alarm comes once a minute at most: when a hundred or more have failed, and these are `percent`
    /// or more of all.
    pub fn note(&mut self, now: Timestamp, succeeded: bool, percent: u8) -> Option<Alarm> {
        if now.since(self.began) >= MINUTE || now < self.began {
            *self = Self { began: now, ..Self::default() };
        }
        let count = if succeeded { &mut self.succeeded } else { &mut self.failed };
        *count = count.saturating_add(1);
        let all = self.failed.saturating_add(self.succeeded);
        let stands_out = self.failed >= FAILURES_THAT_COUNT
            && self.failed.saturating_mul(100) >= all.saturating_mul(u64::from(percent));
        if !stands_out || self.told {
            return None;
        }
        self.told = true;
        Some(Alarm { failed: self.failed, succeeded: self.succeeded })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(10) };

    #[test]
    fn a_burst_passes_and_then_one_by_one() {
        let mut left = Duration::ZERO;
        for _ in 0..3 {
            left = QUOTA.take(left).unwrap();
        }
        assert_eq!(QUOTA.take(left), Err(Duration::from_secs(10)));
        left -= Duration::from_secs(4);
        assert_eq!(QUOTA.take(left), Err(Duration::from_secs(6)));
        left -= Duration::from_secs(6);
        left = QUOTA.take(left).unwrap();
        assert_eq!(QUOTA.take(left), Err(Duration::from_secs(10)));
    }

    proptest! {
        /// However attempts are spread, no span of time lets through more than the burst and what grew again in it.
        #[test]
        fn no_span_admits_more(gaps in prop::collection::vec(0_u64..20_000, 1..200)) {
            let (mut now, mut full_at, mut admitted) = (0_u64, 0_u64, Vec::new());
            for gap in gaps {
                now += gap;
                let left = Duration::from_millis(full_at.saturating_sub(now));
                match QUOTA.take(left) {
                    Ok(then) => {
                        full_at = now + u64::try_from(then.as_millis()).unwrap();
                        admitted.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(!wait.is_zero() && wait <= QUOTA.every);
                        prop_assert!(QUOTA.take(left.saturating_sub(wait)).is_ok(), "the wait that is told is enough");
                    }
                }
            }
            for (index, first) in admitted.iter().enumerate() {
                for (count, last) in admitted.iter().skip(index).enumerate() {
                    let grown = (last - first) / 10_000;
                    prop_assert!((count as u64) < u64::from(QUOTA.burst) + grown, "{first} to {last}");
                }
            }
        }
    }

    #[test]
    fn failures_that_stand_out_are_told_once_a_minute() {
        let mut ratio = FailureRatio::default();
        let at = |seconds: i64| Timestamp::from_secs(1_000 + seconds);
        for _ in 0..99 {
            assert_eq!(ratio.note(at(0), false, 80), None);
        }
        let alarm = Alarm { failed: 100, succeeded: 0 };
        assert_eq!(ratio.note(at(1), false, 80), Some(alarm));
        assert_eq!(ratio.note(at(2), false, 80), None, "once");
        let again: Vec<_> = (0..150).filter_map(|_| ratio.note(at(61), false, 80)).collect();
        assert_eq!(again, [alarm]);
        // A busy morning: many fail, but most do not.
        let quiet = (0..1_000).filter_map(|number| ratio.note(at(200), number % 3 == 0, 80)).count();
        assert_eq!(quiet, 0);
    }
}
