//! A histogram of durations in logarithmic buckets.
//!
//! Each power of two of nanoseconds is cut into 32 buckets, so that a quantile is off by at most
//! 1.6 %, whatever its size, and recording is an index and an increment.

use std::time::Duration;

const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
/// One octave below `STEPS` that is exact, and one for each further bit of a `u64`.
const BUCKETS: usize = (u64::BITS - STEP_BITS + 1) as usize * STEPS;

/// How often each duration was seen, in buckets.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Makes an empty histogram.
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    /// Counts one duration; longer than 584 years counts as 584 years.
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    /// Adds all that `other` has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// Tells the duration that `per_mille` of the recorded ones do not exceed; none if it is empty.
    pub(crate) fn quantile(&self, per_mille: u64) -> Option<Duration> {
        // The rank of the value looked for, from 1; a quantile of 0 is the smallest value.
        let rank = (u128::from(self.total) * u128::from(per_mille))
            .div_ceil(1000)
            .max(1);
        let mut seen = 0_u128;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(Duration::from_nanos(middle(index)));
            }
        }
        None
    }
}

/// The bucket that a number of nanoseconds falls into.
fn bucket(nanoseconds: u64) -> usize {
    let octave = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(STEP_BITS + 1);
    // What is left after the shift is less than twice `STEPS`, so that it fits any `usize`.
    let step = usize::try_from(nanoseconds >> octave).unwrap_or(usize::MAX);
    octave as usize * STEPS + step
}

/// The number in the middle of a bucket.
fn middle(index: usize) -> u64 {
    if index < 2 * STEPS {
        return index as u64;
    }
    let octave = index / STEPS - 1;
    let step = (index % STEPS + STEPS) as u64;
    (step << octave) + (1 << (octave - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(Histogram::new().quantile(500), None);
    }

    #[test]
    fn every_bucket_holds_its_own_middle() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(middle(index)), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_the_width_of_a_bucket() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (per_mille, exact) in [(500, 500.0), (990, 990.0), (1000, 1000.0)] {
            let found = histogram.quantile(per_mille).unwrap().as_secs_f64() * 1e6;
            assert!(
                (found / exact - 1.0).abs() < 0.017,
                "{found} is not {exact}"
            );
        }
    }

    #[test]
    fn merging_adds_what_the_other_has_counted() {
        let mut slow = Histogram::new();
        slow.record(Duration::from_millis(9));
        let mut all = Histogram::new();
        all.record(Duration::from_nanos(7));
        all.merge(&slow);
        assert_eq!(all.quantile(0), Some(Duration::from_nanos(7)));
        assert!(all.quantile(1000) > Some(Duration::from_millis(8)));
    }
}
