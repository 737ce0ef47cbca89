//! What an unquoted scalar means, and which ones readers disagree about.

use serde_json::{Number, Value};

use super::Mode;

/// The reading of one unquoted scalar.
#[derive(Debug, PartialEq)]
pub(super) enum Plain {
    /// All readers agree.
    Value(Value),
    /// Readers disagree; how, and what else could be written, as the end of a sentence.
    Ambiguous(&'static str, &'static str),
    /// A number that cannot be kept, and why.
    Unkept(&'static str),
}

/// Reads an unquoted scalar by the core schema of YAML 1.2.
pub(super) fn resolve(text: &str, mode: Mode) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Value(Value::Null),
        "true" | "True" | "TRUE" => return Plain::Value(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Plain::Value(Value::Bool(false)),
        _ => {}
    }
    if mode == Mode::Lenient {
        return Plain::Value(match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::from(text),
        });
    }
    if let Some((readings, other)) = ambiguous(text) {
        return Plain::Ambiguous(readings, other);
    }
    number(text).unwrap_or_else(|| Plain::Value(Value::from(text)))
}

/// Whether an unquoted `text` is anything but the text itself to some reader, of YAML 1.1 or 1.2.
pub(super) fn misreadable(text: &str) -> bool {
    let numeric_start = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    numeric_start || !matches!(resolve(text, Mode::Strict), Plain::Value(Value::String(_)))
}

fn ambiguous(text: &str) -> Option<(&'static str, &'static str)> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => {
            return Some(("as true by YAML 1.1 and as text by YAML 1.2", ", true for the truth value"));
        }
        "no" | "off" | "n" => {
            return Some(("as false by YAML 1.1 and as text by YAML 1.2", ", false for the truth value"));
        }
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let octal = digits.strip_prefix('0').is_some_and(|rest| {
        let rest = rest.strip_prefix(['o', 'O']).unwrap_or(rest);
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
    });
    if octal {
        return Some(("as octal by some and as decimal or text by other readers", OR_DECIMAL));
    }
    let binary = digits
        .strip_prefix("0b")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b"01_".contains(&b)));
    let grouped = digits.contains('_')
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit() || b"_.xX+-".contains(&byte));
    (binary || grouped).then_some(("as a number by YAML 1.1 and as text by YAML 1.2", OR_DECIMAL))
}

fn number(text: &str) -> Option<Plain> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x").filter(|hex| is_all(hex, u8::is_ascii_hexdigit)) {
        // A sign before 0x is text in YAML 1.2 and a number in 1.1; nobody means the text.
        if digits.len() != text.len() {
            return Some(Plain::Ambiguous("as a number by YAML 1.1 and as text by YAML 1.2", OR_DECIMAL));
        }
        return Some(match u64::from_str_radix(hex, 16) {
            Ok(number) => Plain::Value(Value::from(number)),
            Err(_) => Plain::Unkept(OUTSIDE),
        });
    }
    if is_all(digits, u8::is_ascii_digit) {
        return Some(match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(number), _) => Plain::Value(Value::from(number)),
            (_, Ok(number)) => Plain::Value(Value::from(number)),
            _ => Plain::Unkept(OUTSIDE),
        });
    }
    if matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return Some(Plain::Unkept("has no form in JSON"));
    }
    if !is_float(digits) {
        return None;
    }
    Some(match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Plain::Value(Value::Number(number)),
        None => Plain::Unkept("is too large for a floating-point number"),
    })
}

/// `\.[0-9]+ | [0-9]+(\.[0-9]*)?`, then an optional exponent; the sign is already gone.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let exponent_ok =
        exponent.is_none_or(|text| is_all(text.strip_prefix(['+', '-']).unwrap_or(text), u8::is_ascii_digit));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    exponent_ok && only_digits(whole) && only_digits(fraction) && (!whole.is_empty() || !fraction.is_empty())
}

fn is_all(text: &str, test: fn(&u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|byte| test(&byte))
}

const OUTSIDE: &str = "is outside of 64 bits";
const OR_DECIMAL: &str = ", or a decimal number without leading zeros or underscores";
