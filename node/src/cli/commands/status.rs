//! `status`: the fleet at a glance, as the node that answers sees it.

use clap::Args;
use serde_json::Value;

use super::history::short;
use crate::api::time::{human_duration, rfc3339};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;

/// Show the fleet at a glance: sites by freshness, peers, conflicts, how far recent changes have come
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless status
  driftless status -o jsonpath='{.sites.phases.Fresh}'")]
pub struct Status {
    /// json, yaml or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

impl Status {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = session.answer(&Query::new("/v1/status")).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer.value], true, &output, false)?);
        }
        let mut text = at_a_glance(&answer.value);
        if let Some(as_of) = answer.headers.get("x-driftless-as-of").and_then(|value| value.to_str().ok()) {
            text.push_str(&format!("As of:       {as_of}\n"));
        }
        print::out(&text)
    }
}

fn at_a_glance(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    };
    let mut out = String::new();
    let mut line = |key: &str, value: String| out.push_str(&format!("{:<13}{value}\n", format!("{key}:")));
    line("Node", format!("{} ({})", text(&status["node"]), text(&status["role"])));
    line("Fleet", text(&status["fleet"]));
    let phases = status["sites"]["phases"].as_object();
    let phases: Vec<String> =
        phases.into_iter().flatten().map(|(phase, count)| format!("{count} {phase}")).collect();
    let phases = if phases.is_empty() { String::new() } else { format!(": {}", phases.join(", ")) };
    line("Sites", format!("{}{phases}", text(&status["sites"]["total"])));
    if let Some(as_of_ms) = status["sites"]["asOf"].as_u64() {
        let ago = human_duration(now_ms().saturating_sub(as_of_ms));
        line("Heard as of", format!("{} ({ago} ago)", rfc3339(as_of_ms)));
    }
    for hub in status["hubs"].as_array().into_iter().flatten() {
        let heard_ms = hub["lastHeard"].as_u64();
        let ago = heard_ms.map(|heard_ms| human_duration(now_ms().saturating_sub(heard_ms)));
        let ago = ago.map_or_else(|| "never heard".to_owned(), |ago| format!("heard {ago} ago"));
        line(
            "Other hub",
            format!("{} ({}): {}, {ago}", text(&hub["name"]), text(&hub["region"]), text(&hub["phase"])),
        );
    }
    line("Profiles", text(&status["profiles"]));
    let peers = &status["peers"];
    line("Peers", format!("{} connected, {} behind", text(&peers["connected"]), text(&peers["behind"])));
    line("Conflicts", text(&status["conflicts"]));
    if let Some(contact_ms) = status["lastContact"].as_u64() {
        let ago = human_duration(now_ms().saturating_sub(contact_ms));
        line("Hub heard", format!("{} ({ago} ago)", rfc3339(contact_ms)));
    }
    let held = format!("{} scopes, {} bytes on disk", text(&status["scopes"]), text(&status["diskBytes"]));
    line("Holds", held);
    for change in status["changes"].as_array().into_iter().flatten() {
        line("Change", change_line(change));
    }
    for condition in status["conditions"].as_array().into_iter().flatten() {
        line("Condition", format!("{}: {}", text(&condition["type"]), text(&condition["message"])));
    }
    out
}

/// How far one change has come.
fn change_line(change: &Value) -> String {
    let text = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
    let count = |key: &str| change[key].as_u64().unwrap_or_default();
    let age = human_duration(change["ageMs"].as_u64().unwrap_or_default());
    let unknown = match count("unknown") {
        0 => String::new(),
        unknown => format!(", {unknown} unknown"),
    };
    format!(
        "{}/{} {} {age} ago by {}: held by {} of {} sites, applied by {}{unknown}",
        text("kind").to_lowercase(),
        text("name"),
        short(&text("event")),
        text("by"),
        count("durable"),
        count("interested"),
        count("applied"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fleet_fits_on_a_screen() {
        let status = json!({
            "node": "eu-1", "role": "hub", "fleet": "f", "scopes": 4, "diskBytes": 9, "profiles": 2, "conflicts": 1,
            "sites": {"total": 3, "phases": {"Fresh": 2, "Lost": 1}, "asOf": null}, "peers": {"connected": 2, "behind": 0},
            "hubs": [{"name": "us-1", "region": "us", "phase": "Unknown", "lastHeard": null}],
            "conditions": [{"type": "SameKeyTwice", "message": "two"}],
            "changes": [{"event": "0123456789abcdef", "kind": "Profile", "name": "base", "by": "mia",
                "ageMs": 5_000, "interested": 3, "durable": 2, "applied": 1, "unknown": 1}],
        });
        let shown = at_a_glance(&status);
        assert!(shown.starts_with("Node:        eu-1 (hub)\n"), "{shown}");
        assert!(shown.contains("Sites:       3: 2 Fresh, 1 Lost\n"), "{shown}");
        assert!(shown.contains("Other hub:   us-1 (us): Unknown, never heard\n"), "{shown}");
        let change = "profile/base 0123456789ab 5s ago by mia: held by 2 of 3 sites, applied by 1, 1 unknown";
        assert!(shown.contains(&format!("Change:      {change}\n")), "{shown}");
        assert!(shown.contains("Condition:   SameKeyTwice: two\n"), "{shown}");
    }
}
