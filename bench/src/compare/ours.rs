//! Ours: vectors of chains, by the engines that nodes run.

use std::collections::BTreeSet;

use anyhow::ensure;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::{ChangeRequest, Write};
use serde_json::json;

use super::ids::{self, Id};
use super::{Cost, Work};
use crate::pair::{NAMESPACE, Other, Pair, SITE};
use crate::workload;

/// Events that share a signature.
const GROUP_EVENTS: usize = 64;

/// Two nodes with half of the documents each: a hub and an edge, or two hubs.
pub(super) struct Ours {
    pair: Pair,
    other: Other,
    /// What the authority wrote into the same scopes, which is no part of the work.
    enrolment: BTreeSet<Id>,
    documents: usize,
    /// What was written last; every change sets another value.
    value: u64,
    /// Differences that are not reconciled yet.
    differences: usize,
}

impl Ours {
    /// Two nodes that hold the same.
    pub(super) fn new(other: Other, work: Work) -> anyhow::Result<Self> {
        let pair = Pair::enrolled(other);
        let enrolment = ids::of(&pair.replicas[0], &scopes())?;
        let mut ours =
            Self { pair, other, enrolment, documents: work.documents / 2, value: 0, differences: 0 };
        for _ in 0..work.events_per_document {
            ours.write(ours.documents)?;
        }
        ours.pair.carry();
        let [here, there] = ours.ids()?;
        ensure!(here == there && here.len() == work.documents * work.events_per_document, "a shared past");
        Ok(ours)
    }

    /// Writes so many events on each side that the other does not have.
    pub(super) fn differ(&mut self, events: usize) -> anyhow::Result<()> {
        self.write(events)?;
        self.differences = events;
        let [here, there] = self.ids()?;
        ensure!(ids::missing(&here, &there) == [events; 2], "{events} are missing on each side");
        Ok(())
    }

    /// What each side holds.
    pub(super) fn ids(&self) -> anyhow::Result<[BTreeSet<Id>; 2]> {
        let [here, there] = &self.pair.replicas;
        Ok([&ids::of(here, &scopes())? - &self.enrolment, &ids::of(there, &scopes())? - &self.enrolment])
    }

    /// Lets the engines do it.
    pub(super) fn reconcile(&mut self) -> anyhow::Result<Cost> {
        let exchange = self.pair.exchange()?;
        let [here, there] = self.ids()?;
        ensure!(here == there, "nothing is missing any more");
        let [hub, other] = exchange.said;
        ensure!((hub.event_bytes > 0) == (self.differences > 0), "events travel if some are missing");
        let (all, events) = (hub.bytes + other.bytes, hub.event_bytes + other.event_bytes);
        Ok(Cost {
            bytes: all - events,
            bytes_with_events: Some(all),
            turns: exchange.turns_before_events(),
            cpu: [hub.cpu, other.cpu],
        })
    }

    /// Each side changes documents of its own in turn.
    fn write(&mut self, events: usize) -> anyhow::Result<()> {
        let first = self.value == 0;
        for number in 0..events {
            if number % self.documents == 0 {
                self.value += 1;
            }
            let document = number % self.documents;
            for side in 0..2 {
                let replica = &mut self.pair.replicas[side];
                replica.write(written(self.other, side, document, first, self.value))?;
                if (number + 1) % GROUP_EVENTS == 0 {
                    replica.commit()?;
                }
            }
        }
        self.pair.replicas.iter_mut().try_for_each(|replica| replica.commit().map(drop))?;
        Ok(())
    }
}

/// Where documents are.
fn scopes() -> [Scope; 2] {
    let (namespace, site) = (NAMESPACE.to_owned(), SITE.to_owned());
    [Scope::Profiles { namespace: namespace.clone() }, Scope::Site { namespace, site }]
}

/// What a side writes to its document with this number: makes it, or changes one field.
fn written(other: Other, side: usize, number: usize, make: bool, value: u64) -> Write {
    match (side, other, make) {
        (1, Other::Edge, _) => machine(number, make, value),
        (_, _, true) => workload::make(2 * number + side),
        _ => workload::change(2 * number + side, value),
    }
}

/// Only a site's own node writes its machines.
fn machine(number: usize, make: bool, value: u64) -> Write {
    let name = format!("{SITE}.m{number}");
    let document = Document::new(Kind::Machine, NAMESPACE, &name).expect("a valid name");
    let change = match make {
        true => ChangeRequest::Put(json!({
            "apiVersion": "driftless.dev/v1", "kind": "Machine",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"cpu": 8, "os": "Ubuntu 24.04 LTS", "load": 0},
        })),
        false => ChangeRequest::MergePatch(json!({"spec": {"load": value}})),
    };
    Write::new(document, change, "site/inventory", workload::TIME_MS)
}
