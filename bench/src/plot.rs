//! Figures as SVG: lines and bars, with axes, units and a title.
//!
//! Owns how a figure looks; what it shows is the measurement's business. Text is real text, colours are
//! told apart by most eyes (Okabe and Ito), every series has a marker of its own, and the background is
//! white, so that a figure reads on any page and in print.

mod scale;
mod svg;

use serde_json::{Value, json};

use crate::samples::Samples;

pub(crate) use scale::Scale;
use svg::Canvas;

/// What a figure shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plot {
    /// Names its file.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// What is on the horizontal axis, with its unit.
    pub(crate) x: String,
    /// What is on the vertical axis, with its unit.
    pub(crate) y: String,
    pub(crate) y_scale: Scale,
    pub(crate) content: Content,
}

/// Lines through points, or groups of bars.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Lines { x_scale: Scale, series: Vec<Line> },
    Bars { groups: Vec<String>, series: Vec<Bars> },
}

/// Points that belong together, from left to right.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One bar in each group, `None` where there is nothing to show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<f64>>,
}

/// Most ticks that read well side by side.
const TICKS_MAX: usize = 7;
/// What a bar or a line takes of the room between two ticks of groups.
const GROUP_SHARE: f64 = 0.75;

impl Plot {
    /// Bars of the median and the tail of several kinds of observations, in one unit.
    pub(crate) fn percentiles(
        name: &'static str,
        title: &str,
        unit: &str,
        kinds: &[(&str, &Samples)],
    ) -> Self {
        let percents = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)];
        let series = kinds.iter().map(|(name, samples)| Bars {
            name: (*name).to_owned(),
            values: percents.iter().map(|(_, percent)| samples.percentile(*percent)).collect(),
        });
        Self {
            name,
            title: title.to_owned(),
            x: "percentile".to_owned(),
            y: unit.to_owned(),
            y_scale: Scale::Linear,
            content: Content::Bars {
                groups: percents.iter().map(|(name, _)| (*name).to_owned()).collect(),
                series: series.collect(),
            },
        }
    }

    /// The figure as an SVG document. Panics if a value has no place on its axis.
    pub(crate) fn svg(&self) -> String {
        let values = self.values();
        assert!(!values.is_empty(), "a figure shows something");
        let y = scale::Axis::over(self.y_scale, values, TICKS_MAX);
        let mut canvas = Canvas::new(&self.title, &self.x, &self.y);
        canvas.vertical(&y);
        match &self.content {
            Content::Lines { x_scale, series } => {
                let across = series.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
                let x = scale::Axis::over(*x_scale, across, TICKS_MAX);
                canvas.horizontal(&x);
                for (number, Line { points, .. }) in series.iter().enumerate() {
                    let places: Vec<_> =
                        points.iter().map(|(left, up)| (x.place(*left), y.place(*up))).collect();
                    canvas.line(number, &places);
                }
            }
            Content::Bars { groups, series } => {
                canvas.groups(groups);
                let (wide, floor) = (1.0 / groups.len() as f64, y.floor());
                let bar = wide * GROUP_SHARE / series.len() as f64;
                for (number, Bars { values, .. }) in series.iter().enumerate() {
                    assert_eq!(values.len(), groups.len(), "a value for every group");
                    for (group, value) in values.iter().enumerate() {
                        let Some(value) = value else { continue };
                        let left = (group as f64 + (1.0 - GROUP_SHARE) / 2.0) * wide + number as f64 * bar;
                        canvas.bar(number, left, bar, floor, y.place(*value), &scale::shown(*value));
                    }
                }
            }
        }
        canvas.legend(&self.names());
        canvas.finish()
    }

    /// The same for programs: what is shown.
    pub(crate) fn json(&self) -> Value {
        let content = match &self.content {
            Content::Lines { series, .. } => {
                let lines = series.iter().map(|line| json!({"name": line.name, "points": line.points}));
                json!({"lines": lines.collect::<Vec<_>>()})
            }
            Content::Bars { groups, series } => {
                let bars = series.iter().map(|bars| json!({"name": bars.name, "values": bars.values}));
                json!({"groups": groups, "bars": bars.collect::<Vec<_>>()})
            }
        };
        json!({"name": self.name, "title": self.title, "x": self.x, "y": self.y, "content": content})
    }

    fn values(&self) -> Vec<f64> {
        match &self.content {
            Content::Lines { series, .. } => {
                series.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y)).collect()
            }
            Content::Bars { series, .. } => {
                series.iter().flat_map(|bars| bars.values.iter().copied().flatten()).collect()
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        match &self.content {
            Content::Lines { series, .. } => series.iter().map(|line| line.name.as_str()).collect(),
            Content::Bars { series, .. } => series.iter().map(|bars| bars.name.as_str()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
