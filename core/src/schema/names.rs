//! Rules for names, namespaces and labels, as Kubernetes has them.
//!
//! The name of a document alone decides its scope: a site's name has no dot, and what belongs to a site
//! is called `<site>.<name>`.

use serde_json::Value;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 253;

/// The longest label of a name (the part between dots), label name and label value, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;

/// Checks an RFC 1123 label: lowercase letters, digits and inner dashes, at most 63 bytes.
pub fn check_dns_label(text: &str) -> Result<(), String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if *first != b'-' && *last != b'-' => {}
        (None, _) | (_, None) => return Err("must not be empty".into()),
        _ => return Err(format!("{text:?} must start and end with a letter or digit")),
    }
    if bytes.len() > LABEL_BYTES_MAX {
        return Err(format!("{} bytes long; a label has at most {LABEL_BYTES_MAX}", bytes.len()));
    }
    if !bytes.iter().all(|b| inner(*b)) {
        return Err(format!("{text:?} must consist of lowercase letters, digits and '-' (RFC 1123)"));
    }
    Ok(())
}

/// Checks a name: RFC 1123 labels joined by dots, at most 253 bytes.
pub fn check_name(text: &str) -> Result<(), String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("{} bytes long; a name has at most {NAME_BYTES_MAX}", text.len()));
    }
    text.split('.').try_for_each(check_dns_label)
}

/// Checks the name of a site: one RFC 1123 label, without a dot.
pub fn check_site_name(text: &str) -> Result<(), String> {
    if text.contains('.') {
        return Err("the name of a site has no dot; `<site>.<name>` names what belongs to a site".into());
    }
    check_dns_label(text)
}

/// Checks the name of something that belongs to a site or an app, `<owner>.<name>`.
pub fn check_owned_name(text: &str, owner: &str) -> Result<(), String> {
    if !text.contains('.') {
        return Err(format!("must be `<{owner}>.<name>`"));
    }
    check_name(text)
}

/// Splits `<owner>.<name>` at the first dot; `None` for a name without a dot.
pub fn owner_of(name: &str) -> Option<(&str, &str)> {
    name.split_once('.')
}

/// Checks a label key: `[prefix/]name`, the prefix a DNS name, the name at most 63 bytes.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            check_name(prefix).map_err(|reason| format!("prefix of label key {key:?}: {reason}"))?;
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err(format!("label key {key:?} has no name"));
    }
    check_label_text(name).map_err(|reason| format!("label key {key:?} {reason}"))
}

/// Checks a label value: empty, or at most 63 bytes of letters, digits, '-', '_' and '.', the ends
/// alphanumeric.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    check_label_text(value).map_err(|reason| format!("label value {value:?} {reason}"))
}

/// Names the JSON type of a value, as error messages print it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

fn check_label_text(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    if bytes.len() > LABEL_BYTES_MAX {
        return Err(format!("is {} bytes long, the limit is {LABEL_BYTES_MAX}", bytes.len()));
    }
    let ends = [bytes.first(), bytes.last()];
    if !ends.iter().flatten().all(|b| b.is_ascii_alphanumeric()) {
        return Err("must start and end with a letter or digit".into());
    }
    if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("must consist of letters, digits, '-', '_' and '.'".into());
    }
    Ok(())
}
