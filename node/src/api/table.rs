//! `Table` output: what `kubectl get` prints.
//!
//! Cells are read from the resource as it is served, so a table never says more than `-o json` does.
//! What is not known is `Unknown`, never a blank that could pass for good news.

use driftless_core::name::Kind;
use serde_json::{Value, json};

use super::time::{human_duration, parse_rfc3339};

/// One column: heading, JSON type, priority (0 always shown, 1 with `-o wide`), and its cell.
struct Column {
    name: &'static str,
    value_type: &'static str,
    priority: u8,
    cell: fn(&Value, u64) -> Value,
}

/// Which object each row carries, as the client asked with `includeObject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`, the default.
    Metadata,
    /// The whole resource.
    Whole,
}

impl RowObject {
    /// Reads `includeObject`.
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Whole,
            _ => Self::Metadata,
        }
    }
}

/// Renders resources of one kind; `metadata` is that of the list, or empty for a watch event.
pub(super) fn table(
    kind: Kind,
    resources: &[Value],
    metadata: Value,
    object: RowObject,
    now_ms: u64,
) -> Value {
    let columns = columns(kind);
    let definitions: Vec<Value> = columns.iter().map(definition).collect();
    let rows: Vec<Value> = resources
        .iter()
        .map(|resource| {
            let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(resource, now_ms)).collect();
            let mut row = json!({"cells": cells});
            match object {
                RowObject::None => {}
                RowObject::Metadata => row["object"] = partial_metadata(resource),
                RowObject::Whole => row["object"] = resource.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn partial_metadata(resource: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": resource["metadata"],
    })
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({
        "name": column.name,
        "type": column.value_type,
        "format": format,
        "description": "",
        "priority": column.priority,
    })
}

const fn text(name: &'static str, cell: fn(&Value, u64) -> Value) -> Column {
    Column { name, value_type: "string", priority: 0, cell }
}

const fn number(name: &'static str, cell: fn(&Value, u64) -> Value) -> Column {
    Column { name, value_type: "integer", priority: 0, cell }
}

const fn wide(name: &'static str, cell: fn(&Value, u64) -> Value) -> Column {
    Column { name, value_type: "string", priority: 1, cell }
}

const CONDITIONS: &str = "/status/conditions";
const NAME: Column = text("Name", |resource, _| at(resource, "/metadata/name"));
const AGE: Column = text("Age", |resource, now_ms| since(resource, "/metadata/creationTimestamp", now_ms));

fn columns(kind: Kind) -> Vec<Column> {
    match kind {
        Kind::Site => sites(),
        Kind::Profile => profiles(),
        Kind::Override => overrides(),
        Kind::Rollout => rollouts(),
        Kind::Machine => machines(),
        Kind::DriftReport => drift_reports(),
        Kind::App => apps(),
        Kind::Release => releases(),
        Kind::Member => vec![
            NAME,
            text("Site", |resource, _| owner(resource)),
            text("Key", |resource, _| short(resource, "/spec/key")),
            AGE,
        ],
        Kind::Hub => vec![
            NAME,
            text("Region", |resource, _| at(resource, "/spec/region")),
            text("Key", |resource, _| short(resource, "/spec/key")),
            AGE,
        ],
        Kind::Revocation => vec![NAME, text("Key", |resource, _| short(resource, "/spec/key")), AGE],
        Kind::SiteStatus | Kind::HubStatus | Kind::Setting => vec![NAME, AGE],
    }
}

fn sites() -> Vec<Column> {
    vec![
        NAME,
        text("Region", |site, _| at(site, "/spec/region")),
        text("Phase", |site, _| or_unknown(site, "/status/presence/phase")),
        text("Last-Seen", |site, now_ms| since(site, "/status/presence/lastSeen", now_ms)),
        text("Synced", |site, _| condition(site, CONDITIONS, "Synced")),
        text("Applied", |site, _| condition(site, CONDITIONS, "Applied")),
        number("Profiles", |site, _| count(site, "/status/profiles")),
        AGE,
        wide("Hub", |site, _| or_unknown(site, "/status/presence/hub")),
        wide("As-Of", |site, now_ms| since(site, "/status/presence/asOf", now_ms)),
        wide("Config", |site, _| short(site, "/status/desired/configHash")),
        wide("Active", |site, _| short(site, "/status/active/configHash")),
        wide("Matched", |site, _| names(site, "/status/profiles")),
        wide("Overrides", |site, _| count(site, "/status/overrides")),
        wide("Ambiguous", |site, _| or_unknown(site, "/status/counts/ambiguous")),
        wide("Denied", |site, _| or_unknown(site, "/status/counts/denied")),
        wide("Why", |site, _| complaint(site)),
    ]
}

fn profiles() -> Vec<Column> {
    vec![
        NAME,
        number("Priority", |profile, _| at(profile, "/spec/priority")),
        text("Revision", |profile, _| or_unknown(profile, "/status/revision")),
        text("Matched", |profile, _| or_unknown(profile, "/status/matched")),
        text("Applied", |profile, _| or_unknown(profile, "/status/applied")),
        AGE,
        wide("Ambiguous", |profile, _| or_unknown(profile, "/status/ambiguous")),
        wide("Denied", |profile, _| or_unknown(profile, "/status/denied")),
        wide("Failed", |profile, _| or_unknown(profile, "/status/failed")),
        wide("Stale", |profile, _| or_unknown(profile, "/status/stale")),
        wide("Lifecycle", |profile, _| match at(profile, "/spec/lifecycle") {
            Value::String(text) if !text.is_empty() => Value::String(text),
            _ => json!("Published"),
        }),
        wide("Pinned", |profile, _| at(profile, "/spec/revision")),
    ]
}

fn overrides() -> Vec<Column> {
    vec![
        NAME,
        text("Layer", |resource, _| {
            json!(match resource
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .and_then(|name| name.split_once('.'))
            {
                None => "Selector",
                Some((_, "local")) => "Local",
                Some(_) => "Site",
            })
        }),
        text("Paths", |resource, _| Value::String(paths(resource))),
        text("Owner", |resource, _| at(resource, "/spec/owner")),
        text("Expires", |resource, now_ms| Value::String(expires(resource, now_ms))),
        AGE,
        wide("Reason", |resource, _| at(resource, "/spec/reason")),
        wide("Priority", |resource, _| at(resource, "/spec/priority")),
    ]
}

fn rollouts() -> Vec<Column> {
    vec![
        NAME,
        text("Subject", |rollout, _| {
            let subject =
                |field: &str| rollout.pointer(&format!("/spec/subject/{field}")).and_then(Value::as_str);
            json!(format!("{}/{}", subject("kind").unwrap_or("?"), subject("name").unwrap_or("?")))
        }),
        text("To", |rollout, _| match rollout.pointer("/spec/subject/to") {
            Some(to) => to.clone(),
            None => short(rollout, "/spec/subject/toRevision"),
        }),
        text("State", |rollout, _| or_unknown(rollout, "/spec/state")),
        number("Waves", |rollout, _| count(rollout, "/spec/waves")),
        text("Coordinator", |rollout, _| at(rollout, "/spec/coordinator")),
        AGE,
    ]
}

/// Machines carry readiness in their status and facts in their spec, as inventories report them.
fn machines() -> Vec<Column> {
    vec![
        NAME,
        text("Site", |machine, _| owner(machine)),
        text("Ready", |machine, _| condition(machine, CONDITIONS, "Ready")),
        text("CPU", |machine, _| or_unknown(machine, "/spec/capacity/cpu")),
        text("Memory", |machine, _| or_unknown(machine, "/spec/capacity/memory")),
        AGE,
        wide("OS", |machine, _| or_unknown(machine, "/spec/os")),
        wide("Arch", |machine, _| or_unknown(machine, "/spec/arch")),
        wide("Kernel", |machine, _| or_unknown(machine, "/spec/kernelVersion")),
        wide("Kubelet", |machine, _| at(machine, "/spec/kubeletVersion")),
        wide("Model", |machine, _| at(machine, "/spec/model")),
    ]
}

fn drift_reports() -> Vec<Column> {
    vec![
        NAME,
        text("Site", |report, _| owner(report)),
        text("State", |report, _| or_unknown(report, "/spec/state")),
        text("Drifted", |report, _| match at(report, "/spec/total") {
            Value::Null => count(report, "/spec/items"),
            total => total,
        }),
        text("Last-Observed", |report, now_ms| since(report, "/spec/lastObserved", now_ms)),
        AGE,
    ]
}

fn apps() -> Vec<Column> {
    vec![
        NAME,
        text("Channels", |app, _| {
            let channels = app.pointer("/spec/channels").and_then(Value::as_object);
            let pairs: Vec<String> = channels
                .into_iter()
                .flatten()
                .map(|(channel, version)| format!("{channel}={}", version.as_str().unwrap_or("?")))
                .collect();
            Value::String(listed(&pairs))
        }),
        AGE,
        wide("Source", |app, _| {
            let source = app.pointer("/spec/source").and_then(Value::as_object);
            json!(source.and_then(|source| source.values().find_map(Value::as_str)).unwrap_or_default())
        }),
    ]
}

fn releases() -> Vec<Column> {
    vec![
        NAME,
        text("App", |release, _| at(release, "/spec/app")),
        text("Version", |release, _| at(release, "/spec/version")),
        text("Digest", |release, _| {
            let digest = release.pointer("/spec/digest").and_then(Value::as_str).unwrap_or_default();
            json!(digest.chars().take("sha256:".len() + 12).collect::<String>())
        }),
        text("State", |release, _| {
            let set = |field: &str| {
                release
                    .pointer(&format!("/spec/{field}"))
                    .is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
            };
            json!(match (set("yanked"), set("deprecated")) {
                (true, _) => "Yanked",
                (false, true) => "Deprecated",
                (false, false) => "Available",
            })
        }),
        AGE,
    ]
}

/// The value there, or a blank.
fn at(resource: &Value, pointer: &str) -> Value {
    resource.pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn or_unknown(resource: &Value, pointer: &str) -> Value {
    match at(resource, pointer) {
        Value::Null => json!("Unknown"),
        Value::String(text) if text.is_empty() => json!("Unknown"),
        Value::String(text) => Value::String(text),
        other => Value::String(other.to_string()),
    }
}

fn short(resource: &Value, pointer: &str) -> Value {
    match resource.pointer(pointer).and_then(Value::as_str) {
        Some(text) => json!(text.chars().take(12).collect::<String>()),
        None => json!("Unknown"),
    }
}

fn count(resource: &Value, pointer: &str) -> Value {
    match resource.pointer(pointer) {
        Some(Value::Array(items)) => json!(items.len()),
        Some(Value::Object(fields)) => json!(fields.len()),
        _ => json!("Unknown"),
    }
}

fn names(resource: &Value, pointer: &str) -> Value {
    let names = resource.pointer(pointer).and_then(Value::as_array).map(|items| {
        let name = |item: &Value| item.as_str().or_else(|| item["name"].as_str()).map(str::to_owned);
        listed(&items.iter().filter_map(name).collect::<Vec<_>>())
    });
    Value::String(names.unwrap_or_else(|| "Unknown".to_owned()))
}

fn owner(resource: &Value) -> Value {
    let name = resource.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    json!(name.split_once('.').map_or(name, |(owner, _)| owner))
}

/// The status of a condition: True, False, or Unknown if nobody said.
fn condition(resource: &Value, pointer: &str, kind: &str) -> Value {
    let conditions = resource.pointer(pointer).and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    match found.and_then(|condition| condition["status"].as_str()) {
        Some(status) => json!(status),
        None => json!("Unknown"),
    }
}

/// The reason of the first condition that is not as it should be.
fn complaint(resource: &Value) -> Value {
    let conditions = resource.pointer(CONDITIONS).and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| {
        let good = if matches!(
            condition["type"].as_str(),
            Some("Ambiguous" | "Denied" | "Deprecated" | "Held" | "ResolutionFailed" | "NoProfile")
        ) {
            "False"
        } else {
            "True"
        };
        condition["status"] != good
    });
    json!(found.and_then(|condition| condition["reason"].as_str()).unwrap_or_default())
}

fn since(resource: &Value, pointer: &str, now_ms: u64) -> Value {
    match resource.pointer(pointer).and_then(Value::as_str).and_then(parse_rfc3339) {
        // A clock elsewhere may be ahead of ours: that is no age below zero.
        Some(time_ms) => json!(human_duration(now_ms.saturating_sub(time_ms))),
        None => json!("Unknown"),
    }
}

fn expires(resource: &Value, now_ms: u64) -> String {
    if resource.pointer("/spec/permanent") == Some(&Value::Bool(true)) {
        return "never".to_owned();
    }
    match resource.pointer("/spec/expiresAt").and_then(Value::as_str).and_then(parse_rfc3339) {
        Some(time_ms) if time_ms <= now_ms => format!("{} ago", human_duration(now_ms - time_ms)),
        Some(time_ms) => format!("in {}", human_duration(time_ms - now_ms)),
        None => "Unknown".to_owned(),
    }
}

/// The paths that an override sets.
fn paths(resource: &Value) -> String {
    let mut found = Vec::new();
    if let Some(values) = resource.pointer("/spec/values") {
        collect_paths(values, "", &mut found);
    }
    for (pointer, prefix) in [("/spec/vars", "vars."), ("/spec/apps", "apps.")] {
        match resource.pointer(pointer) {
            Some(Value::Object(vars)) => found.extend(vars.keys().map(|name| format!("{prefix}{name}"))),
            Some(Value::Array(apps)) => {
                found.extend(
                    apps.iter().filter_map(|app| app["app"].as_str()).map(|name| format!("{prefix}{name}")),
                );
            }
            _ => {}
        }
    }
    listed(&found)
}

fn collect_paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !fields.keys().all(|key| key.starts_with('$')) => {
            for (key, value) in fields {
                let key = if key.contains(['.', '[', '"']) { format!("[{key:?}]") } else { key.clone() };
                let dot = if path.is_empty() || key.starts_with('[') { "" } else { "." };
                collect_paths(value, &format!("{path}{dot}{key}"), found);
            }
        }
        _ if path.is_empty() => {}
        _ => found.push(path.to_owned()),
    }
}

/// The first two, and how many more.
fn listed(items: &[String]) -> String {
    match items.len() {
        0..=2 => items.join(","),
        more => format!("{},{} +{}", items[0], items[1], more - 2),
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
