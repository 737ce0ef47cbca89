//! Negentropy: fingerprints of ranges, split until they are equal or short.
//!
//! Items are ordered by hash: events have no time that both sides agree on in advance. Building the
//! sorted sets is not counted, as a node would keep them.

use std::collections::BTreeSet;

use anyhow::ensure;
use negentropy::{Id as Item, Negentropy, NegentropyStorageVector};

use super::Cost;
use super::ids::{self, Id};
use crate::process::thread_cpu_seconds;

/// No limit on a message: the fewest round trips.
const FRAME_BYTES_MAX: u64 = 0;

/// Lets the second side ask the first.
pub(super) fn reconcile(here: &BTreeSet<Id>, there: &BTreeSet<Id>) -> anyhow::Result<Cost> {
    let (asked, asking) = (sealed(here)?, sealed(there)?);
    let mut asked = Negentropy::borrowed(&asked, FRAME_BYTES_MAX)?;
    let mut asking = Negentropy::borrowed(&asking, FRAME_BYTES_MAX)?;
    let (mut have, mut need) = (vec![], vec![]);
    let mut cost = Cost::default();
    let mut question = timed(&mut cost.cpu[1], || asking.initiate())?;
    loop {
        let answer = timed(&mut cost.cpu[0], || asked.reconcile(&question))?;
        cost.bytes += (question.len() + answer.len()) as u64;
        cost.turns += 2;
        let next = timed(&mut cost.cpu[1], || asking.reconcile_with_ids(&answer, &mut have, &mut need))?;
        match next {
            Some(next) => question = next,
            None => break,
        }
    }
    ensure!([need.len(), have.len()] == ids::missing(here, there), "negentropy finds what is missing");
    // What it needs, it asks for by id, together with the events that it has to give.
    cost.bytes += (need.len() * Item::default().len()) as u64;
    cost.turns += u32::from(!need.is_empty());
    Ok(cost)
}

fn sealed(ids: &BTreeSet<Id>) -> anyhow::Result<NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::with_capacity(ids.len());
    for id in ids {
        storage.insert(0, Item::from_byte_array(*id))?;
    }
    storage.seal()?;
    Ok(storage)
}

/// Does something and adds what CPU it took, in seconds.
pub(super) fn timed<T>(cpu: &mut f64, work: impl FnOnce() -> T) -> T {
    let before = thread_cpu_seconds();
    let done = work();
    *cpu += thread_cpu_seconds() - before;
    done
}
