//! Medians, quartiles, and the ratio of two servers over many pairs of measurements.

/// The order statistics of a sample that has at least one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) upper_quartile: f64,
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
}

impl Summary {
    /// Summarises `values`; none if there are no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 2)?,
            lower_quartile: quantile(&sorted, 1)?,
            upper_quartile: quantile(&sorted, 3)?,
            smallest: *sorted.first()?,
            largest: *sorted.last()?,
        })
    }

    /// Half the distance between the quartiles.
    pub(crate) fn half_interquartile_range(&self) -> f64 {
        (self.upper_quartile - self.lower_quartile) / 2.0
    }

    /// How far a ratio that should be 1 strays: the larger of the half interquartile range and the
    /// distance of the median from 1.
    pub(crate) fn stray_from_one(&self) -> f64 {
        self.half_interquartile_range()
            .max((self.median - 1.0).abs())
    }
}

/// A bound on the ratio of the costs of two servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mark {
    /// At most this, with the control's spread as the tolerance.
    AtMost(f64),
    /// At least this, without any tolerance.
    AtLeast(f64),
}

impl Mark {
    /// Tells whether the median of the ratios reaches the mark.
    pub(crate) fn is_reached(self, ratios: &Summary, control: Option<&Summary>) -> bool {
        let tolerance = control.map_or(0.0, Summary::stray_from_one);
        match self {
            Self::AtMost(bound) => ratios.median <= bound + tolerance,
            Self::AtLeast(bound) => ratios.median >= bound,
        }
    }
}

/// A count as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts here stay far below 2^53, where every integer is exact"
)]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

/// The `quarter`-th quartile of sorted values, between two values by linear interpolation.
fn quantile(sorted: &[f64], quarter: usize) -> Option<f64> {
    let steps = sorted.len().checked_sub(1)? * quarter;
    let below = sorted[steps / 4];
    let above = sorted.get(steps / 4 + 1).copied().unwrap_or(below);
    let part = count((steps % 4) as u64) / 4.0;
    Some(below + (above - below) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-12
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_value_is_its_own_summary() {
        let summary = Summary::of(&[7.0]).unwrap();
        assert!(close(summary.median, 7.0) && close(summary.half_interquartile_range(), 0.0));
    }

    #[test]
    fn quartiles_lie_between_values_in_proportion() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert!(close(summary.lower_quartile, 1.75));
        assert!(close(summary.median, 2.5));
        assert!(close(summary.upper_quartile, 3.25));
        assert!(close(summary.smallest, 1.0) && close(summary.largest, 4.0));
    }

    #[test]
    fn a_control_with_a_biased_median_strays_by_its_bias() {
        let summary = Summary::of(&[1.10, 1.10, 1.10]).unwrap();
        assert!(close(summary.stray_from_one(), 0.10));
    }

    #[test]
    fn a_control_that_scatters_strays_by_its_half_interquartile_range() {
        let summary = Summary::of(&[0.90, 0.95, 1.00, 1.05, 1.10]).unwrap();
        assert!(close(summary.stray_from_one(), 0.05));
    }

    #[test]
    fn a_ratio_above_the_mark_passes_only_within_the_controls_spread() {
        let control = Summary::of(&[0.98, 0.98, 1.00, 1.02, 1.02]).unwrap();
        let within = Summary::of(&[1.06]).unwrap();
        let beyond = Summary::of(&[1.08]).unwrap();
        assert!(Mark::AtMost(1.05).is_reached(&within, Some(&control)));
        assert!(!Mark::AtMost(1.05).is_reached(&beyond, Some(&control)));
        assert!(!Mark::AtMost(1.05).is_reached(&within, None));
    }

    #[test]
    fn a_lower_bound_has_no_tolerance() {
        let control = Summary::of(&[1.5]).unwrap();
        let below = Summary::of(&[2.9]).unwrap();
        assert!(!Mark::AtLeast(3.0).is_reached(&below, Some(&control)));
        assert!(Mark::AtLeast(2.9).is_reached(&below, None));
    }
}
