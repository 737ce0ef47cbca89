//! What recorded links can carry, millisecond by millisecond.

/// Bytes of each delivery of a recording that lists deliveries.
const DELIVERY_BYTES: u64 = 1_500;

/// How many bytes a link carries by when; repeats itself for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Milliseconds and the bytes carried until then, both ascending from zero; straight in between.
    points: Vec<(u64, u64)>,
}

impl Capacity {
    /// A link that carried 1,500 bytes at each of these milliseconds, in order, as Mahimahi records them.
    /// `None` if there are none.
    pub fn of_deliveries(at_ms: &[u64]) -> Option<Self> {
        let (mut points, mut bytes) = (vec![(0, 0)], 0);
        for at_ms in at_ms.iter().map(|at_ms| (*at_ms).max(1)) {
            let (last_ms, _) = points[points.len() - 1];
            if at_ms > last_ms + 1 {
                points.push((at_ms - 1, bytes));
            }
            bytes += DELIVERY_BYTES;
            match at_ms > last_ms {
                true => points.push((at_ms, bytes)),
                false => points.last_mut()?.1 = bytes,
            }
        }
        Self::through(points)
    }

    /// A link with a rate in bytes per second from each of these milliseconds on, in order; the last
    /// says when the recording ends. `None` if it carries nothing.
    pub fn of_rates(rates: &[(u64, u64)]) -> Option<Self> {
        let (first_ms, _) = *rates.first()?;
        let (mut points, mut bytes) = (vec![(0, 0)], 0);
        for pair in rates.windows(2) {
            let ((from_ms, bytes_per_second), (until_ms, _)) = (pair[0], pair[1]);
            bytes += until_ms.checked_sub(from_ms)? * bytes_per_second / 1_000;
            points.push((until_ms - first_ms, bytes));
        }
        Self::through(points)
    }

    fn through(points: Vec<(u64, u64)>) -> Option<Self> {
        let ascending = points.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let carries = points.last().is_some_and(|(ms, bytes)| *ms > 0 && *bytes > 0);
        (ascending && carries).then_some(Self { points })
    }

    /// After how long the recording begins anew, in milliseconds.
    pub fn period_ms(&self) -> u64 {
        self.end().0
    }

    /// When `bytes` that the link begins to carry at `start_ms` are through.
    pub(crate) fn carried_at(&self, start_ms: u64, bytes: u64) -> u64 {
        let (period_ms, total) = self.end();
        let wanted = start_ms / period_ms * total + self.carried_by(start_ms % period_ms) + bytes.max(1);
        let rounds = (wanted - 1) / total;
        rounds * period_ms + self.time_of(wanted - rounds * total)
    }

    fn end(&self) -> (u64, u64) {
        self.points[self.points.len() - 1]
    }

    /// Bytes carried until a time within the recording.
    fn carried_by(&self, ms: u64) -> u64 {
        let next = self.points.partition_point(|point| point.0 <= ms);
        let (from_ms, from) = self.points[next - 1];
        match self.points.get(next) {
            Some((until_ms, until)) => from + (until - from) * (ms - from_ms) / (until_ms - from_ms),
            None => from,
        }
    }

    /// When so many bytes, at least one and at most all, have been carried.
    fn time_of(&self, bytes: u64) -> u64 {
        let next = self.points.partition_point(|point| point.1 < bytes);
        let ((from_ms, from), (until_ms, until)) = (self.points[next - 1], self.points[next]);
        from_ms + ((bytes - from) * (until_ms - from_ms)).div_ceil(until - from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn deliveries_happen_when_they_were_recorded_and_again() {
        let link = Capacity::of_deliveries(&[2, 2, 5, 10]).unwrap();
        assert_eq!(link.period_ms(), 10);
        assert_eq!(link.carried_at(0, 1), 2);
        assert_eq!(link.carried_at(0, 3_000), 2);
        assert_eq!(link.carried_at(0, 3_001), 5);
        assert_eq!(link.carried_at(2, 1_500), 5);
        assert_eq!(link.carried_at(5, 1_500), 10);
        assert_eq!(link.carried_at(5, 1_501), 12);
        assert_eq!(link.carried_at(25, 6_000), 35, "a whole recording takes its period");
    }

    #[test]
    fn rates_hold_until_the_next() {
        let link = Capacity::of_rates(&[(500, 1_000), (1_500, 0), (2_500, 10_000), (3_500, 7)]).unwrap();
        assert_eq!(link.period_ms(), 3_000);
        assert_eq!(link.carried_at(0, 500), 500);
        assert_eq!(link.carried_at(0, 1_000), 1_000);
        assert_eq!(link.carried_at(0, 2_000), 2_100, "nothing was carried in the second second");
        assert_eq!(link.carried_at(1_700, 10_000), 3_000);
    }

    #[test]
    fn a_link_that_carries_nothing_is_none() {
        assert_eq!(Capacity::of_deliveries(&[]), None);
        assert_eq!(Capacity::of_rates(&[(0, 5)]), None);
        assert_eq!(Capacity::of_rates(&[(0, 0), (1_000, 0)]), None);
    }
}
