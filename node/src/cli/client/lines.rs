//! A stream of JSON lines, as a watch sends them.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::{ClientError, Sender};

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Lines of an answer that goes on.
pub struct Lines {
    server: String,
    body: Incoming,
    held: Vec<u8>,
    /// How much of `held` has no end of line.
    searched: usize,
    _connection: Sender,
}

impl Lines {
    pub(super) fn new(server: String, body: Incoming, connection: Sender) -> Self {
        Self { server, body, held: Vec::new(), searched: 0, _connection: connection }
    }

    /// The next line; `None` when the node ended the stream.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(at) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=self.searched + at).collect();
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            self.searched = self.held.len();
            if self.held.len() > LINE_BYTES_MAX {
                return Err(self.broken(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                None if self.held.is_empty() => return Ok(None),
                None => return Err(self.broken("it ended within a line".to_owned())),
                Some(Err(error)) => return Err(self.broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.held.extend_from_slice(bytes);
                    }
                }
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Value, ClientError> {
        serde_json::from_slice(line)
            .map_err(|error| ClientError::NotJson { server: self.server.clone(), why: error.to_string() })
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Broken { server: self.server.clone(), why, doubt: "" }
    }
}
