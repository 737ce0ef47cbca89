//! Watches, line by line.

use std::time::Duration;

use http_body_util::BodyExt as _;

use super::*;

const SITES: &str = "/apis/driftless.dev/v1/namespaces/acme/sites";

/// A watch under way.
struct Watching {
    body: Body,
    rest: String,
}

impl Watching {
    async fn on(rig: &Rig, query: &str) -> Self {
        let response =
            rig.send(Request::get(format!("{SITES}?watch=true&{query}")).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), rest: String::new() }
    }

    /// The next event; `None` if the watch ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.rest = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.unwrap()?;
            let data = frame.unwrap().into_data().unwrap();
            self.rest.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn kind_and_name(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

async fn relabel(rig: &Rig, name: &str, tier: &str) {
    let patch = json!({"metadata": {"labels": {"tier": tier}}});
    let path = format!("{SITES}/{name}");
    let answer = rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn a_watch_from_the_start_shows_what_is_there_and_what_happens() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    let mut watching = Watching::on(&rig, "resourceVersion=0").await;
    assert_eq!(watching.kind_and_name().await, event("ADDED", "store-1"));
    rig.create("sites", &site("store-2", "nl")).await;
    assert_eq!(watching.kind_and_name().await, event("ADDED", "store-2"));
    relabel(&rig, "store-1", "gold").await;
    assert_eq!(watching.kind_and_name().await, event("MODIFIED", "store-1"));
    rig.say(Method::DELETE, &format!("{SITES}/store-2"), "application/json", &json!({})).await;
    assert_eq!(watching.kind_and_name().await, event("DELETED", "store-2"));
}

#[tokio::test]
async fn a_watch_from_a_list_misses_nothing_in_between() {
    let rig = Rig::hub();
    for name in ["store-1", "store-2", "store-3"] {
        rig.create("sites", &site(name, "nl")).await;
    }
    let version = rig.get(SITES).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    relabel(&rig, "store-1", "gold").await;
    rig.say(Method::DELETE, &format!("{SITES}/store-2"), "application/json", &json!({})).await;
    rig.create("sites", &site("store-4", "nl")).await;
    let mut watching = Watching::on(&rig, &format!("resourceVersion={version}")).await;
    let mut events = vec![];
    for _ in 0..3 {
        events.push(watching.kind_and_name().await);
    }
    events.sort();
    assert_eq!(
        events,
        [event("ADDED", "store-4"), event("DELETED", "store-2"), event("MODIFIED", "store-1")]
    );
}

#[tokio::test]
async fn leaving_a_selection_looks_like_deletion() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    let mut watching = Watching::on(&rig, "resourceVersion=0&labelSelector=tier%3Dgold").await;
    relabel(&rig, "store-1", "gold").await;
    assert_eq!(watching.kind_and_name().await, event("ADDED", "store-1"));
    relabel(&rig, "store-1", "silver").await;
    let left = watching.next().await.unwrap();
    assert_eq!(
        (left["type"].clone(), left["object"]["metadata"]["labels"]["tier"].clone()),
        (json!("DELETED"), json!("silver"))
    );
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watching = Watching::on(&rig, query).await;
    assert_eq!(watching.kind_and_name().await, event("ADDED", "store-1"));
    let bookmark = watching.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let refused = rig.get(&format!("{SITES}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(refused.reason(), "BadRequest");
}

#[tokio::test]
async fn what_cannot_be_followed_any_more_is_expired() {
    let rig = Rig::hub();
    assert_eq!(rig.get(&format!("{SITES}?watch=true&resourceVersion=7")).await.reason(), "Expired");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let rig = Rig::hub();
    let mut watching = Watching::on(&rig, "resourceVersion=0&timeoutSeconds=0").await;
    assert_eq!(watching.next().await, None);
}

#[tokio::test]
async fn tables_are_watched_row_by_row() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    let request = Request::get(format!("{SITES}?watch=true"))
        .header(header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io");
    let response = rig.send(request.body(Body::empty()).unwrap()).await;
    let mut watching = Watching { body: response.into_body(), rest: String::new() };
    let event = watching.next().await.unwrap();
    assert_eq!((event["type"].clone(), event["object"]["kind"].clone()), (json!("ADDED"), json!("Table")));
    assert_eq!(event["object"]["rows"][0]["cells"][0], "store-1");
}

#[tokio::test]
async fn what_a_site_says_of_itself_shows_in_the_site() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    let mut watching = Watching::on(&rig, "resourceVersion=0").await;
    assert_eq!(watching.kind_and_name().await, event("ADDED", "store-1"));
    report(&rig, "store-1", json!({"active": {"configHash": "abc"}})).await;
    let seen = watching.next().await.unwrap();
    assert_eq!(seen["type"], "MODIFIED");
    assert_eq!(seen["object"]["status"]["active"]["configHash"], "abc");
}

#[tokio::test]
async fn a_profile_that_changes_shows_in_the_sites_that_it_matches() {
    let rig = Rig::hub();
    rig.create("sites", &site("store-1", "nl")).await;
    rig.create("sites", &json!({"metadata": {"name": "tower-1"}, "spec": {"region": "eu"}})).await;
    let mut watching = Watching::on(&rig, "resourceVersion=0").await;
    watching.kind_and_name().await;
    watching.kind_and_name().await;
    rig.create("profiles", &store_base()).await;
    let seen = watching.next().await.unwrap();
    assert_eq!(
        (seen["type"].clone(), seen["object"]["metadata"]["name"].clone()),
        (json!("MODIFIED"), json!("store-1"))
    );
    assert_eq!(seen["object"]["status"]["profiles"], json!(["store-base"]));
}
