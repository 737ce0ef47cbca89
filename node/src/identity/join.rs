//! Enrolment at the hub: what a joining node asks, and what the hub answers and writes.
//!
//! One QUIC stream on `driftless-join/1`, one frame each way. A frame is its length (4 bytes,
//! big-endian) and JSON, which two releases of the software can both read. The hub does this, and
//! only the first and last step are not pure:
//!
//! 1. read the [`JoinAsk`]; for a request to join, look up the token's record;
//! 2. [`verify_join`]: is the token good, and is this the holder of the key;
//! 3. look up the [`JoinFacts`] of the target that it names;
//! 4. [`VerifiedJoin::grant`]: spends a use, issues certificates, says what to write;
//! 5. make record and resources durable, in that order, then answer. A crash in between costs nothing:
//!    the node asks again with the same key.

use driftless_core::ids::Author;
use driftless_core::name::is_label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::certificate::{self, IssueError};
use super::key::{self, SIGNATURE_BYTES, SecretKey, hex_text};
use super::token::{SitePattern, Token, TokenPurpose, TokenRecord, TokenSpec};
use super::{NodeIdentity, pem};
use super::{hub_resource, member_resource, site_resource};

mod frame;

pub use frame::{JOIN_FRAME_BYTES_MAX, JoinAsk, JoinFrameError, JoinReply};

/// The label with which both ends export [`JoinExporter`] from the connection, with an empty context.
pub const JOIN_EXPORTER_LABEL: &[u8] = b"EXPORTER-driftless-join-v1";
const PROOF_DOMAIN: &[u8] = b"driftless join proof v1\0";

/// Keying material of the TLS connection (RFC 5705): it ties a request to one connection, so that
/// nobody in the middle can pass it on.
pub type JoinExporter = [u8; 32];

/// A node's wish to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// The token.
    pub token: String,
    /// The key that the node will sign events with.
    #[serde(with = "hex_text")]
    pub node_key: Author,
    /// The name of the node within its site, or of the hub.
    pub node: String,
    /// The site; needed where the token names a pattern.
    pub site: Option<String>,
    /// The key of the local operator.
    #[serde(with = "hex_text")]
    pub operator_key: Author,
    /// Signature of the node's key over all of this and the connection.
    #[serde(with = "hex_text")]
    proof: Proof,
}

/// What a join makes of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JoinTarget {
    /// A member of a site.
    Member {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The node.
        node: String,
    },
    /// A hub.
    Hub {
        /// Its name.
        name: String,
    },
}

/// What the hub's replica says about a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinFacts {
    /// Whether the target's site exists.
    pub site_exists: bool,
    /// The key of the `Member` or `Hub` that has the target's name.
    pub name_held_by: Option<Author>,
    /// What the requesting key was enrolled as before; authority is fixed per key.
    pub key_enrolled_as: Option<JoinTarget>,
    /// Where hubs listen (`host:port`), for the node to remember; this hub first.
    pub hub_addresses: Vec<String>,
}

/// What a node gets: certificates, and its place in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinGrant {
    /// What the node is now.
    pub target: JoinTarget,
    /// Its region.
    pub region: String,
    /// The fleet's root certificate, in PEM.
    pub root_pem: String,
    /// For an edge its certificate and the issuer's; for a hub its issuer certificate. In PEM.
    pub chain_pem: String,
    /// For an edge the local operator's certificate and the issuer's, in PEM. A hub makes its own.
    pub operator_pem: Option<String>,
    /// Where hubs listen, `host:port`.
    pub hub_addresses: Vec<String>,
}

/// The resources that make a join take effect. Writing one that says the same already changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Enrolment {
    /// To be written by the hub, the `Member` first: a node that asks again after a crash in between is
    /// recognised by it, and the site created then.
    Edge {
        /// The `Member`.
        member: Value,
        /// The `Site`, if it is new.
        site: Option<Value>,
    },
    /// To be written by the fleet's authority.
    Hub {
        /// The `Hub`.
        hub: Value,
    },
}

/// Why a node may not join. Nothing was changed, and no use of the token was spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum JoinRefused {
    #[error("the hub cannot read this request: {detail}")]
    Malformed { detail: String },
    #[error("the token is not usable: {detail}")]
    Token { detail: String },
    #[error("the token is for another fleet than this hub's: check the address")]
    WrongFleet,
    #[error("the node does not hold the key that it names, or somebody stands between it and the hub")]
    Proof,
    #[error("the token was minted by hub {hub}, which alone can honour it: dial that hub")]
    OtherHub { hub: String },
    #[error("hub {hub} does not know this token (it may have been deleted): create a new one")]
    UnknownToken { hub: String },
    #[error("the token was revoked: create a new one")]
    Revoked,
    #[error("the token has been used by {uses} nodes, as many as it allows: create a new one")]
    Exhausted { uses: u32 },
    #[error("{name:?} is not a name for a {what}: lower-case letters, digits and '-', at most 63 characters")]
    Name { what: String, name: String },
    #[error("the token creates sites named {pattern}: say which with --site")]
    SiteMissing { pattern: String },
    #[error("the token is good for site {allowed}, not for {site}")]
    SiteNotAllowed { site: String, allowed: String },
    #[error(
        "site {site} exists already, and this token only creates new ones: use a token that names the site"
    )]
    SiteExists { site: String },
    #[error(
        "{name} is enrolled already with another key: choose another name, or replace that node (`driftless site replace`)"
    )]
    NameTaken { name: String },
    #[error("this node's key is enrolled already as {name}: start from an empty data directory")]
    KeyInUse { name: String },
    #[error("hub {hub} does not know this node's key, or it was revoked: enrol the node anew with a token")]
    NotEnrolled { hub: String },
    #[error(
        "hub {hub} does not hold the fleet's authority, which has to sign a new hub: join at the hub that holds it, or import it there first"
    )]
    AuthorityNotHere { hub: String },
    #[error("the hub failed to issue certificates: {detail}")]
    Issue { detail: String },
}

/// A request that is genuine and whose token is good.
#[derive(Debug, Clone)]
pub struct VerifiedJoin {
    target: JoinTarget,
    node_key: Author,
    operator_key: Author,
    spec: TokenSpec,
}

impl JoinRequest {
    /// Makes and signs a request for the connection that `exporter` is of.
    pub fn new(
        token: &Token,
        key: &SecretKey,
        operator_key: Author,
        node: &str,
        site: Option<&str>,
        exporter: &JoinExporter,
    ) -> Self {
        let mut request = Self {
            token: token.as_str().to_owned(),
            node_key: key.public(),
            node: node.to_owned(),
            site: site.map(str::to_owned),
            operator_key,
            proof: Proof([0; SIGNATURE_BYTES]),
        };
        request.proof = Proof(key.sign(&request.transcript(exporter)));
        request
    }

    fn transcript(&self, exporter: &JoinExporter) -> Vec<u8> {
        let mut transcript = [PROOF_DOMAIN, exporter, &self.node_key.0, &self.operator_key.0].concat();
        // A site that is not given and an empty one are different: lengths alone would not tell.
        let site = self.site.as_deref().map_or_else(String::new, |site| format!("site {site}"));
        for text in [&self.token, &self.node, &site] {
            transcript.extend_from_slice(&(text.len() as u64).to_be_bytes());
            transcript.extend_from_slice(text.as_bytes());
        }
        transcript
    }
}

/// Checks a request against the record of its token (`None` when the hub has none).
///
/// Pure, and spends nothing. Cost: two signatures.
pub fn verify_join(
    hub: &NodeIdentity,
    record: Option<&TokenRecord>,
    request: &JoinRequest,
    exporter: &JoinExporter,
    now: u64,
) -> Result<VerifiedJoin, JoinRefused> {
    let token =
        Token::parse(&request.token).map_err(|error| JoinRefused::Token { detail: error.to_string() })?;
    if token.fleet() != hub.fleet {
        return Err(JoinRefused::WrongFleet);
    }
    if token.hub_key() != hub.author() {
        return Err(JoinRefused::OtherHub { hub: token.hub().to_owned() });
    }
    key::verify(&request.node_key.0, &request.transcript(exporter), &request.proof.0)
        .map_err(|_| JoinRefused::Proof)?;
    if !key::is_public_key(&request.operator_key.0) || request.operator_key == request.node_key {
        return Err(JoinRefused::Malformed {
            detail: "the operator's key is not a key of its own".to_owned(),
        });
    }
    let Some(record) = record.filter(|record| record.id() == token.id()) else {
        return Err(JoinRefused::UnknownToken { hub: hub.display_name() });
    };
    assert_eq!(record.spec(), token.spec(), "this hub signed the token that it recorded");
    if record.is_revoked() {
        return Err(JoinRefused::Revoked);
    }
    token.verify(now).map_err(|error| JoinRefused::Token { detail: error.to_string() })?;
    if record.uses_left() == 0 && !record.was_used_by(&request.node_key) {
        return Err(JoinRefused::Exhausted { uses: record.spec().uses });
    }
    let target = target(hub, request, record.spec())?;
    Ok(VerifiedJoin {
        target,
        node_key: request.node_key,
        operator_key: request.operator_key,
        spec: record.spec().clone(),
    })
}

impl VerifiedJoin {
    /// What the node wants to become: look up the [`JoinFacts`] of this.
    pub fn target(&self) -> &JoinTarget {
        &self.target
    }

    /// The node's key.
    pub fn node_key(&self) -> Author {
        self.node_key
    }

    /// Issues the certificates and spends a use of the token, unless this key did before.
    ///
    /// `record` is the one that was verified. On error it is unchanged.
    pub fn grant(
        self,
        hub: &NodeIdentity,
        record: &mut TokenRecord,
        facts: &JoinFacts,
        now: u64,
    ) -> Result<(JoinGrant, Enrolment), JoinRefused> {
        assert_eq!(record.spec(), &self.spec, "a join is granted with the record that it was verified with");
        self.check_facts(record, facts)?;
        let issued = match &self.target {
            JoinTarget::Member { namespace, site, node } => {
                self.enrol_member(hub, facts, namespace, site, node, now)
            }
            JoinTarget::Hub { name } => self.enrol_hub(hub, name, now),
        };
        let (chain, operator, enrolment) = issued?;
        if !record.record_use(&self.node_key) {
            return Err(JoinRefused::Exhausted { uses: self.spec.uses });
        }
        let grant = JoinGrant {
            target: self.target,
            region: self.spec.region,
            root_pem: hub.root_pem(),
            chain_pem: chain,
            operator_pem: operator,
            hub_addresses: facts.hub_addresses.clone(),
        };
        Ok((grant, enrolment))
    }

    fn check_facts(&self, record: &TokenRecord, facts: &JoinFacts) -> Result<(), JoinRefused> {
        if let Some(other) = facts.key_enrolled_as.as_ref().filter(|other| **other != self.target) {
            return Err(JoinRefused::KeyInUse { name: other.to_string() });
        }
        if facts.name_held_by.is_some_and(|holder| holder != self.node_key) {
            return Err(JoinRefused::NameTaken { name: self.target.to_string() });
        }
        let only_new = matches!(&self.spec.purpose, TokenPurpose::Edge { site: SitePattern::New(_), .. });
        // The first attempt of this key may have created the site.
        let own = record.was_used_by(&self.node_key) && facts.name_held_by == Some(self.node_key);
        match &self.target {
            JoinTarget::Member { site, .. } if only_new && facts.site_exists && !own => {
                Err(JoinRefused::SiteExists { site: site.clone() })
            }
            _ => Ok(()),
        }
    }

    fn enrol_member(
        &self,
        hub: &NodeIdentity,
        facts: &JoinFacts,
        namespace: &str,
        site: &str,
        node: &str,
        now: u64,
    ) -> Result<(String, Option<String>, Enrolment), JoinRefused> {
        let TokenPurpose::Edge { labels, .. } = &self.spec.purpose else {
            unreachable!("only tokens for edges have members as targets");
        };
        let (chain, operator_chain) =
            hub.issue_member(namespace, site, node, self.node_key, self.operator_key, now)?;
        let new_site =
            (!facts.site_exists).then(|| site_resource(namespace, site, &self.spec.region, labels));
        let member = member_resource(namespace, site, node, &self.node_key);
        let operator_pem = pem::encode_certificates(&operator_chain);
        let enrolment = Enrolment::Edge { member, site: new_site };
        Ok((pem::encode_certificates(&chain), Some(operator_pem), enrolment))
    }

    fn enrol_hub(
        &self,
        hub: &NodeIdentity,
        name: &str,
        now: u64,
    ) -> Result<(String, Option<String>, Enrolment), JoinRefused> {
        let authority = authority_of(hub)?;
        let issuer = certificate::issuer(authority, name, self.node_key, now)?;
        let enrolment = Enrolment::Hub { hub: hub_resource(name, &self.spec.region, &self.node_key) };
        Ok((pem::encode_certificates(&[issuer]), None, enrolment))
    }
}

impl From<IssueError> for JoinRefused {
    fn from(error: IssueError) -> Self {
        Self::Issue { detail: error.to_string() }
    }
}

impl std::fmt::Display for JoinTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Member { namespace, site, node } => write!(f, "node {node} of site {namespace}/{site}"),
            Self::Hub { name } => write!(f, "hub {name}"),
        }
    }
}

fn target(hub: &NodeIdentity, request: &JoinRequest, spec: &TokenSpec) -> Result<JoinTarget, JoinRefused> {
    let named = |what: &str, name: &str| match is_label(name) {
        true => Ok(name.to_owned()),
        false => Err(JoinRefused::Name { what: what.to_owned(), name: name.chars().take(80).collect() }),
    };
    let TokenPurpose::Edge { namespace, site: allowed, .. } = &spec.purpose else {
        authority_of(hub)?;
        return Ok(JoinTarget::Hub { name: named("hub", &request.node)? });
    };
    let site = match (&request.site, allowed) {
        (Some(site), _) => named("site", site)?,
        (None, SitePattern::Named(site)) => site.clone(),
        (None, SitePattern::New(pattern)) => {
            return Err(JoinRefused::SiteMissing { pattern: pattern.clone() });
        }
    };
    if !allowed.allows(&site) {
        return Err(JoinRefused::SiteNotAllowed { site, allowed: allowed.to_string() });
    }
    let node = named("node", &request.node)?;
    Ok(JoinTarget::Member { namespace: namespace.clone(), site, node })
}

fn authority_of(hub: &NodeIdentity) -> Result<&SecretKey, JoinRefused> {
    hub.authority.as_ref().ok_or_else(|| JoinRefused::AuthorityNotHere { hub: hub.display_name() })
}

/// A signature that prints as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof(pub(super) [u8; SIGNATURE_BYTES]);

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&driftless_core::ids::hex(&self.0))
    }
}

impl std::str::FromStr for Proof {
    type Err = key::BadSignature;

    fn from_str(text: &str) -> Result<Self, key::BadSignature> {
        // Two ids side by side.
        let (start, end) = text.split_at_checked(SIGNATURE_BYTES).ok_or(key::BadSignature)?;
        let half = |text: &str| text.parse::<Author>().map(|half| half.0).map_err(|_| key::BadSignature);
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes[..32].copy_from_slice(&half(start)?);
        bytes[32..].copy_from_slice(&half(end)?);
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests;
