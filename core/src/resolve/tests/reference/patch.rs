//! Patches: what layers say, what of it is enforced or denied, and how it is merged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Keys;
use super::variables::pieces;

/// What a layer says of one place.
#[derive(Debug, Clone)]
pub(super) enum Patch {
    Map(BTreeMap<String, Patch>),
    /// The key field; name, key and content of each element.
    List(String, Vec<(String, Value, Patch)>),
    Set(Value),
    Delete,
    /// What is wrong inside counts when the replacement is made.
    Replace(Box<Result<Patch, &'static str>>),
}

pub(super) fn read_root(values: &Value, keyed: &BTreeMap<Keys, String>) -> Result<Patch, &'static str> {
    match values {
        Value::Null => Ok(Patch::Map(BTreeMap::new())),
        Value::Object(map) if map.keys().any(|key| is_marker(key)) => Err("InvalidValues"),
        Value::Object(_) => read(values, &[], keyed),
        _ => Err("InvalidProfile"),
    }
}

pub(super) fn is_marker(key: &str) -> bool {
    ["$delete", "$null", "$replace"].contains(&key)
}

pub(super) fn read(
    value: &Value,
    path: &[String],
    keyed: &BTreeMap<Keys, String>,
) -> Result<Patch, &'static str> {
    if path.len() > 32 {
        return Err("InvalidValues");
    }
    let below = |key: &str| [path, &[key.to_owned()]].concat();
    match value {
        Value::Null => Err("InvalidValues"),
        Value::Array(items) => match keyed.get(path) {
            None => literal(value, 0).map(|_| Patch::Set(value.clone())),
            Some(field) => {
                let mut elements: Vec<(String, Value, Patch)> = Vec::new();
                for item in items {
                    let mut map = item.as_object().ok_or("KeyedList")?.clone();
                    let key = map.remove(field).ok_or("KeyedList")?;
                    let name = match &key {
                        Value::String(text) => text.clone(),
                        Value::Number(number) if !number.is_f64() => number.to_string(),
                        _ => return Err("KeyedList"),
                    };
                    if elements.iter().any(|(other, ..)| *other == name) {
                        return Err("KeyedList");
                    }
                    let path = below(&name);
                    let patch = if map.get("$delete") == Some(&json!(true)) && map.len() == 1 {
                        Patch::Delete
                    } else if map.keys().any(|key| is_marker(key)) {
                        return Err("InvalidValues");
                    } else {
                        read(&Value::Object(map), &path, keyed)?
                    };
                    elements.push((name, key, patch));
                }
                Ok(Patch::List(field.clone(), elements))
            }
        },
        Value::Object(map) => match map.keys().find(|key| is_marker(key)) {
            None => {
                let entry = |(key, value): (&String, _)| Ok((key.clone(), read(value, &below(key), keyed)?));
                map.iter().map(entry).collect::<Result<_, _>>().map(Patch::Map)
            }
            Some(_) if map.len() > 1 => Err("InvalidValues"),
            Some(marker) => match (marker.as_str(), &map[marker]) {
                ("$delete", Value::Bool(true)) => Ok(Patch::Delete),
                ("$null", Value::Bool(true)) => Ok(Patch::Set(Value::Null)),
                ("$replace", inner) if inner.get("$replace").is_some() => Err("InvalidValues"),
                ("$replace", inner) => Ok(Patch::Replace(Box::new(read(inner, path, keyed)))),
                _ => Err("InvalidValues"),
            },
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Patch::Set(value.clone())),
    }
}

/// Checks the inside of a list without keys.
pub(super) fn literal(value: &Value, depth: usize) -> Result<(), &'static str> {
    match value {
        _ if depth > 32 => Err("InvalidValues"),
        Value::Null => Err("InvalidValues"),
        Value::Array(items) => items.iter().try_for_each(|item| literal(item, depth + 1)),
        Value::Object(map) if *map == *json!({"$null": true}).as_object().unwrap() => Ok(()),
        Value::Object(map) if map.keys().any(|key| is_marker(key)) => Err("InvalidValues"),
        Value::Object(map) => map.values().try_for_each(|value| literal(value, depth + 1)),
        _ => Ok(()),
    }
}

/// What layers came to so far at one place.
#[derive(Debug, Clone)]
pub(super) enum Out {
    Map(BTreeMap<String, Out>),
    /// An element that was removed keeps its place, in which nothing is.
    List(String, Vec<(String, Key, Option<Out>)>),
    /// A value, and whether a profile wrote it.
    Leaf(Value, bool),
}

/// The key of an element, and whether a profile wrote it.
pub(super) type Key = (Value, bool);

pub(super) fn merge(base: Option<Out>, patch: Patch, profile: bool) -> Result<Option<Out>, &'static str> {
    Ok(Some(match (patch, base) {
        (Patch::Delete, _) => return Ok(None),
        (Patch::Replace(inner), _) => return merge(None, (*inner)?, profile),
        (Patch::Set(_), Some(Out::Map(_))) => return Err("TypeChange"),
        (Patch::Set(value), _) => Out::Leaf(value, profile),
        (Patch::Map(_), Some(Out::Leaf(..) | Out::List(..))) => return Err("TypeChange"),
        (Patch::Map(patches), base) => {
            let mut map = match base {
                Some(Out::Map(map)) => map,
                _ => BTreeMap::new(),
            };
            for (key, patch) in patches {
                if let Some(value) = merge(map.remove(&key), patch, profile)? {
                    map.insert(key, value);
                }
            }
            Out::Map(map)
        }
        (Patch::List(..), Some(Out::Map(_))) => return Err("TypeChange"),
        (Patch::List(field, patches), base) => {
            let mut list = match base {
                Some(Out::List(_, list)) => list,
                _ => Vec::new(),
            };
            for (name, key, patch) in patches {
                match list.iter().position(|(other, ..)| *other == name) {
                    Some(at) => list[at].2 = merge(list[at].2.take(), patch, profile)?,
                    None => {
                        if let Some(value) = merge(None, patch, profile)? {
                            list.push((name, (key, profile), Some(value)));
                        }
                    }
                }
            }
            Out::List(field, list)
        }
    }))
}

/// The part of a patch at or below some paths; empty maps set no leaf, elements set their key.
pub(super) fn project(patch: &Patch, at: &[String], paths: &[Keys]) -> Result<Option<Patch>, &'static str> {
    let within = paths.iter().any(|path| at.starts_with(path));
    if !within && !paths.iter().any(|path| path.starts_with(at)) {
        return Ok(None);
    }
    let below = |key: &str| [at, &[key.to_owned()]].concat();
    Ok(match patch {
        Patch::Map(map) => {
            let mut out = BTreeMap::new();
            for (key, patch) in map {
                if let Some(patch) = project(patch, &below(key), paths)? {
                    out.insert(key.clone(), patch);
                }
            }
            (!out.is_empty()).then_some(Patch::Map(out))
        }
        Patch::List(field, elements) => {
            let mut out = Vec::new();
            for (name, key, patch) in elements {
                let path = below(name);
                let whole = paths.iter().any(|enforced| path.starts_with(enforced));
                let part = project(patch, &path, paths)?;
                let part =
                    part.or((whole && matches!(patch, Patch::Map(_))).then(|| Patch::Map(BTreeMap::new())));
                out.extend(part.map(|part| (name.clone(), key.clone(), part)));
            }
            (!out.is_empty()).then(|| Patch::List(field.clone(), out))
        }
        Patch::Set(_) | Patch::Delete | Patch::Replace(_) if within => Some(patch.clone()),
        Patch::Replace(inner) => project(&(**inner).clone()?, at, paths)?,
        Patch::Set(_) | Patch::Delete => None,
    })
}

/// The leaves of what is enforced, each with the variables that it mentions.
pub(super) fn list_leaves(patch: &Patch, at: &[String], out: &mut Vec<(Keys, BTreeSet<String>)>) {
    let below = |key: &str| [at, &[key.to_owned()]].concat();
    match patch {
        Patch::Map(map) => map.iter().for_each(|(key, patch)| list_leaves(patch, &below(key), out)),
        Patch::List(field, elements) => {
            for (name, key, patch) in elements {
                if !matches!(patch, Patch::Delete) {
                    out.push(([at, &[name.clone(), field.clone()]].concat(), mentioned(key)));
                }
                list_leaves(patch, &below(name), out);
            }
        }
        Patch::Set(value) => out.push((at.to_vec(), mentioned(value))),
        Patch::Delete => out.push((at.to_vec(), BTreeSet::new())),
        Patch::Replace(inner) => {
            let mut below = Vec::new();
            if let Ok(inner) = &**inner {
                list_leaves(inner, at, &mut below);
            }
            out.push((at.to_vec(), below.into_iter().flat_map(|(_, mentioned)| mentioned).collect()));
        }
    }
}

pub(super) fn mentioned(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => pieces(text)
            .into_iter()
            .flatten()
            .filter_map(|(piece, is_variable)| is_variable.then_some(piece))
            .collect(),
        Value::Array(items) => items.iter().flat_map(mentioned).collect(),
        Value::Object(map) => map.values().flat_map(mentioned).collect(),
        _ => BTreeSet::new(),
    }
}

/// What an override may not touch.
pub(super) struct Cut<'a> {
    pub(super) object: String,
    pub(super) leaves: &'a [(Keys, String)],
    /// Where a local override may write.
    pub(super) allowed: Option<&'a [Keys]>,
}

/// Cuts denied writes out of an override's patch.
pub(super) fn prune(
    patch: Patch,
    at: &[String],
    cut: &Cut<'_>,
    denied: &mut BTreeSet<(String, Keys, Option<String>)>,
) -> Option<Patch> {
    let below = |key: &str| [at, &[key.to_owned()]].concat();
    match patch {
        Patch::Map(map) if !map.is_empty() => {
            let cut_one =
                |(key, patch): (String, _)| Some((key.clone(), prune(patch, &below(&key), cut, denied)?));
            let map: BTreeMap<_, _> = map.into_iter().filter_map(cut_one).collect();
            return (!map.is_empty()).then_some(Patch::Map(map));
        }
        Patch::List(field, elements) if !elements.is_empty() => {
            let cut_one = |(name, key, patch): (String, Value, _)| {
                let patch = prune(patch, &below(&name), cut, denied)?;
                Some((name, key, patch))
            };
            let elements: Vec<_> = elements.into_iter().filter_map(cut_one).collect();
            return (!elements.is_empty()).then_some(Patch::List(field, elements));
        }
        _ => {}
    }
    let root = at.is_empty();
    let only_there = matches!(patch, Patch::Map(_) | Patch::List(..));
    let owner = |touches: &dyn Fn(&Keys) -> bool| {
        cut.leaves.iter().filter(|(leaf, _)| touches(leaf)).map(|(_, name)| name.clone()).next_back()
    };
    let below_one = owner(&|leaf| at.starts_with(leaf));
    let above_one = || owner(&|leaf| !only_there && leaf.starts_with(at));
    if let Some(profile) = below_one.or_else(above_one) {
        denied.insert((cut.object.clone(), at.to_vec(), Some(profile)));
        return None;
    }
    if !root && cut.allowed.is_some_and(|allowed| !allowed.iter().any(|path| at.starts_with(path))) {
        denied.insert((cut.object.clone(), at.to_vec(), None));
        return None;
    }
    Some(patch)
}
