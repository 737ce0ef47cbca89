//! When edges got what was looked out for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::sleep;

/// How often it is looked whether all are there. Arrivals are stamped where they happen; this only
/// decides how soon the next step begins.
const LOOK: Duration = Duration::from_millis(2);
/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What edges tell, and what they are to look out for.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// So many events of profiles are looked out for.
    target: AtomicU64,
    /// So many are needed to be in sync.
    needed: AtomicU64,
    reached: Mutex<Vec<Instant>>,
    /// When each dialled, and was in sync.
    synced: Mutex<Vec<(Instant, Instant)>>,
}

impl Arrivals {
    /// Looks out for edges that hold so many events.
    pub(super) fn look_out_for(&self, events: u64) {
        lock(&self.reached).clear();
        self.target.store(events, Ordering::Release);
    }

    /// Forgets who is in sync: all connect anew, to a hub that holds so many events.
    pub(super) fn start_over(&self, events: u64) {
        lock(&self.synced).clear();
        self.needed.store(events, Ordering::Release);
    }

    /// Whether so many events are all.
    pub(super) fn suffices(&self, events: u64) -> bool {
        events >= self.needed.load(Ordering::Acquire)
    }

    /// An edge holds so many events; `noted` is the target that it last told of.
    pub(super) fn note(&self, noted: &mut u64, events: u64) {
        let target = self.target.load(Ordering::Acquire);
        if events >= target && *noted < target {
            *noted = target;
            lock(&self.reached).push(Instant::now());
        }
    }

    /// An edge that dialled at this time is in sync.
    pub(super) fn in_sync(&self, dialled: Instant) {
        lock(&self.synced).push((dialled, Instant::now()));
    }

    /// When each of so many edges dialled and got in sync; waits for the last.
    pub(super) async fn all_synced(&self, edges: usize) -> anyhow::Result<Vec<(Instant, Instant)>> {
        all(&self.synced, edges, "in sync").await
    }

    /// When each of so many edges held what was looked out for; waits for the last.
    pub(super) async fn all_reached(&self, edges: usize) -> anyhow::Result<Vec<Instant>> {
        all(&self.reached, edges, "up to date").await
    }
}

async fn all<T: Copy>(instants: &Mutex<Vec<T>>, edges: usize, what: &str) -> anyhow::Result<Vec<T>> {
    let started = Instant::now();
    loop {
        let arrived = lock(instants).len();
        if arrived >= edges {
            return Ok(lock(instants).clone());
        }
        if started.elapsed() > PATIENCE {
            bail!("{arrived} of {edges} edges are {what} after {} s", PATIENCE.as_secs());
        }
        sleep(LOOK).await;
    }
}

fn lock<T>(instants: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    instants.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edge_counts_once_for_each_thing_that_is_looked_out_for() {
        let (arrivals, mut first, mut second) = (Arrivals::default(), 0, 0);
        arrivals.look_out_for(10);
        arrivals.note(&mut first, 9);
        arrivals.note(&mut first, 10);
        arrivals.note(&mut first, 11);
        arrivals.note(&mut second, 12);
        assert_eq!(arrivals.all_reached(2).await.expect("both").len(), 2);
        arrivals.look_out_for(12);
        arrivals.note(&mut second, 12);
        assert_eq!(arrivals.all_reached(1).await.expect("the second").len(), 1, "the first holds 11 only");
    }
}
