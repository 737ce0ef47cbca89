//! `revoke`: ends the authority of keys.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;

/// Revoke the keys of a site's nodes or of a hub, everywhere
///
/// To be run at the hub that holds the fleet's authority. What the keys wrote and that hub holds stands;
/// everything else that they wrote or will write counts nowhere, also where the revocation arrives late. Nodes
/// end their sessions with them. It cannot be undone: a machine that is to come back joins anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless revoke --site store-17 --reason 'stolen'
  driftless revoke --site store-17 --node pos-1
  driftless revoke --hub hub-us-1
  driftless revoke --key 31f1cf94e4a3... --nothing-stands
  driftless get revocations")]
pub struct Revoke {
    /// A site: all its nodes, unless --node names one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["hub", "key"], required_unless_present_any = ["hub", "key"])]
    pub site: Option<String>,
    /// One node of the site
    #[arg(long, value_name = "NAME", requires = "site")]
    pub node: Option<String>,
    /// A hub
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    pub hub: Option<String>,
    /// A key, in hex
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Let nothing stand that they ever wrote
    #[arg(long)]
    pub nothing_stands: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

impl Revoke {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut request = json!({"nothingStands": self.nothing_stands, "reason": self.reason});
        if self.site.is_some() {
            request["namespace"] = json!(session.namespace);
        }
        let names = [("site", self.site), ("node", self.node), ("hub", self.hub), ("key", self.key)];
        for (name, value) in names.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            request[name] = json!(value);
        }
        let lines = revoke(session, &request).await?;
        print::out(&format!("{}\n", lines.join("\n")))
    }
}

/// Has keys revoked and says which, a line each.
pub(super) async fn revoke(session: &Session, request: &Value) -> Result<Vec<String>, Failure> {
    let answer = session.post(&Query::new("/v1/revoke"), request).await?;
    let line = |revoked: &Value| {
        let text = |name: &str| revoked[name].as_str().unwrap_or("?").to_owned();
        let stands = revoked["eventsThatStand"].as_u64().unwrap_or_default();
        format!("{} revoked as {}; {stands} events of it stand", text("node"), text("revocation"))
    };
    Ok(answer["revoked"].as_array().into_iter().flatten().map(line).collect())
}
