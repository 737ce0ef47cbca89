//! What people and sites do: operators write at any hub, sites say how they are, some overstep.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::event::{ChainId, Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::group::{Group, Record};
use driftless_core::ids::Boot;
use driftless_core::name::{Document, Kind as DocumentKind};
use driftless_core::replica::{ChangeRequest, Write};
use driftless_core::store::MemoryStore;
use driftless_core::testing;
use serde_json::{Value, json};

use super::node::{Node, NodeId, Uplink};
use super::report::Broken;
use super::scenario::Scenario;
use super::world::{Happening, World};
use crate::proto::PeerKind;

/// The simulated tenant.
pub(crate) const NAMESPACE: &str = "acme";
/// A value that only void events carry; whoever shows it has given effect to what has none.
pub(crate) const VOID_VALUE: &str = "void-write";
const PROFILES: u64 = 6;
const MACHINES: u64 = 3;

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Operator,
    Site,
    Checkpoint,
    Void,
}

/// The name of a site by number.
pub(crate) fn site_name(site: usize) -> String {
    format!("store-{site:04}")
}

/// The nodes of a scenario, hubs first. The first hub's disk holds the enrolments of all.
pub(crate) fn fleet(scenario: &Scenario) -> Vec<Node> {
    let mut nodes = vec![];
    for hub in 0..scenario.hubs {
        let kind = PeerKind::Hub { name: format!("hub-{hub}"), region: "eu".into() };
        let mut node = Node::new(kind, 1 + hub as u16, 0);
        // Every pair of hubs has one that dials; the first two both dial, as configured peers do.
        let peers = (0..scenario.hubs).filter(|other| hub < *other || (hub == 1 && *other == 0));
        node.uplinks = peers.map(|other| uplink(vec![other], 0)).collect();
        nodes.push(node);
    }
    for site in 0..scenario.sites {
        let first = nodes.len();
        for place in 0..scenario.nodes_per_site {
            let (namespace, name) = (NAMESPACE.to_owned(), site_name(site));
            let kind = PeerKind::Site { namespace, site: name, node: format!("n{place}") };
            let mut node = Node::new(kind, 1 + nodes.len() as u16, 0);
            let hubs: Vec<NodeId> = (0..scenario.hubs).collect();
            node.uplinks.push(uplink(hubs, site % scenario.hubs));
            node.uplinks.extend((first..nodes.len()).map(|peer| uplink(vec![peer], 0)));
            nodes.push(node);
        }
    }
    nodes[0].disk = enrolments(&nodes);
    nodes
}

fn uplink(targets: Vec<NodeId>, next: usize) -> Uplink {
    Uplink { targets, next, attempts: 0, connection: None }
}

/// A disk with everything that the authority says of the fleet.
fn enrolments(nodes: &[Node]) -> MemoryStore {
    let mut authority = testing::open(MemoryStore::new(), testing::AUTHORITY, 1);
    for (written, node) in nodes.iter().enumerate() {
        let key = node.author().to_string();
        match &node.kind {
            PeerKind::Hub { name, region } => {
                let resource = json!({"spec": {"key": key, "region": region}});
                testing::put(&mut authority, DocumentKind::Hub, "", name, resource);
            }
            PeerKind::Site { namespace, site, node } => {
                let resource = json!({"spec": {"region": "eu"}});
                testing::put(&mut authority, DocumentKind::Site, namespace, site, resource);
                let resource = json!({"spec": {"key": key, "role": "edge", "node": node}});
                let name = format!("{site}.{node}");
                testing::put(&mut authority, DocumentKind::Member, namespace, &name, resource);
            }
        }
        if written % 64 == 0 {
            authority.commit().expect("memory does not fail");
        }
    }
    authority.commit().expect("memory does not fail");
    let mut hub = testing::open(MemoryStore::new(), nodes[0].key, u64::MAX);
    testing::carry(&authority, &mut hub);
    hub.store().fork()
}

/// Plans the first of each kind of work.
pub(crate) fn schedule_all(world: &mut World) {
    for kind in [Kind::Operator, Kind::Site, Kind::Checkpoint, Kind::Void] {
        schedule(world, kind);
    }
}

fn schedule(world: &mut World, kind: Kind) {
    let work = &world.scenario.work;
    let every = match kind {
        Kind::Operator => work.operator_every_ms,
        Kind::Site => work.site_every_ms,
        Kind::Checkpoint => work.checkpoint_every_ms,
        Kind::Void => work.void_every_ms,
    };
    if every > 0 && world.busy {
        let at = world.now + 1 + world.random.below(2 * every);
        world.schedule(at, Happening::Work(kind));
    }
}

/// Does one piece of work and plans the next.
pub(crate) fn work(world: &mut World, kind: Kind) -> Result<(), Broken> {
    if !world.busy {
        return Ok(());
    }
    match kind {
        Kind::Operator => operate(world)?,
        Kind::Site => report(world)?,
        Kind::Checkpoint => checkpoint(world)?,
        Kind::Void => overstep(world)?,
    }
    schedule(world, kind);
    Ok(())
}

fn operate(world: &mut World) -> Result<(), Broken> {
    let Some(hub) = world.any_running(|node| node.kind.is_hub()) else { return Ok(()) };
    for _ in 0..1 + world.random.below(world.scenario.work.burst_max) {
        let number = world.totals.writes;
        let site = site_name(world.random.below(world.scenario.sites as u64) as usize);
        let profile = format!("base-{}", world.random.below(PROFILES));
        let (document, change) = match world.random.below(10) {
            0..4 => {
                let key = format!("k{}", world.random.below(4));
                let resource = json!({"spec": {
                    "priority": 100,
                    "selector": {"matchLabels": {"tier": "gold"}},
                    "values": {"pos": {key: number}},
                }});
                match world.random.chance(500) {
                    true => put(DocumentKind::Profile, &profile, resource),
                    false => patch(DocumentKind::Profile, &profile, resource),
                }
            }
            4 => (World::document(DocumentKind::Profile, &profile), ChangeRequest::Delete),
            5 | 6 => {
                let resource =
                    json!({"spec": {"reason": "INC-7", "permanent": true, "values": {"pos": {"n": number}}}});
                put(DocumentKind::Override, &format!("{site}.ops"), resource)
            }
            7 | 8 => {
                let tier = if world.random.chance(500) { "gold" } else { "silver" };
                patch(DocumentKind::Site, &site, json!({"metadata": {"labels": {"tier": tier}}}))
            }
            _ => {
                let digest = format!("sha256:{:064x}", number);
                let spec = json!({"app": "pos", "version": format!("1.0.{number}"), "digest": digest});
                put(DocumentKind::Release, &format!("pos.r{}", number % 16), json!({"spec": spec}))
            }
        };
        let write = Write::new(document, change, "ann", world.clock(hub)).because("simulated");
        world.write(hub, write)?;
    }
    Ok(())
}

fn report(world: &mut World) -> Result<(), Broken> {
    let Some(node) = world.any_running(|node| !node.kind.is_hub()) else { return Ok(()) };
    let Some(site) = site_of(world, node) else { return Ok(()) };
    let number = world.totals.writes;
    let (document, change) = match world.random.below(4) {
        0 => {
            let resource =
                json!({"status": {"active": format!("v{number}"), "conditions": [{"type": "Ready"}]}});
            put(DocumentKind::SiteStatus, &site, resource)
        }
        1 => {
            let resource = json!({"spec": {
                "reason": "local", "permanent": true, "values": {"pos": {"volume": number % 11}},
            }});
            put(DocumentKind::Override, &format!("{site}.local"), resource)
        }
        _ => {
            let name = format!("{site}.m{}", world.random.below(MACHINES));
            let spec =
                json!({"capacity": {"cpu": 4 + number % 3}, "versions": {"kernel": format!("6.{number}")}});
            put(DocumentKind::Machine, &name, json!({"spec": spec}))
        }
    };
    let write = Write::new(document, change, "inventory", world.clock(node));
    world.write(node, write).map(|_| ())
}

fn checkpoint(world: &mut World) -> Result<(), Broken> {
    let Some(node) = world.any_running(|node| !node.kind.is_hub()) else { return Ok(()) };
    let Some(site) = site_of(world, node) else { return Ok(()) };
    let (now, run, clock) = (world.now, world.nodes[node].run, world.clock(node));
    let document = World::document(DocumentKind::SiteStatus, &site);
    let Some(running) = &mut world.nodes[node].running else { return Ok(()) };
    if running.replica.state(&document).ok().flatten().is_none() {
        return Ok(());
    }
    let written = running.replica.checkpoint(&document, clock);
    written.map_err(|error| Broken::new(now, "checkpoint", format!("node {node}: {error}")))?;
    world.totals.checkpoints += 1;
    world.commit_soon(node, run);
    Ok(())
}

/// A site's node signs a change of what only operators may change. It is a member and has no effect.
fn overstep(world: &mut World) -> Result<(), Broken> {
    let Some(node) = world.any_running(|node| !node.kind.is_hub()) else { return Ok(()) };
    let Some(site) = site_of(world, node) else { return Ok(()) };
    let boot = Boot(world.random.bytes16());
    let (now, run, time_ms, fleet) = (world.now, world.nodes[node].run, world.clock(node), world.fleet());
    let header = Header {
        schema: SCHEMA_VERSION,
        fleet,
        document: World::document(DocumentKind::Site, &site),
        incarnation: 1,
        chain: ChainId { author: world.nodes[node].author(), boot },
        author_seq: 1,
        previous: None,
        succeeds: None,
        dependencies: vec![],
        lamport: 1,
        time_ms,
        by: "mallory".into(),
        reason: String::new(),
        extensions: BTreeMap::new(),
    };
    let value: Arc<str> = Value::from(VOID_VALUE).to_string().into();
    let operations = vec![Operation::Put { path: "/spec/vars/owner".into(), value }];
    let event = Arc::new(Event::new(header, operations));
    let group = Group::sign(&testing::key(world.nodes[node].key), vec![event]);
    let record = Record::Group(group).encode();
    let Some(running) = &mut world.nodes[node].running else { return Ok(()) };
    let merged = running.replica.merge(&[record]);
    let merged = merged.map_err(|error| Broken::new(now, "merge", format!("node {node}: {error}")))?;
    world.totals.void += merged.void;
    world.commit_soon(node, run);
    Ok(())
}

fn site_of(world: &World, node: NodeId) -> Option<String> {
    match &world.nodes[node].kind {
        PeerKind::Site { site, .. } => Some(site.clone()),
        PeerKind::Hub { .. } => None,
    }
}

fn put(kind: DocumentKind, name: &str, resource: Value) -> (Document, ChangeRequest) {
    (World::document(kind, name), ChangeRequest::Put(whole(kind, name, resource)))
}

fn patch(kind: DocumentKind, name: &str, resource: Value) -> (Document, ChangeRequest) {
    (World::document(kind, name), ChangeRequest::MergePatch(resource))
}

fn whole(kind: DocumentKind, name: &str, mut resource: Value) -> Value {
    resource["apiVersion"] = json!("driftless.dev/v1");
    resource["kind"] = json!(kind.name());
    resource["metadata"]["name"] = json!(name);
    resource["metadata"]["namespace"] = json!(NAMESPACE);
    resource
}
