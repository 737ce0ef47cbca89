//! Selectors: which sites a profile, an override or a rollout applies to.
//!
//! Terms are ANDed and read as in Kubernetes. An empty selector is an error, never "everything": that is
//! written `matchAll: true`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::FieldError;
use super::names::type_name;

/// A parsed selector, borrowing from the resource that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector<'a> {
    match_all: bool,
    labels: Vec<Term<'a>>,
    claims: Vec<Term<'a>>,
}

/// One requirement on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term<'a> {
    key: &'a str,
    operator: Operator,
    values: Vec<&'a str>,
    is_label_equality: bool,
}

/// The four set operators of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The key is there with one of the values.
    In,
    /// The key is absent, or has another value.
    NotIn,
    /// The key is there.
    Exists,
    /// The key is absent.
    DoesNotExist,
}

/// The term that kept a selector from matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The term, printed with what was found, as `label class in (store), found "plant"`.
    pub term: String,
}

impl<'a> Selector<'a> {
    /// Reads a selector; `field` is where it stands, for messages.
    pub fn read(value: &'a Value, field: &str) -> Result<Self, FieldError> {
        let Value::Object(map) = value else {
            return Err(wrong_type(field, "map", value));
        };
        let mut selector = Self { match_all: false, labels: Vec::new(), claims: Vec::new() };
        for (key, value) in map {
            let field = format!("{field}.{key}");
            match key.as_str() {
                "matchAll" => {
                    selector.match_all =
                        value.as_bool().ok_or_else(|| wrong_type(&field, "boolean", value))?;
                }
                "matchLabels" => read_equalities(value, &field, &mut selector.labels)?,
                "matchExpressions" => read_terms(value, &field, &mut selector.labels)?,
                "claims" => read_terms(value, &field, &mut selector.claims)?,
                _ => return Err(FieldError::new(field, "unknown field")),
            }
        }
        let terms = selector.labels.len() + selector.claims.len();
        match (selector.match_all, terms) {
            (false, 0) => Err(FieldError::new(
                field,
                "is empty; an empty selector is refused because it is usually a mistake: say matchAll: true",
            )),
            (true, 1..) => {
                Err(FieldError::new(field, "matchAll: true stands alone; remove it or the other terms"))
            }
            _ => Ok(selector),
        }
    }

    /// Matches labels, with no claims known.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> Result<(), Unmatched> {
        self.matches_site(labels, &BTreeMap::new())
    }

    /// Matches labels and the facts that the site reports; the error names the first term that failed.
    pub fn matches_site(
        &self,
        labels: &BTreeMap<String, String>,
        claims: &BTreeMap<String, String>,
    ) -> Result<(), Unmatched> {
        self.labels.iter().try_for_each(|term| term.check(labels, "label"))?;
        self.claims.iter().try_for_each(|term| term.check(claims, "claim"))
    }
}

impl Term<'_> {
    fn check(&self, facts: &BTreeMap<String, String>, noun: &str) -> Result<(), Unmatched> {
        let found = facts.get(self.key).map(String::as_str);
        let holds = match self.operator {
            Operator::In => found.is_some_and(|value| self.values.contains(&value)),
            Operator::NotIn => !found.is_some_and(|value| self.values.contains(&value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
        };
        if holds {
            return Ok(());
        }
        let found = found.map_or("it is not set".to_owned(), |value| format!("found {value:?}"));
        Err(Unmatched { term: format!("{noun} {self}, {found}") })
    }
}

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (self.key, self.values.join(","));
        match self.operator {
            Operator::In if self.is_label_equality => write!(f, "{key}={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key} exists"),
            Operator::DoesNotExist => write!(f, "{key} does not exist"),
        }
    }
}

impl Operator {
    /// The operators as written.
    pub const NAMES: [&'static str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

    fn read(text: &str) -> Option<Self> {
        match text {
            "In" => Some(Self::In),
            "NotIn" => Some(Self::NotIn),
            "Exists" => Some(Self::Exists),
            "DoesNotExist" => Some(Self::DoesNotExist),
            _ => None,
        }
    }
}

fn read_equalities<'a>(value: &'a Value, field: &str, out: &mut Vec<Term<'a>>) -> Result<(), FieldError> {
    let map = value.as_object().ok_or_else(|| wrong_type(field, "map", value))?;
    for (key, value) in map {
        let text = value.as_str().ok_or_else(|| wrong_type(&format!("{field}.{key}"), "string", value))?;
        out.push(Term { key, operator: Operator::In, values: vec![text], is_label_equality: true });
    }
    Ok(())
}

fn read_terms<'a>(value: &'a Value, field: &str, out: &mut Vec<Term<'a>>) -> Result<(), FieldError> {
    let items = value.as_array().ok_or_else(|| wrong_type(field, "list", value))?;
    for (index, item) in items.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let map = item.as_object().ok_or_else(|| wrong_type(&field, "map", item))?;
        out.push(read_term(map, &field)?);
    }
    Ok(())
}

fn read_term<'a>(map: &'a Map<String, Value>, field: &str) -> Result<Term<'a>, FieldError> {
    let text = |name: &str| {
        let field = format!("{field}.{name}");
        match map.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(other) => Err(wrong_type(&field, "string", other)),
            None => Err(FieldError::new(field, "is required")),
        }
    };
    let key = text("key")?;
    let operator = text("operator")?;
    let operator = Operator::read(operator).ok_or_else(|| {
        let names = Operator::NAMES.join(", ");
        FieldError::new(format!("{field}.operator"), format!("{operator:?} is none of {names}"))
    })?;
    let mut values = Vec::new();
    if let Some(value) = map.get("values") {
        let field = format!("{field}.values");
        for (index, item) in
            value.as_array().ok_or_else(|| wrong_type(&field, "list", value))?.iter().enumerate()
        {
            let text = item.as_str();
            values.push(text.ok_or_else(|| wrong_type(&format!("{field}[{index}]"), "string", item))?);
        }
    }
    let takes_values = matches!(operator, Operator::In | Operator::NotIn);
    match (takes_values, values.is_empty()) {
        (true, true) => {
            Err(FieldError::new(format!("{field}.values"), "In and NotIn need at least one value"))
        }
        (false, false) => {
            Err(FieldError::new(format!("{field}.values"), "Exists and DoesNotExist take no values"))
        }
        _ => Ok(Term { key, operator, values, is_label_equality: false }),
    }
}

fn wrong_type(field: &str, expected: &str, found: &Value) -> FieldError {
    FieldError::new(field, format!("expected a {expected}, found a {}", type_name(found)))
}
