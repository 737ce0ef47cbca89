//! Where an API is: the URL of a kubeconfig's cluster.

use super::ClientError;

/// An `https` URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    authority: String,
    base: String,
}

impl Endpoint {
    /// Reads `https://HOST[:PORT][/BASE]`; a bare `HOST:PORT` is taken for https.
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let wrong = |why| ClientError::Url { url: text.to_owned(), why };
        if text.starts_with("http://") {
            return Err(wrong("a node's API speaks https alone; write https://"));
        }
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let (authority, base) = match rest.split_once('/') {
            Some((authority, base)) => (authority, format!("/{base}")),
            None => (rest, String::new()),
        };
        let printable = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '\\');
        if !rest.chars().all(printable) {
            return Err(wrong("it has characters that belong into no address"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| wrong("its port is no number up to 65535"))?)
            }
            _ => (authority, 443),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong("it has no host; write https://HOST:PORT"));
        }
        Ok(Self {
            url: format!("https://{authority}{}", base.trim_end_matches('/')),
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path of the API, below the base.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let parts = |text: &str| {
            let endpoint = Endpoint::parse(text).unwrap();
            (endpoint.host().to_owned(), endpoint.port(), endpoint.path("/version"))
        };
        assert_eq!(parts("https://127.0.0.1:7421"), ("127.0.0.1".into(), 7421, "/version".into()));
        assert_eq!(parts("https://hub.example"), ("hub.example".into(), 443, "/version".into()));
        assert_eq!(parts("[::1]:7421"), ("::1".into(), 7421, "/version".into()));
        assert_eq!(parts("https://[::1]/api/"), ("::1".into(), 443, "/api/version".into()));
        for wrong in ["http://a", "https://", "https://:1", "a:99999", "https://a b", "https://a?b", ""] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
