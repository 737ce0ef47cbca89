//! The forms in which a configuration is written: JSON, YAML, `KEY=value` lines, Helm values, and a Kubernetes
//! ConfigMap.
//!
//! Pure: the same configuration comes out as the same bytes, at every node. A configuration is
//! `{site, namespace, configHash, values, apps}`, as resolution and edges have it; what else it carries is not
//! written. JSON, YAML and lines are what an edge writes as files.

mod env;

use driftless_core::resolve::path::{Path, PathError};
use driftless_core::schema::names::{check_dns_label, check_name};
use serde_json::{Map, Value, json};

use crate::cli::yaml::to_yaml;

/// Largest content of a ConfigMap, in bytes; Kubernetes takes no more.
pub const CONFIG_MAP_BYTES_MAX: usize = 1 << 20;
/// Longest key of a ConfigMap, in bytes.
const KEY_BYTES_MAX: usize = 253;
/// The key of a ConfigMap that is not told otherwise.
const KEY: &str = "config.yaml";

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The values alone, as a chart's values.yaml
    Helm,
    /// A Kubernetes ConfigMap
    #[value(name = "configmap")]
    ConfigMap,
    /// YAML, as an edge's config.yaml
    Yaml,
    /// JSON, as an edge's config.json
    Json,
    /// KEY=value lines, as an edge's config.env
    Env,
}

/// What is to be written, beside the form.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Only the values below this path, as if they were all; no applications then.
    pub path: Option<String>,
    /// The ConfigMap's name; `<site>-config` unless given.
    pub name: Option<String>,
    /// The ConfigMap's namespace in its cluster; whoever applies it decides unless given.
    pub namespace: Option<String>,
    /// The ConfigMap's key; `config.yaml` unless given. Its ending says how the content is written.
    pub key: Option<String>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The path is not one. Nothing was written.
    #[error("path: {0}")]
    Path(#[from] PathError),
    /// Nothing is there. Nothing was written.
    #[error("path: the site has no value at {0}")]
    Unset(String),
    /// Helm's values are a map. Nothing was written.
    #[error("path: the value at {0} is no map, which a chart's values are")]
    NoMap(String),
    /// Kubernetes would refuse the name. Nothing was written.
    #[error("{field}: {why}")]
    Name {
        /// Which name.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Kubernetes would refuse the size. Nothing was written.
    #[error("the configuration is {0} bytes long; a ConfigMap holds at most {CONFIG_MAP_BYTES_MAX}")]
    TooLarge(usize),
}

/// Writes a configuration in a form.
pub fn write(config: &Value, format: Format, shape: &Shape) -> Result<String, FormatError> {
    let shown = match &shape.path {
        None => plain(config),
        Some(path) => below(config, path)?,
    };
    Ok(match format {
        Format::Helm => helm(&shown, shape.path.as_deref())?,
        Format::ConfigMap => config_map(&shown, shape)?,
        Format::Yaml => to_yaml(&shown),
        Format::Json => to_json(&shown),
        Format::Env => env::to_env(&shown),
    })
}

/// A configuration without what is not written.
pub(crate) fn plain(config: &Value) -> Value {
    json!({
        "site": config["site"],
        "namespace": config["namespace"],
        "configHash": config["configHash"].as_str().unwrap_or_default(),
        "values": config["values"],
        "apps": config["apps"],
    })
}

/// Writes a configuration as JSON.
pub(crate) fn to_json(plain: &Value) -> String {
    format!("{plain:#}\n")
}

/// Writes a configuration as `KEY=value` lines.
pub(crate) fn to_env(plain: &Value) -> String {
    env::to_env(plain)
}

/// The configuration as if the values below a path were all.
fn below(config: &Value, path: &str) -> Result<Value, FormatError> {
    let keys = Path::parse(path)?;
    let found = keys.keys().iter().try_fold(&config["values"], |value, key| value.get(key));
    let found = found.ok_or_else(|| FormatError::Unset(path.to_owned()))?;
    let mut shown = plain(config);
    shown["values"] = found.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("apps");
        fields.insert("path".to_owned(), json!(path));
    }
    Ok(shown)
}

/// Helm reads a null as "without the chart's default", which is what a null in a configuration is there for.
fn helm(shown: &Value, path: Option<&str>) -> Result<String, FormatError> {
    if !shown["values"].is_object() {
        return Err(FormatError::NoMap(path.unwrap_or("values").to_owned()));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "# site {}, namespace {}, configuration {}\n",
        text(&shown["site"]),
        text(&shown["namespace"]),
        text(&shown["configHash"]),
    );
    for (name, app) in shown["apps"].as_object().into_iter().flatten() {
        let said = [("version", ""), ("channel", "channel "), ("digest", "")];
        let said = said.iter().filter_map(|(key, word)| Some(format!("{word}{}", app[key].as_str()?)));
        out.push_str(&format!("# app {name}: {}\n", said.collect::<Vec<_>>().join(", ")));
    }
    out.push_str(&to_yaml(&shown["values"]));
    Ok(out)
}

fn config_map(shown: &Value, shape: &Shape) -> Result<String, FormatError> {
    let site = shown["site"].as_str().unwrap_or_default();
    let name = shape.name.clone().unwrap_or_else(|| format!("{site}-config"));
    check_name(&name).map_err(|why| FormatError::Name { field: "name", why })?;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    if let Some(namespace) = &shape.namespace {
        check_dns_label(namespace).map_err(|why| FormatError::Name { field: "namespace", why })?;
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("labels".to_owned(), json!({"app.kubernetes.io/managed-by": "driftless"}));
    metadata.insert(
        "annotations".to_owned(),
        json!({
            "driftless.dev/site": format!("{}/{site}", shown["namespace"].as_str().unwrap_or_default()),
            "driftless.dev/config-hash": shown["configHash"],
        }),
    );
    let key = shape.key.as_deref().unwrap_or(KEY);
    check_key(key)?;
    let content = match key.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => to_json(shown),
        Some("env") => env::to_env(shown),
        _ => to_yaml(shown),
    };
    if content.len() > CONFIG_MAP_BYTES_MAX {
        return Err(FormatError::TooLarge(content.len()));
    }
    Ok(to_yaml(&json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {key: content},
    })))
}

fn check_key(key: &str) -> Result<(), FormatError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_key = !matches!(key, "" | "." | "..") && !key.starts_with("..") && key.chars().all(plain);
    match is_key && key.len() <= KEY_BYTES_MAX {
        true => Ok(()),
        false => Err(FormatError::Name {
            field: "key",
            why: format!("{key:?} is no key of a ConfigMap: letters, digits, '-', '_' and '.', at most 253"),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::yaml::parse;

    fn config() -> Value {
        json!({
            "site": "store-17", "namespace": "acme", "configHash": "ab12", "profiles": [{"name": "not written"}],
            "values": {"pos": {"replicas": 3, "answer": "no", "note": "it's\ntwo lines"}, "none": null},
            "apps": {"pos": {"version": "2.3.1", "digest": "sha256:aa", "channel": "stable"}},
        })
    }

    fn written(format: Format, shape: &Shape) -> String {
        let text = write(&config(), format, shape).unwrap();
        assert_eq!(write(&config(), format, shape).unwrap(), text);
        text
    }

    fn read(yaml: &str) -> Value {
        parse("written", yaml.as_bytes()).unwrap().remove(0).value
    }

    #[test]
    fn every_form_carries_the_same_values() {
        let none = Shape::default();
        let json: Value = serde_json::from_str(&written(Format::Json, &none)).unwrap();
        assert_eq!(json["values"], config()["values"]);
        assert!(json.get("profiles").is_none());
        assert_eq!(read(&written(Format::Yaml, &none)), json);
        let helm = written(Format::Helm, &none);
        assert_eq!(read(&helm), config()["values"]);
        assert!(helm.starts_with("# site store-17, namespace acme, configuration ab12\n"), "{helm}");
        assert!(helm.contains("# app pos: 2.3.1, channel stable, sha256:aa\n"), "{helm}");
        let env = written(Format::Env, &none);
        assert!(env.contains("CONFIG_POS_REPLICAS=3\n") && env.contains("APP_POS_VERSION=2.3.1\n"), "{env}");
        let map = read(&written(Format::ConfigMap, &none));
        assert_eq!(
            (&map["kind"], &map["metadata"]["name"]),
            (&json!("ConfigMap"), &json!("store-17-config"))
        );
        assert_eq!(map["metadata"]["annotations"]["driftless.dev/config-hash"], "ab12");
        assert!(map["metadata"].get("namespace").is_none());
        assert_eq!(read(map["data"]["config.yaml"].as_str().unwrap()), json);
    }

    #[test]
    fn a_part_can_be_written_alone() {
        let part = |path: &str| Shape { path: Some(path.to_owned()), ..Shape::default() };
        assert_eq!(read(&written(Format::Helm, &part("pos"))), config()["values"]["pos"]);
        assert!(written(Format::Env, &part("pos")).contains("CONFIG_REPLICAS=3\n"));
        assert!(!written(Format::Env, &part("pos")).contains("APP_POS"));
        for (path, says) in [("pos.replicas", "no map"), ("pos.absent", "no value"), ("a..b", "empty key")] {
            let error = write(&config(), Format::Helm, &part(path)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_config_map_is_named_as_told_and_only_if_kubernetes_takes_it() {
        let shape = |name: &str, namespace: &str, key: &str| Shape {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            key: Some(key.to_owned()),
            path: None,
        };
        let map = read(&written(Format::ConfigMap, &shape("till", "shop", "till.json")));
        assert_eq!(
            (&map["metadata"]["name"], &map["metadata"]["namespace"]),
            (&json!("till"), &json!("shop"))
        );
        let content: Value = serde_json::from_str(map["data"]["till.json"].as_str().unwrap()).unwrap();
        assert_eq!(content["values"], config()["values"]);
        let map = read(&written(Format::ConfigMap, &shape("till", "shop", "till.env")));
        assert!(map["data"]["till.env"].as_str().unwrap().contains("CONFIG_POS_REPLICAS=3\n"));
        for (wrong, field) in [
            (shape("Till", "shop", "k"), "name"),
            (shape("till", "a b", "k"), "namespace"),
            (shape("till", "shop", "../k"), "key"),
        ] {
            let error = write(&config(), Format::ConfigMap, &wrong).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        let mut large = config();
        large["values"]["text"] = json!("x".repeat(CONFIG_MAP_BYTES_MAX));
        let error = write(&large, Format::ConfigMap, &Shape::default()).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge(_)), "{error}");
    }
}
