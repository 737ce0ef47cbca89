//! Real files of other systems go through `driftless import` into a real hub. Skipped where they are absent.

use std::collections::BTreeSet;

use driftless::testing::shared_data;

use serde_json::Value;

use crate::rig::Fleet;

/// Stores of the table that are imported; all of them take minutes without optimisation.
const STORES: usize = 2_000;

#[test]
fn a_helm_repository_becomes_a_catalog() {
    let Some(data) = shared_data() else { return };
    let index = unpacked(&data, "catalog/sealed-secrets-index.yaml.zst");
    // Counted without our own reader: each release of the one chart has one line like this.
    let releases = index.lines().filter(|line| line.trim_start().starts_with("digest:")).count();
    assert!(releases > 50, "{releases}");
    let fleet = Fleet::new();
    let file = data.join("catalog/sealed-secrets-index.yaml.zst").display().to_string();
    let said = fleet.cli("hub-eu", &["import", &file, "--reason", "first"]).ok().stdout;
    assert!(said.contains(&format!("{releases} releases created")), "{said}");
    assert_eq!(count(&fleet, "apps"), 1);
    assert_eq!(count(&fleet, "releases"), releases);
    let listed = fleet.json("hub-eu", &["get", "releases"]);
    let newest = listed["items"].as_array().unwrap().iter().find(|release| index.contains(version(release)));
    assert!(newest.is_some(), "no version of the index is in the catalog");
    // Importing again changes nothing.
    let before = position(&fleet);
    let again = fleet.cli("hub-eu", &["import", &file]).ok().stdout;
    assert!(again.contains("unchanged") && !again.contains("created"), "{again}");
    assert_eq!(position(&fleet), before);
}

#[test]
fn nodes_of_a_cluster_become_machines_of_a_site() {
    let Some(data) = shared_data() else { return };
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    let file =
        data.join("inventory/alibaba-openb_node_list_gpu_node.k8s-nodes.yaml.zst").display().to_string();
    let nodes = unpacked(&data, "inventory/alibaba-openb_node_list_gpu_node.k8s-nodes.yaml.zst");
    let nodes = nodes.lines().filter(|line| line.trim() == "kind: Node").count();
    assert!(nodes > 1_000, "{nodes}");
    let said = fleet.cli("store-01", &["import", &file, "--site", "store-01"]).ok().stdout;
    assert!(said.contains(&format!("{nodes} machines created")), "{said}");
    fleet.agree(&["hub-eu", "store-01"]);
    // One more is the machine that the edge runs on, which it reports itself.
    assert_eq!(count(&fleet, "machines"), nodes + 1);
    // They are written by their site alone.
    let refused = fleet.cli("hub-eu", &["import", &file, "--site", "store-02"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("only the nodes of site"), "{}", refused.stderr);
}

#[test]
fn a_table_of_stores_becomes_sites_with_labels() {
    let Some(data) = shared_data() else { return };
    let table = unpacked(&data, "inventory/sites-starbucks.csv.zst");
    let part: String = table.split_inclusive('\n').take(STORES + 1).collect();
    let fleet = Fleet::new();
    let file = fleet.file("stores.csv", &part);
    let said =
        fleet.cli("hub-eu", &["import", &file, "--prefix", "sbux", "--label", "class=store"]).ok().stdout;
    assert!(said.contains(&format!("{STORES} sites created")), "{said}");
    assert_eq!(count(&fleet, "sites"), STORES);
    let labelled = fleet.json("hub-eu", &["get", "sites", "-l", "class=store"]);
    let sites = labelled["items"].as_array().unwrap();
    assert_eq!(sites.len(), STORES);
    let states: BTreeSet<&str> =
        sites.iter().filter_map(|site| site["metadata"]["labels"]["state"].as_str()).collect();
    assert!(states.len() > 1, "{states:?}");
    assert!(
        sites.iter().all(|site| site["metadata"]["labels"]["city"].is_string()),
        "a store without a city"
    );
}

/// A file, decompressed.
fn unpacked(data: &std::path::Path, name: &str) -> String {
    let file = std::fs::File::open(data.join(name)).unwrap();
    let mut decoder = zstd::stream::read::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    std::io::read_to_string(decoder).unwrap()
}

fn count(fleet: &Fleet, kind: &str) -> usize {
    fleet.json("hub-eu", &["get", kind])["items"].as_array().unwrap().len()
}

fn version(release: &Value) -> &str {
    release["spec"]["version"].as_str().unwrap()
}

fn position(fleet: &Fleet) -> Value {
    fleet.json("hub-eu", &["status"])["position"].clone()
}
