//! One imported resource on its way: created, changed where it differs, or left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::cli::client::ClientError;
use crate::cli::commands::three_way;
use crate::cli::failure::Failure;
use crate::cli::resources::{Resource, of_manifest};
use crate::cli::session::Session;

/// What became of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Outcome {
    Created,
    Configured,
    Unchanged,
    Refused,
}

impl Outcome {
    pub(super) fn said(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// What is there of a kind, by name.
type Known = Arc<BTreeMap<String, Value>>;

/// Sends resources of one import.
pub(in crate::cli) struct Sender<'a> {
    session: &'a Session,
    reason: Option<&'a str>,
    dry_run: Option<&'static str>,
    /// Listed once for each kind and namespace.
    known: Mutex<BTreeMap<(&'static str, String), Known>>,
}

impl<'a> Sender<'a> {
    pub(in crate::cli) fn new(
        session: &'a Session,
        reason: Option<&'a str>,
        dry_run: Option<&'static str>,
    ) -> Self {
        Self { session, reason, dry_run, known: Mutex::default() }
    }

    /// Sends one. A refusal by the node is an outcome; a node that is gone ends the import.
    pub(super) async fn send(
        &self,
        wanted: Value,
    ) -> Result<(&'static str, Outcome, Option<String>), Failure> {
        let (resource, namespace, name) = of_manifest(&wanted)
            .map_err(|why| Failure::Refused(format!("an imported resource is incomplete: {why}")))?;
        let namespace = namespace.unwrap_or_else(|| self.session.namespace.clone());
        match self.write(resource, &namespace, &name, &wanted).await {
            Ok(outcome) => Ok((resource.plural, outcome, None)),
            Err(Failure::Client(ClientError::Refused(refusal))) if refusal.code != 401 => {
                let complaint = format!("{}: {}", resource.reported(&name), refusal.message);
                Ok((resource.plural, Outcome::Refused, Some(complaint)))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn write(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        wanted: &Value,
    ) -> Result<Outcome, Failure> {
        let parameters = |query: crate::cli::query::Query| {
            query.with_some("reason", self.reason).with_some("dryRun", self.dry_run)
        };
        let known = self.known(resource, namespace).await?;
        let Some(live) = known.get(name) else {
            let path = parameters(resource.path(Some(namespace), None));
            return match self.session.post(&path, wanted).await {
                Ok(_) => Ok(Outcome::Created),
                // The file has it twice, or somebody was faster.
                Err(failure) if failure.is_already_there() => {
                    let path = resource.path(Some(namespace), Some(name));
                    let live = self.session.get(&path).await?;
                    self.change(parameters(path), &live, wanted).await
                }
                Err(failure) => Err(failure),
            };
        };
        self.change(parameters(resource.path(Some(namespace), Some(name))), live, wanted).await
    }

    async fn change(
        &self,
        path: crate::cli::query::Query,
        live: &Value,
        wanted: &Value,
    ) -> Result<Outcome, Failure> {
        // What an apply remembers is not the import's: it only sets, and removes nothing.
        let bare = json!({
            "apiVersion": live["apiVersion"],
            "kind": live["kind"],
            "metadata": {
                "name": live["metadata"]["name"],
                "namespace": live["metadata"]["namespace"],
                "labels": live["metadata"]["labels"],
                "annotations": without_last_applied(&live["metadata"]["annotations"]),
            },
            "spec": live["spec"],
        });
        let mut wanted = wanted.clone();
        // A list leaves out what it says of all its items.
        for key in ["apiVersion", "kind"] {
            if bare[key].is_null() {
                wanted.as_object_mut().map(|fields| fields.remove(key));
            }
        }
        match three_way::patch(&bare, &wanted) {
            None => Ok(Outcome::Unchanged),
            Some(patch) => self.session.merge_patch(&path, &patch).await.map(|_| Outcome::Configured),
        }
    }

    async fn known(&self, resource: Resource, namespace: &str) -> Result<Known, Failure> {
        let key = (resource.plural, if resource.namespaced { namespace.to_owned() } else { String::new() });
        // Held while listing: the others of the kind wait for the one list.
        let mut known = self.known.lock().await;
        if let Some(found) = known.get(&key) {
            return Ok(Arc::clone(found));
        }
        let list = self.session.get(&resource.path(Some(namespace), None)).await?;
        let Value::Object(mut list) = list else {
            return Err(Failure::answer("list", "it is no list"));
        };
        let Some(Value::Array(items)) = list.remove("items") else {
            return Err(Failure::answer("list", "it has no items"));
        };
        let named = |item: Value| Some((item["metadata"]["name"].as_str()?.to_owned(), item));
        let found: Known = Arc::new(items.into_iter().filter_map(named).collect());
        known.insert(key, Arc::clone(&found));
        Ok(found)
    }
}

fn without_last_applied(annotations: &Value) -> Value {
    let mut annotations = annotations.clone();
    if let Some(fields) = annotations.as_object_mut() {
        fields.remove(three_way::LAST_APPLIED);
    }
    annotations
}
