//! TLS configurations: QUIC between nodes, HTTPS for people and programs.
//!
//! Everything is TLS 1.3 without resumption, so that every connection proves its identity anew.
//! A node is verified by the fleet's key and by its SPIFFE id, never by a DNS name; DNS names serve
//! the HTTPS API alone, whose clients are ordinary ones.
//!
//! One QUIC endpoint serves two protocols. On [`ALPN_SYNC`] both sides are members of the fleet; on
//! [`ALPN_JOIN`] the client has no certificate yet. TLS offers no way to require a certificate for
//! one of them only, so the server asks for one and accepts none, and **whoever accepts connections
//! must refuse `driftless/1` unless [`PeerIdentity::from_connection_certs`] succeeds**.

use std::sync::Arc;

use driftless_core::ids::FleetId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::certificate::root_store;
use super::peer::PeerIdentity;
use super::pem::{self, ParsePemError};
use super::{NodeIdentity, Principal};

/// The protocol of synchronisation; both sides present a certificate.
pub const ALPN_SYNC: &[u8] = b"driftless/1";
/// The protocol of enrolment; the client has no certificate.
pub const ALPN_JOIN: &[u8] = b"driftless-join/1";
/// The protocol of the API.
pub const ALPN_HTTP: &[u8] = b"http/1.1";
/// The server name to dial QUIC with. It is sent to nobody and decides nothing.
pub const QUIC_SERVER_NAME: &str = "node.driftless.invalid";

/// Why a TLS configuration could not be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key or certificates do not fit together.
    #[error("key or certificate unusable for TLS")]
    Rustls(#[from] rustls::Error),
    /// The trust anchor is unusable.
    #[error("fleet authority unusable for TLS")]
    Anchor(#[from] VerifierBuilderError),
    /// Certificates in PEM, as a kubeconfig has them, are damaged.
    #[error(transparent)]
    Pem(#[from] ParsePemError),
    /// A private key in PEM, as a kubeconfig has it, is damaged.
    #[error("not a private key in PEM: {0}")]
    KeyPem(String),
    /// The certificate for clients that know no Ed25519 could not be made.
    #[error("certificate for browsers could not be made")]
    Browser(#[from] rcgen::Error),
}

/// For the QUIC endpoint of a node: client certificates of this fleet, or none (see above).
pub fn quic_server_config(node: &NodeIdentity) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_details(provider(), clock_of(node))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(optional_client(&node.fleet)?)
        .with_single_cert(node.chain.clone(), node.key.to_pkcs8_der())?;
    config.alpn_protocols = vec![ALPN_SYNC.to_vec(), ALPN_JOIN.to_vec()];
    Ok(without_resumption(config))
}

/// For dialling a hub or another node as a member of the fleet.
pub fn quic_client_config(node: &NodeIdentity, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(NodeVerifier::new(node.fleet, Expected::Node));
    let mut config = ClientConfig::builder_with_details(provider(), clock_of(node))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(node.chain.clone(), node.key.to_pkcs8_der())?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For dialling a hub with nothing but a token: the server must be a hub of the pinned fleet.
pub fn join_client_config(fleet: &FleetId) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(NodeVerifier::new(*fleet, Expected::Hub));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For the HTTPS API: a client certificate of this fleet, or none and then a bearer token.
///
/// Browsers know no Ed25519. They get a self-signed certificate on a key that lives as long as the
/// configuration: the page asks to be trusted, as it would under any private authority.
pub fn https_server_config(node: &NodeIdentity) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_details(provider(), clock_of(node))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(optional_client(&node.fleet)?)
        .with_cert_resolver(Arc::new(ApiCertificates::new(node)?));
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(without_resumption(config))
}

/// For calling an API: trusts the given roots, and presents a certificate if it has one.
pub fn https_client_config(ca_pem: &str, client: Option<ClientPem<'_>>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::decode_certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_auth_cert(
            pem::decode_certificates(client.certificates)?,
            PrivateKeyDer::from_pem_slice(client.key.as_bytes())
                .map_err(|error| TlsError::KeyPem(error.to_string()))?,
        )?,
    };
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A client's certificates (leaf first) and key, in PEM.
#[derive(Clone, Copy)]
pub struct ClientPem<'a> {
    /// Leaf and issuer.
    pub certificates: &'a str,
    /// Private key, PKCS#8.
    pub key: &'a str,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn optional_client(fleet: &FleetId) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(fleet)), provider())
        .allow_unauthenticated()
        .build()
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// The wall clock, but never before our own certificate began: a machine without a battery starts in
/// 1970 and would find everybody's certificate not yet valid until somebody tells it the time.
#[derive(Debug)]
struct Clock {
    not_before: UnixTime,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::now().max(self.not_before))
    }
}

fn clock_of(node: &NodeIdentity) -> Arc<dyn TimeProvider> {
    let not_before = UnixTime::since_unix_epoch(std::time::Duration::from_secs(node.not_before));
    Arc::new(Clock { not_before })
}

/// Whom a client wants to find at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Hub,
    Node,
}

/// Verifies a server by the fleet's key and its SPIFFE id.
#[derive(Debug)]
struct NodeVerifier {
    fleet: FleetId,
    expected: Expected,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NodeVerifier {
    fn new(fleet: FleetId, expected: Expected) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { fleet, expected, roots: root_store(&fleet), algorithms }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let peer = PeerIdentity::from_connection_certs(&self.fleet, &chain)
            .map_err(|error| CertificateError::Other(OtherError(Arc::new(error))))?;
        let wanted = match self.expected {
            Expected::Hub => matches!(peer.principal, Principal::Hub { .. }),
            Expected::Node => peer.principal.is_node(),
        };
        match wanted {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The node's certificate for clients that know Ed25519, and one for browsers.
#[derive(Debug)]
struct ApiCertificates {
    node: Arc<CertifiedKey>,
    browser: Arc<CertifiedKey>,
}

impl ApiCertificates {
    fn new(node: &NodeIdentity) -> Result<Self, TlsError> {
        let provider = provider();
        let own = CertifiedKey::from_der(node.chain.clone(), node.key.to_pkcs8_der(), &provider)?;
        let p256 = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = format!("driftless {}", node.display_name());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&p256)?.into();
        let key = PrivateKeyDer::Pkcs8(p256.serialize_der().into());
        let browser = CertifiedKey::from_der(vec![certificate], key, &provider)?;
        Ok(Self { node: Arc::new(own), browser: Arc::new(browser) })
    }
}

impl ResolvesServerCert for ApiCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.signature_schemes().contains(&SignatureScheme::ED25519) {
            true => Some(Arc::clone(&self.node)),
            false => Some(Arc::clone(&self.browser)),
        }
    }
}
