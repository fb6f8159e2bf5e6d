//! Times, to one part in sixty-four.

use std::time::Duration;

const PART_BITS: u32 = 6;
const PARTS: usize = 1 << PART_BITS;

/// Nanoseconds, by their highest seven bits.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; PARTS * 60], count: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let place = place(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let last = self.counts.len() - 1;
        self.counts[place.min(last)] += 1;
        self.count += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (own, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *own += theirs;
        }
        self.count += other.count;
    }

    /// The time that this share of all was done in; microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(place) as f64 / 1e3;
            }
        }
        0.0
    }
}

fn place(nanos: u64) -> usize {
    let shift = (64 - nanos.leading_zeros()).saturating_sub(PART_BITS + 1);
    shift as usize * PARTS + (nanos >> shift) as usize
}

/// The longest time that has this place.
fn highest(place: usize) -> u64 {
    let shift = (place / PARTS).saturating_sub(1);
    let part = place - shift * PARTS;
    ((part as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_place_of_its_size() {
        for nanos in [0, 1, 63, 64, 127, 128, 129, 1_000, 123_456, 9_999_999, 60_000_000_000] {
            let high = highest(place(nanos));
            assert!(high >= nanos && high - nanos <= nanos / 64 + 1, "{nanos} {high}");
        }
    }

    #[test]
    fn quantiles_count_from_the_shortest() {
        let mut times = Histogram::default();
        for micros in 1..=1_000 {
            times.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1_000.0)] {
            let found = times.quantile(share);
            assert!((found - micros).abs() <= micros / 60.0, "{share} {found}");
        }
        let mut twice = times.clone();
        twice.add(&times);
        assert!((twice.quantile(0.5) - times.quantile(0.5)).abs() < f64::EPSILON);
    }
}
