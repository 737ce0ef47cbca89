//! `authority`: moves the fleet's authority off a hub and back, with the hub's data directory at hand.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::session::data_dir;
use crate::identity::NodeIdentity;

/// Keep the fleet's authority offline: export it from a hub, import it again
///
/// The authority signs hubs, and nothing else; a fleet runs without it. Works on the hub's data directory.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  driftless authority export authority.key --remove --data-dir hub
  driftless authority import authority.key --data-dir hub")]
pub enum Authority {
    /// Write the authority's key to a file that only its owner can read
    Export {
        /// The file; it must not exist
        file: PathBuf,
        /// Remove the key from the hub once the file is durable
        #[arg(long)]
        remove: bool,
    },
    /// Give the authority's key to a hub
    Import {
        /// The file; it stays
        file: PathBuf,
    },
}

impl Authority {
    pub(in crate::cli) fn run(self, global: &Global) -> Result<(), Failure> {
        let dir = data_dir(global);
        let mut node = NodeIdentity::load(&dir)?;
        match self {
            Self::Export { file, remove } => {
                node.export_authority(&dir, &file, remove)?;
                let where_now = match remove {
                    true => "it is no longer on this hub: restart the hub, and keep the file safe",
                    false => "it is on this hub as well; --remove takes it away",
                };
                print::note(&format!(
                    "the authority of fleet {} is in {}; {where_now}",
                    node.fleet,
                    file.display()
                ));
            }
            Self::Import { file } => {
                node.import_authority(&dir, &file)?;
                print::note(&format!(
                    "hub {} has the authority of fleet {}; restart it",
                    node.display_name(),
                    node.fleet
                ));
            }
        }
        Ok(())
    }
}
