//! `diff`: what `apply` would change.

use clap::Args;
use serde_json::{Value, json};

use super::manifests::{Manifest, read};
use super::three_way;
use crate::cli::args::Files;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::session::Session;
use crate::cli::text_diff::unified;
use crate::cli::yaml::to_yaml;

/// Show what apply would change; nothing is changed
///
/// Exit code 0: nothing; 1: something; more than 1: an error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless diff -f profile.yaml
  driftless diff -f policies/ -R")]
pub struct Diff {
    /// Where manifests are.
    #[command(flatten)]
    pub files: Files,
}

impl Diff {
    /// Whether something differs.
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<bool, Failure> {
        let mut differs = false;
        for manifest in read(&self.files, &session.namespace)? {
            let (live, merged) = both(session, &manifest).await?;
            let path = format!("{}/{}", manifest.namespace, manifest.reported());
            let diff =
                unified(&format!("live/{path}"), &format!("merged/{path}"), &shown(&live), &shown(&merged));
            differs |= !diff.is_empty();
            print::out(&diff)?;
        }
        Ok(differs)
    }
}

/// What is there, and what would be, as the node says.
async fn both(session: &Session, manifest: &Manifest) -> Result<(Value, Value), Failure> {
    let wanted = three_way::with_last_applied(&manifest.value);
    let Some(live) = session.find(&manifest.path()).await? else {
        let merged = session.post(&manifest.collection().with("dryRun", "All"), &wanted).await?;
        return Ok((Value::Null, merged));
    };
    let merged = match three_way::patch(&live, &wanted) {
        None => live.clone(),
        Some(patch) => session.merge_patch(&manifest.path().with("dryRun", "All"), &patch).await?,
    };
    Ok((live, merged))
}

/// What people compare: without what a node adds and what `apply` remembers.
pub(super) fn shown(resource: &Value) -> String {
    let mut resource = resource.clone();
    if resource.is_null() {
        return String::new();
    }
    if let Some(fields) = resource.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = resource["metadata"].as_object_mut() {
        for key in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
            metadata.remove(key);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(three_way::LAST_APPLIED);
        }
        if metadata.get("annotations") == Some(&json!({})) {
            metadata.remove("annotations");
        }
    }
    to_yaml(&resource)
}
