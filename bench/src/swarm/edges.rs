//! All edges of the swarm: they come together and leave together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::arrivals::Arrivals;
use super::edge::{Edge, Manner, Member};
use super::milliseconds;
use crate::fleet::Hub;
use crate::samples::Samples;

/// Edges, connected or not.
pub(super) struct Edges {
    /// Those that are not connected.
    away: Vec<Edge>,
    sessions: JoinSet<anyhow::Result<Edge>>,
    open: Arc<Mutex<Vec<quinn::Connection>>>,
    arrivals: Arc<Arrivals>,
}

/// How edges came.
pub(super) struct Came {
    /// Seconds from the first that dialled until the last was in sync.
    pub(super) last: f64,
    /// Milliseconds from dialling to in sync, of each.
    pub(super) each: Samples,
}

impl Edges {
    /// Edges that hold nothing and are not connected.
    pub(super) fn new(members: Vec<Member>) -> anyhow::Result<Self> {
        let away = members.into_iter().map(Edge::new).collect::<anyhow::Result<_>>()?;
        Ok(Self { away, sessions: JoinSet::new(), open: Arc::default(), arrivals: Arc::default() })
    }

    /// Takes so many edges out that are not connected.
    pub(super) fn part(&mut self, edges: usize) -> Vec<Edge> {
        self.away.split_off(self.away.len() - edges)
    }

    /// Lets all connect at times spread over `ramp` to a hub that nobody writes to, and waits until all
    /// are in sync.
    pub(super) async fn come(&mut self, hub: &mut Hub, ramp: Duration) -> anyhow::Result<Came> {
        self.arrivals.start_over(hub.events().await?);
        let hub = hub.quic();
        let (started, mut spread) = (Instant::now(), Spread(SPREAD_SEED));
        for mut edge in std::mem::take(&mut self.away) {
            let (arrivals, open) = (Arc::clone(&self.arrivals), Arc::clone(&self.open));
            let pause = ramp.mul_f64(spread.next());
            self.sessions.spawn(async move {
                sleep(pause).await;
                let dialled = Instant::now();
                let connection = edge.member.connect(hub).await?;
                open.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
                edge.session(&connection, Manner::Prompt, dialled, &arrivals).await?;
                Ok(edge)
            });
        }
        let synced = self.arrivals.all_synced(self.sessions.len()).await?;
        let last = synced.iter().map(|(_, at)| *at).max().unwrap_or(started);
        Ok(Came {
            last: last.saturating_duration_since(started).as_secs_f64(),
            each: synced.into_iter().map(|(dialled, at)| milliseconds(dialled, at)).collect(),
        })
    }

    /// Closes every connection.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        open.iter().for_each(|connection| connection.close(0u32.into(), b"the link is gone"));
        while let Some(left) = self.sessions.join_next().await {
            self.away.push(left??);
        }
        Ok(())
    }

    /// Looks out for edges that hold so many events of profiles.
    pub(super) fn look_out_for(&self, events: u64) {
        self.arrivals.look_out_for(events);
    }

    /// When each connected edge held them; waits for the last.
    pub(super) async fn all_reached(&self) -> anyhow::Result<Vec<Instant>> {
        self.arrivals.all_reached(self.sessions.len()).await
    }
}

/// Any will do; the same in every run.
const SPREAD_SEED: u64 = 0x5eed;

/// When edges come: independent of each other and uniformly spread (splitmix64).
struct Spread(u64);

impl Spread {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
    }
}
