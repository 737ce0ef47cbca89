//! A policy is changed on one hub and arrives, as files too, at edges of both regions, which can say why.

use std::path::Path;

use driftless::api::time::rfc3339;
use driftless::daemon::clock::now_ms;
use serde_json::Value;

use crate::rig::{Fleet, PROFILE, until};

const DEPOTS: &str = "
apiVersion: driftless.dev/v1
kind: Profile
metadata: {name: depots}
spec:
  priority: 200
  selector: {matchLabels: {class: depot}}
  values: {pos: {replicas: 0}}
";

#[test]
fn a_profile_reaches_edges_of_both_regions_and_they_know_why() {
    let mut fleet = Fleet::of_two_regions();
    let sites = [("hub-eu", "store-01"), ("hub-us", "store-02")];
    for (hub, site) in sites {
        fleet.edge(hub, site);
    }
    fleet.apply("hub-eu", PROFILE).ok();
    fleet.apply("hub-us", DEPOTS).ok();
    for (_, site) in sites {
        arrives(&fleet, site, 2);
    }
    let changed = fleet.file("changed.yaml", &PROFILE.replace("replicas: 2", "replicas: 3"));
    fleet.cli("hub-us", &["apply", "-f", &changed, "--reason", "INC-42"]).ok();
    for (_, site) in sites {
        arrives(&fleet, site, 3);
        knows_why(&fleet, site);
        knows_why_not(&fleet, site);
    }
}

#[test]
fn an_exception_ends_by_itself_also_at_a_site_that_is_cut_off() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    arrives(&fleet, "store-01", 2);
    let in_seconds = |seconds: u64| rfc3339(now_ms() + seconds * 1_000);
    let exception = |name: &str, selector: &str, values: &str, expires_at: &str| {
        format!(
            "{{apiVersion: driftless.dev/v1, kind: Override, metadata: {{name: {name}}}, spec: {{{selector} reason: \
             a busy week, expiresAt: '{expires_at}', values: {{pos: {{{values}}}}}}}}}"
        )
    };
    let all =
        exception("busy", "selector: {matchLabels: {class: store}},", "open-late: true", &in_seconds(6));
    let one = exception("store-01.busy", "", "replicas: 9", &in_seconds(8));
    fleet.apply("hub-eu", &all).ok();
    fleet.apply("hub-eu", &one).ok();
    arrives(&fleet, "store-01", 9);
    assert_eq!(resolved(&fleet, "store-01")["values"]["pos"]["open-late"], true);
    until("a hub says that the exception of all stores is over", || {
        resolved(&fleet, "store-01")["values"]["pos"]["open-late"].is_null()
    });
    fleet.cut("hub-eu");
    arrives(&fleet, "store-01", 2);
    fleet.heal("hub-eu");
    until("the hub knows as well", || resolved(&fleet, "hub-eu")["values"]["pos"]["replicas"] == 2);
    fleet.agree(&["hub-eu", "store-01"]);
    // An extension wins over what anybody said of the time before.
    let one = exception("store-01.busy", "", "replicas: 9", &in_seconds(3_600));
    fleet.apply("hub-eu", &one).ok();
    arrives(&fleet, "store-01", 9);
}

fn resolved(fleet: &Fleet, node: &str) -> Value {
    fleet.json(node, &["resolve", "site/store-01"])
}

/// Waits for a number of replicas, in what resolution says and in the files.
fn arrives(fleet: &Fleet, site: &str, replicas: u64) {
    let resolved = || fleet.json(site, &["resolve", &format!("site/{site}")]);
    until("the edge resolves its new configuration", || resolved()["values"]["pos"]["replicas"] == replicas);
    let wanted = resolved();
    let dir = fleet.rendered(site);
    until("the files show the new configuration", || {
        read(&dir, "config.hash").trim() == wanted["configHash"].as_str().unwrap()
    });
    let rendered: Value = serde_json::from_str(&read(&dir, "config.json")).unwrap();
    assert_eq!(rendered["values"], wanted["values"]);
    assert_eq!(rendered["values"]["pos"]["image"], "pos-2.3");
    let text = read(&dir, "config.env");
    assert!(text.contains(&format!("CONFIG_POS_REPLICAS={replicas}\n")), "{text}");
}

fn knows_why(fleet: &Fleet, site: &str) {
    let why = fleet.json(site, &["why", &format!("site/{site}"), "pos.replicas"]);
    let source = &why["source"];
    assert_eq!(
        (&why["value"], &source["kind"], &source["name"]),
        (&3.into(), &"Profile".into(), &"store-base".into())
    );
    assert!(source["revision"].as_str().is_some_and(|revision| !revision.is_empty()), "{why}");
    let writer = &source["writer"];
    assert_eq!((&writer["by"], &writer["reason"]), (&"user/admin".into(), &"INC-42".into()));
    assert!(writer["time"].as_str().is_some_and(|time| time.starts_with("20")), "{why}");
    // What was not changed since is still known by the first write.
    let image = fleet.json(site, &["why", &format!("site/{site}"), "pos.image"]);
    assert_eq!(image["source"]["writer"]["reason"], "");
}

fn knows_why_not(fleet: &Fleet, site: &str) {
    let why_not = fleet.json(site, &["why-not", "profile/depots", &format!("site/{site}")]);
    assert_eq!((&why_not["matches"], &why_not["reason"]), (&false.into(), &"Selector".into()));
    assert!(why_not["message"].as_str().is_some_and(|message| message.contains("class")), "{why_not}");
}

/// A rendered file; empty as long as it is not there.
fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_default()
}
