//! `revert`: takes back what one event did, by a new event.

use clap::Args;
use serde_json::Value;

use super::diff::shown;
use super::history::{dotted, short};
use super::three_way::LAST_APPLIED;
use crate::cli::args::Intent;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;
use crate::cli::text_diff::unified;

/// Take back what one change did, by a new change
///
/// Every path that still shows what the event wrote gets the value from before it. What somebody else has written
/// since is left and listed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless revert 3f9c2b7a10de --dry-run
  driftless revert 3f9c2b7a10de --reason 'wrong store'
  driftless revert 3f9c2b7a10de --force

An event is named by the start of its id, as `driftless history` and `audit` show it. To revert what created a
resource deletes it; to revert what deleted it creates it again.")]
pub struct Revert {
    /// The event, eight hex digits or more
    pub event: String,
    /// Also what somebody else has written since
    #[arg(long)]
    pub force: bool,
    /// How the change is made.
    #[command(flatten)]
    pub intent: Intent,
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Revert {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let path = self.intent.on(Query::new("/v1/revert").segment(&self.event));
        let path = path.with_some("force", self.force.then_some("true"));
        let answer = session.post(&path, &Value::Null).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, false)?);
        }
        left(&answer).iter().for_each(|line| print::note(line));
        if answer["changed"].as_array().is_none_or(Vec::is_empty) {
            print::note("Nothing of it stands any more; nothing was changed.");
            return Err(Failure::Told(1));
        }
        if self.intent.dry_run().is_some() {
            print::out(&unified("now", "reverted", &shown(&answer["before"]), &shown(&answer["after"])))?;
        }
        print::out(&format!(
            "{} reverted {}{}{}\n",
            named(&answer),
            short(answer["reverts"].as_str().unwrap_or_default()),
            answer["event"].as_str().map(|event| format!(" by {}", short(event))).unwrap_or_default(),
            self.intent.suffix(),
        ))
    }
}

fn named(answer: &Value) -> String {
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("kind").to_lowercase(), text("name"))
}

/// A line for each path that somebody else has written since.
fn left(answer: &Value) -> Vec<String> {
    let all = answer["left"].as_array().into_iter().flatten();
    let others = all.filter(|left| !left["path"].as_str().is_some_and(|path| path.contains(LAST_APPLIED)));
    let line = |left: &Value| {
        let path = match left["path"].as_str().unwrap_or_default() {
            "" => named(answer),
            path => dotted(path),
        };
        let by = match left["by"].as_str() {
            Some(by) => format!(
                "was written since by {by} at {}, event {}",
                left["time"].as_str().unwrap_or("an unknown time"),
                short(left["event"].as_str().unwrap_or_default())
            ),
            None => "was removed since".to_owned(),
        };
        let value = if left["value"].is_null() { String::new() } else { format!(" ({})", left["value"]) };
        format!("{path}{value} {by}")
    };
    others.map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_names_who_wrote_it() {
        let answer = json!({"kind": "Profile", "name": "base", "left": [
            {"path": "/spec/values/x", "value": 5, "by": "ada", "time": "T", "event": "0123456789abcdef"},
            {"path": "/spec/values/y"},
        ]});
        assert_eq!(
            left(&answer),
            [
                "spec.values.x (5) was written since by ada at T, event 0123456789ab",
                "spec.values.y was removed since",
            ]
        );
    }
}
