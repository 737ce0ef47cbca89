//! Laws of batches, and every adapter against a model.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn a_batch_counts_the_bytes_of_its_final_changes() {
    let mut batch = Batch::default();
    batch.put("till-1", "open");
    batch.put("till-1", "shut down");
    batch.delete("till-2");
    batch.delete("till-2");

    assert_eq!((batch.len(), batch.bytes()), (2, 6 + 9 + 6));
    let changes: Vec<_> = batch.changes().collect();
    assert_eq!(changes, [(&b"till-1"[..], Some(&b"shut down"[..])), (b"till-2", None)]);
}

#[test]
fn the_end_of_a_prefix_follows_every_key_with_that_prefix() {
    assert_eq!(prefix_end(b"ab").unwrap(), b"ac");
    assert_eq!(prefix_end(b"a\xff\xff").unwrap(), b"b");
    assert_eq!(prefix_end(b"\xff\xff"), None);
    assert_eq!(prefix_end(b""), None);
}

#[test]
fn errors_name_the_key_and_the_way_out() {
    let damaged = StoreError::Damaged { key: Some(b"till\0\x01".to_vec()), reason: "gone".into() };
    assert_eq!(damaged.to_string(), r#"stored state is damaged at key "till\x00\x01": gone"#);
    let locked = StoreError::Locked { dir: "/srv/store".into(), holder: Some(7) };
    assert!(locked.to_string().starts_with("/srv/store is in use by process 7; is a daemon running"));
}

/// What a generated history does to a store.
#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(Vec<u8>, Option<Value>)>),
    Flush,
    FlushAndReopen,
    Scan { start: Vec<u8>, end: Vec<u8>, order: Order, entries: usize },
}

/// A value by its first byte and its length, so that failures print short.
#[derive(Debug, Clone, Copy)]
struct Value {
    first: u8,
    bytes: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn memory_matches_the_model(steps in history(40)) {
        follow(steps, MemoryStore::new(), |mut store| {
            store.crash();
            store
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn sled_matches_the_model(steps in history(25)) {
        let dir = tempfile::tempdir().unwrap();
        let open = || SledStore::open(dir.path(), SledOptions::default()).unwrap();
        follow(steps, open(), |store| {
            store.close().unwrap();
            open()
        });
        prop_assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
    }
}

/// Runs a history on a store and on the model, and compares every answer.
fn follow<S: Store>(steps: Vec<Step>, mut store: S, mut reopen: impl FnMut(S) -> S) {
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Apply(changes) => {
                let mut batch = Batch::default();
                for (key, value) in changes {
                    match value.map(Value::to_bytes) {
                        Some(value) => {
                            batch.put(key.clone(), value.clone());
                            model.insert(key, value);
                        }
                        None => {
                            batch.delete(key.clone());
                            model.remove(&key);
                        }
                    }
                }
                store.apply(batch).unwrap();
            }
            Step::Flush => store.flush().unwrap(),
            Step::FlushAndReopen => {
                store.flush().unwrap();
                store = reopen(store);
            }
            Step::Scan { start, end, order, entries } => {
                compare_scan(&store, &model, (&start, &end), order, entries);
            }
        }
        for (key, value) in &model {
            assert!(store.get(key).unwrap().as_ref() == Some(value), "value of {key:?}");
        }
    }
    compare_scan(&store, &model, (b"", b"\xff"), Order::Ascending, usize::MAX);
}

fn compare_scan(
    store: &impl Store,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    (start, end): (&[u8], &[u8]),
    order: Order,
    entries_max: usize,
) {
    let mut expected: Vec<_> =
        model.iter().filter(|(key, _)| start <= key.as_slice() && key.as_slice() < end).collect();
    if order == Order::Descending {
        expected.reverse();
    }
    expected.truncate(entries_max);
    let mut seen = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        seen.push((key.to_vec(), value.to_vec()));
        if seen.len() < entries_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    store.scan(start, end, order, visit).unwrap();
    assert!(seen.iter().map(|(key, value)| (key, value)).eq(expected), "scan {start:?}..{end:?} {order:?}");
}

impl Value {
    fn to_bytes(self) -> Vec<u8> {
        (0..self.bytes).map(|at| self.first ^ (at ^ (at >> 8)) as u8).collect()
    }
}

fn history(steps_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let changes = prop::collection::vec((key(), prop::option::weighted(0.7, value())), 0..8);
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let step = prop_oneof![
        6 => changes.prop_map(Step::Apply),
        1 => Just(Step::Flush),
        1 => Just(Step::FlushAndReopen),
        3 => (key(), key(), order, 1_usize..6)
            .prop_map(|(start, end, order, entries)| Step::Scan { start, end, order, entries }),
    ];
    prop::collection::vec(step, 1..steps_max)
}

/// Few and nested keys, so that changes meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(2), Just(b'a'), Just(0xfe)], 0..4)
}

/// Lengths around the point where sled's records are split, and far beyond.
fn value() -> impl Strategy<Value = Value> {
    let bytes = prop_oneof![4 => 0_usize..40, 2 => 5_090_usize..5_120, 1 => 10_000_usize..10_500, 1 => 40_000_usize..41_000];
    (any::<u8>(), bytes).prop_map(|(first, bytes)| Value { first, bytes })
}
