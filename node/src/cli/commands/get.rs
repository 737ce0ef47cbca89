//! `get`: resources as a table, as they are, or part by part.

use clap::Args;
use hyper::http::uri::PathAndQuery;
use serde_json::{Value, json};

use super::watch;
use crate::cli::client::Ask;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, SortBy, render_answer, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Named, Resource, parse_named};
use crate::cli::session::Session;
use crate::cli::table::TableStyle;

/// Show resources
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless get sites
  driftless get site/store-17 -o yaml
  driftless get sites,profiles -l class=store -A
  driftless get sites -o jsonpath='{.items[*].metadata.name}'
  driftless get machines -o custom-columns=NAME:.metadata.name,CPU:.spec.capacity.cpu
  driftless get sites -w
  driftless get profile/store-base -o yaml --at 2026-11-25T14:00:00Z
  driftless get --raw /v1/digest

--at shows what the events that this node holds came to then, by the clocks of their authors, without what is only
known of the present, such as a site's status.")]
pub struct Get {
    /// KIND, KIND,KIND, KIND NAME…, KIND/NAME…, or all
    #[arg(required_unless_present = "raw", conflicts_with = "raw")]
    pub names: Vec<String>,
    /// A path of the node's API, as in /v1/digest; what it answers is printed as it is
    #[arg(long, value_name = "PATH")]
    pub raw: Option<String>,
    /// How to show them.
    #[command(flatten)]
    pub shown: Shown,
    /// Only those with these labels, as in class=store,country!=de
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only those with these fields, as in metadata.name=store-17
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// As it was: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub at: Option<String>,
    /// Go on and show what changes
    #[arg(long, short, conflicts_with = "at")]
    pub watch: bool,
    /// What is not there is no error
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// How resources are shown.
#[derive(Debug, Clone, Default, Args)]
pub struct Shown {
    /// wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=HEADER:PATH,…
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// Sort by a field, as in .metadata.creationTimestamp
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
    /// Also metadata.managedFields, in json and yaml
    #[arg(long)]
    pub show_managed_fields: bool,
}

impl Get {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        if let Some(path) = &self.raw {
            return raw(session, path).await;
        }
        let output = usage(Output::parse(self.shown.output.as_deref().unwrap_or_default()))?;
        let sort_by = self.shown.sort_by.as_deref().map(SortBy::parse).transpose();
        let sort_by = usage(sort_by)?;
        let named = parse_named(&self.names)?;
        if self.watch {
            let [one] = named.as_slice() else {
                return Err(Failure::Usage("-w follows one kind, or one resource".to_owned()));
            };
            let (resource, path) = self.watched(session, one);
            return watch::follow(session, resource, path, &output, self.style(&output)).await;
        }
        let (answers, missing) = self.answers(session, &named, &output).await?;
        if !answers.is_empty() || missing.is_empty() {
            self.print(answers, &output, sort_by.as_ref(), &named, &session.namespace)?;
        }
        missing.iter().for_each(|failure| print::note(&failure.report().unwrap_or_default()));
        if missing.is_empty() { Ok(()) } else { Err(Failure::Told(1)) }
    }

    /// What is there, and the refusals for what is not.
    async fn answers(
        &self,
        session: &Session,
        named: &[Named],
        output: &Output,
    ) -> Result<(Vec<(Resource, Value)>, Vec<Failure>), Failure> {
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for one in named {
            let (resource, path) = match one {
                Named::All(resource) => (*resource, self.collection(session, *resource)),
                Named::One(resource, name) if self.all_namespaces => {
                    return Err(Failure::Usage(format!(
                        "{} {name:?} is one resource of one namespace; leave out -A",
                        resource.singular
                    )));
                }
                Named::One(resource, name) => {
                    (*resource, resource.path(Some(&session.namespace), Some(name)))
                }
            };
            let path = path.with_some("at", self.at.as_deref());
            let ask = Ask::get(path.as_str()).as_table(output.wants_table());
            match session.client.json(ask).await.map_err(Failure::from) {
                Ok(mut answer) => {
                    self.hide_managed_fields(&mut answer);
                    answers.push((resource, answer));
                }
                Err(failure) if failure.is_not_found() && self.ignore_not_found => {}
                Err(failure) if failure.is_not_found() => missing.push(failure),
                Err(failure) => return Err(failure),
            }
        }
        Ok((answers, missing))
    }

    fn print(
        &self,
        answers: Vec<(Resource, Value)>,
        output: &Output,
        sort_by: Option<&SortBy>,
        named: &[Named],
        namespace: &str,
    ) -> Result<(), Failure> {
        if !output.wants_table() {
            let single = named.len() == 1;
            if let (true, Some((_, answer))) = (single, answers.first()) {
                return print::out(&render_answer(answer.clone(), output, sort_by, self.style(output))?);
            }
            let mut objects: Vec<Value> =
                answers.into_iter().flat_map(|(_, answer)| objects(answer)).collect();
            if let Some(sort_by) = sort_by {
                sort_by.sort(&mut objects)?;
            }
            return print::out(&render_objects(&objects, false, output, self.shown.no_headers)?);
        }
        let groups = group_tables(answers);
        let (several, mut shown) = (groups.len() > 1, 0);
        for (resource, mut table) in groups {
            if table["rows"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            if several {
                name_rows(resource, &mut table);
            }
            let gap = if shown > 0 { "\n" } else { "" };
            shown += 1;
            print::out(&format!("{gap}{}", render_answer(table, output, sort_by, self.style(output))?))?;
        }
        if shown == 0 {
            let is_list =
                named.iter().any(|named| matches!(named, Named::All(resource) if resource.namespaced));
            match is_list && !self.all_namespaces {
                true => print::note(&format!("No resources found in {namespace} namespace.")),
                false if !self.ignore_not_found => print::note("No resources found."),
                false => {}
            }
        }
        Ok(())
    }

    fn style(&self, output: &Output) -> TableStyle {
        TableStyle {
            wide: *output == Output::Wide,
            no_headers: self.shown.no_headers,
            with_namespace: self.all_namespaces,
        }
    }

    fn watched(&self, session: &Session, named: &Named) -> (Resource, Query) {
        match named {
            Named::All(resource) => (*resource, self.collection(session, *resource)),
            Named::One(resource, name) => {
                let path = resource.path(Some(&session.namespace), None);
                (*resource, path.with("fieldSelector", &format!("metadata.name={name}")))
            }
        }
    }

    fn collection(&self, session: &Session, resource: Resource) -> Query {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        resource
            .path(namespace, None)
            .with_some("labelSelector", self.selector.as_deref())
            .with_some("fieldSelector", self.field_selector.as_deref())
    }

    fn hide_managed_fields(&self, answer: &mut Value) {
        if self.shown.show_managed_fields {
            return;
        }
        if answer["kind"] == "Table" {
            return;
        }
        match answer.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => items.iter_mut().for_each(hide_managed_fields),
            None => hide_managed_fields(answer),
        }
    }
}

/// Leaves out who set which field, which is long.
pub(super) fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

async fn raw(session: &Session, path: &str) -> Result<(), Failure> {
    if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() {
        return Err(Failure::Usage(format!("--raw: {path:?} is no path of an API, as in /v1/digest")));
    }
    print::out(&session.client.text(Ask::get(path)).await?)
}

/// A form that is not understood is a command that makes no sense.
fn usage<T>(parsed: Result<T, crate::cli::output::OutputError>) -> Result<T, Failure> {
    parsed.map_err(|error| Failure::Usage(error.to_string()))
}

fn objects(answer: Value) -> Vec<Value> {
    let kind = answer["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let version = answer["apiVersion"].clone();
    match (answer, kind) {
        (Value::Object(mut list), Some(kind)) if list.get("items").is_some_and(Value::is_array) => {
            let Some(Value::Array(mut items)) = list.remove("items") else { return Vec::new() };
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                item.entry("kind").or_insert_with(|| json!(kind));
                item.entry("apiVersion").or_insert_with(|| version.clone());
            }
            items
        }
        (object, _) => vec![object],
    }
}

/// Puts the rows of one kind into one table.
fn group_tables(answers: Vec<(Resource, Value)>) -> Vec<(Resource, Value)> {
    let mut groups: Vec<(Resource, Value)> = Vec::new();
    for (resource, mut answer) in answers {
        match groups.last_mut() {
            Some((last, table)) if *last == resource => {
                if let (Some(rows), Value::Array(more)) =
                    (table["rows"].as_array_mut(), answer["rows"].take())
                {
                    rows.extend(more);
                }
            }
            _ => groups.push((resource, answer)),
        }
    }
    groups
}

/// Names of rows say their kind where several kinds are shown.
fn name_rows(resource: Resource, table: &mut Value) {
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        if let Some(name) = row["cells"][0].as_str().map(str::to_owned) {
            row["cells"][0] = json!(resource.reported(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use driftless_core::name::Kind;

    use super::*;

    fn table(name: &str) -> Value {
        json!({"kind": "Table", "rows": [{"cells": [name]}]})
    }

    #[test]
    fn rows_of_one_kind_share_a_table() {
        let (site, profile) = (Resource::of_kind(Kind::Site), Resource::of_kind(Kind::Profile));
        let answers = vec![(site, table("a")), (site, table("b")), (profile, table("c"))];
        let mut groups = group_tables(answers);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].1["rows"].as_array().map(Vec::len), Some(2));
        name_rows(site, &mut groups[0].1);
        assert_eq!(groups[0].1["rows"][1]["cells"][0], "site/b");
    }

    #[test]
    fn items_of_a_list_say_what_they_are() {
        let list = json!({"kind": "SiteList", "apiVersion": "driftless.dev/v1", "items": [{"metadata": {}}]});
        assert_eq!(objects(list)[0]["kind"], "Site");
        assert_eq!(objects(json!({"kind": "Site"})).len(), 1);
    }
}
