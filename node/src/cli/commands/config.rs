//! `kubeconfig`: how kubectl reaches a node.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::session::{kubeconfig_path, read_yaml};
use crate::cli::yaml::to_yaml;

/// Print the node's kubeconfig, or merge it into one
///
/// It holds the local operator's key: whoever has it may do what the operator may.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless kubeconfig --data-dir hub > hub.kubeconfig
  driftless kubeconfig --data-dir hub -o ~/.kube/config")]
pub struct Kubeconfig {
    /// Merge into this file: entries of the same name are replaced, everything else stays
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Kubeconfig {
    pub(in crate::cli) fn run(self, global: &Global) -> Result<(), Failure> {
        let source = kubeconfig_path(global);
        let config = read_yaml(&source)?;
        let Some(target) = self.output else {
            return print::out(&to_yaml(&config));
        };
        let existing = match target.exists() {
            true => read_yaml(&target)?,
            false => Value::Null,
        };
        let merged = merge(existing, &config).map_err(|why| {
            Failure::Refused(format!("{} is no kubeconfig: {why}. It was not changed.", target.display()))
        })?;
        replace(&target, &to_yaml(&merged))?;
        let context = config["current-context"].as_str().unwrap_or_default();
        print::note(&format!("context {context} is in {}", target.display()));
        Ok(())
    }
}

/// Puts the entries of one kubeconfig into another.
fn merge(mut into: Value, from: &Value) -> Result<Value, &'static str> {
    if into.is_null() {
        into = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
    }
    if !into.is_object() || into["kind"] != "Config" {
        return Err("its kind is not Config");
    }
    for list in ["clusters", "users", "contexts"] {
        if into[list].is_null() {
            into[list] = json!([]);
        }
        let entries = into[list].as_array_mut().ok_or("clusters, users and contexts are lists")?;
        for entry in from[list].as_array().into_iter().flatten() {
            entries.retain(|existing| existing["name"] != entry["name"]);
            entries.push(entry.clone());
        }
    }
    if into["current-context"].as_str().is_none_or(str::is_empty) {
        into["current-context"] = from["current-context"].clone();
    }
    Ok(into)
}

/// Replaces a file whole, readable by its owner alone.
fn replace(target: &Path, text: &str) -> Result<(), Failure> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| Failure::io("write", target.display().to_string(), source);
    std::fs::create_dir_all(directory).map_err(failed)?;
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = directory.join(format!(".{name}.driftless"));
    super::token::write_private(&beside, text)?;
    std::fs::rename(&beside, target).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(name: &str, server: &str) -> Value {
        json!({"kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": server}}],
            "users": [{"name": name, "user": {}}], "contexts": [{"name": name, "context": {}}]})
    }

    #[test]
    fn entries_of_the_same_name_are_replaced_and_others_stay() {
        let mine = config("prod", "https://prod");
        let once = merge(mine, &config("driftless-eu", "https://a")).unwrap();
        let twice = merge(once, &config("driftless-eu", "https://b")).unwrap();
        assert_eq!(twice["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(twice["clusters"][1]["cluster"]["server"], "https://b");
        assert_eq!(twice["current-context"], "prod");
        let fresh = merge(Value::Null, &config("a", "b")).unwrap();
        assert_eq!(fresh["current-context"], "a");
        assert!(merge(json!({"kind": "Pod"}), &fresh).is_err());
        assert!(merge(json!({"kind": "Config", "users": 3}), &fresh).is_err());
    }
}
