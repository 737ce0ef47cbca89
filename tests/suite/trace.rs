//! Where a change is, and why it is not further, as `trace` says of a fleet of real processes; and waiting for it.

use serde_json::Value;

use crate::rig::{Fleet, PROFILE, until};

const CHANGE: &str = "profile/store-base";

#[test]
fn a_change_is_waited_for_at_every_hub_and_traced_to_every_site() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    fleet.edge("hub-us", "store-02");
    fleet.apply("hub-eu", PROFILE).ok();
    let waited = wait(&fleet, "hub-eu", "Applied", &["--timeout", "60s"]).ok();
    assert_eq!(waited.stdout, "profile/store-base condition met\n");
    assert!(waited.stderr.contains("applied at 2 of 2 sites"), "{}", waited.stderr);
    let trace = fleet.json("hub-us", &["trace", CHANGE]);
    assert_eq!((&trace["counts"]["applied"], &trace["author"]), (&2.into(), &"hub-eu".into()), "{trace}");
    for hub in trace["hubs"].as_array().unwrap() {
        assert_eq!(hub["state"], "Durable", "{trace}");
    }
    let shown = fleet.cli("hub-us", &["trace", CHANGE]).ok().stdout;
    let line = shown.lines().find(|line| line.starts_with("site/store-01")).unwrap();
    assert!(line.contains("hub-eu") && line.contains("Applied"), "{shown}");
    // By its id too, from where it was written or not.
    let event = trace["event"].as_str().unwrap();
    for node in ["hub-eu", "hub-us", "store-01"] {
        assert_eq!(fleet.json(node, &["trace", &event[..12]])["event"], event, "{node}");
    }
    // A status, peers and metrics say the same.
    let status = fleet.cli("hub-us", &["status"]).ok().stdout;
    assert!(status.contains("held by 2 of 2 sites, applied by 2"), "{status}");
    let wide = fleet.cli("hub-eu", &["peers", "-o", "wide"]).ok().stdout;
    assert!(wide.contains("LAG-BYTES") && wide.contains("LAG-SECONDS"), "{wide}");
    // One region alone is enough for some.
    let label = ["-l", "nothing=like-this"];
    wait(&fleet, "hub-eu", "Synced", &label).refused(1, &["no matching resources found"]);
    wait(&fleet, "hub-eu", "Synced", &["-l", "class=store"]).ok();
}

#[test]
fn what_a_site_makes_of_a_change_is_told_in_its_words() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    wait(&fleet, "hub-eu", "Applied", &["--timeout", "60s"]).ok();
    // A hold freezes what runs.
    patch(&fleet, "site/store-01", r#"{"spec":{"hold":{"reason":"stocktaking"}}}"#);
    patch(&fleet, CHANGE, r#"{"spec":{"values":{"pos":{"replicas":3}}}}"#);
    said(&fleet, CHANGE, "Durable", "Held", "stocktaking");
    wait(&fleet, "hub-eu", "Synced", &["--timeout", "60s"]).ok();
    let late = wait(&fleet, "hub-eu", "Applied", &["--timeout", "0"]);
    late.refused(1, &["timed out waiting", "applied at 0 of 1 sites", "driftless trace"]);
    patch(&fleet, "site/store-01", r#"{"spec":{"hold":null}}"#);
    said(&fleet, CHANGE, "Applied", "Active", "desired");
    // Two profiles that contradict each other in kind do not resolve.
    fleet
        .apply(
            "hub-eu",
            &PROFILE
                .replace("store-base", "odd")
                .replace("100", "200")
                .replace("{replicas: 2, image: pos-2.3, limits: {cpu: 1}}", "5"),
        )
        .ok();
    said(&fleet, CHANGE, "Durable", "ResolutionFailed", "TypeChange");
    fleet.cli("hub-eu", &["delete", "profile/odd"]).ok();
    // An override beats it.
    let exception = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: store-01.ops}
spec: {reason: test, permanent: true, values: {pos: {replicas: 9}}}
";
    fleet.apply("hub-eu", exception).ok();
    patch(&fleet, CHANGE, r#"{"spec":{"values":{"pos":{"replicas":4}}}}"#);
    said(&fleet, CHANGE, "Durable", "MaskedByOverride", "override/store-01.ops");
    // No profile is left for the site.
    fleet.cli("hub-eu", &["label", "site/store-01", "class=depot", "--overwrite"]).ok();
    said(&fleet, CHANGE, "Durable", "NotSelected", "class");
    said(&fleet, "override/store-01.ops", "Durable", "NoProfile", "keeps what it runs");
    // Nothing names the app.
    let app = "{apiVersion: driftless.dev/v1, kind: App, metadata: {name: pos}, spec: {description: till}}";
    fleet.apply("hub-eu", app).ok();
    said(&fleet, "app/pos", "OutsideInterest", "NotWanted", "catalog/default/pos");
}

#[test]
fn a_site_without_a_link_is_traced_to_the_reason() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.cli("hub-eu", &["peers", "cut", "store-01"]).ok();
    fleet.apply("hub-eu", PROFILE).ok();
    said(&fleet, CHANGE, "NotConnected", "CutByOperator", "peers heal");
    fleet.cli("hub-eu", &["peers", "heal", "--all"]).ok();
    wait(&fleet, "hub-eu", "Synced", &["--timeout", "60s"]).ok();
    fleet.node("store-01").stop();
    patch(&fleet, CHANGE, r#"{"spec":{"values":{"pos":{"replicas":4}}}}"#);
    said(&fleet, CHANGE, "NotConnected", "Closed", "the node stops");
    fleet.node("store-01").restart();
    wait(&fleet, "hub-eu", "Applied", &["--timeout", "60s"]).ok();
    fleet.node("store-01").kill();
    patch(&fleet, CHANGE, r#"{"spec":{"values":{"pos":{"replicas":3}}}}"#);
    // Its machine lost power: nobody said farewell, and the transport waits a minute before it gives up.
    said(&fleet, CHANGE, "InFlight", "NotAcknowledged", "nothing was acknowledged");
    let status = fleet.json("hub-eu", &["status"]);
    assert_eq!(status["changes"][0]["durable"], 0, "{status}");
    fleet.node("store-01").restart();
    wait(&fleet, "hub-eu", "Applied", &["--timeout", "60s"]).ok();
}

#[test]
fn a_region_that_is_cut_off_is_unknown_and_never_counts_as_done() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    fleet.edge("hub-us", "store-02");
    fleet.apply("hub-eu", PROFILE).ok();
    wait(&fleet, "hub-eu", "Synced", &["--timeout", "60s"]).ok();
    // The line between the regions is down; each goes on with its own sites.
    fleet.cli("hub-us", &["peers", "cut", "hub-eu"]).ok();
    until("the hub of the other region is gone", || {
        let peers = fleet.json("hub-eu", &["peers"]);
        let mut peers = peers["peers"].as_array().unwrap().iter();
        peers.any(|peer| peer["name"] == "hub-us" && peer["state"] == "NotConnected")
    });
    patch(&fleet, CHANGE, r#"{"spec":{"values":{"pos":{"replicas":3}}}}"#);
    let site = |site: &str| site_of(&fleet.json("hub-eu", &["trace", CHANGE]), site);
    until("the site of this region has it", || site("store-01")["state"] == "Applied");
    let (far, message) = (site("store-02"), site("store-02")["message"].to_string());
    assert_eq!((&far["state"], &far["reason"]), (&"Unknown".into(), &"HubCannotBeAsked".into()), "{far}");
    assert!(message.contains("hub-us") && message.contains("cut by operator"), "{message}");
    let late = wait(&fleet, "hub-eu", "Synced", &["--timeout", "0"]);
    late.refused(1, &["synced at 1 of 2 sites, 1 unknown", "no answer from hub-us"]);
    // Half of the fleet is enough for who says so.
    wait(&fleet, "hub-eu", "Synced", &["--percent", "50"]).ok();
    fleet.heal("hub-us");
    wait(&fleet, "hub-eu", "Applied", &["--timeout", "60s"]).ok();
}

fn wait(fleet: &Fleet, node: &str, condition: &str, more: &[&str]) -> crate::rig::Outcome {
    let goal = format!("--for=condition={condition}");
    fleet.cli(node, &[&["wait", CHANGE, &goal], more].concat())
}

fn patch(fleet: &Fleet, name: &str, change: &str) {
    let (kind, name) = name.split_once('/').unwrap();
    fleet.cli("hub-eu", &["patch", kind, name, "-p", change]).ok();
}

fn site_of(trace: &Value, site: &str) -> Value {
    let sites = trace["sites"].as_array().unwrap();
    sites.iter().find(|found| found["site"] == site).cloned().unwrap_or_default()
}

/// Waits until the first hub says this of `store-01`.
#[track_caller]
fn said(fleet: &Fleet, change: &str, state: &str, reason: &str, words: &str) {
    let mut last = Value::Null;
    until(&format!("trace says {state}, {reason}, {words:?} of {change}"), || {
        last = site_of(&fleet.json("hub-eu", &["trace", change, "--site", "store-01"]), "store-01");
        let message = last["message"].as_str().unwrap_or_default();
        let is_so = last["state"] == state && last["reason"] == reason && message.contains(words);
        if !is_so {
            eprintln!("{last}");
        }
        is_so
    });
}
