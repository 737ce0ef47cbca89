//! Axes: from values to places, and the ticks between.

/// How far apart equal steps are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Equal differences; always with zero.
    Linear,
    /// Equal ratios; every value is above zero.
    Log,
}

/// One axis: its range, rounded outwards to ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values with a tick, from low to high.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// An axis on which every value has a place, with about `ticks_max` ticks.
    pub(super) fn over(scale: Scale, values: Vec<f64>, ticks_max: usize) -> Self {
        assert!(values.iter().all(|value| value.is_finite()), "what is shown is finite");
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match scale {
            Scale::Linear => Self::linear(low.min(0.0), high.max(0.0), ticks_max),
            Scale::Log => Self::log(low, high, ticks_max),
        }
    }

    fn linear(low: f64, high: f64, ticks_max: usize) -> Self {
        let range = if high > low { high - low } else { 1.0 };
        let step = round_step(range / (ticks_max - 1) as f64);
        let (first, last) = ((low / step).floor(), ((low + range) / step).ceil());
        let ticks: Vec<f64> =
            (0..=(last - first) as usize).map(|tick| (first + tick as f64) * step).collect();
        Self { scale: Scale::Linear, low: first * step, high: last * step, ticks }
    }

    fn log(low: f64, high: f64, ticks_max: usize) -> Self {
        assert!(low > 0.0, "only what is above zero has a logarithm");
        let (first, mut last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        last = last.max(first + 1);
        let every = usize::try_from(last - first).unwrap_or(1).div_ceil(ticks_max).max(1);
        let ticks = (first..=last).step_by(every).map(|power| 10.0_f64.powi(power)).collect();
        Self { scale: Scale::Log, low: 10.0_f64.powi(first), high: 10.0_f64.powi(last), ticks }
    }

    /// Where a value is: 0 at the beginning of the axis, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
        };
        assert!((-1e-9..=1.0 + 1e-9).contains(&place), "{value} is on the axis");
        place.clamp(0.0, 1.0)
    }

    /// Where bars stand.
    pub(super) fn floor(&self) -> f64 {
        match self.scale {
            Scale::Linear => self.place(0.0),
            Scale::Log => 0.0,
        }
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50 and so on that is not smaller.
fn round_step(step: f64) -> f64 {
    let power = 10.0_f64.powf(step.log10().floor());
    let rounded =
        [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|round| *round >= step * (1.0 - 1e-9));
    rounded.unwrap_or(10.0 * power)
}

/// A number as short as it reads well: 0.05, 12, 3.5k, 20M.
pub(super) fn shown(value: f64) -> String {
    let (divided, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Three digits that count, and no zeros behind the point.
    let digits = match divided.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{divided:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_of_a_linear_axis_are_round_and_start_at_zero() {
        let axis = Axis::over(Scale::Linear, vec![3.0, 47.0], 7);
        assert_eq!(axis.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!((axis.place(0.0), axis.place(25.0), axis.place(50.0)), (0.0, 0.5, 1.0));
        let nothing = Axis::over(Scale::Linear, vec![0.0], 7);
        assert_eq!((nothing.place(0.0), nothing.floor()), (0.0, 0.0));
    }

    #[test]
    fn decades_of_a_logarithmic_axis_are_equally_far_apart() {
        let axis = Axis::over(Scale::Log, vec![25.0, 3_600_000.0], 7);
        assert_eq!(axis.ticks, [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
        assert!((axis.place(1e4) - 0.5).abs() < 1e-12);
        assert_eq!(Axis::over(Scale::Log, vec![100.0], 7).ticks, [100.0, 1_000.0]);
    }

    #[test]
    #[should_panic(expected = "above zero")]
    fn zero_has_no_place_on_a_logarithmic_axis() {
        Axis::over(Scale::Log, vec![0.0, 1.0], 7);
    }

    #[test]
    fn numbers_are_short() {
        let table = [
            (0.0, "0"),
            (0.05, "0.05"),
            (1.5, "1.5"),
            (12.0, "12"),
            (120.0, "120"),
            (999.0, "999"),
            (1_000.0, "1k"),
            (9_994.0, "9.99k"),
            (25_000.0, "25k"),
            (1_344_789.0, "1.34M"),
            (-40.0, "-40"),
        ];
        for (value, expected) in table {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_and_keeps_its_order(
            mut values in prop::collection::vec(1e-3..1e9, 1..20),
            log in any::<bool>(),
        ) {
            let scale = if log { Scale::Log } else { Scale::Linear };
            let axis = Axis::over(scale, values.clone(), 7);
            values.sort_by(f64::total_cmp);
            let places: Vec<f64> = values.iter().map(|value| axis.place(*value)).collect();
            prop_assert!(places.is_sorted());
            prop_assert!(axis.ticks.len() >= 2 && axis.ticks.len() <= 9, "{:?}", axis.ticks);
            prop_assert!(axis.ticks.is_sorted());
        }
    }
}
