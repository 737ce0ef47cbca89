//! Paths into a configuration tree, as people write them and as RFC 6901 pointers.
//!
//! People write `pos.replicas`; a key that is not a plain word is quoted in brackets, as in jsonpath:
//! `labels["a.b/c"]`. A path names map keys, and elements of keyed lists by their key; it never counts
//! list positions, because positions shift when somebody else edits the list.

use std::fmt;

use thiserror::Error;

/// The longest path, in bytes as printed.
pub const PATH_BYTES_MAX: usize = 512;

/// The deepest path, in segments.
pub const PATH_DEPTH_MAX: usize = 32;

/// A path of at least one segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<String>);

/// Why text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// The text is empty.
    #[error("the path is empty")]
    Empty,
    /// Two dots in a row, or a dot at an end.
    #[error("empty key at byte {0}; quote it as [\"\"] if it is meant")]
    EmptyKey(usize),
    /// A character that needs quoting or is out of place.
    #[error("unexpected {found:?} at byte {at}; quote unusual keys as [\"a.b/c\"]")]
    Unexpected {
        /// The character.
        found: char,
        /// Where, in bytes.
        at: usize,
    },
    /// A bracket that holds a number.
    #[error("list positions are not paths (byte {0}); name the element of a keyed list by its key")]
    Position(usize),
    /// A bracket or a quote that is never closed.
    #[error("unclosed bracket or quote, opened at byte {0}")]
    Unclosed(usize),
    /// A pointer that does not start with a slash, or holds `~` before anything but 0 and 1.
    #[error("not an RFC 6901 pointer")]
    Pointer,
    /// Longer than [`PATH_BYTES_MAX`] or deeper than [`PATH_DEPTH_MAX`].
    #[error("longer than {PATH_BYTES_MAX} bytes or deeper than {PATH_DEPTH_MAX} keys")]
    TooLong,
}

impl Path {
    /// Makes a path of the given keys; there must be at least one, and no more than the limits allow.
    pub fn new<S: Into<String>>(keys: impl IntoIterator<Item = S>) -> Result<Self, PathError> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() {
            return Err(PathError::Empty);
        }
        let bytes: usize = keys.iter().map(|key| key.len() + 1).sum();
        if keys.len() > PATH_DEPTH_MAX || bytes > PATH_BYTES_MAX + 1 {
            return Err(PathError::TooLong);
        }
        Ok(Self(keys))
    }

    /// Reads `pos.replicas` or `labels["a.b/c"].x`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > 2 * PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let mut keys = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if text[at..].starts_with('[') {
                let (key, next) = parse_bracket(text, at)?;
                keys.push(key);
                at = next;
            } else {
                if !keys.is_empty() {
                    at = expect_dot(text, at)?;
                }
                let end = bare_end(text, at);
                if end == at {
                    return Err(match text[at..].chars().next() {
                        Some(found) if found != '.' => PathError::Unexpected { found, at },
                        _ => PathError::EmptyKey(at),
                    });
                }
                keys.push(text[at..end].to_owned());
                at = end;
            }
        }
        Self::new(keys)
    }

    /// Reads an RFC 6901 pointer such as `/pos/replicas`.
    pub fn from_pointer(pointer: &str) -> Result<Self, PathError> {
        let rest = match pointer.strip_prefix('/') {
            Some(rest) => rest,
            None if pointer.is_empty() => return Err(PathError::Empty),
            None => return Err(PathError::Pointer),
        };
        Self::new(rest.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?)
    }

    /// Prints the RFC 6901 pointer.
    pub fn to_pointer(&self) -> String {
        let mut out = String::new();
        for key in &self.0 {
            push_pointer_key(&mut out, key);
        }
        out
    }

    /// The keys, outermost first.
    pub fn keys(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_keys(self.0.iter().map(String::as_str)))
    }
}

/// Prints keys as [`Path::parse`] reads them.
pub(crate) fn print_keys<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for key in keys {
        push_key(&mut out, key);
    }
    out
}

/// Appends one key to a printed path: `.key`, or `["a.b"]` where the key is not a plain word.
pub(crate) fn push_key(out: &mut String, key: &str) {
    if !key.is_empty() && bare_end(key, 0) == key.len() {
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(key);
        return;
    }
    out.push_str("[\"");
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push_str("\"]");
}

/// Appends one escaped key to an RFC 6901 pointer.
pub(crate) fn push_pointer_key(out: &mut String, key: &str) {
    out.push('/');
    for c in key.chars() {
        match c {
            '~' => out.push_str("~0"),
            '/' => out.push_str("~1"),
            c => out.push(c),
        }
    }
}

fn unescape(token: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return Err(PathError::Pointer),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

fn expect_dot(text: &str, at: usize) -> Result<usize, PathError> {
    match text[at..].chars().next() {
        Some('.') if text[at + 1..].starts_with('[') => Err(PathError::EmptyKey(at + 1)),
        Some('.') => Ok(at + 1),
        Some(found) => Err(PathError::Unexpected { found, at }),
        None => Err(PathError::EmptyKey(at)),
    }
}

/// The end of the plain word that starts at `at`.
fn bare_end(text: &str, at: usize) -> usize {
    text[at..]
        .find(|c: char| matches!(c, '.' | '[' | ']' | '"' | '\'') || c.is_whitespace() || c.is_control())
        .map_or(text.len(), |length| at + length)
}

/// Reads `["key"]` or `['key']` at `open`; returns the key and where the text goes on.
fn parse_bracket(text: &str, open: usize) -> Result<(String, usize), PathError> {
    let mut chars = text[open + 1..].char_indices().map(|(i, c)| (open + 1 + i, c));
    let quote = match chars.next() {
        Some((_, c @ ('"' | '\''))) => c,
        Some((at, c)) if c.is_ascii_digit() => return Err(PathError::Position(at)),
        Some((at, found)) => return Err(PathError::Unexpected { found, at }),
        None => return Err(PathError::Unclosed(open)),
    };
    let mut key = String::new();
    loop {
        match chars.next() {
            Some((_, '\\')) => match chars.next() {
                Some((_, c @ ('"' | '\'' | '\\'))) => key.push(c),
                Some((at, found)) => return Err(PathError::Unexpected { found, at }),
                None => return Err(PathError::Unclosed(open)),
            },
            Some((_, c)) if c == quote => break,
            Some((_, c)) => key.push(c),
            None => return Err(PathError::Unclosed(open)),
        }
    }
    match chars.next() {
        Some((at, ']')) => Ok((key, at + 1)),
        Some((at, found)) => Err(PathError::Unexpected { found, at }),
        None => Err(PathError::Unclosed(open)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_dots_and_quote_keys_with_dots() {
        for (text, pointer) in [
            ("pos.replicas", "/pos/replicas"),
            ("a", "/a"),
            (r#"["a.b/c"]"#, "/a.b~1c"),
            (r#"labels["a.b/c"].x"#, "/labels/a.b~1c/x"),
            ("labels['a.b']", "/labels/a.b"),
            (r#"x["~"][""]"#, "/x/~0/"),
            (r#"x["say \"hi\" \\"]"#, "/x/say \"hi\" \\"),
            ("till-1_a/b.ü", "/till-1_a~1b/ü"),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.to_pointer(), pointer, "{text}");
            assert_eq!(Path::from_pointer(pointer).unwrap(), path);
            assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused_with_the_place() {
        for (text, error) in [
            ("", PathError::Empty),
            (".a", PathError::EmptyKey(0)),
            ("a..b", PathError::EmptyKey(2)),
            ("a.", PathError::EmptyKey(2)),
            ("a[0]", PathError::Position(2)),
            ("a[\"b", PathError::Unclosed(1)),
            ("a[", PathError::Unclosed(1)),
            ("a[\"b\"", PathError::Unclosed(1)),
            ("a b", PathError::Unexpected { found: ' ', at: 1 }),
            ("a]", PathError::Unexpected { found: ']', at: 1 }),
            ("a[b]", PathError::Unexpected { found: 'b', at: 2 }),
        ] {
            assert_eq!(Path::parse(text), Err(error), "{text}");
        }
        assert_eq!(Path::from_pointer("pos"), Err(PathError::Pointer));
        assert_eq!(Path::from_pointer("/a~2"), Err(PathError::Pointer));
        assert_eq!(Path::parse(&"a.".repeat(40)[..79]), Err(PathError::TooLong));
        assert_eq!(Path::parse(&"a".repeat(600)), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn any_keys_survive_both_notations(keys in prop::collection::vec(".{0,6}", 1..6)) {
            let path = Path::new(keys).unwrap();
            prop_assert_eq!(&Path::parse(&path.to_string()).unwrap(), &path);
            prop_assert_eq!(&Path::from_pointer(&path.to_pointer()).unwrap(), &path);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
            }
        }
    }
}
