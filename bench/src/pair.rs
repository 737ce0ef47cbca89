//! Two replicas with the engines that nodes run, their frames carried by hand: what is said, in how many
//! turns, and what it costs, without a network.

use std::collections::BTreeSet;

use anyhow::ensure;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::MemoryStore;
use driftless_core::testing;
use driftless_sync::proto::{
    Class, Engine, EngineConfig, Input, Interest, Output, PeerInfo, PeerKind, SessionId,
};

use crate::process::thread_cpu_seconds;

/// The key numbers of the two sides.
pub(crate) const KEYS: [u16; 2] = [1, 2];
const HUBS: [(&str, u16); 2] = [("hub-1", KEYS[0]), ("hub-2", KEYS[1])];
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const SITE: &str = "store-0001";
const SESSION: SessionId = SessionId(1);
/// More turns than anything needs that ends.
const TURNS_MAX: u32 = 100_000;
/// Time stands still: no timer of an exchange fires.
const NOW_MS: u64 = 1;

/// What the second side is; the first is a hub. The second dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    /// An edge of one site.
    Edge,
    /// Another hub.
    Hub,
}

/// Two replicas and what they are to each other.
pub(crate) struct Pair {
    pub(crate) replicas: [Replica<MemoryStore>; 2],
    other: Other,
}

/// What one side said in an exchange, and what that took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Of these in frames of events.
    pub(crate) event_bytes: u64,
    /// CPU of this side but for taking events, in seconds.
    pub(crate) cpu: f64,
    /// Turns, of either side, before this one first sent events.
    pub(crate) turns_before_events: Option<u32>,
}

/// An exchange that has come to rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Exchange {
    /// By side.
    pub(crate) said: [Said; 2],
    /// Turns in which a side said something.
    pub(crate) turns: u32,
}

impl Exchange {
    /// Turns until both sides that have events to send send them; all if neither has.
    pub(crate) fn turns_before_events(&self) -> u32 {
        let before = self.said.iter().filter_map(|said| said.turns_before_events).max();
        before.unwrap_or(self.turns)
    }
}

impl Pair {
    /// A hub and the other side, both enrolled, without any events of their own.
    pub(crate) fn enrolled(other: Other) -> Self {
        let enrolled = match other {
            Other::Edge => testing::enrolled(&HUBS[..1], &[(NAMESPACE, SITE, KEYS[1])]),
            Other::Hub => testing::enrolled(&HUBS, &[]),
        };
        Self::holding(&enrolled, other)
    }

    /// Two hubs of a fleet with so many sites, each of which is a scope.
    pub(crate) fn hubs_of(sites: usize) -> Self {
        let names: Vec<String> = (0..sites).map(crate::fleet::site).collect();
        let members: Vec<_> =
            names.iter().zip(KEYS[1] + 1..).map(|(site, key)| (NAMESPACE, site.as_str(), key)).collect();
        Self::holding(&testing::enrolled(&HUBS, &members), Other::Hub)
    }

    fn holding(enrolled: &Replica<MemoryStore>, other: Other) -> Self {
        let replicas = KEYS.map(|key| {
            let mut replica = testing::open(MemoryStore::new(), key, 1);
            testing::carry(enrolled, &mut replica);
            replica
        });
        Self { replicas, other }
    }

    /// Lets each side take everything that the other has, without an exchange.
    pub(crate) fn carry(&mut self) {
        let [first, second] = &mut self.replicas;
        testing::carry(first, second);
        testing::carry(second, first);
    }

    /// Connects the two and carries frames until neither has anything to say.
    pub(crate) fn exchange(&mut self) -> anyhow::Result<Exchange> {
        let kinds = [PeerKind::Hub { name: "hub-1".to_owned(), region: "eu".to_owned() }, self.other.kind()];
        let interests = [Interest::All, self.other.interest()];
        let info = |side: usize, dialled| PeerInfo {
            key: testing::author(KEYS[side]),
            kind: kinds[side].clone(),
            dialled,
        };
        let mut engines =
            [0, 1].map(|side| Engine::new(EngineConfig::new(info(side, false), interests[side].clone())));
        let (mut exchange, mut outs) = (Exchange::default(), [vec![], vec![]]);
        // The second side dials.
        for (side, dialled) in [(0, false), (1, true)] {
            let input = Input::Connected { session: SESSION, peer: info(1 - side, dialled) };
            let cpu = thread_cpu_seconds();
            engines[side].handle(NOW_MS, input, &mut self.replicas[side], &mut outs[side])?;
            exchange.said[side].cpu += thread_cpu_seconds() - cpu;
        }
        let (mut turns, mut side) = (0, 1);
        while outs.iter().any(|out| !out.is_empty()) {
            ensure!(turns < TURNS_MAX, "the two come to rest");
            let sent = std::mem::take(&mut outs[side]);
            if !sent.is_empty() {
                let (other, said) = (1 - side, &mut exchange.said);
                let carrying = Carrying {
                    engine: &mut engines[other],
                    replica: &mut self.replicas[other],
                    out: &mut outs[other],
                };
                carrying.carry(sent, side, turns, said)?;
                turns += 1;
            }
            side = 1 - side;
        }
        exchange.turns = turns;
        let in_sync = |engine: &Engine| engine.peers().iter().all(|peer| peer.lag_events == 0);
        ensure!(engines.iter().all(in_sync), "both know that they are in sync");
        let [first, second] = &self.replicas;
        let shared = first.scopes().filter(|scope| interests[1].contains(scope));
        for scope in shared {
            ensure!(first.vector(scope) == second.vector(scope), "{scope} is the same on both sides");
        }
        Ok(exchange)
    }
}

/// The side that takes what the other says.
struct Carrying<'a> {
    engine: &'a mut Engine,
    replica: &'a mut Replica<MemoryStore>,
    out: &'a mut Vec<Output>,
}

impl Carrying<'_> {
    fn carry(self, sent: Vec<Output>, from: usize, turn: u32, said: &mut [Said; 2]) -> anyhow::Result<()> {
        for output in sent {
            let Output::Send { bytes, class, .. } = output else {
                anyhow::bail!("an exchange between honest sides goes on: {output:?}")
            };
            let (events, length) = (class != Class::Control, bytes.len() as u64);
            let speaker = &mut said[from];
            speaker.frames += 1;
            speaker.bytes += length;
            if events {
                speaker.event_bytes += length;
                speaker.turns_before_events.get_or_insert(turn);
            }
            let cpu = thread_cpu_seconds();
            self.engine.handle(NOW_MS, Input::Frame { session: SESSION, bytes }, self.replica, self.out)?;
            if !events {
                said[1 - from].cpu += thread_cpu_seconds() - cpu;
            }
        }
        if self.engine.wants_commit() {
            let changed = self.replica.commit()?.scopes.into_iter().collect();
            self.engine.handle(NOW_MS, Input::Committed { changed }, self.replica, self.out)?;
        }
        if self.engine.next_timeout().is_some_and(|at| at <= NOW_MS) {
            self.engine.handle(NOW_MS, Input::Tick, self.replica, self.out)?;
        }
        Ok(())
    }
}

impl Other {
    fn kind(self) -> PeerKind {
        match self {
            Self::Edge => PeerKind::Site {
                namespace: NAMESPACE.to_owned(),
                site: SITE.to_owned(),
                node: "n1".to_owned(),
            },
            Self::Hub => PeerKind::Hub { name: "hub-2".to_owned(), region: "us".to_owned() },
        }
    }

    fn interest(self) -> Interest {
        let (namespace, site) = (NAMESPACE.to_owned(), SITE.to_owned());
        match self {
            Self::Edge => Interest::Scopes(BTreeSet::from([
                Scope::Fleet,
                Scope::Profiles { namespace: namespace.clone() },
                Scope::Site { namespace, site },
            ])),
            Self::Hub => Interest::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn an_exchange_brings_what_is_missing_and_counts_it() {
        for other in [Other::Edge, Other::Hub] {
            let mut pair = Pair::enrolled(other);
            for profile in 0..20 {
                pair.replicas[0].write(workload::make(profile)).expect("a hub writes profiles");
            }
            pair.replicas[0].commit().expect("memory does not fail");
            let exchange = pair.exchange().expect("an exchange");
            let [hub, other] = exchange.said;
            assert!(hub.event_bytes > 0 && hub.event_bytes < hub.bytes, "{exchange:?}");
            assert!(other.event_bytes == 0 && other.bytes > 0, "only the hub had something: {exchange:?}");
            assert!(exchange.turns_before_events() < exchange.turns, "{exchange:?}");
        }
    }

    #[test]
    fn two_that_are_in_sync_send_no_events() {
        let mut pair = Pair::enrolled(Other::Edge);
        pair.replicas[0].write(workload::make(1)).expect("a hub writes profiles");
        pair.replicas[0].commit().expect("memory does not fail");
        pair.carry();
        let exchange = pair.exchange().expect("an exchange");
        assert!(exchange.said.iter().all(|said| said.event_bytes == 0 && said.frames > 0), "{exchange:?}");
        assert_eq!(exchange.turns_before_events(), exchange.turns);
    }
}
