//! Renewal of an edge's certificates, also long after they have expired.
//!
//! A site may be dark for a year; its certificate lasts ninety days. What an edge is allowed is fixed
//! per key by its `Member`, so its key alone is enough to renew: it dials a hub on
//! `driftless-join/1`, where no certificate is asked for, and proves that it holds the key. No token
//! is involved, and any hub of the fleet can answer. A hub renews itself: [`NodeIdentity::renew_hub`].

use driftless_core::ids::Author;
use serde::{Deserialize, Serialize};

use super::join::{JoinExporter, JoinRefused, JoinTarget, Proof};
use super::key::{self, SIGNATURE_BYTES, hex_text};
use super::peer::{PeerIdentity, PeerIdentityError};
use super::pem::{self, ParsePemError};
use super::{NodeIdentity, Principal};

const PROOF_DOMAIN: &[u8] = b"driftless renewal proof v1\0";

/// An enrolled edge's wish for new certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalRequest {
    /// The node's key.
    #[serde(with = "hex_text")]
    pub node_key: Author,
    /// The key of the local operator.
    #[serde(with = "hex_text")]
    pub operator_key: Author,
    /// Signature of the node's key over all of this and the connection.
    #[serde(with = "hex_text")]
    proof: Proof,
}

/// New certificates for the same keys and names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalGrant {
    /// The node's certificate and its issuer's, in PEM.
    pub chain_pem: String,
    /// The local operator's certificate and its issuer's, in PEM.
    pub operator_pem: String,
    /// Where hubs listen, `host:port`.
    pub hub_addresses: Vec<String>,
}

/// Why renewed certificates were not taken. The node keeps those that it has.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// Damaged certificates.
    #[error("the hub sent damaged certificates")]
    Pem(#[from] ParsePemError),
    /// Certificates of somebody else.
    #[error("the hub sent unusable certificates")]
    Certificates(#[from] PeerIdentityError),
    /// Certificates for another key or name.
    #[error("the hub sent a certificate for {0}, or for another key")]
    NotOurs(Principal),
}

impl RenewalRequest {
    /// Makes and signs a request for the connection that `exporter` is of.
    pub fn new(node: &NodeIdentity, exporter: &JoinExporter) -> Self {
        let mut request = Self {
            node_key: node.author(),
            operator_key: node.operator.key.public(),
            proof: Proof([0; SIGNATURE_BYTES]),
        };
        request.proof = Proof(node.key.sign(&request.transcript(exporter)));
        request
    }

    fn transcript(&self, exporter: &JoinExporter) -> Vec<u8> {
        [PROOF_DOMAIN, exporter, &self.node_key.0, &self.operator_key.0].concat()
    }
}

/// Renews the certificates of an edge, at a hub.
///
/// `enrolled_as` is what the hub's replica says of the request's key: `None` for a key that it does
/// not know or that was revoked. Pure; nothing is to be written.
pub fn grant_renewal(
    hub: &NodeIdentity,
    request: &RenewalRequest,
    exporter: &JoinExporter,
    enrolled_as: Option<&JoinTarget>,
    hub_addresses: &[String],
    now: u64,
) -> Result<RenewalGrant, JoinRefused> {
    key::verify(&request.node_key.0, &request.transcript(exporter), &request.proof.0)
        .map_err(|_| JoinRefused::Proof)?;
    let Some(JoinTarget::Member { namespace, site, node }) = enrolled_as else {
        return Err(JoinRefused::NotEnrolled { hub: hub.display_name() });
    };
    let (chain, operator) =
        hub.issue_member(namespace, site, node, request.node_key, request.operator_key, now)?;
    Ok(RenewalGrant {
        chain_pem: pem::encode_certificates(&chain),
        operator_pem: pem::encode_certificates(&operator),
        hub_addresses: hub_addresses.to_vec(),
    })
}

impl NodeIdentity {
    /// Takes renewed certificates after checking them; [`NodeIdentity::save`] keeps them.
    pub fn take_renewal(&mut self, grant: &RenewalGrant) -> Result<(), RenewalError> {
        let chain = pem::decode_certificates(&grant.chain_pem)?;
        let operator = pem::decode_certificates(&grant.operator_pem)?;
        let peer = PeerIdentity::from_connection_certs(&self.fleet, &chain)?;
        let admin = PeerIdentity::from_connection_certs(&self.fleet, &operator)?;
        if peer.principal != self.principal() || peer.key != self.author() {
            return Err(RenewalError::NotOurs(peer.principal));
        }
        if admin.principal != self.role.local_operator() || admin.key != self.operator.key.public() {
            return Err(RenewalError::NotOurs(admin.principal));
        }
        self.chain = chain;
        self.operator.chain = operator;
        (self.not_before, self.not_after) = (peer.not_before, peer.not_after);
        if !grant.hub_addresses.is_empty() {
            self.hub_addresses = grant.hub_addresses.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::testing::{EXPORTER, Fleet};
    use crate::identity::{JoinAsk, JoinReply, SecretKey};

    const NOW: u64 = 1_790_000_000;
    const YEAR: u64 = 365 * 24 * 60 * 60;

    fn member(site: &str) -> JoinTarget {
        JoinTarget::Member { namespace: "default".to_owned(), site: site.to_owned(), node: "a".to_owned() }
    }

    #[test]
    fn a_site_that_was_dark_for_a_year_renews_at_any_hub() {
        let mut fleet = Fleet::start(NOW);
        let mut edge = fleet.enrol_edge("store-17", "a", NOW);
        let other_hub = fleet.enrol_hub("us-1", NOW + YEAR);
        assert!(edge.needs_renewal(NOW + YEAR) && edge.not_after < NOW + YEAR);
        let frame = JoinAsk::Renew(RenewalRequest::new(&edge, &EXPORTER)).to_frame();
        let JoinAsk::Renew(request) = JoinAsk::from_frame(&frame).unwrap() else { panic!() };
        let addresses = ["us:7420".to_owned()];
        let target = member("store-17");
        let grant =
            grant_renewal(&other_hub, &request, &EXPORTER, Some(&target), &addresses, NOW + YEAR).unwrap();
        let frame = JoinReply::Renewed(Box::new(grant)).to_frame();
        let JoinReply::Renewed(grant) = JoinReply::from_frame(&frame).unwrap() else { panic!() };
        let author = edge.author();
        edge.take_renewal(&grant).unwrap();
        assert!(!edge.needs_renewal(NOW + YEAR));
        assert_eq!((edge.author(), &edge.hub_addresses[..]), (author, &addresses[..]));
        let dir = tempfile::tempdir().unwrap();
        edge.save(dir.path()).unwrap();
        let loaded = NodeIdentity::load(dir.path()).unwrap();
        assert_eq!((loaded.not_after, loaded.hub_addresses), (edge.not_after, edge.hub_addresses));
    }

    #[test]
    fn only_an_enrolled_key_on_its_own_connection_renews() {
        let mut fleet = Fleet::start(NOW);
        let edge = fleet.enrol_edge("store-17", "a", NOW);
        let request = RenewalRequest::new(&edge, &EXPORTER);
        let target = member("store-17");
        let renew = |request: &RenewalRequest, exporter, enrolled_as| {
            grant_renewal(&fleet.hub, request, exporter, enrolled_as, &[], NOW).map(|_| ())
        };
        assert_eq!(renew(&request, &EXPORTER, Some(&target)), Ok(()));
        assert_eq!(renew(&request, &[1; 32], Some(&target)), Err(JoinRefused::Proof));
        let operator_key = SecretKey::from_seed([5; 32]).public();
        let changed = RenewalRequest { operator_key, ..request.clone() };
        assert_eq!(renew(&changed, &EXPORTER, Some(&target)), Err(JoinRefused::Proof));
        let unknown = JoinRefused::NotEnrolled { hub: "eu-1".to_owned() };
        assert_eq!(renew(&request, &EXPORTER, None), Err(unknown.clone()));
        let hub = JoinTarget::Hub { name: "us-1".to_owned() };
        assert_eq!(renew(&request, &EXPORTER, Some(&hub)), Err(unknown));
    }

    #[test]
    fn a_node_takes_certificates_for_itself_alone() {
        let mut fleet = Fleet::start(NOW);
        let mut edge = fleet.enrol_edge("store-17", "a", NOW);
        let mut neighbour = fleet.enrol_edge("store-18", "a", NOW);
        let grant_for = |node: &NodeIdentity, site: &str| {
            let request = RenewalRequest::new(node, &EXPORTER);
            grant_renewal(&fleet.hub, &request, &EXPORTER, Some(&member(site)), &[], NOW + 1).unwrap()
        };
        let (ours, theirs) = (grant_for(&edge, "store-17"), grant_for(&neighbour, "store-18"));
        let before = edge.chain.clone();
        for wrong in [
            theirs.clone(),
            RenewalGrant { chain_pem: theirs.chain_pem.clone(), ..ours.clone() },
            RenewalGrant { operator_pem: theirs.operator_pem.clone(), ..ours.clone() },
            grant_for(&edge, "store-18"),
            RenewalGrant { chain_pem: String::new(), ..ours.clone() },
        ] {
            assert!(edge.take_renewal(&wrong).is_err());
            assert_eq!(edge.chain, before);
        }
        edge.take_renewal(&ours).unwrap();
        neighbour.take_renewal(&theirs).unwrap();
        assert_ne!(edge.chain, before);
    }
}
