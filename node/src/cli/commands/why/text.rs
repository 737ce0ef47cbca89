//! Reasons in sentences.

use serde_json::Value;

use crate::cli::commands::conflicts::lost;
use crate::cli::commands::history::{dotted, short};

/// Most leaves of a map that are listed.
const LEAVES_MAX: usize = 20;

/// Why a value is what it is.
pub(super) fn why(answer: &Value) -> String {
    let (path, site) = (text(&answer["path"]), text(&answer["site"]));
    let mut out = match answer["isSet"].as_bool() {
        Some(false) => format!("{path} of site/{site} is removed\n"),
        _ => format!("{path} of site/{site} is {}\n", answer["value"]),
    };
    out.push_str(&format!("  by       {}\n", contribution(&answer["source"])));
    writer(&mut out, &answer["source"]);
    for (word, key) in [("beats", "shadowed"), ("denied", "denied")] {
        for other in items(&answer[key]) {
            out.push_str(&format!("  {word:<8} {} by {}\n", other["value"], contribution(other)));
            writer(&mut out, other);
        }
    }
    if answer["ambiguous"] == true {
        out.push_str(
            "  Ambiguous: profiles of the same priority write different values here; the later name won\n",
        );
    }
    for (name, variable) in answer["variables"].as_object().into_iter().flatten() {
        match variable {
            Value::Null => out.push_str(&format!("  ${{{name}}} has no value\n")),
            found => {
                let source = text(&found["source"]);
                out.push_str(&format!("  ${{{name}}} is {}, from {source}\n", found["value"]));
                writer(&mut out, found);
            }
        }
    }
    let leaves: Vec<&Value> = items(&answer["leaves"]).collect();
    if !leaves.is_empty() {
        let shown = leaves.iter().take(LEAVES_MAX).map(|leaf| text(leaf)).collect::<Vec<_>>().join(", ");
        let more = leaves.len().saturating_sub(LEAVES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push_str(&format!("  Below it: {shown}{more}; ask for each\n"));
    }
    let as_of = answer["asOf"].as_str().unwrap_or("an unknown time");
    out.push_str(&format!("As {} knows it, as of {as_of}\n", text(&answer["node"])));
    out
}

/// Why a profile does not apply.
pub(super) fn why_not(answer: &Value) -> String {
    let (profile, site) = (text(&answer["profile"]), text(&answer["site"]));
    let verb = if answer["matches"] == true { "applies" } else { "does not apply" };
    let why = match answer["reason"].as_str() {
        Some("Matches") => return format!("profile/{profile} applies to site/{site}\n"),
        Some("Selector") => format!("its selector wants {}", text(&answer["message"])),
        _ => text(&answer["message"]),
    };
    format!("profile/{profile} {verb} to site/{site}: {why}\n")
}

fn contribution(found: &Value) -> String {
    let layer = match found["layer"].as_str() {
        Some("SelectorOverride") => ", an override with a selector",
        Some("SiteOverride") => ", an override of the site",
        Some("LocalOverride") => ", written at the site",
        Some("Enforced") => ", which enforces it",
        _ => "",
    };
    format!(
        "{}/{}{layer} (priority {}, revision {})",
        text(&found["kind"]).to_lowercase(),
        text(&found["name"]),
        found["priority"],
        text(&found["revision"])
    )
}

/// Who wrote it, and what nobody has looked at yet.
fn writer(out: &mut String, found: &Value) {
    let said = |value: &Value| {
        let reason = match value["reason"].as_str() {
            None | Some("") => String::new(),
            Some(reason) => format!(": {reason}"),
        };
        format!(
            "{} at {}, event {}{reason}",
            text(&value["by"]),
            text(&value["time"]),
            short(&text(&value["event"]))
        )
    };
    if found["writer"].is_object() {
        out.push_str(&format!("           written by {}\n", said(&found["writer"])));
    }
    for conflict in items(&found["conflicts"]) {
        for loser in items(&conflict["losers"]) {
            let at = dotted(&text(&conflict["path"]));
            out.push_str(&format!(
                "           concurrent, not acknowledged: {at} {} by {}\n",
                lost(loser),
                said(loser)
            ));
        }
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_names_layer_writer_and_what_it_beat() {
        let writer = |by: &str, value: i64| json!({"by": by, "time": "T", "event": "0123456789abcdef", "reason": "INC-42", "value": value});
        let answer = json!({
            "path": "pos.replicas", "site": "store-17", "value": 4, "isSet": true, "node": "hub-eu-1", "asOf": "T",
            "source": {"layer": "SiteOverride", "kind": "Override", "name": "store-17.replicas", "priority": 100,
                       "revision": "abc", "value": 4, "writer": writer("user/mia", 4),
                       "conflicts": [{"path": "/spec/values/pos/replicas", "losers": [writer("user/ada", 5)]}]},
            "shadowed": [{"layer": "Profile", "kind": "Profile", "name": "store-base", "priority": 200, "revision": "def", "value": 2}],
            "variables": {"till_count": {"value": 2, "source": "default"}},
        });
        assert_eq!(
            why(&answer),
            "pos.replicas of site/store-17 is 4\n  \
               by       override/store-17.replicas, an override of the site (priority 100, revision abc)\n           \
                        written by user/mia at T, event 0123456789ab: INC-42\n           \
                        concurrent, not acknowledged: spec.values.pos.replicas 5 by user/ada at T, event 0123456789ab: INC-42\n  \
               beats    2 by profile/store-base (priority 200, revision def)\n  \
               ${till_count} is 2, from default\n\
             As hub-eu-1 knows it, as of T\n"
        );
    }

    #[test]
    fn a_profile_says_which_term_failed() {
        let answer = json!({"profile": "a", "site": "b", "matches": false, "reason": "Selector", "message": "label x=1, found \"2\""});
        assert_eq!(
            why_not(&answer),
            "profile/a does not apply to site/b: its selector wants label x=1, found \"2\"\n"
        );
    }
}
