//! What people and sites do: operators write at any hub, sites say how they are, some overstep.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::event::{ChainId, Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::group::{Group, Record};
use driftless_core::ids::Boot;
use driftless_core::name::{Document, Kind as DocumentKind};
use driftless_core::replica::{ChangeRequest, Config, Write};
use driftless_core::store::MemoryStore;
use driftless_core::testing;
use serde_json::{Value, json};

use super::follow::Audience;
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

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Operator,
    Site,
    Checkpoint,
    Void,
    Machine,
    /// The change of a profile with this number.
    Policy(u64),
}

/// The name of a site by number.
pub(crate) fn site_name(site: usize) -> String {
    format!("store-{site:04}")
}

/// The nodes of a scenario, hubs first. The disk of the first hub, or of all, holds the enrolments.
pub(crate) fn fleet(scenario: &Scenario) -> Vec<Node> {
    let mut nodes = vec![];
    for hub in 0..scenario.hubs {
        let region = region_name(scenario.region_of_hub(hub));
        let kind = PeerKind::Hub { name: format!("hub-{hub}"), region };
        let mut node = Node::new(kind, identity(1 + hub), 0);
        // Every pair of hubs has one that dials; the first two both dial, as configured peers do.
        let peers = (0..scenario.hubs).filter(|other| hub < *other || (hub == 1 && *other == 0));
        node.uplinks = peers.map(|other| uplink(vec![other])).collect();
        nodes.push(node);
    }
    for site in 0..scenario.sites {
        let first = nodes.len();
        for place in 0..scenario.nodes_per_site {
            let (namespace, name) = (NAMESPACE.to_owned(), site_name(site));
            let kind = PeerKind::Site { namespace, site: name, node: format!("n{place}") };
            let mut node = Node::new(kind, identity(1 + nodes.len()), 0);
            node.uplinks
                .push(Uplink { home_first: scenario.regions > 1, ..uplink(hubs_for(scenario, site)) });
            node.uplinks.extend((first..nodes.len()).map(|peer| uplink(vec![peer])));
            nodes.push(node);
        }
    }
    let disk = enrolments(scenario, &nodes);
    let hubs_alike = if scenario.hubs_alike { scenario.hubs } else { 1 };
    nodes.iter_mut().take(hubs_alike).for_each(|hub| hub.disk = disk.fork());
    nodes
}

/// The hubs that a site's nodes dial: those of its region, from one to the next for the next site, then
/// those of the region after it.
fn hubs_for(scenario: &Scenario, site: usize) -> Vec<NodeId> {
    let region = scenario.region_of_site(site);
    let mut hubs = scenario.hubs_of(region);
    let first = site / scenario.regions % hubs.len();
    hubs.rotate_left(first);
    if scenario.regions > 1 {
        hubs.extend(scenario.hubs_of((region + 1) % scenario.regions));
    }
    hubs
}

fn region_name(region: usize) -> String {
    format!("region-{region}")
}

/// The fleet and the key with a number; every start has its own boot.
fn identity(number: usize) -> Config {
    let number = u16::try_from(number).expect("a simulated fleet has fewer than 65,536 nodes");
    Config { fleet: testing::fleet(), key: testing::key(number), boot: testing::boot(0) }
}

fn uplink(targets: Vec<NodeId>) -> Uplink {
    Uplink { targets, next: 0, attempts: 0, connection: None, home_first: false }
}

/// A disk with everything that the authority says of the fleet, and what was written of its sites before.
fn enrolments(scenario: &Scenario, nodes: &[Node]) -> MemoryStore {
    let mut authority = testing::open(MemoryStore::new(), testing::AUTHORITY, 1);
    for (written, node) in nodes.iter().enumerate() {
        let key = node.author().to_string();
        match &node.kind {
            PeerKind::Hub { name, region } => {
                let resource = json!({"spec": {"key": key, "region": region}});
                testing::put(&mut authority, DocumentKind::Hub, "", name, resource);
            }
            PeerKind::Site { namespace, site, node } => {
                let number = (written - scenario.hubs) / scenario.nodes_per_site;
                let region = region_name(scenario.region_of_site(number));
                let resource = json!({"spec": {"region": region}});
                testing::put(&mut authority, DocumentKind::Site, namespace, site, resource);
                for past in 0..scenario.history {
                    let values = json!({"pos": {format!("k{}", past % 16): past}});
                    let resource = json!({"spec": {"reason": "INC-1", "permanent": true, "values": values}});
                    let name = format!("{site}.ops");
                    testing::put(&mut authority, DocumentKind::Override, namespace, &name, resource);
                }
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
    let mut hub = testing::open(MemoryStore::new(), 1, u64::MAX);
    testing::carry(&authority, &mut hub);
    hub.store().fork()
}

/// Plans the first of each kind of work.
pub(crate) fn schedule_all(world: &mut World) {
    for kind in [Kind::Operator, Kind::Site, Kind::Checkpoint, Kind::Void, Kind::Machine] {
        schedule(world, kind);
    }
    for (number, at_ms) in world.scenario.work.policies_ms.clone().into_iter().enumerate() {
        world.schedule(world.now + at_ms, Happening::Work(Kind::Policy(number as u64)));
    }
}

fn schedule(world: &mut World, kind: Kind) {
    let work = &world.scenario.work;
    let every = match kind {
        Kind::Operator => work.operator_every_ms,
        Kind::Site => work.site_every_ms,
        Kind::Checkpoint => work.checkpoint_every_ms,
        Kind::Void => work.void_every_ms,
        Kind::Machine => work.machine_every_ms,
        Kind::Policy(_) => 0,
    };
    let over = work.until_ms.is_some_and(|until_ms| world.elapsed_ms() >= until_ms);
    if every > 0 && world.busy && !over {
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
        Kind::Machine => machine(world)?,
        Kind::Policy(number) => policy(world, number)?,
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
            let name = format!("{site}.m{}", world.random.below(world.scenario.machines as u64));
            let spec =
                json!({"capacity": {"cpu": 4 + number % 3}, "versions": {"kernel": format!("6.{number}")}});
            put(DocumentKind::Machine, &name, json!({"spec": spec}))
        }
    };
    let write = Write::new(document, change, "inventory", world.clock(node));
    world.write(node, write).map(|_| ())
}

/// A machine says that something about it has changed.
fn machine(world: &mut World) -> Result<(), Broken> {
    let Some(node) = world.any_running(|node| !node.kind.is_hub()) else { return Ok(()) };
    let Some(site) = site_of(world, node) else { return Ok(()) };
    let number = world.totals.writes;
    let name = format!("{site}.m{}", world.random.below(world.scenario.machines as u64));
    let spec = json!({"capacity": {"cpu": 8}, "versions": {"kernel": format!("6.{number}")}});
    let (document, change) = put(DocumentKind::Machine, &name, json!({"spec": spec}));
    let write = Write::new(document, change, "inventory", world.clock(node));
    let followed = number.checked_rem(world.scenario.work.machines_per_followed) == Some(0);
    world.write_followed(node, write, followed.then_some(Audience::Hubs)).map(|_| ())
}

/// An operator changes what every site holds.
fn policy(world: &mut World, number: u64) -> Result<(), Broken> {
    let Some(hub) = world.any_running(|node| node.kind.is_hub()) else { return Ok(()) };
    let resource = json!({"spec": {
        "priority": 100, "selector": {"matchAll": true}, "values": {"pos": {"policy": number}},
    }});
    let (document, change) = put(DocumentKind::Profile, "policy", resource);
    let write = Write::new(document, change, "ann", world.clock(hub)).because("simulated");
    world.write_followed(hub, write, Some(Audience::Everybody)).map(|_| ())
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
    let (now, run, time_ms, fleet) = (world.now, world.nodes[node].run, world.clock(node), world.fleet);
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
    let group = Group::sign(&world.nodes[node].identity.key, vec![event]);
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
