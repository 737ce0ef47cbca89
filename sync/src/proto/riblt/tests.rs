#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The nth item of a seed's sequence.
fn item(seed: u64, n: u64) -> Item {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(mix(seed).wrapping_add(n)).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(mix(seed ^ 0xa5a5).wrapping_add(n)).to_be_bytes());
    bytes
}

fn sketch(cells: usize, items: impl IntoIterator<Item = Item>) -> Sketch {
    let mut sketch = Sketch::new(cells);
    items.into_iter().for_each(|item| sketch.insert(&item));
    sketch
}

/// How many cells two sets with `differences` need, of which every other one is theirs.
fn cells_needed(seed: u64, differences: u64) -> usize {
    let ours = sketch(4_096, (0..500).chain((1_000..1_000 + differences).step_by(2)).map(|n| item(seed, n)));
    let theirs =
        sketch(4_096, (0..500).chain((1_001..1_000 + differences).step_by(2)).map(|n| item(seed, n)));
    let (mut low, mut high) = (0, 4_096);
    while high - low > 1 {
        // More cells never undo a success but for what a rare cell adds at the end.
        let middle = (low + high) / 2;
        match difference(ours.cells(), &theirs.cells()[..middle]) {
            Some(_) => high = middle,
            None => low = middle,
        }
    }
    high
}

#[test]
fn a_difference_costs_about_one_and_a_half_cells() {
    for (differences, seeds, most) in [(2, 200, 2.2), (10, 100, 2.2), (100, 40, 1.7), (1_000, 10, 1.45)] {
        let cells: usize = (0..seeds).map(|seed| cells_needed(seed, differences)).sum();
        let each = cells as f64 / (seeds * differences) as f64;
        assert!((1.0..most).contains(&each), "{each:.2} cells for each of {differences} differences");
    }
}

#[test]
fn an_item_falls_into_cells_with_the_density_that_is_promised() {
    let mut hits = [0u32; 4_096];
    for n in 0..20_000 {
        let hashed = Hashed::of(u128::from_be_bytes(item(1, n)));
        for place in Places::of(&hashed).take_while(|place| *place < 4_096) {
            hits[place] += 1;
        }
    }
    assert_eq!(hits[0], 20_000, "every item is in the first cell");
    for (place, hits) in hits.iter().enumerate().take(64) {
        let expected = 20_000.0 / (1.0 + place as f64 / 2.0);
        assert!(
            (f64::from(*hits) - expected).abs() < 6.0 * expected.sqrt(),
            "cell {place}: {hits}, {expected}"
        );
    }
    let each = f64::from(hits.iter().sum::<u32>()) / 20_000.0;
    assert!((13.0..17.0).contains(&each), "{each} of 4,096 cells for an item");
}

#[test]
fn taking_out_undoes_putting_in() {
    let mut changed = sketch(256, (0..100).map(|n| item(7, n)));
    for n in 40..100 {
        changed.remove(&item(7, n));
    }
    assert_eq!(changed, sketch(256, (0..40).map(|n| item(7, n))));
    assert_eq!(changed.items(), 40);
}

#[test]
fn an_estimate_is_near_and_seldom_too_high() {
    for (only_ours, only_theirs) in [(0, 40), (20, 20), (200, 200), (1_000, 1_000), (2_000, 0), (900, 100)] {
        let truth = (only_ours + only_theirs) as usize;
        let estimates: Vec<usize> = (0..50)
            .map(|seed| {
                let ours = sketch(32, (0..500).chain(1_000..1_000 + only_ours).map(|n| item(seed, n)));
                let theirs = sketch(32, (0..500).chain(9_000..9_000 + only_theirs).map(|n| item(seed, n)));
                estimate(ours.cells(), theirs.cells())
            })
            .collect();
        let high = estimates.iter().filter(|estimate| **estimate > truth).count();
        let low = estimates.iter().filter(|estimate| **estimate * 3 < truth).count();
        assert!(high <= 18 && low <= 5, "{truth}: {high} too high, {low} far too low of {estimates:?}");
    }
}

#[test]
fn fewer_of_ours_than_of_theirs_tell_nothing() {
    let (short, long) = (sketch(4, [item(1, 1)]), sketch(8, [item(1, 2)]));
    assert_eq!(difference(short.cells(), long.cells()), None);
    assert_eq!(estimate(short.cells(), long.cells()), 0);
    assert_eq!(difference(&[], &[]), Some(Difference::default()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever two sets are, enough cells give exactly what they do not share.
    #[test]
    fn any_difference_is_found_exactly(
        seed in any::<u64>(),
        ours in proptest::collection::btree_set(0u64..400, 0..120),
        theirs in proptest::collection::btree_set(0u64..400, 0..120),
    ) {
        let of = |set: &BTreeSet<u64>| sketch(2_048, set.iter().map(|n| item(seed, *n)));
        let found = difference(of(&ours).cells(), of(&theirs).cells()).unwrap();
        let only = |a: &BTreeSet<u64>, b: &BTreeSet<u64>| -> BTreeSet<Item> {
            a.difference(b).map(|n| item(seed, *n)).collect()
        };
        prop_assert_eq!(found.ours.len() + found.theirs.len(), ours.symmetric_difference(&theirs).count());
        prop_assert_eq!(found.ours.into_iter().collect::<BTreeSet<_>>(), only(&ours, &theirs));
        prop_assert_eq!(found.theirs.into_iter().collect::<BTreeSet<_>>(), only(&theirs, &ours));
    }

    /// Whatever cells a peer makes up, decoding ends, with no more items than cells. Some are made so
    /// that one item after the other seems to come out of them.
    #[test]
    fn cells_that_were_made_up_do_no_harm(
        cells in proptest::collection::vec((any::<u128>(), any::<u32>(), -3i64..4, any::<bool>()), 0..300),
        extreme in any::<bool>(),
    ) {
        let mut theirs: Vec<Cell> = cells
            .into_iter()
            .map(|(items, checks, count, plausible)| match plausible {
                true => Cell { items, checks: Hashed::of(items).check, count: count.signum() },
                false => Cell { items, checks, count },
            })
            .collect();
        if let (true, Some(cell)) = (extreme, theirs.last_mut()) {
            cell.count = i64::MIN;
        }
        let ours = sketch(300, (0..50).map(|n| item(3, n)));
        estimate(ours.cells(), &theirs);
        if let Some(found) = difference(ours.cells(), &theirs) {
            prop_assert!(found.ours.len() + found.theirs.len() <= theirs.len());
        }
    }
}

#[test]
fn one_item_that_was_replaced_is_told_by_any_cells() {
    for seed in 0..400 {
        let (before, mut now) = (item(seed, 3), item(seed, 1_000));
        now[..4].copy_from_slice(&before[..4]);
        let theirs = sketch(8, (0..500).map(|n| item(seed, n)));
        let held: Vec<Item> = (0..500).filter(|n| *n != 3).map(|n| item(seed, n)).chain([now]).collect();
        let ours = sketch(8, held.iter().copied());
        let mut asked = 0;
        let mut know = |pairs: &[Pair]| {
            asked += 1;
            held.iter().filter(|item| pairs.iter().any(|pair| pair.has(item))).copied().collect()
        };
        let found = difference_knowing(ours.cells(), &theirs.cells()[..1], &mut know);
        assert_eq!(found, Some(Difference { ours: vec![now], theirs: vec![before] }), "seed {seed}");
        assert_eq!(asked, 1, "one cell gives no item away");
        let mut misled = |_: &[Pair]| vec![now, before, item(seed, 4), now];
        let found = difference_knowing(ours.cells(), &theirs.cells()[..1], &mut misled);
        assert_eq!(found, Some(Difference { ours: vec![now], theirs: vec![before] }), "others are not taken");
    }
}
