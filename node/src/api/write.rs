//! One write: from what a client sent to one change of the replica, or a refusal.
//!
//! Everything is checked against the state that the write meets, on the owner's thread, so that
//! nothing can come between the check and the write. A refused write stages nothing.

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Precondition, View, Write, WriteError, merge_patch};
use driftless_core::schema::{self, FieldError};
use serde_json::{Value, json};

use super::kinds::Served;
use super::status_error::{Cause, Named, StatusError};
use super::{Caller, GROUP_VERSION, Held, enforcement, patch};

/// Metadata that the node sets and clients send back unread.
const SERVER_METADATA: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// What a client wants to become of a document.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// That it comes to exist.
    Create(Value),
    /// That it is exactly this.
    Replace(Value),
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    JsonPatch(Value),
    /// That it is gone.
    Delete,
}

/// A request to write.
#[derive(Debug, Clone)]
pub(super) struct WriteRequest {
    pub(super) document: Document,
    pub(super) wish: Wish,
    pub(super) caller: Caller,
    pub(super) reason: String,
    pub(super) time_ms: u64,
    /// The position at which the client read the document, if it cares.
    pub(super) version: Option<u64>,
    /// The incarnation that the client means, if it cares.
    pub(super) uid: Option<String>,
    pub(super) dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct WriteOutcome {
    /// The resource after the write, or as it would be; the last one, if deleted.
    pub(super) view: View,
    /// The document did not exist before.
    pub(super) created: bool,
}

/// Checks and stages a write.
pub(super) fn write(held: &mut Held, request: WriteRequest) -> Result<WriteOutcome, StatusError> {
    check_enrolled(held)?;
    let document = request.document.clone();
    let named = named(&document);
    let current = held.get(&document).map_err(StatusError::internal)?;
    check_preconditions(&request, current.as_ref())?;
    let created = current.is_none();
    let (change, candidate) = match request.wish.clone() {
        Wish::Delete => (ChangeRequest::Delete, None),
        Wish::Create(resource) => {
            let resource = written_part(&document, resource)?;
            (ChangeRequest::Create(with_identity(&document, resource.clone())), Some(resource))
        }
        Wish::Replace(resource) => {
            let resource = written_part(&document, resource)?;
            (ChangeRequest::Replace(with_identity(&document, resource.clone())), Some(resource))
        }
        Wish::Merge(patch) => {
            let patch = written_part(&document, patch)?;
            let mut merged = written_part(&document, whole(current.as_ref()))?;
            merge_patch(&mut merged, &patch);
            (ChangeRequest::MergePatch(patch), Some(merged))
        }
        Wish::JsonPatch(patch) => {
            let patched = patch::apply(&whole(current.as_ref()), &patch).map_err(|error| {
                invalid(named, vec![Cause { field: String::new(), message: error.to_string() }])
            })?;
            let resource = written_part(&document, patched)?;
            (ChangeRequest::Replace(with_identity(&document, resource.clone())), Some(resource))
        }
    };
    if let Some(candidate) = &candidate {
        check_candidate(&document, current.as_ref(), candidate)?;
        enforcement::check(held, &document, candidate, request.time_ms)?;
    }
    if request.dry_run {
        return Ok(WriteOutcome { view: as_it_would_be(&document, current, candidate), created });
    }
    let write = Write {
        document: document.clone(),
        change,
        by: request.caller.name,
        reason: request.reason,
        time_ms: request.time_ms,
        author: None,
        precondition: Precondition::None,
    };
    let written = held.write(write).map_err(|error| refusal(&document, error))?;
    let view = written.view.or(current).ok_or_else(|| StatusError::not_found(named))?;
    Ok(WriteOutcome { view, created })
}

/// Whether this node's writes can have effect.
///
/// A node that just joined has its certificates, and serves, before a hub has told it of its own enrolment. What it
/// lacks is on its way, so whoever writes is asked to come back, and not refused for good.
pub(super) fn check_enrolled(held: &Held) -> Result<(), StatusError> {
    match held.authority().is_enrolled(&held.author()) {
        true => Ok(()),
        false => Err(StatusError::not_yet(
            "this node does not yet hold its enrolment, without which nothing that it writes has effect; it comes with the \
             first contact to a hub: try again in a moment (`driftless peers` shows the link). Nothing was changed",
        )),
    }
}

/// How messages name a document.
pub(super) fn named(document: &Document) -> Named<'_> {
    Named {
        plural: Served::by_kind(document.kind()).plural,
        kind: document.kind().name(),
        name: document.name(),
    }
}

fn invalid(named: Named<'_>, causes: Vec<Cause>) -> StatusError {
    StatusError::invalid(named, causes)
}

pub(super) fn causes(errors: Vec<FieldError>) -> Vec<Cause> {
    errors.into_iter().map(|error| Cause { field: error.field, message: error.message }).collect()
}

fn check_preconditions(request: &WriteRequest, current: Option<&View>) -> Result<(), StatusError> {
    let named = named(&request.document);
    let Some(current) = current else {
        return match request.wish {
            Wish::Create(_) => Ok(()),
            Wish::Replace(_) | Wish::Merge(_) | Wish::JsonPatch(_) | Wish::Delete => {
                Err(StatusError::not_found(named))
            }
        };
    };
    if matches!(request.wish, Wish::Create(_)) {
        return Err(StatusError::already_exists(named));
    }
    let uid = current.resource.pointer("/metadata/uid").and_then(Value::as_str);
    let other_uid = request.uid.as_deref().is_some_and(|wanted| Some(wanted) != uid);
    let other_version = request.version.is_some_and(|wanted| wanted != current.version);
    match other_uid || other_version {
        true => Err(StatusError::conflict(named)),
        false => Ok(()),
    }
}

fn whole(current: Option<&View>) -> Value {
    current.map_or(Value::Null, |view| (*view.resource).clone())
}

/// What of a resource, or of a merge patch, a client writes: not what the node sets, nor the status of what
/// operators write. Checks on the way that it is about this document.
fn written_part(document: &Document, mut resource: Value) -> Result<Value, StatusError> {
    let Some(fields) = resource.as_object_mut() else {
        return Err(StatusError::bad_request("a resource is a JSON object"));
    };
    for (key, expected) in [("apiVersion", GROUP_VERSION), ("kind", document.kind().name())] {
        match fields.remove(key) {
            None => {}
            Some(Value::String(found)) if found == expected => {}
            Some(found) => {
                return Err(StatusError::bad_request(format!(
                    "{key} is {found}, the path says {expected:?}"
                )));
            }
        }
    }
    if !document.is_site_written() {
        fields.remove("status");
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in SERVER_METADATA {
            metadata.remove(key);
        }
        for (key, expected) in [("name", document.name()), ("namespace", document.namespace())] {
            match metadata.remove(key) {
                None => {}
                Some(Value::String(found)) if found == expected => {}
                Some(found) => {
                    return Err(StatusError::bad_request(format!(
                        "metadata.{key} is {found}, the path says {expected:?}; names cannot change"
                    )));
                }
            }
        }
    }
    Ok(resource)
}

/// The checks of the API: schema, what must not change, enforcement.
fn check_candidate(
    document: &Document,
    current: Option<&View>,
    candidate: &Value,
) -> Result<(), StatusError> {
    let whole = with_identity(document, candidate.clone());
    schema::validate(document.kind().name(), &whole)
        .map_err(|errors| invalid(named(document), causes(errors)))?;
    if let (Kind::Release, Some(current)) = (document.kind(), current) {
        let causes = changed_for_ever(&current.resource, candidate);
        if !causes.is_empty() {
            return Err(invalid(named(document), causes));
        }
    }
    Ok(())
}

/// A release is immutable once created, but for what warns of it.
fn changed_for_ever(current: &Value, candidate: &Value) -> Vec<Cause> {
    const CHANGEABLE: [&str; 2] = ["yanked", "deprecated"];
    let empty = serde_json::Map::new();
    let spec = |resource: &Value| resource["spec"].as_object().cloned().unwrap_or_else(|| empty.clone());
    let (before, after) = (spec(current), spec(candidate));
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| !CHANGEABLE.contains(&key.as_str()) && before.get(*key) != after.get(*key))
        .map(|key| Cause {
            field: format!("spec.{key}"),
            message: "a release is immutable; create another, or set yanked or deprecated".to_owned(),
        })
        .collect()
}

pub(super) fn with_identity(document: &Document, mut resource: Value) -> Value {
    resource["apiVersion"] = json!(GROUP_VERSION);
    resource["kind"] = json!(document.kind().name());
    if !resource["metadata"].is_object() {
        resource["metadata"] = json!({});
    }
    resource["metadata"]["name"] = json!(document.name());
    if !document.namespace().is_empty() {
        resource["metadata"]["namespace"] = json!(document.namespace());
    }
    resource
}

/// The answer to a dry run: the candidate with the metadata that exists so far.
fn as_it_would_be(document: &Document, current: Option<View>, candidate: Option<Value>) -> View {
    let before = whole(current.as_ref());
    let resource = match candidate {
        None => before,
        Some(candidate) => {
            let mut resource = with_identity(document, candidate);
            for key in SERVER_METADATA {
                if let Some(value) = before.pointer(&format!("/metadata/{key}")) {
                    resource["metadata"][key] = value.clone();
                }
            }
            resource
        }
    };
    View {
        document: document.clone(),
        resource: resource.into(),
        version: current.map_or(0, |view| view.version),
    }
}

/// Says in the API's words why the replica refused.
pub(super) fn refusal(document: &Document, error: WriteError) -> StatusError {
    let named = named(document);
    let whole = |message: String| invalid(named, vec![Cause { field: String::new(), message }]);
    match error {
        WriteError::AlreadyExists(_) => StatusError::already_exists(named),
        WriteError::NotFound(_) => StatusError::not_found(named),
        WriteError::VersionMismatch { .. } => StatusError::conflict(named),
        WriteError::Forbidden(_) | WriteError::UnknownAuthor(_) => {
            StatusError::forbidden(named, &error.to_string())
        }
        WriteError::Invalid { errors, .. } => invalid(named, causes(errors)),
        WriteError::Exhausted(_) => whole(error.to_string()),
        WriteError::Flatten(error) => whole(error.to_string()),
        WriteError::Checkpoint(error) => whole(error.to_string()),
        WriteError::TooLarge { .. } => StatusError::too_large(&error.to_string()),
        WriteError::Store(error) => StatusError::internal(error),
    }
}
