//! JSON Patch (RFC 6902) on a resource; merge patches are the replica's own.
//!
//! Pure functions from a value and a patch to a value. Which parts of a resource a client may change at
//! all is decided where the result is written, not here.

use serde_json::Value;

/// Most operations of one JSON Patch.
pub(super) const OPERATIONS_MAX: usize = 4_096;
/// Most values that one JSON Patch may copy and move, counted in JSON nodes; "copy" could otherwise
/// double a document with each operation.
const COPIED_NODES_MAX: usize = 100_000;
/// Deepest nesting that a JSON Patch may build; "move" could otherwise stack values until walking them
/// exhausts the stack.
const NESTING_MAX: usize = 128;

/// Why a patch was not applied. The resource is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatchError {
    /// The patch is no patch.
    #[error("not a JSON patch: {0}")]
    Malformed(String),
    /// An operation does not fit the resource.
    #[error("operation {index} ({operation} {path}): {why}")]
    Operation {
        /// Which, from 0.
        index: usize,
        /// Its name.
        operation: String,
        /// Its path.
        path: String,
        /// What does not fit.
        why: &'static str,
    },
    /// A `test` operation did not hold.
    #[error("operation {index}: the value at {path} is not the one tested for")]
    Test {
        /// Which, from 0.
        index: usize,
        /// Its path.
        path: String,
    },
}

/// Applies a JSON Patch; either every operation holds, or the result is an error.
pub(super) fn apply(resource: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations =
        patch.as_array().ok_or_else(|| PatchError::Malformed("expected a list of operations".into()))?;
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::Malformed(format!("more than {OPERATIONS_MAX} operations")));
    }
    let mut result = resource.clone();
    let mut copied = 0;
    for (index, operation) in operations.iter().enumerate() {
        let text = |field: &str| operation.get(field).and_then(Value::as_str);
        let (Some(name), Some(path)) = (text("op"), text("path")) else {
            return Err(PatchError::Malformed(format!("operation {index} has no op or no path")));
        };
        step(&mut result, operation, name, path, &mut copied).map_err(|fault| match fault {
            Fault::Test => PatchError::Test { index, path: path.to_owned() },
            Fault::Why(why) => PatchError::Operation {
                index,
                operation: name.chars().take(20).collect(),
                path: path.chars().take(200).collect(),
                why,
            },
        })?;
    }
    Ok(result)
}

enum Fault {
    Why(&'static str),
    Test,
}

fn step(
    result: &mut Value,
    operation: &Value,
    name: &str,
    path: &str,
    copied: &mut usize,
) -> Result<(), Fault> {
    let value = || operation.get("value").cloned().ok_or(Fault::Why("has no value"));
    let from = || operation.get("from").and_then(Value::as_str).ok_or(Fault::Why("has no from"));
    match name {
        "add" => add(result, path, value()?, &mut 0),
        "remove" => remove(result, path).map(drop),
        "replace" => {
            let target = result.pointer_mut(path).ok_or(Fault::Why("nothing is there to replace"))?;
            *target = value()?;
            Ok(())
        }
        "test" => match result.pointer(path) == operation.get("value") {
            true => Ok(()),
            false => Err(Fault::Test),
        },
        "move" => {
            let from = from()?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(Fault::Why("a value cannot move into itself"));
            }
            let moved = remove(result, from)?;
            add(result, path, moved, copied)
        }
        "copy" => {
            let source = result.pointer(from()?).ok_or(Fault::Why("nothing is there to copy"))?;
            // Measured before it is cloned.
            *copied += measure(source).nodes;
            spend(*copied)?;
            let source = source.clone();
            add(result, path, source, &mut 0)
        }
        _ => Err(Fault::Why("no such operation")),
    }
}

struct Measure {
    nodes: usize,
    depth: usize,
}

fn measure(value: &Value) -> Measure {
    let mut total = Measure { nodes: 1, depth: 0 };
    let mut take = |child: &Value| {
        let child = measure(child);
        total.nodes += child.nodes;
        total.depth = total.depth.max(child.depth + 1);
    };
    match value {
        Value::Object(fields) => fields.values().for_each(&mut take),
        Value::Array(items) => items.iter().for_each(&mut take),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    total
}

fn spend(copied: usize) -> Result<(), Fault> {
    match copied > COPIED_NODES_MAX {
        true => Err(Fault::Why("copies or moves more than 100000 values")),
        false => Ok(()),
    }
}

fn add(root: &mut Value, path: &str, value: Value, copied: &mut usize) -> Result<(), Fault> {
    let measured = measure(&value);
    *copied += measured.nodes;
    spend(*copied)?;
    if path.matches('/').count() + measured.depth > NESTING_MAX {
        return Err(Fault::Why("nests more than 128 levels"));
    }
    if path.is_empty() {
        *root = value;
        return Ok(());
    }
    let (parent, last) = parent_of(root, path)?;
    match parent {
        Value::Object(fields) => {
            fields.insert(last, value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => {
            let index =
                index(&last).filter(|index| *index <= items.len()).ok_or(Fault::Why("no such index"))?;
            items.insert(index, value);
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Fault::Why("what contains it is neither a map nor a list"))
        }
    }
}

fn remove(root: &mut Value, path: &str) -> Result<Value, Fault> {
    const NOTHING: Fault = Fault::Why("nothing is there to remove");
    if path.is_empty() {
        return Err(Fault::Why("the resource itself cannot be removed"));
    }
    let (parent, last) = parent_of(root, path)?;
    match parent {
        Value::Object(fields) => fields.remove(&last).ok_or(NOTHING),
        Value::Array(items) => match index(&last).filter(|index| *index < items.len()) {
            Some(index) => Ok(items.remove(index)),
            None => Err(NOTHING),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(NOTHING),
    }
}

fn parent_of<'a>(root: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Fault> {
    let (parent, last) = path.rsplit_once('/').ok_or(Fault::Why("a path begins with a slash"))?;
    let parent = root.pointer_mut(parent).ok_or(Fault::Why("what would contain it does not exist"))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

/// A list index without sign or leading zeros.
fn index(text: &str) -> Option<usize> {
    let plain = text == "0" || (!text.starts_with(['0', '+']) && !text.is_empty());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_follow_the_examples_of_the_rfc() {
        for (target, patch, expected) in [
            (
                json!({"foo":"bar"}),
                json!([{"op":"add","path":"/baz","value":"qux"}]),
                json!({"baz":"qux","foo":"bar"}),
            ),
            (
                json!({"foo":["bar","baz"]}),
                json!([{"op":"add","path":"/foo/1","value":"qux"}]),
                json!({"foo":["bar","qux","baz"]}),
            ),
            (json!({"baz":"qux","foo":"bar"}), json!([{"op":"remove","path":"/baz"}]), json!({"foo":"bar"})),
            (
                json!({"foo":["bar","qux","baz"]}),
                json!([{"op":"remove","path":"/foo/1"}]),
                json!({"foo":["bar","baz"]}),
            ),
            (
                json!({"a":{"b":1},"c":{}}),
                json!([{"op":"move","from":"/a/b","path":"/c/d"}]),
                json!({"a":{},"c":{"d":1}}),
            ),
            (
                json!({"foo":["all","grass","cows","eat"]}),
                json!([{"op":"move","from":"/foo/1","path":"/foo/3"}]),
                json!({"foo":["all","cows","eat","grass"]}),
            ),
            (json!({"/":9,"~1":10}), json!([{"op":"test","path":"/~01","value":10}]), json!({"/":9,"~1":10})),
            (
                json!({"foo":["bar"]}),
                json!([{"op":"add","path":"/foo/-","value":["abc","def"]}]),
                json!({"foo":["bar",["abc","def"]]}),
            ),
            (
                json!({"a":1}),
                json!([{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/a","value":2}]),
                json!({"a":2,"b":1}),
            ),
        ] {
            assert_eq!(apply(&target, &patch).unwrap(), expected);
        }
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        let target = json!({"foo":"bar","list":[1]});
        for patch in [
            json!([{"op":"add","path":"/baz/bat","value":"qux"}]),
            json!([{"op":"remove","path":"/nothing"}]),
            json!([{"op":"test","path":"/foo","value":"other"}]),
            json!([{"op":"replace","path":"/nothing","value":1}]),
            json!([{"op":"add","path":"/list/2","value":1}]),
            json!([{"op":"add","path":"/list/01","value":1}]),
            json!([{"op":"move","from":"/list","path":"/list/0"}]),
            json!([{"op":"frobnicate","path":"/foo"}]),
            json!([{"op":"add","path":"/x"}]),
            json!({"op":"add"}),
            json!([1]),
        ] {
            assert!(apply(&target, &patch).is_err(), "{patch}");
        }
    }

    #[test]
    fn copies_cannot_multiply_without_bound() {
        let doubling: Vec<Value> = (0..64).map(|_| json!({"op":"copy","from":"/a","path":"/a/-"})).collect();
        let error = apply(&json!({"a":[1]}), &Value::Array(doubling)).unwrap_err();
        assert!(error.to_string().contains("copies or moves more than"), "{error}");
    }

    #[test]
    fn moves_cannot_stack_values_without_bound() {
        let step = json!([
            {"op":"add","path":"/b","value":{"x":{"x":{"x":{}}}}},
            {"op":"move","from":"/a","path":"/b/x/x/x/x"},
            {"op":"move","from":"/b","path":"/a"},
        ]);
        let steps = std::iter::repeat_n(step.as_array().unwrap(), 1_000).flatten().cloned();
        let error = apply(&json!({"a":{}}), &Value::Array(steps.collect())).unwrap_err();
        assert!(error.to_string().contains("nests more than 128 levels"), "{error}");
    }
}
