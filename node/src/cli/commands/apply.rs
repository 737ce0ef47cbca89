//! `apply`: makes what is there what a manifest says, and removes what it says no more.

use clap::Args;

use super::manifests::{Manifest, each, read};
use super::three_way;
use crate::cli::args::{Files, Intent};
use crate::cli::failure::Failure;
use crate::cli::session::Session;

/// Make resources what manifests say
///
/// Creates what is missing. Of what is there, changes what the manifest sets otherwise, and removes what the last
/// apply set and the manifest sets no more; what others set stays. All manifests are read before any is sent.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless apply -f profile.yaml
  driftless apply -f policies/ -R --reason 'INC-42 second till'
  cat site.yaml | driftless apply -f -
  driftless apply -f profile.yaml --dry-run")]
pub struct Apply {
    /// Where manifests are.
    #[command(flatten)]
    pub files: Files,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
}

impl Apply {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let manifests = read(&self.files, &session.namespace)?;
        let reason = self.intent.reason.as_deref();
        each(&manifests, async |manifest| {
            let outcome = apply(session, manifest, reason, self.intent.dry_run()).await?;
            Ok(format!("{} {}{}", manifest.reported(), outcome.said(), self.intent.suffix()))
        })
        .await
    }
}

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Applied {
    Created,
    Configured,
    Unchanged,
}

impl Applied {
    pub(in crate::cli) fn said(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Applies one manifest.
pub(in crate::cli) async fn apply(
    session: &Session,
    manifest: &Manifest,
    reason: Option<&str>,
    dry_run: Option<&str>,
) -> Result<Applied, Failure> {
    let wanted = three_way::with_last_applied(&manifest.value);
    let parameters =
        |query: crate::cli::query::Query| query.with_some("reason", reason).with_some("dryRun", dry_run);
    let live = match session.find(&manifest.path()).await? {
        Some(live) => live,
        None => match session.post(&parameters(manifest.collection()), &wanted).await {
            Ok(_) => return Ok(Applied::Created),
            // Somebody was faster: then it is a change of what they made.
            Err(failure) if failure.is_already_there() => session.get(&manifest.path()).await?,
            Err(failure) => return Err(failure),
        },
    };
    match three_way::patch(&live, &wanted) {
        None => Ok(Applied::Unchanged),
        Some(patch) => {
            session.merge_patch(&parameters(manifest.path()), &patch).await?;
            Ok(Applied::Configured)
        }
    }
}
