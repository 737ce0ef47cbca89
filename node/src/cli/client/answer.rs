//! What a node answers: JSON, or a `Status` that says why not.

use std::fmt;

use hyper::header::WARNING;
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;

use super::ClientError;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status: 201 tells what was created from what was there.
    pub status: StatusCode,
    /// The headers, which say how fresh the node is.
    pub headers: HeaderMap,
    /// The body.
    pub value: Value,
}

/// A node's refusal, from the `Status` that it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The reason, a word of `meta/v1`; empty where there was no `Status`.
    pub reason: String,
    /// What it says.
    pub message: String,
}

impl Answer {
    /// Reads an answer; one that is not a success is a refusal.
    pub(super) fn read(
        server: &str,
        status: StatusCode,
        headers: HeaderMap,
        bytes: &[u8],
    ) -> Result<Self, ClientError> {
        if !status.is_success() {
            return Err(ClientError::Refused(Box::new(Refusal::read(status, bytes))));
        }
        let value = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(bytes).map_err(|error| ClientError::NotJson {
                server: server.to_owned(),
                why: error.to_string(),
            })?,
        };
        Ok(Self { status, headers, value })
    }
}

impl Refusal {
    /// Reads a refusal, also one that is no `Status`.
    pub(super) fn read(status: StatusCode, bytes: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        let shown = || String::from_utf8_lossy(bytes).chars().take(500).collect::<String>();
        Self {
            code: status.as_u16(),
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_else(|| format!("{status}: {}", shown().trim())),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => write!(f, "Error from server: {}", self.message),
            reason => write!(f, "Error from server ({reason}): {}", self.message),
        }
    }
}

/// Hands over the texts of `Warning` headers (RFC 7234, code 299), as Kubernetes sends them.
pub(super) fn warnings(headers: &HeaderMap, take: &mut dyn FnMut(&str)) {
    for value in headers.get_all(WARNING) {
        let Ok(text) = value.to_str() else { continue };
        let quoted = text.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
        take(&quoted.map_or(text, |(text, _)| text).replace("\\\"", "\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_as_kubectl_tells_it() {
        let body =
            br#"{"kind":"Status","message":"profiles.driftless.dev \"x\" not found","reason":"NotFound"}"#;
        let refusal = Refusal::read(StatusCode::NOT_FOUND, body);
        assert_eq!(
            refusal.to_string(),
            "Error from server (NotFound): profiles.driftless.dev \"x\" not found"
        );
        let odd = Refusal::read(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(odd.to_string(), "Error from server: 502 Bad Gateway: <html>");
    }

    #[test]
    fn warnings_lose_their_quotes() {
        let mut headers = HeaderMap::new();
        headers.insert(WARNING, hyper::header::HeaderValue::from_static("299 - \"say \\\"a\\\"\""));
        let mut said = Vec::new();
        warnings(&headers, &mut |text| said.push(text.to_owned()));
        assert_eq!(said, ["say \"a\""]);
    }
}
