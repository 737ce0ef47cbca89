//! `labelSelector` and `fieldSelector` of list and watch requests.
//!
//! The grammar is that of Kubernetes: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. As there, `!=` and
//! `notin` also match what does not carry the label at all.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most requirements of one selector.
const REQUIREMENTS_MAX: usize = 64;

/// A selector that cannot be read; says which part and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse selector {part:?}: {why}")]
pub(super) struct SelectorError {
    part: String,
    why: &'static str,
}

/// Requirements on labels, all of which must hold. The default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Reads the text of a `labelSelector` parameter.
    pub(super) fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = split_outside_parentheses(text)?;
        if parts.len() > REQUIREMENTS_MAX {
            return Err(fault(text, "more than 64 requirements"));
        }
        let requirements =
            parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(Requirement::parse);
        Ok(Self { requirements: requirements.collect::<Result<_, _>>()? })
    }

    /// Whether it matches everything.
    pub(super) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the labels of this resource satisfy every requirement.
    pub(super) fn matches(&self, resource: &Value) -> bool {
        let labels = resource.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.requirements.iter().all(|requirement| requirement.test.holds(label(&requirement.key)))
    }

    /// Labels that every match must carry, for the replica's label index.
    pub(super) fn equalities(&self) -> BTreeMap<String, String> {
        let equality = |requirement: &Requirement| match &requirement.test {
            Test::In(values) if values.len() == 1 => Some((requirement.key.clone(), values[0].clone())),
            _ => None,
        };
        self.requirements.iter().filter_map(equality).collect()
    }
}

impl Requirement {
    fn parse(part: &str) -> Result<Self, SelectorError> {
        if let Some(key) = part.strip_prefix('!') {
            return Self::new(part, key, Test::DoesNotExist);
        }
        if let Some((left, values)) = part.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
            let (key, operator) = left
                .trim()
                .rsplit_once(char::is_whitespace)
                .ok_or_else(|| fault(part, "expected <key> in (<values>)"))?;
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            let test = match operator {
                "in" => Test::In(values),
                "notin" => Test::NotIn(values),
                _ => return Err(fault(part, "the operator is neither in nor notin")),
            };
            return Self::new(part, key, test);
        }
        // "!=" before "==" before "=": each contains the next.
        if let Some((key, value)) = part.split_once("!=") {
            return Self::equality(part, key, value, Test::NotIn);
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Self::equality(part, key, value, Test::In);
        }
        Self::new(part, part, Test::Exists)
    }

    fn equality(
        part: &str,
        key: &str,
        value: &str,
        test: impl FnOnce(Vec<String>) -> Test,
    ) -> Result<Self, SelectorError> {
        let value = value.trim();
        if value.contains(['=', '!', '(', ')']) {
            return Err(fault(part, "a value holds letters, digits, '-', '_' and '.'"));
        }
        Self::new(part, key, test(vec![value.to_owned()]))
    }

    fn new(part: &str, key: &str, test: Test) -> Result<Self, SelectorError> {
        let key = key.trim();
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        match !key.is_empty() && key.bytes().all(valid) {
            true => Ok(Self { key: key.to_owned(), test }),
            false => Err(fault(part, "the key is no label key")),
        }
    }
}

impl Test {
    fn holds(&self, label: Option<&str>) -> bool {
        match self {
            Self::In(values) => label.is_some_and(|label| values.iter().any(|value| value == label)),
            Self::NotIn(values) => !label.is_some_and(|label| values.iter().any(|value| value == label)),
            Self::Exists => label.is_some(),
            Self::DoesNotExist => label.is_none(),
        }
    }
}

/// Requirements on name and namespace, the only fields that can be selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSelector {
    terms: Vec<(&'static str, bool, String)>,
}

impl FieldSelector {
    /// Reads the text of a `fieldSelector` parameter.
    pub(super) fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let terms = parts.map(|part| {
            let (field, value, equal) = match part.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => part
                    .split_once("==")
                    .or_else(|| part.split_once('='))
                    .map(|(field, value)| (field, value, true))
                    .ok_or_else(|| fault(part, "expected <field>=<value>"))?,
            };
            let pointer = match field {
                "metadata.name" => "/metadata/name",
                "metadata.namespace" => "/metadata/namespace",
                _ => return Err(fault(part, "only metadata.name and metadata.namespace can be selected")),
            };
            Ok((pointer, equal, value.to_owned()))
        });
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    /// Whether name and namespace of this resource satisfy every term.
    pub(super) fn matches(&self, resource: &Value) -> bool {
        self.terms.iter().all(|(pointer, equal, value)| {
            let found = resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (found == value) == *equal
        })
    }

    /// The one name that can match, if the selector says so.
    pub(super) fn name(&self) -> Option<&str> {
        self.terms
            .iter()
            .find(|(pointer, equal, _)| *pointer == "/metadata/name" && *equal)
            .map(|(_, _, name)| name.as_str())
    }
}

fn fault(part: &str, why: &'static str) -> SelectorError {
    SelectorError { part: part.chars().take(80).collect(), why }
}

/// Splits at the commas that are not within parentheses.
fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (index, character) in text.char_indices() {
        match character {
            '(' if inside => return Err(fault(text, "parentheses do not nest")),
            '(' => inside = true,
            ')' if !inside => return Err(fault(text, "a parenthesis is closed that was not opened")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(fault(text, "a parenthesis is not closed"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn store() -> Value {
        json!({"metadata": {"name": "store-17", "namespace": "acme", "labels": {"class": "store", "country": "nl", "driftless.dev/region": "eu"}}})
    }

    #[test]
    fn selectors_are_read_as_in_kubernetes() {
        for (selector, expected) in [
            ("", true),
            ("class=store", true),
            ("class==store,country!=be", true),
            ("class = store", true),
            ("class!=store", false),
            ("country in (nl, be)", true),
            ("country notin (nl,be),class=store", false),
            ("tier notin (gold)", true),
            ("tier!=gold", true),
            ("tier", false),
            ("!tier", true),
            ("driftless.dev/region=eu", true),
            ("class in (store),!tier,country", true),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&store()), expected, "{selector}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_part_that_is_wrong() {
        for selector in ["a in b)", "a in (b", "(a)", "a on (b)", "=b", "a=b=c", "a b", "((", "a in ((b))"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
        let many = vec!["a=b"; 65].join(",");
        assert!(LabelSelector::parse(&many).is_err());
    }

    #[test]
    fn equalities_feed_the_index() {
        let selector = LabelSelector::parse("class=store,country in (nl,be),tier!=gold").unwrap();
        assert_eq!(selector.equalities(), BTreeMap::from([("class".to_owned(), "store".to_owned())]));
    }

    #[test]
    fn fields_are_name_and_namespace() {
        assert!(FieldSelector::parse("metadata.name=store-17").unwrap().matches(&store()));
        assert!(!FieldSelector::parse("metadata.namespace!=acme").unwrap().matches(&store()));
        assert!(FieldSelector::parse("spec.region=eu").is_err());
        assert_eq!(FieldSelector::parse("metadata.name=a").unwrap().name(), Some("a"));
    }
}
