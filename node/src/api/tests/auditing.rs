//! Who changed what, on which sites, when and why: `blame` and `audit`.

use driftless_core::ids::{Author, Boot};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};
use ed25519_dalek::SigningKey;

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// Somebody else changes a resource, an hour after what was before.
async fn patch(rig: &mut Rig, who: &str, path: &str, reason: &str, patch: Value) -> Answer {
    rig.bench.pass(HOUR_MS);
    rig.caller = Some(Caller { name: who.into(), roles: vec!["admin".into()], site: None });
    let path = format!("{path}?reason={reason}");
    let answer = rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer
}

/// 14:00 a profile for stores by Mia, 15:00 changed by Ada; two sites, of which one is a store in the Netherlands.
async fn changed() -> Rig {
    let mut rig = Rig::hub();
    rig.create("sites", &site("store-17", "nl")).await;
    let mut depot = site("depot-3", "nl");
    depot["metadata"]["labels"]["class"] = json!("depot");
    rig.create("sites", &depot).await;
    rig.create("profiles", &store_base()).await;
    let three = json!({"spec": {"values": {"pos": {"replicas": 3}}}});
    patch(&mut rig, "user/ada", &format!("{PROFILES}/store-base"), "INC-42", three).await;
    rig
}

async fn audit(rig: &Rig, query: &str) -> Vec<Value> {
    let answer = rig.get(&format!("/v1/audit?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
    answer.json()["items"].as_array().unwrap().clone()
}

fn names(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn blame_names_who_set_each_value() {
    let rig = changed().await;
    let blame = rig.get("/v1/blame/profiles/acme/store-base").await.json();
    let of = |path: &str| {
        let values = blame["values"].as_array().unwrap();
        values.iter().find(|value| value["path"] == path).unwrap_or_else(|| panic!("{blame}")).clone()
    };
    let changed = of("/spec/values/pos/replicas");
    assert_eq!((&changed["by"], &changed["reason"]), (&json!("user/ada"), &json!("INC-42")));
    assert_eq!(
        (&changed["time"], &changed["value"], &changed["node"]),
        (&json!("2026-11-22T15:00:00Z"), &json!(3), &json!("the fleet's authority"))
    );
    assert_eq!(of("/spec/values/pos/version")["by"], "user/mia");
    assert_eq!(blame["created"]["by"], "user/mia");
    // The same of the time before.
    let before = rig.get("/v1/blame/profiles/acme/store-base?at=2026-11-22T14:30:00Z").await.json();
    assert!(before["values"].as_array().unwrap().iter().all(|value| value["by"] == "user/mia"), "{before}");
    assert_eq!(rig.get("/v1/blame/profiles/acme/absent").await.reason(), "NotFound");
}

#[tokio::test]
async fn one_question_says_who_changed_what_on_which_sites_when_and_why() {
    let rig = changed().await;
    let items = audit(&rig, "namespace=acme&since=2026-11-22T14:30:00Z&until=2026-11-22T15:00:00Z").await;
    let [change] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!((&change["kind"], &change["name"]), (&json!("Profile"), &json!("store-base")));
    assert_eq!((&change["by"], &change["reason"]), (&json!("user/ada"), &json!("INC-42")));
    assert_eq!(change["sites"], json!({"count": 1, "names": ["store-17"]}));
    assert_eq!(
        change["operations"][0],
        json!({"op": "put", "path": "/spec/values/pos/replicas", "value": 3})
    );
    for (query, expected) in [
        ("", vec!["store-base", "store-base", "depot-3", "store-17"]),
        ("user=ADA", vec!["store-base"]),
        ("reason=inc-4", vec!["store-base"]),
        ("kind=sites", vec!["depot-3", "store-17"]),
        ("kind=Site&name=depot-3", vec!["depot-3"]),
        ("site=store-17", vec!["store-base", "store-base", "store-17"]),
        ("site=depot-3", vec!["depot-3"]),
        ("labelSelector=class%3Dstore", vec!["store-base", "store-base", "store-17"]),
        ("since=30m", vec!["store-base"]),
        ("until=30m", vec!["store-base", "depot-3", "store-17"]),
        ("namespace=other", vec![]),
        ("effect=void", vec![]),
    ] {
        let mut items = audit(&rig, query).await;
        // Written at the same time, they stand in the order of their ids.
        items.sort_by_key(|item| {
            let place = expected.iter().position(|name| item["name"] == *name);
            (place, std::cmp::Reverse(item["timeMs"].as_u64()))
        });
        assert_eq!(names(&items), expected, "{query}");
    }
    for wrong in ["effect=refused", "since=soon", "kind=Pod", "continue=x", "labelSelector=%3D"] {
        assert_eq!(rig.get(&format!("/v1/audit?{wrong}")).await.reason(), "BadRequest", "{wrong}");
    }
}

#[tokio::test]
async fn an_audit_goes_on_where_it_ended() {
    let mut rig = changed().await;
    for replicas in 4..10 {
        let change = json!({"spec": {"values": {"pos": {"replicas": replicas}}}});
        patch(&mut rig, "user/mia", &format!("{PROFILES}/store-base"), "more", change).await;
    }
    let (mut seen, mut token) = (vec![], String::new());
    loop {
        let page = rig.get(&format!("/v1/audit?limit=3&continue={token}")).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()));
        match page["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    let all = audit(&rig, "limit=1000").await;
    assert_eq!(all.len(), 10);
    assert_eq!(seen, all.iter().map(|item| item["event"].clone()).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0]["timeMs"].as_u64() >= pair[1]["timeMs"].as_u64()));
}

#[tokio::test]
async fn a_write_that_a_profile_denies_and_one_that_is_void_are_listed_as_such() {
    let mut rig = changed().await;
    let exception = json!({
        "metadata": {"name": "store-17.tills"},
        "spec": {"values": {"pos": {"replicas": 9}}, "reason": "INC-7", "owner": "retail", "permanent": true},
    });
    rig.create("overrides", &exception).await;
    assert_eq!(audit(&rig, "effect=denied").await, [json!(null); 0]);
    // Enforced afterwards, so that the API could not refuse the override.
    let enforced = json!({"spec": {"enforced": ["pos.replicas"]}});
    patch(&mut rig, "user/ada", &format!("{PROFILES}/store-base"), "freeze", enforced).await;
    let denied = audit(&rig, "effect=denied").await;
    assert_eq!(names(&denied), ["store-17.tills"]);
    assert_eq!(denied[0]["effect"], "Denied");
    assert_eq!(denied[0]["denied"], json!([{"path": "pos.replicas", "profile": "store-base"}]));

    // A hub writes, and its key is revoked with nothing that stands.
    let hub = SigningKey::from_bytes(&[9; 32]);
    let author = Author(hub.verifying_key().to_bytes());
    rig.bench
        .write(Box::new(move |held| {
            held.add_author(hub, Boot([2; 16]));
            let mut put = |kind: Kind, namespace: &str, name: &str, spec: Value, author: Option<Author>| {
                let document = Document::new(kind, namespace, name).unwrap();
                let change = ChangeRequest::Put(write::with_identity(&document, json!({"spec": spec})));
                let write = Write { author, ..Write::new(document, change, "hub/eu-2", NOON_MS) };
                held.write(write).unwrap();
            };
            put(Kind::Hub, "", "eu-2", json!({"key": author.to_string(), "region": "eu"}), None);
            let selector = json!({"matchAll": true});
            let spec = json!({"priority": 1, "selector": selector, "values": {"x": 1}});
            put(Kind::Profile, "acme", "forged", spec, Some(author));
            put(Kind::Revocation, "", "r1", json!({"key": author.to_string()}), None);
        }))
        .await
        .unwrap();
    let void = audit(&rig, "effect=void").await;
    assert_eq!(names(&void), ["forged"]);
    assert_eq!((&void[0]["effect"], &void[0]["node"]), (&json!("Void"), &json!("eu-2")));
    assert!(void[0]["why"].as_str().unwrap().contains("revoked"), "{void:?}");
}

#[tokio::test]
async fn whoever_may_read_one_namespace_audits_that_one() {
    let mut rig = changed().await;
    rig.caller = Some(Caller { name: "user/guest".into(), roles: vec!["viewer@acme".into()], site: None });
    assert_eq!(audit(&rig, "namespace=acme").await.len(), 4);
    assert_eq!(rig.get("/v1/blame/profiles/acme/store-base").await.status, StatusCode::OK);
    for query in ["", "namespace=other", "all=true"] {
        assert_eq!(rig.get(&format!("/v1/audit?{query}")).await.reason(), "Forbidden", "{query}");
    }
    let event = audit(&rig, "namespace=acme").await[0]["event"].as_str().unwrap().to_owned();
    assert_eq!(rig.post(&format!("/v1/revert/{event}"), &Value::Null).await.reason(), "Forbidden");
    assert_eq!(rig.get("/v1/blame/profiles/other/store-base").await.reason(), "Forbidden");
}

#[tokio::test]
async fn what_sites_say_of_themselves_is_listed_when_asked_for() {
    let rig = changed().await;
    report(&rig, "store-17", json!({"claims": {"gpu": "no"}})).await;
    let kinds = |items: &[Value]| items.iter().filter(|item| item["kind"] == "SiteStatus").count();
    assert_eq!(kinds(&audit(&rig, "").await), 0);
    assert_eq!(kinds(&audit(&rig, "all=true").await), 1);
    assert_eq!(kinds(&audit(&rig, "kind=SiteStatus").await), 1);
}
