//! Variables: declarations, where their values come from, and their place in texts.
//!
//! Values come, first found wins, from overrides, the site's spec, the fact that `from` names, and the
//! default. `"${x}"` alone keeps the type of x, inside a text it is formatted, and `$${` is a literal `${`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Failure;
use super::path::Path;
use super::select::Selected;
use crate::canonical::canonical_json;
use crate::schema::FieldError;
use crate::schema::names::type_name;

/// One declaration of a variable, as a profile writes it.
#[derive(Debug, Clone)]
pub(crate) struct Declaration<'a> {
    name: &'a str,
    kind: Kind,
    default: Option<&'a Value>,
    min: Option<f64>,
    max: Option<f64>,
    from: Option<Fact>,
    required: bool,
}

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Integer,
    Number,
    Boolean,
}

/// A fact of the site that a variable can take its value from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    Name,
    Namespace,
    Region,
    Label(String),
    Claim(String),
}

/// A variable that has a value, and where the value came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// The value.
    pub value: Value,
    /// The source: `override/<name>`, `site`, `from site.labels.country` or `default of profile/<name>`.
    pub source: String,
}

/// The variables of one site; declared ones without a value are `None`.
pub(super) type Variables = BTreeMap<String, Option<Variable>>;

impl<'a> Declaration<'a> {
    /// Reads a declaration; `at` is where it stands, for messages.
    pub(crate) fn read(value: &'a Value, at: &str) -> Result<Self, FieldError> {
        let wrong = |key: &str, message: String| FieldError::new(format!("{at}.{key}"), message);
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| wrong("name", "is required".into()))?;
        let kind = match text("type") {
            Some("string") => Kind::String,
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            _ => return Err(wrong("type", "must be string, integer, number or boolean".into())),
        };
        let bound = |key: &str| value.get(key).and_then(Value::as_f64);
        let from = text("from").map(Fact::read).transpose().map_err(|reason| wrong("from", reason))?;
        let required = value.get("required") == Some(&Value::Bool(true));
        let default = value.get("default");
        let declared = Self { name, kind, default, min: bound("min"), max: bound("max"), from, required };
        if matches!(kind, Kind::String | Kind::Boolean) && (declared.min.is_some() || declared.max.is_some())
        {
            return Err(wrong("min", "min and max are for integers and numbers".into()));
        }
        if declared.min.zip(declared.max).is_some_and(|(min, max)| min > max) {
            return Err(wrong("min", "is above max".into()));
        }
        if let Some(default) = default {
            declared.check(default).map_err(|reason| wrong("default", reason))?;
        }
        Ok(declared)
    }

    /// Merges a declaration of a later profile: its default and source win, all bounds apply.
    fn merge(&mut self, later: Self) -> Result<(), String> {
        if later.kind != self.kind {
            return Err(format!("declared as {} and as {}", self.kind.name(), later.kind.name()));
        }
        self.default = later.default.or(self.default);
        self.from = later.from.or(self.from.take());
        self.required |= later.required;
        self.min = [self.min, later.min].into_iter().flatten().reduce(f64::max);
        self.max = [self.max, later.max].into_iter().flatten().reduce(f64::min);
        Ok(())
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match self.kind {
            Kind::String => value.is_string(),
            Kind::Integer => value.is_i64() || value.is_u64(),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
        };
        if !fits {
            return Err(format!(
                "expected a value of type {}, found a {}",
                self.kind.name(),
                type_name(value)
            ));
        }
        let number = value.as_f64();
        if let Some((min, n)) = self.min.zip(number).filter(|(min, n)| n < min) {
            return Err(format!("{n} is below the minimum {min}"));
        }
        if let Some((max, n)) = self.max.zip(number).filter(|(max, n)| n > max) {
            return Err(format!("{n} is above the maximum {max}"));
        }
        Ok(())
    }

    /// Reads a fact, which is text, as the type of the variable.
    fn convert(&self, text: &str) -> Result<Value, String> {
        let wrong = || format!("{text:?} is not a value of type {}", self.kind.name());
        match self.kind {
            Kind::String => Ok(Value::from(text)),
            Kind::Integer => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
            Kind::Number => match text.parse::<i64>() {
                Ok(integer) => Ok(Value::from(integer)),
                Err(_) => {
                    text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from).ok_or_else(wrong)
                }
            },
            Kind::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| wrong()),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Fact {
    fn read(text: &str) -> Result<Self, String> {
        let path = Path::parse(text).map_err(|error| error.to_string())?;
        let keys: Vec<&str> = path.keys().iter().map(String::as_str).collect();
        match keys.as_slice() {
            ["site", "name"] => Ok(Self::Name),
            ["site", "namespace"] => Ok(Self::Namespace),
            ["site", "region"] => Ok(Self::Region),
            ["site", "labels", key] => Ok(Self::Label((*key).to_owned())),
            ["claims", key] => Ok(Self::Claim((*key).to_owned())),
            _ => Err(format!(
                "{text:?} is none of site.name, site.namespace, site.region, site.labels.<key>, claims.<key>"
            )),
        }
    }

    fn look_up<'s>(&self, selected: &'s Selected<'_>) -> Option<&'s str> {
        let filled = |text: &'s str| Some(text).filter(|text| !text.is_empty());
        match self {
            Self::Name => filled(selected.site),
            Self::Namespace => filled(selected.namespace),
            Self::Region => filled(selected.region),
            Self::Label(key) => selected.labels.get(key).map(String::as_str),
            Self::Claim(key) => selected.claims.get(key).map(String::as_str),
        }
    }

    fn print(&self) -> String {
        let keys: &[&str] = match self {
            Self::Name => &["site", "name"],
            Self::Namespace => &["site", "namespace"],
            Self::Region => &["site", "region"],
            Self::Label(key) => &["site", "labels", key],
            Self::Claim(key) => &["claims", key],
        };
        super::path::print_keys(keys.iter().copied())
    }
}

/// Computes the variables of a site. `given` are those of overrides that stand, lowest layer first.
pub(super) fn evaluate(
    selected: &Selected<'_>,
    given: &BTreeMap<&str, (&Value, usize)>,
) -> Result<Variables, Failure> {
    let mut declared: BTreeMap<&str, (Declaration<'_>, usize)> = BTreeMap::new();
    for (index, layer) in selected.layers.iter().enumerate() {
        for (position, value) in layer.variables.iter().enumerate() {
            let fault = |message: String| Failure::new("Variable", message).of(layer.title());
            let declaration = Declaration::read(value, &format!("spec.variables[{position}]"))
                .map_err(|error| fault(error.to_string()))?;
            match declared.get_mut(declaration.name) {
                None => {
                    declared.insert(declaration.name, (declaration, index));
                }
                Some((earlier, owner)) => {
                    let name = declaration.name;
                    if declaration.default.is_some() {
                        *owner = index;
                    }
                    earlier
                        .merge(declaration)
                        .map_err(|reason| fault(format!("variable {name}: {reason}")))?;
                }
            }
        }
    }
    let mut variables = Variables::new();
    for (name, (declaration, owner)) in declared {
        let variable = value_of(&declaration, owner, selected, given)
            .map_err(|reason| Failure::new("Variable", format!("variable {name}: {reason}")))?;
        variables.insert(name.to_owned(), variable);
    }
    Ok(variables)
}

fn value_of(
    declaration: &Declaration<'_>,
    owner: usize,
    selected: &Selected<'_>,
    given: &BTreeMap<&str, (&Value, usize)>,
) -> Result<Option<Variable>, String> {
    let variable = if let Some((value, layer)) = given.get(declaration.name) {
        Variable { value: (*value).clone(), source: selected.layers[*layer].title() }
    } else if let Some(value) = selected.site_vars.and_then(|vars| vars.get(declaration.name)) {
        Variable { value: value.clone(), source: "site".into() }
    } else if let Some((fact, text)) =
        declaration.from.as_ref().and_then(|fact| fact.look_up(selected).map(|text| (fact, text)))
    {
        let source = format!("from {}", fact.print());
        let value = declaration.convert(text).map_err(|reason| format!("{reason} ({source})"))?;
        Variable { value, source }
    } else if let Some(value) = declaration.default {
        Variable { value: value.clone(), source: format!("default of {}", selected.layers[owner].title()) }
    } else if declaration.required {
        let hint = declaration
            .from
            .as_ref()
            .map_or(String::new(), |fact| format!(", and {} is not set", fact.print()));
        return Err(format!("is required and has no value{hint}"));
    } else {
        return Ok(None);
    };
    declaration.check(&variable.value).map_err(|reason| format!("{reason} ({})", variable.source))?;
    Ok(Some(variable))
}

/// Substitutes variables in one text of a profile.
pub(super) fn substitute(text: &str, variables: &Variables) -> Result<Value, String> {
    if !text.contains("${") {
        return Ok(Value::from(text));
    }
    let pieces = pieces(text)?;
    if let [Piece::Variable(name)] = pieces.as_slice() {
        return look_up(name, variables).cloned();
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(name) => match look_up(name, variables)? {
                Value::String(text) => out.push_str(text),
                value => {
                    let bytes = canonical_json(value).map_err(|error| error.to_string())?;
                    let _ = write!(out, "{}", String::from_utf8_lossy(&bytes));
                }
            },
        }
    }
    Ok(Value::String(out))
}

/// Calls `visit` with the name of each variable that a value mentions.
pub(super) fn mentioned<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str)) {
    match value {
        Value::String(text) => {
            for piece in pieces(text).into_iter().flatten() {
                if let Piece::Variable(name) = piece {
                    visit(name);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, visit)),
        Value::Object(map) => map.values().for_each(|item| mentioned(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Prints variables as `{name: {value, source}}`.
pub(super) fn to_json(variables: &Variables) -> Value {
    let entry = |variable: &Variable| {
        let fields = [("value", variable.value.clone()), ("source", Value::from(variable.source.as_str()))];
        Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let entries =
        variables.iter().filter_map(|(name, variable)| Some((name.clone(), entry(variable.as_ref()?))));
    Value::Object(entries.collect::<Map<_, _>>())
}

enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let inner = &rest[at + 2..];
        let end = inner
            .find('}')
            .ok_or_else(|| format!("\"${{\" is never closed in {text:?}; a literal one is $${{"))?;
        pieces.push(Piece::Variable(&inner[..end]));
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn look_up<'v>(name: &str, variables: &'v Variables) -> Result<&'v Value, String> {
    match variables.get(name) {
        Some(Some(variable)) => Ok(&variable.value),
        Some(None) => Err(format!("variable {name} has no value: give it a default, or a value on the site")),
        None => {
            Err(format!("variable {name} is not declared; a literal ${{{name}}} is written $${{{name}}}"))
        }
    }
}
