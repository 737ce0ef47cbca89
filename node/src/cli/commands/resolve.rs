//! `resolve`: what a site should run.

use clap::Args;
use driftless_core::name::Kind;
use serde_json::json;

use super::manifests::read;
use crate::cli::args::Files;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::parse_of_kind;
use crate::cli::session::Session;

/// Show what a site should run: its values and applications
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless resolve site/store-17
  driftless resolve site/store-17 -o json
  driftless resolve site/store-17 -o jsonpath='{.configHash}'
  driftless resolve site/store-17 --with new-profile.yaml
  driftless resolve site/store-17 --at 2026-11-25T14:00:00Z

--at asks what the events that this node holds came to then, by the clocks of their authors; an error says so where a
checkpoint took away what it needs.")]
pub struct Resolve {
    /// site/NAME
    pub site: String,
    /// yaml, json, jsonpath=TEMPLATE or custom-columns=HEADER:PATH,…
    #[arg(long, short, value_name = "FORM", default_value = "yaml")]
    pub output: String,
    /// As it was: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub at: Option<String>,
    /// As if these manifests were applied; may be repeated
    #[arg(long, value_name = "FILE")]
    pub with: Vec<String>,
}

impl Resolve {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(&self.output).map_err(|error| Failure::Usage(error.to_string()))?;
        if output.wants_table() || output == Output::Name {
            return Err(Failure::Usage(
                "what a site runs is shown as yaml, json, jsonpath or custom-columns".to_owned(),
            ));
        }
        let site = parse_of_kind(&self.site, Kind::Site)?;
        let mut body = json!({"site": site, "namespace": session.namespace});
        if !self.with.is_empty() {
            let files = Files { filenames: self.with, recursive: false };
            let manifests = read(&files, &session.namespace)?;
            body["with"] = manifests.into_iter().map(|manifest| manifest.value).collect();
        }
        if let Some(at) = self.at {
            body["at"] = json!(at);
        }
        let answer = session.post(&Query::new("/v1/resolve"), &body).await?;
        print::out(&render_objects(&[answer], true, &output, false)?)
    }
}
