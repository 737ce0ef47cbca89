//! A configuration as `KEY=value` lines, for shells and for `EnvironmentFile=` of systemd.
//!
//! | what | becomes |
//! | --- | --- |
//! | site, namespace and hash | `DRIFTLESS_SITE`, `DRIFTLESS_NAMESPACE`, `DRIFTLESS_CONFIG_HASH` |
//! | the value at `pos.replicas` | `CONFIG_POS_REPLICAS` |
//! | version, digest and channel of the app `pos` | `APP_POS_VERSION`, `APP_POS_DIGEST`, `APP_POS_CHANNEL` |
//!
//! Letters become capitals, and whatever is neither an ASCII letter nor a digit becomes `_`. Texts stand as
//! they are, numbers and booleans as in JSON, null as nothing; a list, and an empty map, is one value: its
//! JSON. Every value that could mean something to a shell is in single quotes. The prefix keeps a path such
//! as `path` from replacing a shell's own variables. Where two paths come to one name neither is written,
//! nor is a text with a NUL, which no environment can hold; a comment says so.

use std::collections::BTreeMap;

use serde_json::Value;

/// Writes a configuration as lines, by name.
pub(super) fn to_env(config: &Value) -> String {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut take = |prefix: &str, path: &[&str], value: &Value| {
        let name = variable_name(prefix, path);
        found.entry(name).or_default().push((path.join("."), value_text(value)));
    };
    for (name, key) in [("SITE", "site"), ("NAMESPACE", "namespace"), ("CONFIG_HASH", "configHash")] {
        if let Some(value) = config.get(key) {
            take("DRIFTLESS", &[name], value);
        }
    }
    walk(&config["values"], &mut vec![], &mut |path, value| take("CONFIG", path, value));
    walk(&config["apps"], &mut vec![], &mut |path, value| take("APP", path, value));
    let mut lines = String::new();
    for (name, values) in &found {
        let line = match &values[..] {
            [(_, value)] if !value.contains('\0') => format!("{name}={}\n", quoted(value)),
            [_] => format!("# {name} is left out: its value has a NUL character\n"),
            several => {
                let paths: Vec<String> = several.iter().map(|(path, _)| format!("{path:?}")).collect();
                format!("# {name} is left out: it would stand for {}\n", paths.join(" and "))
            }
        };
        lines.push_str(&line);
    }
    lines
}

/// Visits the leaves of a tree of maps. Trees are as deep as the schema allows, 32 levels.
fn walk<'v>(value: &'v Value, path: &mut Vec<&'v str>, visit: &mut dyn FnMut(&[&str], &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() || path.is_empty() => {
            for (key, value) in map {
                path.push(key);
                walk(value, path, visit);
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        leaf => visit(path, leaf),
    }
}

fn variable_name(prefix: &str, path: &[&str]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let parts = path.iter().map(|part| part.chars().map(plain).collect::<String>());
    std::iter::once(prefix.to_owned()).chain(parts).collect::<Vec<_>>().join("_")
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// As a shell reads it back unchanged.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use serde_json::json;

    use super::*;

    #[test]
    fn paths_become_names_and_what_is_ambiguous_is_left_out() {
        let config = json!({
            "site": "store-17",
            "configHash": "abc",
            "values": {
                "pos": {"replicas": 3, "channel-name": "stable", "on": true, "none": null},
                "net": {"dns": ["10.0.0.2", "10.0.0.3"], "extra": {}},
                "a.b": 1, "a": {"b": 2}, "PATH": "/evil", "nul": "a\u{0}b",
            },
            "apps": {"pos": {"version": "2.3.1", "digest": "sha256:aa", "channel": "stable"}},
        });
        let expected = "\
            APP_POS_CHANNEL=stable\n\
            APP_POS_DIGEST=sha256:aa\n\
            APP_POS_VERSION=2.3.1\n\
            # CONFIG_A_B is left out: it would stand for \"a.b\" and \"a.b\"\n\
            CONFIG_NET_DNS='[\"10.0.0.2\",\"10.0.0.3\"]'\n\
            CONFIG_NET_EXTRA='{}'\n\
            # CONFIG_NUL is left out: its value has a NUL character\n\
            CONFIG_PATH=/evil\n\
            CONFIG_POS_CHANNEL_NAME=stable\n\
            CONFIG_POS_NONE=\n\
            CONFIG_POS_ON=true\n\
            CONFIG_POS_REPLICAS=3\n\
            DRIFTLESS_CONFIG_HASH=abc\n\
            DRIFTLESS_SITE=store-17\n";
        assert_eq!(to_env(&config), expected);
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        for text in
            ["", "plain", "it's", "a b", "$HOME `id` \"x\" \\", "two\nlines", "é", "-n", "~", "*", "#x"]
        {
            let env = to_env(&json!({"values": {"text": text}}));
            let script = format!("{env}printf '%s' \"$CONFIG_TEXT\"");
            let read = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), text, "{env}");
        }
    }
}
