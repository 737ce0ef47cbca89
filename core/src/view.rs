//! Views: the JSON of a resource from the registers of its document, and back.
//!
//! People and programs read and write nested JSON; a document holds flat registers under RFC 6901
//! paths. [`resource`] builds the one from the other, [`flatten`] takes it apart again, and
//! [`difference`] says which operations lead from what is shown to what is wanted.
//!
//! What the document's name implies and what is derived (kind, name, uid, generation, times) is added
//! on the way out and ignored on the way in; it is never a register.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::document::{DOCUMENT_BYTES_MAX, DocumentState, Stamped, is_empty_map, same_value};
use crate::event::{DEPTH_MAX, OPERATIONS_MAX, Operation, PATH_BYTES_MAX, VALUE_BYTES_MAX};
use crate::ids::EventId;
use crate::name::Document;

/// The `apiVersion` of every resource.
pub const API_VERSION: &str = "driftless.dev/v1";
/// What is implied or derived at the top of a resource.
const IMPLIED: [&str; 2] = ["apiVersion", "kind"];
/// What is implied or derived in `metadata`.
const IMPLIED_METADATA: [&str; 7] =
    ["name", "namespace", "uid", "generation", "creationTimestamp", "resourceVersion", "managedFields"];

/// Why JSON cannot be the registers of a document. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlattenError {
    /// A resource, and its metadata, are maps.
    #[error("{path:?} has to be a map", path = if .0.is_empty() { "/" } else { .0 })]
    NotAMap(String),
    /// The path of a value is too long.
    #[error("path {0:?}… is longer than {PATH_BYTES_MAX} bytes")]
    PathTooLong(String),
    /// Maps, or lists and maps in a value, are nested too deeply.
    #[error("{0:?} is nested more than {DEPTH_MAX} deep")]
    TooDeep(String),
    /// One value is too large.
    #[error("the value at {path:?} takes {bytes} bytes, more than {VALUE_BYTES_MAX}")]
    ValueTooLarge {
        /// The register.
        path: String,
        /// Its JSON text, in bytes.
        bytes: usize,
    },
    /// There are too many values.
    #[error("the resource has more than {OPERATIONS_MAX} values")]
    TooManyValues,
    /// All together is too much.
    #[error("the resource takes more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// Builds the resource that a document shows: the winners, nested, with what its name implies.
///
/// Where a register and deeper paths coexist, the deeper are shown. `resourceVersion` is not added:
/// it belongs to the replica that answers.
pub fn resource(document: &Document, state: &DocumentState) -> Value {
    let mut root = Map::new();
    for (path, values) in state.registers() {
        if let Some(pointer) = path.strip_prefix('/') {
            let value = serde_json::from_str(&values[0].value).unwrap_or(Value::Null);
            insert(&mut root, pointer, value);
        }
    }
    root.insert("apiVersion".into(), API_VERSION.into());
    root.insert("kind".into(), document.kind().name().into());
    let metadata = map_at(&mut root, "metadata".into());
    metadata.insert("name".into(), document.name().into());
    match document.namespace() {
        "" => drop(metadata.remove("namespace")),
        namespace => drop(metadata.insert("namespace".into(), namespace.into())),
    }
    metadata.insert("generation".into(), json!(state.generation()));
    let first = state.first();
    set_or_remove(metadata, "uid", first.map(|first| uid(&first.id)));
    let created = first.and_then(|first| state.origin(&first.id)).map(|origin| origin.time_ms);
    set_or_remove(metadata, "creationTimestamp", created.and_then(timestamp));
    Value::Object(root)
}

/// Takes a resource apart into registers: JSON text by path. A map is taken apart unless it is empty;
/// a list is one value.
///
/// What is implied by the name or derived is left out. Errors name the limit that is exceeded.
pub fn flatten(resource: &Value) -> Result<BTreeMap<String, Arc<str>>, FlattenError> {
    let mut flat = Flat { registers: BTreeMap::new(), bytes: 0 };
    let root = resource.as_object().ok_or_else(|| FlattenError::NotAMap(String::new()))?;
    for (key, value) in root.iter().filter(|(key, _)| !IMPLIED.contains(&key.as_str())) {
        let path = deeper("", key);
        if key != "metadata" {
            flat.take(path, value, 1)?;
            continue;
        }
        let metadata = value.as_object().ok_or_else(|| FlattenError::NotAMap(path.clone()))?;
        for (key, value) in metadata.iter().filter(|(key, _)| !IMPLIED_METADATA.contains(&key.as_str())) {
            flat.take(deeper(&path, key), value, 2)?;
        }
    }
    Ok(flat.registers)
}

/// Returns the operations, by ascending path, after which the document shows `wanted`.
///
/// A value that is shown already is put again only where that clears a conflict. Of a deleted
/// document, or one that does not exist, everything is put: the event starts a new incarnation.
pub fn difference(state: &DocumentState, wanted: &BTreeMap<String, Arc<str>>) -> Vec<Operation> {
    let fresh = !state.is_live();
    let shown = |path: &str| if fresh { &[][..] } else { state.values(path) };
    let put =
        |(path, value): (&String, &Arc<str>)| Operation::Put { path: path.clone(), value: value.clone() };
    let puts = wanted.iter().filter(|(path, value)| {
        let values = shown(path);
        let settled = !values.is_empty()
            && (fresh || state.removals(path).is_empty())
            && values.iter().all(|own| same_value(&own.value, value));
        !settled || (!fresh && is_shadowed(state, path, values))
    });
    let mut operations: Vec<Operation> = puts.map(put).collect();
    if !fresh {
        let unwanted = state.registers().filter(|(path, values)| {
            let compatible = all_empty_maps(values) && has_below(wanted, path);
            !wanted.contains_key(*path) && !compatible
        });
        operations.extend(unwanted.map(|(path, _)| Operation::Delete { path: path.to_owned() }));
    }
    operations.sort_unstable_by(|a, b| a.path().cmp(b.path()));
    operations
}

/// Registers as they are gathered.
struct Flat {
    registers: BTreeMap<String, Arc<str>>,
    bytes: usize,
}

impl Flat {
    /// Takes apart what is at `path`, `depth` maps below the root.
    fn take(&mut self, path: String, value: &Value, depth: usize) -> Result<(), FlattenError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(FlattenError::PathTooLong(path.chars().take(80).collect()));
        }
        if depth > DEPTH_MAX {
            return Err(FlattenError::TooDeep(path));
        }
        match value.as_object().filter(|map| !map.is_empty()) {
            Some(map) => {
                map.iter().try_for_each(|(key, value)| self.take(deeper(&path, key), value, depth + 1))
            }
            None => self.keep(path, value),
        }
    }

    fn keep(&mut self, path: String, value: &Value) -> Result<(), FlattenError> {
        if !nests_within(value, DEPTH_MAX) {
            return Err(FlattenError::TooDeep(path));
        }
        let text = value.to_string();
        if text.len() > VALUE_BYTES_MAX {
            return Err(FlattenError::ValueTooLarge { path, bytes: text.len() });
        }
        self.bytes += path.len() + text.len();
        self.registers.insert(path, text.into());
        match (self.bytes, self.registers.len()) {
            (bytes, _) if bytes > DOCUMENT_BYTES_MAX => Err(FlattenError::TooLarge),
            (_, count) if count > OPERATIONS_MAX => Err(FlattenError::TooManyValues),
            _ => Ok(()),
        }
    }
}

/// Whether lists and maps in `value` nest at most `depth` deep.
fn nests_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| nests_within(item, depth - 1)),
        Value::Object(map) => depth > 0 && map.values().all(|item| nests_within(item, depth - 1)),
        _ => true,
    }
}

/// The pointer to `key` in the map at `path`.
fn deeper(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Puts `value` at the pointer (without its leading slash), making maps on the way. Paths come in
/// ascending order, so whatever is in the way belongs to a register above and gives way.
fn insert(root: &mut Map<String, Value>, pointer: &str, value: Value) {
    let mut map = root;
    let mut segments = pointer.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    let Some(mut segment) = segments.next() else { return };
    for next in segments {
        map = map_at(map, segment);
        segment = next;
    }
    map.insert(segment, value);
}

/// The map under `key`, made if there is none.
fn map_at(map: &mut Map<String, Value>, key: String) -> &mut Map<String, Value> {
    let slot = map.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("the slot was made a map"),
    }
}

fn set_or_remove(map: &mut Map<String, Value>, key: &str, value: Option<String>) {
    match value {
        Some(value) => drop(map.insert(key.into(), value.into())),
        None => drop(map.remove(key)),
    }
}

/// A UUID (RFC 9562, version 8) made of the first bytes of an event id.
fn uid(id: &EventId) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.0[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::ids::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// RFC 3339 in whole seconds; none beyond the year 9999.
fn timestamp(time_ms: u64) -> Option<String> {
    let seconds = i64::try_from(time_ms / 1_000).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

/// Whether the register has a value that deeper registers hide.
fn is_shadowed(state: &DocumentState, path: &str, values: &[Stamped]) -> bool {
    !all_empty_maps(values) && state.has_below(path)
}

fn has_below(wanted: &BTreeMap<String, Arc<str>>, path: &str) -> bool {
    let below = format!("{path}/");
    wanted
        .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
        .next()
        .is_some_and(|(deeper, _)| deeper.starts_with(&below))
}

fn all_empty_maps(values: &[Stamped]) -> bool {
    values.iter().all(|stamped| is_empty_map(&stamped.value))
}

#[cfg(test)]
mod tests;
