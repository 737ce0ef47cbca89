//! Which node a command talks to, as whom, and in which namespace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::Global;
use super::client::{Answer, Ask, Client};
use super::failure::Failure;
use super::query::Query;
use super::yaml;
use crate::identity::{ADMIN_KUBECONFIG, ClientConfig, parse_kubeconfig};

/// A node to talk to.
pub(super) struct Session {
    /// The node.
    pub(super) client: Client,
    /// The namespace of what names none.
    pub(super) namespace: String,
}

impl Session {
    /// Opens the session that flags and environment ask for; no connection is made yet.
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let mut config = read_config(global)?;
        if let Some(server) = &global.server {
            config.server.clone_from(server);
        }
        let namespace = global.namespace.clone().unwrap_or_else(|| config.namespace.clone());
        Ok(Self { client: Client::new(&config)?, namespace })
    }

    /// Another node, with the same credentials.
    pub(super) fn open_at(global: &Global, server: &str) -> Result<Self, Failure> {
        let global = Global { server: Some(server.to_owned()), ..global.clone() };
        Self::open(&global)
    }

    pub(super) async fn get(&self, path: &Query) -> Result<Value, Failure> {
        Ok(self.client.json(Ask::get(path.as_str())).await?)
    }

    pub(super) async fn post(&self, path: &Query, body: &Value) -> Result<Value, Failure> {
        Ok(self.client.json(Ask::send(hyper::Method::POST, path.as_str(), body)).await?)
    }

    pub(super) async fn put(&self, path: &Query, body: &Value) -> Result<Value, Failure> {
        Ok(self.client.json(Ask::send(hyper::Method::PUT, path.as_str(), body)).await?)
    }

    pub(super) async fn delete(&self, path: &Query) -> Result<Value, Failure> {
        Ok(self.client.json(Ask::delete(path.as_str())).await?)
    }

    pub(super) async fn merge_patch(&self, path: &Query, patch: &Value) -> Result<Value, Failure> {
        let media_type = "application/merge-patch+json";
        Ok(self.client.json(Ask::send_as(hyper::Method::PATCH, path.as_str(), media_type, patch)).await?)
    }

    pub(super) async fn json_patch(&self, path: &Query, patch: &Value) -> Result<Value, Failure> {
        let media_type = "application/json-patch+json";
        Ok(self.client.json(Ask::send_as(hyper::Method::PATCH, path.as_str(), media_type, patch)).await?)
    }

    pub(super) async fn answer(&self, path: &Query) -> Result<Answer, Failure> {
        Ok(self.client.answer(Ask::get(path.as_str())).await?)
    }

    /// What is there, or `None`.
    pub(super) async fn find(&self, path: &Query) -> Result<Option<Value>, Failure> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// The data directory that a command works on when none is named.
pub(super) fn data_dir(global: &Global) -> PathBuf {
    match &global.data_dir {
        Some(dir) => dir.clone(),
        None => match std::env::var_os("XDG_STATE_HOME").filter(|home| !home.is_empty()) {
            Some(home) => Path::new(&home).join("driftless"),
            None => PathBuf::from("/var/lib/driftless"),
        },
    }
}

/// The kubeconfig that flags and environment name: `--kubeconfig`, or the one of a data directory.
pub(super) fn kubeconfig_path(global: &Global) -> PathBuf {
    match &global.kubeconfig {
        Some(path) => path.clone(),
        None => data_dir(global).join(ADMIN_KUBECONFIG),
    }
}

/// Reads a kubeconfig, which is YAML as people write it.
pub(super) fn read_yaml(path: &Path) -> Result<Value, Failure> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| Failure::io("read", shown.clone(), source))?;
    let mut found = Value::Null;
    yaml::each_document(&shown, &bytes, yaml::Mode::Lenient, &mut |document| found = document.value)?;
    Ok(found)
}

fn read_config(global: &Global) -> Result<ClientConfig, Failure> {
    let path = kubeconfig_path(global);
    if global.kubeconfig.is_none() && !path.exists() {
        let dir = path.parent().unwrap_or(Path::new("."));
        return Err(Failure::Refused(format!(
            "no node to talk to: {} does not exist. Start a node there (`driftless hub --data-dir {dir}`), or name one with \
             --data-dir DIR, --kubeconfig FILE, DRIFTLESS_DATA_DIR or DRIFTLESS_KUBECONFIG",
            path.display(),
            dir = dir.display(),
        )));
    }
    let config = read_yaml(&path)?;
    Ok(parse_kubeconfig(&config, path.parent().unwrap_or(Path::new("")), global.context.as_deref())?)
}
