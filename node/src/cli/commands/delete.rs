//! `delete`: removes resources, by name or by manifest.

use clap::Args;
use serde_json::Value;

use super::impact::Planned;
use super::manifests;
use crate::cli::args::{Files, Intent, Limit};
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::resources::{Named, Resource, parse_named};
use crate::cli::session::Session;

/// Delete resources
///
/// Everything of a kind, or whatever a selector matches, is deleted with --yes only. Nothing is deleted if together
/// that would change what more sites than --max-sites should run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless delete override/store-17.replicas
  driftless delete profile store-base store-nl --reason 'merged into one'
  driftless delete -f policies/ -R --max-sites 100
  driftless delete overrides -l team=retail --yes")]
pub struct Delete {
    /// KIND/NAME…, KIND NAME…, or KIND with --all or -l
    #[arg(required_unless_present = "filenames", conflicts_with = "filenames")]
    pub names: Vec<String>,
    /// A file, a directory, or - for standard input; may be repeated
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    pub filenames: Vec<String>,
    /// Directories below, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Everything of the kind
    #[arg(long, conflicts_with = "selector")]
    pub all: bool,
    /// Whatever has these labels
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// What is not there is no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

impl Delete {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let targets = self.targets(session).await?;
        let mut planned = Planned::default();
        targets.iter().for_each(|(resource, namespace, name)| planned.delete(*resource, namespace, name));
        planned.check(session, &self.limit).await?;
        let mut missing = false;
        for (resource, namespace, name) in targets {
            let path = self.limit.on(self.intent.on(resource.path(Some(&namespace), Some(&name))));
            match session.delete(&path).await {
                Ok(_) => {
                    let suffix = self.intent.suffix();
                    print::out(&format!("{} deleted{suffix}\n", resource.reported(&name)))?;
                }
                Err(failure) if failure.is_not_found() && self.ignore_not_found => {}
                Err(failure) if failure.is_not_found() => {
                    missing = true;
                    print::note(&failure.report().unwrap_or_default());
                }
                Err(failure) => return Err(failure),
            }
        }
        if missing { Err(Failure::Told(1)) } else { Ok(()) }
    }

    async fn targets(&self, session: &Session) -> Result<Vec<(Resource, String, String)>, Failure> {
        if !self.filenames.is_empty() {
            let files = Files { filenames: self.filenames.clone(), recursive: self.recursive };
            let manifests = manifests::read(&files, &session.namespace)?;
            return Ok(manifests
                .into_iter()
                .map(|each| (each.resource, each.namespace, each.name))
                .collect());
        }
        let mut targets = Vec::new();
        let mut wide = false;
        for named in parse_named(&self.names)? {
            match named {
                Named::One(resource, name) if !self.all && self.selector.is_none() => {
                    targets.push((resource, session.namespace.clone(), name));
                }
                Named::One(..) => {
                    return Err(Failure::Usage(
                        "a name does not go with --all or -l; leave one out".to_owned(),
                    ));
                }
                Named::All(resource) if self.all || self.selector.is_some() => {
                    wide = true;
                    targets.extend(self.matching(session, resource).await?);
                }
                Named::All(resource) => {
                    return Err(Failure::Usage(format!(
                        "which {}? Name them, or say --all or -l LABELS",
                        resource.plural
                    )));
                }
            }
        }
        if wide && targets.is_empty() {
            print::note("No resources found.");
            return Ok(targets);
        }
        if wide && !self.limit.yes && self.intent.dry_run().is_none() {
            return Err(Failure::Refused(format!(
                "this deletes {} resources of namespace {}; say --yes if that is meant, or look with --dry-run. Nothing was deleted.",
                targets.len(),
                session.namespace
            )));
        }
        Ok(targets)
    }

    async fn matching(
        &self,
        session: &Session,
        resource: Resource,
    ) -> Result<Vec<(Resource, String, String)>, Failure> {
        let path = resource
            .path(Some(&session.namespace), None)
            .with_some("labelSelector", self.selector.as_deref());
        let list = session.get(&path).await?;
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
        Ok(items.iter().filter_map(|item| Some((resource, session.namespace.clone(), name(item)?))).collect())
    }
}
