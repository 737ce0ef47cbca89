//! Walking values. Nothing is copied until it is printed.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Filter, Node, Operand, Step, text_of};

/// How many values one expression may reach, so that `..*` chains end.
const REACHED_MAX: usize = 1_000_000;

/// Why an expression could not be evaluated. Nothing was printed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// An index outside of its list.
    #[error("jsonpath: index {index} is out of bounds, the list has {length} items")]
    OutOfBounds {
        /// The index as written.
        index: i64,
        /// How long the list is.
        length: usize,
    },
    /// An index into something that is no list.
    #[error("jsonpath: an index needs a list, this is {found}")]
    NotAList {
        /// What it is instead.
        found: &'static str,
    },
    /// The expression reaches more values than anyone can read.
    #[error("jsonpath: the expression reaches more than {REACHED_MAX} values; narrow it down")]
    TooMuch,
}

pub(super) fn render(nodes: &[Node], root: &Value) -> Result<String, EvalError> {
    let mut out = String::new();
    render_at(nodes, root, root, &mut out)?;
    Ok(out)
}

fn render_at(nodes: &[Node], root: &Value, here: &Value, out: &mut String) -> Result<(), EvalError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                for (at, found) in find(steps, root, here)?.into_iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    out.push_str(&text_of(found));
                }
            }
            Node::Range { over, body } => {
                for item in find(over, root, here)? {
                    render_at(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn find<'a>(
    steps: &[Step],
    root: &'a Value,
    here: &'a Value,
) -> Result<Vec<&'a Value>, EvalError> {
    let mut reached = vec![here];
    for step in steps {
        let mut next = Vec::new();
        for value in reached {
            walk(step, root, value, &mut next)?;
            if next.len() > REACHED_MAX {
                return Err(EvalError::TooMuch);
            }
        }
        reached = next;
    }
    Ok(reached)
}

fn walk<'a>(
    step: &Step,
    root: &'a Value,
    value: &'a Value,
    next: &mut Vec<&'a Value>,
) -> Result<(), EvalError> {
    match step {
        Step::Root => next.push(root),
        Step::Key(key) => next.extend(value.get(key)),
        Step::Keys(keys) => next.extend(keys.iter().filter_map(|key| quoted_key(value, key))),
        Step::All => match value {
            Value::Array(items) => next.extend(items),
            Value::Object(map) => next.extend(map.values()),
            _ => {}
        },
        Step::Descend => descend(value, next)?,
        Step::Indices(indices) => {
            if let Some(items) = list(value)? {
                for index in indices {
                    let at = usize::try_from(resolve(*index, items.len())).ok();
                    let item = at.and_then(|at| items.get(at));
                    next.push(item.ok_or(EvalError::OutOfBounds { index: *index, length: items.len() })?);
                }
            }
        }
        Step::Slice { start, end, step } => {
            if let Some(items) = list(value)? {
                let bound = |at: i64| usize::try_from(resolve(at, items.len())).unwrap_or(0).min(items.len());
                let (start, end) = (start.map_or(0, bound), end.map_or(items.len(), bound));
                let step = usize::try_from(*step).unwrap_or(usize::MAX);
                next.extend(items[start..end.max(start)].iter().step_by(step));
            }
        }
        Step::Filter(filter) => {
            if let Value::Array(items) = value {
                for item in items {
                    if matches(filter, root, item)? {
                        next.push(item);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The key as written, or else the way through its dots.
fn quoted_key<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).or_else(|| key.split('.').try_fold(value, |value, part| value.get(part)))
}

fn descend<'a>(value: &'a Value, next: &mut Vec<&'a Value>) -> Result<(), EvalError> {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        next.push(value);
        if next.len() > REACHED_MAX {
            return Err(EvalError::TooMuch);
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().rev()),
            Value::Object(map) => {
                let start = waiting.len();
                waiting.extend(map.values());
                waiting[start..].reverse();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Null stands for a list that is not there.
fn list(value: &Value) -> Result<Option<&Vec<Value>>, EvalError> {
    let found = match value {
        Value::Array(items) => return Ok(Some(items)),
        Value::Null => return Ok(None),
        Value::Object(_) => "an object",
        Value::String(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a truth value",
    };
    Err(EvalError::NotAList { found })
}

fn resolve(index: i64, length: usize) -> i64 {
    if index < 0 { index.saturating_add(i64::try_from(length).unwrap_or(i64::MAX)) } else { index }
}

fn matches(filter: &Filter, root: &Value, item: &Value) -> Result<bool, EvalError> {
    let left = operand(&filter.left, root, item)?;
    let Some((comparison, right)) = &filter.compare else {
        return Ok(!left.is_empty());
    };
    let right = operand(right, root, item)?;
    Ok(match (left.first(), right.first()) {
        (Some(left), Some(right)) => holds(*comparison, left, right),
        // Two things of which one is missing are different, and nothing else.
        (None, Some(_)) | (Some(_), None) => *comparison == Comparison::NotEqual,
        (None, None) => false,
    })
}

fn operand<'a>(operand: &'a Operand, root: &'a Value, item: &'a Value) -> Result<Vec<&'a Value>, EvalError> {
    match operand {
        Operand::Literal(value) => Ok(vec![value]),
        Operand::Here(steps) => find(steps, root, item),
    }
}

fn holds(comparison: Comparison, left: &Value, right: &Value) -> bool {
    let order = compare(left, right);
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal) || left == right,
        Comparison::NotEqual => order != Some(Ordering::Equal) && left != right,
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64().partial_cmp(&right.as_f64()),
        },
        _ => None,
    }
}
