//! Manifests on their way to a node: read, checked for what makes them addressable, sent one by one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::args::Files;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Resource, of_manifest};
use crate::cli::yaml::{ParsedDocument, read_inputs};

/// A manifest, and where it is addressed to.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Manifest {
    pub(in crate::cli) resource: Resource,
    pub(in crate::cli) namespace: String,
    pub(in crate::cli) name: String,
    pub(in crate::cli) value: Value,
    /// `file:line`, for people.
    pub(in crate::cli) at: String,
}

impl Manifest {
    /// The path of the resource.
    pub(in crate::cli) fn path(&self) -> Query {
        self.resource.path(Some(&self.namespace), Some(&self.name))
    }

    /// The path of its collection.
    pub(in crate::cli) fn collection(&self) -> Query {
        self.resource.path(Some(&self.namespace), None)
    }

    /// `site/store-17`.
    pub(in crate::cli) fn reported(&self) -> String {
        self.resource.reported(&self.name)
    }
}

/// Reads all manifests before any is sent: a mistake in the last file leaves nothing half done.
pub(in crate::cli) fn read(files: &Files, session_namespace: &str) -> Result<Vec<Manifest>, Failure> {
    let mut documents = Vec::new();
    for file in &files.filenames {
        documents.extend(read_inputs(file, files.recursive)?);
    }
    if documents.is_empty() {
        return Err(Failure::Refused(format!("no resources in {}", files.filenames.join(", "))));
    }
    from_documents(documents, session_namespace)
}

/// Addresses documents; every mistake is told, and one is enough to refuse all.
pub(in crate::cli) fn from_documents(
    documents: Vec<ParsedDocument>,
    session_namespace: &str,
) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for document in documents {
        let at = format!("{}:{}", document.file, document.line);
        match manifest(document.value, session_namespace, at.clone()) {
            Ok(manifest) => manifests.push(manifest),
            Err(why) => problems.push(format!("{at}: {why}")),
        }
    }
    let mut seen = BTreeSet::new();
    for manifest in &manifests {
        if !seen.insert((manifest.resource.plural, &manifest.namespace, &manifest.name)) {
            problems.push(format!("{}: {} is there twice; keep one", manifest.at, manifest.reported()));
        }
    }
    match problems.is_empty() {
        true => Ok(manifests),
        false => Err(Failure::Refused(format!("{}\nNothing was sent.", problems.join("\nerror: ")))),
    }
}

fn manifest(mut value: Value, session_namespace: &str, at: String) -> Result<Manifest, String> {
    let (resource, namespace, name) = of_manifest(&value)?;
    if let Some(path) = null_below(&value["spec"], "spec") {
        return Err(format!(
            "{path} is null. kubectl's merge patch reads null as \"remove\", so it is not kept: leave the line out, or write \
             {{$delete: true}} to remove what a lower layer sets, {{$null: true}} for a null in the configuration"
        ));
    }
    // What kubectl prints and nobody means: creationTimestamp: null, labels: null.
    drop_nulls(&mut value);
    let namespace = namespace.unwrap_or_else(|| session_namespace.to_owned());
    if resource.namespaced {
        value["metadata"]["namespace"] = json!(namespace);
    }
    Ok(Manifest { resource, namespace, name, value, at })
}

fn null_below(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let path = match key.contains('.') {
                true => format!("{path}[{key:?}]"),
                false => format!("{path}.{key}"),
            };
            match value {
                Value::Null => Some(path),
                value => null_below(value, &path),
            }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, value)| {
            let path = format!("{path}[{at}]");
            if value.is_null() { Some(path) } else { null_below(value, &path) }
        }),
        _ => None,
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

/// Sends each manifest; one that is refused is reported, and the rest is sent all the same.
pub(in crate::cli) async fn each<'a>(
    manifests: &'a [Manifest],
    mut send: impl AsyncFnMut(&'a Manifest) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut refused = 0;
    for manifest in manifests {
        match send(manifest).await {
            Ok(said) => print::out(&format!("{said}\n"))?,
            Err(failure @ Failure::ReaderGone) => return Err(failure),
            Err(failure) => {
                refused += 1;
                let text = failure.report().unwrap_or_default();
                print::note(&format!("{text} ({})", manifest.at));
            }
        }
    }
    match refused {
        0 => Ok(()),
        _ if manifests.len() > 1 => {
            print::note(&format!("{refused} of {} were refused; the others stand", manifests.len()));
            Err(Failure::Told(1))
        }
        _ => Err(Failure::Told(1)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn profile(spec: Value) -> Value {
        json!({"apiVersion": "driftless.dev/v1", "kind": "Profile", "metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn a_null_in_a_spec_is_refused_with_a_way_out() {
        let spec = json!({"values": {"pos": {"a.b": null}}});
        let why = manifest(profile(spec), "default", "x:1".into()).unwrap_err();
        assert!(why.starts_with("spec.values.pos[\"a.b\"] is null"), "{why}");
        assert!(why.contains("$delete: true"), "{why}");
        assert!(manifest(profile(json!({"list": [1, null]})), "default", "x:1".into()).is_err());
    }

    #[test]
    fn a_manifest_lands_in_its_own_namespace_or_the_sessions() {
        let mut value = profile(json!({}));
        value["metadata"]["creationTimestamp"] = Value::Null;
        let manifest = manifest(value, "acme", "x:1".into()).unwrap();
        assert_eq!(manifest.namespace, "acme");
        assert_eq!(manifest.value["metadata"], json!({"name": "a", "namespace": "acme"}));
    }
}
