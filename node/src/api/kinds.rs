//! Which kinds the API serves, under which names: the one table behind discovery, routing and OpenAPI.

use driftless_core::name::Kind;

/// A kind as the API serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The kind.
    pub kind: Kind,
    /// The name in URLs.
    pub plural: &'static str,
    /// The name for one.
    pub singular: &'static str,
    /// Short names on the command line.
    pub short: &'static [&'static str],
    /// Whether `get all` shows it.
    pub in_all: bool,
    /// Whether clients write it; what only daemons write is read here.
    pub writable: bool,
    /// One sentence, for `explain`.
    pub about: &'static str,
}

impl Served {
    /// Whether its resources live in namespaces.
    pub fn namespaced(&self) -> bool {
        !self.kind.is_fleet_wide()
    }

    /// What clients may do with it.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.writable {
            true => &["create", "delete", "get", "list", "patch", "update", "watch"],
            false => &["get", "list", "watch"],
        }
    }

    /// Whether clients write it at all; the error says who does.
    pub(super) fn may_be_written(&self) -> Result<(), String> {
        match self.writable {
            true => Ok(()),
            false => Err("it is written by daemons and by enrolment, never through this path".to_owned()),
        }
    }

    /// Finds a kind by its name in URLs.
    pub fn by_plural(plural: &str) -> Option<&'static Self> {
        SERVED.iter().find(|served| served.plural == plural)
    }

    /// Finds a kind.
    pub fn by_kind(kind: Kind) -> &'static Self {
        SERVED.iter().find(|served| served.kind == kind).expect("every kind is in the table; a test says so")
    }
}

/// Every kind that the API serves.
pub const SERVED: &[Served] = &[
    Served {
        kind: Kind::Profile,
        plural: "profiles",
        singular: "profile",
        short: &["prof"],
        in_all: true,
        writable: true,
        about: "Profile is a layer of configuration for the sites that its selector matches.",
    },
    Served {
        kind: Kind::Override,
        plural: "overrides",
        singular: "override",
        short: &["ovr"],
        in_all: true,
        writable: true,
        about: "Override is an exception to profiles: of one site if its name is <site>.<name>, else of a selector.",
    },
    Served {
        kind: Kind::Rollout,
        plural: "rollouts",
        singular: "rollout",
        short: &["ro"],
        in_all: true,
        writable: true,
        about: "Rollout moves an application or a profile to another version, wave by wave.",
    },
    Served {
        kind: Kind::Site,
        plural: "sites",
        singular: "site",
        short: &["st"],
        in_all: true,
        writable: true,
        about: "Site is a place of the fleet: a store, a tower, a plant.",
    },
    Served {
        kind: Kind::Machine,
        plural: "machines",
        singular: "machine",
        short: &["mc"],
        in_all: true,
        writable: true,
        about: "Machine is a computer of a site, as the site reports it.",
    },
    Served {
        kind: Kind::DriftReport,
        plural: "driftreports",
        singular: "driftreport",
        short: &["drift"],
        in_all: true,
        writable: true,
        about: "DriftReport says where what runs at a site differs from what is desired.",
    },
    Served {
        kind: Kind::App,
        plural: "apps",
        singular: "app",
        short: &[],
        in_all: true,
        writable: true,
        about: "App is an application of the catalog and its channels.",
    },
    Served {
        kind: Kind::Release,
        plural: "releases",
        singular: "release",
        short: &["rel"],
        in_all: true,
        writable: true,
        about: "Release is one immutable version of an application.",
    },
    Served {
        kind: Kind::Member,
        plural: "members",
        singular: "member",
        short: &[],
        in_all: false,
        writable: false,
        about: "Member is the enrolled key of a node of a site.",
    },
    Served {
        kind: Kind::SiteStatus,
        plural: "sitestatuses",
        singular: "sitestatus",
        short: &[],
        in_all: false,
        writable: false,
        about: "SiteStatus is what a site says of itself; it is joined into the status of the Site.",
    },
    Served {
        kind: Kind::Hub,
        plural: "hubs",
        singular: "hub",
        short: &[],
        in_all: false,
        writable: false,
        about: "Hub is a core or regional node that may write what operators write.",
    },
    Served {
        kind: Kind::HubStatus,
        plural: "hubstatuses",
        singular: "hubstatus",
        short: &[],
        in_all: false,
        writable: false,
        about: "HubStatus is what a hub says of itself.",
    },
    Served {
        kind: Kind::Revocation,
        plural: "revocations",
        singular: "revocation",
        short: &[],
        in_all: false,
        writable: false,
        about: "Revocation ends the authority of a key, and lists what it wrote that stands.",
    },
    Served {
        kind: Kind::Setting,
        plural: "settings",
        singular: "setting",
        short: &[],
        in_all: false,
        writable: false,
        about: "Setting is a setting of the fleet.",
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_served_under_names_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Served::by_kind(kind).kind, kind);
        }
        let names = || {
            SERVED.iter().flat_map(|served| {
                [served.plural, served.singular].into_iter().chain(served.short.iter().copied())
            })
        };
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn plurals_lead_back_to_kinds() {
        assert_eq!(Served::by_plural("profiles").unwrap().kind, Kind::Profile);
        assert!(Served::by_plural("pods").is_none());
    }
}
