//! Which nodes are compared, and what each of them holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::query::Query;
use crate::cli::session::{self, Session};

/// A demo's list of nodes.
const DEMO: &str = "demo.json";

/// A node to ask.
pub(super) struct Node {
    pub(super) name: String,
    session: Option<Session>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// An edge's namespace and site; `None` for a hub.
    pub(super) site: Option<(String, String)>,
    /// Digests by scope.
    pub(super) scopes: BTreeMap<String, String>,
    /// What the store gave back of each scope: the digest that it was compared with, and a hash.
    pub(super) held: BTreeMap<String, String>,
    /// Scopes of which the store misses events that the node took, and how many.
    pub(super) missing: BTreeMap<String, u64>,
}

/// How the stores are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Digests of what the nodes took.
    Digests,
    /// Also what they really hold, as of the last time that it was read back if nothing changed since.
    Held,
    /// Also what they really hold, read back now.
    Read,
}

impl Look {
    fn query(self) -> Query {
        match self {
            Self::Digests => Query::new("/v1/digest"),
            Self::Held => Query::new("/v1/digest").with("held", "known"),
            Self::Read => Query::new("/v1/digest").with("held", "read"),
        }
    }
}

impl Seen {
    /// Whether a node like this holds the scope whenever anybody does.
    pub(super) fn is_interested_in(&self, scope: &str) -> bool {
        let Some((namespace, site)) = &self.site else { return true };
        scope == "fleet"
            || scope.strip_prefix("profiles/") == Some(namespace)
            || scope.strip_prefix("sites/").and_then(|rest| rest.split_once('/')) == Some((namespace, site))
    }
}

impl Node {
    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        Self { name: name.to_owned(), session: None }
    }

    async fn look(&self, look: Look) -> Result<Seen, Failure> {
        let Some(session) = &self.session else {
            return Err(Failure::Refused("no credentials".to_owned()));
        };
        let status = session.get(&Query::new("/v1/status")).await?;
        let digest = session.get(&look.query()).await?;
        let scopes =
            digest["scopes"].as_object().ok_or_else(|| Failure::answer("digest", "it has no scopes"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let scopes: BTreeMap<String, String> =
            scopes.iter().map(|(scope, digest)| (scope.clone(), text(digest))).collect();
        let rows = |name: &str| digest[name].as_object().into_iter().flatten();
        let held = rows("held").map(|(scope, hash)| (scope.clone(), text(hash))).collect();
        let missing = rows("missing").filter_map(|(scope, count)| Some((scope.clone(), count.as_u64()?)));
        let missing = missing.collect();
        let site = match status["role"].as_str() {
            Some("hub") => None,
            Some("edge") => Some(site_of(&status, &scopes)?),
            _ => return Err(Failure::answer("status", "it does not say whether it is a hub or an edge")),
        };
        Ok(Seen { site, scopes, held, missing })
    }
}

/// An edge's namespace and site: it holds the scope of its own site and of no other.
fn site_of(status: &Value, scopes: &BTreeMap<String, String>) -> Result<(String, String), Failure> {
    let own = scopes.keys().find_map(|scope| scope.strip_prefix("sites/")?.split_once('/'));
    let (namespace, site) = match own {
        Some(own) => own,
        None => {
            let name = status["node"].as_str().unwrap_or_default();
            ("default", name.split('.').next().unwrap_or_default())
        }
    };
    match site.is_empty() {
        true => Err(Failure::answer("status", "it does not say which site's edge it is")),
        false => Ok((namespace.to_owned(), site.to_owned())),
    }
}

/// Finds the nodes; this one comes first.
pub(super) fn find(
    global: &Global,
    peers: &[String],
    dir: Option<&Path>,
    all: bool,
) -> Result<Vec<Node>, Failure> {
    if let Some(dir) = dir {
        return of_demo(&dir.join(DEMO), None);
    }
    let this = Session::open(global)?;
    if !peers.is_empty() {
        let mut nodes = vec![Node { name: this.client.server().to_owned(), session: Some(this) }];
        for peer in peers {
            let session = Session::open_at(global, peer)?;
            nodes.push(Node { name: session.client.server().to_owned(), session: Some(session) });
        }
        return Ok(nodes);
    }
    let demo = session::data_dir(global).parent().map(|dir| dir.join(DEMO)).filter(|file| file.exists());
    if let (None, Some(demo)) = (&global.kubeconfig, demo) {
        return of_demo(&demo, (!all).then(|| this.client.server().to_owned()));
    }
    of_contexts(global)
}

/// The nodes of a demo, each with its own credentials; the one at `first` comes first.
pub(super) fn of_demo(file: &Path, first: Option<String>) -> Result<Vec<Node>, Failure> {
    let shown = file.display().to_string();
    let text = std::fs::read(file).map_err(|source| Failure::io("read", shown.clone(), source))?;
    let listed: Vec<Value> = serde_json::from_slice(&text)
        .map_err(|error| Failure::Refused(format!("{shown} is not what `driftless demo` writes: {error}")))?;
    let mut nodes = Vec::new();
    for entry in listed {
        let (Some(name), Some(kubeconfig)) = (entry["name"].as_str(), entry["kubeconfig"].as_str()) else {
            return Err(Failure::Refused(format!("{shown}: a node without name or kubeconfig")));
        };
        let global = Global { kubeconfig: Some(PathBuf::from(kubeconfig)), ..Global::default() };
        let node = Node { name: name.to_owned(), session: Some(Session::open(&global)?) };
        let is_first =
            node.session.as_ref().is_some_and(|session| Some(session.client.server()) == first.as_deref());
        if is_first { nodes.insert(0, node) } else { nodes.push(node) }
    }
    Ok(nodes)
}

/// The contexts of a kubeconfig, the current one first.
fn of_contexts(global: &Global) -> Result<Vec<Node>, Failure> {
    let path = session::kubeconfig_path(global);
    let config = session::read_yaml(&path)?;
    let current = global.context.as_deref().or(config["current-context"].as_str()).unwrap_or_default();
    let mut names: Vec<&str> = config["contexts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|context| context["name"].as_str())
        .collect();
    names.sort_by_key(|name| (*name != current, *name));
    if names.len() < 2 {
        return Err(Failure::Usage(format!(
            "compare with which nodes? {} has no other context; name them with --peers URL… or --dir DEMO",
            path.display()
        )));
    }
    let mut nodes = Vec::new();
    for name in names {
        let global = Global {
            kubeconfig: Some(path.clone()),
            context: Some(name.to_owned()),
            server: None,
            ..global.clone()
        };
        nodes.push(Node { name: name.to_owned(), session: Some(Session::open(&global)?) });
    }
    Ok(nodes)
}

/// Asks all nodes at once; one that does not answer says why not.
pub(super) async fn look(nodes: &[Node], look: Look) -> Vec<Result<Seen, String>> {
    let looks = nodes.iter().map(|node| async move {
        let seen = node.look(look).await;
        seen.map_err(|failure| failure.report().unwrap_or_default().trim_start_matches("error: ").to_owned())
    });
    futures_util::future::join_all(looks).await
}
