//! `docs/BENCHMARKS.md` from the results of runs and a template: text by hand, every figure by machine.
//!
//! A template is Markdown with directives between double braces, each with the name of a section:
//!
//! | directive | becomes |
//! | --- | --- |
//! | `{{environment}}` | where the results come from |
//! | `{{command wire}}` | the command, and when it ran |
//! | `{{about wire}}` | what is measured, in a sentence |
//! | `{{figures wire}}` | a table of all figures |
//! | `{{tables wire}}` | its other tables |
//! | `{{plots wire}}` | its plots |
//! | `{{value wire: the name of a figure}}` | one figure and its unit, within text |
//!
//! What was not measured is said to be missing; a directive that means nothing is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::report::{self, between, cell, shown};
use crate::samples::Interval;

const TEMPLATE: &str = include_str!("../BENCHMARKS.template.md");
/// Stands where a result would.
const MISSING: &str = "*not measured*";

/// Writes the document and copies its plots.
pub(crate) fn write(results: &Path, to: &Path) -> anyhow::Result<()> {
    let results_by_name = read(results)?;
    ensure!(!results_by_name.is_empty(), "no results in {}: run a measurement with --out", results.display());
    let figures = to.join("figures");
    std::fs::create_dir_all(&figures).with_context(|| format!("making {}", figures.display()))?;
    for result in results_by_name.values() {
        for file in list(&result["section"]["plots"]).iter().filter_map(|plot| plot["file"].as_str()) {
            let copied = std::fs::copy(results.join(file), figures.join(file));
            copied.with_context(|| format!("copying {file} from {}", results.display()))?;
        }
    }
    report::write(&to.join("BENCHMARKS.md"), &filled(TEMPLATE, &results_by_name)?)
}

/// One result by the name of its section: what [`crate::report::Section::write`] wrote.
type Results = BTreeMap<String, Value>;

fn read(dir: &Path) -> anyhow::Result<Results> {
    let mut results = Results::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let reading = || format!("reading {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(reading)?;
        let result: Value = serde_json::from_str(&text).with_context(reading)?;
        let name = result["section"]["name"].as_str().with_context(reading)?.to_owned();
        results.insert(name, result);
    }
    Ok(results)
}

fn filled(template: &str, results: &Results) -> anyhow::Result<String> {
    let (mut document, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let (directive, behind) = after.split_once("}}").context("a directive that does not end")?;
        document.push_str(before);
        document
            .push_str(&expanded(directive.trim(), results).with_context(|| format!("{{{{{directive}}}}}"))?);
        rest = behind;
    }
    Ok(document + rest)
}

fn expanded(directive: &str, results: &Results) -> anyhow::Result<String> {
    let (verb, argument) = directive.split_once(' ').unwrap_or((directive, ""));
    if verb == "environment" {
        return Ok(environment(results));
    }
    let (name, figure) = argument.split_once(':').unwrap_or((argument, ""));
    ensure!(!name.is_empty(), "a section is named");
    let Some(result) = results.get(name) else { return Ok(MISSING.to_owned()) };
    let section = &result["section"];
    Ok(match verb {
        "command" => command(result),
        "about" => capitalised(text(section, "about")),
        "figures" => figures(section),
        "tables" => list(&section["tables"]).iter().map(table).collect::<Vec<_>>().join("\n\n"),
        "plots" => list(&section["plots"]).iter().map(plot).collect::<Vec<_>>().join("\n\n"),
        "value" => {
            let found = list(&section["figures"]).iter().find(|found| text(found, "what") == figure.trim());
            found.map_or_else(|| MISSING.to_owned(), value)
        }
        _ => bail!("no such directive"),
    })
}

/// The machines and versions, each once, and a warning if sizes were small or the build was slow.
fn environment(results: &Results) -> String {
    let machines: BTreeSet<String> = results
        .values()
        .map(|result| {
            let of = |key| text(&result["environment"], key);
            let cpus = result["environment"]["cpus"].as_u64().unwrap_or_default();
            format!(
                "{cpus} CPUs ({}), {}, Linux {}, {}, profile {}",
                of("cpu"),
                of("filesystem"),
                of("kernel"),
                of("rustc"),
                of("profile")
            )
        })
        .collect();
    let mut environment = machines.into_iter().collect::<Vec<_>>().join("; ") + ".";
    let smoke = |result: &Value| {
        text(&result["section"], "command").contains("--quick")
            || text(&result["environment"], "profile") != "release"
    };
    let doubtful: Vec<&str> =
        results.iter().filter(|(_, result)| smoke(result)).map(|(name, _)| name.as_str()).collect();
    if !doubtful.is_empty() {
        environment.push_str(&format!(
            "\n\n**Of small sizes or of a debug build, so they say that it runs and no more: {}.**",
            doubtful.join(", ")
        ));
    }
    environment
}

fn command(result: &Value) -> String {
    let (section, environment) = (&result["section"], &result["environment"]);
    format!(
        "`{}`, {}, load {}",
        text(section, "command"),
        text(environment, "date").split('T').next().unwrap_or_default(),
        text(environment, "load").split(' ').next().unwrap_or_default(),
    )
}

fn figures(section: &Value) -> String {
    let rows = list(&section["figures"]).iter().map(|figure| {
        format!("| {} | {} |", capitalised(text(figure, "what").trim()), value(figure) + &interval(figure))
    });
    ["| | |", "| --- | --- |"].into_iter().map(str::to_owned).chain(rows).collect::<Vec<_>>().join("\n")
}

fn value(figure: &Value) -> String {
    let unit = text(figure, "unit");
    let space = if unit.is_empty() { "" } else { " " };
    format!("{}{space}{unit}", cell(figure["value"].as_f64()))
}

fn interval(figure: &Value) -> String {
    let of = |key: &str| figure["interval"][key].as_f64();
    match (of("low"), of("high"), of("confidence")) {
        (Some(low), Some(high), Some(confidence)) => {
            format!(" ({})", between(Interval { low, high, confidence }))
        }
        _ => String::new(),
    }
}

fn table(table: &Value) -> String {
    let columns: Vec<&str> = list(&table["columns"]).iter().filter_map(Value::as_str).collect();
    let rows = list(&table["rows"]).iter().map(|row| {
        let values: Vec<String> = list(&row["values"])
            .iter()
            .map(|value| value.as_f64().map_or_else(|| cell(None), shown))
            .collect();
        format!("| {} | {} |", text(row, "name"), values.join(" | "))
    });
    let head = [
        format!("{}:\n", capitalised(text(table, "title"))),
        format!("| | {} |", columns.join(" | ")),
        format!("| --- |{}", " ---: |".repeat(columns.len())),
    ];
    head.into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn plot(plot: &Value) -> String {
    format!("![{}](figures/{})", text(plot, "title"), text(plot, "file"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests;
