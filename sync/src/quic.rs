//! The QUIC shell: carries frames between an engine and the network, and decides nothing.
//!
//! A session is one long-lived bidirectional stream on one connection. Frames are cut from the stream
//! and delivered in order, as many as have arrived at a time; what the engine wants sent comes through
//! a bounded queue and leaves in as few writes as possible. The engine counts events as under way until
//! the peer has acknowledged them, so queue, send buffer and network together never hold more of them
//! than its window, however large each of them could be. When either direction ends, so does the
//! session. Certificates and addresses are the node's business: see its identity.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, IdleTimeout, RecvStream, SendStream, ServerConfig,
    TransportConfig, VarInt,
};
use tokio::sync::mpsc;

use crate::proto::frame::{FRAME_BYTES_MAX, frame_length};

/// Most frames that wait to be written to one peer. The engine keeps less than this in flight; a peer
/// for which it does not suffice is cut.
pub const OUTGOING_FRAMES_MAX: usize = 1_024;
/// Most bytes taken from a stream at a time.
const READ_BYTES: usize = 64 * 1024;
/// Largest write that frames are gathered into.
const WRITE_BYTES: usize = 64 * 1024;
/// Longest silence on a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the dialling side says that it is there, which also keeps address translations open.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long the last frames of a closed session may take to be delivered.
const DRAIN: Duration = Duration::from_secs(2);
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Something to do on a session.
#[derive(Debug)]
pub enum Outgoing {
    /// Write one frame.
    Frame(Vec<u8>),
    /// Write what was queued before, then close the connection.
    Close {
        /// The code of the close, for the peer.
        code: u32,
        /// Why, for the peer's operator.
        reason: String,
    },
}

/// Which side of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This node dialled; it opens the stream.
    Dialled,
    /// The peer dialled.
    Accepted,
}

/// Server side of QUIC with this system's limits, for a rustls configuration.
pub fn server_config(tls: rustls::ServerConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(Side::Accepted)));
    config.max_incoming(1_024);
    Ok(config)
}

/// Client side of QUIC with this system's limits, for a rustls configuration.
pub fn client_config(tls: rustls::ClientConfig) -> Result<ClientConfig, NoInitialCipherSuite> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(Side::Dialled)));
    Ok(config)
}

fn transport(side: Side) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("a minute is a valid idle timeout");
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval((side == Side::Dialled).then_some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(STREAM_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    transport
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: String,
    /// For how long the peer had not been heard by then.
    pub silent: Duration,
}

/// Runs a session until it ends, and says how it ended.
///
/// `deliver` is given the whole frames that have arrived and is awaited before more is read, so a busy
/// node slows its peers down instead of queueing; it returns false to end the session.
pub async fn run<F, D>(
    connection: &Connection,
    side: Side,
    mut outgoing: mpsc::Receiver<Outgoing>,
    deliver: F,
) -> Ended
where
    F: FnMut(Vec<Vec<u8>>) -> D,
    D: Future<Output = bool>,
{
    let opened = match side {
        Side::Dialled => connection.open_bi().await,
        Side::Accepted => connection.accept_bi().await,
    };
    let (mut send, receive) = match opened {
        Ok(streams) => streams,
        Err(error) => {
            let silent = silence(connection);
            return Ended { reason: format!("no stream: {error}"), silent };
        }
    };
    let reason = tokio::select! {
        reason = write_frames(&mut send, &mut outgoing) => reason,
        reason = read_frames(receive, deliver) => if connection.close_reason().is_some() { reason } else {
            // What the engine had to say last, such as why it refuses the peer, is already queued.
            let last = tokio::time::timeout(DRAIN, write_frames(&mut send, &mut outgoing));
            outgoing_ended(last.await.ok(), reason)
        }
    };
    // Closing hides why the connection was lost.
    let silent = silence(connection);
    connection.close(VarInt::from_u32(0), reason.as_bytes());
    Ended { reason, silent }
}

fn silence(connection: &Connection) -> Duration {
    match connection.close_reason() {
        Some(ConnectionError::TimedOut) => IDLE_TIMEOUT,
        _ => Duration::ZERO,
    }
}

fn outgoing_ended(last: Option<String>, reason: String) -> String {
    match last {
        Some(close) if reason.is_empty() => close,
        _ => reason,
    }
}

/// Writes frames until the queue ends or asks to close; returns why.
async fn write_frames(send: &mut SendStream, outgoing: &mut mpsc::Receiver<Outgoing>) -> String {
    let mut buffer = Vec::new();
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        let mut close = None;
        while let Some(item) = next.take() {
            match item {
                Outgoing::Frame(bytes) => buffer.extend_from_slice(&bytes),
                Outgoing::Close { reason, .. } => close = Some(reason),
            }
            if close.is_none() && buffer.len() < WRITE_BYTES {
                next = outgoing.try_recv().ok();
            }
        }
        if let Err(error) = send.write_all(&buffer).await {
            return format!("sending failed: {error}");
        }
        buffer = Vec::new();
        if let Some(reason) = close {
            // The peer should read the last frames before it learns of the close; it may be gone.
            let _ = send.finish();
            let _ = tokio::time::timeout(DRAIN, send.stopped()).await;
            return reason;
        }
    }
    "closed by this node".to_owned()
}

/// Cuts frames from the stream and delivers them until the stream ends; returns why.
async fn read_frames<F, D>(mut receive: RecvStream, mut deliver: F) -> String
where
    F: FnMut(Vec<Vec<u8>>) -> D,
    D: Future<Output = bool>,
{
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        // The connection's own bytes: a session that waits holds no buffer.
        let chunk = match receive.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => chunk.bytes,
            Ok(None) => return "the peer ended the session".to_owned(),
            Err(error) => return format!("receiving failed: {error}"),
        };
        buffer.extend_from_slice(&chunk);
        let mut frames = vec![];
        let mut start = 0;
        loop {
            match frame_length(&buffer[start..]) {
                Ok(Some(length)) if length <= buffer.len() - start => {
                    frames.push(buffer[start..start + length].to_vec());
                    start += length;
                }
                Ok(_) => break,
                Err(error) => return format!("the peer sent no frame: {error}"),
            }
        }
        buffer.drain(..start);
        if buffer.is_empty() {
            buffer = Vec::new();
        }
        debug_assert!(buffer.len() <= FRAME_BYTES_MAX + READ_BYTES, "a frame is bounded");
        if !frames.is_empty() && !deliver(frames).await {
            return String::new();
        }
    }
}
