//! Who a peer is, what it asks for, and what it may be given.

use std::collections::BTreeSet;
use std::fmt;

use driftless_core::ids::Author;
use driftless_core::name::Scope;

/// Most scopes that one peer may list; a hub asks for everything instead.
pub const INTEREST_SCOPES_MAX: usize = 4_096;

/// A peer, by the key that the shell authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub Author);

/// What the shell knows of a peer from its certificate, and who dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The node key that the peer proved to own.
    pub key: Author,
    /// The role that its certificate names.
    pub kind: PeerKind,
    /// Whether this node dialled; the dialler speaks first.
    pub dialled: bool,
}

/// The role of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKind {
    /// A hub.
    Hub {
        /// Its name.
        name: String,
        /// Its region.
        region: String,
    },
    /// A node of a site.
    Site {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The node within the site.
        node: String,
    },
}

impl PeerKind {
    /// Whether this is a hub.
    pub fn is_hub(&self) -> bool {
        matches!(self, Self::Hub { .. })
    }

    /// The scope of the site that this is a node of; `None` for a hub.
    pub fn own_scope(&self) -> Option<Scope> {
        let Self::Site { namespace, site, .. } = self else { return None };
        Some(Scope::Site { namespace: namespace.clone(), site: site.clone() })
    }

    /// Whether a node of this role may hold a scope: a hub any, a site what its namespace shares and
    /// what is its own.
    pub fn may_hold(&self, scope: &Scope) -> bool {
        let Self::Site { namespace, site, .. } = self else { return true };
        match scope {
            Scope::Fleet => true,
            Scope::Profiles { namespace: tenant } | Scope::Catalog { namespace: tenant, .. } => {
                tenant == namespace
            }
            Scope::Site { namespace: tenant, site: owner } => tenant == namespace && owner == site,
        }
    }

    /// Whether an operator who says `name` means this node: a hub's name, a site, `<site>.<node>`, or
    /// either of these behind `<namespace>/`.
    pub fn answers_to(&self, name: &str) -> bool {
        match self {
            Self::Hub { name: own, .. } => own == name,
            Self::Site { namespace, site, node } => {
                let local = name
                    .strip_prefix(namespace.as_str())
                    .and_then(|rest| rest.strip_prefix('/'))
                    .unwrap_or(name);
                local == site
                    || local.strip_prefix(site.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(node)
            }
        }
    }
}

impl fmt::Display for PeerKind {
    /// A hub's name; `<namespace>/<site>.<node>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { name, .. } => f.write_str(name),
            Self::Site { namespace, site, node } => write!(f, "{namespace}/{site}.{node}"),
        }
    }
}

/// The scopes that a node wants to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// Every scope, those of the future included.
    All,
    /// These scopes, at most [`INTEREST_SCOPES_MAX`].
    Scopes(BTreeSet<Scope>),
}

impl Interest {
    /// Whether a scope is wanted.
    pub fn contains(&self, scope: &Scope) -> bool {
        match self {
            Self::All => true,
            Self::Scopes(scopes) => scopes.contains(scope),
        }
    }

    /// The scopes that are listed; none for [`Interest::All`].
    pub fn listed(&self) -> impl Iterator<Item = &Scope> {
        match self {
            Self::All => None,
            Self::Scopes(scopes) => Some(scopes),
        }
        .into_iter()
        .flatten()
    }
}

/// The urgency of bytes, most urgent first. Frames of one session stay in order whatever their class:
/// what is urgent is sent first, from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Greetings, vectors, acknowledgements.
    Control,
    /// The fleet's authority, hubs, revocations.
    Fleet,
    /// Profiles.
    Profiles,
    /// One site.
    Site,
    /// Applications and releases.
    Catalog,
}

impl From<&Scope> for Class {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Fleet => Self::Fleet,
            Scope::Profiles { .. } => Self::Profiles,
            Scope::Site { .. } => Self::Site,
            Scope::Catalog { .. } => Self::Catalog,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn store() -> PeerKind {
        PeerKind::Site { namespace: "acme".into(), site: "store-1".into(), node: "a".into() }
    }

    #[test]
    fn a_site_may_hold_its_own_and_what_its_tenant_shares() {
        for allowed in ["fleet", "profiles/acme", "sites/acme/store-1", "catalog/acme/pos"] {
            assert!(store().may_hold(&allowed.parse().unwrap()), "{allowed}");
        }
        for denied in ["profiles/other", "sites/acme/store-2", "sites/other/store-1", "catalog/other/pos"] {
            assert!(!store().may_hold(&denied.parse().unwrap()), "{denied}");
            let hub = PeerKind::Hub { name: "eu".into(), region: "eu".into() };
            assert!(hub.may_hold(&denied.parse().unwrap()));
        }
    }

    #[test]
    fn operators_name_peers_in_several_ways() {
        for name in ["store-1", "store-1.a", "acme/store-1", "acme/store-1.a"] {
            assert!(store().answers_to(name), "{name}");
        }
        for name in ["store", "store-1.b", "other/store-1", "store-1.", "a", ""] {
            assert!(!store().answers_to(name), "{name}");
        }
    }
}
