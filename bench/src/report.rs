//! What a run found: printed as tables, written as JSON.

#![expect(clippy::print_stdout, reason = "the tables are the output of this program")]

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::samples::Samples;

/// The figures of one measurement.
#[derive(Debug)]
pub(crate) struct Section {
    name: &'static str,
    about: String,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
}

impl Section {
    /// A measurement, and in a sentence what it does.
    pub(crate) fn new(name: &'static str, about: impl Into<String>) -> Self {
        Self { name, about: about.into(), figures: vec![] }
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), value, unit });
    }

    /// Adds the median of observations; nothing if there are none.
    pub(crate) fn median(&mut self, what: impl Into<String>, samples: &Samples, unit: &'static str) {
        if let Some(median) = samples.median() {
            self.figure(what, median, unit);
        }
    }

    /// Adds the median, the 99th percentile and the largest of observations.
    pub(crate) fn spread(&mut self, what: &str, samples: &Samples, unit: &'static str) {
        self.median(format!("{what}, median of {}", samples.len()), samples, unit);
        let tail = [("p99", samples.percentile(99.0)), ("largest", samples.max())];
        for (name, value) in tail {
            value.into_iter().for_each(|value| self.figure(format!("{what}, {name}"), value, unit));
        }
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.name, self.about);
        let width = self.figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or(0);
        for Figure { what, value, unit } in &self.figures {
            println!("  {what:<width$}  {:>14}  {unit}", shown(*value));
        }
    }

    fn json(&self) -> Value {
        let figures = self.figures.iter();
        let rows: Vec<Value> = figures
            .map(|figure| json!({"what": figure.what, "value": figure.value, "unit": figure.unit}))
            .collect();
        json!({"name": self.name, "about": self.about, "figures": rows})
    }
}

/// Prints where the figures come from.
pub(crate) fn print_environment(environment: &Environment) {
    println!("{environment}");
}

/// Writes everything to a file.
pub(crate) fn write_json(path: &Path, environment: &Environment, sections: &[Section]) -> anyhow::Result<()> {
    let sections: Vec<Value> = sections.iter().map(Section::json).collect();
    let report = json!({"environment": environment.json(), "sections": sections});
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

/// A number in digits that matter, with thousands apart.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 || value == 0.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_digits_that_matter() {
        let table = [
            (0.0, "0"),
            (0.04321, "0.0432"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.0, "-1,234"),
        ];
        for (value, expected) in table {
            assert_eq!(shown(value), expected, "{value}");
        }
    }
}
