//! `status`: the fleet at a glance, as the node that answers sees it.

use clap::Args;
use serde_json::Value;

use crate::api::time::{human_duration, rfc3339};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;

/// Show the fleet at a glance: sites by freshness, peers, conflicts, conditions
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
    for condition in status["conditions"].as_array().into_iter().flatten() {
        line("Condition", format!("{}: {}", text(&condition["type"]), text(&condition["message"])));
    }
    out
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
        });
        let shown = at_a_glance(&status);
        assert!(shown.starts_with("Node:        eu-1 (hub)\n"), "{shown}");
        assert!(shown.contains("Sites:       3: 2 Fresh, 1 Lost\n"), "{shown}");
        assert!(shown.contains("Other hub:   us-1 (us): Unknown, never heard\n"), "{shown}");
        assert!(shown.contains("Condition:   SameKeyTwice: two\n"), "{shown}");
    }
}
