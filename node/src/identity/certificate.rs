//! The certificates of a fleet: one root, an issuer per hub, and leaves.
//!
//! Nobody has to carry the root: its subject and key follow from the fleet's id, so verification
//! builds its trust anchor from that id alone. The root in PEM exists for clients that want a file.
//!
//! ```text
//! root    CN=<fleet>             signed by the authority, with its own key       20 years
//! issuer  CN=<hub>, OU=issuer    signed by the authority, on the hub's node key  10 years, no CA below
//! leaf    CN=<name>              signed by an issuer, on the holder's key        90 days
//! ```

use std::net::IpAddr;
use std::time::Duration;

use driftless_core::ids::{Author, FleetId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor};

use super::key::{CertificateSigner, CertifiedPublicKey, SecretKey};
use super::principal::Principal;

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// Lifetime of the root certificate.
pub(super) const ROOT_LIFETIME: Duration = Duration::from_secs(20 * 365 * DAY_SECONDS);
/// Lifetime of an issuer certificate.
pub(super) const ISSUER_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY_SECONDS);
/// Lifetime of the certificate of a node or an operator.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(90 * DAY_SECONDS);
/// How far certificates are backdated, for verifiers whose clock is behind.
pub(super) const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Latest time, in Unix seconds, at which certificates are issued: the end of the year 2200.
const ISSUING_TIME_MAX: u64 = 7_289_654_399;
/// Most host names and addresses in one certificate.
pub(super) const HOSTS_MAX: usize = 64;
/// What every node's API can be called by on its own machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why a certificate could not be issued. Nothing was issued and nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Certificates cannot say this time.
    #[error("the clock says {0} seconds after 1970: set it before certificates are issued")]
    Clock(u64),
    /// Not a DNS name and not an address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Host(String),
    /// More hosts than a certificate may name.
    #[error("{0} host names and addresses, at most {HOSTS_MAX} go into a certificate")]
    TooManyHosts(usize),
    /// Roles and names end up in certificates as they are.
    #[error("{0:?} is not a name of lower-case letters, digits and '-' (63 characters)")]
    Name(String),
    /// Somebody who may do nothing needs no certificate, and no role must not come to mean every role.
    #[error("name at least one role")]
    NoRole,
    /// This node may not sign certificates.
    #[error("this node is an edge, only hubs issue certificates")]
    NotAnIssuer,
    /// The encoder refused.
    #[error("certificate could not be encoded")]
    Encoding(#[from] rcgen::Error),
    /// The random source failed.
    #[error("random source failed")]
    Random(#[from] getrandom::Error),
}

/// What a leaf certificate says of its holder.
#[derive(Debug, Clone)]
pub(super) struct Leaf<'a> {
    pub(super) principal: &'a Principal,
    pub(super) key: Author,
    /// DNS names and addresses beyond those of the local machine; for hubs, who vouch for themselves.
    pub(super) hosts: &'a [String],
    /// What an operator may do, as the subject's organisation.
    pub(super) roles: &'a [String],
}

/// A hub's right to sign leaves: its name and its node key.
#[derive(Debug, Clone, Copy)]
pub struct IssuingHub<'a> {
    pub(super) fleet: FleetId,
    pub(super) name: &'a str,
    pub(super) key: &'a SecretKey,
}

/// The fleet's self-signed root.
pub(super) fn root(authority: &SecretKey, now: u64) -> Result<CertificateDer<'static>, IssueError> {
    let params = authority_params(&authority.fleet(), now)?;
    Ok(params.self_signed(&CertificateSigner::new(authority))?.into())
}

/// The certificate that makes a hub an issuer.
pub(super) fn issuer(
    authority: &SecretKey,
    hub: &str,
    key: Author,
    now: u64,
) -> Result<CertificateDer<'static>, IssueError> {
    let fleet = authority.fleet();
    let parent = authority_params(&fleet, now)?;
    let parent = Issuer::from_params(&parent, CertificateSigner::new(authority));
    let params = issuer_params(&fleet, hub, key, now)?;
    Ok(params.signed_by(&CertifiedPublicKey(key.0), &parent)?.into())
}

/// A leaf, signed by a hub.
pub(super) fn leaf(
    hub: &IssuingHub<'_>,
    leaf: &Leaf<'_>,
    now: u64,
) -> Result<CertificateDer<'static>, IssueError> {
    let parent = issuer_params(&hub.fleet, hub.name, hub.key.public(), now)?;
    let parent = Issuer::from_params(&parent, CertificateSigner::new(hub.key));
    let params = leaf_params(&hub.fleet, leaf, now)?;
    Ok(params.signed_by(&CertifiedPublicKey(leaf.key.0), &parent)?.into())
}

/// The root of trust of a fleet, from nothing but its id.
pub(super) fn trust_anchor(fleet: &FleetId) -> TrustAnchor<'static> {
    let name = fleet.to_string();
    assert_eq!(name.len(), 64, "the lengths below are those of 64 characters");
    // SET { SEQUENCE { OID 2.5.4.3 (common name), UTF8String } }
    let mut subject = vec![0x31, 0x49, 0x30, 0x47, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x40];
    subject.extend_from_slice(name.as_bytes());
    // SEQUENCE { OID 1.3.101.112 (Ed25519) }, BIT STRING
    let mut key = vec![0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    key.extend_from_slice(&fleet.0);
    TrustAnchor {
        subject: Der::from(subject),
        subject_public_key_info: Der::from(key),
        name_constraints: None,
    }
}

/// A root store that trusts one fleet and nothing else.
pub(super) fn root_store(fleet: &FleetId) -> RootCertStore {
    RootCertStore { roots: vec![trust_anchor(fleet)] }
}

fn authority_params(fleet: &FleetId, now: u64) -> Result<CertificateParams, IssueError> {
    let mut params = common_params(&fleet.to_string(), now, ROOT_LIFETIME)?;
    params.serial_number = Some(serial("root", &fleet.0, now));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn issuer_params(fleet: &FleetId, hub: &str, key: Author, now: u64) -> Result<CertificateParams, IssueError> {
    let principal = Principal::Hub { name: checked_name(hub)? };
    let mut params = common_params(hub, now, ISSUER_LIFETIME)?;
    params.distinguished_name.push(DnType::OrganizationalUnitName, "issuer");
    params.serial_number = Some(serial("issuer", &key.0, now));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(principal.spiffe_id(fleet).try_into()?)];
    Ok(params)
}

fn leaf_params(fleet: &FleetId, leaf: &Leaf<'_>, now: u64) -> Result<CertificateParams, IssueError> {
    let (Principal::Hub { name }
    | Principal::Node { node: name, .. }
    | Principal::User { name }
    | Principal::SiteOperator { name, .. }) = leaf.principal;
    let mut params = common_params(&checked_name(name)?, now, LEAF_LIFETIME)?;
    let spiffe_id = leaf.principal.spiffe_id(fleet);
    params.serial_number = Some(serial(&spiffe_id, &leaf.key.0, now));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?)];
    if !leaf.roles.is_empty() {
        let roles: Vec<_> = leaf.roles.iter().map(|role| checked_role(role)).collect::<Result<_, _>>()?;
        params.distinguished_name.push(DnType::OrganizationName, roles.join(","));
    }
    if leaf.principal.is_node() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.extend(host_names(leaf.hosts)?);
    }
    Ok(params)
}

fn common_params(name: &str, now: u64, lifetime: Duration) -> Result<CertificateParams, IssueError> {
    if !(DAY_SECONDS..=ISSUING_TIME_MAX).contains(&now) {
        return Err(IssueError::Clock(now));
    }
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn host_names(hosts: &[String]) -> Result<Vec<SanType>, IssueError> {
    if hosts.len() > HOSTS_MAX {
        return Err(IssueError::TooManyHosts(hosts.len()));
    }
    let mut all: Vec<&str> = LOCAL_HOSTS.to_vec();
    for host in hosts {
        if !all.contains(&host.as_str()) {
            all.push(host);
        }
    }
    all.into_iter().map(host_name).collect()
}

fn host_name(host: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    match driftless_core::name::is_name(&host.to_ascii_lowercase()) {
        true => Ok(SanType::DnsName(host.to_ascii_lowercase().try_into()?)),
        false => Err(IssueError::Host(host.chars().take(80).collect())),
    }
}

fn checked_name(name: &str) -> Result<String, IssueError> {
    match driftless_core::name::is_label(name) {
        true => Ok(name.to_owned()),
        false => Err(IssueError::Name(name.chars().take(80).collect())),
    }
}

/// A role, or a role in one namespace: `operator`, `operator@acme`.
fn checked_role(role: &str) -> Result<String, IssueError> {
    let (name, namespace) = role.split_once('@').map_or((role, None), |(name, at)| (name, Some(at)));
    checked_name(name)?;
    namespace.map(checked_name).transpose()?;
    Ok(role.to_owned())
}

/// A serial number that differs whenever holder, key or time do; 127 bits, so that it stays positive.
fn serial(holder: &str, key: &[u8; 32], now: u64) -> SerialNumber {
    let mut hasher = blake3::Hasher::new_derive_key("driftless 2026 certificate serial number");
    hasher.update(&now.to_be_bytes()).update(key).update(holder.as_bytes());
    let mut serial = hasher.finalize().as_bytes()[..16].to_vec();
    // Positive, and of full length whatever the hash.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    SerialNumber::from(serial)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_trust_anchor_is_the_root_without_carrying_it() {
        let authority = SecretKey::from_seed([1; 32]);
        let der = root(&authority, NOW).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let anchor = trust_anchor(&authority.fleet());
        let content_of = |sequence: &[u8]| sequence[2..].to_vec();
        assert_eq!(anchor.subject.as_ref(), content_of(parsed.subject().as_raw()));
        assert_eq!(anchor.subject_public_key_info.as_ref(), content_of(parsed.public_key().raw));
        let mut carried = RootCertStore::empty();
        carried.add(der).unwrap();
        assert_eq!(carried.roots, root_store(&authority.fleet()).roots);
    }

    #[test]
    fn lifetimes_are_as_promised() {
        let authority = SecretKey::from_seed([1; 32]);
        let der = root(&authority, NOW).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let end = NOW + ROOT_LIFETIME.as_secs();
        assert_eq!(parsed.validity().not_before.timestamp(), (NOW - BACKDATED.as_secs()) as i64);
        assert_eq!(parsed.validity().not_after.timestamp(), end as i64);
    }

    #[test]
    fn a_clock_that_cannot_be_right_issues_nothing() {
        let authority = SecretKey::from_seed([1; 32]);
        for now in [0, 5, u64::MAX, ISSUING_TIME_MAX + 1] {
            assert!(matches!(root(&authority, now), Err(IssueError::Clock(_))), "{now}");
        }
        assert!(root(&authority, ISSUING_TIME_MAX).is_ok());
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(host_names(&[]).unwrap().len(), 3);
        assert_eq!(host_names(&["localhost".to_owned(), "::1".to_owned()]).unwrap().len(), 3);
        assert_eq!(host_names(&["Hub.Example.com".to_owned(), "10.0.0.7".to_owned()]).unwrap().len(), 5);
        for bad in ["", "a b", "*.example.com", "http://x", "10.0.0.7:7420"] {
            assert!(matches!(host_names(&[bad.to_owned()]), Err(IssueError::Host(_))), "{bad}");
        }
        let many: Vec<_> = (0..=HOSTS_MAX).map(|n| format!("h{n}")).collect();
        assert!(matches!(host_names(&many), Err(IssueError::TooManyHosts(_))));
    }

    #[test]
    fn serial_numbers_follow_holder_key_and_time() {
        let one = serial("hub/eu-1", &[1; 32], NOW);
        assert_eq!(one, serial("hub/eu-1", &[1; 32], NOW));
        assert_ne!(one, serial("hub/eu-2", &[1; 32], NOW));
        assert_ne!(one, serial("hub/eu-1", &[2; 32], NOW));
        assert_ne!(one, serial("hub/eu-1", &[1; 32], NOW + 1));
        assert!(one.len() == 16 && one.to_bytes()[0] < 0x80);
    }
}
