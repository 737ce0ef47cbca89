//! Kubeconfigs: the one that a data directory holds for its local operator, and reading any.
//!
//! Written as JSON, which is YAML that kubectl reads, and read as YAML, which `kubectl config` writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Credential, NodeIdentity, Role, files, pem};
use crate::cli::yaml::{self, YamlError};

/// The name of a data directory's own kubeconfig.
pub const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";
/// Largest kubeconfig, in bytes.
const KUBECONFIG_BYTES_MAX: u64 = 4 * 1_024 * 1_024;
/// The namespace of a context that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// How to reach an API, from one context of a kubeconfig.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The API's URL.
    pub server: String,
    /// The certificates to trust, in PEM.
    pub ca_pem: String,
    /// The client's certificates (leaf first), in PEM.
    pub client_cert_pem: Option<String>,
    /// The client's private key, in PEM.
    pub client_key_pem: Option<String>,
    /// The client's bearer token.
    pub token: Option<String>,
    /// The namespace to work in.
    pub namespace: String,
}

/// Why a kubeconfig could not be written or read. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file, or one that it refers to, cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Larger than any kubeconfig.
    #[error("{} has {bytes} bytes, at most {KUBECONFIG_BYTES_MAX} are read", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Neither YAML nor JSON.
    #[error("kubeconfig cannot be read")]
    Syntax(#[from] YamlError),
    /// Not one document.
    #[error("{} has {documents} YAML documents, a kubeconfig is one", path.display())]
    Documents {
        /// Which.
        path: PathBuf,
        /// How many.
        documents: usize,
    },
    /// No context was asked for, and the file has no current one.
    #[error("kubeconfig has no current context: name one with --context")]
    NoContext,
    /// Something that the context refers to is not there.
    #[error("kubeconfig has no {section} {name:?}")]
    Absent {
        /// `context`, `cluster` or `user`.
        section: &'static str,
        /// Its name.
        name: String,
    },
    /// A value is missing or not what it should be.
    #[error("kubeconfig: {section} {name:?}: {key}: {problem}")]
    Value {
        /// `context`, `cluster` or `user`.
        section: &'static str,
        /// Its name.
        name: String,
        /// Which key.
        key: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The context of a node's own kubeconfig.
pub fn admin_context(node: &NodeIdentity) -> String {
    format!("driftless-{}", node.display_name())
}

/// Writes `admin.kubeconfig` (0600) for the local operator; gives its path. Durable when this returns.
pub fn write_admin_kubeconfig(
    dir: &Path,
    node: &NodeIdentity,
    server_url: &str,
) -> Result<PathBuf, KubeconfigError> {
    let path = dir.join(ADMIN_KUBECONFIG);
    let config = kubeconfig(&admin_context(node), node, &node.operator, server_url);
    let text = format!("{config:#}\n");
    match files::write_private(&path, text.as_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(KubeconfigError::File { path, source }),
    }
}

/// A kubeconfig with one context, of this name, for whoever holds a credential that `node` issued.
pub fn kubeconfig(name: &str, node: &NodeIdentity, holder: &Credential, server_url: &str) -> Value {
    let namespace = match &node.role {
        Role::Hub { .. } => DEFAULT_NAMESPACE,
        Role::Edge { namespace, .. } => namespace,
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{ "name": name, "cluster": {
            "server": server_url,
            "certificate-authority-data": STANDARD.encode(node.root_pem()),
        }}],
        "users": [{ "name": name, "user": {
            "client-certificate-data": STANDARD.encode(pem::encode_certificates(&holder.chain)),
            "client-key-data": STANDARD.encode(holder.key.to_pem()),
        }}],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name, "namespace": namespace }}],
        "current-context": name,
    })
}

/// Reads a context (or the current one) of a kubeconfig.
pub fn read_kubeconfig(path: &Path, context: Option<&str>) -> Result<ClientConfig, KubeconfigError> {
    let mut documents = Vec::new();
    let name = path.display().to_string();
    yaml::each_document(&name, &read(path)?, yaml::Mode::Lenient, &mut |document| {
        documents.push(document.value);
    })?;
    match &documents[..] {
        [config] => parse_kubeconfig(config, path.parent().unwrap_or(Path::new("")), context),
        _ => Err(KubeconfigError::Documents { path: path.to_owned(), documents: documents.len() }),
    }
}

/// Takes a context (or the current one) out of a kubeconfig; files that it names are read relative to `base`.
pub fn parse_kubeconfig(
    config: &Value,
    base: &Path,
    context: Option<&str>,
) -> Result<ClientConfig, KubeconfigError> {
    let current = config["current-context"].as_str().filter(|name| !name.is_empty());
    let context = context.or(current).ok_or(KubeconfigError::NoContext)?;
    let context = Entry::find(config, "contexts", "context", context)?;
    let cluster = Entry::find(config, "clusters", "cluster", context.required("cluster")?)?;
    let user = Entry::find(config, "users", "user", context.required("user")?)?;
    let ca_pem = cluster.content("certificate-authority-data", "certificate-authority", base)?;
    Ok(ClientConfig {
        server: cluster.required("server")?.to_owned(),
        ca_pem: ca_pem.ok_or_else(|| cluster.error("certificate-authority-data", "is missing"))?,
        client_cert_pem: user.content("client-certificate-data", "client-certificate", base)?,
        client_key_pem: user.content("client-key-data", "client-key", base)?,
        token: user.text("token")?.map(str::to_owned),
        namespace: context.text("namespace")?.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
    })
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, namespace, .. } = self;
        f.debug_struct("ClientConfig")
            .field("server", server)
            .field("namespace", namespace)
            .finish_non_exhaustive()
    }
}

/// A named entry of one of the three lists.
struct Entry<'a> {
    section: &'static str,
    name: &'a str,
    value: &'a Value,
}

impl<'a> Entry<'a> {
    fn find(
        config: &'a Value,
        list: &str,
        section: &'static str,
        name: &'a str,
    ) -> Result<Self, KubeconfigError> {
        let entries = config[list].as_array().map_or(&[][..], Vec::as_slice);
        match entries.iter().find(|entry| entry["name"] == *name) {
            Some(entry) => Ok(Self { section, name, value: &entry[section] }),
            None => Err(KubeconfigError::Absent { section, name: name.to_owned() }),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<&'a str>, KubeconfigError> {
        match &self.value[key] {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(self.error(key, "is not text")),
        }
    }

    fn required(&self, key: &'static str) -> Result<&'a str, KubeconfigError> {
        self.text(key)?.ok_or_else(|| self.error(key, "is missing"))
    }

    /// PEM that stands in the entry in base64, or in a file that it names.
    fn content(
        &self,
        data: &'static str,
        file: &'static str,
        base: &Path,
    ) -> Result<Option<String>, KubeconfigError> {
        let bytes = match (self.text(data)?, self.text(file)?) {
            (Some(text), _) => STANDARD.decode(text).map_err(|_| self.error(data, "is not base64"))?,
            (None, Some(path)) => read(&base.join(path))?,
            (None, None) => return Ok(None),
        };
        String::from_utf8(bytes).map(Some).map_err(|_| self.error(data, "is not PEM"))
    }

    fn error(&self, key: &'static str, problem: &'static str) -> KubeconfigError {
        KubeconfigError::Value { section: self.section, name: self.name.to_owned(), key, problem }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    let file_error = |source| KubeconfigError::File { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(file_error)?.len();
    if bytes > KUBECONFIG_BYTES_MAX {
        return Err(KubeconfigError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(file_error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_local_operators_kubeconfig_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let hub = NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], NOW).unwrap();
        let path = write_admin_kubeconfig(dir.path(), &hub, "https://127.0.0.1:7421").unwrap();
        assert_eq!(path, dir.path().join("admin.kubeconfig"));
        assert!(!files::is_shared(&path).unwrap());
        let read = read_kubeconfig(&path, None).unwrap();
        assert_eq!(read, read_kubeconfig(&path, Some("driftless-eu-1")).unwrap());
        assert_eq!((read.server.as_str(), read.namespace.as_str()), ("https://127.0.0.1:7421", "default"));
        assert_eq!(read.ca_pem, hub.root_pem());
        assert_eq!(read.client_cert_pem.as_deref(), Some(&*pem::encode_certificates(&hub.operator.chain)));
        assert_eq!(read.client_key_pem, Some(hub.operator.key.to_pem()));
        assert!(!format!("{read:?}").contains("PRIVATE"));
        assert!(matches!(
            read_kubeconfig(&path, Some("prod")),
            Err(KubeconfigError::Absent { section: "context", .. })
        ));
    }

    #[test]
    fn files_and_tokens_are_read_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), "the authority").unwrap();
        let config = json!({
            "current-context": "",
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u", "namespace": "acme" } }],
            "clusters": [{ "name": "k", "cluster": { "server": "https://h", "certificate-authority": "ca.pem" } }],
            "users": [{ "name": "u", "user": { "token": "t" } }],
        });
        let read = parse_kubeconfig(&config, dir.path(), Some("c")).unwrap();
        assert_eq!((read.ca_pem.as_str(), read.namespace.as_str()), ("the authority", "acme"));
        assert_eq!((read.token.as_deref(), read.client_cert_pem), (Some("t"), None));
        assert!(matches!(parse_kubeconfig(&config, dir.path(), None), Err(KubeconfigError::NoContext)));
    }

    #[test]
    fn what_kubectl_rewrote_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let text = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: Y2E=\n    server: https://127.0.0.1:7421\n  name: driftless-eu-1\ncontexts:\n- context:\n    cluster: driftless-eu-1\n    namespace: acme\n    user: mia\n  name: driftless-eu-1\ncurrent-context: driftless-eu-1\nkind: Config\npreferences: {}\nusers:\n- name: mia\n  user:\n    client-certificate-data: Y2VydA==\n    client-key-data: a2V5\n";
        fs::write(&path, text).unwrap();
        let read = read_kubeconfig(&path, None).unwrap();
        assert_eq!((read.server.as_str(), read.namespace.as_str()), ("https://127.0.0.1:7421", "acme"));
        assert_eq!((read.ca_pem.as_str(), read.client_key_pem.as_deref()), ("ca", Some("key")));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let hub = NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], NOW).unwrap();
        let path = write_admin_kubeconfig(dir.path(), &hub, "https://127.0.0.1:7421").unwrap();
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (pointer, value, message) in [
            ("/contexts/0/context/user", json!("x"), "no user \"x\""),
            ("/contexts/0/context/cluster", json!(null), "cluster: is missing"),
            ("/clusters/0/cluster/server", json!(7), "server: is not text"),
            ("/clusters/0/cluster/certificate-authority-data", json!("%"), "is not base64"),
            ("/users/0/user", json!({ "client-key": "absent.key" }), "absent.key"),
        ] {
            let mut config = whole.clone();
            *config.pointer_mut(pointer).unwrap() = value;
            let error = parse_kubeconfig(&config, dir.path(), None).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        fs::write(&path, "{ not: [json").unwrap();
        assert!(matches!(read_kubeconfig(&path, None), Err(KubeconfigError::Syntax(_))));
        fs::write(&path, "- a list").unwrap();
        assert!(matches!(read_kubeconfig(&path, None), Err(KubeconfigError::NoContext)));
        fs::write(&path, "a: 1\n---\nb: 2\n").unwrap();
        assert!(matches!(read_kubeconfig(&path, None), Err(KubeconfigError::Documents { documents: 2, .. })));
    }
}
