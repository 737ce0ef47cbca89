//! Who somebody is: SPIFFE ids, as they stand in certificates.
//!
//! The trust domain is the fleet's id in full, so an id of another fleet never parses as one of ours.
//! Specification: <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>.

use std::fmt;
use std::str::FromStr;

use driftless_core::ids::FleetId;
use driftless_core::name::is_label;
use serde::{Deserialize, Serialize};

/// Longest SPIFFE id, in bytes; the specification's own bound.
const SPIFFE_ID_BYTES_MAX: usize = 2_048;

/// A node or a person of a fleet, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Principal {
    /// A hub.
    Hub {
        /// The hub's name.
        name: String,
    },
    /// A node of a site.
    Node {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The node's name within the site.
        node: String,
    },
    /// A person or program that a hub vouches for.
    User {
        /// The name of the user.
        name: String,
    },
    /// The local operator of a site, whose credential lives on the site's own node.
    SiteOperator {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The operator's name; `admin`.
        name: String,
    },
}

impl Principal {
    /// Whether this is a daemon, which may speak `driftless/1`; people and programs use the API.
    pub fn is_node(&self) -> bool {
        matches!(self, Self::Hub { .. } | Self::Node { .. })
    }

    /// The SPIFFE id in the given fleet.
    pub fn spiffe_id(&self, fleet: &FleetId) -> String {
        format!("spiffe://{fleet}/{self}")
    }

    /// Parses a SPIFFE id; gives the fleet that it names and who it is there.
    pub fn from_spiffe_id(text: &str) -> Result<(FleetId, Self), ParsePrincipalError> {
        let error = || ParsePrincipalError(text.chars().take(200).collect());
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(error());
        }
        let rest = text.strip_prefix("spiffe://").ok_or_else(error)?;
        let (domain, path) = rest.split_once('/').ok_or_else(error)?;
        if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
            // One fleet has one spelling.
            return Err(error());
        }
        Ok((domain.parse().map_err(|_| error())?, path.parse().map_err(|_| error())?))
    }
}

/// The text is not a SPIFFE id of a fleet. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SPIFFE id of a fleet")]
pub struct ParsePrincipalError(String);

impl fmt::Display for Principal {
    /// The path of the SPIFFE id: `hub/eu-1`, `ns/default/site/store-17/node/a`, `user/mia`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { name } => write!(f, "hub/{name}"),
            Self::Node { namespace, site, node } => write!(f, "ns/{namespace}/site/{site}/node/{node}"),
            Self::User { name } => write!(f, "user/{name}"),
            Self::SiteOperator { namespace, site, name } => {
                write!(f, "ns/{namespace}/site/{site}/operator/{name}")
            }
        }
    }
}

impl FromStr for Principal {
    type Err = ParsePrincipalError;

    fn from_str(text: &str) -> Result<Self, ParsePrincipalError> {
        let owned = |text: &str| text.to_owned();
        let parts: Vec<&str> = text.splitn(7, '/').collect();
        let (principal, names) = match parts[..] {
            ["hub", name] => (Self::Hub { name: owned(name) }, vec![name]),
            ["user", name] => (Self::User { name: owned(name) }, vec![name]),
            ["ns", ns, "site", site, "node", node] => (
                Self::Node { namespace: owned(ns), site: owned(site), node: owned(node) },
                vec![ns, site, node],
            ),
            ["ns", ns, "site", site, "operator", name] => (
                Self::SiteOperator { namespace: owned(ns), site: owned(site), name: owned(name) },
                vec![ns, site, name],
            ),
            _ => return Err(ParsePrincipalError(text.chars().take(200).collect())),
        };
        match names.into_iter().all(is_label) {
            true => Ok(principal),
            false => Err(ParsePrincipalError(text.chars().take(200).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let fleet = FleetId([0xab; 32]);
        for path in ["hub/eu-1", "user/mia", "ns/acme/site/store-17/node/a", "ns/acme/site/s/operator/admin"]
        {
            let principal: Principal = path.parse().unwrap();
            let id = principal.spiffe_id(&fleet);
            assert_eq!(id, format!("spiffe://{}/{path}", "ab".repeat(32)));
            assert_eq!(Principal::from_spiffe_id(&id).unwrap(), (fleet, principal));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let fleet = "ab".repeat(32);
        for id in [
            "".to_owned(),
            format!("https://{fleet}/hub/eu-1"),
            format!("spiffe://{}/hub/eu-1", &fleet[2..]),
            format!("spiffe://{}/hub/eu-1", fleet.to_uppercase()),
            format!("spiffe://{fleet}"),
            format!("spiffe://{fleet}/"),
            format!("spiffe://{fleet}/hub/"),
            format!("spiffe://{fleet}/hub/EU"),
            format!("spiffe://{fleet}/hub/a/b"),
            format!("spiffe://{fleet}/hub/a?b"),
            format!("spiffe://{fleet}/ns/a/site/../node/x"),
            format!("spiffe://{fleet}/ns/a/site/b/node/c/d"),
            format!("spiffe://{fleet}/hub/{}", "a".repeat(5_000)),
        ] {
            assert!(Principal::from_spiffe_id(&id).is_err(), "{id}");
        }
    }
}
