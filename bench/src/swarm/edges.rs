//! All edges of the swarm: they come together and leave together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::arrivals::Arrivals;
use super::edge::{Edge, Manner, Member, PAUSE};
use super::milliseconds;
use crate::fleet::Hub;
use crate::samples::Samples;

/// Edges, connected or not.
pub(super) struct Edges {
    /// Those that are not connected.
    away: Vec<Edge>,
    sessions: JoinSet<anyhow::Result<Edge>>,
    links: Arc<Links>,
    arrivals: Arc<Arrivals>,
}

/// The connections of all edges.
#[derive(Debug, Default)]
struct Links(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    connections: Vec<quinn::Connection>,
    /// Connections that ended though their edge had not left.
    lost: u64,
    /// Nobody connects any more.
    leaving: bool,
}

impl Links {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How edges came.
pub(super) struct Came {
    /// Seconds from the first that dialled until the last was in sync.
    pub(super) last: f64,
    /// Milliseconds from dialling to in sync, of each.
    pub(super) each: Samples,
    /// Connections that the hub, or a timer, ended before all were in sync; their edges came again.
    pub(super) lost: u64,
}

impl Edges {
    /// Edges that hold nothing and are not connected.
    pub(super) fn new(members: Vec<Member>) -> anyhow::Result<Self> {
        let away = members.into_iter().map(Edge::new).collect::<anyhow::Result<_>>()?;
        Ok(Self { away, sessions: JoinSet::new(), links: Arc::default(), arrivals: Arc::default() })
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
            let (arrivals, links) = (Arc::clone(&self.arrivals), Arc::clone(&self.links));
            let pause = ramp.mul_f64(spread.next());
            self.sessions.spawn(async move {
                sleep(pause).await;
                let dialled = Instant::now();
                keep_link(&mut edge, hub, dialled, &links, &arrivals).await?;
                Ok(edge)
            });
        }
        let synced = self.arrivals.all_synced(self.sessions.len()).await?;
        let last = synced.iter().map(|(_, at)| *at).max().unwrap_or(started);
        Ok(Came {
            last: last.saturating_duration_since(started).as_secs_f64(),
            each: synced.into_iter().map(|(dialled, at)| milliseconds(dialled, at)).collect(),
            lost: self.links.open().lost,
        })
    }

    /// Closes every connection.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        let connections = {
            let mut open = self.links.open();
            open.leaving = true;
            std::mem::take(&mut open.connections)
        };
        connections.iter().for_each(|connection| connection.close(0u32.into(), b"the link is gone"));
        while let Some(left) = self.sessions.join_next().await {
            self.away.push(left??);
        }
        *self.links.open() = Open::default();
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

/// Connects, and again whenever the connection is lost, as a node does, until all leave.
async fn keep_link(
    edge: &mut Edge,
    hub: SocketAddr,
    dialled: Instant,
    links: &Links,
    arrivals: &Arrivals,
) -> anyhow::Result<()> {
    let mut was_in_sync = false;
    loop {
        let connection = edge.member.connect(hub).await?;
        {
            let mut open = links.open();
            if open.leaving {
                return Ok(());
            }
            open.connections.push(connection.clone());
        }
        edge.session(&connection, Manner::Prompt, dialled, &mut was_in_sync, arrivals).await?;
        {
            let mut open = links.open();
            if open.leaving {
                return Ok(());
            }
            open.lost += 1;
        }
        sleep(PAUSE).await;
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
