//! Automerge's own sync protocol, over every document, as nothing says which of them differ.

use anyhow::ensure;
use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, ObjType, ROOT};

use super::negentropy::timed;
use super::{Cost, Work};
use crate::progress::Progress;

/// Settings that no change touches, as in the profiles of the other contenders.
const SETTINGS: usize = 24;
/// More turns than the protocol takes.
const TURNS_MAX: u32 = 64;

/// The same documents on both sides.
pub(super) struct Documents {
    sides: [Vec<Automerge>; 2],
    value: i64,
}

impl Documents {
    /// Makes the documents with their shared past.
    pub(super) fn new(work: Work) -> anyhow::Result<Self> {
        let mut progress = Progress::new("compare, documents of automerge", work.documents as u64);
        let mut sides = [vec![], vec![]];
        for number in 0..work.documents {
            let document = made(work.events_per_document)?;
            for (side, documents) in sides.iter_mut().enumerate() {
                let actor = u8::try_from(side)? + 1;
                documents.push(document.fork().with_actor(ActorId::from([actor; 16])));
            }
            progress.at(number as u64);
        }
        Ok(Self { sides, value: i64::try_from(work.events_per_document)? })
    }

    /// Makes so many changes on each side, each side to its half of the documents, and syncs all.
    pub(super) fn reconcile(&mut self, differences: usize) -> anyhow::Result<Cost> {
        let half = self.sides[0].len() / 2;
        for number in 0..differences {
            self.value += 1;
            for (side, documents) in self.sides.iter_mut().enumerate() {
                change(&mut documents[2 * (number % half) + side], self.value)?;
            }
        }
        let mut states: [Vec<State>; 2] = std::array::from_fn(|_| vec![State::new(); 2 * half]);
        let (mut cost, mut events) = (Cost::default(), 0);
        let (mut turn, mut quiet, mut side, mut before) = (0, 0, 1, [None; 2]);
        // Until neither side has anything to say about any document.
        while quiet < 2 {
            ensure!(turn < TURNS_MAX, "automerge's protocol comes to rest");
            let messages = timed(&mut cost.cpu[side], || say(&self.sides[side], &mut states[side]));
            quiet = if messages.is_empty() { quiet + 1 } else { 0 };
            for Sent { bytes, changes, .. } in &messages {
                cost.bytes += bytes.len() as u64;
                events += changes;
                if *changes > 0 {
                    before[side].get_or_insert(turn);
                }
            }
            turn += u32::from(!messages.is_empty());
            side = 1 - side;
            timed(&mut cost.cpu[side], || hear(&mut self.sides[side], &mut states[side], messages))?;
        }
        let [here, there] = &mut self.sides;
        let equal = here.iter_mut().zip(there).all(|(here, there)| here.get_heads() == there.get_heads());
        ensure!(equal, "automerge's protocol makes documents equal");
        cost.bytes_with_events = Some(cost.bytes);
        cost.bytes -= events;
        cost.turns = before.into_iter().flatten().max().unwrap_or(turn);
        Ok(cost)
    }
}

/// A message about one document.
struct Sent {
    document: usize,
    bytes: Vec<u8>,
    /// Bytes of changes in it.
    changes: u64,
}

fn say(documents: &[Automerge], states: &mut [State]) -> Vec<Sent> {
    let both = documents.iter().zip(states).enumerate();
    let sent = both.filter_map(|(document, (automerge, state))| {
        let message = automerge.generate_sync_message(state)?;
        let changes = message.changes.iter().map(|change| change.len() as u64).sum();
        Some(Sent { document, bytes: message.encode(), changes })
    });
    sent.collect()
}

fn hear(documents: &mut [Automerge], states: &mut [State], messages: Vec<Sent>) -> anyhow::Result<()> {
    for Sent { document, bytes, .. } in messages {
        documents[document].receive_sync_message(&mut states[document], Message::decode(&bytes)?)?;
    }
    Ok(())
}

fn made(events: usize) -> anyhow::Result<Automerge> {
    let mut document = Automerge::new().with_actor(ActorId::from([9; 16]));
    let mut transaction = document.transaction();
    let settings = transaction.put_object(ROOT, "settings", ObjType::Map)?;
    for setting in 0..SETTINGS {
        transaction.put(&settings, format!("setting-{setting:02}"), format!("value of {setting:02}"))?;
    }
    transaction.put(ROOT, "replicas", 0_i64)?;
    transaction.commit();
    for value in 1..events {
        change(&mut document, i64::try_from(value)?)?;
    }
    Ok(document)
}

fn change(document: &mut Automerge, value: i64) -> anyhow::Result<()> {
    let mut transaction = document.transaction();
    transaction.put(ROOT, "replicas", value)?;
    transaction.commit();
    Ok(())
}
