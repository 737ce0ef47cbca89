//! `blame`: a resource as YAML, each line with who set it, when and why.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use super::history::short;
use super::three_way::LAST_APPLIED;
use super::trace::resource_path;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::resources::parse_several;
use crate::cli::session::Session;
use crate::cli::table::align;
use crate::cli::yaml::{Line, lines};

/// Longest reason that is shown, in characters.
const REASON_CHARS_MAX: usize = 40;
/// What a node derives and nobody wrote.
const DERIVED: [&str; 5] = ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"];

/// Show who set each line of a resource, when, and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless blame profile/store-base
  driftless blame override store-17.replicas -o json
  driftless blame profile/store-base --at 2026-11-25T14:00:00Z

The line of a mapping names the last change below it. A list is set as a whole. Times are those of the authors'
clocks.")]
pub struct Blame {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2)]
    pub names: Vec<String>,
    /// As it was: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub at: Option<String>,
    /// json or yaml: each value with its event, author and node
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

impl Blame {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let named = parse_several(&self.names)?;
        let [(resource, name)] = named.as_slice() else {
            return Err(Failure::Usage("blame looks at one resource at a time".to_owned()));
        };
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let path = resource_path("/v1/blame", *resource, &session.namespace, name);
        let answer = session.get(&path.with_some("at", self.at.as_deref())).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, self.no_headers)?);
        }
        let table = table(&answer);
        print::out(&align(if self.no_headers { &table[1..] } else { &table }))
    }
}

/// A line for each line of the resource, after a header.
fn table(answer: &Value) -> Vec<Vec<String>> {
    let values = answer["values"].as_array().map_or(&[][..], Vec::as_slice);
    let values: BTreeMap<&str, &Value> =
        values.iter().filter_map(|value| Some((value["path"].as_str()?, value))).collect();
    let mut resource = answer["resource"].clone();
    if let Some(metadata) = resource["metadata"].as_object_mut() {
        DERIVED.iter().for_each(|key| drop(metadata.remove(*key)));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    let header = ["TIME", "BY", "EVENT", "REASON", "LINE"].map(str::to_owned).to_vec();
    let shown = resource.as_object().map(lines).unwrap_or_default();
    let row = |line: Line| {
        let writer = writer(&values, &line).unwrap_or(&answer["created"]);
        let text = |key: &str| writer[key].as_str().unwrap_or_default().to_owned();
        vec![text("time"), text("by"), short(&text("event")), clipped(&text("reason")), line.text]
    };
    std::iter::once(header).chain(shown.into_iter().map(row)).collect()
}

/// Who set what a line shows; what the name implies was set by whoever created the resource.
fn writer<'a>(values: &BTreeMap<&str, &'a Value>, line: &Line) -> Option<&'a Value> {
    if !line.opens {
        return values.get(line.pointer.as_str()).copied();
    }
    let below = format!("{}/", line.pointer);
    let inside = values.range(below.as_str()..).take_while(|(path, _)| path.starts_with(&below));
    // Times are given to the second, in a form that sorts.
    inside.map(|(_, value)| *value).max_by_key(|value| value["time"].as_str())
}

fn clipped(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    match line.chars().count() > REASON_CHARS_MAX {
        true => line.chars().take(REASON_CHARS_MAX - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_names_who_set_it() {
        let value = |path: &str, by: &str, time: &str| json!({"path": path, "by": by, "time": time, "event": "0123456789abcdef", "reason": "why"});
        let answer = json!({
            "resource": {
                "apiVersion": "driftless.dev/v1", "kind": "Profile",
                "metadata": {"name": "base", "uid": "u", "annotations": {LAST_APPLIED: "{}"}},
                "spec": {"priority": 1, "values": {"a": 2, "b": [1, 2]}},
            },
            "created": value("", "ann", "2026-01-01T00:00:00Z"),
            "values": [
                value("/spec/priority", "ann", "2026-01-01T00:00:00Z"),
                value("/spec/values/a", "mia", "2026-01-03T00:00:00Z"),
                value("/spec/values/b", "ada", "2026-01-02T00:00:00Z"),
            ],
        });
        let table = table(&answer);
        let said: Vec<(&str, &str)> = table.iter().map(|line| (line[1].as_str(), line[4].as_str())).collect();
        assert_eq!(
            said,
            [
                ("BY", "LINE"),
                ("ann", "apiVersion: driftless.dev/v1"),
                ("ann", "kind: Profile"),
                ("ann", "metadata:"),
                ("ann", "  name: base"),
                ("mia", "spec:"),
                ("ann", "  priority: 1"),
                ("mia", "  values:"),
                ("mia", "    a: 2"),
                ("ada", "    b:"),
                ("ada", "    - 1"),
                ("ada", "    - 2"),
            ]
        );
    }
}
