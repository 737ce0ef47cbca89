//! `edit`: a resource in an editor.
//!
//! What is sent is a merge patch of what was changed, so a change that somebody else makes meanwhile elsewhere in the
//! resource stays. What is not understood or is refused is shown again with the reason on top; it is left by leaving
//! it as it is.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::get::hide_managed_fields;
use super::manifests::from_documents;
use super::three_way;
use crate::cli::args::{Intent, Limit};
use crate::cli::client::ClientError;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::resources::{Resource, parse_several};
use crate::cli::session::Session;
use crate::cli::yaml::{parse, to_yaml};

/// How often an edit that cannot be taken is shown again.
const ROUNDS_MAX: usize = 100;
const HINT: &str = "\
# Edit the resource below; what is saved is sent. Lines that begin with # are left out, and a file that is left as it
# is, or empty, changes nothing.
";

/// Edit a resource in an editor
///
/// The editor is that of KUBE_EDITOR, else of EDITOR, else vi.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless edit profile/store-base
  driftless edit override store-17.replicas --reason 'INC-42 second till'")]
pub struct Edit {
    /// KIND/NAME… or KIND NAME…; one after the other
    #[arg(required = true)]
    pub names: Vec<String>,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

impl Edit {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        // The terminal sends Ctrl-C to the editor and to us; it is meant for the editor.
        let interrupts = signal(SignalKind::interrupt());
        let _ignored = interrupts.map_err(|source| Failure::io("listen to", "Ctrl-C", source))?;
        for (resource, name) in parse_several(&self.names)? {
            match self.edit(session, resource, &name).await? {
                true => {
                    print::out(&format!("{} edited{}\n", resource.reported(&name), self.intent.suffix()))?
                }
                false => print::note("Edit cancelled, no changes made."),
            }
        }
        Ok(())
    }

    /// Whether anything was changed.
    async fn edit(&self, session: &Session, resource: Resource, name: &str) -> Result<bool, Failure> {
        let path = resource.path(Some(&session.namespace), Some(name));
        let mut live = session.get(&path).await?;
        hide_managed_fields(&mut live);
        let file = File::new(name)?;
        let (mut offered, mut refusal) = (format!("{HINT}{}", to_yaml(&live)), None);
        for _ in 0..ROUNDS_MAX {
            let edited = file.edited(&offered).await?;
            if edited == offered || is_empty(&edited) {
                break;
            }
            let why = match wanted(&edited, &live) {
                Ok(wanted) => match three_way::difference(&live, &wanted) {
                    None => return Ok(false),
                    Some(patch) => {
                        match session.merge_patch(&self.limit.on(self.intent.on(path.clone())), &patch).await
                        {
                            Ok(_) => return Ok(true),
                            // Another text may be taken; of what else can fail, editing changes nothing.
                            Err(failure @ Failure::Client(ClientError::Refused(_))) => failure,
                            Err(failure) => return Err(file.kept(failure)),
                        }
                    }
                },
                Err(failure) => failure,
            };
            offered = with_reason(&edited, &why);
            refusal = Some(why);
        }
        match refusal {
            None => Ok(false),
            Some(why) => Err(file.kept(why)),
        }
    }
}

/// What an edited text asks for: the same resource, with other contents.
fn wanted(edited: &str, live: &Value) -> Result<Value, Failure> {
    let namespace = live["metadata"]["namespace"].as_str().unwrap_or_default();
    let manifests = from_documents(parse("edited", edited.as_bytes())?, namespace)?;
    let [manifest] = manifests.as_slice() else {
        return Err(Failure::Refused("one resource is edited; keep exactly one".to_owned()));
    };
    let same = |pointer: &str| manifest.value.pointer(pointer) == live.pointer(pointer);
    match ["/kind", "/metadata/name", "/metadata/namespace"].into_iter().find(|pointer| !same(pointer)) {
        None => Ok(manifest.value.clone()),
        Some(pointer) => Err(Failure::Refused(format!(
            "{} cannot be changed; create another resource instead",
            pointer.trim_start_matches('/').replace('/', ".")
        ))),
    }
}

/// The text that was saved, under the reason why it was not taken.
fn with_reason(edited: &str, why: &Failure) -> String {
    let said = why.report().unwrap_or_default();
    let reason: String = said.lines().map(|line| format!("# {line}\n")).collect();
    let body: String = lines_of_body(edited).map(|line| format!("{line}\n")).collect();
    format!("{HINT}#\n{reason}#\n{body}")
}

fn is_empty(edited: &str) -> bool {
    lines_of_body(edited).all(|line| line.trim().is_empty())
}

fn lines_of_body(text: &str) -> impl Iterator<Item = &str> {
    text.lines().skip_while(|line| line.starts_with('#'))
}

/// The file that the editor opens; gone when dropped, unless it is kept.
struct File {
    path: PathBuf,
    keep: std::cell::Cell<bool>,
}

impl File {
    fn new(name: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("driftless-edit-{name}-{}.yaml", std::process::id()));
        // New, so that nobody else's file or link is written to; and read by its owner alone.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|source| Failure::io("create", path.display().to_string(), source))?;
        Ok(Self { path, keep: false.into() })
    }

    /// Offers a text in the editor; returns what was saved.
    async fn edited(&self, offered: &str) -> Result<String, Failure> {
        let shown = || self.path.display().to_string();
        let written = OpenOptions::new().write(true).truncate(true).open(&self.path);
        written
            .and_then(|mut file| file.write_all(offered.as_bytes()))
            .map_err(|source| Failure::io("write", shown(), source))?;
        open_editor(&self.path).await?;
        std::fs::read_to_string(&self.path).map_err(|source| Failure::io("read", shown(), source))
    }

    /// Keeps the file, and says so behind what went wrong.
    fn kept(&self, failure: Failure) -> Failure {
        self.keep.set(true);
        let said = failure.report().unwrap_or_default();
        Failure::Refused(format!(
            "{}\nNothing was changed. What you wrote is in {}",
            said.trim_start_matches("error: "),
            self.path.display()
        ))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.keep.get() {
            // What cannot be removed stays in the directory for temporary files, which is emptied by others.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn open_editor(path: &Path) -> Result<(), Failure> {
    let named = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("KUBE_EDITOR").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // The shell takes it apart, since editors are named with their flags.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$0\"")).arg(path).status().await;
    let status = status.map_err(|source| Failure::io("start", editor.clone(), source))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Refused(format!(
            "the editor {editor:?} ended with {status}; KUBE_EDITOR or EDITOR name another. Nothing was changed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn profile() -> Value {
        json!({
            "apiVersion": "driftless.dev/v1",
            "kind": "Profile",
            "metadata": {"name": "store-base", "namespace": "acme", "resourceVersion": "7"},
            "spec": {"priority": 200, "selector": {"matchAll": true}, "values": {"a": 1, "b": 2}},
        })
    }

    fn change(from: &str, to: &str) -> Result<Option<Value>, Failure> {
        let text = to_yaml(&profile());
        assert!(text.contains(from), "{text}");
        let wanted = wanted(&format!("{HINT}{}", text.replace(from, to)), &profile())?;
        Ok(three_way::difference(&profile(), &wanted))
    }

    #[test]
    fn only_what_was_changed_is_sent() {
        assert_eq!(change("a: 1", "a: 1").unwrap(), None);
        assert_eq!(change("a: 1", "a: 3").unwrap(), Some(json!({"spec": {"values": {"a": 3}}})));
        assert_eq!(change("    a: 1\n", "").unwrap(), Some(json!({"spec": {"values": {"a": null}}})));
    }

    #[test]
    fn another_resource_or_none_is_not_an_edit() {
        for (from, to) in [
            ("name: store-base", "name: other"),
            ("namespace: acme", "namespace: other"),
            ("kind: Profile", "kind: Override"),
            ("spec:", "spec"),
            ("a: 1", "a: null"),
        ] {
            assert!(change(from, to).is_err(), "{to}");
        }
    }

    #[test]
    fn a_refused_edit_is_shown_again_with_one_reason_on_top() {
        let body = "kind: Profile\n# a comment of mine\nspec: {}\n";
        let first = with_reason(&format!("{HINT}{body}"), &Failure::Refused("no\nway".into()));
        let second = with_reason(&first, &Failure::Refused("still no".into()));
        assert_eq!(second, format!("{HINT}#\n# error: still no\n#\n{body}"));
        assert!(first.contains("# error: no\n# way\n"), "{first}");
        assert!(is_empty(HINT) && is_empty("\n \n") && !is_empty(body));
    }
}
