//! Statistics of what was observed.
//!
//! Everything is computed from the sorted observations themselves: no distribution is assumed, nothing
//! is interpolated but the median of an even number.

/// Observations, sorted. None is NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

/// Most observations that [`Samples::median_interval`] takes: rounds are few.
const ROUNDS_MAX: usize = 1_000;

/// Where the median of what is observed lies, as far as the observations tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How often an interval made in this way holds the true median, 0 to 1.
    pub(crate) confidence: f64,
}

impl Samples {
    /// The middle observation; the mean of the two middle ones if their number is even. `None` of none.
    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => None,
            even if even % 2 == 0 => Some(f64::midpoint(self.0[middle - 1], self.0[middle])),
            _ => Some(self.0[middle]),
        }
    }

    /// The smallest observation that at least `percent` of all do not exceed (nearest rank). `None` of
    /// none.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        assert!((0.0..=100.0).contains(&percent), "a percentage");
        // The product first: 7 / 100 x 100 is more than 7 in binary, 7 x 100 / 100 is not.
        let rank = (percent * self.0.len() as f64 / 100.0).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }

    /// The smallest observation.
    pub(crate) fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    /// The largest observation.
    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    /// The sum of all, divided by their number. `None` of none.
    pub(crate) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }

    /// How many observations there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Between which observations the true median lies with at least this confidence, whatever the
    /// distribution, if the observations are independent: rounds of a measurement, not the events of
    /// one round. The narrowest interval from the k-th smallest to the k-th largest will do; all of them
    /// make one of less confidence if they are too few, and it says of how much. `None` of none.
    ///
    /// An observation is below the median as often as a coin shows heads, so k or more are on either side
    /// with the probability of a binomial distribution (Conover, Practical Nonparametric Statistics, 3.2).
    pub(crate) fn median_interval(&self, confidence: f64) -> Option<Interval> {
        assert!((0.0..1.0).contains(&confidence), "a probability, and never certainty");
        let count = self.0.len();
        assert!(count <= ROUNDS_MAX, "rounds, not events");
        let (mut outside, mut term) = (0.0, 0.5_f64.powi(i32::try_from(count).ok()?));
        let mut found = None;
        for k in 1..=count.div_ceil(2) {
            // The probability that fewer than k observations are below the median.
            outside += term;
            term *= (count - k + 1) as f64 / k as f64;
            let covered = (1.0 - 2.0 * outside).max(0.0);
            if found.is_some() && covered < confidence {
                break;
            }
            found = Some(Interval { low: self.0[k - 1], high: self.0[count - k], confidence: covered });
        }
        found
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(observations: I) -> Self {
        let mut observations: Vec<f64> = observations.into_iter().collect();
        assert!(observations.iter().all(|value| !value.is_nan()), "an observation is a number");
        observations.sort_by(f64::total_cmp);
        Self(observations)
    }
}

impl<'a> FromIterator<&'a Self> for Samples {
    /// All observations of several rounds.
    fn from_iter<I: IntoIterator<Item = &'a Self>>(rounds: I) -> Self {
        rounds.into_iter().flat_map(|round| round.0.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(observations: &[f64]) -> Samples {
        observations.iter().copied().collect()
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(samples(&[]).median(), None);
        assert_eq!(samples(&[7.0]).median(), Some(7.0));
        assert_eq!(samples(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(samples(&[9.0, 1.0, 2.0, 4.0]).median(), Some(3.0));
    }

    #[test]
    fn a_percentile_is_an_observation_that_enough_do_not_exceed() {
        let hundred: Samples = (1..=100).rev().map(f64::from).collect();
        for (percent, expected) in
            [(99.0, 99.0), (7.0, 7.0), (90.0, 90.0), (50.0, 50.0), (0.0, 1.0), (100.0, 100.0)]
        {
            assert_eq!(hundred.percentile(percent), Some(expected), "p{percent}");
        }
        let thousand: Samples = (1..=1_000).map(f64::from).collect();
        assert_eq!(thousand.percentile(99.0), Some(990.0));
        assert_eq!(thousand.percentile(99.9), Some(999.0));
        assert_eq!(samples(&[1.0, 2.0, 3.0]).percentile(99.0), Some(3.0));
        assert_eq!(samples(&[1.0, 2.0, 3.0]).percentile(34.0), Some(2.0));
        assert_eq!(samples(&[]).percentile(99.0), None);
    }

    #[test]
    fn smallest_largest_and_mean_are_three_things() {
        let four = samples(&[2.0, 8.0, -1.0, 5.0]);
        assert_eq!((four.min(), four.max(), four.mean()), (Some(-1.0), Some(8.0), Some(3.5)));
        assert_eq!(four.len(), 4);
        let none = samples(&[]);
        assert_eq!((none.min(), none.max(), none.mean(), none.len()), (None, None, None, 0));
    }

    #[test]
    fn five_rounds_hold_the_median_fifteen_times_of_sixteen() {
        // All five on one side: 2 of 32 ways.
        let five = samples(&[5.0, 1.0, 4.0, 2.0, 3.0]).median_interval(0.9).expect("observations");
        assert_eq!(five, Interval { low: 1.0, high: 5.0, confidence: 0.9375 });
        // At most one on one side: (1 + 5) of 32 ways, twice.
        let five = samples(&[5.0, 1.0, 4.0, 2.0, 3.0]).median_interval(0.6).expect("observations");
        assert_eq!(five, Interval { low: 2.0, high: 4.0, confidence: 0.625 });
    }

    #[test]
    fn the_interval_is_as_narrow_as_the_confidence_allows() {
        // Tabulated: of 10, the 2nd and the 9th make 97.9 %, the 3rd and the 8th 89.1 %.
        let ten: Samples = (1..=10).map(f64::from).collect();
        let interval = ten.median_interval(0.95).expect("observations");
        assert_eq!((interval.low, interval.high), (2.0, 9.0));
        assert!((interval.confidence - (1.0 - 2.0 * 11.0 / 1024.0)).abs() < 1e-12);
        assert_eq!(ten.median_interval(0.89).map(|interval| interval.low), Some(3.0));
    }

    #[test]
    fn too_few_rounds_say_how_little_they_tell() {
        assert_eq!(samples(&[]).median_interval(0.9), None);
        let one = samples(&[3.0]).median_interval(0.9).expect("an observation");
        assert_eq!(one, Interval { low: 3.0, high: 3.0, confidence: 0.0 });
        let three = samples(&[3.0, 1.0, 2.0]).median_interval(0.9).expect("observations");
        assert_eq!(three, Interval { low: 1.0, high: 3.0, confidence: 0.75 });
    }

    #[test]
    #[should_panic(expected = "an observation is a number")]
    fn nothing_is_made_of_what_is_no_number() {
        samples(&[1.0, f64::NAN]);
    }

    proptest! {
        #[test]
        fn statistics_are_ordered(values in prop::collection::vec(-1e9..1e9, 1..200)) {
            let all = samples(&values);
            let statistics = [
                all.min(), all.percentile(0.0), all.percentile(10.0), all.percentile(50.0), all.percentile(90.0),
                all.percentile(99.0), all.percentile(100.0), all.max(),
            ];
            prop_assert!(statistics.is_sorted(), "{statistics:?}");
            let (min, max) = (all.min().expect("some"), all.max().expect("some"));
            for middle in [all.median(), all.mean()].into_iter().flatten() {
                prop_assert!(min - 1e-3 <= middle && middle <= max + 1e-3, "{min} {middle} {max}");
            }
        }

        #[test]
        fn order_of_observation_does_not_matter(values in prop::collection::vec(-1e9..1e9, 0..50)) {
            let backwards: Samples = values.iter().rev().copied().collect();
            prop_assert_eq!(samples(&values), backwards);
        }

        #[test]
        fn a_percentile_leaves_enough_below_and_no_more_than_needed(
            values in prop::collection::vec(-1e3..1e3, 1..200),
            percent in 0.0..=100.0,
        ) {
            let found = samples(&values).percentile(percent).expect("some");
            let share = |count: usize| 100.0 * count as f64 / values.len() as f64;
            prop_assert!(share(values.iter().filter(|value| **value <= found).count()) >= percent - 1e-9);
            prop_assert!(share(values.iter().filter(|value| **value < found).count()) <= percent + 1e-9);
        }

        #[test]
        fn scaling_observations_scales_statistics(values in prop::collection::vec(0.0..1e6, 1..60)) {
            let (all, twice): (Samples, Samples) =
                (samples(&values), values.iter().map(|value| value * 2.0).collect());
            prop_assert_eq!(all.median().map(|value| value * 2.0), twice.median());
            prop_assert_eq!(all.mean().map(|value| value * 2.0), twice.mean());
            prop_assert_eq!(all.percentile(99.0).map(|value| value * 2.0), twice.percentile(99.0));
        }

        #[test]
        fn an_interval_holds_the_median_and_grows_with_confidence(values in prop::collection::vec(0.0..1e6, 1..60)) {
            let all = samples(&values);
            let median = all.median().expect("some");
            let mut before: Option<Interval> = None;
            for confidence in [0.5, 0.8, 0.9, 0.95, 0.99] {
                let interval = all.median_interval(confidence).expect("some");
                prop_assert!(interval.low <= median && median <= interval.high);
                let widest = interval.low == all.min().expect("some") && interval.high == all.max().expect("some");
                prop_assert!(interval.confidence >= confidence || widest);
                if let Some(before) = before {
                    prop_assert!(interval.low <= before.low && interval.high >= before.high);
                }
                before = Some(interval);
            }
        }
    }
}
