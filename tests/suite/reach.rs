//! Before a change is made people are told how far it reaches, and what would reach too far is not made; what a site
//! should run is handed to programs that know nothing of Driftless.

use std::process::Command;

use serde_json::Value;

use crate::rig::{Fleet, Outcome, PROFILE};

/// Twelve stores, the first of which has an exception.
fn stores() -> Fleet {
    let fleet = Fleet::new();
    let site = |number: usize| {
        format!(
            "---\napiVersion: driftless.dev/v1\nkind: Site\nmetadata: {{name: store-{number:02}, labels: {{class: store}}}}\n"
        )
    };
    fleet.apply("hub-eu", &(1..=12).map(site).collect::<String>()).ok();
    apply(&fleet, PROFILE);
    apply(&fleet, EXCEPTION);
    fleet
}

/// Applies a manifest, however far it reaches.
fn apply(fleet: &Fleet, manifest: &str) -> Outcome {
    let file = fleet.file("manifest.yaml", manifest);
    fleet.cli("hub-eu", &["apply", "--yes", "-f", &file]).ok()
}

const EXCEPTION: &str = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: store-01.tills}
spec: {values: {pos: {replicas: 9}}, reason: INC-42, permanent: true}
";

#[test]
fn a_change_tells_how_far_it_reaches_and_stops_where_it_should() {
    let fleet = stores();
    let changed = PROFILE.replace("replicas: 2", "replicas: 3").replace("limits: {cpu: 1}", "tills: 4");
    let file = fleet.file("changed.yaml", &changed);
    let priority =
        || fleet.json("hub-eu", &["get", "profile/store-base"])["spec"]["values"]["pos"]["replicas"].clone();

    let told = fleet.cli("hub-eu", &["diff", "-f", &file]);
    assert_eq!(told.code, 1, "{told:?}");
    for line in [
        "-      replicas: 2",
        "12 of 12 sites would run something else, 12 of them offline",
        "12 change: store-01, store-02",
        "changed pos.replicas at 11 sites: 2 -> 3",
        "added pos.tills at 12 sites: 4",
        "removed pos.limits.cpu at 12 sites: was 1",
        "override/store-01.tills masks pos.replicas",
    ] {
        assert!(told.stdout.contains(line), "{line}: {}", told.stdout);
    }
    let json: Value = fleet.cli("hub-eu", &["diff", "-f", &file, "-o", "json"]).json();
    assert_eq!(
        (&json["impact"]["changed"], &json["differences"][0]["name"]),
        (&12.into(), &"store-base".into())
    );

    // A quarter, but ten at least; so ten of twelve.
    let refused =
        fleet.cli("hub-eu", &["apply", "-f", &file]).refused(1, &["12 of 12 sites", "at most 10", "--yes"]);
    assert!(refused.stderr.contains("store-01, store-02"), "{refused:?}");
    let path = ["patch", "profile/store-base", "-p", "{spec: {priority: 7}}"];
    fleet.cli("hub-eu", &path).ok();
    let path = ["patch", "profile/store-base", "-p", "{spec: {values: {pos: {x: 1}}}}", "--max-sites", "11"];
    fleet.cli("hub-eu", &path).refused(1, &["12 of 12 sites"]);
    fleet
        .cli("hub-eu", &["delete", "profile/store-base", "--max-sites", "50%"])
        .refused(1, &["12 of 12 sites"]);
    assert_eq!(priority(), 2);

    // What is harmless one by one may not be so together: then nothing is made.
    let both = fleet
        .file("both.yaml", &format!("{EXCEPTION}\n---\n{changed}").replace("replicas: 9", "replicas: 8"));
    fleet.cli("hub-eu", &["apply", "-f", &both, "--max-sites", "11"]).refused(1, &["12 of 12 sites"]);
    let exception = || {
        fleet.json("hub-eu", &["get", "override/store-01.tills"])["spec"]["values"]["pos"]["replicas"].clone()
    };
    assert_eq!((priority(), exception()), (2.into(), 9.into()));
    fleet.cli("hub-eu", &["apply", "-f", &both, "--max-sites", "12"]).ok();
    assert_eq!((priority(), exception()), (3.into(), 8.into()));
    fleet.cli("hub-eu", &["delete", "profile/store-base", "--yes"]).ok();

    let wide = fleet.cli("hub-eu", &["get", "profiles", "-o", "wide"]);
    assert!(wide.stdout.is_empty() || !wide.stdout.contains("store-base"), "{wide:?}");
}

#[test]
fn whoever_applies_an_ambiguous_profile_is_told() {
    let fleet = stores();
    let rival = PROFILE.replace("store-base", "store-rival").replace("replicas: 2", "replicas: 5");
    let told = apply(&fleet, &rival);
    assert!(told.stderr.contains("Ambiguous") && told.stderr.contains("pos.replicas"), "{told:?}");
    let status = fleet.json("hub-eu", &["get", "profile/store-base"])["status"].clone();
    assert_eq!(
        (&status["matched"], &status["ambiguous"], &status["stale"]),
        (&12.into(), &12.into(), &12.into())
    );
    let wide = fleet.cli("hub-eu", &["get", "profiles", "-o", "wide"]).ok().stdout;
    let header = wide.lines().next().unwrap_or_default();
    for column in ["AMBIGUOUS", "DENIED", "FAILED", "STALE"] {
        assert!(header.contains(column), "{wide}");
    }
}

#[test]
fn kubectl_takes_the_config_map_as_its_own() {
    let fleet = stores();
    let render = |arguments: &[&str]| {
        fleet.cli("hub-eu", &[&["render", "site/store-01"], arguments].concat()).ok().stdout
    };
    assert_eq!(render(&["--format", "helm", "--path", "pos"]).lines().last(), Some("replicas: 9"));
    assert!(render(&["--format", "env"]).contains("CONFIG_POS_REPLICAS=9\n"));
    fleet.cli("hub-eu", &["render", "site/store-01", "--key", "x"]).refused(1, &["--format configmap"]);
    fleet.cli("hub-eu", &["render", "site/store-01", "--active"]).refused(1, &["has not said what it runs"]);
    let resolved = fleet.json("hub-eu", &["resolve", "site/store-01"]);
    let json: Value = serde_json::from_str(&render(&["--format", "json"])).unwrap();
    assert_eq!((&json["values"], &json["configHash"]), (&resolved["values"], &resolved["configHash"]));

    let map = render(&["--format", "configmap", "--name", "till", "--map-namespace", "shop"]);
    let map = fleet.file("map.yaml", &map);
    let content = fleet.file("config.yaml", &render(&["--format", "yaml"]));
    // Neither needs a cluster: kubectl reads ours, and makes one of its own of the same content.
    let (Some(ours), Some(own)) = (
        kubectl(&["annotate", "--local", "-f", &map, "a=b", "-o", "json"]),
        kubectl(&[
            "create",
            "configmap",
            "till",
            "-n",
            "shop",
            "--from-file",
            &content,
            "--dry-run=client",
            "-o",
            "json",
        ]),
    ) else {
        eprintln!("skipped: kubectl is not there or does not run");
        return;
    };
    for field in ["/apiVersion", "/kind", "/data", "/metadata/name", "/metadata/namespace"] {
        assert_eq!(ours.pointer(field), own.pointer(field), "{field}");
    }
    assert_eq!(ours["metadata"]["annotations"]["driftless.dev/config-hash"], resolved["configHash"]);
}

/// What kubectl prints, if there is one.
fn kubectl(arguments: &[&str]) -> Option<Value> {
    Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .ok()
        .filter(|found| found.status.success())?;
    Some(Outcome::of_command(Command::new("kubectl").args(arguments), "").ok().json())
}
