//! Who a node is: its keys, its certificates, and the fleet that vouches for them.
//!
//! A fleet's id is the public key of its authority, so trust needs no root file. The authority signs
//! hubs; a hub signs edges and people; what somebody was signed as stands in the certificate as a
//! SPIFFE id. Secret keys are made on the node that uses them and never leave it; the one exception
//! is the authority's, which can be exported in order to keep it offline.
//!
//! This module owns `identity/` in the data directory. It opens no socket, reads no clock (except
//! inside the TLS configurations) and writes no event: enrolment gives documents to write.
//!
//! ```text
//! identity/identity.json   role, names, addresses; written last, so it exists when all else does
//!          node.key        signs events, TLS, and on a hub certificates
//!          node.pem        the node's certificate and its issuer's
//!          operator.key    the local operator's, which admin.kubeconfig carries
//!          operator.pem    the local operator's certificate and its issuer's
//!          root.pem        the fleet's root certificate, for clients that want a file
//!          authority.key   on the hub that holds the authority
//! ```

mod authority;
mod certificate;
mod directory;
mod files;
mod join;
mod joining;
mod key;
mod kubeconfig;
mod peer;
mod pem;
mod principal;
mod renewal;
mod resources;
mod tls;
mod token;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::Path;

use driftless_core::ids::{Author, FleetId};
use rustls_pki_types::CertificateDer;

pub use self::authority::AuthorityError;
pub use self::certificate::{IssueError, IssuingHub, LEAF_LIFETIME};
pub use self::directory::IdentityError;
pub use self::join::{
    Enrolment, JOIN_EXPORTER_LABEL, JOIN_FRAME_BYTES_MAX, JoinAsk, JoinExporter, JoinFacts, JoinFrameError,
    JoinGrant, JoinRefused, JoinReply, JoinRequest, JoinTarget, VerifiedJoin, verify_join,
};
pub use self::joining::{JoinError, JoiningNode};
pub use self::key::{BadSignature, ParseKeyError, SIGNATURE_BYTES, SecretKey, is_public_key, verify};
pub use self::kubeconfig::{
    ADMIN_KUBECONFIG, ClientConfig, KubeconfigError, admin_context, kubeconfig, parse_kubeconfig,
    read_kubeconfig, write_admin_kubeconfig,
};
pub use self::peer::{PeerIdentity, PeerIdentityError};
pub use self::pem::{ParsePemError, decode_certificates, encode_certificates};
pub use self::principal::{ParsePrincipalError, Principal};
pub use self::renewal::{RenewalError, RenewalGrant, RenewalRequest, grant_renewal};
pub use self::resources::{hub_resource, hub_status_resource, member_resource, site_resource};
pub use self::tls::{
    ALPN_HTTP, ALPN_JOIN, ALPN_SYNC, ClientPem, QUIC_SERVER_NAME, TlsError, https_client_config,
    https_server_config, join_client_config, quic_client_config, quic_server_config,
};
pub use self::token::{
    MintError, ParseTokenError, ParseTokenIdError, SitePattern, Token, TokenError, TokenId, TokenPurpose,
    TokenRecord, TokenRecordError, TokenSpec,
};

use self::certificate::Leaf;
use self::directory::Directory;

/// The role of the local operator of every node.
pub const ADMIN_ROLE: &str = "admin";
/// The name of the local operator of every node.
pub const ADMIN_NAME: &str = "admin";
/// A certificate is renewed when this part of its lifetime is left: a third.
const RENEW_PARTS: u64 = 3;

/// A certificate, then its issuer's.
type Chain = Vec<CertificateDer<'static>>;

/// What a node is in its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A hub: an issuer, a place where operators write.
    Hub {
        /// The hub's name, unique in the fleet.
        name: String,
        /// The region that it serves.
        region: String,
    },
    /// A node of a site.
    Edge {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The node's name within the site.
        node: String,
        /// The region that it was enrolled for.
        region: String,
    },
}

/// A key and the certificates that say whose it is (leaf, then issuer).
#[derive(Debug, Clone)]
pub struct Credential {
    /// The secret key.
    pub key: SecretKey,
    /// Leaf and issuer.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A node's keys and certificates, checked against each other.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    /// The fleet.
    pub fleet: FleetId,
    /// What the node is in it.
    pub role: Role,
    /// Signs events and TLS, and on a hub certificates.
    pub key: SecretKey,
    /// The node's certificate, then its issuer's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The fleet's root certificate.
    pub root: CertificateDer<'static>,
    /// The local operator's credential.
    pub operator: Credential,
    /// The authority's key, where this hub holds it.
    pub authority: Option<SecretKey>,
    /// Where hubs were said to listen (`host:port`) when this node joined.
    pub hub_addresses: Vec<String>,
    /// Host names and addresses in this hub's certificate, beyond the local machine's.
    pub hosts: Vec<String>,
    /// Start of the certificate's validity, in Unix seconds.
    pub not_before: u64,
    /// End of the certificate's validity, in Unix seconds.
    pub not_after: u64,
}

impl NodeIdentity {
    /// Creates a fleet with its authority and its first hub, in `dir/identity`.
    ///
    /// `hosts` are the DNS names and IP addresses that the hub's API will be called by, beyond those
    /// of the local machine. Keys that an interrupted first start left are used again. Durable when
    /// this returns; refused when `dir` holds an identity already.
    pub fn create_fleet(
        dir: &Path,
        hub: &str,
        region: &str,
        hosts: &[String],
        now: u64,
    ) -> Result<Self, IdentityError> {
        let directory = Directory::create_for_new(dir)?;
        let authority = directory.authority_key_or_new()?;
        let key = directory.node_key_or_new()?;
        let operator = directory.operator_key_or_new()?;
        let root = certificate::root(&authority, now)?;
        let issuer = certificate::issuer(&authority, hub, key.public(), now)?;
        let role = Role::Hub { name: hub.to_owned(), region: region.to_owned() };
        let mut node = Self::hub_of(role, key, operator, root, issuer, hosts, authority.fleet(), now)?;
        node.authority = Some(authority);
        directory.save(&node)?;
        Ok(node)
    }

    /// Loads the identity in `dir/identity`, checking that keys, certificates and names fit together.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        Directory::open(dir).load()
    }

    /// Whether `dir` holds an identity, damaged or not: whether the first start is over.
    pub fn exists(dir: &Path) -> bool {
        Directory::open(dir).is_complete()
    }

    /// Writes everything to `dir/identity`. Each file is replaced whole, `identity.json` last.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        Directory::create(dir)?.save(self)
    }

    /// The node as author of events.
    pub fn author(&self) -> Author {
        self.key.public()
    }

    /// The node by name.
    pub fn principal(&self) -> Principal {
        self.role.principal()
    }

    /// Whether this is a hub.
    pub fn is_hub(&self) -> bool {
        matches!(self.role, Role::Hub { .. })
    }

    /// The node's name for people: `eu-1`, or `store-17.a`.
    pub fn display_name(&self) -> String {
        match &self.role {
            Role::Hub { name, .. } => name.clone(),
            Role::Edge { site, node, .. } => format!("{site}.{node}"),
        }
    }

    /// The fleet's root certificate in PEM.
    pub fn root_pem(&self) -> String {
        encode_certificates(std::slice::from_ref(&self.root))
    }

    /// The right to issue, which every hub has.
    pub fn issuing_hub(&self) -> Result<IssuingHub<'_>, IssueError> {
        match &self.role {
            Role::Hub { name, .. } => Ok(IssuingHub { fleet: self.fleet, name, key: &self.key }),
            Role::Edge { .. } => Err(IssueError::NotAnIssuer),
        }
    }

    /// Issues a credential for a person or a program: a new key, a certificate, and this hub's issuer.
    ///
    /// The key is to be handed over and forgotten; a hub keeps no keys of people.
    pub fn issue_operator(&self, name: &str, roles: &[String], now: u64) -> Result<Credential, IssueError> {
        if roles.is_empty() {
            return Err(IssueError::NoRole);
        }
        let key = SecretKey::generate()?;
        let principal = Principal::User { name: name.to_owned() };
        let chain = self.issue(&principal, key.public(), roles, now)?;
        Ok(Credential { key, chain })
    }

    /// Whether less than a third of the certificate's lifetime is left.
    pub fn needs_renewal(&self, now: u64) -> bool {
        let lifetime = self.not_after.saturating_sub(self.not_before);
        now.saturating_add(lifetime / RENEW_PARTS) >= self.not_after
    }

    /// Renews a hub's own certificate and its local operator's, for the hosts given; `save` keeps them.
    pub fn renew_hub(&mut self, hosts: &[String], now: u64) -> Result<(), IdentityError> {
        self.issuing_hub()?;
        let issuer = self.chain[1].clone();
        let (key, operator) = (self.key.clone(), self.operator.key.clone());
        let renewed = Self::hub_of(
            self.role.clone(),
            key,
            operator,
            self.root.clone(),
            issuer,
            hosts,
            self.fleet,
            now,
        )?;
        *self = Self {
            authority: self.authority.take(),
            hub_addresses: std::mem::take(&mut self.hub_addresses),
            ..renewed
        };
        Ok(())
    }

    /// A certificate of this hub's for somebody else's key, with the issuer after it.
    fn issue(
        &self,
        principal: &Principal,
        key: Author,
        roles: &[String],
        now: u64,
    ) -> Result<Chain, IssueError> {
        let leaf = Leaf { principal, key, hosts: &[], roles };
        Ok(vec![certificate::leaf(&self.issuing_hub()?, &leaf, now)?, self.chain[1].clone()])
    }

    /// The certificates of a site's node and of its local operator.
    fn issue_member(
        &self,
        namespace: &str,
        site: &str,
        node: &str,
        node_key: Author,
        operator_key: Author,
        now: u64,
    ) -> Result<(Chain, Chain), IssueError> {
        let (namespace, site) = (namespace.to_owned(), site.to_owned());
        let operator = Principal::SiteOperator {
            namespace: namespace.clone(),
            site: site.clone(),
            name: ADMIN_NAME.to_owned(),
        };
        let own = Principal::Node { namespace, site, node: node.to_owned() };
        let chain = self.issue(&own, node_key, &[], now)?;
        let operator_chain = self.issue(&operator, operator_key, &[ADMIN_ROLE.to_owned()], now)?;
        Ok((chain, operator_chain))
    }

    /// A hub that has its issuer certificate: it signs its own leaf and its local operator's.
    #[expect(clippy::too_many_arguments, reason = "the parts of a hub, each of its own type")]
    fn hub_of(
        role: Role,
        key: SecretKey,
        operator: SecretKey,
        root: CertificateDer<'static>,
        issuer: CertificateDer<'static>,
        hosts: &[String],
        fleet: FleetId,
        now: u64,
    ) -> Result<Self, IdentityError> {
        let Role::Hub { name, .. } = &role else {
            return Err(IssueError::NotAnIssuer.into());
        };
        let hub = IssuingHub { fleet, name, key: &key };
        let principal = role.principal();
        let own = Leaf { principal: &principal, key: key.public(), hosts, roles: &[] };
        let admin = Principal::User { name: ADMIN_NAME.to_owned() };
        let roles = [ADMIN_ROLE.to_owned()];
        let admin = Leaf { principal: &admin, key: operator.public(), hosts: &[], roles: &roles };
        let chain = vec![certificate::leaf(&hub, &own, now)?, issuer.clone()];
        let operator_chain = vec![certificate::leaf(&hub, &admin, now)?, issuer];
        let peer = PeerIdentity::from_connection_certs(&fleet, &chain)?;
        Ok(Self {
            fleet,
            key,
            chain,
            root,
            operator: Credential { key: operator, chain: operator_chain },
            authority: None,
            hub_addresses: Vec::new(),
            hosts: hosts.to_vec(),
            not_before: peer.not_before,
            not_after: peer.not_after,
            role,
        })
    }
}

impl Role {
    /// The node by name.
    pub fn principal(&self) -> Principal {
        match self.clone() {
            Self::Hub { name, .. } => Principal::Hub { name },
            Self::Edge { namespace, site, node, .. } => Principal::Node { namespace, site, node },
        }
    }

    /// The region that the node serves or was enrolled for.
    pub fn region(&self) -> &str {
        match self {
            Self::Hub { region, .. } | Self::Edge { region, .. } => region,
        }
    }

    /// The local operator of a node in this role.
    fn local_operator(&self) -> Principal {
        match self.clone() {
            Self::Hub { .. } => Principal::User { name: ADMIN_NAME.to_owned() },
            Self::Edge { namespace, site, .. } => {
                Principal::SiteOperator { namespace, site, name: ADMIN_NAME.to_owned() }
            }
        }
    }
}
