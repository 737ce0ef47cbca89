//! `verify`: do replicas with the same interest hold the same?
//!
//! Nodes are compared by the digests of the scopes that both are interested in: a hub in everything, an edge in
//! `fleet`, the profiles of its namespace and its own site. A scope that one of the two holds and the other does
//! not, though both are interested, differs. Of catalogs, in which an edge's interest follows its configuration,
//! those are compared that both hold.
//!
//! A digest says what a node took; what its store gives back of that is read once for each state of a scope, and
//! with `--read` anew. Nodes with one digest and different contents differ: one of them lost events, or was
//! never given them. What a store misses is named whether or not anybody else is asked.

mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::time::parse_duration;
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::table::align;
use nodes::{Look, Node, Seen};

/// Pause between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How many scopes that differ are named for each pair.
const NAMED_MAX: usize = 3;

/// Compare what nodes hold
///
/// Exit code 0: replicas with the same interest hold the same; 1: some differ; more than 1: an error.
///
/// The others are those of --peers, of a demo's directory, or the contexts of the kubeconfig. Nodes that do not
/// answer are named and not compared. What each node's store really holds is compared as well, and a store that
/// misses events is named; the node then fetches them from the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless verify --all --dir demo
  driftless verify --peers https://10.0.0.2:7421 https://10.0.0.3:7421
  driftless verify --all --within 30s
  driftless verify --all --read")]
pub struct Verify {
    /// Every pair of nodes, not only this node with each other
    #[arg(long)]
    pub all: bool,
    /// Other nodes of the fleet, asked with the same credentials
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub peers: Vec<String>,
    /// A demo's directory, whose demo.json names the nodes
    #[arg(long, value_name = "DIR", conflicts_with = "peers")]
    pub dir: Option<PathBuf>,
    /// Have every store read back now, though nothing changed since it last was
    #[arg(long)]
    pub read: bool,
    /// Look again until nothing differs, for as long as this
    #[arg(long, value_name = "TIME")]
    pub within: Option<String>,
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

impl Verify {
    /// Whether something differs.
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<bool, Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let within_ms = match &self.within {
            None => 0,
            Some(text) => parse_duration(text)
                .ok_or_else(|| Failure::Usage(format!("--within: {text:?} is no duration such as 30s")))?,
        };
        let nodes = nodes::find(global, &self.peers, self.dir.as_deref(), self.all)?;
        let ends = Instant::now() + Duration::from_millis(within_ms);
        let mut look = if self.read { Look::Read } else { Look::Held };
        let (seen, pairs) = loop {
            let seen = nodes::look(&nodes, look).await;
            // What is being fetched shows once the node has read its store again.
            look = if missing(&nodes, &seen).is_empty() { Look::Held } else { Look::Read };
            let pairs = pairs(&nodes, &seen, self.all);
            let settled = pairs.iter().all(Pair::is_same) && seen.iter().all(is_whole);
            if settled || Instant::now() >= ends {
                break (seen, pairs);
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        };
        self.print(&nodes, &seen, &pairs, &output)?;
        if pairs.is_empty() {
            return Err(Failure::Refused("fewer than two nodes answered: nothing was compared".to_owned()));
        }
        Ok(!pairs.iter().all(Pair::is_same) || !missing(&nodes, &seen).is_empty())
    }

    fn print(
        &self,
        nodes: &[Node],
        seen: &[Result<Seen, String>],
        pairs: &[Pair],
        output: &Output,
    ) -> Result<(), Failure> {
        let unreachable: Vec<(&str, &String)> = nodes
            .iter()
            .zip(seen)
            .filter_map(|(node, seen)| seen.as_ref().err().map(|why| (node.name.as_str(), why)))
            .collect();
        if !output.wants_table() {
            let answer = json!({
                "same": pairs.iter().all(Pair::is_same),
                "missing": missing(nodes, seen).iter().map(|(node, scope, events)| json!({"node": node, "scope": scope, "events": events})).collect::<Vec<_>>(),
                "pairs": pairs.iter().map(Pair::to_json).collect::<Vec<_>>(),
                "notCompared": unreachable.iter().map(|(node, why)| json!({"node": node, "why": why})).collect::<Vec<_>>(),
            });
            return print::out(&render_objects(&[answer], true, output, false)?);
        }
        let mut lines: Vec<Vec<String>> = pairs.iter().map(Pair::line).collect();
        if !self.no_headers {
            lines.insert(0, ["NODE", "NODE", "SCOPES", "SAME", "DIFFERENT"].map(str::to_owned).to_vec());
        }
        print::out(&align(&lines))?;
        for (node, why) in unreachable {
            print::note(&format!("not compared: {node}: {why}"));
        }
        for (node, scope, events) in missing(nodes, seen) {
            print::note(&format!(
                "{node}: its store misses {events} events of {scope} that it took; it asks the nodes that it is connected to"
            ));
        }
        let different = pairs.iter().filter(|pair| !pair.is_same()).count();
        print::note(&match different {
            0 => format!(
                "Replicas with the same interest have the same digests (pairs compared: {}).",
                pairs.len()
            ),
            _ => format!(
                "{different} of {} pairs differ. Nodes that were just connected may need a moment: try --within 30s; `driftless peers` \
                 says which links are cut or behind.",
                pairs.len()
            ),
        });
        Ok(())
    }
}

/// Waits until all nodes of a demo answer and hold the same where their interest is the same.
pub(in crate::cli) async fn same_within(demo: &Path, within: Duration) -> Result<bool, Failure> {
    let nodes = nodes::of_demo(demo, None)?;
    let ends = Instant::now() + within;
    loop {
        let seen = nodes::look(&nodes, Look::Digests).await;
        if seen.iter().all(is_whole) && pairs(&nodes, &seen, true).iter().all(Pair::is_same) {
            return Ok(true);
        }
        if Instant::now() >= ends {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Whether a node answered and its store misses nothing that is known of.
fn is_whole(seen: &Result<Seen, String>) -> bool {
    seen.as_ref().is_ok_and(|seen| seen.missing.is_empty())
}

/// What stores miss: node, scope, how many events.
fn missing<'a>(nodes: &'a [Node], seen: &'a [Result<Seen, String>]) -> Vec<(&'a str, &'a str, u64)> {
    let reached = nodes.iter().zip(seen).filter_map(|(node, seen)| Some((node, seen.as_ref().ok()?)));
    let rows = reached.flat_map(|(node, seen)| seen.missing.iter().map(move |row| (node, row)));
    rows.map(|(node, (scope, events))| (node.name.as_str(), scope.as_str(), *events)).collect()
}

/// Two nodes, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    left: String,
    right: String,
    compared: usize,
    different: Vec<String>,
}

impl Pair {
    fn is_same(&self) -> bool {
        self.different.is_empty()
    }

    fn line(&self) -> Vec<String> {
        let named = self.different.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = self.different.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let same = if self.is_same() { "yes" } else { "NO" }.to_owned();
        vec![self.left.clone(), self.right.clone(), self.compared.to_string(), same, format!("{named}{more}")]
    }

    fn to_json(&self) -> Value {
        json!({
            "nodes": [self.left, self.right],
            "scopes": self.compared,
            "same": self.is_same(),
            "different": self.different,
        })
    }
}

fn pairs(nodes: &[Node], seen: &[Result<Seen, String>], all: bool) -> Vec<Pair> {
    let reached: Vec<(&str, &Seen)> = nodes
        .iter()
        .zip(seen)
        .filter_map(|(node, seen)| Some((node.name.as_str(), seen.as_ref().ok()?)))
        .collect();
    // Without --all, the first node is this one; if it did not answer there is nothing to compare with.
    let this_answers = seen.first().is_some_and(Result::is_ok);
    let lefts = if all { reached.len() } else { usize::from(this_answers) };
    let mut pairs = Vec::new();
    for (at, (left_name, left)) in reached.iter().enumerate().take(lefts) {
        for (right_name, right) in &reached[at + 1..] {
            pairs.push(compare(left_name, left, right_name, right));
        }
    }
    pairs
}

fn compare(left_name: &str, left: &Seen, right_name: &str, right: &Seen) -> Pair {
    let names: BTreeSet<&String> = left.scopes.keys().chain(right.scopes.keys()).collect();
    let common: Vec<&String> = names
        .into_iter()
        .filter(|scope| {
            let held_by_both = left.scopes.contains_key(*scope) && right.scopes.contains_key(*scope);
            held_by_both || (left.is_interested_in(scope) && right.is_interested_in(scope))
        })
        .collect();
    let digest = |scopes: &BTreeMap<String, String>, scope: &str| scopes.get(scope).cloned();
    let of_this_digest = |seen: &Seen, scope: &str| {
        let (held, digest) = (seen.held.get(scope)?, seen.scopes.get(scope)?);
        held.starts_with(digest.as_str()).then(|| held.clone())
    };
    let differs = |scope: &&&String| {
        let contents = (of_this_digest(left, scope), of_this_digest(right, scope));
        digest(&left.scopes, scope) != digest(&right.scopes, scope)
            || matches!(contents, (Some(left), Some(right)) if left != right)
    };
    let different = common.iter().filter(differs).map(|scope| (*scope).clone()).collect();
    Pair { left: left_name.to_owned(), right: right_name.to_owned(), compared: common.len(), different }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(site: Option<(&str, &str)>, scopes: &[(&str, &str)]) -> Seen {
        let scopes =
            scopes.iter().map(|(scope, digest)| ((*scope).to_owned(), (*digest).to_owned())).collect();
        let site = site.map(|(namespace, site)| (namespace.to_owned(), site.to_owned()));
        Seen { site, scopes, held: BTreeMap::new(), missing: BTreeMap::new() }
    }

    fn different(left: &Seen, right: &Seen) -> Vec<String> {
        compare("a", left, "b", right).different
    }

    #[test]
    fn hubs_hold_everything_alike() {
        let eu = seen(None, &[("fleet", "1"), ("profiles/acme", "2"), ("sites/acme/x", "3")]);
        assert!(different(&eu, &eu).is_empty());
        let us = seen(None, &[("fleet", "1"), ("profiles/acme", "2")]);
        assert_eq!(different(&eu, &us), ["sites/acme/x"]);
        assert_eq!(different(&us, &eu), ["sites/acme/x"]);
    }

    #[test]
    fn an_edge_is_compared_in_what_it_is_interested_in() {
        let hub = seen(
            None,
            &[("fleet", "1"), ("profiles/acme", "2"), ("sites/acme/x", "3"), ("sites/acme/y", "4")],
        );
        let edge =
            seen(Some(("acme", "x")), &[("fleet", "1"), ("profiles/acme", "2"), ("sites/acme/x", "3")]);
        assert!(different(&hub, &edge).is_empty());
        let behind = seen(Some(("acme", "x")), &[("fleet", "1"), ("sites/acme/x", "3")]);
        assert_eq!(different(&hub, &behind), ["profiles/acme"]);
        let neighbour =
            seen(Some(("acme", "y")), &[("fleet", "0"), ("profiles/acme", "2"), ("sites/acme/y", "4")]);
        assert_eq!(different(&edge, &neighbour), ["fleet"]);
    }

    #[test]
    fn one_digest_and_different_contents_are_a_difference() {
        let hub = |held: &str| {
            let held = [("fleet".to_owned(), held.to_owned())].into();
            Seen { held, ..seen(None, &[("fleet", "1")]) }
        };
        assert!(different(&hub("1 a"), &hub("1 a")).is_empty());
        assert_eq!(different(&hub("1 a"), &hub("1 b")), ["fleet"]);
        assert!(
            different(&hub("1 a"), &hub("0 b")).is_empty(),
            "of another state, so nothing to compare with"
        );
    }

    #[test]
    fn without_all_only_this_node_is_compared() {
        let node = |name: &str| Node::for_tests(name);
        let nodes = [node("a"), node("b"), node("c")];
        let hub = || Ok(seen(None, &[("fleet", "1")]));
        let seen = [hub(), hub(), hub()];
        assert_eq!(pairs(&nodes, &seen, false).len(), 2);
        assert_eq!(pairs(&nodes, &seen, true).len(), 3);
        let down = [Err("down".to_owned()), hub(), hub()];
        assert!(pairs(&nodes, &down, false).is_empty());
        assert_eq!(pairs(&nodes, &down, true).len(), 1);
    }
}
