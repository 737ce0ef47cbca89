//! Real TLS handshakes in memory: who is let in, and who is not.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::{ServerName, UnixTime};

use super::super::certificate::{self, Leaf};
use super::super::key::{CertificateSigner, CertifiedPublicKey};
use super::*;

#[test]
fn members_of_a_fleet_recognise_each_other() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    let second = fleet.enrol_hub("us-1", now());
    for (client, server) in
        [(&edge, &fleet.hub), (&second, &fleet.hub), (&fleet.hub, &second), (&edge, &edge)]
    {
        let (dialling, accepting) = sync(client, server).unwrap();
        assert_eq!(dialling.alpn_protocol(), Some(ALPN_SYNC));
        assert_eq!(accepting.alpn_protocol(), Some(ALPN_SYNC));
        let at_server = peer(&fleet, accepting.peer_certificates()).unwrap();
        assert_eq!((at_server.principal, at_server.key), (client.principal(), client.author()));
        let at_client = peer(&fleet, dialling.peer_certificates()).unwrap();
        assert_eq!((at_client.principal, at_client.key), (server.principal(), server.author()));
        assert_eq!(at_client.not_after, server.not_after);
    }
}

#[test]
fn another_fleet_is_refused_both_ways() {
    let mut fleet = Fleet::start(now());
    let mut foreign = Fleet::start(now());
    let ours = fleet.enrol_edge("store-17", "a", now());
    let theirs = foreign.enrol_edge("store-17", "a", now());
    assert_refused(sync(&ours, &foreign.hub), Side::Client, CertificateError::UnknownIssuer);
    // A client that would take our hub for one of its own.
    let intruder = NodeIdentity { fleet: fleet.hub.fleet, ..theirs };
    assert_refused(sync(&intruder, &fleet.hub), Side::Server, CertificateError::UnknownIssuer);
}

#[test]
fn expired_certificates_are_refused_both_ways() {
    let (then, now) = (now() - 100 * DAY, now());
    let mut fleet = Fleet::start(then);
    let old_edge = fleet.enrol_edge("store-1", "a", then);
    let new_edge = fleet.enrol_edge("store-2", "a", now);
    let expired = |refused: Result<_, Refused>, side| {
        let refused = refused.map(|_| ()).unwrap_err();
        let is_expired = matches!(
            refused.error,
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        );
        assert!(refused.side == side && is_expired, "{refused:?}");
    };
    expired(sync(&new_edge, &fleet.hub), Side::Client);
    fleet.hub.renew_hub(&[], now).unwrap();
    sync(&new_edge, &fleet.hub).unwrap();
    expired(sync(&old_edge, &fleet.hub), Side::Server);
}

#[test]
fn certificates_of_the_future_are_refused() {
    let (soon, now) = (now() + DAY, now());
    let mut fleet = Fleet::start(now);
    let early = fleet.enrol_edge("store-1", "a", soon);
    let refused = sync(&early, &fleet.hub).map(|_| ()).unwrap_err();
    assert_eq!(refused.side, Side::Server);
    fleet.hub.renew_hub(&[], soon).unwrap();
    // Both sides are ahead, so each takes its own certificate for proof that its clock is behind.
    sync(&early, &fleet.hub).unwrap();
}

#[test]
fn joining_needs_no_certificate_and_pins_the_fleet() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    let join = || join_client_config(&fleet.hub.fleet).unwrap();
    let (dialling, accepting) = handshake(join(), quic_server_config(&fleet.hub).unwrap()).unwrap();
    assert_eq!(accepting.alpn_protocol(), Some(ALPN_JOIN));
    let at_client = dialling.export_keying_material([0; 32], JOIN_EXPORTER_LABEL, Some(&[])).unwrap();
    let at_server = accepting.export_keying_material([0; 32], JOIN_EXPORTER_LABEL, Some(&[])).unwrap();
    assert_eq!(at_client, at_server);
    assert_eq!(peer(&fleet, accepting.peer_certificates()), Err(PeerIdentityError::ChainLength(0)));
    let foreign = Fleet::start(now());
    let refused = handshake(join(), quic_server_config(&foreign.hub).unwrap());
    assert_refused(refused, Side::Client, CertificateError::UnknownIssuer);
    // An edge is a node of the right fleet, and still nobody to join at.
    let refused = handshake(join(), quic_server_config(&edge).unwrap());
    assert_refused(refused, Side::Client, CertificateError::ApplicationVerificationFailure);
}

#[test]
fn a_protocol_that_nobody_speaks_is_refused() {
    let fleet = Fleet::start(now());
    let client = quic_client_config(&fleet.hub, b"h3").unwrap();
    let refused = handshake(client, quic_server_config(&fleet.hub).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(refused, Refused { side: Side::Server, error: Error::NoApplicationProtocol });
}

#[test]
fn an_edge_cannot_sign_for_others() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    // Everything right, except that the edge's certificate is not that of an authority.
    let leaf = forged(&fleet, "eu-1", edge.author(), &edge.key, &named("a"), IsCa::ExplicitNoCa);
    let mallory = |chain| NodeIdentity { chain, ..edge.clone() };
    let chain = vec![leaf.clone(), edge.chain[0].clone(), edge.chain[1].clone()];
    for (refused, side) in [
        (sync(&mallory(chain.clone()), &fleet.hub), Side::Server),
        (sync(&fleet.hub, &mallory(chain.clone())), Side::Client),
    ] {
        let refused = refused.map(|_| ()).unwrap_err();
        assert_eq!(refused.side, side);
        assert!(refused.error.to_string().contains("EndEntity"), "{refused:?}");
    }
    assert!(peer(&fleet, Some(&chain)).is_err());
    let short = [leaf, edge.chain[0].clone()];
    let signature = PeerIdentityError::Signature("the issuer", "the fleet's authority");
    assert_eq!(peer(&fleet, Some(&short)), Err(signature));
}

#[test]
fn a_hub_cannot_pass_its_right_on() {
    let fleet = Fleet::start(now());
    let deputy = SecretKey::from_seed([8; 32]);
    let is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let deputy_certificate =
        forged(&fleet, "deputy", deputy.public(), &fleet.hub.key, &issuer_of("eu-1"), is_ca);
    let leaf = forged(&fleet, "eu-1", deputy.public(), &deputy, &named("deputy"), IsCa::ExplicitNoCa);
    let chain = vec![leaf, deputy_certificate.clone(), fleet.hub.chain[1].clone()];
    let mallory = NodeIdentity { chain, key: deputy, ..fleet.hub.clone() };
    for (refused, side) in
        [(sync(&mallory, &fleet.hub), Side::Server), (sync(&fleet.hub, &mallory), Side::Client)]
    {
        let refused = refused.map(|_| ()).unwrap_err();
        assert_eq!(refused.side, side);
        assert!(refused.error.to_string().contains("PathLenConstraintViolated"), "{refused:?}");
    }
    let used_as_leaf = peer(&fleet, Some(&[deputy_certificate, fleet.hub.chain[1].clone()]));
    assert_eq!(used_as_leaf, Err(PeerIdentityError::Usage("an issuer's certificate is not for connections")));
}

#[test]
fn a_hub_cannot_pass_for_another() {
    let mut fleet = Fleet::start(now());
    let us = fleet.enrol_hub("us-1", now());
    for (name, key) in [("eu-1", us.author()), ("us-1", SecretKey::from_seed([3; 32]).public())] {
        let principal = Principal::Hub { name: name.to_owned() };
        let leaf = Leaf { principal: &principal, key, hosts: &[], roles: &[] };
        let leaf = certificate::leaf(&us.issuing_hub().unwrap(), &leaf, now()).unwrap();
        let chain = vec![leaf, us.chain[1].clone()];
        let forged =
            PeerIdentityError::ForgedHub { issuer: "us-1".to_owned(), subject: format!("hub/{name}") };
        assert_eq!(peer(&fleet, Some(&chain)), Err(forged));
        if key == us.author() {
            let mallory = NodeIdentity { chain, ..us.clone() };
            let refused = sync(&fleet.hub, &mallory).map(|_| ()).unwrap_err();
            assert!(
                refused.side == Side::Client && refused.error.to_string().contains("us-1"),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_hub_speaks_for_its_own_fleet_alone() {
    let (fleet, foreign) = (Fleet::start(now()), Fleet::start(now()));
    let (principal, key) =
        (Principal::User { name: "mia".to_owned() }, SecretKey::from_seed([3; 32]).public());
    let hub = IssuingHub { fleet: foreign.hub.fleet, ..fleet.hub.issuing_hub().unwrap() };
    let leaf = Leaf { principal: &principal, key, hosts: &[], roles: &[] };
    let chain = [certificate::leaf(&hub, &leaf, now()).unwrap(), fleet.hub.chain[1].clone()];
    let (expected, found) = (fleet.hub.fleet, foreign.hub.fleet);
    assert_eq!(peer(&fleet, Some(&chain)), Err(PeerIdentityError::Fleet { expected, found }));
}

#[test]
fn a_changed_certificate_is_nobodys() {
    let fleet = Fleet::start(now());
    let [leaf, issuer] = &fleet.hub.chain[..] else { panic!() };
    for at in 0..leaf.len() {
        for (bytes, is_leaf) in [(leaf, true), (issuer, false)] {
            let mut changed = bytes.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
                let changed = CertificateDer::from(changed);
                let chain = match is_leaf {
                    true => [changed, issuer.clone()],
                    false => [leaf.clone(), changed],
                };
                assert!(peer(&fleet, Some(&chain)).is_err(), "byte {at}, leaf: {is_leaf}");
            }
            let cut = CertificateDer::from(bytes[..at.min(bytes.len() - 1)].to_vec());
            assert!(peer(&fleet, Some(&[cut.clone(), issuer.clone()])).is_err(), "cut at {at}");
            assert!(peer(&fleet, Some(&[leaf.clone(), cut])).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn people_cannot_pass_for_nodes() {
    let fleet = Fleet::start(now());
    let mia = fleet.hub.issue_operator("mia", &["admin".to_owned()], now()).unwrap();
    let mallory = NodeIdentity { key: mia.key, chain: mia.chain, ..fleet.hub.clone() };
    // As a client, TLS lets her in and her principal shows what she is; as a server, TLS does not.
    let (_, accepting) = sync(&mallory, &fleet.hub).unwrap();
    assert!(!peer(&fleet, accepting.peer_certificates()).unwrap().principal.is_node());
    assert_eq!(sync(&fleet.hub, &mallory).map(|_| ()).unwrap_err().side, Side::Client);
}

#[test]
fn the_api_knows_its_operators() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    for (node, who) in [(&fleet.hub, "user/admin"), (&edge, "ns/default/site/store-17/operator/admin")] {
        let dir = tempfile::tempdir().unwrap();
        let path = write_admin_kubeconfig(dir.path(), node, "https://127.0.0.1:7421").unwrap();
        let config = read_kubeconfig(&path, None).unwrap();
        let client = ClientPem {
            certificates: config.client_cert_pem.as_deref().unwrap(),
            key: config.client_key_pem.as_deref().unwrap(),
        };
        for host in ["127.0.0.1", "::1", "localhost"] {
            let server = https_server_config(node).unwrap();
            let client = https_client_config(&config.ca_pem, Some(client)).unwrap();
            let (dialling, accepting) = handshake_with(client, server, host).unwrap();
            assert_eq!(dialling.alpn_protocol(), Some(ALPN_HTTP));
            let operator = peer(&fleet, accepting.peer_certificates()).unwrap();
            assert_eq!(
                (operator.principal.to_string(), operator.roles),
                (who.to_owned(), vec!["admin".to_owned()])
            );
        }
    }
}

#[test]
fn the_api_is_called_by_its_names_alone() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    let root = fleet.hub.root_pem();
    let call = |node: &NodeIdentity, host: &str| {
        let client = https_client_config(&root, None).unwrap();
        handshake_with(client, https_server_config(node).unwrap(), host).map(|(_, server)| server)
    };
    for host in ["hub.example.com", "192.0.2.7"] {
        assert!(call(&fleet.hub, host).unwrap().peer_certificates().is_none(), "{host}");
        assert_eq!(call(&edge, host).map(|_| ()).unwrap_err().side, Side::Client, "an edge for {host}");
    }
    assert_eq!(call(&fleet.hub, "other.example.com").map(|_| ()).unwrap_err().side, Side::Client);
    let foreign = Fleet::start(now());
    assert_refused(
        call(&foreign.hub, "localhost").map(|_| unreachable!()),
        Side::Client,
        CertificateError::UnknownIssuer,
    );
}

#[test]
fn a_browser_gets_a_certificate_that_it_can_read() {
    let fleet = Fleet::start(now());
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Browser))
        .with_no_client_auth();
    let (dialling, _) =
        handshake_with(client, https_server_config(&fleet.hub).unwrap(), "localhost").unwrap();
    let shown = dialling.peer_certificates().unwrap();
    assert_eq!(shown.len(), 1);
    assert!(!fleet.hub.chain.contains(&shown[0]));
}

#[test]
fn damaged_pem_makes_no_configuration() {
    let fleet = Fleet::start(now());
    let root = fleet.hub.root_pem();
    assert!(matches!(https_client_config("", None), Err(TlsError::Pem(_))));
    let chain = encode_certificates(&fleet.hub.operator.chain);
    let client = |certificates, key| https_client_config(&root, Some(ClientPem { certificates, key }));
    assert!(matches!(client(&chain, "no key"), Err(TlsError::KeyPem(_))));
    let others = SecretKey::from_seed([1; 32]).to_pem();
    assert!(matches!(client(&chain, &others), Err(TlsError::Rustls(_))), "a key that does not fit");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// A handshake that ended early: who ended it, and why.
#[derive(Debug, PartialEq)]
struct Refused {
    side: Side,
    error: Error,
}

type Connected = (ClientConnection, ServerConnection);

fn sync(client: &NodeIdentity, server: &NodeIdentity) -> Result<Connected, Refused> {
    handshake(quic_client_config(client, ALPN_SYNC).unwrap(), quic_server_config(server).unwrap())
}

fn handshake(client: ClientConfig, server: ServerConfig) -> Result<Connected, Refused> {
    handshake_with(client, server, QUIC_SERVER_NAME)
}

fn handshake_with(client: ClientConfig, server: ServerConfig, host: &str) -> Result<Connected, Refused> {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), host).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| Refused { side: Side::Server, error })?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| Refused { side: Side::Client, error })?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn assert_refused(result: Result<Connected, Refused>, side: Side, error: CertificateError) {
    let refused = result.map(|_| ()).unwrap_err();
    assert_eq!(refused, Refused { side, error: error.into() });
}

fn peer(fleet: &Fleet, chain: Option<&[CertificateDer<'static>]>) -> Result<PeerIdentity, PeerIdentityError> {
    PeerIdentity::from_connection_certs(&fleet.hub.fleet, chain.unwrap_or_default())
}

/// A certificate that says hub eu-1 for `key`, signed by `signer` under the name of `parent`.
fn forged(
    fleet: &Fleet,
    name: &str,
    key: Author,
    signer: &SecretKey,
    parent: &CertificateParams,
    is_ca: IsCa,
) -> CertificateDer<'static> {
    let mut params = named(name);
    if is_ca == IsCa::ExplicitNoCa {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    }
    params.is_ca = is_ca;
    let id = Principal::Hub { name: "eu-1".to_owned() }.spiffe_id(&fleet.hub.fleet);
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let parent = Issuer::from_params(parent, CertificateSigner::new(signer));
    params.signed_by(&CertifiedPublicKey(key.0), &parent).unwrap().into()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn issuer_of(hub: &str) -> CertificateParams {
    let mut params = named(hub);
    params.distinguished_name.push(DnType::OrganizationalUnitName, "issuer");
    params
}

/// A client that knows no Ed25519, and whose user clicks the warning away.
#[derive(Debug)]
struct Browser;

impl ServerCertVerifier for Browser {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is offered")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}
