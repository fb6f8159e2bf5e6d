//! How many of many like events are worth writing down one by one. Whoever can cause events without end must not be able to
//! fill a disk with them, and what they did must still be told in full number.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// So many of a kind are written as they are, in each span.
pub const EACH: u32 = 100;
const SPAN: Duration = Duration::from_mins(1);

/// What came of each kind in its span. As large as there are kinds.
#[derive(Debug)]
pub struct Flood<K> {
    spans: BTreeMap<K, Span>,
}

#[derive(Debug)]
struct Span {
    since: Timestamp,
    written: u32,
    counted: u64,
}

/// Those of a kind that were only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<K> {
    pub kind: K,
    pub count: u64,
    pub since: Timestamp,
}

impl<K> Default for Flood<K> {
    fn default() -> Self {
        Self { spans: BTreeMap::new() }
    }
}

impl<K: Ord> Flood<K> {
    /// Whether this one is written as it is. If not, it is counted.
    pub fn admit(&mut self, kind: K, now: Timestamp) -> bool {
        let span = self.spans.entry(kind).or_insert(Span { since: now, written: 0, counted: 0 });
        if span.written < EACH {
            span.written += 1;
            return true;
        }
        span.counted = span.counted.saturating_add(1);
        false
    }

    /// What was counted in spans that are over, which begin anew.
    pub fn over(&mut self, now: Timestamp) -> Vec<Counted<K>> {
        self.end(|span| now.since(span.since) >= SPAN)
    }

    /// The same of all of them, because nobody will ask later.
    pub fn rest(&mut self) -> Vec<Counted<K>> {
        self.end(|_| true)
    }

    fn end(&mut self, is_over: impl Fn(&Span) -> bool) -> Vec<Counted<K>> {
        let over = self.spans.extract_if(.., |_, span| is_over(span));
        let counted = over.filter(|(_, span)| span.counted > 0);
        counted.map(|(kind, Span { since, counted, .. })| Counted { kind, count: counted, since }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    #[test]
    fn the_first_are_written_and_the_rest_is_counted() {
        let mut flood = Flood::default();
        let written = (0..100_000).filter(|number| flood.admit("failed", at(number / 2_000))).count();
        assert_eq!(written, 100);
        assert!(flood.admit("throttled", at(30)), "another kind is not held up");
        assert_eq!(flood.over(at(59)), []);
        assert_eq!(flood.over(at(60)), [Counted { kind: "failed", count: 99_900, since: at(0) }]);
        assert_eq!(flood.over(at(61)), []);
        assert!(flood.admit("failed", at(61)), "a new minute");
        assert_eq!(flood.over(at(200)), [], "nothing was counted only");
    }

    #[test]
    fn nothing_is_lost_at_the_end() {
        let mut flood = Flood::default();
        assert_eq!((0..150).filter(|_| flood.admit('a', at(0))).count(), 100);
        assert_eq!(flood.rest(), [Counted { kind: 'a', count: 50, since: at(0) }]);
        assert_eq!(flood.rest(), []);
    }

    #[test]
    fn it_holds_no_more_than_there_are_kinds_in_a_minute() {
        let mut flood = Flood::default();
        for kind in 0..1_000 {
            flood.admit(kind, at(kind));
            flood.over(at(kind));
        }
        assert!(flood.spans.len() <= 60, "{}", flood.spans.len());
    }
}
