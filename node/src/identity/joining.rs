//! Enrolment at the joining node: its keys, its request, and taking what the hub grants.

use std::path::Path;

use driftless_core::name::is_label;
use rustls_pki_types::CertificateDer;

use super::directory::{Directory, IdentityError, check_root};
use super::join::{JoinExporter, JoinGrant, JoinRequest, JoinTarget};
use super::key::SecretKey;
use super::peer::{PeerIdentity, PeerIdentityError};
use super::pem::{self, ParsePemError};
use super::token::{SitePattern, Token, TokenPurpose};
use super::{Credential, NodeIdentity, Principal, Role};

/// Why what the hub granted cannot be used. The keys stay; asking again is safe.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Damaged certificates.
    #[error("the hub sent damaged certificates")]
    Pem(#[from] ParsePemError),
    /// Certificates of somebody else.
    #[error("the hub sent unusable certificates")]
    Certificates(#[from] PeerIdentityError),
    /// The root is not the fleet's.
    #[error("the hub sent an unusable root certificate: {0}")]
    Root(String),
    /// Certificates for another key, or for another name than was asked for.
    #[error("the hub granted something else than was asked for: {0}")]
    NotAsked(String),
}

/// A node on its way into a fleet: its keys are on disk, its identity is not.
#[derive(Debug)]
pub struct JoiningNode {
    directory: Directory,
    key: SecretKey,
    operator: SecretKey,
}

impl JoiningNode {
    /// Makes the node's keys in `dir/identity`, or takes those of an earlier attempt, so that the hub
    /// recognises the node when it asks again. Refused when `dir` holds an identity.
    pub fn begin(dir: &Path) -> Result<Self, IdentityError> {
        let directory = Directory::create_for_new(dir)?;
        let key = directory.node_key_or_new()?;
        let operator = directory.operator_key_or_new()?;
        Ok(Self { directory, key, operator })
    }

    /// The request for the connection that `exporter` is of. `node` names the node or the new hub.
    pub fn request(
        &self,
        token: &Token,
        node: &str,
        site: Option<&str>,
        exporter: &JoinExporter,
    ) -> JoinRequest {
        JoinRequest::new(token, &self.key, self.operator.public(), node, site, exporter)
    }

    /// Takes what the hub granted for `request`, after checking all of it; durable when this returns.
    ///
    /// `hosts` are the names and addresses that a new hub's API will be called by; for edges unused.
    pub fn accept(
        self,
        token: &Token,
        request: &JoinRequest,
        grant: &JoinGrant,
        hosts: &[String],
        now: u64,
    ) -> Result<NodeIdentity, JoinError> {
        let asked = asked_for(token, request);
        if asked.as_ref() != Some(&grant.target) || !is_label(&grant.region) {
            return Err(JoinError::NotAsked(format!("{} in region {:?}", grant.target, grant.region)));
        }
        let root = match &pem::decode_certificates(&grant.root_pem)?[..] {
            [root] => root.clone(),
            _ => return Err(JoinError::Root("more than one certificate".to_owned())),
        };
        check_root(&token.fleet(), &root).map_err(JoinError::Root)?;
        let chain = pem::decode_certificates(&grant.chain_pem)?;
        let directory = self.directory.clone();
        let mut node = match &grant.target {
            JoinTarget::Hub { name } => self.into_hub(token, name, grant, root, chain, hosts, now)?,
            JoinTarget::Member { namespace, site, node } => {
                let role = Role::Edge {
                    namespace: namespace.clone(),
                    site: site.clone(),
                    node: node.clone(),
                    region: grant.region.clone(),
                };
                self.into_edge(token, role, grant, root, chain)?
            }
        };
        node.hub_addresses = grant.hub_addresses.clone();
        directory.save(&node)?;
        Ok(node)
    }

    fn into_edge(
        self,
        token: &Token,
        role: Role,
        grant: &JoinGrant,
        root: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<NodeIdentity, JoinError> {
        let operator_pem = grant.operator_pem.as_deref();
        let operator_pem =
            operator_pem.ok_or_else(|| JoinError::NotAsked("no operator certificate".to_owned()))?;
        let operator = Credential { key: self.operator, chain: pem::decode_certificates(operator_pem)? };
        let fleet = token.fleet();
        let peer = check_chain(token, &chain, &self.key, &role.principal())?;
        check_chain(token, &operator.chain, &operator.key, &role.local_operator())?;
        Ok(NodeIdentity {
            fleet,
            role,
            key: self.key,
            chain,
            root,
            operator,
            authority: None,
            hub_addresses: Vec::new(),
            hosts: Vec::new(),
            not_before: peer.not_before,
            not_after: peer.not_after,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a hub, each of its own type")]
    fn into_hub(
        self,
        token: &Token,
        name: &str,
        grant: &JoinGrant,
        root: CertificateDer<'static>,
        issuer: Vec<CertificateDer<'static>>,
        hosts: &[String],
        now: u64,
    ) -> Result<NodeIdentity, JoinError> {
        let [issuer] = <[_; 1]>::try_from(issuer)
            .map_err(|_| JoinError::NotAsked("more than an issuer certificate".to_owned()))?;
        let role = Role::Hub { name: name.to_owned(), region: grant.region.clone() };
        let (fleet, key) = (token.fleet(), self.key);
        let node = NodeIdentity::hub_of(role, key, self.operator, root, issuer, hosts, fleet, now)?;
        check_chain(token, &node.chain, &node.key, &Principal::Hub { name: name.to_owned() })?;
        Ok(node)
    }
}

/// What the request asked for; `None` if it left the site open and the token does not name it.
fn asked_for(token: &Token, request: &JoinRequest) -> Option<JoinTarget> {
    match &token.spec().purpose {
        TokenPurpose::Hub => Some(JoinTarget::Hub { name: request.node.clone() }),
        TokenPurpose::Edge { namespace, site: allowed, .. } => {
            let site = match (&request.site, allowed) {
                (Some(site), _) | (None, SitePattern::Named(site)) => site.clone(),
                (None, SitePattern::New(_)) => return None,
            };
            Some(JoinTarget::Member { namespace: namespace.clone(), site, node: request.node.clone() })
        }
    }
}

fn check_chain(
    token: &Token,
    chain: &[CertificateDer<'_>],
    key: &SecretKey,
    principal: &Principal,
) -> Result<PeerIdentity, JoinError> {
    let peer = PeerIdentity::from_connection_certs(&token.fleet(), chain)?;
    match peer.key == key.public() && peer.principal == *principal {
        true => Ok(peer),
        false => Err(JoinError::NotAsked(format!("a certificate for {}", peer.principal))),
    }
}
