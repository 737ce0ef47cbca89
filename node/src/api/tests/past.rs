//! `?at=`: what was, at a time that has passed.

use driftless_core::name::{Document, Kind};

use super::*;

const HOUR_MS: u64 = 3_600_000;
const SITES: &str = "/apis/driftless.dev/v1/namespaces/acme/sites";

/// Each hour from 14:00 on one change of what store-17 should run: 2 replicas, then an exception with 5, then none.
async fn three_hours() -> Rig {
    let rig = Rig::hub();
    rig.create("sites", &site("store-17", "nl")).await;
    rig.create("profiles", &store_base()).await;
    rig.bench.pass(HOUR_MS);
    let exception = json!({
        "metadata": {"name": "store-17.tills"},
        "spec": {"values": {"pos": {"replicas": 5}}, "reason": "INC-7", "owner": "retail", "permanent": true},
    });
    rig.create("overrides", &exception).await;
    rig.bench.pass(HOUR_MS);
    let gone = "/apis/driftless.dev/v1/namespaces/acme/overrides/store-17.tills?reason=over";
    assert_eq!(rig.ask(Request::delete(gone).body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    rig
}

async fn resolved(rig: &Rig, at: &str) -> Value {
    let question = json!({"site": "store-17", "namespace": "acme", "at": at});
    let answer = rig.post("/v1/resolve", &question).await;
    assert_eq!(answer.status, StatusCode::OK, "{at}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_resolution_is_what_it_was() {
    let rig = three_hours().await;
    for (at, replicas) in [
        ("2026-11-22T14:00:00Z", 2),
        ("2026-11-22T14:59:59Z", 2),
        ("2026-11-22T15:00:00Z", 5),
        ("90m", 2),
        ("30m", 5),
        ("2026-11-22T16:00:00Z", 2),
    ] {
        assert_eq!(resolved(&rig, at).await["values"]["pos"]["replicas"], replicas, "{at}");
    }
    let now = rig.post("/v1/resolve", &json!({"site": "store-17", "namespace": "acme"})).await.json();
    assert_eq!(resolved(&rig, "2026-11-22T16:00:00Z").await, now, "the past that is present");
    let absent = json!({"site": "store-17", "namespace": "acme", "at": "2026-11-22T13:59:59Z"});
    assert_eq!(rig.post("/v1/resolve", &absent).await.reason(), "NotFound");
}

#[tokio::test]
async fn a_reason_is_what_it_was() {
    let rig = three_hours().await;
    let why = "/v1/why?site=store-17&namespace=acme&path=pos.replicas";
    let then = rig.get(&format!("{why}&at=2026-11-22T15:30:00Z")).await.json();
    assert_eq!((&then["value"], &then["source"]["name"]), (&json!(5), &json!("store-17.tills")));
    assert_eq!(then["source"]["writer"]["time"], "2026-11-22T15:00:00Z");
    assert_eq!(then["asOf"], "2026-11-22T15:30:00Z");
    assert_eq!(rig.get(why).await.json()["source"]["name"], "store-base");
    let why_not = "/v1/why-not?site=store-17&namespace=acme&profile=store-base&at=2026-11-22T15:30:00Z";
    assert_eq!(rig.get(why_not).await.json()["matches"], true);
}

#[tokio::test]
async fn resources_are_shown_as_they_were_also_deleted_ones() {
    let rig = three_hours().await;
    let overrides = "/apis/driftless.dev/v1/namespaces/acme/overrides";
    let count = async |at: &str| {
        let list = rig.get(&format!("{overrides}?at={at}")).await.json();
        list["items"].as_array().unwrap_or_else(|| panic!("{list}")).len()
    };
    assert_eq!(count("2026-11-22T14:30:00Z").await, 0);
    assert_eq!(count("2026-11-22T15:30:00Z").await, 1);
    assert_eq!(count("2026-11-22T16:30:00Z").await, 0);
    let one = rig.get(&format!("{overrides}/store-17.tills?at=1h")).await.json();
    assert_eq!(one["spec"]["values"]["pos"]["replicas"], 5);
    assert_eq!(rig.get(&format!("{overrides}/store-17.tills")).await.reason(), "NotFound");
    let table = rig.get_table(&format!("{overrides}?at=30m")).await;
    assert_eq!(table["rows"][0]["cells"][0], "store-17.tills");
    // The deletion, named by its event, shows what it left.
    let history = rig.get("/v1/history/overrides/acme/store-17.tills").await.json();
    let deletion = history["entries"][1]["event"].as_str().unwrap();
    assert_eq!(count(deletion).await, 0);
    assert_eq!(rig.get(&format!("{overrides}?at=yesterday")).await.reason(), "BadRequest");
    assert_eq!(rig.get(&format!("{overrides}?at=1h&watch=true")).await.reason(), "BadRequest");
}

#[tokio::test]
async fn a_pinned_profile_applies_in_the_past_as_it_did() {
    let rig = three_hours().await;
    let base = format!("{PROFILES}/store-base");
    let revision = rig.get(&base).await.json()["status"]["revision"].as_str().unwrap().to_owned();
    rig.bench.pass(HOUR_MS);
    let patch = json!({"spec": {"revision": revision, "values": {"pos": {"replicas": 7}}}});
    rig.say(Method::PATCH, &base, "application/merge-patch+json", &patch).await;
    assert_eq!(resolved(&rig, "2026-11-22T17:00:00Z").await["values"]["pos"]["replicas"], 2);
}

#[tokio::test]
async fn what_a_checkpoint_took_away_is_an_error_only_where_it_matters() {
    let rig = three_hours().await;
    report(&rig, "store-17", json!({"claims": {"gpu": "no"}})).await;
    let mut asks = store_base();
    asks["metadata"]["name"] = json!("asks");
    asks["spec"]["selector"] = json!({"claims": [{"key": "gpu", "operator": "Exists"}]});
    rig.create("profiles", &asks).await;
    rig.bench.pass(HOUR_MS);
    let at_ms = rig.bench.now_ms();
    let status = Document::new(Kind::SiteStatus, "acme", "store-17").unwrap();
    let write = move |held: &mut Held| assert!(held.checkpoint(&status, at_ms).unwrap().is_some());
    rig.bench.write(Box::new(write)).await.unwrap();
    // Nothing asked for claims then: what the site said makes no difference.
    assert_eq!(resolved(&rig, "2026-11-22T15:30:00Z").await["values"]["pos"]["replicas"], 5);
    let path = "/apis/driftless.dev/v1/namespaces/acme/sitestatuses/store-17?at=2026-11-22T15:30:00Z";
    let gone = rig.get(path).await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::GONE, "Expired".into()), "{}", gone.text);
    assert!(gone.text.contains("2026-11-22T17:00:00Z"), "{}", gone.text);
    let question = json!({"site": "store-17", "namespace": "acme", "at": "2026-11-22T16:30:00Z"});
    assert_eq!(rig.post("/v1/resolve", &question).await.reason(), "Expired");
    assert_eq!(rig.get(&format!("{SITES}/store-17")).await.status, StatusCode::OK);
}
