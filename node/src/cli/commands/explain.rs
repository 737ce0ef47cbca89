//! `api-resources` and `explain`: which kinds there are, and which fields they have, as the node says.

mod markdown;

use clap::Args;
use serde_json::Value;

use crate::api::schemas;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::Resource;
use crate::cli::session::Session;
use crate::cli::table::align;

/// How deep `--recursive` goes.
const DEPTH_MAX: usize = 12;

/// List the kinds that the node serves
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless api-resources
  driftless api-resources -o name")]
pub struct ApiResources {
    /// name: only the names
    #[arg(long, short, value_parser = ["name", "wide"])]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

/// Explain the fields of a kind
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless explain profile
  driftless explain profile.spec.selector
  driftless explain site --recursive
  driftless explain --all -o markdown")]
pub struct Explain {
    /// KIND or KIND.field.field
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub path: Option<String>,
    /// Every field of every kind that this version knows; no node is asked
    #[arg(long, requires = "output")]
    pub all: bool,
    /// The form of --all
    #[arg(long, short, value_parser = ["markdown"], requires = "all")]
    pub output: Option<String>,
    /// All fields below, by name and type
    #[arg(long)]
    pub recursive: bool,
}

impl ApiResources {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for path in ["/api/v1", "/apis/driftless.dev/v1"] {
            let list = session.get(&Query::new(path)).await?;
            let version = list["groupVersion"].as_str().unwrap_or_default().to_owned();
            let mut resources: Vec<Value> = list["resources"].as_array().cloned().unwrap_or_default();
            resources.sort_by_key(|resource| resource["name"].as_str().map(str::to_owned));
            lines.extend(resources.iter().map(|resource| self.line(resource, &version)));
        }
        if self.output.as_deref() == Some("name") {
            return print::out(&lines.iter().map(|line| format!("{}\n", line[0])).collect::<String>());
        }
        if !self.no_headers {
            let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
            if self.output.is_some() {
                header.push("VERBS");
            }
            lines.insert(0, header.into_iter().map(str::to_owned).collect());
        }
        print::out(&align(&lines))
    }

    fn line(&self, resource: &Value, version: &str) -> Vec<String> {
        let text = |key: &str| resource[key].as_str().unwrap_or_default().to_owned();
        let joined = |key: &str| {
            let items = resource[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let name = match (self.output.as_deref(), version.split_once('/')) {
            (Some("name"), Some((group, _))) => format!("{}.{group}", text("name")),
            _ => text("name"),
        };
        let namespaced = resource["namespaced"].as_bool().unwrap_or_default().to_string();
        let mut line = vec![name, joined("shortNames"), version.to_owned(), namespaced, text("kind")];
        if self.output.is_some() {
            line.push(joined("verbs"));
        }
        line
    }
}

impl Explain {
    /// Prints the reference of all kinds.
    pub(in crate::cli) fn reference(&self) -> Result<(), Failure> {
        print::out(&markdown::reference(&schemas()))
    }

    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.as_deref().unwrap_or_default();
        let mut keys = path.split('.');
        let resource = Resource::parse(keys.next().unwrap_or_default())?;
        let document = session.get(&Query::new("/openapi/v3/apis/driftless.dev/v1")).await?;
        let schemas = Schemas(&document["components"]["schemas"]);
        let mut schema = schemas
            .of_kind(resource.kind)
            .ok_or_else(|| Failure::Refused(format!("the node publishes no schema of {}", resource.kind)))?;
        let fields: Vec<&str> = keys.collect();
        for (at, key) in fields.iter().enumerate() {
            schema = schemas.field(schema, key).ok_or_else(|| {
                let known: Vec<&String> = schemas.fields(schema).map(|(name, _)| name).collect();
                let parent = [&[resource.singular], &fields[..at]].concat().join(".");
                let hint = match known.is_empty() {
                    true => "it takes any fields".to_owned(),
                    false => format!(
                        "it has {}",
                        known.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                };
                Failure::Refused(format!("field {key:?} of {parent} does not exist; {hint}"))
            })?;
        }
        let mut text = format!("GROUP:      driftless.dev\nKIND:       {}\nVERSION:    v1\n", resource.kind);
        if let Some(field) = fields.last() {
            text.push_str(&format!("\nFIELD: {field} <{}>\n", schemas.type_of(schema)));
        }
        let about = schema["description"].as_str().unwrap_or("<none>");
        text.push_str(&format!("\nDESCRIPTION:\n    {about}\n"));
        let mut below = String::new();
        self.list(&mut below, &schemas, schema, 1);
        if !below.is_empty() {
            text.push_str(&format!("\nFIELDS:\n{below}"));
        }
        print::out(&text)
    }

    fn list(&self, text: &mut String, schemas: &Schemas<'_>, schema: &Value, depth: usize) {
        let required = schemas.shape(schema)["required"].as_array().cloned().unwrap_or_default();
        let indent = "  ".repeat(depth);
        for (name, field) in schemas.fields(schema) {
            let field = schemas.resolved(field);
            let must = if required.iter().any(|required| required == name) { " -required-" } else { "" };
            text.push_str(&format!("{indent}{name}\t<{}>{must}\n", schemas.type_of(field)));
            if self.recursive {
                if depth < DEPTH_MAX {
                    self.list(text, schemas, field, depth + 1);
                }
                continue;
            }
            if let Some(about) = field["description"].as_str() {
                text.push_str(&format!("{indent}  {about}\n\n"));
            }
        }
    }
}

/// The schemas of an OpenAPI document, version 3.
struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    fn of_kind(&self, kind: &str) -> Option<&'a Value> {
        let mut schemas = self.0.as_object()?.values();
        schemas.find(|schema| schema["x-kubernetes-group-version-kind"][0]["kind"] == kind)
    }

    /// Follows references, of which Kubernetes wraps some into `allOf`.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        let named = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/"));
        named.and_then(|name| self.0.get(name)).unwrap_or(schema)
    }

    /// The object whose fields are meant: a list's items, or the schema itself.
    fn shape(&self, schema: &'a Value) -> &'a Value {
        let schema = self.resolved(schema);
        match schema["items"].is_object() {
            true => self.shape(&schema["items"]),
            false => schema,
        }
    }

    fn fields(&self, schema: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.shape(schema)["properties"].as_object().into_iter().flatten()
    }

    fn field(&self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        self.fields(schema).find(|(found, _)| *found == name).map(|(_, field)| self.resolved(field))
    }

    fn type_of(&self, schema: &'a Value) -> String {
        let schema = self.resolved(schema);
        if schema["items"].is_object() {
            return format!("[]{}", self.type_of(&schema["items"]));
        }
        match schema["type"].as_str() {
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("map[string]{}", self.type_of(&schema["additionalProperties"]))
            }
            Some("object") => "Object".to_owned(),
            Some(name) => name.to_owned(),
            None => "any".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_through_references_and_lists() {
        let document = json!({
            "Site": {"type": "object", "x-kubernetes-group-version-kind": [{"kind": "Site"}],
                     "properties": {"spec": {"$ref": "#/components/schemas/Spec"}}},
            "Spec": {"type": "object", "properties": {"ports": {"type": "array", "items": {
                "type": "object", "properties": {"number": {"type": "integer"}}}}}},
        });
        let schemas = Schemas(&document);
        let site = schemas.of_kind("Site").unwrap();
        let ports = schemas.field(schemas.field(site, "spec").unwrap(), "ports").unwrap();
        assert_eq!(schemas.type_of(ports), "[]Object");
        assert_eq!(schemas.type_of(schemas.field(ports, "number").unwrap()), "integer");
        assert!(schemas.field(ports, "absent").is_none());
        assert!(schemas.of_kind("Pod").is_none());
    }
}
