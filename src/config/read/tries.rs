//! `[limits]`, as far as it is about tries: how many failures at once, and how long until one more.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::reader::{Section, Wrong, in_words};
use crate::domain::rate::{Quota, Quotas};

const BURST: RangeInclusive<u32> = 1..=1_000_000;
/// So many may be under way when an account has failed too often, and still do not make it a hundred.
const BURST_OF_ACCOUNT: RangeInclusive<u32> = 1..=50;
const EVERY: RangeInclusive<Duration> = Duration::from_millis(1)..=WINDOW_MAX;
/// A bucket is remembered until it is full: names that nobody has make buckets too, and memory must not be the guesser's.
const WINDOW_MAX: Duration = Duration::from_mins(15);
const PERCENT: RangeInclusive<u8> = 1..=100;

pub(super) fn read(section: &mut Section<'_>, out: &mut Quotas) {
    quota(section, "address", "from one network (an IPv4 address, a /64 of IPv6)", &BURST, &mut out.address);
    quota(section, "caller", "through one client", &BURST, &mut out.caller);
    quota(section, "account", "for one account's name, of strangers", &BURST_OF_ACCOUNT, &mut out.account);
    let meaning = "for one name from one network";
    quota(section, "account_at_address", meaning, &BURST_OF_ACCOUNT, &mut out.account_at_address);
    quota(section, "device", "on a device that has signed in before", &BURST_OF_ACCOUNT, &mut out.device);
    quota(
        section,
        "administrator",
        "passwords that one administrator sets, new users with one included",
        &BURST,
        &mut out.administrator,
    );
    let meaning = "refresh tokens and client secrets that are none, from one network";
    quota(section, "token", meaning, &BURST, &mut out.token);
    let meaning = "of a minute's sign-ins have failed, and a hundred or more: the log raises an alarm";
    section.number("alarm_percent", meaning, &PERCENT, &mut out.alarm_percent);
}

fn quota(
    section: &mut Section<'_>,
    name: &'static str,
    meaning: &'static str,
    bursts: &RangeInclusive<u32>,
    out: &mut Quota,
) {
    section.section(name, |section| {
        let burst = section.number("burst", meaning, bursts, &mut out.burst);
        let every = section.duration("every", "and then one more each", &EVERY, &mut out.every);
        if out.window() > WINDOW_MAX {
            let what = format!("{} times {} is {}", out.burst, in_words(out.every), in_words(out.window()));
            let right = format!("{} in all at most: fewer at once, or one more sooner", in_words(WINDOW_MAX));
            section.fault("every", burst.max(every), Wrong::new(what, right));
        }
    });
}
