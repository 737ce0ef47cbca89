//! Configurations as text for other programs.

use driftless_core::name::Kind;

use super::*;

const RENDER: &str = "/v1/render?namespace=acme&site=store-17";

async fn fleet(rig: &Rig) {
    rig.create("sites", &site("store-17", "nl")).await;
    rig.create("profiles", &store_base()).await;
}

#[tokio::test]
async fn a_configuration_is_written_in_every_form_and_always_alike() {
    let rig = Rig::hub();
    fleet(&rig).await;
    let resolved = rig.post("/v1/resolve", &json!({"site": "store-17", "namespace": "acme"})).await.json();
    for (format, media_type, holds) in [
        ("helm", "application/yaml", "replicas: 2\n"),
        ("configmap", "application/yaml", "name: store-17-config\n"),
        ("yaml", "application/yaml", "site: store-17\n"),
        ("json", "application/json", "\"replicas\": 2"),
        ("env", "text/plain; charset=utf-8", "CONFIG_POS_REPLICAS=2\n"),
    ] {
        let path = format!("{RENDER}&format={format}");
        let answer = rig.get(&path).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], media_type);
        let etag = format!("\"{}\"", resolved["configHash"].as_str().unwrap());
        assert_eq!(answer.headers[header::ETAG], etag);
        assert!(answer.text.contains(holds), "{}", answer.text);
        assert_eq!(rig.get(&path).await.text, answer.text);
    }
    let map = format!("{RENDER}&format=configmap&name=till&mapNamespace=shop&key=a.env&path=pos");
    let map = rig.get(&map).await.text;
    assert!(map.contains("name: till\n") && map.contains("namespace: shop\n"), "{map}");
    assert!(map.contains("CONFIG_REPLICAS=2"), "{map}");
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let rig = Rig::hub();
    fleet(&rig).await;
    let refused = async |query: &str| {
        let answer = rig.get(&format!("{RENDER}&{query}")).await;
        assert!(!answer.status.is_success(), "{}", answer.text);
        answer.reason()
    };
    assert_eq!(refused("format=toml").await, "BadRequest");
    assert_eq!(refused("format=helm&path=pos.replicas").await, "BadRequest");
    assert_eq!(refused("format=yaml&path=absent").await, "BadRequest");
    assert_eq!(refused("format=configmap&name=A").await, "BadRequest");
    assert_eq!(rig.get("/v1/render?namespace=acme&site=absent&format=yaml").await.reason(), "NotFound");
    // Neither a failure nor an absence is written as an empty configuration.
    let patch = async |spec: Value| {
        let path = format!("{PROFILES}/store-base");
        let answer =
            rig.say(Method::PATCH, &path, "application/merge-patch+json", &json!({"spec": spec})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    patch(json!({"values": {"pos": {"replicas": "${absent}"}}})).await;
    assert_eq!(refused("format=env").await, "Invalid");
    patch(json!({"lifecycle": "Archived"})).await;
    assert_eq!(refused("format=env").await, "Invalid");
}

#[tokio::test]
async fn what_a_site_runs_is_written_by_whoever_knows_it() {
    let rig = Rig::hub();
    fleet(&rig).await;
    let active = format!("{RENDER}&format=env&active=true");
    assert_eq!(rig.get(&active).await.reason(), "NotFound");
    report(&rig, "store-17", json!({"active": {"configHash": "77"}})).await;
    let other = rig.get(&active).await;
    assert!(other.text.contains("ask an edge"), "{}", other.text);
    let desired = rig.get(&format!("{RENDER}&format=env")).await;
    let hash = desired.headers[header::ETAG].to_str().unwrap().trim_matches('"').to_owned();
    report(&rig, "store-17", json!({"active": {"configHash": hash}})).await;
    assert_eq!(rig.get(&active).await.text, desired.text);

    // An edge has the bytes of its own site, whatever is desired now.
    let edge = Rig::of(Bench::edge("acme", "store-17"));
    holds(&edge, Kind::Site, "store-17", site("store-17", "nl")).await;
    assert_eq!(edge.get(&active).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let config = json!({
        "site": "store-17", "namespace": "acme", "configHash": "77",
        "values": {"pos": {"replicas": 7}}, "apps": {}, "appliedAt": "2026-11-22T14:00:00Z",
    });
    edge.bench.active.as_ref().unwrap().send_replace(Some(Arc::new(config)));
    let text = edge.get(&active).await.text;
    assert!(
        text.contains("CONFIG_POS_REPLICAS=7\n") && text.contains("DRIFTLESS_CONFIG_HASH=77\n"),
        "{text}"
    );
}
