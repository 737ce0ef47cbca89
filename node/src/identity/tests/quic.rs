//! The configurations on a real QUIC endpoint, as the shell uses them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};

use super::*;

#[tokio::test]
async fn one_endpoint_serves_members_and_newcomers() {
    let mut fleet = Fleet::start(now());
    let edge = fleet.enrol_edge("store-17", "a", now());
    let server = QuicServerConfig::try_from(quic_server_config(&fleet.hub).unwrap()).unwrap();
    let hub = Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(server)), loopback()).unwrap();

    let (dialled, accepted) = connect(&hub, quic_client_config(&edge, ALPN_SYNC).unwrap()).await;
    assert_eq!(alpn(&accepted), ALPN_SYNC);
    let at_hub = PeerIdentity::from_connection_certs(&fleet.hub.fleet, &presented(&accepted)).unwrap();
    assert_eq!((at_hub.principal, at_hub.key), (edge.principal(), edge.author()));
    let at_edge = PeerIdentity::from_connection_certs(&edge.fleet, &presented(&dialled)).unwrap();
    assert_eq!(at_edge.key, fleet.hub.author());

    let (dialled, accepted) = connect(&hub, join_client_config(&fleet.hub.fleet).unwrap()).await;
    assert_eq!(alpn(&accepted), ALPN_JOIN);
    assert!(presented(&accepted).is_empty());
    assert_eq!(exporter(&dialled), exporter(&accepted));
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn connect(hub: &Endpoint, client: rustls::ClientConfig) -> (Connection, Connection) {
    let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let endpoint = Endpoint::client(loopback()).unwrap();
    let dial = endpoint.connect_with(client, hub.local_addr().unwrap(), QUIC_SERVER_NAME).unwrap();
    let accept = async { hub.accept().await.unwrap().await.unwrap() };
    let (dialled, accepted) = tokio::join!(dial, accept);
    (dialled.unwrap(), accepted)
}

fn alpn(connection: &Connection) -> Vec<u8> {
    let handshake = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
    handshake.protocol.unwrap()
}

fn presented(connection: &Connection) -> Vec<CertificateDer<'static>> {
    match connection.peer_identity() {
        Some(chain) => *chain.downcast::<Vec<CertificateDer<'static>>>().unwrap(),
        None => Vec::new(),
    }
}

fn exporter(connection: &Connection) -> JoinExporter {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, JOIN_EXPORTER_LABEL, &[]).unwrap();
    exporter
}
