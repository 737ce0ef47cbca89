//! Peers that are slow, stuck or hostile, and what the others notice of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::arrivals::Arrivals;
use super::edge::{Edge, Manner, Member};
use super::edges::Edges;
use super::{Sizes, one_at_a_time};
use crate::fleet::Hub;
use crate::plot::Plot;
use crate::report::Section;
use crate::samples::Samples;

/// A slow peer takes one delivery in this time.
const SLOW: Duration = Duration::from_millis(500);
/// A hostile peer comes again after this time.
const AGAIN: Duration = Duration::from_millis(50);
/// What a hostile peer says: a frame's length, and then nothing that is a frame.
const NONSENSE: [u8; 4_096] = [0x01; 4_096];

/// Measures changes with well-behaved edges alone and beside others, round after round.
pub(super) async fn measure(
    section: &mut Section,
    hub: &mut Hub,
    mut edges: Edges,
    sizes: Sizes,
) -> anyhow::Result<()> {
    let mut bad = edges.part(sizes.bad);
    edges.part(sizes.edges - sizes.bad - sizes.watched);
    let (mut alone, mut beside, mut ratios) = (vec![], vec![], vec![]);
    edges.come(hub, sizes.ramp).await?;
    for _ in 0..sizes.rounds {
        let quiet = one_at_a_time(hub, &edges, sizes.changes).await?.each;
        let members: Vec<Member> = bad.iter().map(|edge| edge.member.clone()).collect();
        let misbehaving = misbehave(bad, hub.quic());
        sleep(sizes.calm).await;
        let troubled = one_at_a_time(hub, &edges, sizes.changes).await?.each;
        drop(misbehaving);
        sleep(sizes.calm).await;
        bad = members.into_iter().map(Edge::new).collect::<anyhow::Result<_>>()?;
        if let (Some(quiet), Some(troubled)) = (quiet.percentile(99.0), troubled.percentile(99.0)) {
            ratios.push(troubled / quiet);
        }
        alone.push(quiet);
        beside.push(troubled);
    }
    edges.leave().await?;
    let (alone, beside): (Samples, Samples) = (alone.iter().collect(), beside.iter().collect());
    let what = format!("{} edges, a change held by one", sizes.watched);
    section.spread(&format!("{what}, alone"), &alone, "ms");
    section.spread(&format!("{what}, beside {} slow, stuck and hostile peers", sizes.bad), &beside, "ms");
    section.rounds(format!("{what}, p99 beside them / alone"), &ratios.into_iter().collect(), "x");
    section.plot(Plot::percentiles(
        "bad-peers",
        &format!("One change, {} edges, without and with {} bad peers", sizes.watched, sizes.bad),
        "ms",
        &[("alone", &alone), ("beside slow, stuck and hostile peers", &beside)],
    ));
    Ok(())
}

/// Lets a third of the peers be slow, a third stuck, and a third hostile, until what this returns is
/// dropped.
fn misbehave(peers: Vec<Edge>, hub: SocketAddr) -> JoinSet<anyhow::Result<()>> {
    let (mut tasks, nobody) = (JoinSet::new(), Arc::new(Arrivals::default()));
    for (number, mut edge) in peers.into_iter().enumerate() {
        let nobody = Arc::clone(&nobody);
        let manner = if number % 3 == 0 { Manner::Slow(SLOW) } else { Manner::Stuck };
        match number % 3 {
            0 | 1 => tasks.spawn(async move {
                let connection = edge.member.connect(hub).await?;
                edge.session(&connection, manner, Instant::now(), &mut false, &nobody).await
            }),
            _ => tasks.spawn(hostile(edge.member, hub)),
        };
    }
    tasks
}

/// Connects, says what is no frame, is shown out, and comes again.
async fn hostile(member: Member, hub: SocketAddr) -> anyhow::Result<()> {
    loop {
        let connection = member.connect(hub).await?;
        let (mut send, _receive) = connection.open_bi().await?;
        // The hub may well have hung up half-way.
        let _ = send.write_all(&NONSENSE).await;
        connection.closed().await;
        sleep(AGAIN).await;
    }
}
