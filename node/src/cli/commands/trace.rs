//! `trace`: where a change is, hop by hop, and why it is not further.

use clap::Args;
use driftless_core::name::Kind;
use serde_json::Value;

use super::history::short;
use crate::api::time::{human_duration, parse_rfc3339};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Resource, parse_of_kind, parse_several};
use crate::cli::session::Session;
use crate::cli::table::align;

/// Hex digits that make an argument an event rather than a kind.
const EVENT_CHARS_MIN: usize = 8;

/// Show where a change is: at each hub and each site, and why it is not further
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless trace profile/store-base
  driftless trace profile/store-base --site store-17
  driftless trace 3f9c2b7a10de -o json

An event is named by the start of its id, as `driftless history` shows it; KIND/NAME means the last effective change of
that resource. States, from far to near: Unknown, NotConnected, Waiting, InFlight, Durable (held, and not what runs),
Applied; OutsideInterest for what is not for a site.")]
pub struct Trace {
    /// EVENT, KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2)]
    pub change: Vec<String>,
    /// Only this site
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// json, yaml or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Trace {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let site = self.site.as_deref().map(|site| parse_of_kind(site, Kind::Site)).transpose()?;
        let mut path = change_path("/v1/trace", &self.change, session)?;
        if let Some(site) = &site {
            path = path.with("site", site).with("namespace", &session.namespace);
        }
        let answer = session.get(&path).await?;
        match output.wants_table() {
            true => print::out(&text(&answer, now_ms())),
            false => print::out(&render_objects(&[answer], true, &output, false)?),
        }
    }
}

/// Whether an argument names an event.
pub(super) fn is_event(argument: &str) -> bool {
    argument.len() >= EVENT_CHARS_MIN && argument.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The path of a question about a change: an event, or the last one of a resource.
pub(super) fn change_path(root: &str, change: &[String], session: &Session) -> Result<Query, Failure> {
    if let [event] = change
        && is_event(event)
    {
        return Ok(Query::new(root).segment(event));
    }
    match parse_several(change)?.as_slice() {
        [(resource, name)] => Ok(resource_path(root, *resource, &session.namespace, name)),
        _ => Err(Failure::Usage("one change at a time: EVENT or KIND/NAME".to_owned())),
    }
}

/// The path of a question about the last change of a resource.
pub(super) fn resource_path(root: &str, resource: Resource, namespace: &str, name: &str) -> Query {
    let path = Query::new(root).segment(resource.plural);
    match resource.namespaced {
        true => path.segment(namespace).segment(name),
        false => path.segment(name),
    }
}

fn text(trace: &Value, now: u64) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&trace["kind"]).to_lowercase();
    let mut out = format!("Change:  {} of {kind}/{}\n", short(&text(&trace["event"])), text(&trace["name"]));
    let because = match text(&trace["reason"]) {
        reason if reason.is_empty() => String::new(),
        reason => format!(": {reason}"),
    };
    let (by, time, author) = (text(&trace["by"]), text(&trace["time"]), text(&trace["author"]));
    out.push_str(&format!("Written: {time} by {by} at {author}{because}\n"));
    if let Some(why) = trace["void"]["message"].as_str() {
        out.push_str(&format!("Effect:  {why}\n"));
    }
    let counts = &trace["counts"];
    let count = |key: &str| counts[key].as_u64().unwrap_or_default();
    out.push_str(&format!(
        "Sites:   {} concerned, {} hold it, {} run what they should, {} unknown\n\n",
        count("interested"),
        count("durable"),
        count("applied"),
        count("unknown")
    ));
    let header = ["HOP", "REGION", "VIA", "STATE", "REASON", "SINCE", "WHY"].map(str::to_owned);
    let mut lines = vec![header.to_vec()];
    let list = |key: &str| trace[key].as_array().map_or(&[][..], Vec::as_slice);
    lines.extend(list("hubs").iter().map(|hub| line(hub, format!("hub/{}", text(&hub["name"])), now)));
    lines.extend(list("sites").iter().map(|site| line(site, format!("site/{}", text(&site["site"])), now)));
    out.push_str(&align(&lines));
    if let Some(left_out @ 1..) = trace["leftOut"].as_u64() {
        out.push_str(&format!("… and {left_out} more sites\n"));
    }
    out
}

fn line(entry: &Value, hop: String, now: u64) -> Vec<String> {
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let since = entry["since"].as_str().and_then(parse_rfc3339);
    let since = since.map_or_else(|| "-".to_owned(), |since| human_duration(now.saturating_sub(since)));
    vec![hop, text("region"), text("hub"), text("state"), text("reason"), since, text("message")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trace_names_the_change_and_every_hop() {
        let trace = json!({
            "event": "0123456789abcdef", "kind": "Profile", "name": "base", "by": "mia", "author": "eu-1",
            "reason": "INC-42", "time": "2026-11-22T14:00:00Z", "leftOut": 2,
            "counts": {"interested": 3, "durable": 1, "applied": 1, "unknown": 2},
            "hubs": [{"name": "eu-1", "region": "eu", "state": "Durable", "reason": "Held", "message": "here"}],
            "sites": [{"site": "store-1", "region": "us", "hub": null, "state": "Unknown",
                "reason": "HubCannotBeAsked", "message": "us-1 is silent", "since": "2026-11-22T14:00:00Z"}],
        });
        let now = parse_rfc3339("2026-11-22T14:01:00Z").unwrap_or_default();
        let shown = text(&trace, now);
        assert!(shown.starts_with("Change:  0123456789ab of profile/base\n"), "{shown}");
        assert!(shown.contains("by mia at eu-1: INC-42\n"), "{shown}");
        assert!(shown.contains("3 concerned, 1 hold it, 1 run what they should, 2 unknown\n"), "{shown}");
        let line = shown.lines().find(|line| line.starts_with("site/store-1")).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], ["site/store-1", "us", "-", "Unknown", "HubCannotBeAsked", "60s"]);
        assert!(shown.ends_with("… and 2 more sites\n"));
    }

    #[test]
    fn events_and_resources_are_told_apart() {
        for (argument, event) in
            [("3f9c2b7a10de", true), ("3f9c2b7", false), ("profile/base", false), ("profiles", false)]
        {
            assert_eq!(is_event(argument), event, "{argument}");
        }
    }
}
