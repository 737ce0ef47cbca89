//! What the two daemons are told at their start.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// The UDP port of QUIC.
pub const QUIC_PORT: u16 = 7420;
/// The TCP port of the API, on loopback.
pub const API_PORT: u16 = 7421;
/// Within which time the whole store is read back, unless given.
pub const SCRUB_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// How to run a hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Where identity and store are kept; created at the first start.
    pub data_dir: PathBuf,
    /// The hub's name, at the first start; the host's unless given.
    pub name: Option<String>,
    /// The region that it serves, at the first start.
    pub region: String,
    /// Where to listen for QUIC; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Addresses (`host:port`) by which others reach it; the listening address unless given.
    pub advertise: Vec<String>,
    /// Where to serve the API; port 0 takes a free one.
    pub api: SocketAddr,
    /// A join token, at the first start; without one the hub creates a fleet.
    pub join: Option<String>,
    /// Most bytes a second that are sent to one peer, on average; what the link carries unless given.
    pub rate_limit: Option<NonZeroU64>,
    /// Within which time the whole store is read back and compared with what it should hold.
    pub scrub_within: Duration,
    /// Stop when standard input ends, as children of the demo do.
    pub exit_with_stdin: bool,
}

impl HubOptions {
    /// A hub with the default ports, in region `default`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: None,
            region: "default".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, QUIC_PORT)),
            advertise: vec![],
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)),
            join: None,
            rate_limit: None,
            scrub_within: SCRUB_WITHIN,
            exit_with_stdin: false,
        }
    }
}

/// How to run an edge.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// Where identity and store are kept; created at the first start.
    pub data_dir: PathBuf,
    /// The site, at the first start; what the token names unless given.
    pub site: Option<String>,
    /// The node's name within the site, at the first start; the host's unless given.
    pub node: Option<String>,
    /// A join token, at the first start.
    pub join: Option<String>,
    /// Addresses of hubs (`host:port`), instead of those that the token named and the fleet knows.
    pub hubs: Vec<String>,
    /// Addresses of other nodes of the site.
    pub peers: Vec<String>,
    /// Where to listen for QUIC from nodes of the site; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to serve the API; port 0 takes a free one.
    pub api: SocketAddr,
    /// Directory for the effective configuration as files.
    pub render: Option<PathBuf>,
    /// Command to run after the configuration changed.
    pub on_change: Option<String>,
    /// How long that command may take.
    pub on_change_timeout: Duration,
    /// Command that prints the site's machines.
    pub inventory_command: Option<String>,
    /// How often to run it.
    pub inventory_every: Duration,
    /// Most bytes a second that are sent to one peer, on average; what the link carries unless given.
    pub rate_limit: Option<NonZeroU64>,
    /// Within which time the whole store is read back and compared with what it should hold.
    pub scrub_within: Duration,
    /// Stop when standard input ends, as children of the demo do.
    pub exit_with_stdin: bool,
}

impl EdgeOptions {
    /// An edge with the default API port that does nothing with its configuration but serve it.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            site: None,
            node: None,
            join: None,
            hubs: vec![],
            peers: vec![],
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)),
            render: None,
            on_change: None,
            on_change_timeout: Duration::from_secs(60),
            inventory_command: None,
            inventory_every: Duration::from_secs(60),
            rate_limit: None,
            scrub_within: SCRUB_WITHIN,
            exit_with_stdin: false,
        }
    }
}
