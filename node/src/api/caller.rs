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

/// What a role allows, each more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Reading: role `viewer`.
    Read,
    /// Writing resources: role `operator`.
    Write,
    /// Tokens, links, revocations: role `admin`.
    Administer,
}

impl Right {
    /// What a role of this name gives; `None` for a name that means nothing.
    pub fn of_role(name: &str) -> Option<Self> {
        match name {
            "viewer" => Some(Self::Read),
            "operator" => Some(Self::Write),
            "admin" => Some(Self::Administer),
            _ => None,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Administer => "administer",
        }
    }
}

impl Caller {
    /// Whether a role gives the right: everywhere, or in the namespace asked for. The error says why not.
    ///
    /// A node has no role: it may read, and what it writes are events, not requests.
    pub fn may(&self, right: Right, namespace: Option<&str>) -> Result<(), String> {
        if self.roles.is_empty() && right == Right::Read {
            return Ok(());
        }
        let gives = |role: &String| {
            let (name, only_in) = role.split_once('@').map_or((role.as_str(), None), |(r, at)| (r, Some(at)));
            Right::of_role(name).is_some_and(|held| held >= right)
                && only_in.is_none_or(|only_in| namespace == Some(only_in))
        };
        if self.roles.iter().any(gives) {
            return Ok(());
        }
        let roles = match self.roles.is_empty() {
            true => "no role".to_owned(),
            false => format!("the role {}", self.roles.join(", ")),
        };
        let wherein = namespace.map_or(String::new(), |namespace| format!(" in namespace {namespace:?}"));
        Err(format!("{} has {roles}, which does not let it {} here{wherein}", self.name, right.verb()))
    }

    /// Whether the caller may change what is of no namespace here: links, tokens, keys. The error says why not.
    pub fn may_administer(&self, local: &Local) -> Result<(), String> {
        self.may(Right::Administer, None)?;
        self.is_at_home(local)
    }

    /// Whether the caller may write anything at all here; the error says why not.
    pub fn may_write(&self, local: &Local) -> Result<(), String> {
        let namespaces = self.roles.iter().filter_map(|role| role.split_once('@')).map(|(_, at)| Some(at));
        let mut outcomes = std::iter::once(None).chain(namespaces).map(|at| self.may(Right::Write, at));
        let first = outcomes.next().unwrap_or(Ok(()));
        if first.is_err() && !outcomes.any(|outcome| outcome.is_ok()) {
            return first;
        }
        self.is_at_home(local)
    }

    /// Whether the caller may write this document at this node; the error says why not.
    pub fn may_write_document(&self, local: &Local, document: &Document) -> Result<(), String> {
        self.may(Right::Write, Some(document.namespace()).filter(|namespace| !namespace.is_empty()))?;
        self.is_at_home(local)?;
        local.may_write(document)
    }

    /// Who belongs to a site writes at that site's nodes only.
    fn is_at_home(&self, local: &Local) -> Result<(), String> {
        match (&self.site, &local.site) {
            (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
            (None, _) => Ok(()),
            (Some((_, site)), _) => Err(format!(
                "{} belongs to site {site:?} and writes at that site's own nodes only",
                self.name
            )),
        }
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
        let refusal = mia(&["operator"])
            .may_write_document(&edge(), &document(Kind::Profile, "store-base"))
            .unwrap_err();
        assert!(refusal.contains("are written at a hub"), "{refusal}");
        mia(&["operator"]).may_write_document(&hub(), &document(Kind::Profile, "store-base")).unwrap();
    }

    #[test]
    fn the_local_override_is_written_at_the_site_and_nowhere_else() {
        let local = document(Kind::Override, "store-17.local");
        mia(&["operator"]).may_write_document(&edge(), &local).unwrap();
        assert!(mia(&["operator"]).may_write_document(&hub(), &local).is_err());
        let neighbour = document(Kind::Override, "store-18.local");
        assert!(mia(&["operator"]).may_write_document(&edge(), &neighbour).is_err());
    }

    #[test]
    fn a_role_of_a_namespace_ends_at_its_border() {
        let mia = mia(&["viewer", "operator@acme"]);
        mia.may_write(&hub()).unwrap();
        mia.may_write_document(&hub(), &document(Kind::Profile, "store-base")).unwrap();
        let elsewhere = Document::new(Kind::Profile, "umbrella", "store-base").unwrap();
        let refusal = mia.may_write_document(&hub(), &elsewhere).unwrap_err();
        assert!(refusal.contains("\"umbrella\"") && refusal.contains("operator@acme"), "{refusal}");
        assert!(mia.may_administer(&hub()).is_err());
        mia.may(Right::Read, Some("umbrella")).unwrap();
        let guest = Caller { roles: vec!["viewer@acme".into()], ..mia };
        guest.may(Right::Read, Some("acme")).unwrap();
        assert!(guest.may(Right::Read, Some("umbrella")).is_err() && guest.may(Right::Read, None).is_err());
    }

    #[test]
    fn operators_write_and_admins_administer() {
        mia(&["admin"]).may_administer(&hub()).unwrap();
        let refusal = mia(&["operator"]).may_administer(&hub()).unwrap_err();
        assert!(refusal.contains("administer"), "{refusal}");
    }

    #[test]
    fn viewers_and_strangers_from_other_sites_write_nothing() {
        assert!(mia(&["viewer"]).may_write(&hub()).is_err());
        assert!(mia(&[]).may_write(&hub()).is_err(), "a node writes events, not requests");
        assert!(mia(&["root"]).may_write(&hub()).is_err(), "what a role means is known or it means nothing");
        mia(&["viewer", "operator"]).may_write(&hub()).unwrap();
        let operator = Caller { site: Some(("acme".into(), "store-17".into())), ..mia(&["admin"]) };
        operator.may_write(&edge()).unwrap();
        assert!(operator.may_write(&hub()).is_err());
    }
}
