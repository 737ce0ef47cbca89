//! A fleet of real processes.
//!
//! Owns the processes and their directories: both are gone when a [`Fleet`] is dropped, also by a panic, and the
//! processes end by themselves when the test's process does, because their standard input ends with it. Ports are
//! taken from the system at the first start and kept from then on. Nothing here sleeps to let something happen: what
//! has to be waited for is looked at until it is there, up to a deadline.

mod binary;
mod cli;
mod curl;
mod manifests;
mod node;
mod place;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use binary::driftless;
pub(crate) use cli::{Outcome, without_settings};
pub(crate) use manifests::{LOCAL_OVERRIDE, MACHINE, PROFILE};
pub(crate) use node::{Node, failed_start};
pub(crate) use place::{Cable, Place};

/// How long anything may take that has to happen in the end. Generous: it is only used up by what is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection lasts whose other end has gone without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two looks at what cannot be waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Nodes of one fleet, and a directory for them.
pub(crate) struct Fleet {
    nodes: Vec<Node>,
    /// Where nodes run that do not run on this machine's loopback.
    places: BTreeMap<String, Place>,
    dir: TempDir,
}

impl Fleet {
    /// A fleet with one hub, `hub-eu`, that created it.
    pub(crate) fn new() -> Self {
        Self::at(BTreeMap::new())
    }

    /// The same, some of whose nodes run, once they are added, elsewhere.
    pub(crate) fn at(places: BTreeMap<&str, Place>) -> Self {
        let places = places.into_iter().map(|(node, place)| (node.to_owned(), place)).collect();
        let mut fleet = Self { nodes: vec![], places, dir: tempfile::tempdir().unwrap() };
        fleet.add_hub("hub-eu", "eu", None);
        fleet
    }

    /// A fleet with two hubs that are connected: `hub-eu` and `hub-us`.
    pub(crate) fn of_two_regions() -> Self {
        let mut fleet = Self::new();
        fleet.hub("hub-us", "us");
        fleet
    }

    /// Adds a hub that joins the fleet with a token of the first hub.
    pub(crate) fn hub(&mut self, name: &str, region: &str) -> &mut Node {
        let token = self.token(&["--role", "hub", "--region", region]);
        self.add_hub(name, region, Some(token))
    }

    fn add_hub(&mut self, name: &str, region: &str, join: Option<PathBuf>) -> &mut Node {
        let mut arguments = vec!["hub".to_owned(), "--name".to_owned(), name.to_owned()];
        arguments.extend(["--region".to_owned(), region.to_owned()]);
        arguments.extend(joining(join));
        self.start(name, arguments)
    }

    /// Adds an edge: the site is new and of class `store`; its region is that of the hub that it joins at.
    pub(crate) fn edge(&mut self, hub: &str, site: &str) -> &mut Node {
        let token = self.token_of(hub, &["--role", "edge", "--site", site, "--label", "class=store"]);
        self.edge_with(site, &token)
    }

    /// Adds an edge that joins with this token, and waits until it has heard from a hub that it is enrolled.
    pub(crate) fn edge_with(&mut self, site: &str, token: &Path) -> &mut Node {
        self.newcomer(site, token);
        self.enrolled(site, site, "n1")
    }

    /// Adds another node of a site that has one, its peer; it is named `<site>.<node>`.
    pub(crate) fn edge_beside(&mut self, hub: &str, site: &str, node: &str) -> &mut Node {
        let token = self.token_of(hub, &["--role", "edge", "--site", site]);
        let mut more = joining(Some(token));
        more.extend(["--peer".to_owned(), self.node(site).quic.clone()]);
        let name = format!("{site}.{node}");
        self.start_edge(&name, node, more);
        self.enrolled(&name, site, node)
    }

    /// Waits until an edge has heard from a hub that it is enrolled: before, nothing that it writes would
    /// have effect.
    fn enrolled(&mut self, name: &str, site: &str, node: &str) -> &mut Node {
        let own = format!("member/{site}.{node}");
        let within = format!("{}s", DEADLINE.as_secs());
        self.cli(name, &["wait", &own, "--for=create", "--timeout", &within]).ok();
        self.node(name)
    }

    /// Adds an edge that joins with this token, and may not know yet that it is enrolled.
    pub(crate) fn newcomer(&mut self, site: &str, token: &Path) -> &mut Node {
        self.start_edge(site, "n1", joining(Some(token.to_path_buf())))
    }

    /// Puts a new machine, which joins with this token, in the place of an edge.
    pub(crate) fn replace(&mut self, site: &str, token: &Path) -> &mut Node {
        self.nodes.retain(|node| node.name != site);
        std::fs::remove_dir_all(self.path(site)).unwrap();
        self.edge_with(site, token)
    }

    /// Adds an edge whose data directory is there already.
    pub(crate) fn edge_again(&mut self, name: &str) -> &mut Node {
        self.start_edge(name, "n1", vec![])
    }

    fn start_edge(&mut self, name: &str, node: &str, more: Vec<String>) -> &mut Node {
        let render = self.rendered(name).display().to_string();
        let mut arguments: Vec<String> = ["edge", "--node", node, "--render"].map(str::to_owned).to_vec();
        arguments.push(render);
        arguments.extend(more);
        self.start(name, arguments)
    }

    fn start(&mut self, name: &str, arguments: Vec<String>) -> &mut Node {
        self.nodes.push(Node::start(name, self.path(name), self.place(name), arguments));
        self.nodes.last_mut().unwrap()
    }

    fn place(&self, node: &str) -> Place {
        self.places.get(node).cloned().unwrap_or_default()
    }

    /// A token of the first hub, in a file.
    pub(crate) fn token(&self, arguments: &[&str]) -> PathBuf {
        self.token_of("hub-eu", arguments)
    }

    /// A token of a hub, in a file.
    pub(crate) fn token_of(&self, hub: &str, arguments: &[&str]) -> PathBuf {
        let created = self.cli(hub, &[&["token", "create"], arguments].concat()).ok();
        let (file, path) =
            tempfile::Builder::new().suffix(".token").tempfile_in(self.dir.path()).unwrap().keep().unwrap();
        drop(file);
        std::fs::write(&path, created.stdout).unwrap();
        path
    }

    /// A path in the fleet's directory; nodes have theirs under their names.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where an edge renders its configuration.
    pub(crate) fn rendered(&self, site: &str) -> PathBuf {
        self.path(&format!("{site}.rendered"))
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A node, by name.
    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Runs the command line with a node's data directory, where the node runs.
    pub(crate) fn cli(&self, node: &str, arguments: &[&str]) -> Outcome {
        self.cli_with(node, arguments, "")
    }

    /// Applies a manifest.
    pub(crate) fn apply(&self, node: &str, manifest: &str) -> Outcome {
        self.cli_with(node, &["apply", "-f", "-"], manifest)
    }

    fn cli_with(&self, node: &str, arguments: &[&str], input: &str) -> Outcome {
        Outcome::at(&self.place(node), &self.path(node), arguments, input)
    }

    /// Reads JSON through the command line.
    pub(crate) fn json(&self, node: &str, arguments: &[&str]) -> Value {
        self.cli(node, &[arguments, &["-o", "json"]].concat()).ok().json()
    }

    /// Waits for a field of a resource, through the watch that `driftless wait` opens.
    pub(crate) fn shows(&self, node: &str, name: &str, path: &str, value: &str) {
        let until = format!("--for=jsonpath={{{path}}}={value}");
        let deadline = format!("{}s", DEADLINE.as_secs());
        let exists = ["wait", name, "--for=create", "--timeout", &deadline];
        self.cli(node, &exists).ok();
        self.cli(node, &["wait", name, &until, "--timeout", &deadline]).ok();
    }

    /// Cuts a node off from all others: none of its sessions stays, none is taken.
    pub(crate) fn cut(&self, node: &str) {
        self.cli(node, &["peers", "cut", "--all"]).ok();
        until(&format!("{node} has no session left"), || {
            let peers = self.json(node, &["peers"]);
            let states: Vec<_> =
                peers["peers"].as_array().unwrap().iter().map(|peer| &peer["state"]).collect();
            states.iter().all(|state| *state == "CutByOperator" || *state == "NotConnected")
        });
    }

    /// Ends all cuts of a node.
    pub(crate) fn heal(&self, node: &str) {
        self.cli(node, &["peers", "heal", "--all"]).ok();
    }

    /// Waits until all nodes hold the same of what they are interested in; the digests decide.
    pub(crate) fn agree(&self, nodes: &[&str]) {
        let urls: Vec<String> = nodes.iter().map(|name| self.url(name)).collect();
        let within = format!("{}s", DEADLINE.as_secs());
        let mut arguments = vec!["verify", "--all", "--within", &within, "--peers"];
        arguments.extend(urls[1..].iter().map(String::as_str));
        self.cli(nodes[0], &arguments).ok();
    }

    /// Whether these nodes hold the same now.
    pub(crate) fn differ(&self, nodes: &[&str]) -> bool {
        let urls: Vec<String> = nodes.iter().map(|name| self.url(name)).collect();
        let mut arguments = vec!["verify", "--all", "--peers"];
        arguments.extend(urls[1..].iter().map(String::as_str));
        self.cli(nodes[0], &arguments).code == 1
    }

    /// The URL of a node's API.
    pub(crate) fn url(&self, name: &str) -> String {
        self.nodes.iter().find(|node| node.name == name).unwrap().api.clone()
    }
}

/// Looks until something is so; fails with the reason when it is not in time.
#[track_caller]
pub(crate) fn until(reason: &str, is_so: impl FnMut() -> bool) {
    until_within(DEADLINE, reason, is_so);
}

/// Looks until something is so that comes after a connection has timed out, which takes a minute.
#[track_caller]
pub(crate) fn until_timed_out(reason: &str, is_so: impl FnMut() -> bool) {
    until_within(DEADLINE + IDLE_TIMEOUT, reason, is_so);
}

#[track_caller]
fn until_within(within: Duration, reason: &str, mut is_so: impl FnMut() -> bool) {
    let ends = now() + within;
    while !is_so() {
        assert!(now() < ends, "in {} s not so: {reason}", within.as_secs());
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the bound of a wait for other processes")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what other processes do cannot always be awaited, only looked at"
)]
fn pause() {
    std::thread::sleep(LOOK_AGAIN_AFTER);
}

/// Copies a data directory, as somebody who copies a disk does.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&from, &to),
            false => drop(std::fs::copy(&from, &to).unwrap()),
        }
    }
}

fn joining(token: Option<PathBuf>) -> Vec<String> {
    token.into_iter().flat_map(|file| ["--join".to_owned(), format!("@{}", file.display())]).collect()
}
