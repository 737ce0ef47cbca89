//! `revert`: one event taken back by another.

use super::*;

const BASE: &str = "/apis/driftless.dev/v1/namespaces/acme/profiles/store-base";

async fn patch(rig: &Rig, reason: &str, patch: Value) -> String {
    rig.bench.pass(1_000);
    let path = format!("{BASE}?reason={reason}");
    let answer = rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    last_event(rig).await
}

async fn last_event(rig: &Rig) -> String {
    let history = rig.get("/v1/history/profiles/acme/store-base").await.json();
    history["entries"].as_array().unwrap().last().unwrap()["event"].as_str().unwrap().to_owned()
}

async fn revert(rig: &Rig, event: &str, query: &str) -> Answer {
    rig.post(&format!("/v1/revert/{event}?{query}"), &Value::Null).await
}

async fn values(rig: &Rig) -> Value {
    rig.get(BASE).await.json()["spec"]["values"].clone()
}

#[tokio::test]
async fn what_an_event_did_is_taken_back_by_another() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    let before = values(&rig).await;
    let change = json!({"spec": {"values": {"pos": {"replicas": 3, "version": null}, "new": {"deep": [1]}}}});
    let event = patch(&rig, "INC-42", change).await;
    let changed = values(&rig).await;

    let dry = revert(&rig, &event[..12], "dryRun=All").await.json();
    assert_eq!((&dry["dryRun"], &dry["after"]["spec"]["values"]), (&json!(true), &before));
    assert_eq!(dry["before"]["spec"]["values"], changed);
    assert_eq!(values(&rig).await, changed, "a dry run changes nothing");

    let done = revert(&rig, &event, "reason=wrong").await.json();
    assert_eq!(values(&rig).await, before);
    assert_eq!(done["event"], json!(last_event(&rig).await));
    let paths: Vec<&str> =
        done["changed"].as_array().unwrap().iter().map(|change| change["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/spec/values/new/deep", "/spec/values/pos/replicas", "/spec/values/pos/version"]);
    // A revert is an event like any other.
    let undone = revert(&rig, done["event"].as_str().unwrap(), "").await.json();
    assert_eq!(values(&rig).await, changed);
    assert!(undone["reason"].as_str().unwrap().ends_with(": wrong"), "{undone}");
}

#[tokio::test]
async fn what_was_written_since_is_left_unless_forced() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    let event = patch(&rig, "one", json!({"spec": {"values": {"pos": {"replicas": 3}, "x": 1}}})).await;
    let later = patch(&rig, "two", json!({"spec": {"values": {"pos": {"replicas": 4}}}})).await;
    let done = revert(&rig, &event, "").await.json();
    assert_eq!(values(&rig).await, json!({"pos": {"version": "2.3.1", "replicas": 4}}));
    let left = &done["left"];
    assert_eq!(left[0]["path"], "/spec/values/pos/replicas");
    assert_eq!((&left[0]["event"], &left[0]["reason"]), (&json!(later), &json!("two")));
    // Nothing of it stands now, so there is nothing more to do without force.
    let nothing = revert(&rig, &event, "").await.json();
    assert_eq!((&nothing["changed"], &nothing["event"]), (&json!([]), &Value::Null));
    revert(&rig, &event, "force=true").await;
    assert_eq!(values(&rig).await, json!({"pos": {"version": "2.3.1", "replicas": 2}}));
}

#[tokio::test]
async fn a_creation_is_taken_back_by_deletion_and_a_deletion_by_creation() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    let created = last_event(&rig).await;
    patch(&rig, "more", json!({"spec": {"values": {"x": 1}}})).await;
    let whole = rig.get(BASE).await.json()["spec"].clone();
    // Somebody built on it.
    let refused = revert(&rig, &created, "").await.json();
    assert_eq!((&refused["changed"], &refused["left"][0]["path"]), (&json!([]), &json!("/spec/values/x")));
    let deleted = revert(&rig, &created, "force=true").await.json();
    assert_eq!((&deleted["after"], rig.get(BASE).await.status), (&Value::Null, StatusCode::NOT_FOUND));
    let gone = revert(&rig, &created, "").await;
    assert_eq!(gone.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(gone.text.contains("revert the deletion instead"), "{}", gone.text);
    let deletion = deleted["event"].as_str().unwrap().to_owned();
    revert(&rig, &deletion, "").await;
    assert_eq!(rig.get(BASE).await.json()["spec"], whole);
    // It has been created again since.
    let again = revert(&rig, &deletion, "").await.json();
    assert_eq!((&again["changed"], &again["left"][0]["by"]), (&json!([]), &json!("user/mia")));
}

#[tokio::test]
async fn a_revert_is_checked_like_any_other_write() {
    let mut rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    let event = patch(&rig, "one", json!({"spec": {"values": {"x": 1}}})).await;
    assert_eq!(revert(&rig, "ffffffffffff", "").await.reason(), "NotFound");
    assert_eq!(revert(&rig, "xyz", "").await.reason(), "BadRequest");
    rig.caller = Some(Caller { name: "user/eve".into(), roles: vec!["viewer".into()], site: None });
    assert_eq!(revert(&rig, &event, "").await.reason(), "Forbidden");
    assert_eq!(values(&rig).await["x"], 1);
}
