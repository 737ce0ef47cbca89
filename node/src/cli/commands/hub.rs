//! `hub`: runs a hub.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::settings::{self, Daemon};
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::session::data_dir;
use crate::daemon::{HubOptions, run_hub};

/// Run a hub
///
/// The first start creates a fleet and its authority, or joins one with a hub's token. Later starts need only the
/// data directory. When it serves it prints one line on standard error: ready api=URL quic=ADDR node=NAME.
/// SIGTERM lets it finish what it does, then it ends with 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless hub --data-dir hub --name eu-1 --region eu
  driftless hub --data-dir us --name us-1 --region us --join @token --listen 0.0.0.0:7520 --api 127.0.0.1:7521
  driftless hub --config /etc/driftless/hub.toml

A setting comes from its flag, else from DRIFTLESS_…, else from the file, whose keys are the flags' names.")]
pub struct Hub {
    /// The hub's name, at the first start; the host's unless given
    #[arg(long, value_name = "NAME", env = "DRIFTLESS_NAME")]
    pub name: Option<String>,
    /// The region that it serves, at the first start [default: default]
    #[arg(long, value_name = "NAME", env = "DRIFTLESS_REGION")]
    pub region: Option<String>,
    /// Where to listen for QUIC; port 0 takes a free one [default: 0.0.0.0:7420]
    #[arg(long, value_name = "ADDR", env = "DRIFTLESS_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// HOST:PORT by which others reach it; may be repeated [default: where it listens]
    #[arg(long, value_name = "ADDR", env = "DRIFTLESS_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<String>,
    /// A join token, as @FILE; without one the first start creates a fleet
    #[arg(long, value_name = "@FILE", env = "DRIFTLESS_JOIN", hide_env_values = true)]
    pub join: Option<String>,
    /// What hubs and edges are told alike.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// The file of a hub's settings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    name: Option<String>,
    region: Option<String>,
    listen: Option<SocketAddr>,
    advertise: Option<Vec<String>>,
    api: Option<SocketAddr>,
    join: Option<String>,
    rate_limit: Option<NonZeroU64>,
    scrub_within: Option<String>,
}

impl Hub {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let options = self.options(global)?;
        run_hub(options).await.map_err(|error| super::daemon_failure(&error))
    }

    fn options(self, global: &Global) -> Result<HubOptions, Failure> {
        let file: File = settings::read(self.daemon.config.as_deref())?;
        let dir = global.data_dir.clone().or(file.data_dir).unwrap_or_else(|| data_dir(global));
        let usual = HubOptions::new(settings::absolute(dir));
        let scrub_within = self.daemon.scrub_within.or(file.scrub_within);
        Ok(HubOptions {
            name: self.name.or(file.name),
            region: self.region.or(file.region).unwrap_or(usual.region),
            listen: self.listen.or(file.listen).unwrap_or(usual.listen),
            advertise: settings::list(self.advertise, file.advertise),
            api: self.daemon.api.or(file.api).unwrap_or(usual.api),
            join: settings::join_token(self.join.or(file.join), &usual.data_dir)?,
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

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn options(line: &str) -> Result<HubOptions, Failure> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        match cli.command {
            Command::Hub(hub) => hub.options(&cli.global),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hub.toml");
        std::fs::write(
            &file,
            "data-dir = \"/d\"\nregion = \"eu\"\nname = \"eu-1\"\nadvertise = [\"a:1\"]\nrate-limit = 6250\n",
        )
        .unwrap();
        let read = options(&format!("driftless hub --config {} --name eu-2", file.display())).unwrap();
        assert_eq!(read.data_dir, PathBuf::from("/d"));
        assert_eq!((read.name.as_deref(), read.region.as_str()), (Some("eu-2"), "eu"));
        assert_eq!(read.advertise, ["a:1"]);
        assert_eq!(read.api.port(), 7421);
        assert_eq!(read.rate_limit.map(NonZeroU64::get), Some(6_250));
        std::fs::write(&file, "regoin = \"eu\"\n").unwrap();
        let failure = options(&format!("driftless hub --config {}", file.display())).unwrap_err();
        assert!(failure.to_string().contains("regoin"), "{failure}");
    }
}
