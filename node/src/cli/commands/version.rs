//! `version`: what runs here and there.

use clap::Args;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;

/// Show the versions of this program and of the node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless version
  driftless version --client")]
pub struct Version {
    /// Only this program's
    #[arg(long)]
    pub client: bool,
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Version {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let ours = env!("CARGO_PKG_VERSION");
        if output.wants_table() {
            print::out(&format!("Client Version: v{ours}\n"))?;
        }
        let mut answer = json!({"clientVersion": {"gitVersion": format!("v{ours}")}});
        if !self.client {
            let theirs = Session::open(global)?.get(&Query::new("/version")).await?;
            if output.wants_table() {
                print::out(&format!(
                    "Server Version: {}\n",
                    theirs["gitVersion"].as_str().unwrap_or("unknown")
                ))?;
            }
            answer["serverVersion"] = theirs;
        }
        match output.wants_table() {
            true => Ok(()),
            false => print::out(&render_objects(&[answer], true, &output, false)?),
        }
    }
}
