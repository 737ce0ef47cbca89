//! `POST /v1/revert/{event}`: takes back what one event did, by a new event.
//!
//! Every path that the event wrote and that still shows what it wrote gets the value that its author had
//! before. A path that somebody else has written since is left as it is and listed, unless `?force=true`. An
//! event that created its resource is taken back by deleting it, one that deleted it by creating it again.
//! What comes of it is checked like any other write, and `?dryRun=All` writes nothing.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use driftless_core::document::{DELETED_PATH, DocumentState};
use driftless_core::event::{EXTENSION_CHECKPOINT, Event, Operation};
use driftless_core::replica::{HistoryEntry, PastError, before};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::conflicts::{LAST_APPLIED, value_json};
use super::history::value_of;
use super::past::gone;
use super::request::{self, WriteQuery, is_true};
use super::resources::new_write;
use super::status_error::StatusError;
use super::time::rfc3339;
use super::trace::{ChangeName, find};
use super::write::{Wish, WriteRequest, write};
use super::{Api, Caller, Held};
use crate::inputs::Forgotten;

#[derive(Default, Deserialize)]
#[serde(default)]
struct RevertQuery {
    force: Option<String>,
}

/// JSON by pointer.
type Registers = BTreeMap<String, Value>;

/// What taking an event back comes to.
struct Plan {
    wish: Wish,
    /// What is changed: path, and what it shows before and after.
    changed: Vec<Value>,
    /// What somebody else wrote since.
    left: Vec<Value>,
}

/// Reverts an event, named by the start of its id.
pub(super) async fn revert(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(event): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    let query: RevertQuery = request::query(&uri)?;
    let mut written: WriteQuery = request::query(&uri)?;
    let subject = find(&api, &ChangeName::Event(event)).await?;
    let event = subject.event;
    if written.reason.is_empty() {
        let said = &event.header().reason;
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        written.reason = format!("revert {}{said}", event.id().short());
    }
    let document = event.header().document.clone();
    let request = new_write(&api, document, Wish::Delete, caller, &written).await?;
    if let Some(why) = subject.void {
        return Err(StatusError::unprocessable(format!(
            "there is nothing to revert: the event is {}",
            why.message
        )));
    }
    let is_forced = is_true(query.force.as_deref());
    api.write(move |held| taken_back(held, &event, request, is_forced)).await?.map(Json)
}

/// Works out what to write and writes it, in one turn, so that nothing comes between.
fn taken_back(
    held: &mut Held,
    event: &Event,
    request: WriteRequest,
    is_forced: bool,
) -> Result<Value, StatusError> {
    let document = request.document.clone();
    let history = held.history(&document).map_err(StatusError::internal)?;
    let state = held.state(&document).map_err(StatusError::internal)?.unwrap_or_default();
    let shown = held.get(&document).map_err(StatusError::internal)?.map(|view| (*view.resource).clone());
    let plan = plan(event, &history, &state, shown.as_ref(), is_forced)?;
    let (is_dry_run, reason) = (request.dry_run, request.reason.clone());
    let mut answer = json!({
        "reverts": event.id().to_string(),
        "kind": document.kind().name(),
        "namespace": document.namespace(),
        "name": document.name(),
        "reason": reason,
        "changed": plan.changed,
        "left": plan.left,
        "dryRun": is_dry_run,
        "before": shown,
    });
    if plan.changed.is_empty() {
        answer["after"] = answer["before"].clone();
        return Ok(answer);
    }
    let is_deletion = matches!(plan.wish, Wish::Delete);
    let outcome = write(held, WriteRequest { wish: plan.wish, ..request })?;
    answer["after"] = if is_deletion { Value::Null } else { (*outcome.view.resource).clone() };
    if !is_dry_run {
        // What was just written has seen everything, so it is the one head.
        let state = held.state(&document).map_err(StatusError::internal)?;
        let heads = state.as_ref().map_or(&[][..], |state| state.heads());
        answer["event"] = json!(heads.first().map(ToString::to_string));
    }
    Ok(answer)
}

fn plan(
    event: &Event,
    history: &[HistoryEntry],
    state: &DocumentState,
    shown: Option<&Value>,
    is_forced: bool,
) -> Result<Plan, StatusError> {
    let header = event.header();
    let document = &header.document;
    if event.needs_newer_version() || header.extensions.contains_key(&EXTENSION_CHECKPOINT) {
        return Err(StatusError::unprocessable(
            "this event cannot be reverted: it is a checkpoint, or needs newer software",
        ));
    }
    let was = before(history, &event.id()).map_err(|error| match error {
        PastError::Forgotten { since_ms } => gone(&Forgotten { document: document.clone(), since_ms }),
        PastError::Rebuild(error) => StatusError::internal(error),
    })?;
    let was = was.map(|past| past.state).unwrap_or_default();
    let is_deletion = event.operations().iter().any(|operation| operation.path() == DELETED_PATH);
    if !is_deletion && (header.incarnation < state.incarnation() || state.is_deleted()) {
        return Err(StatusError::unprocessable(format!(
            "{} {:?} was deleted after this event, and took what it wrote along; revert the deletion instead",
            document.kind(),
            document.name()
        )));
    }
    let resource = |state: &DocumentState| driftless_core::view::resource(document, state);
    if is_deletion {
        return undeleted(&resource(&was), state, shown, is_forced);
    }
    if was.incarnation() < header.incarnation {
        return uncreated(event, state, is_forced);
    }
    let mut plan = Plan { wish: Wish::Delete, changed: vec![], left: vec![] };
    let mut wanted = registers(&resource(state));
    for operation in event.operations() {
        let path = operation.path();
        if !stands(state, event, operation) {
            // What kubectl remembers of the last apply follows whatever was applied last.
            if path != LAST_APPLIED {
                plan.left.push(left(state, path));
            }
            if !is_forced {
                continue;
            }
        }
        let value = was.values(path).first().map(|stamped| value_of(&stamped.value));
        let now = state.values(path).first().map(|stamped| value_of(&stamped.value));
        if value != now {
            plan.changed.push(json!({"path": path, "from": now, "to": value}));
        }
        match value {
            Some(value) => drop(wanted.insert(path.to_owned(), value)),
            None => drop(wanted.remove(path)),
        }
    }
    plan.wish = Wish::Merge(merge_patch_to(&nested(registers(&resource(state))), &nested(wanted)));
    Ok(plan)
}

/// Creates again what the event deleted.
fn undeleted(
    was: &Value,
    state: &DocumentState,
    shown: Option<&Value>,
    is_forced: bool,
) -> Result<Plan, StatusError> {
    let to = json!({"path": DELETED_PATH, "from": shown, "to": was});
    match shown {
        None => Ok(Plan { wish: Wish::Create(was.clone()), changed: vec![to], left: vec![] }),
        Some(_) if is_forced => {
            Ok(Plan { wish: Wish::Replace(was.clone()), changed: vec![to], left: vec![] })
        }
        // Somebody created another of this name since.
        Some(_) => {
            let mut left = json!({"path": DELETED_PATH});
            if let Some((first, origin)) =
                state.first().and_then(|first| Some((first, state.origin(&first.id)?)))
            {
                left["event"] = json!(first.id.to_string());
                left["by"] = json!(&*origin.by);
                left["reason"] = json!(&*origin.reason);
                left["time"] = json!(rfc3339(origin.time_ms));
            }
            Ok(Plan { wish: Wish::Delete, changed: vec![], left: vec![left] })
        }
    }
}

/// Deletes what the event created, unless something was written into it since.
fn uncreated(event: &Event, state: &DocumentState, is_forced: bool) -> Result<Plan, StatusError> {
    let others =
        state.registers().filter(|(_, values)| values.iter().any(|value| value.stamp.id != event.id()));
    let gone = event.operations().iter().filter(|operation| state.values(operation.path()).is_empty());
    let paths = others.map(|(path, _)| path).chain(gone.map(Operation::path));
    let left: Vec<Value> = paths.map(|path| left(state, path)).collect();
    let changed = match left.is_empty() || is_forced {
        true => vec![json!({"path": DELETED_PATH, "from": "created", "to": null})],
        false => vec![],
    };
    Ok(Plan { wish: Wish::Delete, changed, left })
}

/// Whether a path still shows what an event wrote there.
fn stands(state: &DocumentState, event: &Event, operation: &Operation) -> bool {
    let winner = state.values(operation.path()).first();
    match operation {
        Operation::Put { .. } => winner.is_some_and(|winner| winner.stamp.id == event.id()),
        Operation::Delete { .. } => winner.is_none(),
        Operation::Unknown { .. } => false,
    }
}

/// What a path shows instead, and who wrote that; nothing but the path if it was removed.
fn left(state: &DocumentState, path: &str) -> Value {
    let mut left = state.values(path).first().map_or_else(|| json!({}), |winner| value_json(state, winner));
    left["path"] = json!(path);
    left
}

/// The registers of a resource that a write may change.
fn registers(resource: &Value) -> Registers {
    let flat = driftless_core::view::flatten(resource).unwrap_or_default();
    flat.into_iter().map(|(path, text)| (path, value_of(&text))).collect()
}

/// What registers make, nested.
fn nested(registers: Registers) -> Value {
    let mut resource = json!({});
    for (path, value) in registers {
        let mut at = &mut resource;
        for key in path.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")) {
            // Deeper registers come later and win over one above them.
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[key];
        }
        *at = value;
    }
    resource
}

/// The RFC 7396 patch that leads from one resource to another.
fn merge_patch_to(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(present) if present == value => {}
            Some(present) if value.is_object() && present.is_object() => {
                patch.insert(key.clone(), merge_patch_to(present, value));
            }
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}
