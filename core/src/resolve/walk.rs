//! Reading a configuration tree as a sequence of writes.
//!
//! One walk gives markers, keyed lists and limits their meaning; merging, enforcement, ambiguity and
//! provenance are its callers. A write is a leaf: a scalar, a whole list, a removal, a replacement, or a
//! map or keyed list that is empty and so writes only that it is there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Failure;
use super::path::{PATH_DEPTH_MAX, Path, print_keys, push_pointer_key};
use crate::schema::names::type_name;
use crate::schema::values::{DELETE, NULL, REPLACE};

/// One step of a path, borrowed from the tree that is walked.
#[derive(Debug, Clone)]
pub(super) enum Step<'a> {
    /// A key of a map.
    Key(&'a str),
    /// An element of a keyed list.
    Element(Element<'a>),
}

/// An element of a keyed list: where it stands in its list and what its key is.
#[derive(Debug, Clone)]
pub(super) struct Element<'a> {
    pub(super) index: usize,
    pub(super) name: Cow<'a, str>,
    pub(super) key_field: &'a str,
    pub(super) key: &'a Value,
}

/// What is written at a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write<'a> {
    /// A scalar, a literal null, or a list that is not keyed.
    Set(&'a Value),
    /// `{$delete: true}`.
    Delete,
    /// `{}`, or an element that consists of its key alone.
    EmptyMap,
    /// `[]` where the list is keyed.
    EmptyList,
    /// `{$replace: …}`, holding what is below the marker.
    Replace(&'a Value),
}

/// Whether the walk goes on below a `$replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    /// Walk what the marker holds.
    Walk,
    /// Leave it.
    Skip,
}

/// Which lists are keyed, by path.
#[derive(Debug, Default)]
pub(super) struct ListKeys<'a> {
    key_field: Option<&'a str>,
    children: BTreeMap<String, ListKeys<'a>>,
}

/// A set of paths that remembers who added each.
#[derive(Debug, Default)]
pub(super) struct PathSet {
    owner: Option<usize>,
    owner_below: Option<usize>,
    children: BTreeMap<String, PathSet>,
}

/// How a path relates to a set of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is a member, or lies below one.
    Within(usize),
    /// A member lies below it.
    Above(usize),
    /// Neither.
    Apart,
}

impl Step<'_> {
    /// The key, or the name of the element.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Element(element) => &element.name,
        }
    }
}

impl<'a> ListKeys<'a> {
    /// Declares a list as keyed; a later declaration of the same path replaces an earlier one.
    pub(super) fn declare(&mut self, path: &Path, key_field: &'a str) {
        let mut node = self;
        for key in path.keys() {
            node = node.children.entry(key.clone()).or_default();
        }
        node.key_field = Some(key_field);
    }

    /// The key of the elements, if the list here is keyed.
    pub(super) fn key_field(&self) -> Option<&'a str> {
        self.key_field
    }

    /// What is declared below a key.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        self.children.get(key)
    }
}

impl PathSet {
    /// Adds a path; a later owner of the same path replaces an earlier one.
    pub(super) fn insert<'k>(&mut self, keys: impl Iterator<Item = &'k str>, owner: usize) {
        let mut node = self;
        for key in keys {
            node.owner_below = Some(owner);
            node = node.children.entry(key.to_owned()).or_default();
        }
        node.owner = Some(owner);
    }

    /// Relates a path to the set; of several owners the last one counts.
    pub(super) fn relate(&self, path: &[Step<'_>]) -> Relation {
        let mut node = self;
        let mut within = node.owner;
        for step in path {
            match node.children.get(step.name()) {
                Some(child) => node = child,
                None => return within.map_or(Relation::Apart, Relation::Within),
            }
            within = within.max(node.owner);
        }
        match (within, node.owner_below) {
            (Some(owner), _) => Relation::Within(owner),
            (None, Some(owner)) => Relation::Above(owner),
            (None, None) => Relation::Apart,
        }
    }
}

/// Walks a tree in key order and calls `visit` for each write.
pub(super) fn walk<'a, F>(
    values: &'a Map<String, Value>,
    keys: &ListKeys<'a>,
    visit: F,
) -> Result<(), Failure>
where
    F: FnMut(&[Step<'a>], Write<'a>) -> Result<Below, Failure>,
{
    if let Some(marker) = [DELETE, NULL, REPLACE].into_iter().find(|marker| values.contains_key(*marker)) {
        let message = format!("{marker} stands below a key, not at the root of values");
        return Err(Failure::new("InvalidValues", message));
    }
    Walk { path: Vec::new(), visit }.map(values, Some(keys), None)
}

/// Prints a path as people write it.
pub(super) fn print(path: &[Step<'_>]) -> String {
    print_keys(path.iter().map(Step::name))
}

/// The RFC 6901 pointer of a path in the resource that was walked.
pub(super) fn pointer(values: &Map<String, Value>, path: &[Step<'_>]) -> String {
    let mut out = String::from("/spec/values");
    let mut value: Option<&Value> = None;
    for step in path {
        if let Some(replaced) = value.and_then(|value| value.get(REPLACE)) {
            push_pointer_key(&mut out, REPLACE);
            value = Some(replaced);
        }
        let index;
        let key = match step {
            Step::Key(key) => key,
            Step::Element(element) => {
                index = element.index.to_string();
                index.as_str()
            }
        };
        push_pointer_key(&mut out, key);
        value = match (value, step) {
            (None, _) => values.get(key),
            (Some(value), Step::Key(key)) => value.get(*key),
            (Some(value), Step::Element(element)) => value.get(element.index),
        };
    }
    out
}

struct Walk<'a, F> {
    path: Vec<Step<'a>>,
    visit: F,
}

impl<'a, F> Walk<'a, F>
where
    F: FnMut(&[Step<'a>], Write<'a>) -> Result<Below, Failure>,
{
    fn map(
        &mut self,
        map: &'a Map<String, Value>,
        keys: Option<&ListKeys<'a>>,
        skipped: Option<&str>,
    ) -> Result<(), Failure> {
        for (key, value) in map.iter().filter(|(key, _)| Some(key.as_str()) != skipped) {
            self.path.push(Step::Key(key));
            self.value(value, keys.and_then(|keys| keys.children.get(key)))?;
            self.path.pop();
        }
        Ok(())
    }

    fn value(&mut self, value: &'a Value, keys: Option<&ListKeys<'a>>) -> Result<(), Failure> {
        if self.path.len() > PATH_DEPTH_MAX {
            return Err(self.invalid(format!("nested deeper than {PATH_DEPTH_MAX} levels")));
        }
        match value {
            Value::Null => Err(self.invalid("null; write {$delete: true} or {$null: true}")),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => self.write(Write::Set(value)),
            Value::Array(items) => match keys.and_then(|keys| keys.key_field.map(|field| (keys, field))) {
                Some((keys, field)) => self.keyed(items, keys, field),
                None => {
                    check_list(items, 0).map_err(|reason| self.invalid(reason))?;
                    self.write(Write::Set(value))
                }
            },
            Value::Object(map) if map.is_empty() => self.write(Write::EmptyMap),
            Value::Object(map) => match marker(map).map_err(|reason| self.invalid(reason))? {
                None => self.map(map, keys, None),
                Some(NULL) => self.write(Write::Set(value)),
                Some(DELETE) => self.write(Write::Delete),
                Some(_) => self.replace(&map[REPLACE], keys),
            },
        }
    }

    fn replace(&mut self, value: &'a Value, keys: Option<&ListKeys<'a>>) -> Result<(), Failure> {
        if value.get(REPLACE).is_some() {
            return Err(self.invalid("$replace inside $replace"));
        }
        match (self.visit)(&self.path, Write::Replace(value))? {
            Below::Walk => self.value(value, keys),
            Below::Skip => Ok(()),
        }
    }

    fn keyed(&mut self, items: &'a [Value], keys: &ListKeys<'a>, key_field: &'a str) -> Result<(), Failure> {
        if items.is_empty() {
            return self.write(Write::EmptyList);
        }
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let fault = |message: String| {
                Failure::new("KeyedList", format!("element {index} {message}")).at(print(&self.path))
            };
            let Value::Object(map) = item else {
                return Err(fault(format!("is a {}, not a map with the key {key_field:?}", type_name(item))));
            };
            let key = map.get(key_field).ok_or_else(|| fault(format!("has no key {key_field:?}")))?;
            let name = key_name(key)
                .ok_or_else(|| fault(format!("has a {} as its key {key_field:?}", type_name(key))))?;
            if !seen.insert(name.clone()) {
                return Err(fault(format!("repeats the key {key_field}={name}")));
            }
            let keys = keys.children.get(name.as_ref());
            self.path.push(Step::Element(Element { index, name, key_field, key }));
            match map.get(DELETE) {
                Some(Value::Bool(true)) if map.len() == 2 => self.write(Write::Delete)?,
                Some(_) => {
                    return Err(self.invalid("an element is deleted by its key and $delete: true alone"));
                }
                None if map.contains_key(NULL) || map.contains_key(REPLACE) => {
                    return Err(self.invalid("$null and $replace stand below a key, not in a keyed list"));
                }
                None if map.len() == 1 => self.write(Write::EmptyMap)?,
                None => self.map(map, keys, Some(key_field))?,
            }
            self.path.pop();
        }
        Ok(())
    }

    fn write(&mut self, write: Write<'a>) -> Result<(), Failure> {
        (self.visit)(&self.path, write).map(|_| ())
    }

    fn invalid(&self, message: impl Into<String>) -> Failure {
        Failure::new("InvalidValues", message).at(print(&self.path))
    }
}

/// The name of an element: strings and integers, so that no two kinds of key print alike unnoticed.
pub(super) fn key_name(key: &Value) -> Option<Cow<'_, str>> {
    match key {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The marker that a map is, if it is one; an error if a marker does not stand alone.
fn marker(map: &Map<String, Value>) -> Result<Option<&'static str>, String> {
    let Some(marker) = [DELETE, NULL, REPLACE].into_iter().find(|marker| map.contains_key(*marker)) else {
        return Ok(None);
    };
    if map.len() > 1 {
        return Err(format!("{marker} does not stand alone in its map"));
    }
    if marker != REPLACE && map[marker] != Value::Bool(true) {
        return Err(format!("{marker} takes true and nothing else"));
    }
    Ok(Some(marker))
}

/// Checks the inside of a list that is not keyed, where `$null` is the only marker.
fn check_list(items: &[Value], depth: usize) -> Result<(), String> {
    items.iter().try_for_each(|item| check_inside_list(item, depth + 1))
}

fn check_inside_list(value: &Value, depth: usize) -> Result<(), String> {
    if depth > PATH_DEPTH_MAX {
        return Err(format!("nested deeper than {PATH_DEPTH_MAX} levels"));
    }
    match value {
        Value::Null => Err("null in a list; write {$null: true}".into()),
        Value::Array(items) => check_list(items, depth),
        Value::Object(map) => match map.keys().find(|key| matches!(key.as_str(), DELETE | REPLACE)) {
            Some(marker) => Err(format!("{marker} in a list that is not keyed; declare it in listKeys")),
            None => {
                marker(map)?;
                map.values()
                    .filter(|_| !map.contains_key(NULL))
                    .try_for_each(|v| check_inside_list(v, depth + 1))
            }
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
