//! JSON, read by JSON's own rules: a YAML reader gets escapes of characters beyond 16 bits wrong.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, ParsedDocument, Place, YamlError, place_of};

/// Why reading stopped, and whether anything was handed over before.
pub(super) struct Failure {
    pub(super) error: Box<YamlError>,
    pub(super) handed: usize,
    /// The text is not JSON at all, as opposed to JSON that we refuse.
    pub(super) syntax: bool,
}

/// Reads one value after the other, as `kubectl get -o json` of several files would be concatenated.
pub(super) fn each_document(
    file: &str,
    text: &str,
    take: &mut dyn FnMut(ParsedDocument),
) -> Result<(), Failure> {
    let mut handed = 0;
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(());
        }
        let start = text.len() - rest.len();
        let before = place_of(file, &text.as_bytes()[..start]);
        let mut reader = serde_json::Deserializer::from_str(rest);
        let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|error| Failure {
            syntax: !error.is_data(),
            handed,
            error: Box::new(failure(before.clone(), &error)),
        })?;
        // Only the stream reader tells how far a value reached.
        rest = &rest[reader.into_iter::<serde::de::IgnoredAny>().byte_offset()..];
        handed += 1;
        if !value.is_null() {
            take(ParsedDocument { value, file: file.to_owned(), line: before.line });
        }
    }
}

fn failure(start: Place, error: &serde_json::Error) -> YamlError {
    let detail = error.to_string();
    let detail = detail.split(" at line ").next().unwrap_or(&detail).to_owned();
    let column = match error.line() {
        1 => start.column + error.column().saturating_sub(1),
        _ => error.column(),
    };
    let at = Place { line: start.line + error.line().saturating_sub(1), column, ..start };
    YamlError::Json { at, detail }
}

/// Builds a value and refuses what a plain reader lets pass: repeated keys, inexact integers, deep nesting.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("more than {DEPTH_MAX} levels of nesting")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // An integer literal beyond 64 bits arrives here, already rounded.
        if value.abs() >= 9_007_199_254_740_992.0 && (value >= 1.8e19 || value <= -9.2e18) {
            return Err(E::custom("a number outside of 64 bits; quote it to keep it as text"));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that JSON cannot carry"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice in one object; remove one of them"
                )));
            }
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
