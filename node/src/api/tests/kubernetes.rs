//! The surface that kubectl uses.

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};

use super::*;

#[tokio::test]
async fn a_profile_is_created_read_changed_and_deleted() {
    let rig = Rig::hub();
    let created = rig.create("profiles", &store_base()).await;
    let path = format!("{PROFILES}/store-base");
    assert_eq!(created["metadata"]["generation"], 1);
    assert!(created["metadata"]["uid"].is_string());
    assert_eq!(rig.get(&path).await.json(), created);

    let patch = json!({"spec": {"values": {"pos": {"replicas": 4}}}, "metadata": {"labels": {"team": null}}});
    let patched = rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await.json();
    assert_eq!(patched["spec"]["values"]["pos"], json!({"version": "2.3.1", "replicas": 4}));
    assert_eq!(patched["metadata"]["labels"], json!({}));
    assert_ne!(patched["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);

    let patch = json!([{"op": "test", "path": "/spec/priority", "value": 200}, {"op": "replace", "path": "/spec/priority", "value": 300}]);
    let patched = rig.say(Method::PATCH, &path, "application/json-patch+json", &patch).await.json();
    assert_eq!(patched["spec"]["priority"], 300);

    let deleted = rig.say(Method::DELETE, &path, "application/json", &json!({})).await.json();
    assert_eq!(
        (&deleted["status"], &deleted["details"]["uid"]),
        (&json!("Success"), &created["metadata"]["uid"])
    );
    let gone = rig.get(&path).await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::NOT_FOUND, "NotFound".into()));
    let again = rig.create("profiles", &store_base()).await;
    assert_ne!(again["metadata"]["uid"], created["metadata"]["uid"]);
}

#[tokio::test]
async fn writes_are_attributed_to_the_caller_with_a_reason() {
    let rig = Rig::hub();
    rig.post(&format!("{PROFILES}?reason=INC-42"), &store_base()).await;
    let history = rig.get("/v1/history/Profile/acme/store-base").await.json();
    let entry = &history["entries"][0];
    assert_eq!((&entry["by"], &entry["reason"]), (&json!("user/mia"), &json!("INC-42")));
    assert_eq!(entry["timeMs"], NOON_MS);
    assert_eq!(entry["effect"], "Effective");
    let paths: Vec<&str> =
        entry["operations"].as_array().unwrap().iter().filter_map(|op| op["path"].as_str()).collect();
    assert!(paths.contains(&"/spec/values/pos/replicas"), "{paths:?}");
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_a_conflict() {
    let rig = Rig::hub();
    let mut mine = rig.create("profiles", &store_base()).await;
    let path = format!("{PROFILES}/store-base");
    let patch = json!({"spec": {"priority": 250}});
    rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await;
    mine["spec"]["priority"] = json!(300);
    let refused = rig.say(Method::PUT, &path, "application/json", &mine).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::CONFLICT, "Conflict".into()));

    let stale = json!({"metadata": {"resourceVersion": mine["metadata"]["resourceVersion"]}, "spec": {"priority": 1}});
    let refused = rig.say(Method::PATCH, &path, "application/merge-patch+json", &stale).await;
    assert_eq!(refused.reason(), "Conflict");
    let stale = json!({"preconditions": {"resourceVersion": mine["metadata"]["resourceVersion"]}});
    assert_eq!(rig.say(Method::DELETE, &path, "application/json", &stale).await.reason(), "Conflict");

    mine["metadata"]["resourceVersion"] = rig.get(&path).await.json()["metadata"]["resourceVersion"].clone();
    let replaced = rig.say(Method::PUT, &path, "application/json", &mine).await;
    assert_eq!(replaced.json()["spec"]["priority"], 300);
    // What was read at another replica cannot be compared.
    mine["metadata"]["resourceVersion"] = json!("7");
    assert_eq!(rig.say(Method::PUT, &path, "application/json", &mine).await.reason(), "Conflict");
}

#[tokio::test]
async fn refusals_have_the_reason_that_clients_expect() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    let path = format!("{PROFILES}/store-base");
    let body = store_base();
    assert_eq!(rig.post(PROFILES, &body).await.reason(), "AlreadyExists");
    let missing = format!("{PROFILES}/missing");
    let mut missing_body = store_base();
    missing_body["metadata"]["name"] = json!("missing");
    assert_eq!(rig.say(Method::PUT, &missing, "application/json", &missing_body).await.reason(), "NotFound");
    assert_eq!(rig.say(Method::PUT, &missing, "application/json", &body).await.reason(), "NotFound");
    let mut renamed = store_base();
    renamed["metadata"]["name"] = json!("other");
    assert_eq!(rig.say(Method::PUT, &path, "application/json", &renamed).await.reason(), "BadRequest");
    let applied = rig.say(Method::PATCH, &path, "application/apply-patch+yaml", &body).await;
    assert_eq!((applied.status.as_u16(), applied.reason()), (415, "UnsupportedMediaType".into()));
    assert_eq!(rig.say(Method::POST, PROFILES, "application/yaml", &body).await.status.as_u16(), 415);
    let nonsense = Request::post(PROFILES).body(Body::from("{\"kind\":")).unwrap();
    assert_eq!(rig.ask(nonsense).await.reason(), "BadRequest");
    assert_eq!(rig.get("/apis/driftless.dev/v1/namespaces/acme/pods").await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/nothing").await.reason(), "NotFound");
    assert_eq!(
        rig.say(Method::POST, "/version", "application/json", &json!({})).await.reason(),
        "MethodNotAllowed"
    );
    let huge = Request::post(PROFILES).body(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).unwrap();
    let huge = rig.ask(huge).await;
    assert_eq!((huge.status.as_u16(), huge.reason()), (413, "RequestEntityTooLarge".into()));
    let nameless = rig.post(PROFILES, &json!({"spec": {}})).await;
    assert_eq!(
        (nameless.status.as_u16(), nameless.json()["details"]["causes"][0]["field"].clone()),
        (422, json!("metadata.name"))
    );
}

#[tokio::test]
async fn lists_are_selected_by_label_field_and_namespace() {
    let rig = Rig::hub();
    for (name, country) in [("store-1", "nl"), ("store-2", "be"), ("store-3", "de")] {
        rig.create("sites", &site(name, country)).await;
    }
    rig.post("/apis/driftless.dev/v1/namespaces/other/sites", &site("store-4", "nl")).await;
    let names = async |query: &str| -> Vec<String> {
        let answer = rig.get(&format!("/apis/driftless.dev/v1/{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let list = answer.json();
        assert_eq!(list["kind"], "SiteList");
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("sites").await, ["store-1", "store-2", "store-3", "store-4"]);
    assert_eq!(names("namespaces/acme/sites?limit=1").await, ["store-1", "store-2", "store-3"]);
    assert_eq!(names("sites?labelSelector=country%3Dnl").await, ["store-1", "store-4"]);
    assert_eq!(names("sites?labelSelector=country%20notin%20(nl,be)").await, ["store-3"]);
    assert_eq!(names("namespaces/acme/sites?fieldSelector=metadata.name%3Dstore-2").await, ["store-2"]);
    assert_eq!(names("sites?fieldSelector=metadata.namespace!%3Dacme").await, ["store-4"]);
    assert_eq!(rig.get("/apis/driftless.dev/v1/sites?labelSelector=((").await.reason(), "BadRequest");
    assert_eq!(rig.get("/apis/driftless.dev/v1/sites?continue=abc").await.reason(), "Expired");
    let namespaces = rig.get("/api/v1/namespaces").await.json();
    assert_eq!(namespaces["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_table_shows_what_is_unknown_as_unknown() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-17", "nl")).await;
    let table = rig.get_table("/apis/driftless.dev/v1/namespaces/acme/sites").await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..5],
        [json!("store-17"), json!("eu"), json!("Unknown"), json!("Unknown"), json!("Unknown")]
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(table["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let rig = Rig::hub();
    let dry = rig.post(&format!("{PROFILES}?dryRun=All"), &store_base()).await;
    assert_eq!(dry.status, StatusCode::CREATED, "{}", dry.text);
    assert_eq!(rig.get(&format!("{PROFILES}/store-base")).await.status, StatusCode::NOT_FOUND);
    rig.create("profiles", &store_base()).await;
    let path = format!("{PROFILES}/store-base?dryRun=All");
    let dry = rig
        .say(Method::PATCH, &path, "application/merge-patch+json", &json!({"spec": {"priority": 1}}))
        .await;
    assert_eq!(dry.json()["spec"]["priority"], 1);
    assert_eq!(rig.get(&format!("{PROFILES}/store-base")).await.json()["spec"]["priority"], 200);
    assert_eq!(rig.say(Method::DELETE, &path, "application/json", &json!({})).await.status, StatusCode::OK);
    assert_eq!(rig.get(&format!("{PROFILES}/store-base")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_edge_refuses_a_profile_and_names_a_hub() {
    let rig = Rig::of(Bench::edge("acme", "store-17"));
    let hub = Document::new(Kind::Hub, "", "hub-eu-1").unwrap();
    let resource = write::with_identity(&hub, json!({"spec": {"key": "00".repeat(32), "region": "eu"}}));
    let write = Write::new(hub, ChangeRequest::Put(resource), "authority", NOON_MS);
    rig.bench.write(Box::new(move |held| drop(held.write(write).unwrap()))).await.unwrap();
    let refused = rig.post(PROFILES, &store_base()).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "Forbidden".into()));
    assert!(refused.text.contains("use the context driftless-hub-eu-1"), "{}", refused.text);
    let members = "/apis/driftless.dev/v1/namespaces/acme/members";
    assert_eq!(
        Rig::hub().post(members, &json!({"metadata": {"name": "store-17.a"}})).await.reason(),
        "Forbidden"
    );
}

#[tokio::test]
async fn a_release_never_changes_but_for_warnings() {
    let rig = Rig::hub();
    let spec = json!({"app": "pos", "version": "2.4.0", "digest": format!("sha256:{}", "ab".repeat(32))});
    rig.create("releases", &json!({"metadata": {"name": "pos.1"}, "spec": spec})).await;
    let path = "/apis/driftless.dev/v1/namespaces/acme/releases/pos.1";
    let change = json!({"spec": {"version": "2.4.1"}});
    let refused = rig.say(Method::PATCH, path, "application/merge-patch+json", &change).await;
    assert_eq!(refused.json()["details"]["causes"][0]["field"], "spec.version");
    let yank = json!({"spec": {"yanked": true}});
    let yanked = rig.say(Method::PATCH, path, "application/merge-patch+json", &yank).await;
    assert_eq!(yanked.json()["spec"]["yanked"], true);
}

#[tokio::test]
async fn discovery_names_every_kind_that_is_routed() {
    let rig = Rig::hub();
    assert_eq!(rig.get("/apis").await.json()["groups"][0]["name"], "driftless.dev");
    let list = rig.get("/apis/driftless.dev/v1").await.json();
    for resource in list["resources"].as_array().unwrap() {
        let path = format!("/apis/driftless.dev/v1/{}", resource["name"].as_str().unwrap());
        assert_eq!(rig.get(&path).await.status, StatusCode::OK, "{path}");
    }
    let index = rig.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/driftless.dev/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = rig.get(url).await.json();
    let profile = &document["paths"]["/apis/driftless.dev/v1/namespaces/{namespace}/profiles/{name}"];
    assert_eq!(profile["patch"]["parameters"][1]["name"], "fieldValidation");
    let schema = &document["components"]["schemas"]["dev.driftless.v1.Profile"];
    let priority = &schema["properties"]["spec"]["properties"]["priority"];
    assert_eq!((&priority["type"], &priority["maximum"]), (&json!("integer"), &json!(1000)));
}
