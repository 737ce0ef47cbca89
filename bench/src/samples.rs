//! Statistics of what was observed.

/// Observations, sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// The middle observation; the mean of the two middle ones if their number is even. `None` of none.
    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => None,
            even if even % 2 == 0 => Some((self.0[middle - 1] + self.0[middle]) / 2.0),
            _ => Some(self.0[middle]),
        }
    }

    /// The smallest observation that at least `percent` of all do not exceed (nearest rank). `None` of
    /// none.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        assert!((0.0..=100.0).contains(&percent), "a percentage");
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }

    /// The largest observation.
    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    /// How many observations there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(observations: I) -> Self {
        let mut observations: Vec<f64> = observations.into_iter().collect();
        observations.sort_by(f64::total_cmp);
        Self(observations)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(hundred.percentile(99.0), Some(99.0));
        assert_eq!(hundred.percentile(50.0), Some(50.0));
        assert_eq!(hundred.percentile(0.0), Some(1.0));
        assert_eq!(hundred.percentile(100.0), Some(100.0));
        assert_eq!(samples(&[1.0, 2.0, 3.0]).percentile(99.0), Some(3.0));
        assert_eq!(samples(&[1.0, 2.0, 3.0]).percentile(34.0), Some(2.0));
        assert_eq!(samples(&[]).percentile(99.0), None);
    }

    #[test]
    fn the_largest_comes_last() {
        assert_eq!(samples(&[2.0, 8.0, -1.0]).max(), Some(8.0));
        assert_eq!(samples(&[]).max(), None);
        assert_eq!(samples(&[2.0, 8.0]).len(), 2);
    }
}
