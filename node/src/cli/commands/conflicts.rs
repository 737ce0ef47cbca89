//! `conflicts`: values that lost without anybody having seen them lose.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::history::{dotted, short};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::parse_several;
use crate::cli::session::Session;
use crate::cli::table::align;

/// Show and acknowledge values that lost to concurrent ones
///
/// When two people change one field while their nodes cannot talk, one value wins, the same everywhere. The other
/// stays listed until a change that has seen it, or an acknowledgement.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  driftless conflicts list
  driftless conflicts show profile/store-base
  driftless conflicts ack profile/store-base spec.values.pos.replicas --reason 'talked to Ada'")]
pub enum Conflicts {
    /// One line for each value that lost
    List(List),
    /// The conflicts of one resource, in full
    Show(Show),
    /// Confirm the values that won
    Ack(Ack),
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2)]
    pub names: Vec<String>,
    /// yaml or json
    #[arg(long, short, value_name = "FORM", default_value = "yaml")]
    pub output: String,
}

/// Arguments of `ack`.
#[derive(Debug, Args)]
pub struct Ack {
    /// KIND/NAME
    pub name: String,
    /// Paths, as `list` shows them; all conflicts of the resource unless given
    pub paths: Vec<String>,
    /// Why; it stands in the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl Conflicts {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Ack(ack) => ack.run(session).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        let answer = session.get(&Query::new("/v1/conflicts").with_some("namespace", namespace)).await?;
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, self.no_headers)?);
        }
        let lines = lines(&answer);
        if lines.is_empty() {
            print::note("No conflicts.");
            return Ok(());
        }
        print::out(&align(if self.no_headers { &lines[1..] } else { &lines }))?;
        if answer["truncated"] == true {
            print::note("There are more; look at one kind or namespace at a time.");
        }
        Ok(())
    }
}

impl Show {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let named = parse_several(&self.names)?;
        let [(resource, name)] = named.as_slice() else {
            return Err(Failure::Usage("show one resource at a time".to_owned()));
        };
        let namespace = resource.namespaced.then_some(session.namespace.as_str());
        let path = Query::new("/v1/conflicts").with("kind", resource.kind).with("name", name);
        let answer = session.get(&path.with_some("namespace", namespace)).await?;
        let Some(item) = answer["items"].get(0) else {
            print::note(&format!("No conflicts in {}.", resource.reported(name)));
            return Ok(());
        };
        let output = Output::parse(&self.output).map_err(|error| Failure::Usage(error.to_string()))?;
        match output.wants_table() {
            true => print::out(&align(&lines(&answer))),
            false => print::out(&render_objects(std::slice::from_ref(item), true, &output, false)?),
        }
    }
}

impl Ack {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (resource, name) = crate::cli::resources::parse_one(&self.name)?;
        let path = Query::new("/v1/conflicts").with("kind", resource.kind).with("name", &name);
        let namespace = resource.namespaced.then_some(session.namespace.as_str());
        let found = session.get(&path.with_some("namespace", namespace)).await?;
        let known: Vec<&str> = found["items"][0]["conflicts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|conflict| conflict["path"].as_str())
            .collect();
        if known.is_empty() {
            return Err(Failure::Refused(format!("no conflicts in {}", self.name)));
        }
        let mut pointers = Vec::new();
        for path in &self.paths {
            let pointer =
                known.iter().find(|known| *known == path || dotted(known) == *path).ok_or_else(|| {
                    let known: Vec<String> = known.iter().map(|pointer| dotted(pointer)).collect();
                    Failure::Refused(format!("no conflict at {path}; there are: {}", known.join(", ")))
                })?;
            pointers.push(*pointer);
        }
        let body = json!({
            "kind": resource.kind,
            "namespace": namespace,
            "name": name,
            "paths": pointers,
            "reason": self.reason.unwrap_or_default(),
        });
        session.post(&Query::new("/v1/conflicts/ack"), &body).await?;
        print::out(&format!("{} acknowledged\n", resource.reported(&name)))
    }
}

/// A line for each value that lost, after a header; nothing if nothing lost.
pub(super) fn lines(answer: &Value) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for item in answer["items"].as_array().into_iter().flatten() {
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        let name = format!("{}/{}", text("kind").to_lowercase(), text("name"));
        for conflict in item["conflicts"].as_array().into_iter().flatten() {
            let path = dotted(conflict["path"].as_str().unwrap_or_default());
            for loser in conflict["losers"].as_array().into_iter().flatten() {
                let of = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
                lines.push(vec![
                    name.clone(),
                    path.clone(),
                    of(conflict, "kind"),
                    conflict["winner"]["value"].to_string(),
                    of(&conflict["winner"], "by"),
                    lost(loser),
                    of(loser, "by"),
                    of(loser, "time"),
                    short(&of(loser, "event")),
                ]);
            }
        }
    }
    if !lines.is_empty() {
        let header = ["NAME", "PATH", "KIND", "WON", "BY", "LOST", "BY", "TIME", "EVENT"];
        lines.insert(0, header.map(str::to_owned).to_vec());
    }
    lines
}

/// The value that lost, or that it was the removal of the field that did.
pub(super) fn lost(loser: &Value) -> String {
    match loser["removed"] == true {
        true => "(removed)".to_owned(),
        false => loser["value"].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_that_lost_has_a_line_with_author_and_time() {
        let value = |value: i64, by: &str| json!({"value": value, "by": by, "time": "t", "event": "0123456789abcdef"});
        let removal = json!({"removed": true, "by": "kim", "time": "t", "event": "0123456789abcdef"});
        let answer = json!({"items": [{"kind": "Profile", "name": "a", "conflicts": [{
            "path": "/spec/values/x", "kind": "Concurrent", "winner": value(1, "mia"), "losers": [value(2, "ada"), value(3, "eve"), removal],
        }]}]});
        let lines = lines(&answer);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[3][5..7], ["(removed)", "kim"]);
        assert_eq!(lines[1][..7], ["profile/a", "spec.values.x", "Concurrent", "1", "mia", "2", "ada"]);
        assert!(super::lines(&json!({"items": []})).is_empty());
    }
}
