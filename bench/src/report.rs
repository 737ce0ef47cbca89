//! What a run found: printed as tables, written as JSON and figures.

#![expect(clippy::print_stdout, reason = "the tables are the output of this program")]

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::plot::Plot;
use crate::samples::{Interval, Samples};

/// How sure an interval around a median of rounds is to be.
const CONFIDENCE: f64 = 0.9;

/// The figures of one measurement.
#[derive(Debug)]
pub(crate) struct Section {
    name: String,
    about: String,
    figures: Vec<Figure>,
    tables: Vec<Table>,
    plots: Vec<Plot>,
}

#[derive(Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// Of a median of rounds.
    interval: Option<Interval>,
}

/// Figures that are read side by side: rows by name, columns with their unit.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Table {
    /// A table; the first column is the name of a row, and `columns` are the others.
    pub(crate) fn new(title: impl Into<String>, columns: Vec<String>) -> Self {
        Self { title: title.into(), columns, rows: vec![] }
    }

    /// Adds a row; `None` where there is no value.
    pub(crate) fn row(&mut self, name: impl Into<String>, values: Vec<Option<f64>>) {
        assert_eq!(values.len(), self.columns.len(), "a value for every column");
        self.rows.push((name.into(), values));
    }

    fn print(&self) {
        println!("  {}", self.title);
        let name = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = self.columns.iter().map(|column| column.chars().count().max(10)).collect();
        let line = |cells: &mut dyn Iterator<Item = String>| -> String {
            cells.zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect()
        };
        println!("    {:<name$}{}", "", line(&mut self.columns.iter().cloned()));
        for (row, values) in &self.rows {
            println!("    {row:<name$}{}", line(&mut values.iter().map(|value| cell(*value))));
        }
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, values)| json!({"name": name, "values": values}));
        json!({"title": self.title, "columns": self.columns, "rows": rows.collect::<Vec<_>>()})
    }
}

/// A value in a table, or that there is none.
pub(crate) fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

impl Section {
    /// A measurement, and in a sentence what it does.
    pub(crate) fn new(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { name: name.into(), about: about.into(), figures: vec![], tables: vec![], plots: vec![] }
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), value, unit, interval: None });
    }

    /// Adds the median of observations; nothing if there are none.
    pub(crate) fn median(&mut self, what: impl Into<String>, samples: &Samples, unit: &'static str) {
        if let Some(median) = samples.median() {
            self.figure(what, median, unit);
        }
    }

    /// Adds the median of rounds, and between which of them the true one lies.
    pub(crate) fn rounds(&mut self, what: impl Into<String>, rounds: &Samples, unit: &'static str) {
        if let Some(value) = rounds.median() {
            // One round tells nothing about others.
            let interval = rounds.median_interval(CONFIDENCE).filter(|interval| interval.confidence > 0.0);
            self.figures.push(Figure { what: what.into(), value, unit, interval });
        }
    }

    /// Adds how observations are spread, as a row of the table of all that have this unit; nothing if
    /// there are none.
    pub(crate) fn spread(&mut self, what: &str, samples: &Samples, unit: &'static str) {
        if samples.len() == 0 {
            return;
        }
        let title = format!("spread, in {unit}");
        let found = self.tables.iter().position(|table| table.title == title);
        let at = found.unwrap_or_else(|| {
            let columns = ["observations", "smallest", "median", "mean", "p90", "p99", "largest"];
            self.tables.push(Table::new(title, columns.map(str::to_owned).into()));
            self.tables.len() - 1
        });
        let statistics = [
            Some(samples.len() as f64),
            samples.min(),
            samples.median(),
            samples.mean(),
            samples.percentile(90.0),
            samples.percentile(99.0),
            samples.max(),
        ];
        self.tables[at].row(what, statistics.into());
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a figure to look at.
    pub(crate) fn plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// Prints the tables.
    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.name, self.about);
        let width = self.figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or(0);
        for Figure { what, value, unit, interval } in &self.figures {
            let interval = interval.map_or_else(String::new, |interval| format!("  ({})", between(interval)));
            println!("  {what:<width$}  {:>14}  {unit}{interval}", shown(*value));
        }
        self.tables.iter().for_each(Table::print);
    }

    /// Writes `NAME.json`, with the command and the environment, and `NAME-PLOT.svg` into a directory.
    pub(crate) fn write(&self, dir: &Path, command: &str, environment: &Environment) -> anyhow::Result<()> {
        let mut section = self.json();
        section["command"] = command.into();
        let report = json!({"environment": environment.json(), "section": section});
        write(&dir.join(format!("{}.json", self.name)), &(serde_json::to_string_pretty(&report)? + "\n"))?;
        self.plots.iter().try_for_each(|plot| write(&dir.join(self.file(plot)), &plot.svg()))
    }

    fn file(&self, plot: &Plot) -> String {
        format!("{}-{}.svg", self.name, plot.name)
    }

    fn json(&self) -> Value {
        let figures = self.figures.iter().map(|Figure { what, value, unit, interval }| {
            let mut figure = json!({"what": what, "value": value, "unit": unit});
            if let Some(Interval { low, high, confidence }) = interval {
                figure["interval"] = json!({"low": low, "high": high, "confidence": confidence});
            }
            figure
        });
        let tables = self.tables.iter().map(Table::json);
        let plots = self.plots.iter().map(|plot| {
            let mut shown = plot.json();
            shown["file"] = self.file(plot).into();
            shown
        });
        json!({
            "name": self.name, "about": self.about, "figures": figures.collect::<Vec<_>>(),
            "tables": tables.collect::<Vec<_>>(), "plots": plots.collect::<Vec<_>>(),
        })
    }
}

/// Prints where the figures come from.
pub(crate) fn print_environment(environment: &Environment) {
    println!("{environment}");
}

/// Writes a file whole.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// An interval for people.
pub(crate) fn between(Interval { low, high, confidence }: Interval) -> String {
    format!("{} to {}, {:.0} %", shown(low), shown(high), 100.0 * confidence)
}

/// A number in digits that matter, with thousands apart.
pub(crate) fn shown(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 || value.fract() == 0.0 => 0,
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
            (7.0, "7"),
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

    #[test]
    fn observations_of_one_unit_share_a_table() {
        let mut section = Section::new("latencies", "");
        section.spread("first", &[4.0, 1.0, 1.0].into_iter().collect(), "ms");
        section.spread("size", &[7.0].into_iter().collect(), "B");
        section.spread("second", &[5.0].into_iter().collect(), "ms");
        section.spread("never observed", &Samples::default(), "ms");
        let json = section.json();
        assert_eq!(json["tables"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["tables"][0]["title"], "spread, in ms");
        assert_eq!(json["tables"][0]["rows"][0]["values"], json!([3.0, 1.0, 1.0, 2.0, 4.0, 4.0, 4.0]));
        assert_eq!(json["tables"][0]["rows"][1]["name"], "second");
    }

    #[test]
    fn a_median_of_rounds_says_how_sure_it_is() {
        let mut section = Section::new("rates", "");
        section.rounds("rate", &[4.0, 1.0, 3.0, 2.0, 5.0].into_iter().collect(), "1/s");
        let json = section.json();
        assert_eq!(json["figures"][0]["value"], 3.0);
        assert_eq!(json["figures"][0]["interval"], json!({"low": 1.0, "high": 5.0, "confidence": 0.9375}));
        assert_eq!(between(section.figures[0].interval.expect("of rounds")), "1 to 5, 94 %");
    }
}
