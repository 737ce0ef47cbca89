//! Waiting for a change to come to the sites that it concerns, over all hubs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cli::commands::history::short;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;

/// Where a node tells how far a change has come.
pub(super) const PATH: &str = "/v1/progress";
/// Between two looks, each of which asks every hub.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How far a change is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Sites hold it.
    Synced,
    /// Sites hold it and run what they should.
    Applied,
}

/// One wait.
pub(super) struct Wait<'a> {
    pub(super) stage: Stage,
    /// From 1 to 100.
    pub(super) percent: u8,
    /// Which sites; all that the change concerns unless given.
    pub(super) selector: Option<&'a str>,
    pub(super) ends: Instant,
}

impl Wait<'_> {
    /// Waits; `None` when the change has come as far, else what is lacking at the end. The change is the
    /// one that is there at first: later ones of the same resource do not move the goal.
    pub(super) async fn until_there(
        &self,
        session: &Session,
        path: Query,
        reported: &str,
    ) -> Result<Option<String>, Failure> {
        let (mut path, mut said) = (path.with_some("labelSelector", self.selector), String::new());
        loop {
            let progress = session.get(&path).await?;
            let event = progress["event"].as_str().unwrap_or_default();
            path = Query::new(PATH).segment(event).with_some("labelSelector", self.selector);
            let standing = standing(&progress, self.stage);
            let (done, concerned) = (reached(&progress, self.stage), count(&progress, "interested"));
            if concerned == 0 && self.selector.is_some_and(|selector| !selector.is_empty()) {
                return Err(Failure::Refused(
                    "no matching resources found: no such site is concerned".to_owned(),
                ));
            }
            if said != standing {
                print::note(&format!("{reported} {}: {standing}", short(event)));
                said.clone_from(&standing);
            }
            if is_enough(done, concerned, self.percent) {
                return Ok(None);
            }
            if Instant::now() >= self.ends {
                return Ok(Some(format!("{standing}; `driftless trace {}` shows why", short(event))));
            }
            tokio::time::sleep(LOOK_EVERY.min(self.ends - Instant::now())).await;
        }
    }
}

/// Whether `done` of `concerned` are at least so many percent. A change that concerns nobody is everywhere.
fn is_enough(done: u64, concerned: u64, percent: u8) -> bool {
    done * 100 >= concerned * u64::from(percent)
}

fn count(progress: &Value, key: &str) -> u64 {
    progress[key].as_u64().unwrap_or_default()
}

fn reached(progress: &Value, stage: Stage) -> u64 {
    match stage {
        Stage::Synced => count(progress, "durable"),
        Stage::Applied => count(progress, "applied"),
    }
}

fn standing(progress: &Value, stage: Stage) -> String {
    let word = match stage {
        Stage::Synced => "synced",
        Stage::Applied => "applied",
    };
    let mut text =
        format!("{word} at {} of {} sites", reached(progress, stage), count(progress, "interested"));
    if let unknown @ 1.. = count(progress, "unknown") {
        text.push_str(&format!(", {unknown} unknown"));
    }
    let silent = progress["silent"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match silent.collect::<Vec<_>>().join(", ") {
        silent if silent.is_empty() => {}
        silent => text.push_str(&format!(", no answer from {silent}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn percent_are_of_the_sites_concerned_and_unknown_is_not_done() {
        for (done, concerned, percent, enough) in [
            (0, 0, 100, true),
            (99, 100, 99, true),
            (98, 100, 99, false),
            (197, 199, 99, false),
            (198, 199, 99, true),
            (2, 3, 67, false),
            (3, 3, 100, true),
        ] {
            assert_eq!(is_enough(done, concerned, percent), enough, "{done} of {concerned}, {percent} %");
        }
        let progress = json!({"interested": 4, "durable": 3, "applied": 2, "unknown": 1, "silent": ["us-1"]});
        assert_eq!(
            standing(&progress, Stage::Synced),
            "synced at 3 of 4 sites, 1 unknown, no answer from us-1"
        );
        assert_eq!(reached(&progress, Stage::Applied), 2);
    }
}
