//! `site`: what concerns the machines of a site as a whole.

use clap::Subcommand;
use serde_json::json;

use super::revoke::revoke;
use super::token::Create;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::session::Session;

/// Replace the machines of a site
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  driftless site replace store-17 > token
  driftless edge --data-dir edge --join @token     on the new machine")]
pub enum Site {
    /// Revoke the keys of a site's nodes, and mint a token for the new machine; the token alone is printed on
    /// standard output
    Replace {
        /// The site
        name: String,
        /// How many nodes may join with the token
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// How long the token is valid
        #[arg(long, value_name = "TIME", default_value = "24h")]
        ttl: String,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "the machine was replaced")]
        reason: String,
    },
}

impl Site {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::Replace { name, uses, ttl, reason } = self;
        let request = json!({"site": name, "namespace": session.namespace, "reason": reason});
        let revoked = revoke(session, &request).await?;
        for line in revoked {
            print::note(&line);
        }
        Create::of_site(name, uses, ttl).run(session).await
    }
}
