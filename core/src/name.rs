//! Documents and scopes by name.
//!
//! The name of a document alone decides its scope, and the scope decides who may hold it. Names are
//! checked where they enter, so a `Document` that exists is well-formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a document, in bytes.
pub const NAME_BYTES_MAX: usize = 253;
/// Longest label of a name, in bytes.
pub const NAME_LABEL_BYTES_MAX: usize = 63;
/// The namespace of what belongs to the fleet and to no tenant.
pub const FLEET_NAMESPACE: &str = "";

/// A kind of document: what it is about, who writes it, and in which scope it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    Hub = 1,
    HubStatus = 2,
    Revocation = 3,
    Setting = 4,
    Profile = 10,
    Override = 11,
    Rollout = 12,
    Site = 20,
    Member = 21,
    SiteStatus = 22,
    Machine = 23,
    DriftReport = 24,
    App = 30,
    Release = 31,
}

impl Kind {
    /// Every kind, in code order.
    pub const ALL: [Self; 14] = [
        Self::Hub,
        Self::HubStatus,
        Self::Revocation,
        Self::Setting,
        Self::Profile,
        Self::Override,
        Self::Rollout,
        Self::Site,
        Self::Member,
        Self::SiteStatus,
        Self::Machine,
        Self::DriftReport,
        Self::App,
        Self::Release,
    ];

    /// The kind with this number in the encoding of events.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// The kind's name, as in a resource's `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "Hub",
            Self::HubStatus => "HubStatus",
            Self::Revocation => "Revocation",
            Self::Setting => "Setting",
            Self::Profile => "Profile",
            Self::Override => "Override",
            Self::Rollout => "Rollout",
            Self::Site => "Site",
            Self::Member => "Member",
            Self::SiteStatus => "SiteStatus",
            Self::Machine => "Machine",
            Self::DriftReport => "DriftReport",
            Self::App => "App",
            Self::Release => "Release",
        }
    }

    /// Whether documents of this kind belong to the fleet and to no namespace.
    pub fn is_fleet_wide(self) -> bool {
        matches!(self, Self::Hub | Self::HubStatus | Self::Revocation | Self::Setting)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| NameError::Kind(text.chars().take(80).collect()))
    }
}

/// Why a name is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No such kind.
    #[error("unknown kind {0:?}")]
    Kind(String),
    /// Not a DNS name of RFC 1123.
    #[error(
        "{0:?} is not a DNS name of lower-case letters, digits, '-' and '.' (63 characters a label, 253 in all)"
    )]
    Name(String),
    /// Namespaces and sites are single labels.
    #[error("{0:?} is not a single DNS label of lower-case letters, digits and '-' (63 characters)")]
    Label(String),
    /// What belongs to a site or an app is named after it.
    #[error("a {kind} is named <{owner}>.<name>, found {name:?}")]
    Owner {
        /// The kind whose rule is broken.
        kind: Kind,
        /// What has to stand before the dot.
        owner: &'static str,
        /// The name as given.
        name: String,
    },
    /// Fleet-wide kinds have no namespace, the others need one.
    #[error("a {0} belongs to {what}", what = if .0.is_fleet_wide() { "the fleet and has no namespace" } else { "a namespace" })]
    Namespace(Kind),
    /// Not the text of a scope.
    #[error("{0:?} is not a scope (fleet, profiles/<ns>, sites/<ns>/<site>, catalog/<ns>/<app>)")]
    Scope(String),
}

/// One document: a kind, a namespace and a name, checked. Order is kind, namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Document {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Document {
    /// Checks a name. `namespace` is empty for fleet-wide kinds and for no other.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Result<Self, NameError> {
        if kind.is_fleet_wide() != namespace.is_empty() {
            return Err(NameError::Namespace(kind));
        }
        if !namespace.is_empty() && !is_label(namespace) {
            return Err(NameError::Label(clip(namespace)));
        }
        if !is_name(name) {
            return Err(NameError::Name(clip(name)));
        }
        let dotted = name.contains('.');
        let owner = |owner| NameError::Owner { kind, owner, name: clip(name) };
        match kind {
            Kind::Site | Kind::SiteStatus | Kind::App if dotted => Err(NameError::Label(clip(name))),
            Kind::Member | Kind::Machine | Kind::DriftReport if !dotted => Err(owner("site")),
            Kind::Release if !dotted => Err(owner("app")),
            _ => Ok(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }),
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The namespace; empty for fleet-wide kinds.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within kind and namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The site or app that the name begins with, for kinds that belong to one.
    pub fn owner(&self) -> Option<&str> {
        match self.kind {
            Kind::Site | Kind::SiteStatus | Kind::App => Some(&self.name),
            _ => self.name.split_once('.').map(|(owner, _)| owner),
        }
    }

    /// The scope that the document lives in: a function of its name alone.
    pub fn scope(&self) -> Scope {
        let namespace = self.namespace.clone();
        let owner = self.owner().map(str::to_owned);
        match (self.kind, owner) {
            (Kind::Hub | Kind::HubStatus | Kind::Revocation | Kind::Setting, _) => Scope::Fleet,
            (Kind::Profile | Kind::Rollout, _) | (Kind::Override, None) => Scope::Profiles { namespace },
            (Kind::App | Kind::Release, Some(app)) => Scope::Catalog { namespace, app },
            (_, Some(site)) => Scope::Site { namespace, site },
            (kind, None) => unreachable!("a {kind} without an owner is refused by Document::new"),
        }
    }

    /// Whether this is a site's one local override, which the site itself writes.
    pub fn is_local_override(&self) -> bool {
        self.kind == Kind::Override && self.name.split_once('.').is_some_and(|(_, rest)| rest == "local")
    }

    /// Whether the site's own nodes write this document (and nobody else).
    pub fn is_site_written(&self) -> bool {
        matches!(self.kind, Kind::SiteStatus | Kind::Machine | Kind::DriftReport) || self.is_local_override()
    }
}

impl fmt::Display for Document {
    /// `Kind/namespace/name`, or `Kind/name` for fleet-wide kinds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(f, "{}/{}", self.kind, self.name),
            false => write!(f, "{}/{}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// A set of documents that is held, sent and forgotten as a whole. Order is the order in which
/// scopes are synchronised: the fleet first, then profiles, sites, catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Authority, hubs, issuers, revocations.
    Fleet,
    /// The profiles, rollouts and selector overrides of a namespace.
    Profiles {
        /// The namespace.
        namespace: String,
    },
    /// One site: its spec, members, overrides, and what it says of itself.
    Site {
        /// The namespace.
        namespace: String,
        /// The site.
        site: String,
    },
    /// One application and its releases.
    Catalog {
        /// The namespace.
        namespace: String,
        /// The application.
        app: String,
    },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Profiles { namespace } => write!(f, "profiles/{namespace}"),
            Self::Site { namespace, site } => write!(f, "sites/{namespace}/{site}"),
            Self::Catalog { namespace, app } => write!(f, "catalog/{namespace}/{app}"),
        }
    }
}

impl FromStr for Scope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let scope = match parts[..] {
            ["fleet"] => Self::Fleet,
            ["profiles", namespace] => Self::Profiles { namespace: namespace.to_owned() },
            ["sites", namespace, site] => {
                Self::Site { namespace: namespace.to_owned(), site: site.to_owned() }
            }
            ["catalog", namespace, app] => {
                Self::Catalog { namespace: namespace.to_owned(), app: app.to_owned() }
            }
            _ => return Err(NameError::Scope(clip(text))),
        };
        match parts[1..].iter().all(|part| is_label(part)) {
            true => Ok(scope),
            false => Err(NameError::Scope(clip(text))),
        }
    }
}

/// Whether `text` is a label of RFC 1123 in lower case.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=NAME_LABEL_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// Whether `text` is labels of RFC 1123 joined by dots.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label)
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scope_of(kind: Kind, name: &str) -> String {
        Document::new(kind, "acme", name).unwrap().scope().to_string()
    }

    #[test]
    fn names_decide_scopes() {
        assert_eq!(scope_of(Kind::Profile, "store-base"), "profiles/acme");
        assert_eq!(scope_of(Kind::Profile, "store.base"), "profiles/acme");
        assert_eq!(scope_of(Kind::Override, "all-stores"), "profiles/acme");
        assert_eq!(scope_of(Kind::Override, "store-17.replicas"), "sites/acme/store-17");
        assert_eq!(scope_of(Kind::Machine, "store-17.pos.1"), "sites/acme/store-17");
        assert_eq!(scope_of(Kind::Release, "pos.2.3.1"), "catalog/acme/pos");
        assert_eq!(Document::new(Kind::Hub, "", "hub-eu-1").unwrap().scope(), Scope::Fleet);
    }

    #[test]
    fn malformed_names_are_refused() {
        for (kind, namespace, name) in [
            (Kind::Site, "acme", "a.b"),
            (Kind::Machine, "acme", "no-owner"),
            (Kind::Release, "acme", "no-owner"),
            (Kind::Profile, "", "x"),
            (Kind::Hub, "acme", "x"),
            (Kind::Profile, "acme", "Upper"),
            (Kind::Profile, "acme", "-x"),
            (Kind::Profile, "acme", "a..b"),
            (Kind::Profile, "acme", "../etc"),
            (Kind::Profile, "a.b", "x"),
        ] {
            assert!(Document::new(kind, namespace, name).is_err(), "{kind} {namespace} {name}");
        }
    }

    #[test]
    fn scopes_round_trip_as_text() {
        for text in ["fleet", "profiles/acme", "sites/acme/store-17", "catalog/acme/pos"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "fleet/x", "sites/acme", "profiles/", "sites/acme/../x", "catalog/a/b/c"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
