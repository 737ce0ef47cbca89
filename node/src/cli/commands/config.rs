//! `kubeconfig`: how kubectl reaches a node.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::api::Right;
use crate::cli::args::Global;
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::session::{kubeconfig_path, read_yaml};
use crate::cli::yaml::to_yaml;
use crate::identity::{NodeIdentity, admin_context, kubeconfig};

/// Print the node's kubeconfig, or one for somebody else, or merge it into a file
///
/// It holds a key: whoever has it may do what its owner may. The node's own is that of an administrator. With
/// --user, a hub makes a key and a certificate for a person or a program, from its data directory and whether it
/// runs or not; it keeps no copy. A viewer reads, an operator also writes resources, an admin also creates tokens,
/// cuts links and revokes keys; operator@acme is one in the namespace acme alone. History names who wrote.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless kubeconfig --data-dir hub > hub.kubeconfig
  driftless kubeconfig --data-dir hub -o ~/.kube/config
  driftless kubeconfig --data-dir hub --user mia --role operator@acme --role viewer > mia.kubeconfig")]
pub struct Kubeconfig {
    /// Merge into this file: entries of the same name are replaced, everything else stays
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Make one for this person or program, at a hub
    #[arg(long, value_name = "NAME", requires = "roles")]
    pub user: Option<String>,
    /// What they may do: viewer, operator or admin, or ROLE@NAMESPACE; may be repeated
    #[arg(long = "role", value_name = "ROLE", requires = "user")]
    pub roles: Vec<String>,
}

impl Kubeconfig {
    pub(in crate::cli) fn run(self, global: &Global) -> Result<(), Failure> {
        let source = kubeconfig_path(global);
        let config = match &self.user {
            Some(user) => of_user(global, user, &self.roles, &read_yaml(&source)?)?,
            None => read_yaml(&source)?,
        };
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

/// Has the hub whose data directory this is issue a credential, for the address of its own kubeconfig.
fn of_user(global: &Global, user: &str, roles: &[String], own: &Value) -> Result<Value, Failure> {
    let known =
        |role: &&String| Right::of_role(role.split_once('@').map_or(role, |(name, _)| name)).is_none();
    if let Some(unknown) = roles.iter().find(known) {
        return Err(Failure::Usage(format!("--role: {unknown:?} is none of viewer, operator and admin")));
    }
    let dir = global.data_dir.as_deref().ok_or_else(|| {
        Failure::Usage("--user needs the data directory of a hub: --data-dir DIR".to_owned())
    })?;
    let node = NodeIdentity::load(dir).map_err(|error| Failure::Refused(error.to_string()))?;
    let credential = node.issue_operator(user, roles, now_ms() / 1_000);
    let credential = credential.map_err(|error| Failure::Refused(error.to_string()))?;
    let server = own["clusters"][0]["cluster"]["server"].as_str().unwrap_or_default();
    Ok(kubeconfig(&format!("{}-{user}", admin_context(&node)), &node, &credential, server))
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
