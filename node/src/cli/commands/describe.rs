//! `describe`: a resource for people, with what changed it last and what conflicts in it.

use clap::Args;
use serde_json::{Map, Value};

use super::conflicts;
use super::{history, trace};
use crate::api::time::{human_duration, parse_rfc3339};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Named, Resource, parse_named};
use crate::cli::session::Session;
use crate::cli::table::align;

/// How many of the last changes are shown.
const CHANGES_SHOWN: usize = 5;
/// Where the line of a field of the head goes on.
const INDENT: usize = 14;

/// Show resources in detail, with their last changes and conflicts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless describe site/store-17
  driftless describe profiles -l team=retail")]
pub struct Describe {
    /// KIND, KIND NAME… or KIND/NAME…
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Only those with these labels
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
}

impl Describe {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut first = true;
        for named in parse_named(&self.names)? {
            let (resource, objects) = match named {
                Named::One(resource, name) => (
                    resource,
                    vec![session.get(&resource.path(Some(&session.namespace), Some(&name))).await?],
                ),
                Named::All(resource) => {
                    let path = resource.path(Some(&session.namespace), None);
                    let list =
                        session.get(&path.with_some("labelSelector", self.selector.as_deref())).await?;
                    (resource, list["items"].as_array().cloned().unwrap_or_default())
                }
            };
            for object in objects {
                let gap = if first { "" } else { "\n\n" };
                first = false;
                print::out(&format!("{gap}{}", describe(session, resource, object).await?))?;
            }
        }
        Ok(())
    }
}

async fn describe(session: &Session, resource: Resource, object: Value) -> Result<String, Failure> {
    let mut text = head(&object);
    for section in ["spec", "status"] {
        if let Some(Value::Object(fields)) = object.get(section) {
            text.push_str(&format!("{}:\n", title(section)));
            tree(&mut text, fields, 1);
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let asked = Query::new("/v1/conflicts")
        .with("kind", resource.kind)
        .with("name", name)
        .with_some("namespace", Some(namespace));
    // Namespaces, and what only daemons write, may have neither history nor conflicts.
    if let Some(found) = session.find(&asked).await? {
        let lines = conflicts::lines(&found);
        if !lines.is_empty() {
            text.push_str(&format!("Conflicts:\n{}", indented(&align(&lines))));
        }
    }
    if let Some(found) = session.find(&trace::resource_path("/v1/history", resource, namespace, name)).await?
    {
        let lines = history::lines(&found, Some(CHANGES_SHOWN));
        text.push_str(&format!("Changes:\n{}", indented(&align(&lines))));
    }
    Ok(text)
}

fn head(object: &Value) -> String {
    let mut text = String::new();
    let metadata = &object["metadata"];
    let mut line = |key: &str, value: &str| {
        text.push_str(&format!("{:<INDENT$}{value}\n", format!("{key}:")));
    };
    line("Name", metadata["name"].as_str().unwrap_or_default());
    if let Some(namespace) = metadata["namespace"].as_str() {
        line("Namespace", namespace);
    }
    line("Labels", &map(&metadata["labels"]));
    line("Annotations", &map(&metadata["annotations"]));
    line("API Version", object["apiVersion"].as_str().unwrap_or_default());
    line("Kind", object["kind"].as_str().unwrap_or_default());
    if let Some(created) = metadata["creationTimestamp"].as_str() {
        let age = parse_rfc3339(created).map(|then| human_duration(now_ms().saturating_sub(then)));
        line("Created", &format!("{created} ({} ago)", age.unwrap_or_default()));
    }
    if let Some(generation) = metadata["generation"].as_u64() {
        line("Generation", &generation.to_string());
    }
    text
}

/// Labels or annotations, one a line; what `apply` remembers is not for people.
fn map(value: &Value) -> String {
    let entries = value.as_object().into_iter().flatten();
    let shown: Vec<String> = entries
        .filter(|(key, _)| key.as_str() != super::three_way::LAST_APPLIED)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    match shown.is_empty() {
        true => "<none>".to_owned(),
        false => shown.join(&format!("\n{}", " ".repeat(INDENT))),
    }
}

/// Fields below each other, scalars aligned, as `kubectl describe` shows kinds that it does not know.
fn tree(text: &mut String, fields: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    let width =
        fields.iter().filter(|(_, value)| is_short(value)).map(|(key, _)| key.chars().count() + 1).max();
    for (key, value) in fields {
        match value {
            value if is_short(value) => {
                text.push_str(&format!(
                    "{indent}{:<width$}  {}\n",
                    format!("{key}:"),
                    short(value),
                    width = width.unwrap_or(0)
                ));
            }
            Value::Object(below) => {
                text.push_str(&format!("{indent}{key}:\n"));
                tree(text, below, depth + 1);
            }
            Value::Array(items) => {
                text.push_str(&format!("{indent}{key}:\n"));
                list(text, items, depth + 1);
            }
            _ => unreachable!("everything else is short"),
        }
    }
}

fn list(text: &mut String, items: &[Value], depth: usize) {
    let indent = "  ".repeat(depth);
    for item in items {
        match item {
            Value::Object(fields) => {
                let mut below = String::new();
                tree(&mut below, fields, depth + 1);
                // The first line carries the dash of the item.
                let rest = below.get(indent.len() + 2..).unwrap_or_default();
                text.push_str(&format!("{indent}- {rest}"));
            }
            item => text.push_str(&format!("{indent}- {}\n", short(item))),
        }
    }
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => {
            items.iter().all(|item| !item.is_object() && !item.is_array()) && items.len() <= 8
        }
        _ => true,
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "<null>".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn title(key: &str) -> String {
    let mut letters = key.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_reads_well() {
        let profile = json!({
            "apiVersion": "driftless.dev/v1", "kind": "Profile",
            "metadata": {"name": "store-base", "namespace": "acme", "labels": {"a": "1", "b": "2"}},
        });
        let shown = head(&profile);
        assert!(shown.starts_with(
            "Name:         store-base\nNamespace:    acme\nLabels:       a=1\n              b=2\n"
        ));
        let mut text = String::new();
        let spec =
            json!({"priority": 200, "values": {"dns": ["a", "b"], "users": [{"name": "ops", "role": "x"}]}});
        tree(&mut text, spec.as_object().unwrap_or(&Map::new()), 1);
        assert_eq!(
            text,
            "  priority:  200\n  values:\n    dns:  [a, b]\n    users:\n      - name:  ops\n        role:  x\n"
        );
    }
}
