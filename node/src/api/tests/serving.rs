//! The TLS server on a real socket.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::api::server::Server;
use crate::identity::{
    ClientPem, NodeIdentity, PeerIdentity, encode_certificates, https_client_config, https_server_config,
};

/// A hub on loopback.
struct Hub {
    identity: NodeIdentity,
    address: std::net::SocketAddr,
    stop: signal::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Hub {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = crate::daemon::clock::now_seconds();
        let identity = NodeIdentity::create_fleet(dir.path(), "hub-eu-1", "eu", &[], now).unwrap();
        let fleet = identity.fleet;
        let server = Server {
            tls: Arc::new(https_server_config(&identity).unwrap()),
            identify: Arc::new(move |chain| {
                PeerIdentity::from_connection_certs(&fleet, chain).ok().map(Caller::from)
            }),
            router: Api::new(Arc::new(Bench::hub())).router(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = signal::channel(false);
        let running = tokio::spawn(server.run(listener, stopped));
        Self { identity, address, stop, running, _dir: dir }
    }

    /// Opens a connection, as the local operator or as nobody, and sends one request.
    async fn request(
        &self,
        known: bool,
        method: Method,
        path: &str,
        body: String,
    ) -> hyper::Response<hyper::body::Incoming> {
        let operator = &self.identity.operator;
        let (certificates, key) = (encode_certificates(&operator.chain), operator.key.to_pem());
        let client = known.then_some(ClientPem { certificates: &certificates, key: &key });
        let tls = https_client_config(&self.identity.root_pem(), client).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, String>(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        sender
            .send_request(request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap())
            .await
            .unwrap()
    }
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_certificate_of_the_fleet_is_who_you_are() {
    let hub = Hub::start().await;
    let whoami = text(hub.request(true, Method::GET, "/v1/whoami", String::new()).await).await;
    let whoami: Value = serde_json::from_str(&whoami).unwrap();
    let name = "user/admin";
    assert_eq!(whoami["name"], json!(name));
    let created = hub.request(true, Method::POST, PROFILES, store_base().to_string()).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let history =
        text(hub.request(true, Method::GET, "/v1/history/Profile/acme/store-base", String::new()).await)
            .await;
    assert!(history.contains(&format!("\"by\":{}", json!(name))), "{history}");
}

#[tokio::test]
async fn without_a_certificate_there_is_health_and_nothing_else() {
    let hub = Hub::start().await;
    assert_eq!(hub.request(false, Method::GET, "/readyz", String::new()).await.status(), StatusCode::OK);
    let refused = hub.request(false, Method::GET, "/apis", String::new()).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn noise_and_silence_on_the_port_disturb_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let hub = Hub::start().await;
    let _silent = TcpStream::connect(hub.address).await.unwrap();
    let mut noisy = TcpStream::connect(hub.address).await.unwrap();
    noisy.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or a reset: in either case the end.
    let _ = tokio::time::timeout(Duration::from_secs(20), noisy.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(hub.request(true, Method::GET, "/apis", String::new()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_node_that_stops_ends_its_watches() {
    let hub = Hub::start().await;
    let watch = hub.request(true, Method::GET, &format!("{PROFILES}?watch=true"), String::new()).await;
    assert_eq!(watch.status(), StatusCode::OK);
    hub.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(20), hub.running).await.unwrap().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.into_body().collect()).await;
    assert!(ended.is_ok(), "the watch did not end with the node");
    assert!(TcpStream::connect(hub.address).await.is_err());
}
