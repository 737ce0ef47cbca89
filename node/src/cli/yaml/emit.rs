//! Values to YAML that every reader, of YAML 1.1 or 1.2, reads back as the same values.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::scalar;

/// Writes one document in block style, with a line end at its end.
///
/// Keys are sorted, but for an object with `apiVersion` and `kind` its first keys are apiVersion, kind, metadata,
/// spec and status. A string is quoted whenever some reader could take it for something else; text of
/// several lines becomes a literal block where that keeps every character.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0, false),
        // At the root a block's text would stand at the left edge, where `---` is a marker.
        Value::String(text) => quoted_if_needed(&mut out, text),
        other => inline(&mut out, other, 0),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// The keys of an object in the order in which kubectl's users read it.
pub(super) fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let resource = map.contains_key("apiVersion") && map.contains_key("kind");
    let rank = |key: &str| match (resource, key) {
        (true, "apiVersion") => 0,
        (true, "kind") => 1,
        (true, "metadata") => 2,
        (true, "spec") => 3,
        (true, "status") => 4,
        _ => 5,
    };
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    entries
}

/// `started`: the first key continues the line of a `- `.
fn mapping(out: &mut String, map: &Map<String, Value>, indent: usize, mut started: bool) {
    for (key, value) in ordered(map) {
        if !started {
            spaces(out, indent);
        }
        started = false;
        // A key that is on one line with its colon may have 1,024 characters.
        let long = key.chars().count() > IMPLICIT_KEY_CHARS_MAX;
        if long {
            out.push_str("? ");
        }
        quoted_if_needed(out, key);
        if long {
            out.push('\n');
            spaces(out, indent);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, indent, false);
            }
            scalar => {
                out.push(' ');
                inline(out, scalar, indent + 2);
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize, mut started: bool) {
    for item in items {
        if !started {
            spaces(out, indent);
        }
        started = false;
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2, true),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2, true),
            scalar => inline(out, scalar, indent + 2),
        }
    }
}

/// A scalar or an empty collection, to the end of its line.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) if number.is_f64() => out.push_str(&float(&number.to_string())),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) if fits_block(text) => return block(out, text, indent),
        Value::String(text) => quoted_if_needed(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

/// YAML 1.1 wants both a point and a signed exponent before it believes in a float.
fn float(shortest: &str) -> String {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, ""));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    match exponent {
        "" => format!("{mantissa}{point}"),
        signed if signed.starts_with(['-', '+']) => format!("{mantissa}{point}e{signed}"),
        bare => format!("{mantissa}{point}e+{bare}"),
    }
}

/// Several lines, at most one line end behind them, and no character that a block would lose.
fn fits_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with(['\n', ' ', '\t'])
        && text.chars().all(|c| matches!(c, '\n' | '\t') || is_printable(c))
        && !body.lines().last().is_some_and(|line| line.trim().is_empty())
}

fn block(out: &mut String, text: &str, indent: usize) {
    out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn quoted_if_needed(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xffff => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string")
            }
            c => write!(out, "\\U{:08x}", u32::from(c)).expect("writing to a string"),
        }
    }
    out.push('"');
}

/// Deliberately narrow: what is not obviously a word or a path is quoted.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " -_./@+=()$:;~^".contains(c))
        && !scalar::misreadable(text)
}

/// What YAML allows unescaped, without the line ends of YAML 1.1 and the byte order mark.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

const IMPLICIT_KEY_CHARS_MAX: usize = 500;
