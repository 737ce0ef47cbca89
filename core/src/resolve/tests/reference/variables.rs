//! Variables, and their place in what is printed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::patch::Out;
use super::{Fleet, Layer, Text, canonical, keys_of};

pub(super) type Values = BTreeMap<String, Option<Value>>;

/// One variable as all profiles together declare it.
#[derive(Default)]
pub(super) struct Declared {
    types: BTreeSet<String>,
    default: Option<Value>,
    from: Option<String>,
    required: bool,
    bounds: Vec<(Option<f64>, Option<f64>)>,
}

pub(super) fn variables(
    fleet: &Fleet,
    labels: &Text,
    profiles: &[&Layer],
    given: &BTreeMap<String, Value>,
) -> Result<Values, &'static str> {
    let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
    for declaration in profiles.iter().flat_map(|p| p.spec["variables"].as_array().into_iter().flatten()) {
        let variable = declared.entry(declaration["name"].as_str().unwrap().to_owned()).or_default();
        let bounds = (declaration["min"].as_f64(), declaration["max"].as_f64());
        let kind = declaration["type"].as_str().ok_or("Variable")?;
        if let Some(default) = declaration.get("default") {
            fits(default, kind, &[bounds])?;
            variable.default = Some(default.clone());
        }
        variable.types.insert(kind.to_owned());
        variable.bounds.push(bounds);
        variable.required |= declaration["required"] == true;
        variable.from = declaration["from"].as_str().map(str::to_owned).or(variable.from.take());
    }
    let mut out = Values::new();
    for (name, variable) in declared {
        if variable.types.len() > 1 {
            return Err("Variable");
        }
        let kind = variable.types.first().unwrap().as_str();
        let fact = variable.from.as_deref().and_then(|from| match keys_of(from).as_slice() {
            [a, b] if a == "site" && b == "name" => Some("store-17".to_owned()),
            [a, b, key] if a == "site" && b == "labels" => labels.get(key).cloned(),
            [a, key] if a == "claims" => fleet.claims.get(key).cloned(),
            other => panic!("the generator writes no fact {other:?}"),
        });
        let value = match (given.get(&name), fleet.site["vars"].get(&name), fact, variable.default) {
            (Some(value), ..) | (None, Some(value), ..) => value.clone(),
            (None, None, Some(text), _) => convert(&text, kind)?,
            (None, None, None, Some(default)) => default,
            (None, None, None, None) if variable.required => return Err("Variable"),
            (None, None, None, None) => {
                out.insert(name, None);
                continue;
            }
        };
        fits(&value, kind, &variable.bounds)?;
        out.insert(name, Some(value));
    }
    Ok(out)
}

pub(super) fn convert(text: &str, kind: &str) -> Result<Value, &'static str> {
    match kind {
        "string" => Ok(json!(text)),
        _ => text.parse::<i64>().map(Value::from).map_err(|_| "Variable"),
    }
}

pub(super) fn fits(
    value: &Value,
    kind: &str,
    bounds: &[(Option<f64>, Option<f64>)],
) -> Result<(), &'static str> {
    let fits = match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => value.is_boolean(),
    };
    let inside = |(min, max): &(Option<f64>, Option<f64>)| {
        value.as_f64().is_none_or(|n| min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max))
    };
    if fits && bounds.iter().all(inside) { Ok(()) } else { Err("Variable") }
}

/// The parts of a text, each with whether it is the name of a variable.
pub(super) fn pieces(text: &str) -> Result<Vec<(String, bool)>, &'static str> {
    let mut out = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let rest: String = chars.clone().collect();
        if c == '$' && rest.starts_with("${") {
            literal.push_str("${");
            chars.nth(1);
        } else if c == '$' && rest.starts_with('{') {
            let (name, _) = rest[1..].split_once('}').ok_or("Variable")?;
            if !literal.is_empty() {
                out.push((std::mem::take(&mut literal), false));
            }
            out.push((name.to_owned(), true));
            chars.nth(name.chars().count() + 1);
        } else {
            literal.push(c);
        }
    }
    if !literal.is_empty() {
        out.push((literal, false));
    }
    Ok(out)
}

pub(super) fn print(out: Out, variables: &Values) -> Result<Value, &'static str> {
    match out {
        Out::Map(map) => {
            let entries = map.into_iter().map(|(key, out)| Ok((key, print(out, variables)?)));
            entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Out::Leaf(value, profile) => substitute(value, profile, variables),
        Out::List(field, list) => {
            let mut items = Vec::new();
            let mut seen = BTreeSet::new();
            for (_, (key, profile), out) in list {
                let Some(out) = out else { continue };
                let mut item = print(out, variables)?;
                let key = substitute(key, profile, variables)?;
                let name = match &key {
                    Value::String(text) => text.clone(),
                    Value::Number(number) if !number.is_f64() => number.to_string(),
                    _ => return Err("KeyedList"),
                };
                if !seen.insert(name) {
                    return Err("KeyedList");
                }
                item[&field] = key;
                items.push(item);
            }
            Ok(Value::Array(items))
        }
    }
}

pub(super) fn substitute(value: Value, profile: bool, variables: &Values) -> Result<Value, &'static str> {
    match value {
        Value::Object(map) if map.contains_key("$null") => Ok(Value::Null),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, v)| Ok((key, substitute(v, profile, variables)?)));
            entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| substitute(item, profile, variables));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Value::String(text) if profile => {
            let value_of = |name: &String| variables.get(name).cloned().flatten().ok_or("Variable");
            let pieces = pieces(&text)?;
            if let [(name, true)] = pieces.as_slice() {
                return value_of(name);
            }
            let mut out = String::new();
            for (piece, is_variable) in pieces {
                match is_variable.then(|| value_of(&piece)).transpose()? {
                    None => out.push_str(&piece),
                    Some(Value::String(text)) => out.push_str(&text),
                    Some(value) => out.push_str(&canonical(&value).map_err(|_| "Variable")?),
                }
            }
            Ok(Value::String(out))
        }
        other => Ok(other),
    }
}
