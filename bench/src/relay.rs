//! A UDP relay between one edge and its hub that counts what passes, as a link would carry it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// An IPv4 and a UDP header, which every datagram has on a wire.
const HEADER_BYTES: u64 = 28;

/// What passed since the relay was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    /// Bytes to the hub, headers included.
    pub(crate) up: u64,
    /// Bytes to the edge, headers included.
    pub(crate) down: u64,
    /// Datagrams either way.
    pub(crate) datagrams: u64,
}

impl Passed {
    /// What passed since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            up: self.up - earlier.up,
            down: self.down - earlier.down,
            datagrams: self.datagrams - earlier.datagrams,
        }
    }

    /// Bytes both ways.
    pub(crate) fn bytes(self) -> u64 {
        self.up + self.down
    }
}

/// Runs until the process ends.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    datagrams: AtomicU64,
    /// Where the edge sends from; the last one counts, as after a restart.
    edge: Mutex<Option<SocketAddr>>,
}

impl Relay {
    /// Opens a relay to the hub at `hub`.
    pub(crate) fn open(hub: SocketAddr) -> anyhow::Result<Self> {
        let to_edge = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to_hub = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        to_hub.connect(hub)?;
        let (address, counters) = (to_edge.local_addr()?, Arc::new(Counters::default()));
        let up = (to_edge.try_clone()?, to_hub.try_clone()?, Arc::clone(&counters));
        thread::Builder::new().name("relay-up".to_owned()).spawn(move || carry_up(&up.0, &up.1, &up.2))?;
        let down = Arc::clone(&counters);
        thread::Builder::new()
            .name("relay-down".to_owned())
            .spawn(move || carry_down(&to_hub, &to_edge, &down))?;
        Ok(Self { address, counters })
    }

    /// Where an edge dials.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed.
    pub(crate) fn passed(&self) -> Passed {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { up, down, datagrams, .. } = &*self.counters;
        Passed { up: of(up), down: of(down), datagrams: of(datagrams) }
    }
}

/// A datagram that the next socket refuses is lost, as on any link; QUIC sends it again.
fn carry_up(from: &UdpSocket, to: &UdpSocket, counters: &Counters) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((bytes, edge)) = from.recv_from(&mut buffer) else { continue };
        *counters.edge.lock().unwrap_or_else(PoisonError::into_inner) = Some(edge);
        counters.up.fetch_add(bytes as u64 + HEADER_BYTES, Ordering::Relaxed);
        counters.datagrams.fetch_add(1, Ordering::Relaxed);
        let _ = to.send(&buffer[..bytes]);
    }
}

fn carry_down(from: &UdpSocket, to: &UdpSocket, counters: &Counters) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(bytes) = from.recv(&mut buffer) else { continue };
        let edge = *counters.edge.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(edge) = edge else { continue };
        counters.down.fetch_add(bytes as u64 + HEADER_BYTES, Ordering::Relaxed);
        counters.datagrams.fetch_add(1, Ordering::Relaxed);
        let _ = to.send_to(&buffer[..bytes], edge);
    }
}
