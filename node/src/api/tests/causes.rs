//! Causes of "not synced" and "not applied", each brought about in a fleet of real replicas and engines, and
//! what `trace` says to each.

mod fleet;
mod inject;

use driftless_core::name::{Document, Kind};

use self::fleet::{EU, Fleet, STORE_1, US};
use self::inject::inject;
use super::*;

/// What is brought about, and what is said of the site then: state, reason, words of the message.
const CAUSES: [(&str, &str, &str, &str); 46] = [
    // It runs there, or is on its way.
    ("it runs there", "Applied", "Active", "desired configuration"),
    ("sent and not acknowledged", "InFlight", "NotAcknowledged", "hub-eu has sent it"),
    ("behind others", "Waiting", "Behind", "behind by 3 events"),
    ("the session is being opened", "Waiting", "Comparing", "finding out"),
    // No session with it.
    ("the connection was lost", "NotConnected", "Closed", "idle timeout"),
    ("the edge was stopped", "NotConnected", "Closed", "the node stops"),
    ("an operator cut the site off", "NotConnected", "CutByOperator", "peers heal"),
    ("the site cut itself off", "NotConnected", "CutByOperator", "cut the link"),
    ("the edge broke the protocol", "NotConnected", "Closed", "protocol violation"),
    ("the edge is of another version", "NotConnected", "Closed", "no common protocol version"),
    ("the edge asks for too much", "NotConnected", "Closed", "is not for acme/store-1.n1"),
    ("the hub has no room", "NotConnected", "Closed", "more than 1 sessions"),
    ("its hub lost the edge", "NotConnected", "Closed", "not connected to hub-us"),
    // Only somebody else knows, or nobody.
    ("it never connected", "Unknown", "NeverConnected", "since the hubs were started"),
    ("nobody enrolled for it", "Unknown", "NotEnrolled", "token create"),
    ("its hub is not connected", "Unknown", "HubCannotBeAsked", "hub-us (eu; not connected"),
    ("its hub was cut off by an operator", "Unknown", "HubCannotBeAsked", "an operator has cut the link"),
    ("its hub does not answer", "Unknown", "HubCannotBeAsked", "did not answer in time"),
    ("it may have moved to a silent hub", "Unknown", "HubCannotBeAsked", "last connected to hub-eu"),
    ("everything was cut off", "Unknown", "HubCannotBeAsked", "an operator has cut the link"),
    // Not for it.
    ("no profile names the app", "OutsideInterest", "NotWanted", "catalog/acme/pos"),
    ("another site's override", "OutsideInterest", "NotForThisSite", "sites/acme/store-2"),
    ("another namespace", "OutsideInterest", "NotForThisSite", "profiles/other"),
    // Held, and without effect.
    ("written by who may not", "Durable", "VoidNotAllowed", "may not write this Profile"),
    ("written by a revoked hub", "Durable", "VoidRevoked", "revoked"),
    ("written by newer software", "Durable", "NeedsVersion", "schema version"),
    ("changed again", "Durable", "Superseded", "later change"),
    ("lost to a concurrent change", "Durable", "ConflictLost", "concurrent change"),
    ("deleted again", "Durable", "Deleted", "deleted after"),
    // Held, effective, and not for this site's configuration.
    ("the selector leaves it out", "Durable", "NotSelected", "does not select"),
    ("the profile is a draft", "Durable", "NotPublished", "Draft"),
    ("the override selects others", "Durable", "NotSelected", "the override"),
    ("the override has expired", "Durable", "Expired", "expired"),
    ("masked by an override of the site", "Durable", "MaskedByOverride", "override/store-1.ops"),
    ("masked by an override of a selector", "Durable", "MaskedByOverride", "override/all-stores"),
    ("masked by an enforced path", "Durable", "MaskedByEnforced", "profile/security"),
    ("masked by a higher profile", "Durable", "MaskedByProfile", "profile/top"),
    ("not allowed at the site", "Durable", "Denied", "no local override"),
    // Desired, and not active.
    ("the site has not said anything", "Durable", "NotReported", "has not said"),
    ("the site runs something older", "Durable", "Pending", "another configuration"),
    ("the site is on hold", "Durable", "Held", "stocktaking"),
    ("the site does not resolve", "Durable", "ResolutionFailed", "TypeChange"),
    ("no profile selects the site", "Durable", "NoProfile", "keeps what it runs"),
    ("the hook failed", "Durable", "HookFailed", "exit code 3"),
    ("the files were not written", "Durable", "RenderFailed", "disk is full"),
    ("nothing is configured by it", "Durable", "Held", "no configuration comes out of a Member"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cause_of_not_synced_is_named() {
    let mut wrong = vec![];
    for (cause, state, reason, words) in CAUSES {
        let mut fleet = Fleet::new();
        let (change, namespace, site) = inject(&mut fleet, cause).await;
        let is_expected = |said: &Value| {
            let message = said["message"].as_str().unwrap_or_default();
            said["state"] == state && said["reason"] == reason && message.contains(words)
        };
        let said = fleet.trace_until(&change, namespace, site, is_expected).await;
        if !is_expected(&said) {
            wrong.push(format!("{cause}: expected {state}, {reason}, {words:?}; was told {said}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} causes:\n{}", wrong.len(), CAUSES.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_every_hop_and_counts_what_is_unknown_as_not_done() {
    let mut fleet = Fleet::new();
    fleet.two_hubs().await;
    let event = fleet.profile(EU, "base", json!({})).await;
    let change = ChangeName::Event(event[..12].to_owned());
    let there = |said: &Value| said["state"] == "Durable";
    fleet.trace_until(&change, "acme", "store-1", there).await;
    fleet.trace_until(&change, "acme", "store-2", there).await;
    let hash = fleet.desired("store-1").await;
    fleet.report((STORE_1, "store-1"), &hash, &hash, json!([])).await;
    fleet.trace_until(&change, "acme", "store-1", |said| said["state"] == "Applied").await;
    let trace = fleet.api(EU).trace(&change, None, None).await.unwrap();
    assert_eq!(trace["counts"], json!({"interested": 2, "durable": 2, "applied": 1, "unknown": 0}));
    let hubs: Vec<_> =
        trace["hubs"].as_array().unwrap().iter().map(|hub| (&hub["name"], &hub["state"])).collect();
    let durable = json!("Durable");
    assert_eq!(hubs, [(&json!("hub-eu"), &durable), (&json!("hub-us"), &durable)]);
    let hub_of = |trace: &Value, site: &str| {
        let sites = trace["sites"].as_array().unwrap();
        sites.iter().find(|found| found["site"] == site).unwrap()["hub"].clone()
    };
    assert_eq!((hub_of(&trace, "store-1"), hub_of(&trace, "store-2")), (json!("hub-eu"), json!("hub-us")));
    let progress = fleet.api(EU).progress(10).await.unwrap();
    let newest = &progress[0];
    assert_eq!((&newest["event"], &newest["name"]), (&json!(event), &json!("base")));
    assert_eq!(newest["regions"]["eu"]["durable"], 2, "{newest}");
    // What only the other hub knew is not known any more, and does not count as done.
    fleet.lose(EU, US, "the line is cut").await;
    fleet.profile(EU, "late", json!({})).await;
    let change = ChangeName::Last(Document::new(Kind::Profile, "acme", "late").unwrap());
    fleet.trace_until(&change, "acme", "store-1", there).await;
    let progress = fleet.api(EU).progress(1).await.unwrap();
    let newest = &progress[0];
    let counts = ["interested", "durable", "unknown"].map(|key| newest[key].as_u64().unwrap());
    assert_eq!((counts, &newest["name"]), ([2, 1, 1], &json!("late")), "{newest}");
    assert!(newest["silent"].as_array().unwrap().contains(&json!("hub-us")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_traces_its_own_site_and_what_it_wrote() {
    let mut fleet = Fleet::new();
    fleet.two_hubs().await;
    fleet.profile(EU, "base", json!({})).await;
    let policy = ChangeName::Last(Document::new(Kind::Profile, "acme", "base").unwrap());
    fleet.trace_until(&policy, "acme", "store-1", |said| said["state"] == "Durable").await;
    let trace = fleet.api(STORE_1).trace(&policy, None, None).await.unwrap();
    let sites = trace["sites"].as_array().unwrap();
    assert_eq!((sites.len(), &sites[0]["reason"]), (1, &json!("NotReported")), "{trace}");
    fleet.put(STORE_1, Kind::Machine, "store-1.m1", json!({"spec": {"model": "x"}})).await;
    let own = ChangeName::Last(Document::new(Kind::Machine, "acme", "store-1.m1").unwrap());
    fleet.trace_until(&own, "acme", "store-1", |said| said["state"] == "Durable").await;
    let trace = fleet.api(STORE_1).trace(&own, None, None).await.unwrap();
    let hub = trace["hubs"].as_array().unwrap().iter().find(|hub| hub["name"] == "hub-eu").unwrap();
    assert_eq!((&hub["state"], &trace["author"]), (&json!("Durable"), &json!("acme/store-1.n1")));
}

#[tokio::test]
async fn what_is_not_held_here_is_absent_and_what_is_no_event_is_refused() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    for (path, status) in [
        ("/v1/trace/profiles/acme/store-base", StatusCode::OK),
        ("/v1/trace/profiles/acme/nothing", StatusCode::NOT_FOUND),
        ("/v1/trace/0123456789abcdef", StatusCode::NOT_FOUND),
        ("/v1/trace/0123", StatusCode::BAD_REQUEST),
        ("/v1/trace/nothing-that-is-hex", StatusCode::BAD_REQUEST),
        ("/v1/trace/profiles/acme/store-base?site=nowhere", StatusCode::NOT_FOUND),
        ("/v1/progress", StatusCode::OK),
        ("/v1/progress/profiles/acme/store-base?labelSelector=a%20b%20c", StatusCode::BAD_REQUEST),
        ("/metrics", StatusCode::OK),
    ] {
        assert_eq!(rig.get(path).await.status, status, "{path}");
    }
    let whole =
        rig.get("/v1/trace/profiles/acme/store-base").await.json()["event"].as_str().unwrap().to_owned();
    assert_eq!(rig.get(&format!("/v1/trace/{}", &whole[..12])).await.json()["event"], whole);
    let text = rig.get("/metrics").await.text;
    assert!(text.contains("driftless_changes_pending{stage=\"durable\"} 0"), "{text}");
}
