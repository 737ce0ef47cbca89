//! A document's YAML line by line, each line with the place that it shows.

use serde_json::{Map, Value, json};

use super::emit::{ordered, to_yaml};

/// One line of YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The RFC 6901 pointer of what it shows; for a list, that of the whole list.
    pub pointer: String,
    /// Whether it begins a mapping whose keys follow.
    pub opens: bool,
    /// The text, without its line end.
    pub text: String,
}

/// The lines of [`to_yaml`] of a mapping.
pub fn lines(root: &Map<String, Value>) -> Vec<Line> {
    let mut lines = Vec::new();
    take(&mut lines, root, "", 0);
    lines
}

fn take(lines: &mut Vec<Line>, map: &Map<String, Value>, above: &str, indent: usize) {
    for (key, value) in ordered(map) {
        let pointer = format!("{above}/{}", key.replace('~', "~0").replace('/', "~1"));
        let inner = value.as_object().filter(|inner| !inner.is_empty());
        let mut push = |text: &str, opens: bool| {
            let text = if text.is_empty() { String::new() } else { format!("{:indent$}{text}", "") };
            lines.push(Line { pointer: pointer.clone(), opens, text });
        };
        match inner {
            None => to_yaml(&json!({key: value})).lines().for_each(|text| push(text, false)),
            Some(inner) => {
                // Written as it is before something that has no lines of its own.
                let opening = to_yaml(&json!({key: {}}));
                let opening = opening.trim_end().strip_suffix(" {}").unwrap_or_default();
                opening.lines().for_each(|text| push(text, true));
                take(lines, inner, &pointer, indent + 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_document() {
        let document = json!({
            "kind": "Profile", "apiVersion": "driftless.dev/v1",
            "metadata": {"name": "base", "labels": {"a.b/c": "no"}},
            "spec": {
                "text": "first\n\nthird\n", "empty": {}, "none": [], "users": [{"name": "ops", "roles": ["a"]}, 3],
                "deep": {"on": {"k: v": null}},
            },
        });
        let lines = lines(document.as_object().unwrap());
        let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
        assert_eq!(text, to_yaml(&document));
        let of = |text: &str| {
            let line = lines.iter().find(|line| line.text.trim() == text).unwrap();
            (line.pointer.as_str(), line.opens)
        };
        assert_eq!(of("metadata:"), ("/metadata", true));
        assert_eq!(of("a.b/c: \"no\""), ("/metadata/labels/a.b~1c", false));
        assert_eq!(of("- name: ops"), ("/spec/users", false));
        assert_eq!(of("third"), ("/spec/text", false));
    }
}
