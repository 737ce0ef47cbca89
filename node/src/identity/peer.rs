//! Who is at the other end of a connection, read from the certificates that it presented.

use driftless_core::ids::{Author, FleetId};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::key::{self, SIGNATURE_BYTES};
use super::principal::{ParsePrincipalError, Principal};
use crate::api::Caller;

/// What stands between the signed part of a certificate and its Ed25519 signature: the algorithm, and
/// the head of a bit string of 64 bytes (RFC 8410).
const SIGNATURE_PREFIX: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

/// The holder of a certificate of this fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The fleet, always the one that was asked for.
    pub fleet: FleetId,
    /// Who it is.
    pub principal: Principal,
    /// Its public key; for a node the author of its events.
    pub key: Author,
    /// What an operator's certificate says that it may do; empty for nodes.
    pub roles: Vec<String>,
    /// The hub that vouches for it; a hub vouches for itself.
    pub issuer: String,
    /// Start of the certificate's validity, in Unix seconds.
    pub not_before: u64,
    /// End of the certificate's validity, in Unix seconds.
    pub not_after: u64,
}

/// Why certificates are not those of a member of the fleet. The connection is to be closed; nothing
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdentityError {
    /// No client certificate, or not a leaf and its issuer.
    #[error("expected a certificate and its issuer's, found {0} certificates")]
    ChainLength(usize),
    /// Not X.509.
    #[error("malformed certificate: {0}")]
    Malformed(&'static str),
    /// The issuer was not signed by the fleet's authority, or the leaf not by the issuer.
    #[error("{0} was not signed by {1}")]
    Signature(&'static str, &'static str),
    /// A certificate has one URI, a SPIFFE id.
    #[error("certificate has {0} URIs, expected one SPIFFE id")]
    SpiffeIds(usize),
    /// The URI is no SPIFFE id of a fleet.
    #[error(transparent)]
    SpiffeId(#[from] ParsePrincipalError),
    /// The SPIFFE id is of another fleet.
    #[error("certificate is of fleet {}, not of {}", found.short(), expected.short())]
    Fleet {
        /// Ours.
        expected: FleetId,
        /// Theirs.
        found: FleetId,
    },
    /// A CA certificate where a leaf belongs, or the other way round.
    #[error("{0}")]
    Usage(&'static str),
    /// A hub may vouch for edges and people, never for another hub.
    #[error("hub {issuer} signed a certificate for {subject}, which only the fleet authority may do")]
    ForgedHub {
        /// Who signed.
        issuer: String,
        /// Whom it claims to be.
        subject: String,
    },
}

impl PeerIdentity {
    /// Reads the chain that a connection presented: leaf first, then the issuer.
    ///
    /// Checks every signature up to the fleet's key itself, because which of the presented
    /// certificates the TLS library used for its path is not known afterwards. Does not look at the
    /// clock: the handshake has checked the times. Cost: two signatures.
    pub fn from_connection_certs(
        fleet: &FleetId,
        chain: &[CertificateDer<'_>],
    ) -> Result<Self, PeerIdentityError> {
        let [leaf, issuer] = chain else {
            return Err(PeerIdentityError::ChainLength(chain.len()));
        };
        let (leaf, issuer) = (parse(leaf)?, parse(issuer)?);
        let issuer_key = public_key(&issuer)?;
        check_signature(&issuer, &fleet.0, "the issuer", "the fleet's authority")?;
        check_signature(&leaf, &issuer_key, "the certificate", "the issuer")?;
        if !issuer.is_ca() {
            return Err(PeerIdentityError::Usage("the issuer's certificate does not allow it to sign"));
        }
        if leaf.is_ca() {
            return Err(PeerIdentityError::Usage("an issuer's certificate is not for connections"));
        }
        let Principal::Hub { name: hub } = principal(fleet, &issuer)? else {
            return Err(PeerIdentityError::Usage("the issuer is not a hub"));
        };
        let principal = principal(fleet, &leaf)?;
        let key = public_key(&leaf)?;
        if matches!(&principal, Principal::Hub { name } if *name != hub || key != issuer_key) {
            return Err(PeerIdentityError::ForgedHub { issuer: hub, subject: principal.to_string() });
        }
        Ok(Self {
            fleet: *fleet,
            roles: roles(&leaf)?,
            principal,
            key: Author(key),
            issuer: hub,
            not_before: seconds(leaf.validity().not_before.timestamp()),
            not_after: seconds(leaf.validity().not_after.timestamp()),
        })
    }
}

impl From<&PeerIdentity> for Caller {
    /// The peer as a caller of the API.
    fn from(peer: &PeerIdentity) -> Self {
        let site = match &peer.principal {
            Principal::Node { namespace, site, .. } | Principal::SiteOperator { namespace, site, .. } => {
                Some((namespace.clone(), site.clone()))
            }
            Principal::Hub { .. } | Principal::User { .. } => None,
        };
        Self { name: peer.principal.to_string(), roles: peer.roles.clone(), site }
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerIdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PeerIdentityError::Malformed("bytes after its end")),
        Err(_) => Err(PeerIdentityError::Malformed("not X.509")),
    }
}

fn public_key(certificate: &X509Certificate<'_>) -> Result<[u8; 32], PeerIdentityError> {
    let info = certificate.public_key();
    if info.algorithm.algorithm != x509_parser::oid_registry::OID_SIG_ED25519 {
        return Err(PeerIdentityError::Malformed("its key is not Ed25519"));
    }
    let key: [u8; 32] = info
        .subject_public_key
        .data
        .as_ref()
        .try_into()
        .map_err(|_| PeerIdentityError::Malformed("its key is not 32 bytes long"))?;
    match key::is_public_key(&key) {
        true => Ok(key),
        false => Err(PeerIdentityError::Malformed("its key is not on the curve")),
    }
}

fn check_signature(
    certificate: &X509Certificate<'_>,
    signer: &[u8; 32],
    what: &'static str,
    by: &'static str,
) -> Result<(), PeerIdentityError> {
    let error = PeerIdentityError::Signature(what, by);
    let signed = certificate.tbs_certificate.as_ref();
    // The parser is lenient about what the signature does not cover; a certificate has one form here.
    let (head, signature) =
        certificate.as_raw().split_last_chunk::<SIGNATURE_BYTES>().ok_or(error.clone())?;
    match head.strip_suffix(&SIGNATURE_PREFIX).is_some_and(|head| head.ends_with(signed)) {
        true => key::verify(signer, signed, signature).map_err(|_| error),
        false => Err(error),
    }
}

fn principal(fleet: &FleetId, certificate: &X509Certificate<'_>) -> Result<Principal, PeerIdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| PeerIdentityError::Malformed("alternative names"))?
        .ok_or(PeerIdentityError::SpiffeIds(0))?;
    let uris: Vec<&str> = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(PeerIdentityError::SpiffeIds(uris.len()));
    };
    match Principal::from_spiffe_id(uri)? {
        (found, principal) if found == *fleet => Ok(principal),
        (found, _) => Err(PeerIdentityError::Fleet { expected: *fleet, found }),
    }
}

fn roles(leaf: &X509Certificate<'_>) -> Result<Vec<String>, PeerIdentityError> {
    let mut roles = Vec::new();
    for organization in leaf.subject().iter_organization() {
        let text = organization.as_str().map_err(|_| PeerIdentityError::Malformed("organization"))?;
        roles.extend(text.split(',').map(str::to_owned));
    }
    Ok(roles)
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}
