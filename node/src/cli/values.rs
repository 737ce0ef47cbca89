//! Values and changes given as arguments: `pos.replicas=4`, `class=store`, `class-`.
//!
//! A value is read by the rules of manifests ([`super::yaml`]), so `country=no` is refused here as it is
//! there, and `dns=[10.0.0.2, 10.0.0.3]` is a list. Paths stay text; whoever changes a document reads them.

use serde_json::Value;

use super::yaml::{YamlError, parse};

/// Why an argument is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// There is no `=`, or nothing before it. Nothing was changed.
    #[error("{argument:?} is not PATH=VALUE, as in pos.replicas=4")]
    NotAnAssignment {
        /// The argument as written.
        argument: String,
    },
    /// Neither `KEY=VALUE` nor `KEY-`. Nothing was changed.
    #[error("{argument:?} is neither KEY=VALUE, which sets, nor KEY-, which removes")]
    NotALabelChange {
        /// The argument as written.
        argument: String,
    },
    /// The value is not understood. Nothing was changed.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The value holds several documents. Nothing was changed.
    #[error("{text:?} is more than one value; quote it")]
    Several {
        /// The value as written.
        text: String,
    },
}

/// Reads one value; nothing at all is the empty text.
pub fn parse_value(text: &str) -> Result<Value, ValueError> {
    if text.is_empty() {
        return Ok(Value::from(""));
    }
    let mut documents = parse("argument", text.as_bytes())?;
    match documents.len() {
        0 => Ok(Value::Null),
        1 => Ok(documents.remove(0).value),
        _ => Err(ValueError::Several { text: text.to_owned() }),
    }
}

/// Splits `PATH=VALUE`. An `=` within `["…"]` belongs to the path.
pub fn parse_assignment(argument: &str) -> Result<(String, Value), ValueError> {
    let mut quoted = false;
    let mut escaped = false;
    let split = argument.char_indices().find(|(_, c)| {
        let ends = *c == '=' && !quoted;
        quoted ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    match split {
        Some((at, _)) if at > 0 => Ok((argument[..at].to_owned(), parse_value(&argument[at + 1..])?)),
        _ => Err(ValueError::NotAnAssignment { argument: argument.to_owned() }),
    }
}

/// Reads `KEY=VALUE`, which sets a label or annotation, or `KEY-`, which removes it. Values are text.
pub fn parse_label_change(argument: &str) -> Result<(String, Option<String>), ValueError> {
    let change = match argument.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (argument.strip_suffix('-').unwrap_or_default(), None),
    };
    match change {
        ("", _) => Err(ValueError::NotALabelChange { argument: argument.to_owned() }),
        (key, value) => Ok((key.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn assignments_read_values_as_manifests_do() {
        let read = |argument: &str| parse_assignment(argument).unwrap();
        assert_eq!(read("pos.replicas=4"), ("pos.replicas".to_owned(), json!(4)));
        assert_eq!(read("a=b=c").1, json!("b=c"));
        assert_eq!(read("a=").1, json!(""));
        assert_eq!(read("a=null").1, json!(null));
        assert_eq!(read("dns=[10.0.0.2, \"no\"]").1, json!(["10.0.0.2", "no"]));
        assert_eq!(read("net[\"a=b\"]=1"), ("net[\"a=b\"]".to_owned(), json!(1)));
        let refused = |argument: &str| parse_assignment(argument).unwrap_err().to_string();
        assert!(refused("country=no").contains("write \"no\" for the text"));
        assert!(refused("pos.replicas").contains("PATH=VALUE"));
        assert!(refused("=4").contains("PATH=VALUE"));
        assert!(refused("a=1\n---\n2").contains("more than one value"));
    }

    #[test]
    fn label_changes_set_or_remove() {
        let read = |argument: &str| parse_label_change(argument).unwrap();
        assert_eq!(read("class=store"), ("class".to_owned(), Some("store".to_owned())));
        assert_eq!(read("class="), ("class".to_owned(), Some(String::new())));
        assert_eq!(read("class-"), ("class".to_owned(), None));
        for argument in ["class", "=x", "-", ""] {
            assert!(parse_label_change(argument).is_err(), "{argument}");
        }
    }
}
