use serde_json::json;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;

fn row(kind: Kind, resource: Value) -> Vec<(String, Value)> {
    let table = table(kind, &[resource], json!({}), RowObject::Metadata, NOW_MS);
    let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let cells = table["rows"][0]["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(columns.len(), cells.len());
    columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).zip(cells).collect()
}

fn cell(row: &[(String, Value)], name: &str) -> String {
    match row.iter().find(|(column, _)| column == name) {
        Some((_, Value::String(text))) => text.clone(),
        Some((_, other)) => other.to_string(),
        None => panic!("no column {name}"),
    }
}

#[test]
fn a_site_nobody_has_heard_of_is_unknown_not_healthy() {
    let row = row(Kind::Site, json!({"metadata": {"name": "store-17"}, "spec": {"region": "eu"}}));
    for column in ["Phase", "Last-Seen", "Synced", "Applied", "Profiles", "Age"] {
        assert_eq!(cell(&row, column), "Unknown", "{column}");
    }
    assert_eq!(cell(&row, "Region"), "eu");
}

#[test]
fn a_site_shows_what_its_status_says() {
    let row = row(
        Kind::Site,
        json!({
            "metadata": {"name": "store-17", "creationTimestamp": "2023-11-14T20:13:20Z"},
            "spec": {"region": "eu"},
            "status": {
                "presence": {"phase": "Stale", "lastSeen": "2023-11-14T22:11:00Z"},
                "profiles": ["base", "eu", "nl"],
                "conditions": [
                    {"type": "Synced", "status": "True"},
                    {"type": "Applied", "status": "False", "reason": "Held"},
                ],
            },
        }),
    );
    let shown = ["Phase", "Last-Seen", "Synced", "Applied", "Profiles", "Age", "Matched", "Why"];
    let shown: Vec<String> = shown.iter().map(|name| cell(&row, name)).collect();
    assert_eq!(shown, ["Stale", "2m20s", "True", "False", "3", "120m", "base,eu +1", "Held"]);
}

#[test]
fn an_override_names_its_layer_paths_and_end() {
    let named =
        |name: &str, spec: Value| row(Kind::Override, json!({"metadata": {"name": name}, "spec": spec}));
    let site = named(
        "store-17.replicas",
        json!({"values": {"pos": {"replicas": 4, "a.b/c": 1}}, "expiresAt": "2023-11-14T23:13:20Z"}),
    );
    assert_eq!(cell(&site, "Layer"), "Site");
    assert_eq!(cell(&site, "Paths"), "pos[\"a.b/c\"],pos.replicas");
    assert_eq!(cell(&site, "Expires"), "in 60m");
    let local =
        named("store-17.local", json!({"vars": {"till_count": 4}, "expiresAt": "2023-11-14T21:13:20Z"}));
    assert_eq!((cell(&local, "Layer"), cell(&local, "Paths")), ("Local".into(), "vars.till_count".into()));
    assert_eq!(cell(&local, "Expires"), "60m ago");
    let fleet = named("holiday", json!({"values": {"x": {"$delete": true}}, "permanent": true}));
    assert_eq!((cell(&fleet, "Layer"), cell(&fleet, "Paths")), ("Selector".into(), "x".into()));
    assert_eq!(cell(&fleet, "Expires"), "never");
}

#[test]
fn a_machine_is_ready_if_it_says_so() {
    let machine = |status: Value| {
        let resource = json!({"metadata": {"name": "store-17.till-1"}, "spec": {"capacity": {"cpu": "2"}}, "status": status});
        row(Kind::Machine, resource)
    };
    let ready = machine(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    assert_eq!(
        (cell(&ready, "Ready"), cell(&ready, "Site"), cell(&ready, "CPU")),
        ("True".into(), "store-17".into(), "2".into())
    );
    assert_eq!(cell(&machine(json!({})), "Ready"), "Unknown");
}

#[test]
fn every_kind_has_a_table_that_bears_any_resource() {
    for kind in Kind::ALL {
        for resource in [json!({}), json!({"metadata": [], "spec": "x", "status": 7}), json!(null)] {
            row(kind, resource);
        }
        assert_eq!(row(kind, json!({"metadata": {"name": "a.b"}}))[0].1, "a.b");
    }
}

#[test]
fn rows_carry_what_the_client_asked_for() {
    let site = json!({"metadata": {"name": "store-17"}, "spec": {"region": "eu"}});
    let object = |object| {
        table(Kind::Site, std::slice::from_ref(&site), json!({}), object, NOW_MS)["rows"][0]["object"].clone()
    };
    assert_eq!(object(RowObject::None), Value::Null);
    assert_eq!(object(RowObject::Metadata)["kind"], "PartialObjectMetadata");
    assert_eq!(object(RowObject::Metadata)["spec"], Value::Null);
    assert_eq!(object(RowObject::Whole), site);
}
