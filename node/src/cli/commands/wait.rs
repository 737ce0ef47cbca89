//! `wait`: until something is so.

mod change;

use std::time::Duration;

use clap::Args;
use driftless_core::name::Kind;
use serde_json::Value;
use tokio::time::Instant;

use self::change::Stage;
use super::trace::{is_event, resource_path};
use crate::api::time::parse_duration;
use crate::cli::failure::Failure;
use crate::cli::jsonpath::Template;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Named, Resource, parse_named};
use crate::cli::session::Session;

/// Between two looks. Some conditions change with time alone, so changes are not waited for but looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Wait until resources are as told, or gone
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless wait site/store-17 --for=condition=Synced --timeout 60s
  driftless wait sites -l class=store --for=condition=Applied=True
  driftless wait site/store-17 --for=jsonpath='{.status.presence.phase}'=Fresh
  driftless wait override/store-17.replicas --for=delete
  driftless wait profile/store-base --for=condition=Applied --percent 99 --timeout 5m
  driftless wait 3f9c2b7a10de --for=condition=Synced -l country=de

Synced and Applied of anything but a site are about its last change: until sites hold it, or run what they should.")]
pub struct Wait {
    /// KIND/NAME…, KIND NAME…, or KIND with --all or -l; EVENT to wait for a change
    #[arg(required = true)]
    pub names: Vec<String>,
    /// condition=NAME[=VALUE], jsonpath=TEMPLATE[=VALUE], delete or create
    #[arg(long = "for", value_name = "WHAT")]
    pub goal: String,
    /// How long; 0 looks once, a negative time waits for a week
    #[arg(long, value_name = "TIME", default_value = "30s", allow_hyphen_values = true)]
    pub timeout: String,
    /// Whatever has these labels; of a change that is named, the sites to wait for
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Of a change: so many percent of the sites that it concerns are enough
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub percent: u8,
    /// Everything of the kind
    #[arg(long, conflicts_with = "selector")]
    pub all: bool,
}

impl Wait {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let goal = Goal::parse(&self.goal)?;
        let ends = Instant::now() + timeout(&self.timeout)?;
        let stage = goal.stage();
        let mut late = Vec::new();
        let events = self.names.iter().all(|name| is_event(name));
        let targets = if events { vec![] } else { self.targets(session).await? };
        if events {
            let stage = stage.ok_or_else(|| {
                Failure::Usage(
                    "of an event only condition=Synced and condition=Applied can be waited for".to_owned(),
                )
            })?;
            for event in &self.names {
                let path = Query::new(change::PATH).segment(event);
                self.change(session, path, stage, ends, format!("event/{event}"), &mut late).await?;
            }
        }
        for (resource, name) in targets {
            let reported = resource.reported(&name);
            if let Some(stage) = stage.filter(|_| resource != Resource::of_kind(Kind::Site)) {
                let path = resource_path(change::PATH, resource, &session.namespace, &name);
                self.change(session, path, stage, ends, reported, &mut late).await?;
                continue;
            }
            let path = resource.path(Some(&session.namespace), Some(&name));
            match until(session, &path, &goal, ends).await? {
                true => print::out(&format!("{reported} {}\n", goal.said()))?,
                false => late.push(reported),
            }
        }
        match late.is_empty() {
            true => Ok(()),
            false => Err(Failure::TimedOut(format!(
                "timed out waiting for {} on {}; it may still come",
                self.goal,
                late.join(", ")
            ))),
        }
    }

    /// Waits until a change has come as far as asked; adds what is late to `late`.
    async fn change(
        &self,
        session: &Session,
        path: Query,
        stage: Stage,
        ends: Instant,
        reported: String,
        late: &mut Vec<String>,
    ) -> Result<(), Failure> {
        // Of a collection, the labels pick the resources; of what is named, the sites.
        let is_named = self.names.iter().all(|name| is_event(name))
            || parse_named(&self.names)?.iter().all(|named| matches!(named, Named::One(..)));
        let selector = self.selector.as_deref().filter(|_| is_named);
        let wait = change::Wait { stage, percent: self.percent, selector, ends };
        match wait.until_there(session, path, &reported).await? {
            None => print::out(&format!("{reported} condition met\n")),
            Some(left) => {
                late.push(format!("{reported} ({left})"));
                Ok(())
            }
        }
    }

    async fn targets(&self, session: &Session) -> Result<Vec<(Resource, String)>, Failure> {
        let mut targets = Vec::new();
        for named in parse_named(&self.names)? {
            match named {
                Named::One(resource, name) => targets.push((resource, name)),
                Named::All(resource) if self.all || self.selector.is_some() => {
                    let path = resource.path(Some(&session.namespace), None);
                    let list =
                        session.get(&path.with_some("labelSelector", self.selector.as_deref())).await?;
                    let names = list["items"].as_array().into_iter().flatten();
                    let names = names.filter_map(|item| item["metadata"]["name"].as_str());
                    targets.extend(names.map(|name| (resource, name.to_owned())));
                }
                Named::All(resource) => {
                    return Err(Failure::Usage(format!(
                        "which {}? Name them, or say --all or -l LABELS",
                        resource.plural
                    )));
                }
            }
        }
        match targets.is_empty() {
            true => Err(Failure::Refused("no matching resources found".to_owned())),
            false => Ok(targets),
        }
    }
}

async fn until(session: &Session, path: &Query, goal: &Goal, ends: Instant) -> Result<bool, Failure> {
    loop {
        let found = session.find(path).await?;
        match (goal, found) {
            (Goal::Delete, None) | (Goal::Create, Some(_)) => return Ok(true),
            (Goal::Delete, Some(_)) | (Goal::Create, None) => {}
            // As kubectl does: what is not there will have no condition.
            (_, None) => return session.get(path).await.map(|_| false),
            (goal, Some(found)) if goal.is_met(&found) => return Ok(true),
            (_, Some(_)) => {}
        }
        if Instant::now() >= ends {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY.min(ends - Instant::now())).await;
    }
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    if text.starts_with('-') {
        return Ok(Duration::from_secs(7 * 24 * 3_600));
    }
    let ms = if text == "0" { Some(0) } else { parse_duration(text) };
    ms.map(Duration::from_millis)
        .ok_or_else(|| Failure::Usage(format!("--timeout: {text:?} is no duration such as 30s")))
}

/// What is waited for.
#[derive(Debug, PartialEq)]
enum Goal {
    Delete,
    Create,
    Condition { name: String, value: String },
    Field { template: Template, value: Option<String> },
}

impl Goal {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text.split_once('=') {
            None if text.eq_ignore_ascii_case("delete") => Ok(Self::Delete),
            None if text.eq_ignore_ascii_case("create") => Ok(Self::Create),
            Some(("condition", condition)) if !condition.is_empty() => {
                let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
                Ok(Self::Condition { name: name.to_owned(), value: value.to_owned() })
            }
            Some(("jsonpath", rest)) if !rest.is_empty() => {
                // The value follows the last brace; a template may have = in it.
                let end = rest.rfind('}').map_or(rest.find('=').unwrap_or(rest.len()), |at| at + 1);
                let (template, value) = rest.split_at(end);
                let wrong = |why: String| Failure::Usage(format!("--for=jsonpath: {why}"));
                let template =
                    if template.starts_with('{') { template.to_owned() } else { format!("{{{template}}}") };
                let template = Template::parse(&template).map_err(|error| wrong(error.to_string()))?;
                match value.strip_prefix('=') {
                    Some(value) => Ok(Self::Field { template, value: Some(value.to_owned()) }),
                    None if value.is_empty() => Ok(Self::Field { template, value: None }),
                    None => Err(wrong(format!("{value:?} follows the template; write =VALUE"))),
                }
            }
            _ => Err(Failure::Usage(format!(
                "--for: {text:?} is none of condition=NAME[=VALUE], jsonpath=TEMPLATE[=VALUE], delete, create"
            ))),
        }
    }

    fn is_met(&self, found: &Value) -> bool {
        match self {
            Self::Delete | Self::Create => false,
            Self::Condition { name, value } => {
                let mut conditions = found["status"]["conditions"].as_array().into_iter().flatten();
                conditions.any(|condition| {
                    let is = |key: &str, wanted: &str| {
                        condition[key].as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
                    };
                    is("type", name) && is("status", value)
                })
            }
            // A field that is not there yet is not so yet.
            Self::Field { template, value } => match (template.render(found), value) {
                (Ok(shown), Some(value)) => shown == *value,
                (Ok(shown), None) => !shown.is_empty(),
                (Err(_), _) => false,
            },
        }
    }

    /// How far a change is to come, if the goal is about that.
    fn stage(&self) -> Option<Stage> {
        let Self::Condition { name, value } = self else { return None };
        let stages = [("synced", Stage::Synced), ("applied", Stage::Applied)];
        let found = stages.into_iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
        found.filter(|_| value.eq_ignore_ascii_case("true")).map(|(_, stage)| stage)
    }

    fn said(&self) -> &'static str {
        match self {
            Self::Delete => "deleted",
            Self::Create => "created",
            Self::Condition { .. } | Self::Field { .. } => "condition met",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn is_met(goal: &str, found: &Value) -> bool {
        Goal::parse(goal).unwrap().is_met(found)
    }

    #[test]
    fn conditions_and_fields_are_met_or_not() {
        let site = json!({"status": {
            "conditions": [{"type": "Synced", "status": "True"}, {"type": "Applied", "status": "Unknown"}],
            "presence": {"phase": "Fresh"},
        }});
        for (goal, met) in [
            ("condition=Synced", true),
            ("condition=synced=true", true),
            ("condition=Applied", false),
            ("condition=Applied=Unknown", true),
            ("condition=Absent", false),
            ("jsonpath={.status.presence.phase}=Fresh", true),
            ("jsonpath=.status.presence.phase=Fresh", true),
            ("jsonpath={.status.presence.phase}=Lost", false),
            ("jsonpath={.status.presence.phase}", true),
            ("jsonpath={.status.absent}=x", false),
            ("jsonpath={.status.conditions[?(@.type==\"Synced\")].status}=True", true),
        ] {
            assert_eq!(is_met(goal, &site), met, "{goal}");
        }
        for wrong in ["", "condition=", "synced", "jsonpath=", "jsonpath={.a", "jsonpath={.a}b"] {
            assert!(matches!(Goal::parse(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn timeouts_are_durations() {
        assert_eq!(timeout("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(timeout("0").unwrap(), Duration::ZERO);
        assert!(timeout("-1s").unwrap() > Duration::from_secs(86_400));
        assert!(timeout("soon").is_err());
    }
}
