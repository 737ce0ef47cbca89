//! Paths with queries, encoded.

use std::fmt::Write as _;

/// A path that grows by segments, then by parameters.
#[derive(Debug, Clone)]
pub(super) struct Query {
    text: String,
    has_parameter: bool,
}

impl Query {
    /// Starts with a path that needs no encoding.
    pub(super) fn new(path: &str) -> Self {
        debug_assert!(path.starts_with('/') && !path.contains('?'));
        Self { text: path.to_owned(), has_parameter: false }
    }

    /// Appends a segment.
    pub(super) fn segment(mut self, segment: &str) -> Self {
        debug_assert!(!self.has_parameter);
        self.text.push('/');
        encode(&mut self.text, segment);
        self
    }

    /// Appends a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.has_parameter { '&' } else { '?' });
        self.has_parameter = true;
        encode(&mut self.text, name);
        self.text.push('=');
        encode(&mut self.text, value);
        self
    }

    /// Appends a parameter if it has a value.
    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Path and query.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => {
                write!(out, "%{other:02X}").expect("a String takes everything");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_place() {
        let query = Query::new("/apis").segment("a/b").with("x&y", "1=2 é").with_some("none", None);
        assert_eq!(query.as_str(), "/apis/a%2Fb?x%26y=1%3D2%20%C3%A9");
    }
}
