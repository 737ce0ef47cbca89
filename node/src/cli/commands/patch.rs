//! `patch`: sends a patch as it is.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::args::{Intent, Limit};
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::{print, resources, yaml};

/// Change fields of a resource
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless patch profile/store-base -p '{\"spec\": {\"values\": {\"pos\": {\"replicas\": 3}}}}'
  driftless patch profile store-base --type json -p '[{\"op\": \"remove\", \"path\": \"/spec/values/pos\"}]'")]
pub struct Patch {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2)]
    pub names: Vec<String>,
    /// merge: an object, null removes (RFC 7396); json: a list of operations (RFC 6902)
    #[arg(long = "type", value_enum, default_value = "merge")]
    pub kind: PatchType,
    /// The patch, as JSON or YAML
    #[arg(long, short, required_unless_present = "patch_file", conflicts_with = "patch_file")]
    pub patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE")]
    pub patch_file: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PatchType {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
}

impl Patch {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let named = resources::parse_several(&self.names)?;
        let [(resource, name)] = named.as_slice() else {
            return Err(Failure::Usage("a patch is for one resource".to_owned()));
        };
        let patch = self.read()?;
        let path = resource.path(Some(&session.namespace), Some(name));
        let before = session.get(&path).await?;
        let path = self.limit.on(self.intent.on(path));
        let after = match self.kind {
            PatchType::Merge => session.merge_patch(&path, &patch).await?,
            PatchType::Json => session.json_patch(&path, &patch).await?,
        };
        let same =
            before["spec"] == after["spec"] && before["metadata"]["labels"] == after["metadata"]["labels"];
        let same = same && before["metadata"]["annotations"] == after["metadata"]["annotations"];
        let said = if same { "patched (no change)" } else { "patched" };
        print::out(&format!("{} {said}{}\n", resource.reported(name), self.intent.suffix()))
    }

    fn read(&self) -> Result<Value, Failure> {
        let (name, text) = match (&self.patch, &self.patch_file) {
            (Some(text), _) => ("--patch".to_owned(), text.clone()),
            (None, Some(file)) => {
                let shown = file.display().to_string();
                let text = std::fs::read_to_string(file);
                (shown.clone(), text.map_err(|source| Failure::io("read", shown, source))?)
            }
            (None, None) => return Err(Failure::Usage("--patch or --patch-file is needed".to_owned())),
        };
        let mut documents = yaml::parse(&name, text.as_bytes())?;
        let wanted = match self.kind {
            PatchType::Merge => "an object, as in {\"spec\": {\"priority\": 100}}",
            PatchType::Json => "a list of operations, as in [{\"op\": \"remove\", \"path\": \"/spec/x\"}]",
        };
        match (documents.len(), documents.pop().map(|document| document.value), self.kind) {
            (1, Some(value @ Value::Object(_)), PatchType::Merge) => Ok(value),
            (1, Some(value @ Value::Array(_)), PatchType::Json) => Ok(value),
            _ => Err(Failure::Usage(format!("{name}: a patch of this type is {wanted}"))),
        }
    }
}
