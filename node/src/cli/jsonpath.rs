//! kubectl's dialect of JSONPath: templates for `-o jsonpath=`, single paths for columns and sorting.
//!
//! A template is text with actions in braces: `{.items[*].metadata.name}`, `{range .items[*]}…{end}`,
//! `{"\n"}`. A missing key yields nothing, an index out of bounds is an error, values of one action are joined by a
//! space, objects and lists print as JSON. One thing is more forgiving than kubectl: `['a.b']` first looks
//! for the key `a.b` and only then for `b` inside `a`, so that both ways of writing such a key work.

mod eval;
mod parse;

use serde_json::Value;

pub use eval::EvalError;
pub use parse::ParseError;

/// The longest expression in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 8 << 10;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template. Text outside of braces stands for itself.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { nodes: parse::template(text)? })
    }

    /// Evaluates the template; no line end is added.
    pub fn render(&self, value: &Value) -> Result<String, EvalError> {
        eval::render(&self.nodes, value)
    }
}

/// One path, as in `--sort-by` and `custom-columns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    steps: Vec<Step>,
}

impl Path {
    /// Parses a path written as `{.a.b}`, `.a.b` or `a.b`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { steps: parse::relaxed_path(text)? })
    }

    /// Everything that the path reaches, in order; nothing when a key is missing.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<&'a Value>, EvalError> {
        eval::find(&self.steps, value, value)
    }
}

/// Prints a value as an action does: text as it is, objects and lists as JSON.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range { over: Vec<Step>, body: Vec<Node> },
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: back to the root.
    Root,
    /// `.key`.
    Key(String),
    /// `['key']`, one or several.
    Keys(Vec<String>),
    /// `.*` or `[*]`.
    All,
    /// `..`, then whatever follows, at every depth.
    Descend,
    /// `[0]`, `[-1]`, `[0,2]`.
    Indices(Vec<i64>),
    /// `[start:end:step]`.
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    /// `[?(…)]`.
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// Without, the left side must exist.
    compare: Option<(Comparison, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Here(Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[cfg(test)]
mod tests;
