//! `why` and `why-not`: where a value comes from, and why a profile does not apply.

mod text;

use clap::Args;
use driftless_core::name::Kind;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::parse_of_kind;
use crate::cli::session::Session;

/// Show where a value comes from: layer, object, revision, who wrote it, and what it beat
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless why site/store-17 pos.replicas
  driftless why site/store-17 'labels[\"a.b/c\"]' -o json
  driftless why site/store-17 pos.replicas --at 2026-11-25T14:00:00Z

--at asks what the events that this node holds came to then, by the clocks of their authors.")]
pub struct Why {
    /// site/NAME
    pub site: String,
    /// A path of the site's values, as in pos.replicas
    pub path: String,
    /// As it was: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub at: Option<String>,
    /// yaml, json or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

/// Show why a profile does not apply to a site
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless why-not profile/store-base site/depot-3
  driftless why-not profile/store-base site/depot-3 --at 2h")]
pub struct WhyNot {
    /// profile/NAME
    pub profile: String,
    /// site/NAME
    pub site: String,
    /// As it was: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub at: Option<String>,
    /// yaml, json or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Why {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let site = parse_of_kind(&self.site, Kind::Site)?;
        let path = Query::new("/v1/why").with("site", &site).with("namespace", &session.namespace);
        let path = path.with("path", &self.path).with_some("at", self.at.as_deref());
        show(session, path, self.output.as_deref(), text::why).await
    }
}

impl WhyNot {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let profile = parse_of_kind(&self.profile, Kind::Profile)?;
        let site = parse_of_kind(&self.site, Kind::Site)?;
        let path = Query::new("/v1/why-not").with("site", &site).with("namespace", &session.namespace);
        let path = path.with("profile", &profile).with_some("at", self.at.as_deref());
        show(session, path, self.output.as_deref(), text::why_not).await
    }
}

async fn show(
    session: &Session,
    path: Query,
    output: Option<&str>,
    for_people: fn(&Value) -> String,
) -> Result<(), Failure> {
    let output =
        Output::parse(output.unwrap_or_default()).map_err(|error| Failure::Usage(error.to_string()))?;
    let answer = session.get(&path).await?;
    match output {
        Output::Table | Output::Wide => print::out(&for_people(&answer)),
        Output::Name => Err(Failure::Usage("a reason has no name; use yaml, json or jsonpath".to_owned())),
        output => print::out(&render_objects(&[answer], true, &output, false)?),
    }
}
