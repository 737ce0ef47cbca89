//! Who calls, and what that person, program or node may do here.
//!
//! Two questions, answered apart: may this caller do that (roles of its certificate), and may this
//! node write that (a hub writes what operators write, an edge what its site says of itself).
//! Both are checks of the API, made now, on this node; what has effect in the fleet is decided by the
//! replica from signed events alone.

use driftless_core::name::Document;

use super::Local;
use crate::identity::{PeerIdentity, Principal};

/// The authenticated origin of a request; `name` becomes the `by` of what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it stands in history: `user/mia`, `hub/eu-1`, `ns/default/site/store-17/operator/admin`.
    pub name: String,
    /// What the credential says that its holder may do; empty for nodes.
    pub roles: Vec<String>,
    /// The site, as (namespace, site), that the holder belongs to, if it belongs to one.
    pub site: Option<(String, String)>,
}

impl From<PeerIdentity> for Caller {
    /// Whoever presented a certificate of the fleet.
    fn from(peer: PeerIdentity) -> Self {
        let name = peer.principal.to_string();
        let site = match peer.principal {
            Principal::Node { namespace, site, .. } | Principal::SiteOperator { namespace, site, .. } => {
                Some((namespace, site))
            }
            Principal::Hub { .. } | Principal::User { .. } => None,
        };
        Self { name, roles: peer.roles, site }
    }
}

/// The role that reads and never writes.
pub const ROLE_VIEWER: &str = "viewer";

impl Caller {
    /// Whether the caller may change anything at all here; the error says why not.
    pub fn may_write(&self, local: &Local) -> Result<(), String> {
        if !self.roles.is_empty() && self.roles.iter().all(|role| role == ROLE_VIEWER) {
            return Err(format!("{} has the role {ROLE_VIEWER}, which reads only", self.name));
        }
        match (&self.site, &local.site) {
            (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
            (None, _) => Ok(()),
            (Some((_, site)), _) => Err(format!(
                "{} belongs to site {site:?} and writes at that site's own nodes only",
                self.name
            )),
        }
    }

    /// Whether the caller may write this document at this node; the error says why not.
    pub fn may_write_document(&self, local: &Local, document: &Document) -> Result<(), String> {
        self.may_write(local)?;
        local.may_write(document)
    }
}

impl Local {
    /// Whether this node may write this document; the error says who may.
    pub fn may_write(&self, document: &Document) -> Result<(), String> {
        let Some((namespace, site)) = &self.site else {
            return match document.is_site_written() {
                true => Err(format!(
                    "only the nodes of site {:?} write that; use the context of one of them",
                    document.owner().unwrap_or_default()
                )),
                false => Ok(()),
            };
        };
        if !document.is_site_written() {
            return Err(format!(
                "this node is an edge of site {site:?}, and {} resources are written at a hub",
                document.kind()
            ));
        }
        match document.owner() == Some(site) && document.namespace() == namespace {
            true => Ok(()),
            false => Err(format!("this node writes for site {site:?} of namespace {namespace:?} only")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use driftless_core::ids::FleetId;
    use driftless_core::name::Kind;

    use super::*;

    fn hub() -> Local {
        Local {
            node: "hub-eu-1".into(),
            site: None,
            region: "eu".into(),
            namespace: "default".into(),
            fleet: FleetId([1; 32]),
            log_tag: 1,
        }
    }

    fn edge() -> Local {
        let site = Some(("acme".into(), "store-17".into()));
        Local { node: "store-17-a".into(), site, ..hub() }
    }

    fn document(kind: Kind, name: &str) -> Document {
        Document::new(kind, "acme", name).unwrap()
    }

    fn mia(roles: &[&str]) -> Caller {
        Caller {
            name: "user/mia".into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            site: None,
        }
    }

    #[test]
    fn an_edge_sends_whoever_writes_a_profile_to_a_hub() {
        let refusal =
            mia(&[]).may_write_document(&edge(), &document(Kind::Profile, "store-base")).unwrap_err();
        assert!(refusal.contains("are written at a hub"), "{refusal}");
        mia(&[]).may_write_document(&hub(), &document(Kind::Profile, "store-base")).unwrap();
    }

    #[test]
    fn the_local_override_is_written_at_the_site_and_nowhere_else() {
        let local = document(Kind::Override, "store-17.local");
        mia(&[]).may_write_document(&edge(), &local).unwrap();
        assert!(mia(&[]).may_write_document(&hub(), &local).is_err());
        let neighbour = document(Kind::Override, "store-18.local");
        assert!(mia(&[]).may_write_document(&edge(), &neighbour).is_err());
    }

    #[test]
    fn viewers_and_strangers_from_other_sites_write_nothing() {
        assert!(mia(&["viewer"]).may_write(&hub()).is_err());
        mia(&["viewer", "editor"]).may_write(&hub()).unwrap();
        let operator = Caller { site: Some(("acme".into(), "store-17".into())), ..mia(&[]) };
        operator.may_write(&edge()).unwrap();
        assert!(operator.may_write(&hub()).is_err());
    }
}
