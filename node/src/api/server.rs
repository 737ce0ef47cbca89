//! The TLS server loop: accepts, shakes hands, says who is at the other end, and serves HTTP/1.1.
//!
//! Everything a stranger can make us hold is bounded: connections, the time of a handshake, the time of
//! a request's head. A connection that breaks a bound ends alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::Caller;

/// Most connections at a time; further ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Longest TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a request's head, which also ends idle connections.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take once the node is to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept: without file descriptors the loop would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Reads a verified client's certificate chain; `None` leaves the connection anonymous.
pub type Identify = Arc<dyn Fn(&[CertificateDer<'static>]) -> Option<Caller> + Send + Sync>;

/// Attached to every request: turns true when the node is to stop, which is when whoever waits for
/// changes has to leave. Requests that reach the router in another way have none, and wait on.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns once the node is to stop; never, without a server.
    pub(super) async fn stopped(stop: &mut Option<Self>) {
        match stop {
            Some(Self(stop)) => stopped(stop).await,
            None => std::future::pending().await,
        }
    }
}

/// What the loop needs.
#[derive(Clone)]
pub struct Server {
    /// TLS; client certificates are optional in it.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who holds a certificate.
    pub identify: Identify,
    /// What answers.
    pub router: Router,
}

impl Server {
    /// Serves until `stop` turns true (or its sender is gone), then drains for [`DRAIN_TIMEOUT`].
    pub async fn run(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    connections.spawn(self.clone().connection(stream, permit, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            connections.shutdown().await;
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let _permit = permit;
        // Watch events are small and must not wait for more of them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection lost before the handshake");
            return;
        }
        let handshake = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        };
        let caller = stream.get_ref().1.peer_certificates().and_then(|chain| {
            let chain: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
            (self.identify)(&chain)
        });
        let (router, stop_of_requests) = (self.router, Stop(stop.clone()));
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            if let Some(caller) = &caller {
                request.extensions_mut().insert(caller.clone());
            }
            request.extensions_mut().insert(stop_of_requests.clone());
            // A router is always ready; each request has its own clone.
            router.clone().call(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Returns once the node is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means that its owner is: stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
