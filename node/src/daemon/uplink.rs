//! The uplink of an edge: one session with a hub, kept for the whole site.
//!
//! Any hub of the site's region will do; which one is tried first differs from node to node, so that they
//! spread. When none answers, the site's fallback regions follow in their order; a site that names none
//! takes any region. Away from home the own region's hubs are tried now and then, and the session there
//! ends only once one at home is live. While another node of the site with a smaller key has an uplink,
//! this one does without.

use std::collections::BTreeSet;
use std::time::Duration;

use driftless_core::ids::Author;
use driftless_core::name::{Document, Kind};
use driftless_sync::proto::SessionId;
use driftless_sync::quic::Side;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Runtime;
use super::links::{self, Backoff, KnownHub, SETTLED};
use crate::identity::{ALPN_SYNC, Role, quic_client_config};

/// First and longest pause between two attempts to reach the own region from elsewhere.
const HOMEWARD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How often an edge looks whether another node of its site has the uplink.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause before a node takes the uplink over.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// How long a connection may take until its session is live.
const LIVE_WITHIN: Duration = Duration::from_secs(15);
/// How often that is looked at.
const LIVE_LOOK: Duration = Duration::from_millis(50);
/// How long a session that is ended may take to be over.
const FAREWELL: Duration = Duration::from_secs(3);

/// A live session with a hub. Dropping it ends it.
struct Uplink {
    session: SessionId,
    hub: Author,
    address: String,
    /// The one task that carries it.
    carried: JoinSet<String>,
}

/// What is known of where an edge may have its uplink.
#[derive(Debug, Default)]
struct Map {
    hubs: Vec<KnownHub>,
    /// Addresses that the node was told when it joined.
    joined_by: Vec<String>,
    region: String,
    fallback: Vec<String>,
}

/// An address whose last session ended: others are tried before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Avoid {
    address: String,
    /// Whether others of any region are tried before, not only those of the same.
    everywhere: bool,
}

/// Keeps the uplink, with one of the `given` addresses if there are any.
pub(super) async fn keep(runtime: Runtime, given: Vec<String>) {
    let mut backoff = Backoff::new(links::PAUSE);
    let mut failures = BTreeSet::new();
    let mut avoid = None;
    loop {
        stand_by(&runtime).await;
        let addresses = runtime.uplinks(&given, avoid.as_ref()).await;
        if let Some(mut uplink) = first_live(&runtime, addresses, &mut failures).await {
            let since = Instant::now();
            stay(&runtime, &given, &mut uplink).await;
            let settled = since.elapsed() >= SETTLED;
            avoid = Some(Avoid { address: uplink.address, everywhere: !settled });
            if settled {
                backoff.reset();
                failures.clear();
            }
        }
        backoff.wait().await;
    }
}

/// Waits while another node of the site has the uplink. Nodes that see it end do not all dial at once.
async fn stand_by(runtime: &Runtime) {
    let mut waited = false;
    while runtime.has_uplink_elsewhere().await {
        if !std::mem::replace(&mut waited, true) {
            tracing::info!("another node of the site has the uplink");
        }
        sleep(LOOK).await;
        if !runtime.has_uplink_elsewhere().await {
            sleep(TAKE_OVER.mul_f64(links::random_fraction())).await;
        }
    }
}

/// Dials in order until a session is live.
async fn first_live(
    runtime: &Runtime,
    addresses: Vec<String>,
    failures: &mut BTreeSet<String>,
) -> Option<Uplink> {
    for address in addresses {
        match Uplink::open(runtime, &address).await {
            Ok(uplink) => return Some(uplink),
            Err(error) if failures.insert(error.clone()) => {
                tracing::warn!(address, error, "no uplink there; trying on");
            }
            Err(error) => tracing::debug!(address, error, "no uplink there; trying on"),
        }
    }
    None
}

/// Stays until the uplink ends or another node's makes it needless; moves home when it can.
async fn stay(runtime: &Runtime, given: &[String], uplink: &mut Uplink) {
    loop {
        let hub = uplink.hub;
        let found = tokio::select! {
            reason = uplink.carried.join_next() => {
                tracing::debug!(address = uplink.address, ?reason, "the uplink ended");
                return;
            }
            () = elsewhere(runtime) => {
                tracing::info!("another node of the site has the uplink; this one ends its own");
                return uplink.end(runtime).await;
            }
            found = homeward(runtime, hub), if given.is_empty() => found,
        };
        tracing::info!(from = uplink.address, to = found.address, "the uplink is at home again");
        let mut away = std::mem::replace(uplink, found);
        away.end(runtime).await;
    }
}

async fn elsewhere(runtime: &Runtime) {
    while !runtime.has_uplink_elsewhere().await {
        sleep(LOOK).await;
    }
}

/// Returns a live session with a hub of the own region, once the one with `hub` is not and there is one.
async fn homeward(runtime: &Runtime, hub: Author) -> Uplink {
    let mut backoff = Backoff::new(HOMEWARD);
    loop {
        backoff.wait().await;
        let map = runtime.uplink_map().await;
        if map.is_away(&hub) {
            for address in map.at_home(&runtime.identity().author()) {
                match Uplink::open(runtime, &address).await {
                    Ok(uplink) => return uplink,
                    Err(error) => tracing::debug!(address, error, "the own region is not back"),
                }
            }
        }
    }
}

impl Uplink {
    /// Opens a session and waits until it is live. Says why if it does not come to that.
    async fn open(runtime: &Runtime, address: &str) -> Result<Self, String> {
        let tls = quic_client_config(&runtime.identity(), ALPN_SYNC).map_err(|error| error.to_string())?;
        let connection = links::dial(runtime.endpoint(), address, tls).await.map_err(|e| e.to_string())?;
        let (opened, session) = oneshot::channel();
        let mut carried = JoinSet::new();
        let own = runtime.clone();
        carried.spawn(async move { links::session(&own, &connection, Side::Dialled, Some(opened)).await });
        let live = async {
            let (session, hub) = session.await.ok()?;
            while !runtime.owner.read_async(move |node| node.engine.is_live(session)).await.ok()? {
                sleep(LIVE_LOOK).await;
            }
            Some((session, hub))
        };
        tokio::select! {
            live = timeout(LIVE_WITHIN, live) => match live {
                Ok(Some((session, hub))) => Ok(Self { session, hub, address: address.to_owned(), carried }),
                Ok(None) => Err("the session did not begin".to_owned()),
                Err(_) => Err(format!("no greeting within {} s", LIVE_WITHIN.as_secs())),
            },
            ended = carried.join_next() => {
                Err(ended.and_then(Result::ok).unwrap_or_else(|| "the session ended".to_owned()))
            }
        }
    }

    /// Ends the session in good order.
    async fn end(&mut self, runtime: &Runtime) {
        let session = self.session;
        // A node that stops ends its sessions itself.
        let _ = runtime.owner.write_async(move |node| node.end_moved(session)).await;
        let _ = timeout(FAREWELL, self.carried.join_next()).await;
    }
}

impl Map {
    /// Addresses in the order in which they are tried.
    fn addresses<'a>(&'a self, own: &Author, avoid: Option<&Avoid>) -> Vec<String> {
        let rank_of = |hub: &KnownHub| match self.fallback.iter().position(|region| *region == hub.region) {
            _ if hub.region == self.region => Some(0),
            Some(place) => Some(place + 2),
            None => self.fallback.is_empty().then_some(2),
        };
        let known = |(hub, rank): (&'a KnownHub, usize)| {
            let order = order(own, &hub.name);
            hub.addresses.iter().map(move |address| (rank, order, address))
        };
        let ranked = self.hubs.iter().filter_map(|hub| Some((hub, rank_of(hub)?)));
        let is_known = |address: &String| self.hubs.iter().any(|hub| hub.addresses.contains(address));
        let others = self.joined_by.iter().filter(|address| !is_known(address));
        let others = others.map(|address| (1, [0; 8], address));
        let mut found: Vec<_> = ranked.flat_map(known).chain(others).collect();
        // Sites whose regions have no hub at all are better served by any than by none.
        if found.is_empty() {
            found = self.hubs.iter().map(|hub| (hub, 0)).flat_map(known).collect();
        }
        found.sort_by_key(|(rank, order, address)| {
            let ended = avoid.filter(|avoid| avoid.address == **address);
            (ended.is_some_and(|avoid| avoid.everywhere), *rank, ended.is_some(), *order)
        });
        let mut seen = BTreeSet::new();
        found.into_iter().map(|(.., address)| address.clone()).filter(|a| seen.insert(a.clone())).collect()
    }

    /// Addresses of the hubs of the own region.
    fn at_home(&self, own: &Author) -> Vec<String> {
        let mut hubs: Vec<&KnownHub> = self.hubs.iter().filter(|hub| hub.region == self.region).collect();
        hubs.sort_by_key(|hub| order(own, &hub.name));
        hubs.into_iter().flat_map(|hub| hub.addresses.clone()).collect()
    }

    /// Whether a hub is of another region, as far as is known.
    fn is_away(&self, key: &Author) -> bool {
        self.hubs.iter().any(|hub| hub.key == Some(*key) && hub.region != self.region)
    }
}

/// The place of a hub among those that serve a node equally well; another for each node.
fn order(own: &Author, hub: &str) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&own.0).update(hub.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    first
}

impl Runtime {
    /// Where an edge finds a hub, best first.
    pub(super) async fn uplink_addresses(&self) -> Vec<String> {
        self.uplinks(&[], None).await
    }

    async fn uplinks(&self, given: &[String], avoid: Option<&Avoid>) -> Vec<String> {
        match given.is_empty() {
            true => self.uplink_map().await.addresses(&self.identity().author(), avoid),
            false => given.to_vec(),
        }
    }

    async fn has_uplink_elsewhere(&self) -> bool {
        self.owner.read_async(|node| node.engine.uplink_elsewhere()).await.unwrap_or_default()
    }

    /// What the fleet's documents and the node's own memory say. A store that fails shows nothing, and
    /// stops the node soon after.
    async fn uplink_map(&self) -> Map {
        let identity = self.identity();
        let joined_by = identity.hub_addresses.clone();
        let (Role::Edge { region, .. } | Role::Hub { region, .. }) = &identity.role;
        let region = region.clone();
        let own = self.local().site.clone();
        let map = self.owner.read_async(move |node| {
            let document =
                own.and_then(|(namespace, site)| Document::new(Kind::Site, &namespace, &site).ok());
            let view = document.and_then(|document| node.replica.get(&document).ok().flatten());
            let spec = view.as_ref().and_then(|view| view.resource.get("spec"));
            let said = spec.and_then(|spec| spec.get("region")?.as_str()).filter(|region| !region.is_empty());
            let fallback = spec.and_then(|spec| spec.get("fallbackRegions")?.as_array());
            let fallback = fallback.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            Map {
                region: said.map_or(region, str::to_owned),
                fallback: fallback.collect(),
                hubs: links::hubs(&node.replica),
                joined_by,
            }
        });
        map.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fallback: &[&str]) -> Map {
        let hub = |name: &str, region: &str| KnownHub {
            name: name.to_owned(),
            region: region.to_owned(),
            key: Some(Author([name.as_bytes()[3]; 32])),
            addresses: vec![name.to_owned()],
            api: String::new(),
        };
        Map {
            hubs: vec![hub("ap-1", "ap"), hub("eu-1", "eu"), hub("eu-2", "eu"), hub("us-1", "us")],
            joined_by: vec!["us-1".to_owned(), "seed".to_owned()],
            region: "eu".to_owned(),
            fallback: fallback.iter().map(|region| (*region).to_owned()).collect(),
        }
    }

    fn sorted_home(addresses: &[String]) -> Vec<&str> {
        let mut home: Vec<&str> = addresses[..2].iter().map(String::as_str).collect();
        home.sort_unstable();
        home
    }

    #[test]
    fn home_comes_first_then_fallback_regions_in_their_order() {
        let own = Author([7; 32]);
        let tried = map(&["us", "ap"]).addresses(&own, None);
        assert_eq!(sorted_home(&tried), ["eu-1", "eu-2"]);
        assert_eq!(tried[2..], ["seed", "us-1", "ap-1"]);
        assert_eq!(map(&["ap"]).addresses(&own, None)[2..], ["seed", "ap-1"], "others are not wanted");
        assert_eq!(map(&[]).addresses(&own, None).len(), 5, "a site that names none takes any");
    }

    #[test]
    fn the_hubs_of_a_region_share_its_nodes() {
        let first = |node: u8| map(&[]).addresses(&Author([node; 32]), None)[0].clone();
        let of_first = (0..200).filter(|node| first(*node) == "eu-1").count();
        assert!((60..140).contains(&of_first), "{of_first} of 200");
    }

    #[test]
    fn whoever_has_just_failed_comes_later() {
        let own = Author([7; 32]);
        let first = map(&["us"]).addresses(&own, None)[0].clone();
        let avoid = |everywhere| Avoid { address: first.clone(), everywhere };
        let tried = map(&["us"]).addresses(&own, Some(&avoid(false)));
        assert_eq!(tried[1], first, "after its neighbour, before other regions: {tried:?}");
        let tried = map(&["us"]).addresses(&own, Some(&avoid(true)));
        assert_eq!(tried.last(), Some(&first), "a hub that takes no session to the end is tried last");
    }

    #[test]
    fn a_region_without_hubs_is_served_by_any() {
        let mut map = map(&["sa"]);
        map.joined_by.clear();
        map.region = "af".to_owned();
        assert_eq!(map.addresses(&Author([7; 32]), None).len(), 4);
        assert!(map.is_away(&Author([b'1'; 32])) && map.at_home(&Author([7; 32])).is_empty());
    }
}
