//! `apply`: makes what is there what a manifest says, and removes what it says no more.

use clap::Args;
use driftless_core::name::Kind;
use driftless_core::replica::merge_patch;
use serde_json::Value;

use super::impact::Planned;
use super::manifests::{Manifest, each, read};
use super::three_way;
use crate::cli::args::{Files, Intent, Limit};
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::Resource;
use crate::cli::session::Session;

/// Make resources what manifests say
///
/// Creates what is missing. Of what is there, changes what the manifest sets otherwise, and removes what the last
/// apply set and the manifest sets no more; what others set stays. All manifests are read before any is sent, and none is
/// sent if together they would change what more sites than --max-sites should run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless apply -f profile.yaml
  driftless apply -f policies/ -R --reason 'INC-42 second till'
  driftless apply -f profile.yaml --max-sites 100
  cat site.yaml | driftless apply -f -
  driftless apply -f profile.yaml --dry-run")]
pub struct Apply {
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

impl Apply {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let manifests = read(&self.files, &session.namespace)?;
        if manifests.len() > 1 && self.limit.max_sites().is_some() {
            planned(session, &manifests).await?.check(session, &self.limit).await?;
        }
        let how = How {
            reason: self.intent.reason.as_deref(),
            dry_run: self.intent.dry_run(),
            max_sites: self.limit.max_sites(),
        };
        each(&manifests, async |manifest| {
            let outcome = apply(session, manifest, how).await?;
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

/// What goes along with a write.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct How<'a> {
    pub(in crate::cli) reason: Option<&'a str>,
    pub(in crate::cli) dry_run: Option<&'a str>,
    pub(in crate::cli) max_sites: Option<&'a str>,
}

/// What manifests would change, taken together. What is new among sites runs nothing yet.
async fn planned(session: &Session, manifests: &[Manifest]) -> Result<Planned, Failure> {
    let mut planned = Planned::default();
    for manifest in manifests {
        let wanted = three_way::with_last_applied(&manifest.value);
        match session.find(&manifest.path()).await? {
            None if manifest.resource == Resource::of_kind(Kind::Site) => {}
            None => planned.change(manifest.resource, wanted),
            Some(mut live) => {
                if let Some(patch) = three_way::patch(&live, &wanted) {
                    merge_patch(&mut live, &patch);
                    planned.change(manifest.resource, live);
                }
            }
        }
    }
    Ok(planned)
}

/// Applies one manifest.
pub(in crate::cli) async fn apply(
    session: &Session,
    manifest: &Manifest,
    how: How<'_>,
) -> Result<Applied, Failure> {
    let wanted = three_way::with_last_applied(&manifest.value);
    let parameters = |query: Query| {
        let query = query.with_some("reason", how.reason).with_some("dryRun", how.dry_run);
        query.with_some("maxSites", how.max_sites)
    };
    let live = match session.find(&manifest.path()).await? {
        Some(live) => live,
        None => match session.post(&parameters(manifest.collection()), &wanted).await {
            Ok(created) => {
                warn(manifest, &created);
                return Ok(Applied::Created);
            }
            // Somebody was faster: then it is a change of what they made.
            Err(failure) if failure.is_already_there() => session.get(&manifest.path()).await?,
            Err(failure) => return Err(failure),
        },
    };
    match three_way::patch(&live, &wanted) {
        None => Ok(Applied::Unchanged),
        Some(patch) => {
            let changed = session.merge_patch(&parameters(manifest.path()), &patch).await?;
            warn(manifest, &changed);
            Ok(Applied::Configured)
        }
    }
}

/// Tells of what the node finds wrong with a resource that it took.
fn warn(manifest: &Manifest, taken: &Value) {
    let conditions = taken.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    for condition in conditions.filter(|condition| condition["status"] == "True") {
        if let Some(kind @ ("Ambiguous" | "Failed")) = condition["type"].as_str() {
            let message = condition["message"].as_str().unwrap_or_default();
            print::note(&format!("Warning: {} is {kind}: {message}", manifest.reported()));
        }
    }
}
