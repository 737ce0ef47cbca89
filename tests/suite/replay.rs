//! A real history of a configuration repository, as events of its writers, through real replicas. Skipped
//! where the data is absent. `driftless-bench replay` does the same with longer ones and looks at merges.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless::testing::shared_data;
use driftless::testing::traces::Trace;
use driftless_core::group::{Group, Record};
use driftless_core::ids::Author;
use driftless_core::replica::Replica;
use driftless_core::store::MemoryStore;
use driftless_core::testing::{author, carry, enrolled, key, open};

/// How many records arrive together, in each of the orders: one frame after another, or many at once.
const TOGETHER: [usize; 2] = [17, 4_096];

#[test]
fn a_real_history_of_many_writers_is_the_same_everywhere_in_any_order_of_delivery() {
    let Some(data) = shared_data() else { return };
    let trace = Trace::read(&data.join("traces"), "lsst-control").unwrap();
    assert!(trace.writers > 20 && trace.events.len() > 4_000, "{} of {}", trace.events.len(), trace.writers);
    let names: Vec<String> = (1..=trace.writers).map(|number| format!("hub-{number}")).collect();
    let hubs: Vec<(&str, u16)> = names.iter().map(String::as_str).zip(1..).collect();
    let authority = enrolled(&hubs, &[]);
    let keys: BTreeMap<Author, u16> = (1..=trace.writers).map(|number| (author(number), number)).collect();
    let records: Vec<Arc<[u8]>> = trace
        .events
        .iter()
        .map(|event| {
            let key = key(keys[&event.header().chain.author]);
            Record::Group(Group::sign(&key, vec![Arc::clone(event)])).encode().into()
        })
        .collect();
    let replicas: Vec<Replica<MemoryStore>> = TOGETHER
        .into_iter()
        .zip(1..)
        .map(|(together, seed)| {
            let mut replica = open(MemoryStore::new(), 10_000, seed);
            carry(&authority, &mut replica);
            let mut accepted = 0;
            for frame in trace.shuffled(seed).chunks(together) {
                let frame: Vec<&Arc<[u8]>> = frame.iter().map(|place| &records[*place]).collect();
                let merged = replica.merge(&frame).unwrap();
                assert!(merged.wanted.is_empty() && merged.refused.is_empty(), "{merged:?}");
                accepted += merged.accepted;
                replica.commit().unwrap();
            }
            assert_eq!(accepted as usize, trace.events.len());
            replica
        })
        .collect();
    let [one, others @ ..] = &replicas[..] else { panic!("several orders") };
    for other in others {
        assert_eq!(one.conflicted(), other.conflicted());
        for event in &trace.events {
            let document = &event.header().document;
            assert_eq!(one.digest(&document.scope()), other.digest(&document.scope()));
            assert_eq!(one.state(document).unwrap(), other.state(document).unwrap(), "{document}");
        }
    }
}
