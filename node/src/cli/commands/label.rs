//! `label` and `annotate`: set and remove labels and annotations.

use clap::Args;
use driftless_core::replica::merge_patch;
use serde_json::{Map, Value, json};

use super::impact::Planned;
use crate::cli::args::{Intent, Limit};
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::resources::{self, Resource};
use crate::cli::session::Session;
use crate::cli::values::parse_label_change;

/// Set or remove labels
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless label site/store-17 canary=true
  driftless label sites store-17 store-18 class=store --overwrite
  driftless label site/store-17 canary-")]
pub struct Label {
    /// What, and how.
    #[command(flatten)]
    pub change: Change,
}

/// Set or remove annotations
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless annotate profile/store-base owner='team retail'
  driftless annotate profile/store-base owner-")]
pub struct Annotate {
    /// What, and how.
    #[command(flatten)]
    pub change: Change,
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct Change {
    /// KIND/NAME… or KIND NAME…, then KEY=VALUE to set and KEY- to remove
    #[arg(required = true)]
    pub words: Vec<String>,
    /// Change keys that have another value
    #[arg(long)]
    pub overwrite: bool,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
    /// How far.
    #[command(flatten)]
    pub limit: Limit,
}

impl Label {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        self.change.run(session, "labels", "labeled").await
    }
}

impl Annotate {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        self.change.run(session, "annotations", "annotated").await
    }
}

type Changes = Vec<(String, Option<String>)>;

impl Change {
    async fn run(self, session: &Session, field: &'static str, done: &str) -> Result<(), Failure> {
        let (targets, changes) = self.split()?;
        if targets.len() > 1 && self.limit.max_sites().is_some() {
            self.planned(session, field, &targets, &changes).await?.check(session, &self.limit).await?;
        }
        for (resource, name) in targets {
            let path = resource.path(Some(&session.namespace), Some(&name));
            let live = session.get(&path).await?;
            let said = match patch(&live["metadata"][field], &changes, self.overwrite)? {
                None => format!("not {done}"),
                Some(fields) => {
                    let change = json!({"metadata": {field: fields}});
                    session.merge_patch(&self.limit.on(self.intent.on(path)), &change).await?;
                    done.to_owned()
                }
            };
            print::out(&format!("{} {said}{}\n", resource.reported(&name), self.intent.suffix()))?;
        }
        Ok(())
    }

    /// What would change, taken together. What cannot change so is told when it is its turn.
    async fn planned(
        &self,
        session: &Session,
        field: &str,
        targets: &[(Resource, String)],
        changes: &Changes,
    ) -> Result<Planned, Failure> {
        let mut planned = Planned::default();
        for (resource, name) in targets {
            let mut live = session.get(&resource.path(Some(&session.namespace), Some(name))).await?;
            if let Ok(Some(fields)) = patch(&live["metadata"][field], changes, self.overwrite) {
                merge_patch(&mut live, &json!({"metadata": {field: fields}}));
                planned.change(*resource, live);
            }
        }
        Ok(planned)
    }

    /// Names first, then changes: the first word that has a `=` or ends in `-` starts them.
    fn split(&self) -> Result<(Vec<(Resource, String)>, Changes), Failure> {
        let is_change = |word: &String| word.contains('=') || word.ends_with('-');
        let at =
            self.words.iter().position(is_change).ok_or_else(|| {
                Failure::Usage("what is to change? KEY=VALUE sets, KEY- removes".to_owned())
            })?;
        let targets = resources::parse_several(&self.words[..at])?;
        let changes = self.words[at..].iter().map(|word| parse_label_change(word)).collect::<Result<_, _>>();
        Ok((targets, changes.map_err(|error| Failure::Usage(error.to_string()))?))
    }
}

/// The patch of a map of texts; `None` if nothing changes.
fn patch(live: &Value, changes: &Changes, overwrite: bool) -> Result<Option<Map<String, Value>>, Failure> {
    let mut fields = Map::new();
    for (key, value) in changes {
        match (live[key].as_str(), value) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(_)) if !overwrite => {
                return Err(Failure::Refused(format!(
                    "{key:?} already has a value ({old}), and --overwrite is not given. Nothing was changed."
                )));
            }
            (None, None) => {}
            (_, value) => {
                fields.insert(key.clone(), json!(value));
            }
        }
    }
    Ok((!fields.is_empty()).then_some(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn change(text: &str) -> Change {
        let words = text.split(' ').map(str::to_owned).collect();
        let intent = Intent { reason: None, dry_run: "none".into() };
        Change { words, overwrite: false, intent, limit: Limit::default() }
    }

    #[test]
    fn names_come_before_changes() {
        let (targets, changes) = change("site/a profile/b x=1 y-").split().unwrap();
        assert_eq!(targets.len(), 2);
        assert_eq!(changes, [("x".into(), Some("1".into())), ("y".into(), None)]);
        for wrong in ["site/a", "site/a b", "x=1 y=2", "sites x=1", "site/a x=1 y"] {
            assert!(change(wrong).split().is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_value_is_not_overwritten_by_accident() {
        let live = json!({"class": "store"});
        let set = |value: &str| vec![("class".to_owned(), Some(value.to_owned()))];
        assert!(patch(&live, &set("store"), false).unwrap().is_none());
        assert!(patch(&live, &set("depot"), false).is_err());
        assert_eq!(patch(&live, &set("depot"), true).unwrap().unwrap()["class"], "depot");
        let remove = vec![("class".to_owned(), None)];
        assert_eq!(patch(&live, &remove, false).unwrap().unwrap()["class"], Value::Null);
        assert!(patch(&Value::Null, &remove, false).unwrap().is_none());
    }
}
