//! From text to templates and paths. Every error names the character it is about.

use serde_json::{Number, Value};

use super::{Comparison, EXPRESSION_BYTES_MAX, Filter, Node, Operand, Step};

/// Why an expression was not understood. `at` counts characters from 1.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Something else was expected.
    #[error("jsonpath, character {at}: expected {expected}, found {found}")]
    Expected {
        /// Where.
        at: usize,
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// `{range}` and `{end}` do not pair up.
    #[error("jsonpath, character {at}: {why}")]
    Range {
        /// Where.
        at: usize,
        /// Which one has no partner.
        why: &'static str,
    },
    /// The expression is longer, or nests deeper, than anyone writes.
    #[error("jsonpath: more than {max} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// How deep ranges and filters may nest.
const NESTING_MAX: usize = 16;

pub(super) fn template(text: &str) -> Result<Vec<Node>, ParseError> {
    let mut cursor = Cursor::new(text)?;
    // The lowest level is the template; each open range adds one.
    let mut levels: Vec<(usize, Vec<Step>, Vec<Node>)> = vec![(0, Vec::new(), Vec::new())];
    while !cursor.at_end() {
        let literal = cursor.take_while(|c| c != '{');
        if !literal.is_empty() {
            push(&mut levels, Node::Text(literal));
        }
        if !cursor.eat('{') {
            break;
        }
        let start = cursor.position();
        action(&mut cursor, &mut levels, start)?;
    }
    match levels.len() {
        1 => Ok(levels.remove(0).2),
        _ => {
            let at = levels.last().map_or(0, |(at, ..)| *at);
            Err(ParseError::Range { at, why: "this {range} has no {end}" })
        }
    }
}

pub(super) fn relaxed_path(text: &str) -> Result<Vec<Step>, ParseError> {
    let mut cursor = Cursor::new(text.trim())?;
    let braced = cursor.eat('{');
    cursor.skip_spaces();
    let mut steps = Vec::new();
    if cursor.peek().is_some_and(|c| !".[$@}".contains(c)) {
        steps.push(Step::Key(cursor.key()?));
    }
    steps.extend(path(&mut cursor, 0)?);
    cursor.skip_spaces();
    if braced && !cursor.eat('}') {
        return Err(cursor.expected("}"));
    }
    if !cursor.at_end() {
        return Err(cursor.expected("the end of the path"));
    }
    Ok(steps)
}

fn push(levels: &mut [(usize, Vec<Step>, Vec<Node>)], node: Node) {
    levels.last_mut().expect("the template itself is never popped").2.push(node);
}

/// What is between braces; it may hold several paths and texts.
fn action(
    cursor: &mut Cursor,
    levels: &mut Vec<(usize, Vec<Step>, Vec<Node>)>,
    start: usize,
) -> Result<(), ParseError> {
    loop {
        cursor.skip_spaces();
        match cursor.peek() {
            Some('}') => {
                cursor.eat('}');
                return Ok(());
            }
            Some('"' | '\'') => {
                let text = cursor.quoted()?;
                push(levels, Node::Text(text));
            }
            Some('.' | '[' | '$' | '@') => {
                let steps = path(cursor, 0)?;
                push(levels, Node::Path(steps));
            }
            Some(c) if c.is_alphabetic() => match cursor.word().as_str() {
                "range" => {
                    cursor.skip_spaces();
                    if levels.len() > NESTING_MAX {
                        return Err(ParseError::TooMuch { what: "nested ranges", max: NESTING_MAX });
                    }
                    if !matches!(cursor.peek(), Some('.' | '[' | '$' | '@')) {
                        return Err(cursor.expected("a path behind range, as in {range .items[*]}"));
                    }
                    levels.push((start, path(cursor, 0)?, Vec::new()));
                }
                "end" if levels.len() > 1 => {
                    let (_, over, body) = levels.pop().expect("its length was just checked");
                    push(levels, Node::Range { over, body });
                }
                "end" => {
                    return Err(ParseError::Range { at: start, why: "this {end} has no {range}" });
                }
                word => {
                    return Err(ParseError::Expected {
                        at: start,
                        expected: "a path, a quoted text, range or end",
                        found: format!("{word:?}; a path starts with a dot"),
                    });
                }
            },
            Some(_) => return Err(cursor.expected("a path, a quoted text, range or end")),
            None => return Err(cursor.expected("}")),
        }
    }
}

fn path(cursor: &mut Cursor, nesting: usize) -> Result<Vec<Step>, ParseError> {
    let mut steps = Vec::new();
    match cursor.peek() {
        Some('$') => {
            cursor.eat('$');
            steps.push(Step::Root);
        }
        Some('@') => {
            cursor.eat('@');
        }
        _ => {}
    }
    loop {
        match cursor.peek() {
            Some('.') => {
                cursor.eat('.');
                if cursor.eat('.') {
                    steps.push(Step::Descend);
                }
                match cursor.peek() {
                    Some('*') => {
                        cursor.eat('*');
                        steps.push(Step::All);
                    }
                    // `{.}` is the value itself, `.[0]` the same as `[0]`.
                    Some('[' | '}' | ')' | ' ') | None => {}
                    Some(_) => steps.push(Step::Key(cursor.key()?)),
                }
            }
            Some('[') => {
                cursor.eat('[');
                steps.push(bracket(cursor, nesting)?);
                if !cursor.eat(']') {
                    return Err(cursor.expected("]"));
                }
            }
            _ => return Ok(steps),
        }
    }
}

fn bracket(cursor: &mut Cursor, nesting: usize) -> Result<Step, ParseError> {
    cursor.skip_spaces();
    match cursor.peek() {
        Some('*') => {
            cursor.eat('*');
            Ok(Step::All)
        }
        Some('?') => {
            cursor.eat('?');
            filter(cursor, nesting)
        }
        Some('\'' | '"') => {
            let mut keys = vec![cursor.quoted()?];
            while cursor.comma() {
                keys.push(cursor.quoted()?);
            }
            Ok(Step::Keys(keys))
        }
        Some(c) if c == '-' || c == ':' || c.is_ascii_digit() => indices(cursor),
        _ => Err(cursor.expected("an index, a quoted key, * or ?()")),
    }
}

fn indices(cursor: &mut Cursor) -> Result<Step, ParseError> {
    let first = cursor.integer()?;
    if cursor.eat(':') {
        let end = cursor.integer()?;
        let step = if cursor.eat(':') { cursor.integer()? } else { None };
        return match step.unwrap_or(1) {
            step @ 1.. => Ok(Step::Slice { start: first, end, step }),
            _ => Err(cursor.expected("a step of at least 1 before this")),
        };
    }
    let mut list = vec![first.ok_or_else(|| cursor.expected("an index"))?];
    while cursor.comma() {
        list.push(cursor.integer()?.ok_or_else(|| cursor.expected("an index"))?);
    }
    Ok(Step::Indices(list))
}

fn filter(cursor: &mut Cursor, nesting: usize) -> Result<Step, ParseError> {
    if nesting >= NESTING_MAX {
        return Err(ParseError::TooMuch { what: "nested filters", max: NESTING_MAX });
    }
    if !cursor.eat('(') {
        return Err(cursor.expected("( behind ?"));
    }
    let left = operand(cursor, nesting)?;
    cursor.skip_spaces();
    let compare = match cursor.comparison() {
        Some(comparison) => Some((comparison, operand(cursor, nesting)?)),
        None => None,
    };
    cursor.skip_spaces();
    if !cursor.eat(')') {
        return Err(cursor.expected("==, !=, <, <=, >, >= or )"));
    }
    Ok(Step::Filter(Box::new(Filter { left, compare })))
}

fn operand(cursor: &mut Cursor, nesting: usize) -> Result<Operand, ParseError> {
    cursor.skip_spaces();
    match cursor.peek() {
        Some('@' | '$' | '.') => Ok(Operand::Here(path(cursor, nesting + 1)?)),
        Some('"' | '\'') => Ok(Operand::Literal(Value::String(cursor.quoted()?))),
        Some(c) if c == '-' || c.is_ascii_digit() => {
            let start = cursor.position();
            let text = cursor.take_while(|c| c.is_ascii_digit() || "+-.eE".contains(c));
            let integer = text.parse::<i64>().ok().map(Value::from);
            let float = || text.parse().ok().and_then(Number::from_f64).map(Value::Number);
            integer.or_else(float).map(Operand::Literal).ok_or(ParseError::Expected {
                at: start,
                expected: "a number",
                found: format!("{text:?}"),
            })
        }
        Some(c) if c.is_alphabetic() => {
            let start = cursor.position();
            match cursor.word().as_str() {
                "true" => Ok(Operand::Literal(Value::Bool(true))),
                "false" => Ok(Operand::Literal(Value::Bool(false))),
                "null" | "nil" => Ok(Operand::Literal(Value::Null)),
                word => Err(ParseError::Expected {
                    at: start,
                    expected: "@.field, a number, true, false or a quoted text",
                    found: format!("{word:?}; put text in quotes"),
                }),
            }
        }
        _ => Err(cursor.expected("@.field, a number, true, false or a quoted text")),
    }
}

struct Cursor {
    chars: Vec<char>,
    next: usize,
}

impl Cursor {
    fn new(text: &str) -> Result<Self, ParseError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ParseError::TooMuch { what: "bytes", max: EXPRESSION_BYTES_MAX });
        }
        Ok(Self { chars: text.chars().collect(), next: 0 })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn at_end(&self) -> bool {
        self.next >= self.chars.len()
    }

    fn position(&self) -> usize {
        self.next + 1
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) -> String {
        let start = self.next;
        while self.peek().is_some_and(&test) {
            self.next += 1;
        }
        self.chars[start..self.next].iter().collect()
    }

    fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn comma(&mut self) -> bool {
        self.skip_spaces();
        let found = self.eat(',');
        self.skip_spaces();
        found
    }

    fn word(&mut self) -> String {
        self.take_while(char::is_alphanumeric)
    }

    /// A key behind a dot; a backslash keeps the next character, so `a\.b` is the key `a.b`.
    fn key(&mut self) -> Result<String, ParseError> {
        let mut key = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.next += 1;
                key.push(self.peek().ok_or_else(|| self.expected("a character behind the backslash"))?);
            } else if c.is_whitespace() || ".[]{}()=!<>,\"'$@?*:".contains(c) {
                break;
            } else {
                key.push(c);
            }
            self.next += 1;
        }
        if key.is_empty() { Err(self.expected("a key")) } else { Ok(key) }
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let Some(quote @ ('"' | '\'')) = self.peek() else {
            return Err(self.expected("a quoted text"));
        };
        self.next += 1;
        let mut text = String::new();
        loop {
            let c = self.peek().ok_or_else(|| self.expected("the closing quote"))?;
            self.next += 1;
            if c == quote {
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let escaped = self.peek().ok_or_else(|| self.expected("the closing quote"))?;
            self.next += 1;
            text.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
        }
    }

    fn integer(&mut self) -> Result<Option<i64>, ParseError> {
        self.skip_spaces();
        let start = self.position();
        let text = self.take_while(|c| c == '-' || c.is_ascii_digit());
        self.skip_spaces();
        match text.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| ParseError::Expected {
                at: start,
                expected: "an integer",
                found: format!("{text:?}"),
            }),
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let pair = (self.peek()?, self.chars.get(self.next + 1).copied());
        let (found, length) = match pair {
            ('=', Some('=')) => (Comparison::Equal, 2),
            ('!', Some('=')) => (Comparison::NotEqual, 2),
            ('<', Some('=')) => (Comparison::LessOrEqual, 2),
            ('>', Some('=')) => (Comparison::GreaterOrEqual, 2),
            ('<', _) => (Comparison::Less, 1),
            ('>', _) => (Comparison::Greater, 1),
            _ => return None,
        };
        self.next += length;
        Some(found)
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
        ParseError::Expected { at: self.position(), expected, found }
    }
}
