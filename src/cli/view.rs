//! What rendering depends on besides the message: colours, the time, the time zone. Rendering itself is pure.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How a person looks at an answer.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) paint: Paint,
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl View {
    /// `just now`, `3 min ago`, `in 2 h`; a dash where there is no time.
    pub(super) fn relative(&self, time: Option<&prost_types::Timestamp>) -> String {
        let Some(time) = time.map(instant) else { return "-".to_owned() };
        let (ahead, distance) = if time > self.now {
            // The moment that the call took must not make ten minutes of eleven.
            (true, time.since(self.now) + Duration::from_secs(1))
        } else {
            (false, self.now.since(time))
        };
        match rough(distance) {
            None if ahead => "now".to_owned(),
            None => "just now".to_owned(),
            Some(text) if ahead => format!("in {text}"),
            Some(text) => format!("{text} ago"),
        }
    }

    /// The local clock: `14:32` today, `2026-03-01 14:32` otherwise.
    pub(super) fn local(&self, time: Option<&prost_types::Timestamp>) -> String {
        let Some(time) = time.map(instant) else { return "-".to_owned() };
        let zoned = |time: Timestamp| {
            jiff::Timestamp::from_microsecond(time.micros()).map(|instant| instant.to_zoned(self.zone.clone()))
        };
        match (zoned(time), zoned(self.now)) {
            (Ok(time), Ok(now)) if time.date() == now.date() => time.strftime("%H:%M").to_string(),
            (Ok(time), _) => time.strftime("%Y-%m-%d %H:%M").to_string(),
            (Err(_), _) => "never".to_owned(),
        }
    }
}

/// A wire time as an instant.
pub(super) fn instant(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::from_micros(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000)))
}

/// An instant as a wire time.
pub(super) fn wire(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.micros().rem_euclid(1_000_000).saturating_mul(1_000);
    prost_types::Timestamp { seconds: time.secs(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// `12 min`, `3 h`, `5 days`; nothing under a minute.
fn rough(distance: Duration) -> Option<String> {
    match distance.as_secs() {
        0..MINUTE => None,
        secs @ MINUTE..HOUR => Some(format!("{} min", secs / MINUTE)),
        secs @ HOUR..DAY => Some(format!("{} h", secs / HOUR)),
        secs if secs < 2 * DAY => Some("1 day".to_owned()),
        secs => Some(format!("{} days", secs / DAY)),
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Off,
    On,
}

impl Paint {
    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(super) fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::On if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
pub(super) fn view_at(now: &str) -> View {
    let now: jiff::Timestamp = now.parse().unwrap();
    View { paint: Paint::Off, now: Timestamp::from_micros(now.as_microsecond()), zone: TimeZone::UTC }
}

#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "this is how messages hold a time")]
pub(super) fn time(text: &str) -> Option<prost_types::Timestamp> {
    let time: jiff::Timestamp = text.parse().unwrap();
    Some(wire(Timestamp::from_micros(time.as_microsecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_as_people_tell_them() {
        let view = view_at("2026-03-01T12:00:00Z");
        let cases = [
            ("2026-03-01T11:59:59Z", "just now"),
            ("2026-03-01T12:00:30Z", "now"),
            ("2026-03-01T11:57:00Z", "3 min ago"),
            ("2026-03-01T10:00:00Z", "2 h ago"),
            ("2026-02-28T11:00:00Z", "1 day ago"),
            ("2026-02-24T12:00:00Z", "5 days ago"),
            ("2026-03-01T12:30:00Z", "in 30 min"),
            ("2026-03-15T12:00:00Z", "in 14 days"),
        ];
        for (at, expected) in cases {
            assert_eq!(view.relative(time(at).as_ref()), expected, "{at}");
        }
        assert_eq!(view.relative(None), "-");
    }

    #[test]
    fn the_clock_names_the_day_unless_it_is_today() {
        let mut view = view_at("2026-03-01T12:00:00Z");
        assert_eq!(view.local(time("2026-03-01T14:32:10Z").as_ref()), "14:32");
        assert_eq!(view.local(time("2026-03-02T14:32:10Z").as_ref()), "2026-03-02 14:32");
        view.zone = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(view.local(time("2026-03-01T14:32:10Z").as_ref()), "23:32");
        let absurd = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(view.local(Some(&absurd)), "never");
        assert_eq!(view.relative(Some(&absurd)).split(' ').next(), Some("in"));
    }

    #[test]
    fn wire_times_survive_the_way_there_and_back() {
        for micros in [0, 1, 1_700_000_000_123_456, -1] {
            assert_eq!(instant(&wire(Timestamp::from_micros(micros))).micros(), micros);
        }
    }
}
