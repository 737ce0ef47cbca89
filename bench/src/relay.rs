//! A UDP relay between one edge and its hub that counts what passes, as a link would carry it, and holds
//! it back as one would if asked.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// An IPv4 and a UDP header, which every datagram has on a wire.
const HEADER_BYTES: u64 = 28;
/// What waits for a link longer than this is dropped, as by a modem whose buffer is full.
const BUFFER: Duration = Duration::from_secs(1);

/// What a link carries each way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) kbit_per_second: u64,
    pub(crate) latency: Duration,
}

/// What passed since the relay was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    /// Bytes to the hub, headers included.
    pub(crate) up: u64,
    /// Bytes to the edge, headers included.
    pub(crate) down: u64,
    /// Datagrams either way.
    pub(crate) datagrams: u64,
    /// Datagrams for which the link had no room, either way; not among those that passed.
    pub(crate) dropped: u64,
}

impl Passed {
    /// What passed since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            up: self.up - earlier.up,
            down: self.down - earlier.down,
            datagrams: self.datagrams - earlier.datagrams,
            dropped: self.dropped - earlier.dropped,
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
    dropped: AtomicU64,
    /// Where the edge sends from; the last one counts, as after a restart.
    edge: Mutex<Option<SocketAddr>>,
}

impl Relay {
    /// Opens a relay to the hub at `hub`, which holds nothing back.
    pub(crate) fn open(hub: SocketAddr) -> anyhow::Result<Self> {
        Self::over(hub, None)
    }

    /// Opens a relay to the hub at `hub` over a link, if one is given.
    pub(crate) fn over(hub: SocketAddr, link: Option<Link>) -> anyhow::Result<Self> {
        let to_edge = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to_hub = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        to_hub.connect(hub)?;
        let (address, counters) = (to_edge.local_addr()?, Arc::new(Counters::default()));
        let up = Way { from: to_edge.try_clone()?, to: to_hub.try_clone()?, is_up: true };
        let down = Way { from: to_hub, to: to_edge, is_up: false };
        for (name, way) in [("relay-up", up), ("relay-down", down)] {
            let counters = Arc::clone(&counters);
            thread::Builder::new().name(name.to_owned()).spawn(move || way.carry(link, &counters))?;
        }
        Ok(Self { address, counters })
    }

    /// Where an edge dials.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed.
    pub(crate) fn passed(&self) -> Passed {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { up, down, datagrams, dropped, .. } = &*self.counters;
        Passed { up: of(up), down: of(down), datagrams: of(datagrams), dropped: of(dropped) }
    }
}

/// One direction of a relay.
struct Way {
    from: UdpSocket,
    to: UdpSocket,
    is_up: bool,
}

impl Way {
    /// Carries datagrams until the process ends: the link takes one after the other, each in the time that its
    /// bytes need, and each arrives a latency later.
    fn carry(self, link: Option<Link>, counters: &Arc<Counters>) {
        let mut buffer = vec![0; 65_536];
        let delayed = link.map(|_| self.delayed(Arc::clone(counters)));
        let mut free_at = Instant::now();
        loop {
            let Ok((bytes, sender)) = self.from.recv_from(&mut buffer) else { continue };
            if self.is_up {
                *counters.edge.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
            }
            let on_wire = bytes as u64 + HEADER_BYTES;
            let now = Instant::now();
            free_at = free_at.max(now);
            if free_at - now > BUFFER {
                counters.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let way = if self.is_up { &counters.up } else { &counters.down };
            way.fetch_add(on_wire, Ordering::Relaxed);
            counters.datagrams.fetch_add(1, Ordering::Relaxed);
            match (link, &delayed) {
                (Some(link), Some(delayed)) => {
                    free_at += Duration::from_micros(on_wire * 8_000 / link.kbit_per_second);
                    let _ = delayed.send((free_at + link.latency, buffer[..bytes].to_vec()));
                }
                _ => send(&self.to, self.is_up, &buffer[..bytes], counters),
            }
        }
    }

    /// A thread that sends each datagram when its time has come.
    fn delayed(&self, counters: Arc<Counters>) -> mpsc::Sender<(Instant, Vec<u8>)> {
        let (queue, queued) = mpsc::channel::<(Instant, Vec<u8>)>();
        let to = self.to.try_clone().expect("a socket can be cloned");
        let is_up = self.is_up;
        thread::spawn(move || {
            for (at, datagram) in queued {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                send(&to, is_up, &datagram, &counters);
            }
        });
        queue
    }
}

/// A datagram that the next socket refuses is lost, as on any link; QUIC sends it again.
fn send(to: &UdpSocket, is_up: bool, datagram: &[u8], counters: &Counters) {
    let _ = match (is_up, *counters.edge.lock().unwrap_or_else(PoisonError::into_inner)) {
        (true, _) => to.send(datagram),
        (false, Some(edge)) => to.send_to(datagram, edge),
        (false, None) => return,
    };
}
