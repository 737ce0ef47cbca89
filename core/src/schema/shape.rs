//! Declarative shapes of resources, and the check of a value against one.
//!
//! Shapes are static tables, so that validation, `explain` and the OpenAPI documents read the same
//! source. The check never stops at the first error, reports at most [`ERRORS_MAX`], and descends only as
//! far as the tables do; free-form trees are checked by `values`.

use serde_json::{Map, Value};

use super::FieldError;
use super::names::{check_label_key, check_label_value, type_name};
use super::selector::Selector;
use super::values::check_tree;
use crate::resolve::path::Path;

/// The most errors that one validation reports.
pub const ERRORS_MAX: usize = 50;

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string.
    Text,
    /// A string of one of the listed words.
    Word(&'static [&'static str]),
    /// A string that a function accepts.
    Checked(fn(&str) -> Result<(), String>),
    /// A boolean.
    Boolean,
    /// An integer within bounds, both included.
    Integer(i64, i64),
    /// Any number.
    Number,
    /// Any scalar: a string, a number or a boolean.
    Scalar,
    /// Any value that a function accepts.
    Value(fn(&Value) -> Result<(), String>),
    /// A list of one shape.
    List(&'static Shape),
    /// A map with free keys.
    Map(&'static Shape),
    /// A map of label keys to label values.
    Labels,
    /// A map with the listed fields and no others.
    Fields(&'static [Field]),
    /// A selector.
    Selector,
    /// A list of paths as people write them.
    Paths,
    /// A map of paths to words.
    PathMap,
    /// A configuration tree, in which nulls are refused and `$delete`, `$null` and `$replace` are read.
    Tree,
    /// Anything at all; what a newer or another writer put there is tolerated.
    Open,
}

/// One field of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name as written.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// One sentence for people.
    pub doc: &'static str,
}

/// An optional field.
pub(super) const fn field(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, required: false, doc }
}

/// A required field.
pub(super) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, required: true, doc }
}

/// Collects errors up to [`ERRORS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn push(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(FieldError::new(field, message));
        }
    }

    pub(super) fn into_result(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// Checks a value against a shape; `at` is the dotted path of the value.
pub(super) fn check(value: &Value, shape: &Shape, at: &str, errors: &mut Errors) {
    match shape {
        Shape::Text => expect_text(value, at, errors, |_| Ok(())),
        Shape::Word(words) => expect_text(value, at, errors, |text| check_word(text, words)),
        Shape::Checked(rule) => expect_text(value, at, errors, rule),
        Shape::Boolean => expect(value.is_boolean(), "boolean", value, at, errors),
        Shape::Integer(min, max) => check_integer(value, *min, *max, at, errors),
        Shape::Number => expect(value.is_number(), "number", value, at, errors),
        Shape::Scalar => {
            let scalar = matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
            expect(scalar, "string, number or boolean", value, at, errors);
        }
        Shape::Value(rule) => {
            if let Err(reason) = rule(value) {
                errors.push(at, reason);
            }
        }
        Shape::List(item) => match value {
            Value::Array(items) => {
                for (index, element) in items.iter().enumerate() {
                    check(element, item, &format!("{at}[{index}]"), errors);
                }
            }
            _ => expect(false, "list", value, at, errors),
        },
        Shape::Map(item) => each_entry(value, at, errors, |key, element, errors| {
            check(element, item, &join(at, key), errors);
        }),
        Shape::Labels => each_entry(value, at, errors, |key, element, errors| {
            check_label(key, element, &join(at, key), errors);
        }),
        Shape::Fields(fields) => match value {
            Value::Object(map) => check_fields(map, fields, at, errors),
            _ => expect(false, "map", value, at, errors),
        },
        Shape::Selector => check_selector(value, at, errors),
        Shape::Paths => match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    expect_text(item, &format!("{at}[{index}]"), errors, check_path);
                }
            }
            _ => expect(false, "list", value, at, errors),
        },
        Shape::PathMap => each_entry(value, at, errors, |key, element, errors| {
            let at = join(at, key);
            if let Err(reason) = check_path(key) {
                errors.push(&at, reason);
            }
            expect_text(element, &at, errors, |text| {
                if text.is_empty() { Err("must not be empty".into()) } else { Ok(()) }
            });
        }),
        Shape::Tree => check_tree(value, at, errors),
        Shape::Open => {}
    }
}

/// Appends a key to a dotted path.
pub(super) fn join(at: &str, key: &str) -> String {
    let mut out = at.to_owned();
    crate::resolve::path::push_key(&mut out, key);
    out
}

/// Appends " did you mean …?" where a known name is close.
pub(super) fn did_you_mean<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let limit = (found.chars().count() / 3).clamp(1, 3);
    known
        .map(|name| (edits(&found.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map_or(String::new(), |(_, name)| format!("; did you mean {name}?"))
}

fn check_fields(map: &Map<String, Value>, fields: &[Field], at: &str, errors: &mut Errors) {
    for (key, value) in map {
        match fields.iter().find(|field| field.name == key) {
            Some(field) => check(value, &field.shape, &join(at, key), errors),
            None => {
                let hint = did_you_mean(key, fields.iter().map(|field| field.name));
                errors.push(join(at, key), format!("unknown field{hint}"));
            }
        }
    }
    for field in fields.iter().filter(|field| field.required && !map.contains_key(field.name)) {
        errors.push(join(at, field.name), "is required");
    }
}

fn check_label(key: &str, value: &Value, at: &str, errors: &mut Errors) {
    if let Err(reason) = check_label_key(key) {
        errors.push(at, reason);
    }
    match value {
        Value::String(text) => {
            if let Err(reason) = check_label_value(text) {
                errors.push(at, reason);
            }
        }
        Value::Bool(_) | Value::Number(_) => errors.push(
            at,
            format!(
                "expected a string, found a {}; label values are strings: quote it, \"{value}\"",
                type_name(value)
            ),
        ),
        _ => expect(false, "string", value, at, errors),
    }
}

fn check_selector(value: &Value, at: &str, errors: &mut Errors) {
    const TERM: &[Field] = &[
        field("key", Shape::Checked(check_label_key), ""),
        field("operator", Shape::Word(&super::selector::Operator::NAMES), ""),
        field("values", Shape::List(&Shape::Text), ""),
    ];
    const FIELDS: &[Field] = &[
        field("matchAll", Shape::Boolean, ""),
        field("matchLabels", Shape::Labels, ""),
        field("matchExpressions", Shape::List(&Shape::Fields(TERM)), ""),
        field("claims", Shape::List(&Shape::Fields(TERM)), ""),
    ];
    let before = errors.0.len();
    check(value, &Shape::Fields(FIELDS), at, errors);
    if errors.0.len() == before
        && let Err(error) = Selector::read(value, at)
    {
        errors.push(error.field, error.message);
    }
}

fn check_integer(value: &Value, min: i64, max: i64, at: &str, errors: &mut Errors) {
    match value.as_i64() {
        Some(n) if (min..=max).contains(&n) => {}
        Some(n) => errors.push(at, format!("{n} is outside {min} to {max}")),
        None => expect(false, "integer", value, at, errors),
    }
}

fn check_word(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    let hint = did_you_mean(text, words.iter().copied());
    Err(format!("{text:?} is none of {}{hint}", words.join(", ")))
}

pub(super) fn check_path(text: &str) -> Result<(), String> {
    Path::parse(text).map(|_| ()).map_err(|error| format!("{text:?} is not a path: {error}"))
}

fn expect(holds: bool, expected: &str, found: &Value, at: &str, errors: &mut Errors) {
    if !holds {
        errors.push(at, format!("expected {}, found {}", article(expected), article(type_name(found))));
    }
}

fn expect_text(value: &Value, at: &str, errors: &mut Errors, rule: impl FnOnce(&str) -> Result<(), String>) {
    match value {
        Value::String(text) => {
            if let Err(reason) = rule(text) {
                errors.push(at, reason);
            }
        }
        Value::Bool(_) | Value::Number(_) => {
            let found = article(type_name(value));
            errors.push(at, format!("expected a string, found {found}; quote it: \"{value}\""));
        }
        _ => expect(false, "string", value, at, errors),
    }
}

fn article(noun: &str) -> String {
    match noun {
        "null" => "null".into(),
        "integer" => "an integer".into(),
        noun => format!("a {noun}"),
    }
}

fn each_entry(
    value: &Value,
    at: &str,
    errors: &mut Errors,
    mut visit: impl FnMut(&str, &Value, &mut Errors),
) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, element)| visit(key, element, errors)),
        _ => expect(false, "map", value, at, errors),
    }
}

/// The Levenshtein distance, with long words cut: names are short.
fn edits(a: &str, b: &str) -> usize {
    const COMPARED_MAX: usize = 48;
    let a: Vec<char> = a.chars().take(COMPARED_MAX).collect();
    let b: Vec<char> = b.chars().take(COMPARED_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
