//! What a hub and an edge that are in sync say to each other above QUIC: the engines themselves, their
//! frames carried by hand.

use std::collections::BTreeSet;

use anyhow::ensure;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::MemoryStore;
use driftless_core::testing;
use driftless_sync::proto::{Engine, EngineConfig, Input, Interest, Output, PeerInfo, PeerKind, SessionId};

use crate::options::Options;
use crate::report::Section;
use crate::workload;

const HUB: u16 = 1;
const EDGE: u16 = 2;
const SESSION: SessionId = SessionId(1);
/// More exchanges than any greeting needs.
const EXCHANGES_MAX: usize = 32;

/// Lets the two greet each other, with few and with many documents.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let about = "frames that a hub and an edge exchange when a session opens and neither lacks anything";
    let mut section = Section::new("hello", about);
    for profiles in [10, options.size(100, 10_000)] {
        let (up, down) = greet(profiles)?;
        let what = format!("{profiles} profiles");
        section.figure(format!("{what}, to the hub, {} frames", up.frames), up.bytes as f64, "B");
        section.figure(format!("{what}, to the edge, {} frames", down.frames), down.bytes as f64, "B");
    }
    Ok(section)
}

#[derive(Debug, Default)]
struct Said {
    frames: u64,
    bytes: u64,
}

/// One side: an engine and its replica.
struct Side {
    engine: Engine,
    replica: Replica<MemoryStore>,
    out: Vec<Output>,
}

impl Side {
    fn take(&mut self, input: Input) -> anyhow::Result<()> {
        Ok(self.engine.handle(0, input, &mut self.replica, &mut self.out)?)
    }

    /// Carries what this side wants sent to the other.
    fn send(&mut self, other: &mut Self, said: &mut Said) -> anyhow::Result<()> {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Send { bytes, .. } => {
                    said.frames += 1;
                    said.bytes += bytes.len() as u64;
                    other.take(Input::Frame { session: SESSION, bytes })?;
                }
                other => anyhow::bail!("a greeting that is none: {other:?}"),
            }
        }
        Ok(())
    }
}

fn greet(profiles: usize) -> anyhow::Result<(Said, Said)> {
    let enrolled = testing::enrolled(&[("hub-1", HUB)], &[("default", "store-0001", EDGE)]);
    let mut replica = testing::open(MemoryStore::new(), HUB, 1);
    testing::carry(&enrolled, &mut replica);
    for profile in 0..profiles {
        replica.write(workload::make(profile))?;
    }
    replica.commit()?;
    let mut copy = testing::open(MemoryStore::new(), EDGE, 2);
    testing::carry(&replica, &mut copy);
    let hub_kind = PeerKind::Hub { name: "hub-1".to_owned(), region: "eu".to_owned() };
    let (namespace, site) = ("default".to_owned(), "store-0001".to_owned());
    let edge_kind =
        PeerKind::Site { namespace: namespace.clone(), site: site.clone(), node: "n1".to_owned() };
    let scopes: BTreeSet<Scope> =
        [Scope::Fleet, Scope::Profiles { namespace: namespace.clone() }, Scope::Site { namespace, site }]
            .into();
    let info =
        |key, kind: &PeerKind, dialled| PeerInfo { key: testing::author(key), kind: kind.clone(), dialled };
    let side = |info: PeerInfo, interest, replica| Side {
        engine: Engine::new(EngineConfig::new(info, interest)),
        replica,
        out: vec![],
    };
    let mut hub = side(info(HUB, &hub_kind, false), Interest::All, replica);
    let mut edge = side(info(EDGE, &edge_kind, false), Interest::Scopes(scopes), copy);
    hub.take(Input::Connected { session: SESSION, peer: info(EDGE, &edge_kind, false) })?;
    edge.take(Input::Connected { session: SESSION, peer: info(HUB, &hub_kind, true) })?;
    let (mut up, mut down) = (Said::default(), Said::default());
    for _ in 0..EXCHANGES_MAX {
        if edge.out.is_empty() && hub.out.is_empty() {
            break;
        }
        edge.send(&mut hub, &mut up)?;
        hub.send(&mut edge, &mut down)?;
    }
    ensure!(edge.out.is_empty() && hub.out.is_empty(), "the greeting ends");
    ensure!(hub.replica.position() == edge.replica.position(), "nothing was missing");
    let in_sync = |side: &Side| side.engine.peers().iter().all(|peer| peer.lag_events == 0);
    ensure!(in_sync(&hub) && in_sync(&edge), "both know that they are in sync");
    Ok((up, down))
}
