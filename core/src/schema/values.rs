//! Checks of free-form configuration trees: nulls, markers, numbers and limits.
//!
//! A tree may be as deep as its sender likes, so the walk keeps its own stack and counts levels.

use serde_json::Value;

use super::names::type_name;
use super::shape::{Errors, join};
use crate::canonical::INTEGER_MAX;

/// The largest live document, in bytes of compact JSON.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// The largest single value (a scalar or a list), in bytes of compact JSON.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;

/// The deepest nesting below the root of a resource, in levels.
pub const DEPTH_MAX: usize = 32;

/// The marker that removes a key or an element of a keyed list.
pub const DELETE: &str = "$delete";
/// The marker for a literal null.
pub const NULL: &str = "$null";
/// The marker that replaces whatever lower layers wrote.
pub const REPLACE: &str = "$replace";

/// Where a part of a tree stands, which decides what may stand there.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The root, or the value of a key.
    Value,
    /// An element of a list.
    Element,
}

/// Measures the nesting of a value, without recursion; stops counting just above `limit`.
pub(super) fn depth_exceeds(value: &Value, limit: usize) -> bool {
    let mut pending = vec![(value, 0)];
    while let Some((value, depth)) = pending.pop() {
        if depth > limit {
            return true;
        }
        match value {
            Value::Array(items) => pending.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => pending.extend(map.values().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    false
}

/// Counts the bytes of compact JSON; the nesting must have been bounded before.
pub(super) fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// Checks a configuration tree; its nesting must have been bounded before.
pub(super) fn check_tree(tree: &Value, at: &str, errors: &mut Errors) {
    let Value::Object(root) = tree else {
        errors.push(at, format!("expected a map, found a {}", type_name(tree)));
        return;
    };
    for marker in [DELETE, NULL, REPLACE].into_iter().filter(|marker| root.contains_key(*marker)) {
        errors.push(join(at, marker), "markers stand below a key, not at the root of the tree");
    }
    let mut pending: Vec<(String, &Value, Place)> =
        root.iter().rev().map(|(key, value)| (join(at, key), value, Place::Value)).collect();
    while let Some((at, value, place)) = pending.pop() {
        match value {
            Value::Null => errors.push(
                at,
                "null is refused, because patches give it another meaning: \
                 write {$delete: true} to remove the key, {$null: true} for a literal null",
            ),
            Value::Number(number) => {
                let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
                if magnitude.is_some_and(|magnitude| magnitude > INTEGER_MAX) {
                    errors.push(at, format!("integer {number} is outside +-2^53; write it as a string"));
                }
            }
            Value::String(text) if text.len() > VALUE_BYTES_MAX => {
                errors.push(at, format!("{} bytes; the limit of a value is {VALUE_BYTES_MAX}", text.len()));
            }
            Value::String(text) if has_private_key(text) => errors.push(
                at,
                "looks like a private key, which every node of the namespace would hold and history keep for good: \
                 write a reference such as {secretRef: {name: NAME, key: KEY}}, and keep the key in a secret store",
            ),
            Value::Array(items) => {
                let bytes = json_bytes(value);
                if bytes > VALUE_BYTES_MAX {
                    errors.push(&at, format!("{bytes} bytes; the limit of a value is {VALUE_BYTES_MAX}"));
                }
                let elements = items.iter().enumerate().rev();
                pending.extend(elements.map(|(i, item)| (format!("{at}[{i}]"), item, Place::Element)));
            }
            Value::Object(map) => {
                if let Err(reason) = check_markers(value, place) {
                    errors.push(&at, reason);
                }
                pending.extend(map.iter().rev().map(|(key, item)| (join(&at, key), item, Place::Value)));
            }
            Value::Bool(_) | Value::String(_) => {}
        }
    }
}

/// Whether a text holds a private key in PEM, whatever its kind; certificates and public keys may pass.
fn has_private_key(text: &str) -> bool {
    let mut headers = text.split("-----BEGIN ").skip(1).filter_map(|rest| rest.split_once("-----"));
    headers.any(|(label, _)| label.ends_with("PRIVATE KEY") || label.ends_with("PRIVATE KEY BLOCK"))
}

/// Checks that markers stand alone and say `true`.
fn check_markers(value: &Value, place: Place) -> Result<(), String> {
    let Value::Object(map) = value else { return Ok(()) };
    let markers = [DELETE, NULL, REPLACE].into_iter().filter(|marker| map.contains_key(*marker));
    for marker in markers {
        let is_element_delete = place == Place::Element && marker == DELETE && map.len() > 1;
        if map.len() > 1 && !is_element_delete {
            return Err(format!("{marker} stands alone in its map"));
        }
        if place == Place::Element && marker == DELETE && map.len() == 1 {
            return Err("an element is deleted by its key: {<key>: …, $delete: true}".into());
        }
        if place == Place::Element && marker == REPLACE {
            return Err("$replace stands below a key, not in a list".into());
        }
        if marker != REPLACE && map.get(marker) != Some(&Value::Bool(true)) {
            return Err(format!("{marker} takes true and nothing else"));
        }
    }
    Ok(())
}
