#![allow(clippy::unwrap_used)]
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};
use serde_json::{Value, json};

use super::*;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn hub(dir: &Path, name: &str, join: Option<String>) -> Daemon {
    let name = Some(name.to_owned());
    start_hub(HubOptions { name, listen: ANY, api: ANY, join, ..HubOptions::new(dir) }).await.unwrap()
}

async fn edge(dir: &Path, join: Option<String>) -> Daemon {
    let node = Some("n1".to_owned());
    start_edge(EdgeOptions { node, listen: ANY, api: ANY, join, ..EdgeOptions::new(dir) }).await.unwrap()
}

async fn token(hub: &Daemon, request: Value) -> String {
    let minted = hub.runtime().mint(request).await.unwrap();
    minted["token"].as_str().unwrap().to_owned()
}

fn profile(replicas: u64) -> Value {
    json!({
        "apiVersion": "driftless.dev/v1", "kind": "Profile",
        "metadata": {"name": "store-base", "namespace": "default"},
        "spec": {"priority": 100, "selector": {"matchAll": true}, "values": {"pos": {"replicas": replicas}}},
    })
}

fn document() -> Document {
    Document::new(Kind::Profile, "default", "store-base").unwrap()
}

async fn put(node: &Daemon, resource: Value) {
    let write = Write::new(document(), ChangeRequest::Put(resource), "ann", clock::now_ms());
    node.runtime()
        .owner
        .write_async(move |node| node.replica.write(write).map(|_| ()))
        .await
        .unwrap()
        .unwrap();
}

/// Waits until a node shows this many replicas, woken by its commits.
async fn shows(node: &Daemon, replicas: u64) {
    let mut positions = node.runtime().positions();
    let shown = async {
        loop {
            let view =
                node.runtime().owner.read_async(|node| node.replica.get(&document())).await.unwrap().unwrap();
            let found = view.and_then(|view| view.resource.pointer("/spec/values/pos/replicas")?.as_u64());
            if found == Some(replicas) {
                return;
            }
            positions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.expect("the change arrives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_and_an_edge_join_sync_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let first = hub(&path("hub-1"), "hub-1", None).await;
    let join = token(&first, json!({"role": "hub", "region": "us"})).await;
    let second = hub(&path("hub-2"), "hub-2", Some(join)).await;
    let join = token(&first, json!({"role": "edge", "site": "store-01", "labels": {"class": "store"}})).await;
    let joined = edge(&path("edge"), Some(join)).await;
    put(&first, profile(2)).await;
    shows(&joined, 2).await;
    shows(&second, 2).await;
    put(&second, profile(3)).await;
    shows(&joined, 3).await;
    second.stop().await.unwrap();
    joined.stop().await.unwrap();
    put(&first, profile(4)).await;
    let second = hub(&path("hub-2"), "hub-2", None).await;
    let joined = edge(&path("edge"), None).await;
    shows(&second, 4).await;
    shows(&joined, 4).await;
    for daemon in [first, second, joined] {
        daemon.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_start_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let lost = start_edge(EdgeOptions::new(dir.path().join("new"))).await.err().unwrap();
    assert!(lost.to_string().contains("--join"), "{lost}");
    let first = hub(&dir.path().join("hub"), "hub-1", None).await;
    let options = |dir: &str, api, listen| HubOptions { api, listen, ..HubOptions::new(dir) };
    let locked = dir.path().join("hub");
    let locked = start_hub(options(locked.to_str().unwrap(), ANY, ANY)).await.err().unwrap();
    assert!(locked.to_string().contains("in use"), "{locked}");
    let other = dir.path().join("other");
    let taken =
        start_hub(options(other.to_str().unwrap(), first.runtime().api_address(), ANY)).await.err().unwrap();
    assert!(taken.to_string().contains("--api"), "{taken}");
    first.stop().await.unwrap();
}
