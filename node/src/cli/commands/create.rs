//! `create` and `replace`: send manifests as they are.

use clap::Args;

use super::manifests::{each, read};
use crate::cli::args::{Files, Intent, Limit};
use crate::cli::failure::Failure;
use crate::cli::session::Session;

/// Create resources from manifests; what exists already is refused
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless create -f site.yaml
  driftless create -f override.yaml --reason 'INC-42 second till'")]
pub struct Create {
    /// Where manifests are.
    #[command(flatten)]
    pub files: Files,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

impl Create {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let manifests = read(&self.files, &session.namespace)?;
        each(&manifests, async |manifest| {
            session.post(&self.limit.on(self.intent.on(manifest.collection())), &manifest.value).await?;
            Ok(format!("{} created{}", manifest.reported(), self.intent.suffix()))
        })
        .await
    }
}

/// Replace resources by what manifests say, whole
///
/// A manifest with metadata.resourceVersion replaces that version only: if somebody changed the resource since,
/// the node refuses.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless get profile/store-base -o yaml > profile.yaml
  driftless replace -f profile.yaml")]
pub struct Replace {
    /// Where manifests are.
    #[command(flatten)]
    pub files: Files,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

impl Replace {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let manifests = read(&self.files, &session.namespace)?;
        each(&manifests, async |manifest| {
            session.put(&self.limit.on(self.intent.on(manifest.path())), &manifest.value).await?;
            Ok(format!("{} replaced{}", manifest.reported(), self.intent.suffix()))
        })
        .await
    }
}
