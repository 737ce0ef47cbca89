//! Which nodes a demo has: made up, or as the last run left them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;

/// Names for regions; further ones are numbered.
const REGIONS: [&str; 6] = ["eu", "us", "ap", "sa", "af", "me"];

/// A node, as `demo.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) region: String,
    /// Of an edge.
    pub(super) site: Option<String>,
    /// URL of the API.
    pub(super) api: String,
    /// Address of QUIC.
    pub(super) quic: String,
    pub(super) pid: u32,
    pub(super) data_dir: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Hub,
    Edge,
}

/// A node that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) region: String,
    pub(super) site: Option<String>,
    pub(super) data_dir: PathBuf,
    /// Where it listened in the last run.
    pub(super) quic: Option<SocketAddr>,
    pub(super) api: Option<SocketAddr>,
    /// Whether it tries what the others get later.
    pub(super) is_canary: bool,
}

/// All nodes of a demo, hubs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    nodes: Vec<Planned>,
    resumed: bool,
}

impl Plan {
    /// A new fleet: sites are spread over the regions in turn, and the first of each region is its canary.
    pub(super) fn new(dir: &Path, regions: usize, sites: usize) -> Self {
        let region =
            |at: usize| REGIONS.get(at).map_or_else(|| format!("r{}", at + 1), |name| (*name).to_owned());
        let node = |name: String, role, at, site, is_canary| Planned {
            data_dir: dir.join(&name),
            name,
            role,
            region: region(at),
            site,
            quic: None,
            api: None,
            is_canary,
        };
        let hubs = (0..regions).map(|at| node(format!("hub-{}-1", region(at)), Role::Hub, at, None, false));
        let edges = (0..sites).map(|at| {
            let site = format!("store-{:02}", at + 1);
            node(site.clone(), Role::Edge, at % regions, Some(site), at < regions)
        });
        Self { nodes: hubs.chain(edges).collect(), resumed: false }
    }

    /// The fleet that `demo.json` lists; `None` if there is no such file.
    pub(super) fn resume(list: &Path) -> Result<Option<Self>, Failure> {
        let shown = || list.display().to_string();
        let text = match std::fs::read(list) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Failure::io("read", shown(), source)),
        };
        let listed: Vec<Listed> = serde_json::from_slice(&text).map_err(|error| {
            Failure::Demo(format!("{} is damaged: {error}. Nothing was started.", shown()))
        })?;
        let nodes = listed
            .into_iter()
            .map(|node| Planned {
                quic: node.quic.parse().ok(),
                api: node.api.strip_prefix("https://").and_then(|address| address.parse().ok()),
                name: node.name,
                role: node.role,
                region: node.region,
                site: node.site,
                data_dir: node.data_dir,
                is_canary: false,
            })
            .collect();
        Ok(Some(Self { nodes, resumed: true }))
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub(super) fn hubs(&self) -> impl Iterator<Item = &Planned> {
        self.nodes.iter().filter(|node| node.role == Role::Hub)
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = &Planned> {
        self.nodes.iter().filter(|node| node.role == Role::Edge)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn six_stores_in_two_regions() {
        let plan = Plan::new(Path::new("/d"), 2, 6);
        let hubs: Vec<&str> = plan.hubs().map(|hub| hub.name.as_str()).collect();
        assert_eq!(hubs, ["hub-eu-1", "hub-us-1"]);
        let edges: Vec<(&str, &str, bool)> =
            plan.edges().map(|edge| (edge.name.as_str(), edge.region.as_str(), edge.is_canary)).collect();
        assert_eq!(
            edges[..3],
            [("store-01", "eu", true), ("store-02", "us", true), ("store-03", "eu", false)]
        );
        assert_eq!(edges.len(), 6);
    }

    #[test]
    fn a_list_resumes_with_its_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("demo.json");
        assert_eq!(Plan::resume(&list).unwrap(), None);
        let node = Listed {
            name: "hub-eu-1".into(),
            role: Role::Hub,
            region: "eu".into(),
            site: None,
            api: "https://127.0.0.1:1234".into(),
            quic: "127.0.0.1:2345".into(),
            pid: 1,
            data_dir: "/d/hub-eu-1".into(),
            kubeconfig: "/d/hub-eu-1/admin.kubeconfig".into(),
        };
        std::fs::write(&list, serde_json::to_vec(&[node]).unwrap()).unwrap();
        let plan = Plan::resume(&list).unwrap().unwrap();
        let hub = plan.hubs().next().unwrap();
        assert!(plan.is_resumed());
        assert_eq!((hub.api.unwrap().port(), hub.quic.unwrap().port()), (1234, 2345));
        std::fs::write(&list, "[{}]").unwrap();
        assert!(Plan::resume(&list).is_err());
    }
}
