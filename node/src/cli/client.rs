//! Talking to a node: HTTP/1.1 over TLS, with the credentials of a kubeconfig.
//!
//! A client keeps the connections that it opened and uses them again; commands that ask one thing after the
//! other use one. A request that certainly was not sent is sent again on a new connection; one that may have
//! been is not, unless it only reads. A node that refuses and says when to come back (`Retry-After`) is asked again
//! then, as Kubernetes' clients do it.

mod answer;
mod endpoint;
mod lines;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::identity::{ClientConfig, ClientPem, TlsError, https_client_config};
pub use answer::{Answer, Refusal};
use endpoint::Endpoint;
pub use lines::Lines;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, unless the request waits for something.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Most times that a node is asked again because it says so.
const COME_BACKS_MAX: usize = 10;
/// Longest pause before that; a node that wants a longer one is not asked again.
const COME_BACK_AFTER_MAX: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// Asks for a table, and takes the objects themselves where there is none.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

type Sender = SendRequest<Full<Bytes>>;
/// Status, headers and body of an answer.
type Whole = (StatusCode, HeaderMap, Bytes);

/// Why a node could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one of an API. Nothing was sent.
    #[error("{url:?} is not the address of a node's API: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The credentials cannot be used. Nothing was sent.
    #[error("the credentials for {server} cannot be used")]
    Credentials {
        /// The API.
        server: String,
        /// Why.
        source: TlsError,
    },
    /// Nobody listens there, or nobody whom we trust. Nothing was sent.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The API.
        server: String,
        /// What the system said, and what to do.
        why: String,
    },
    /// The connection broke. A write that was under way may have been done, or not.
    #[error("the connection to {server} broke: {why}{doubt}")]
    Broken {
        /// The API.
        server: String,
        /// How.
        why: String,
        /// What is not known.
        doubt: &'static str,
    },
    /// No answer came in time. A write that was under way may have been done, or not.
    #[error("no answer from {server} within {seconds} s{doubt}")]
    Late {
        /// The API.
        server: String,
        /// How long was waited.
        seconds: u64,
        /// What is not known.
        doubt: &'static str,
    },
    /// The answer is not JSON. What was asked for may have been done.
    #[error("{server} answered what is no JSON: {why}; is it a node's API?")]
    NotJson {
        /// The API.
        server: String,
        /// Where it is wrong.
        why: String,
    },
    /// The node said no. Nothing was changed.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

const WRITE_DOUBT: &str = "; whether it was done is not known: look, then do it again if it was not";

/// What a request asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    method: Method,
    path: &'a str,
    body: Option<(&'static str, Bytes)>,
    as_table: bool,
    timeout: Option<Duration>,
}

impl<'a> Ask<'a> {
    /// Reads.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, as_table: false, timeout: Some(ANSWER_TIMEOUT) }
    }

    /// Sends JSON.
    pub fn send(method: Method, path: &'a str, body: &Value) -> Self {
        Self::send_as(method, path, "application/json", body)
    }

    /// Sends JSON of a certain kind, such as a patch.
    pub fn send_as(method: Method, path: &'a str, media_type: &'static str, body: &Value) -> Self {
        let body = Some((media_type, Bytes::from(body.to_string())));
        Self { method, body, ..Self::get(path) }
    }

    /// Deletes.
    pub fn delete(path: &'a str) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// Prefers a table.
    pub fn as_table(self, as_table: bool) -> Self {
        Self { as_table, ..self }
    }

    /// Waits no longer than this for the answer.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    fn doubt(&self) -> &'static str {
        if self.method == Method::GET { "" } else { WRITE_DOUBT }
    }
}

/// A node's API, as one user of it.
pub struct Client {
    endpoint: Endpoint,
    tls: Arc<rustls::ClientConfig>,
    token: Option<HeaderValue>,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// A client with the address and the credentials of a kubeconfig's context. Connects when first asked.
    pub fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        let endpoint = Endpoint::parse(&config.server)?;
        let credentials = |source| ClientError::Credentials { server: config.server.clone(), source };
        let client = match (&config.client_cert_pem, &config.client_key_pem) {
            (Some(certificates), Some(key)) => Some(ClientPem { certificates, key }),
            _ => None,
        };
        let tls = https_client_config(&config.ca_pem, client).map_err(credentials)?;
        let token = config.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Ok(Self { endpoint, tls: Arc::new(tls), token, idle: Mutex::new(Vec::new()) })
    }

    /// The API's address.
    pub fn server(&self) -> &str {
        self.endpoint.url()
    }

    /// Asks, and takes the answer as JSON.
    pub async fn json(&self, ask: Ask<'_>) -> Result<Value, ClientError> {
        Ok(self.answer(ask).await?.value)
    }

    /// Asks, and takes the answer as JSON together with its status and headers.
    pub async fn answer(&self, ask: Ask<'_>) -> Result<Answer, ClientError> {
        let (status, headers, bytes) = self.bytes(ask).await?;
        answer::warnings(&headers, &mut |warning| super::print::note(&format!("Warning: {warning}")));
        Answer::read(self.server(), status, headers, &bytes)
    }

    /// Asks, and takes the answer as text.
    pub async fn text(&self, ask: Ask<'_>) -> Result<String, ClientError> {
        let (status, _, bytes) = self.bytes(ask).await?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            false => Err(ClientError::Refused(Box::new(Refusal::read(status, &bytes)))),
        }
    }

    async fn bytes(&self, ask: Ask<'_>) -> Result<Whole, ClientError> {
        for _ in 0..COME_BACKS_MAX {
            let whole = self.bytes_once(ask.clone()).await?;
            match come_back_after(&whole) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Ok(whole),
            }
        }
        self.bytes_once(ask).await
    }

    async fn bytes_once(&self, ask: Ask<'_>) -> Result<Whole, ClientError> {
        let doubt = ask.doubt();
        let timeout = ask.timeout.unwrap_or(ANSWER_TIMEOUT);
        let whole = async {
            let (response, sender) = self.exchange(ask).await?;
            let (parts, body) = response.into_parts();
            let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let bytes = collected.map_err(|error| self.broken(error, doubt))?.to_bytes();
            self.keep(sender);
            Ok((parts.status, parts.headers, bytes))
        };
        let late = ClientError::Late { server: self.server().to_owned(), seconds: timeout.as_secs(), doubt };
        tokio::time::timeout(timeout, whole).await.unwrap_or(Err(late))
    }

    /// Asks for a stream of JSON lines, such as a watch. The connection belongs to the stream.
    pub async fn lines(&self, ask: Ask<'_>) -> Result<Lines, ClientError> {
        let (response, sender) = self.exchange(ask).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Lines::new(self.server().to_owned(), response.into_body(), sender));
        }
        let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = collected.map_err(|error| self.broken(error, ""))?.to_bytes();
        Err(ClientError::Refused(Box::new(Refusal::read(status, &bytes))))
    }

    /// Sends a request, on a connection that is open or on a new one.
    async fn exchange(&self, ask: Ask<'_>) -> Result<(Response<Incoming>, Sender), ClientError> {
        loop {
            let kept = self.take();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            if let Err(error) = sender.ready().await {
                match is_kept {
                    // The node closed it while nobody used it.
                    true => continue,
                    false => return Err(self.broken(error, "")),
                }
            }
            match sender.try_send_request(self.request(&ask)).await {
                Ok(response) => return Ok((response, sender)),
                Err(error) => {
                    let unsent = error.message().is_some();
                    let may_repeat = unsent || ask.method == Method::GET;
                    if is_kept && may_repeat {
                        continue;
                    }
                    let doubt = if unsent { "" } else { ask.doubt() };
                    return Err(self.broken(error.into_error(), doubt));
                }
            }
        }
    }

    fn request(&self, ask: &Ask<'_>) -> hyper::Request<Full<Bytes>> {
        let accept = if ask.as_table { TABLE } else { "application/json" };
        let mut request = hyper::Request::builder()
            .method(ask.method.clone())
            .uri(self.endpoint.path(ask.path))
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, concat!("driftless/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = match &ask.body {
            Some((media_type, bytes)) => {
                request = request.header(CONTENT_TYPE, *media_type);
                Full::new(bytes.clone())
            }
            None => Full::default(),
        };
        request.body(body).expect("paths are encoded, and headers checked, before they come here")
    }

    async fn connect(&self) -> Result<Sender, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { server: self.server().to_owned(), why };
        let name = ServerName::try_from(self.endpoint.host().to_owned())
            .map_err(|_| unreachable("its host is neither a name nor an address".to_owned()))?;
        let opened = async {
            let address = (self.endpoint.host(), self.endpoint.port());
            let stream = TcpStream::connect(address).await.map_err(|error| {
                unreachable(format!(
                    "{error}; is the node running? --server, --data-dir or --kubeconfig name another"
                ))
            })?;
            // Requests are small and must not wait for more of them.
            stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
            stream.map_err(|error| {
                unreachable(format!("{error}; do the credentials belong to this node's fleet?"))
            })
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(stream) => stream?,
            Err(_) => {
                return Err(unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())));
            }
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| self.broken(error, ""))?;
        tokio::spawn(async move {
            // Whoever waits for an answer learns of it there.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep(&self, sender: Sender) {
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
    }

    fn broken(&self, error: impl std::fmt::Display, doubt: &'static str) -> ClientError {
        ClientError::Broken { server: self.server().to_owned(), why: error.to_string(), doubt }
    }
}

/// How long a refusal asks to wait before the same is asked again; `None` if it does not, or for too long.
fn come_back_after((status, headers, _): &Whole) -> Option<Duration> {
    let may_come_back = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(status);
    let seconds = headers.get(RETRY_AFTER).filter(|_| may_come_back)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|pause| *pause <= COME_BACK_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_it_is_asked_again() {
        let answer = |status, after: Option<&'static str>| {
            let after = after.map(|after| (RETRY_AFTER, HeaderValue::from_static(after)));
            come_back_after(&(status, after.into_iter().collect(), Bytes::new()))
        };
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(answer(busy, Some("1")), Some(Duration::from_secs(1)));
        assert_eq!(answer(StatusCode::TOO_MANY_REQUESTS, Some("0")), Some(Duration::ZERO));
        for (status, after) in
            [(busy, None), (busy, Some("3600")), (busy, Some("soon")), (StatusCode::CREATED, Some("1"))]
        {
            assert_eq!(answer(status, after), None, "{status} {after:?}");
        }
    }
}
