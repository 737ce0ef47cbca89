//! How Hiera makes one value of what several layers say of a key, and how a value is written in a tree.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// How a key merges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The highest layer's.
    #[default]
    First,
    /// One flat list of all, the highest layer's first, each element once.
    Unique,
    /// Maps by key, lists united, the lower layer's elements first; else the highest layer's.
    Deep,
}

impl Strategy {
    /// Reads an entry of `lookup_options`.
    pub(super) fn read(options: &Value) -> Option<Self> {
        let merge = &options["merge"];
        match merge.as_str().or(merge["strategy"].as_str())? {
            "first" => Some(Self::First),
            "unique" => Some(Self::Unique),
            "deep" => Some(Self::Deep),
            _ => None,
        }
    }

    /// What it makes of the values of one key, the highest layer's first; null if there are none.
    pub(super) fn of(self, values: &[&Value]) -> Value {
        match self {
            Self::First => values.first().map_or(Value::Null, |first| (*first).clone()),
            Self::Unique => {
                let mut unique = vec![];
                values.iter().for_each(|value| flatten_into(&mut unique, value));
                Value::Array(unique)
            }
            Self::Deep => {
                let mut lowest_first = values.iter().rev();
                let lowest = lowest_first.next().map_or(Value::Null, |lowest| (*lowest).clone());
                lowest_first.fold(lowest, |lower, higher| deep(higher, lower))
            }
        }
    }
}

fn flatten_into(unique: &mut Vec<Value>, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten_into(unique, item)),
        item if unique.contains(item) => {}
        item => unique.push(item.clone()),
    }
}

fn deep(higher: &Value, lower: Value) -> Value {
    match (higher, lower) {
        (Value::Null, lower) => lower,
        (Value::Object(higher), Value::Object(mut lower)) => {
            for (key, value) in higher {
                let merged = match lower.remove(key) {
                    Some(below) => deep(value, below),
                    None => value.clone(),
                };
                lower.insert(key.clone(), merged);
            }
            Value::Object(lower)
        }
        (Value::Array(higher), Value::Array(lower)) => {
            let mut united = vec![];
            for item in lower.iter().chain(higher) {
                if !united.contains(item) {
                    united.push(item.clone());
                }
            }
            Value::Array(united)
        }
        (higher, _) => higher.clone(),
    }
}

/// The paths below a key at which layers that resolution merges would not give what Hiera gives.
pub(super) fn exceptions<'v>(strategy: Strategy, values: &[&'v Value]) -> Vec<Vec<&'v str>> {
    let mut found = vec![];
    match strategy {
        Strategy::First => {}
        Strategy::Unique if values.len() > 1 => found.push(vec![]),
        Strategy::Unique => {}
        Strategy::Deep => deep_exceptions(values, &mut vec![], &mut found),
    }
    found
}

fn deep_exceptions<'v>(values: &[&'v Value], at: &mut Vec<&'v str>, found: &mut Vec<Vec<&'v str>>) {
    if values.len() < 2 {
        return;
    }
    let maps: Vec<&'v Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
    if maps.len() == values.len() {
        let keys: BTreeSet<&'v String> = maps.iter().flat_map(|map| map.keys()).collect();
        for key in keys {
            let below: Vec<&'v Value> = maps.iter().filter_map(|map| map.get(key)).collect();
            at.push(key);
            deep_exceptions(&below, at, found);
            at.pop();
        }
    } else if !values.iter().all(|value| value.is_string() || value.is_number() || value.is_boolean()) {
        found.push(at.clone());
    }
}

/// A value as a tree has it: nulls said in words.
pub(super) fn literal(value: &Value) -> Value {
    match value {
        Value::Null => json!({"$null": true}),
        Value::Array(items) => items.iter().map(literal).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), literal(value))).collect())
        }
        scalar => scalar.clone(),
    }
}

/// The same with text that would read as a variable made literal, for where variables are read.
pub(super) fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, escaped(value))).collect())
        }
        scalar => scalar,
    }
}

/// Puts a value at a path of a tree, making maps on the way.
pub(super) fn place<'k>(tree: &mut Map<String, Value>, keys: impl Iterator<Item = &'k str>, value: Value) {
    let mut keys: Vec<&str> = keys.collect();
    let Some(last) = keys.pop() else { return };
    let mut at = tree;
    for key in keys {
        let below = at.entry(key).or_insert_with(|| json!({}));
        if !below.is_object() {
            *below = json!({});
        }
        let Value::Object(below) = below else { return };
        at = below;
    }
    at.insert(last.to_owned(), value);
}
