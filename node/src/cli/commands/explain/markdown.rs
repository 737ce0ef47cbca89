//! The schemas of all kinds as one Markdown document: docs/REFERENCE.md.

use serde_json::Value;

use super::Schemas;
use crate::api::{SERVED, Served};

/// How deep tables of fields go.
const DEPTH_MAX: usize = 12;

const HEAD: &str = "\
# Reference of the kinds

Every kind of `driftless.dev/v1`, from the schemas by which the API validates. Written by
`driftless explain --all -o markdown`; a test holds this file to it. `driftless explain KIND.field` says the same of one
field, and `/openapi/v3` publishes it for programs.

A field that a schema does not know is refused when it is written, and kept and passed on when it arrives from another
node. A `status` is never written by clients: the node that answers computes it, or the site reported it. `[]` stands
for each element of a list, `*` for any key.
";

/// Writes the document.
pub(super) fn reference(schemas: &Value) -> String {
    let schemas = Schemas(schemas);
    let mut out = HEAD.to_owned();
    out.push_str("\n| kind | |\n| --- | --- |\n");
    for served in SERVED {
        let kind = served.kind.name();
        out.push_str(&format!("| [{kind}](#{}) | {} |\n", kind.to_lowercase(), cell(served.about)));
    }
    out.push_str("\n## Of every kind\n\n");
    if let Some(profile) = schemas.of_kind("Profile") {
        let mut rows = String::new();
        for name in ["apiVersion", "kind", "metadata"] {
            if let Some(field) = schemas.field(profile, name) {
                row(&mut rows, &schemas, name, field, true, 0);
            }
        }
        out.push_str(&table(&rows));
    }
    for served in SERVED {
        out.push_str(&section(&schemas, served));
    }
    out
}

fn section(schemas: &Schemas<'_>, served: &Served) -> String {
    let kind = served.kind.name();
    let scope = if served.namespaced() { "in a namespace" } else { "of the whole fleet" };
    let written = match served.writable {
        true => "",
        false => "; written by daemons and by enrolment, read only here",
    };
    let short: String = served.short.iter().map(|short| format!(", `{short}`")).collect();
    let mut out = format!(
        "\n## {kind}\n\n{}\n\n`{}`, `{}`{short}; {scope}{written}.\n\n",
        served.about, served.plural, served.singular
    );
    let mut rows = String::new();
    if let Some(schema) = schemas.of_kind(kind) {
        for name in ["spec", "status"] {
            if let Some(field) = schemas.field(schema, name) {
                let required = schema["required"].as_array();
                let is_required = required.is_some_and(|names| names.iter().any(|found| found == name));
                row(&mut rows, schemas, name, field, is_required, 0);
            }
        }
    }
    match rows.is_empty() {
        true => out.push_str("Its fields are not described.\n"),
        false => out.push_str(&table(&rows)),
    }
    out
}

fn table(rows: &str) -> String {
    format!("| field | type | | meaning |\n| --- | --- | --- | --- |\n{rows}")
}

fn row(out: &mut String, schemas: &Schemas<'_>, path: &str, field: &Value, required: bool, depth: usize) {
    let field = schemas.resolved(field);
    let about = field["description"].as_str().unwrap_or_default();
    let must = if required { "required" } else { "" };
    let kind = schemas.type_of(field);
    out.push_str(&format!(
        "| `{path}` | {} | {must} | {}{} |\n",
        cell(&kind),
        cell(about),
        cell(&bounds(field))
    ));
    if depth == DEPTH_MAX {
        return;
    }
    let (shape, path) = below(schemas, field, path);
    let required: Vec<&str> =
        shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in shape["properties"].as_object().into_iter().flatten() {
        let must = required.contains(&name.as_str());
        row(out, schemas, &format!("{path}.{name}"), field, must, depth + 1);
    }
}

/// The object whose fields are meant, through lists and maps, and how it is reached.
fn below<'a>(schemas: &Schemas<'a>, schema: &'a Value, path: &str) -> (&'a Value, String) {
    let schema = schemas.resolved(schema);
    if schema["items"].is_object() {
        return below(schemas, &schema["items"], &format!("{path}[]"));
    }
    match schema["additionalProperties"].is_object() {
        true => below(schemas, &schema["additionalProperties"], &format!("{path}.*")),
        false => (schema, path.to_owned()),
    }
}

/// What a value may be, beside its type.
fn bounds(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return format!(" One of {}.", words.join(", "));
    }
    String::new()
}

/// Text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schemas;

    #[test]
    fn the_reference_is_what_the_schemas_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/REFERENCE.md");
        let held = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            held == reference(&schemas()),
            "docs/REFERENCE.md is not current: driftless explain --all -o markdown > docs/REFERENCE.md"
        );
    }

    #[test]
    fn every_field_of_every_kind_is_described() {
        let reference = reference(&schemas());
        let empty: Vec<&str> =
            reference.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
        assert!(empty.is_empty(), "{empty:#?}");
        for served in SERVED {
            assert!(reference.contains(&format!("\n## {}\n", served.kind.name())));
        }
        for field in
            ["spec.variables[].name", "status.stale", "spec.selector.matchLabels", "spec.apps[].channel"]
        {
            assert!(reference.contains(&format!("| `{field}` |")), "{field}");
        }
    }
}
