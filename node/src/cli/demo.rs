//! `demo`: a real fleet on this machine.

use clap::Args;

use super::failure::Failure;

/// Run a fleet on this machine, to try things out
#[derive(Debug, Args)]
pub struct Demo {
    /// How many regions, with a hub each
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub regions: usize,
}

impl Demo {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        Err(Failure::Demo("not yet".to_owned()))
    }
}
