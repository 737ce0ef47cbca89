//! `edge`: runs an edge.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::settings::{self, Daemon};
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::session::data_dir;
use crate::daemon::{EdgeOptions, run_edge};

/// Run an edge
///
/// The first start joins a fleet with a token. Later starts need only the data directory, and no other node. When it
/// serves it prints one line on standard error: ready api=URL quic=ADDR node=NAME. SIGTERM lets it finish what it
/// does, then it ends with 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless edge --data-dir edge --join @token
  driftless edge --data-dir edge --render /etc/pos --on-change 'systemctl reload pos'
  driftless edge --data-dir edge --inventory-command 'kubectl get nodes -o json' --inventory-every 5m
  driftless edge --config /etc/driftless/edge.toml

A setting comes from its flag, else from DRIFTLESS_…, else from the file, whose keys are the flags' names.")]
pub struct Edge {
    /// The site, at the first start; what the token names unless given
    #[arg(long, value_name = "NAME", env = "DRIFTLESS_SITE")]
    pub site: Option<String>,
    /// The node's name within its site, at the first start; the host's unless given
    #[arg(long, value_name = "NAME", env = "DRIFTLESS_NODE")]
    pub node: Option<String>,
    /// A join token, as @FILE, at the first start
    #[arg(long, value_name = "@FILE", env = "DRIFTLESS_JOIN", hide_env_values = true)]
    pub join: Option<String>,
    /// HOST:PORT of a hub, instead of those that the token named; may be repeated
    #[arg(long = "hub", value_name = "ADDR", env = "DRIFTLESS_HUB", value_delimiter = ',')]
    pub hubs: Vec<String>,
    /// HOST:PORT of another node of the site, to share one uplink with; may be repeated
    #[arg(long = "peer", value_name = "ADDR", env = "DRIFTLESS_PEER", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Where to listen for QUIC from nodes of the site; port 0 takes a free one [default: 0.0.0.0:0]
    #[arg(long, value_name = "ADDR", env = "DRIFTLESS_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Keep the configuration in this directory as config.json, config.yaml, config.env, config.hash
    #[arg(long, value_name = "DIR", env = "DRIFTLESS_RENDER")]
    pub render: Option<PathBuf>,
    /// Run this after the configuration changed
    #[arg(long, value_name = "CMD", env = "DRIFTLESS_ON_CHANGE")]
    pub on_change: Option<String>,
    /// How long that may take [default: 60s]
    #[arg(long, value_name = "TIME", env = "DRIFTLESS_ON_CHANGE_TIMEOUT")]
    pub on_change_timeout: Option<String>,
    /// Run this for the site's machines: it prints Machines, or a Kubernetes NodeList
    #[arg(long, value_name = "CMD", env = "DRIFTLESS_INVENTORY_COMMAND")]
    pub inventory_command: Option<String>,
    /// How often [default: 60s]
    #[arg(long, value_name = "TIME", env = "DRIFTLESS_INVENTORY_EVERY")]
    pub inventory_every: Option<String>,
    /// What hubs and edges are told alike.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// The file of an edge's settings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    site: Option<String>,
    node: Option<String>,
    join: Option<String>,
    hub: Option<Vec<String>>,
    peer: Option<Vec<String>>,
    listen: Option<SocketAddr>,
    api: Option<SocketAddr>,
    render: Option<PathBuf>,
    on_change: Option<String>,
    on_change_timeout: Option<String>,
    inventory_command: Option<String>,
    inventory_every: Option<String>,
    rate_limit: Option<NonZeroU64>,
    scrub_within: Option<String>,
}

impl Edge {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let options = self.options(global)?;
        run_edge(options).await.map_err(|error| super::daemon_failure(&error))
    }

    fn options(self, global: &Global) -> Result<EdgeOptions, Failure> {
        let file: File = settings::read(self.daemon.config.as_deref())?;
        let dir = global.data_dir.clone().or(file.data_dir).unwrap_or_else(|| data_dir(global));
        let usual = EdgeOptions::new(settings::absolute(dir));
        let timeout = self.on_change_timeout.or(file.on_change_timeout);
        let every = self.inventory_every.or(file.inventory_every);
        let scrub_within = self.daemon.scrub_within.or(file.scrub_within);
        Ok(EdgeOptions {
            site: self.site.or(file.site),
            node: self.node.or(file.node),
            join: settings::join_token(self.join.or(file.join), &usual.data_dir)?,
            hubs: settings::list(self.hubs, file.hub),
            peers: settings::list(self.peers, file.peer),
            listen: self.listen.or(file.listen).unwrap_or(usual.listen),
            api: self.daemon.api.or(file.api).unwrap_or(usual.api),
            render: self.render.or(file.render).map(settings::absolute),
            on_change: self.on_change.or(file.on_change),
            on_change_timeout: settings::duration("on-change-timeout", timeout, usual.on_change_timeout)?,
            inventory_command: self.inventory_command.or(file.inventory_command),
            inventory_every: settings::duration("inventory-every", every, usual.inventory_every)?,
            rate_limit: self.daemon.rate_limit.or(file.rate_limit),
            scrub_within: settings::duration("scrub-within", scrub_within, usual.scrub_within)?,
            exit_with_stdin: self.daemon.exit_with_stdin,
            data_dir: usual.data_dir,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use crate::cli::args::{Cli, Command};

    #[test]
    fn an_edge_is_told_everything_by_flags() {
        let line = "driftless edge --data-dir /d --hub a:1,b:2 --hub c:3 --render out --inventory-every 5m --rate-limit 6250 --exit-with-stdin";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Edge(edge) = cli.command else { panic!() };
        let options = edge.options(&cli.global).unwrap();
        assert_eq!(options.hubs, ["a:1", "b:2", "c:3"]);
        assert!(options.render.unwrap().is_absolute());
        assert_eq!(options.inventory_every.as_secs(), 300);
        assert_eq!(options.rate_limit.unwrap().get(), 6_250);
        assert!(options.exit_with_stdin);
    }
}
