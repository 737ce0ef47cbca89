//! The properties that every [`Store`] adapter passes, one function each.
//!
//! An adapter's tests call [`run`], and [`poisoned_after_a_failed_flush`] with a store whose next
//! flush fails. A broken property panics with what was expected.

use std::ops::ControlFlow;

use super::{
    BATCH_BYTES_MAX, BATCH_KEYS_MAX, Batch, KEY_BYTES_MAX, Order, Store, StoreError, VALUE_BYTES_MAX,
};

/// Runs every property, each on a new store from `make`.
///
/// `reopen` drops the store, losing what a crash may lose, and opens it on the same disk.
pub fn run<S: Store>(mut make: impl FnMut() -> S, mut reopen: impl FnMut(S) -> S) {
    gets_what_was_put(make());
    deletes_and_stays_deleted(make());
    applies_the_last_change_of_a_key(make());
    accepts_an_empty_batch(make());
    keeps_empty_keys_and_values_apart_from_absence(make());
    scans_in_both_orders_within_bounds(make());
    scans_nothing_in_an_empty_range(make());
    stops_a_scan_when_the_visitor_breaks(make());
    orders_keys_by_their_bytes(make());
    keeps_large_values_out_of_sight(make());
    replaces_large_by_small_and_back(make(), &mut reopen);
    enforces_limits_and_stays_unchanged(make());
    takes_what_just_fits(make(), &mut reopen);
    survives_reopening_once_flushed(make(), &mut reopen);
    keeps_an_unflushed_batch_whole_or_not_at_all(make(), &mut reopen);
    flushes_with_nothing_to_do(make());
}

/// A failed flush closes the store to every further call. Returns the store, still poisoned.
pub fn poisoned_after_a_failed_flush<S: Store>(mut store: S) -> S {
    put(&mut store, b"price", b"1.00");

    let failure = store.flush().expect_err("this store was made to fail its flush");

    assert!(matches!(failure, StoreError::Io { .. }), "a disk failure keeps its source: {failure:?}");
    assert!(matches!(store.get(b"price"), Err(StoreError::Poisoned)));
    let scanned = store.scan(b"a", b"z", Order::Ascending, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(StoreError::Poisoned)));
    let mut batch = Batch::default();
    batch.put("price", "2.00");
    assert!(matches!(store.apply(batch), Err(StoreError::Poisoned)));
    assert!(matches!(store.flush(), Err(StoreError::Poisoned)));
    store
}

fn gets_what_was_put(mut store: impl Store) {
    assert_eq!(get(&store, b"till-1"), None);

    put(&mut store, b"till-1", b"open");
    put(&mut store, b"till-2", b"closed");
    put(&mut store, b"till-1", b"locked");

    assert_eq!(get(&store, b"till-1").as_deref(), Some(&b"locked"[..]));
    assert_eq!(get(&store, b"till-2").as_deref(), Some(&b"closed"[..]));
    assert_eq!(get(&store, b"till"), None, "a prefix of a key is another key");
}

fn deletes_and_stays_deleted(mut store: impl Store) {
    put(&mut store, b"till-1", b"open");

    delete(&mut store, b"till-1");
    delete(&mut store, b"till-1");
    delete(&mut store, b"never there");

    assert_eq!(get(&store, b"till-1"), None);
    assert_eq!(entries(&store, b"", b"\xff", Order::Ascending), vec![]);
}

fn applies_the_last_change_of_a_key(mut store: impl Store) {
    let mut batch = Batch::default();
    batch.put("kept", "first");
    batch.delete("kept");
    batch.put("kept", "last");
    batch.put("gone", large(1));
    batch.delete("gone");
    assert_eq!((batch.len(), batch.bytes()), (2, 4 + 4 + 4));

    store.apply(batch).expect("within the limits");

    assert_eq!(get(&store, b"kept").as_deref(), Some(&b"last"[..]));
    assert_eq!(get(&store, b"gone"), None);
}

fn accepts_an_empty_batch(mut store: impl Store) {
    put(&mut store, b"till-1", b"open");

    store.apply(Batch::default()).expect("nothing to do is no failure");
    store.flush().expect("flush");

    assert_eq!(get(&store, b"till-1").as_deref(), Some(&b"open"[..]));
}

fn keeps_empty_keys_and_values_apart_from_absence(mut store: impl Store) {
    put(&mut store, b"", b"value of the empty key");
    put(&mut store, b"empty", b"");

    assert_eq!(get(&store, b"").as_deref(), Some(&b"value of the empty key"[..]));
    assert_eq!(get(&store, b"empty").as_deref(), Some(&b""[..]));
    let all = entries(&store, b"", b"\xff", Order::Ascending);
    assert_eq!(keys(&all), [&b""[..], b"empty"]);
}

fn scans_in_both_orders_within_bounds(mut store: impl Store) {
    for key in ["d", "a", "c", "b"] {
        put(&mut store, key.as_bytes(), key.as_bytes());
    }
    put(&mut store, b"c", b"changed");

    let up = entries(&store, b"b", b"d", Order::Ascending);
    let down = entries(&store, b"b", b"d", Order::Descending);

    assert_eq!(up, [(b"b".to_vec(), b"b".to_vec()), (b"c".to_vec(), b"changed".to_vec())]);
    assert_eq!(down, up.into_iter().rev().collect::<Vec<_>>());
    let between = entries(&store, b"a0", b"c0", Order::Ascending);
    assert_eq!(keys(&between), [b"b", b"c"], "bounds need not be keys");
}

fn scans_nothing_in_an_empty_range(mut store: impl Store) {
    put(&mut store, b"b", b"1");

    for order in [Order::Ascending, Order::Descending] {
        assert_eq!(entries(&store, b"b", b"b", order), vec![]);
        assert_eq!(entries(&store, b"c", b"a", order), vec![], "a reversed range is empty");
        assert_eq!(entries(&store, b"", b"", order), vec![]);
    }
}

fn stops_a_scan_when_the_visitor_breaks(mut store: impl Store) {
    for key in ["a", "b", "c"] {
        put(&mut store, key.as_bytes(), b"");
    }
    for (order, first) in [(Order::Ascending, b"a"), (Order::Descending, b"c")] {
        let mut seen = Vec::new();

        let scanned = store.scan(b"a", b"z", order, &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Break(())
        });

        assert!(scanned.is_ok());
        assert_eq!(seen, [first]);
    }
}

fn orders_keys_by_their_bytes(mut store: impl Store) {
    let ordered: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"b", b"\xfe\xff"];
    for key in ordered.iter().rev() {
        put(&mut store, key, b"x");
    }

    let all = entries(&store, b"", b"\xff", Order::Ascending);

    assert_eq!(keys(&all), ordered);
}

/// Adapters may split large values; neither their order nor a scan may show it.
fn keeps_large_values_out_of_sight(mut store: impl Store) {
    let sizes = [0, 1, 5_000, 7_500, 8_192, 16_384, 70_000, 1 << 20];
    for (number, size) in (0_u8..).zip(sizes) {
        put(&mut store, &[b'k', number], &pattern(number, size));
        put(&mut store, &[b'k', number, 0], b"a longer key");
    }

    for order in [Order::Ascending, Order::Descending] {
        let mut expected = Vec::new();
        for (number, size) in (0_u8..).zip(sizes) {
            expected.push((vec![b'k', number], pattern(number, size)));
            expected.push((vec![b'k', number, 0], b"a longer key".to_vec()));
        }
        if order == Order::Descending {
            expected.reverse();
        }
        assert!(entries(&store, b"", b"\xff\xff", order) == expected, "scan in order {order:?}");
    }
    for (number, size) in (0_u8..).zip(sizes) {
        assert!(get(&store, &[b'k', number]) == Some(pattern(number, size)), "value of {size} bytes");
    }
}

fn replaces_large_by_small_and_back<S: Store>(mut store: S, reopen: &mut impl FnMut(S) -> S) {
    let sizes = [100_000, 10, 30_000, 100_000, 29_999, 0, 7_600];
    for (number, size) in (0_u8..).zip(sizes) {
        put(&mut store, b"catalog", &pattern(number, size));
        assert!(get(&store, b"catalog") == Some(pattern(number, size)), "{size} bytes");
        store.flush().expect("flush");
        store = reopen(store);
        assert!(get(&store, b"catalog") == Some(pattern(number, size)), "{size} bytes after reopening");
    }
    put(&mut store, b"catalog", &large(8));
    delete(&mut store, b"catalog");
    assert_eq!(get(&store, b"catalog"), None);
    put(&mut store, b"catalog", b"small again");
    assert_eq!(entries(&store, b"", b"\xff", Order::Ascending).len(), 1);
}

fn enforces_limits_and_stays_unchanged(mut store: impl Store) {
    put(&mut store, b"till-1", b"open");

    let mut long_key = Batch::default();
    long_key.put("till-1", "closed");
    long_key.delete(vec![b'k'; KEY_BYTES_MAX + 1]);
    let refused = store.apply(long_key);
    assert!(matches!(refused, Err(StoreError::KeyTooLong { bytes }) if bytes == KEY_BYTES_MAX + 1));

    let mut large_value = Batch::default();
    large_value.put("till-1", "closed");
    large_value.put("video", vec![0; VALUE_BYTES_MAX + 1]);
    let refused = store.apply(large_value);
    assert!(matches!(refused, Err(StoreError::ValueTooLarge { key, .. }) if key == b"video"));

    let mut many_keys = Batch::default();
    for number in 0..=BATCH_KEYS_MAX {
        many_keys.put(format!("till-{number}"), "closed");
    }
    let refused = store.apply(many_keys);
    assert!(matches!(refused, Err(StoreError::BatchTooLarge { keys, .. }) if keys == BATCH_KEYS_MAX + 1));

    let mut many_bytes = Batch::default();
    for number in 0..=BATCH_BYTES_MAX / VALUE_BYTES_MAX {
        many_bytes.put(format!("till-{number}"), vec![0; VALUE_BYTES_MAX]);
    }
    let refused = store.apply(many_bytes);
    assert!(matches!(refused, Err(StoreError::BatchTooLarge { keys: 3, .. })));

    assert_eq!(entries(&store, b"", b"\xff", Order::Ascending), [(b"till-1".to_vec(), b"open".to_vec())]);
    put(&mut store, b"till-1", b"still usable");
}

fn takes_what_just_fits<S: Store>(mut store: S, reopen: &mut impl FnMut(S) -> S) {
    let longest_key = vec![b'k'; KEY_BYTES_MAX];
    put(&mut store, &longest_key, &pattern(3, VALUE_BYTES_MAX));
    let mut batch = Batch::default();
    for number in 0..BATCH_KEYS_MAX {
        batch.put(format!("till-{number:04}"), pattern(7, 1_000));
    }
    store.apply(batch).expect("as many keys as a batch may have");
    store.flush().expect("flush");

    let store = reopen(store);

    assert!(get(&store, &longest_key) == Some(pattern(3, VALUE_BYTES_MAX)));
    assert_eq!(entries(&store, b"till-", b"till.", Order::Descending).len(), BATCH_KEYS_MAX);
}

fn survives_reopening_once_flushed<S: Store>(mut store: S, reopen: &mut impl FnMut(S) -> S) {
    put(&mut store, b"till-1", b"open");
    put(&mut store, b"till-2", &large(4));
    put(&mut store, b"till-3", b"open");
    delete(&mut store, b"till-3");
    store.flush().expect("flush");

    let store = reopen(store);
    let store = reopen(store);

    let expected = [(b"till-1".to_vec(), b"open".to_vec()), (b"till-2".to_vec(), large(4))];
    assert!(entries(&store, b"", b"\xff", Order::Ascending) == expected);
}

fn keeps_an_unflushed_batch_whole_or_not_at_all<S: Store>(mut store: S, reopen: &mut impl FnMut(S) -> S) {
    put(&mut store, b"till-0", b"open");
    store.flush().expect("flush");
    let mut batch = Batch::default();
    batch.delete("till-0");
    batch.put("till-1", large(1));
    batch.put("till-2", "open");
    store.apply(batch).expect("within the limits");

    let store = reopen(store);

    let entries = entries(&store, b"", b"\xff", Order::Ascending);
    match keys(&entries).as_slice() {
        [b"till-0"] => {}
        [b"till-1", b"till-2"] => assert!(entries[0].1 == large(1)),
        torn => panic!("half a batch survived: {torn:?}"),
    }
}

fn flushes_with_nothing_to_do(mut store: impl Store) {
    store.flush().expect("flush of an empty store");
    put(&mut store, b"till-1", b"open");
    store.flush().expect("flush");
    store.flush().expect("flush with nothing new");
    assert_eq!(get(&store, b"till-1").as_deref(), Some(&b"open"[..]));
}

fn put(store: &mut impl Store, key: &[u8], value: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key, value);
    store.apply(batch).expect("put within the limits");
}

fn delete(store: &mut impl Store, key: &[u8]) {
    let mut batch = Batch::default();
    batch.delete(key);
    store.apply(batch).expect("delete within the limits");
}

fn get(store: &impl Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key).expect("get")
}

fn entries(store: &impl Store, start: &[u8], end: &[u8], order: Order) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(start, end, order, visit).expect("scan");
    entries
}

fn keys(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<&[u8]> {
    entries.iter().map(|(key, _)| key.as_slice()).collect()
}

fn large(seed: u8) -> Vec<u8> {
    pattern(seed, 50_000)
}

/// Bytes in which no two stretches of a few kilobytes are alike, so that swapped parts show.
fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8 ^ seed).collect()
}
