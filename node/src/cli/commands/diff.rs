//! `diff`: what `apply` would change.

use clap::Args;
use serde_json::{Value, json};

use super::impact::{Planned, text};
use super::manifests::{Manifest, read};
use super::three_way;
use crate::cli::args::Files;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::session::Session;
use crate::cli::text_diff::unified;
use crate::cli::yaml::to_yaml;

/// Show what apply would change; nothing is changed
///
/// Below the differences stands how far they reach: how many sites would run something else, and which paths change.
/// Exit code 0: nothing; 1: something; more than 1: an error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless diff -f profile.yaml
  driftless diff -f policies/ -R
  driftless diff -f profile.yaml -o jsonpath='{.impact.changed}'")]
pub struct Diff {
    /// Where manifests are.
    #[command(flatten)]
    pub files: Files,
    /// yaml, json or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Diff {
    /// Whether something differs.
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<bool, Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        if output == Output::Name {
            return Err(Failure::Usage("a difference has no name; use yaml, json or jsonpath".to_owned()));
        }
        let mut planned = Planned::default();
        let mut differences = Vec::new();
        for manifest in read(&self.files, &session.namespace)? {
            let (live, merged) = both(session, &manifest).await?;
            let path = format!("{}/{}", manifest.namespace, manifest.reported());
            let diff =
                unified(&format!("live/{path}"), &format!("merged/{path}"), &shown(&live), &shown(&merged));
            if output.wants_table() {
                print::out(&diff)?;
            }
            if !diff.is_empty() {
                planned.change(manifest.resource, merged);
                differences.push(json!({
                    "kind": manifest.resource.kind,
                    "namespace": manifest.namespace,
                    "name": manifest.name,
                    "isNew": live.is_null(),
                    "diff": diff,
                }));
            }
        }
        let differs = !differences.is_empty();
        if output.wants_table() && !differs {
            return Ok(false);
        }
        let impact = planned.impact(session, None).await?;
        let shown = match output {
            Output::Table | Output::Wide => text(&impact),
            output => {
                let answer = json!({"differences": differences, "impact": impact});
                render_objects(&[answer], true, &output, false)?
            }
        };
        print::out(&shown)?;
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
