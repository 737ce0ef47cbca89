//! How far a change would reach, and changes that would reach too far.

use super::*;

const OVERRIDES: &str = "/apis/driftless.dev/v1/namespaces/acme/overrides";

/// Stores 1 to 6 with a profile, of which store 6 has an exception; store 1 is in Belgium.
async fn stores() -> Rig {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    for number in 1..=6 {
        rig.create("sites", &site(&format!("store-{number}"), if number == 1 { "be" } else { "nl" })).await;
    }
    rig.create("overrides", &exception("store-6.tills", None, 9)).await;
    rig
}

fn exception(name: &str, selector: Option<Value>, replicas: u64) -> Value {
    let mut resource = json!({
        "kind": "Override", "metadata": {"name": name, "namespace": "acme"},
        "spec": {"values": {"pos": {"replicas": replicas}}, "reason": "INC-42", "permanent": true},
    });
    if let Some(selector) = selector {
        resource["spec"]["selector"] = selector;
    }
    resource
}

fn profile(replicas: Value) -> Value {
    let mut profile = store_base();
    profile["spec"]["values"]["pos"]["replicas"] = replicas;
    profile
}

async fn impact(rig: &Rig, question: Value) -> Value {
    let answer = rig.post("/v1/impact", &question).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_change_is_known_by_its_sites_and_paths_before_it_is_made() {
    let rig = stores().await;
    let position = rig.get("/apis").await.headers["x-driftless-position"].clone();
    let sum = impact(&rig, json!({"apply": [profile(json!(3))]})).await;
    assert_eq!((&sum["sites"], &sum["changed"], &sum["offline"]), (&json!(6), &json!(5), &json!(5)));
    assert_eq!(sum["listed"][0]["name"], "store-1");
    let path = &sum["paths"]["listed"][0];
    assert_eq!((&path["path"], &path["change"]), (&json!("pos.replicas"), &json!("Changed")));
    assert_eq!((&path["sites"], &path["before"], &path["after"]), (&json!(5), &json!(2), &json!(3)));
    assert_eq!(sum["masked"]["listed"][0]["override"], "store-6.tills");

    // Together, an exception may take back what a profile changes.
    let belgium = exception("belgium", Some(json!({"matchLabels": {"country": "be"}})), 2);
    let sum = impact(&rig, json!({"apply": [profile(json!(3)), belgium]})).await;
    assert_eq!(sum["changed"], 4);

    let sum = impact(&rig, json!({"apply": [profile(json!("${absent}"))]})).await;
    assert_eq!(sum["effects"]["Fails"], 5);
    assert!(sum["listed"][0]["why"].as_str().unwrap().contains("absent"), "{sum}");
    let gone = json!({"kind": "Profile", "namespace": "acme", "name": "store-base"});
    let sum = impact(&rig, json!({"delete": [gone]})).await;
    assert_eq!(sum["effects"]["LosesProfiles"], 6);
    let mut tower = site("store-2", "nl");
    (tower["kind"], tower["metadata"]["labels"]["class"]) = (json!("Site"), json!("tower"));
    let mut new = site("store-7", "nl");
    new["kind"] = json!("Site");
    let gone = json!({"kind": "Site", "name": "store-3"});
    let sum = impact(&rig, json!({"namespace": "acme", "apply": [tower, new], "delete": [gone]})).await;
    let effects = &sum["effects"];
    assert_eq!(
        (&effects["LosesProfiles"], &effects["Created"], &effects["Deleted"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(sum["changed"], 2);

    assert_eq!(rig.get("/apis").await.headers["x-driftless-position"], position, "nothing was stored");
    for wrong in [json!({"apply": [{"kind": "Pod"}]}), json!({"apply": [store_base()], "maxSites": "many"})] {
        assert_eq!(rig.post("/v1/impact", &wrong).await.reason(), "BadRequest");
    }
    assert_eq!(rig.post("/v1/impact", &json!({"apply": [profile(json!(null))]})).await.reason(), "Invalid");
}

#[tokio::test]
async fn a_pinned_profile_reaches_nobody_while_it_is_edited() {
    let rig = stores().await;
    let revision = rig.get(&format!("{PROFILES}/store-base")).await.json()["status"]["revision"].clone();
    let mut pinned = profile(json!(7));
    pinned["spec"]["revision"] = revision;
    let sum = impact(&rig, json!({"apply": [pinned.clone()]})).await;
    assert_eq!(sum["changed"], 0, "{sum}");
    let question = json!({"site": "store-1", "namespace": "acme", "with": [pinned]});
    assert_eq!(rig.post("/v1/resolve", &question).await.json()["values"]["pos"]["replicas"], 2);
}

#[tokio::test]
async fn a_write_that_reaches_too_far_is_refused_and_changes_nothing() {
    let rig = stores().await;
    let path = format!("{PROFILES}/store-base");
    let patch = async |query: &str, replicas: u64| {
        let body = json!({"spec": {"values": {"pos": {"replicas": replicas}}}});
        rig.say(Method::PATCH, &format!("{path}?{query}"), "application/merge-patch+json", &body).await
    };
    let refused = patch("maxSites=4", 3).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "Forbidden".into()));
    let said = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("5 of 6 sites") && said.contains("store-1, store-2"), "{said}");
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "TooManySites");
    assert_eq!(patch("maxSites=4&dryRun=All", 3).await.reason(), "Forbidden");
    assert_eq!(rig.get(&path).await.json()["spec"]["values"]["pos"]["replicas"], 2);
    assert_eq!(patch("maxSites=x", 3).await.reason(), "BadRequest");
    assert_eq!(patch("maxSites=5", 3).await.status, StatusCode::OK);
    // A percentage leaves a small fleet alone, and annotations reach nobody.
    assert_eq!(patch("maxSites=25%25", 4).await.status, StatusCode::OK);
    let note = json!({"metadata": {"annotations": {"a": "b"}}});
    let noted =
        rig.say(Method::PATCH, &format!("{path}?maxSites=0"), "application/merge-patch+json", &note).await;
    assert_eq!(noted.status, StatusCode::OK, "{}", noted.text);

    let everywhere = exception("everywhere", Some(json!({"matchAll": true})), 5);
    assert_eq!(rig.post(&format!("{OVERRIDES}?maxSites=4"), &everywhere).await.reason(), "Forbidden");
    assert_eq!(rig.post(&format!("{OVERRIDES}?maxSites=5"), &everywhere).await.status, StatusCode::CREATED);
    let delete = async |path: &str| rig.ask(Request::delete(path).body(Body::empty()).unwrap()).await;
    assert_eq!(delete(&format!("{path}?maxSites=5")).await.reason(), "Forbidden");
    assert_eq!(delete(&format!("{OVERRIDES}/store-6.tills?maxSites=0")).await.reason(), "Forbidden");
    assert_eq!(delete(&format!("{OVERRIDES}/store-6.tills?maxSites=1")).await.status, StatusCode::OK);
    assert_eq!(delete(&format!("{path}?maxSites=6")).await.status, StatusCode::OK);
    // Whoever has a role in one namespace is told of that one.
    let mut rig = rig;
    rig.caller = Some(Caller { name: "user/eve".into(), roles: vec!["operator@acme".into()], site: None });
    assert_eq!(rig.post("/v1/impact", &json!({"apply": [store_base()]})).await.status, StatusCode::OK);
    let elsewhere = json!({"delete": [{"kind": "Profile", "namespace": "other", "name": "a"}]});
    assert_eq!(rig.post("/v1/impact", &elsewhere).await.reason(), "Forbidden");
    let together = json!({"apply": [everywhere], "maxSites": "0"});
    assert_eq!(rig.post("/v1/impact", &together).await.status, StatusCode::OK, "it is so already");
}
