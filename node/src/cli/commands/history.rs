//! `history`: every change of a resource that the node holds, with author, time and reason.

use clap::Args;
use serde_json::Value;

use super::trace::resource_path;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::resources::parse_several;
use crate::cli::session::Session;
use crate::cli::table::align;

/// Longest text of a cell.
const CELL_CHARS_MAX: usize = 60;

/// Show who changed a resource, when, and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless history profile/store-base
  driftless history profile/store-base -o wide
  driftless history profile/store-base -o yaml

Oldest first, in the order in which this node took the events; times are those of the authors' clocks. `audit` looks
at all resources, `blame` at each line of one, `revert` takes an event back.")]
pub struct History {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2)]
    pub names: Vec<String>,
    /// wide: also the node that wrote and every change in full; json or yaml: also dependencies
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

impl History {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let named = parse_several(&self.names)?;
        let [(resource, name)] = named.as_slice() else {
            return Err(Failure::Usage("a history is of one resource".to_owned()));
        };
        let answer = session.get(&resource_path("/v1/history", *resource, &session.namespace, name)).await?;
        match Output::parse(self.output.as_deref().unwrap_or_default()) {
            Ok(output @ (Output::Table | Output::Wide)) => {
                let lines = match output {
                    Output::Wide => wide(&answer),
                    _ => lines(&answer, None),
                };
                print::out(&align(if self.no_headers { &lines[1..] } else { &lines }))
            }
            Ok(output) => print::out(&render_objects(&[answer], true, &output, self.no_headers)?),
            Err(error) => Err(Failure::Usage(error.to_string())),
        }
    }
}

/// A line for each event, oldest first, after a header; only the `last` of them if that is given.
pub(super) fn lines(history: &Value, last: Option<usize>) -> Vec<Vec<String>> {
    let entries = history["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let from = last.map_or(0, |last| entries.len().saturating_sub(last));
    let header = ["TIME", "BY", "EFFECT", "EVENT", "CHANGE", "REASON"].map(str::to_owned).to_vec();
    std::iter::once(header).chain(entries[from..].iter().map(line)).collect()
}

fn line(entry: &Value) -> Vec<String> {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    vec![text("time"), text("by"), effect(entry), short(&text("event")), change(entry), text("reason")]
}

/// The same, with the node and every change in full.
fn wide(history: &Value) -> Vec<Vec<String>> {
    let entries = history["entries"].as_array().into_iter().flatten();
    let header = ["TIME", "BY", "NODE", "EFFECT", "EVENT", "REASON", "CHANGE"].map(str::to_owned).to_vec();
    let line = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let why = if entry["why"].is_string() { format!(" ({})", text("why")) } else { String::new() };
        let effect = format!("{}{why}", effect(entry));
        vec![
            text("time"),
            text("by"),
            text("node"),
            effect,
            short(&text("event")),
            text("reason"),
            changes(entry),
        ]
    };
    std::iter::once(header).chain(entries.map(line)).collect()
}

/// Whether an event counts, in a word.
pub(super) fn effect(entry: &Value) -> String {
    match entry["needsNewerVersion"].as_bool() {
        Some(true) => "NeedsNewerVersion".to_owned(),
        _ => entry["effect"].as_str().unwrap_or_default().to_owned(),
    }
}

/// What an event did, as far as it fits.
pub(super) fn change(entry: &Value) -> String {
    let text = changes(entry);
    match text.chars().count() > CELL_CHARS_MAX {
        true => text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect(),
        false => text,
    }
}

/// What an event did: each path, and what was put there. The deletion of the whole resource is a word.
fn changes(entry: &Value) -> String {
    let operations = entry["operations"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<String> = operations
        .iter()
        .filter(|operation| {
            !operation["path"].as_str().is_some_and(|path| path.contains("last-applied-configuration"))
        })
        .map(|operation| {
            let path = dotted(operation["path"].as_str().unwrap_or_default());
            match operation["op"].as_str() {
                Some("put") if path.is_empty() => "deleted".to_owned(),
                Some("put") => format!("{path}={}", operation["value"]),
                Some("delete") => format!("{path}-"),
                _ => format!("{path}?"),
            }
        })
        .collect();
    shown.join(" ")
}

/// An event's id as people can compare it.
pub(in crate::cli::commands) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A pointer (RFC 6901) as people write paths: dots, and brackets around keys that have dots.
pub(in crate::cli::commands) fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        if key.contains(['.', '[', ']', '"']) || key.is_empty() {
            out.push_str(&format!("[{key:?}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&key);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        assert_eq!(dotted("/spec/values/pos"), "spec.values.pos");
        assert_eq!(dotted("/a/b.c~1d/e"), "a[\"b.c/d\"].e");
        assert_eq!(dotted(""), "");
    }

    #[test]
    fn a_history_shows_its_last_changes() {
        let entry = |by: &str| {
            json!({"time": "t", "by": by, "effect": "Effective", "event": "0123456789abcdef", "reason": "r",
                   "operations": [{"op": "put", "path": "/spec/x", "value": 4}, {"op": "delete", "path": "/spec/y"}]})
        };
        let lines = lines(&json!({"entries": [entry("mia"), entry("ada")]}), Some(1));
        assert_eq!(lines[1], ["t", "ada", "Effective", "0123456789ab", "spec.x=4 spec.y-", "r"]);
        assert_eq!(lines.len(), 2);
    }
}
