#![allow(clippy::unwrap_used)]
use std::time::Duration;

use driftless_core::testing as rig;

use super::*;
use crate::daemon::{HubOptions, start_hub};

const PATIENCE: Duration = Duration::from_secs(60);
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A hub, and a token for an edge of the site `store-17` in a file.
async fn hub(dir: &std::path::Path) -> (Daemon, PathBuf) {
    let options = HubOptions { listen: ANY.into(), api: ANY.into(), ..HubOptions::new(dir.join("hub")) };
    let hub = start_hub(HubOptions { name: Some("hub-a".into()), ..options }).await.unwrap();
    let request = json!({"role": "edge", "site": "store-17"});
    let create = Operation::TokenCreate { request, by: "tester".into() };
    let minted = hub.runtime().operate(create).await.unwrap();
    let file = dir.join("token");
    std::fs::write(&file, format!("{}\n", minted["token"].as_str().unwrap())).unwrap();
    (hub, file)
}

async fn put(hub: &Daemon, kind: Kind, name: &'static str, resource: Value) {
    write(hub.runtime(), move |held| drop(rig::put(held, kind, "default", name, resource))).await.unwrap();
}

async fn runs(edge: &Edge, replicas: u64) {
    let mut config = edge.config();
    let wanted = |config: &Option<Arc<Value>>| {
        config.as_ref().is_some_and(|config| config["values"]["pos"]["replicas"] == replicas)
    };
    tokio::time::timeout(PATIENCE, config.wait_for(wanted)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_in_a_program_joins_follows_and_goes_on_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, token) = hub(dir.path()).await;
    let spec = json!({"priority": 100, "selector": {"matchAll": true}, "enforced": ["net.policy"],
        "values": {"pos": {"replicas": 2}, "net": {"policy": "deny"}}});
    put(&hub, Kind::Profile, "base", json!({"spec": spec})).await;
    let start = || Edge::builder().data_dir(dir.path().join("edge")).node("n1").listen(ANY.into());
    let edge = start().token_file(&token).start().await.unwrap();
    assert_eq!(edge.place().site, "store-17");
    runs(&edge, 2).await;
    follows_the_change(&hub, &edge).await;
    let local = json!({"allow": true, "paths": ["pos.replicas"]});
    put(&hub, Kind::Site, "store-17", json!({"spec": {"region": "default", "localOverride": local}})).await;
    let mut positions = edge.backend.positions();
    let allowed = async {
        while edge.put_local_override(json!({"pos": {"replicas": 7}}), "sale").await.is_err() {
            positions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, allowed).await.unwrap();
    runs(&edge, 7).await;
    for (values, why) in [
        (json!({"pos": {"version": "9"}}), "the site allows no local override of pos.version"),
        (json!({"net": {"policy": "allow"}}), "net.policy"),
    ] {
        let refused = edge.put_local_override(values, "try").await.unwrap_err();
        assert!(matches!(refused, EdgeError::Denied(_)) && refused.to_string().contains(why), "{refused}");
    }
    hub.stop().await.unwrap();
    edge.report(json!({"metadata": {"name": "till-1"}, "spec": {"model": "x"}})).await.unwrap();
    assert!(matches!(
        edge.report(json!({"metadata": {}, "kind": "Machine"})).await,
        Err(EdgeError::Machine(_))
    ));
    let status = edge.status().await.unwrap();
    assert_eq!(status["node"], "n1");
    edge.stop().await.unwrap();
    std::fs::remove_file(token).unwrap();
    // Alone, from a cold start, with no token any more.
    let edge = start().token_file("/nowhere").start().await.unwrap();
    assert_eq!(edge.config().borrow().clone().unwrap()["values"]["pos"]["replicas"], 7);
    edge.put_local_override(Value::Null, "sale is over").await.unwrap();
    runs(&edge, 2).await;
    edge.stop().await.unwrap();
}

/// The program asks where the profile is: at its own node, at the hub, over the whole fleet.
async fn follows_the_change(hub: &Daemon, edge: &Edge) {
    let change = ChangeName::Last(Document::new(Kind::Profile, "default", "base").unwrap());
    let mut positions = edge.backend.positions();
    let applied = async {
        loop {
            let here = edge.trace(&change).await.unwrap();
            let there = hub.api().progress(10).await.unwrap();
            let base = there.iter().find(|progress| progress["name"] == "base").unwrap().clone();
            if here["sites"][0]["state"] == "Applied" && base["applied"] == 1 {
                return (here, base);
            }
            // The hub's answer is kept for a second.
            let _ = tokio::time::timeout(Duration::from_millis(200), positions.changed()).await;
        }
    };
    let (here, there) = tokio::time::timeout(PATIENCE, applied).await.unwrap();
    assert_eq!((&here["event"], &there["interested"]), (&there["event"], &json!(1)));
    assert_eq!(here["hubs"][1]["state"], "Durable", "{here}");
    let peers = edge.peers().await.unwrap();
    let lag = ["lagEvents", "lagBytes", "lagSeconds"].map(|key| peers["peers"][0][key].as_f64());
    assert_eq!(lag, [Some(0.0); 3], "{peers}");
    let metrics = hub.runtime().metrics().await;
    let family = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
    assert_eq!(family("driftless_peers").samples.iter().map(|(_, count)| count).sum::<f64>(), 1.0);
    for name in ["driftless_peer_lag_events", "driftless_peer_lag_bytes", "driftless_peer_lag_seconds"] {
        assert!(family(name).samples.is_empty(), "who is not behind is not named: {name}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    assert!(matches!(Edge::builder().start().await, Err(EdgeError::NoDataDir)));
    let dir = tempfile::tempdir().unwrap();
    let start = || Edge::builder().data_dir(dir.path());
    assert!(matches!(start().token_file("/nowhere").start().await, Err(EdgeError::TokenFile { .. })));
    assert!(matches!(start().start().await, Err(EdgeError::Daemon(DaemonError::NotJoined(_)))));
    assert!(matches!(start().token("nonsense").start().await, Err(EdgeError::Daemon(DaemonError::Token(_)))));
}
