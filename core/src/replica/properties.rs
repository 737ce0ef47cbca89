#![allow(clippy::unwrap_used)]
//! Laws of the replica on generated histories: three nodes write, exchange, checkpoint, settle, crash
//! and reopen in any order; once they have exchanged everything they are the same, and projections
//! kept up to date equal projections made anew.

use proptest::prelude::*;
use serde_json::json;

use super::tests::{document, fleet, same};
use super::*;
use crate::name::Kind;
use crate::store::MemoryStore;
use crate::testing::{carry, open, put};

/// Key numbers of the nodes of [`fleet`], in its order.
const KEYS: [u16; 3] = [1, 2, 3];

#[derive(Debug, Clone)]
enum Step {
    Patch {
        node: usize,
        name: u8,
        field: u8,
        value: u8,
    },
    Delete {
        node: usize,
        name: u8,
    },
    Machine {
        node: usize,
        name: u8,
        value: u8,
    },
    Acknowledge {
        node: usize,
        name: u8,
    },
    Checkpoint {
        name: u8,
    },
    Carry {
        from: usize,
        to: usize,
    },
    /// Carries what is missing of one scope, one record at a time and each twice.
    Stutter {
        from: usize,
        to: usize,
    },
    Settle {
        node: usize,
    },
    Reopen {
        node: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..3usize;
    prop_oneof![
        6 => (0..2usize, 0..3u8, 0..4u8, any::<u8>())
            .prop_map(|(node, name, field, value)| Step::Patch { node, name, field, value }),
        1 => (0..2usize, 0..3u8).prop_map(|(node, name)| Step::Delete { node, name }),
        3 => (2..3usize, 0..2u8, any::<u8>()).prop_map(|(node, name, value)| Step::Machine { node, name, value }),
        1 => (0..2usize, 0..3u8).prop_map(|(node, name)| Step::Acknowledge { node, name }),
        1 => (0..2u8).prop_map(|name| Step::Checkpoint { name }),
        4 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Carry { from, to }),
        2 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Stutter { from, to }),
        1 => node.clone().prop_map(|node| Step::Settle { node }),
        1 => node.prop_map(|node| Step::Reopen { node }),
    ]
}

fn take(nodes: &mut [Replica<MemoryStore>; 3], step: &Step, boots: &mut u64) {
    let profile = |name: u8| document(Kind::Profile, &format!("p{name}"));
    let machine = |name: u8| format!("store-17.m{name}");
    match *step {
        Step::Patch { node, name, field, value } => {
            let node = &mut nodes[node];
            let document = profile(name);
            let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": {}});
            if node.get(&document).unwrap().is_none() {
                put(node, Kind::Profile, "acme", &format!("p{name}"), json!({"spec": spec}));
            }
            // Field 3 is a scalar where the others are beneath a map: paths that shadow each other.
            let values = match field {
                3 => json!({"a": value}),
                field => json!({"a": {format!("f{field}"): value}}),
            };
            let patch = ChangeRequest::MergePatch(json!({"spec": {"values": values}}));
            node.write(Write::new(document, patch, "ann", u64::from(value))).unwrap();
            node.commit().unwrap();
        }
        Step::Delete { node, name } => {
            let write = Write::new(profile(name), ChangeRequest::Delete, "ann", 1);
            let outcome = nodes[node].write(write);
            assert!(matches!(outcome, Ok(_) | Err(WriteError::NotFound(_))));
            nodes[node].commit().unwrap();
        }
        Step::Machine { node, name, value } => {
            let spec = json!({"spec": {"labels": {"value": value.to_string()}}});
            put(&mut nodes[node], Kind::Machine, "acme", &machine(name), spec);
            nodes[node].commit().unwrap();
        }
        Step::Acknowledge { node, name } => {
            let write = Write::new(profile(name), ChangeRequest::Acknowledge(vec![]), "ann", 1);
            let outcome = nodes[node].write(write);
            assert!(matches!(outcome, Ok(_) | Err(WriteError::NotFound(_))));
            nodes[node].commit().unwrap();
        }
        Step::Checkpoint { name } => {
            nodes[2].checkpoint(&document(Kind::Machine, &machine(name)), 1).unwrap();
            nodes[2].commit().unwrap();
        }
        Step::Carry { from, to } if from != to => {
            let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
            let merged = carry(from, to);
            assert!(merged.wanted.is_empty() && merged.refused.is_empty(), "{merged:?}");
        }
        Step::Stutter { from, to } if from != to => {
            let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
            for scope in from.scopes().cloned().collect::<Vec<_>>() {
                for entry in from.log(&scope, 0, usize::MAX).unwrap().entries {
                    to.merge(&[&entry.bytes, &entry.bytes]).unwrap();
                }
            }
            to.commit().unwrap();
        }
        Step::Carry { .. } | Step::Stutter { .. } => {}
        Step::Settle { node } => nodes[node].settle().unwrap(),
        Step::Reopen { node } => {
            *boots += 1;
            let store = nodes[node].store().fork();
            let before = std::mem::replace(&mut nodes[node], open(store, KEYS[node], *boots));
            same(&before, &nodes[node]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happened_nodes_that_exchanged_everything_are_the_same(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (a, b, c) = fleet();
        let mut nodes = [a, b, c];
        let mut boots = 1_000;
        for step in &steps {
            take(&mut nodes, step, &mut boots);
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
            take(&mut nodes, &Step::Carry { from, to }, &mut boots);
        }
        same(&nodes[0], &nodes[1]);
        same(&nodes[1], &nodes[2]);
        for node in &mut nodes {
            let labels = LabelSelector::new();
            let before = node.list(Kind::Profile, None, &labels).unwrap();
            node.rebuild_all().unwrap();
            let after = node.list(Kind::Profile, None, &labels).unwrap();
            let resources = |views: &[View]| views.iter().map(|view| view.resource.clone()).collect::<Vec<_>>();
            prop_assert_eq!(resources(&before), resources(&after));
        }
        same(&nodes[0], &nodes[2]);
    }
}
