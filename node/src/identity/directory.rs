//! The files of an identity: what they are called, how they are written, and what they must say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use driftless_core::ids::FleetId;
use driftless_core::name::is_label;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::certificate::IssueError;
use super::key::{SecretKey, hex_text};
use super::peer::{PeerIdentity, PeerIdentityError};
use super::{Credential, NodeIdentity, Principal, Role, files, pem};

const VERSION: u32 = 1;
const IDENTITY: &str = "identity.json";
const NODE_KEY: &str = "node.key";
const NODE_CHAIN: &str = "node.pem";
const OPERATOR_KEY: &str = "operator.key";
const OPERATOR_CHAIN: &str = "operator.pem";
const ROOT: &str = "root.pem";
const AUTHORITY_KEY: &str = "authority.key";
/// Largest file of an identity, in bytes; a key has 119, a chain about 2,000.
const FILE_BYTES_MAX: u64 = 256 * 1_024;

/// Why an identity could not be made, read or written. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The data directory was never started, or the first start was interrupted.
    #[error("{} holds no identity: start a hub there, or an edge with --join", .0.display())]
    Missing(PathBuf),
    /// An identity is never overwritten.
    #[error("{} holds an identity already: use another data directory", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is damaged ({reason}): restore it from a backup, or enrol this node anew", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// A secret that others can read is no secret.
    #[error("{} can be read by others: chmod 600 it, and enrol this node anew if somebody else used the machine", .0.display())]
    Shared(PathBuf),
    /// Written by a later version of the software.
    #[error("{} has version {version}, this software reads {VERSION}", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificates do not belong together.
    #[error(transparent)]
    Certificates(#[from] PeerIdentityError),
}

/// The directory `identity` of a data directory.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// The directory, whether it exists or not.
    pub(super) fn open(data_dir: &Path) -> Self {
        Self(data_dir.join("identity"))
    }

    /// The directory, created if need be.
    pub(super) fn create(data_dir: &Path) -> Result<Self, IdentityError> {
        let directory = Self::open(data_dir);
        files::create_private_directory(&directory.0).map_err(|source| directory.file_error("", source))?;
        Ok(directory)
    }

    /// The directory for a first start: created, and without an identity.
    pub(super) fn create_for_new(data_dir: &Path) -> Result<Self, IdentityError> {
        let directory = Self::create(data_dir)?;
        match directory.is_complete() {
            true => Err(IdentityError::Exists(directory.0)),
            false => Ok(directory),
        }
    }

    /// Whether a first start was completed here.
    pub(super) fn is_complete(&self) -> bool {
        self.0.join(IDENTITY).exists()
    }

    pub(super) fn node_key_or_new(&self) -> Result<SecretKey, IdentityError> {
        self.key_or_new(NODE_KEY)
    }

    pub(super) fn operator_key_or_new(&self) -> Result<SecretKey, IdentityError> {
        self.key_or_new(OPERATOR_KEY)
    }

    pub(super) fn authority_key_or_new(&self) -> Result<SecretKey, IdentityError> {
        self.key_or_new(AUTHORITY_KEY)
    }

    /// Writes the authority's key.
    pub(super) fn write_authority_key(&self, key: &SecretKey) -> Result<(), IdentityError> {
        self.write(AUTHORITY_KEY, key.to_pem().as_bytes())
    }

    /// Removes the authority's key.
    pub(super) fn remove_authority_key(&self) -> Result<(), IdentityError> {
        let path = self.0.join(AUTHORITY_KEY);
        files::remove(&path).map_err(|source| IdentityError::File { path, source })
    }

    /// Writes every file, the one that says that the others are complete last.
    pub(super) fn save(&self, node: &NodeIdentity) -> Result<(), IdentityError> {
        if let Some(authority) = &node.authority {
            self.write_authority_key(authority)?;
        }
        self.write(NODE_KEY, node.key.to_pem().as_bytes())?;
        self.write(OPERATOR_KEY, node.operator.key.to_pem().as_bytes())?;
        self.write(ROOT, node.root_pem().as_bytes())?;
        self.write(OPERATOR_CHAIN, pem::encode_certificates(&node.operator.chain).as_bytes())?;
        self.write(NODE_CHAIN, pem::encode_certificates(&node.chain).as_bytes())?;
        let mut text = serde_json::to_vec_pretty(&IdentityFile::from(node)).map_err(|error| {
            // Strings and numbers only.
            self.damaged(IDENTITY, error.to_string())
        })?;
        text.push(b'\n');
        self.write(IDENTITY, &text)
    }

    /// Reads every file and checks them against each other.
    pub(super) fn load(&self) -> Result<NodeIdentity, IdentityError> {
        if !self.is_complete() {
            return Err(IdentityError::Missing(self.0.clone()));
        }
        let file = self.read_identity()?;
        let key = self.read_key(NODE_KEY)?;
        let chain = self.read_chain(NODE_CHAIN)?;
        let operator =
            Credential { key: self.read_key(OPERATOR_KEY)?, chain: self.read_chain(OPERATOR_CHAIN)? };
        let authority = match self.0.join(AUTHORITY_KEY).exists() {
            true => Some(self.read_key(AUTHORITY_KEY)?),
            false => None,
        };
        if authority.as_ref().is_some_and(|authority| authority.fleet() != file.fleet) {
            return Err(self.damaged(AUTHORITY_KEY, "it is the key of another fleet"));
        }
        let root = match &self.read_chain(ROOT)?[..] {
            [root] => root.clone(),
            _ => return Err(self.damaged(ROOT, "it holds more than one certificate")),
        };
        check_root(&file.fleet, &root).map_err(|error| self.damaged(ROOT, error))?;
        let role = file.role.clone().into_role();
        let peer = self.check_chain(NODE_CHAIN, &file.fleet, &chain, &key, &role.principal())?;
        let local_operator = role.local_operator();
        self.check_chain(OPERATOR_CHAIN, &file.fleet, &operator.chain, &operator.key, &local_operator)?;
        Ok(NodeIdentity {
            fleet: file.fleet,
            role,
            key,
            chain,
            root,
            operator,
            authority,
            hub_addresses: file.hub_addresses,
            hosts: file.hosts,
            not_before: peer.not_before,
            not_after: peer.not_after,
        })
    }

    fn check_chain(
        &self,
        name: &str,
        fleet: &FleetId,
        chain: &[CertificateDer<'_>],
        key: &SecretKey,
        principal: &Principal,
    ) -> Result<PeerIdentity, IdentityError> {
        let peer = PeerIdentity::from_connection_certs(fleet, chain)
            .map_err(|error| self.damaged(name, error.to_string()))?;
        if peer.principal != *principal {
            let reason = format!("it is a certificate for {}, this is {principal}", peer.principal);
            return Err(self.damaged(name, reason));
        }
        match peer.key == key.public() {
            true => Ok(peer),
            false => Err(self.damaged(name, "it is a certificate for another key than the key file's")),
        }
    }

    fn key_or_new(&self, name: &str) -> Result<SecretKey, IdentityError> {
        if self.0.join(name).exists() {
            return self.read_key(name);
        }
        let key = SecretKey::generate().map_err(IssueError::Random)?;
        self.write(name, key.to_pem().as_bytes())?;
        Ok(key)
    }

    fn read_key(&self, name: &str) -> Result<SecretKey, IdentityError> {
        let path = self.0.join(name);
        if files::is_shared(&path).map_err(|source| self.file_error(name, source))? {
            return Err(IdentityError::Shared(path));
        }
        SecretKey::from_pem(&self.read(name)?).map_err(|error| self.damaged(name, error.to_string()))
    }

    fn read_chain(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        pem::decode_certificates(&self.read(name)?).map_err(|error| self.damaged(name, error.to_string()))
    }

    fn read_identity(&self) -> Result<IdentityFile, IdentityError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let text = self.read(IDENTITY)?;
        let damaged = |error: serde_json::Error| self.damaged(IDENTITY, error.to_string());
        let Versioned { version } = serde_json::from_str(&text).map_err(damaged)?;
        if version != VERSION {
            return Err(IdentityError::Version { path: self.0.join(IDENTITY), version });
        }
        let file: IdentityFile = serde_json::from_str(&text).map_err(damaged)?;
        let names = match &file.role {
            RoleFile::Hub { name, region } => vec![name, region],
            RoleFile::Edge { namespace, site, node, region } => vec![namespace, site, node, region],
        };
        match names.iter().find(|name| !is_label(name)) {
            Some(name) => Err(self.damaged(IDENTITY, format!("{name:?} is not a name"))),
            None => Ok(file),
        }
    }

    fn read(&self, name: &str) -> Result<String, IdentityError> {
        let path = self.0.join(name);
        let size = fs::metadata(&path).map_err(|source| self.file_error(name, source))?.len();
        if size > FILE_BYTES_MAX {
            return Err(self.damaged(name, format!("{size} bytes, at most {FILE_BYTES_MAX} are expected")));
        }
        fs::read_to_string(&path).map_err(|source| self.file_error(name, source))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        files::write_private(&self.0.join(name), content).map_err(|source| self.file_error(name, source))
    }

    fn file_error(&self, name: &str, source: io::Error) -> IdentityError {
        IdentityError::File { path: self.0.join(name), source }
    }

    fn damaged(&self, name: &str, reason: impl Into<String>) -> IdentityError {
        IdentityError::Damaged { path: self.0.join(name), reason: reason.into() }
    }
}

/// Checks that a certificate is about the fleet's authority: as an anchor it says what the id says.
pub(super) fn check_root(fleet: &FleetId, root: &CertificateDer<'_>) -> Result<(), String> {
    let mut store = rustls::RootCertStore::empty();
    store.add(root.clone()).map_err(|error| error.to_string())?;
    match store.roots == super::certificate::root_store(fleet).roots {
        true => Ok(()),
        false => Err("it is not the root of this fleet".to_owned()),
    }
}

/// `identity.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityFile {
    version: u32,
    #[serde(with = "hex_text")]
    fleet: FleetId,
    #[serde(flatten)]
    role: RoleFile,
    #[serde(default)]
    hub_addresses: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "camelCase")]
enum RoleFile {
    Hub { name: String, region: String },
    Edge { namespace: String, site: String, node: String, region: String },
}

impl RoleFile {
    fn into_role(self) -> Role {
        match self {
            Self::Hub { name, region } => Role::Hub { name, region },
            Self::Edge { namespace, site, node, region } => Role::Edge { namespace, site, node, region },
        }
    }
}

impl From<&NodeIdentity> for IdentityFile {
    fn from(node: &NodeIdentity) -> Self {
        let role = match node.role.clone() {
            Role::Hub { name, region } => RoleFile::Hub { name, region },
            Role::Edge { namespace, site, node, region } => RoleFile::Edge { namespace, site, node, region },
        };
        Self {
            version: VERSION,
            fleet: node.fleet,
            role,
            hub_addresses: node.hub_addresses.clone(),
            hosts: node.hosts.clone(),
        }
    }
}
