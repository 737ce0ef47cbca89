//! Bringing causes about.

use std::collections::BTreeMap;

use driftless_core::event::{ChainId, Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::group::{Group, Record};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};
use driftless_core::testing::{self, author, boot, key, put};
use driftless_sync::proto::{CutTarget, Interest};

use super::super::*;
use super::fleet::{EU, Fleet, STORE_1, STORE_2, US};

/// The change to trace, and namespace and name of the site.
type Question = (ChangeName, &'static str, &'static str);

const ONE: (&str, &str) = ("acme", "store-1");
const TWO: (&str, &str) = ("acme", "store-2");

fn last(kind: Kind, namespace: &str, name: &str) -> ChangeName {
    ChangeName::Last(Document::new(kind, namespace, name).unwrap())
}

fn base() -> ChangeName {
    last(Kind::Profile, "acme", "base")
}

fn at(change: ChangeName, site: (&'static str, &'static str)) -> Question {
    (change, site.0, site.1)
}

/// Brings a cause about in an empty fleet.
pub(super) async fn inject(fleet: &mut Fleet, cause: &str) -> Question {
    match cause {
        "sent and not acknowledged"
        | "behind others"
        | "the session is being opened"
        | "the connection was lost"
        | "the edge was stopped"
        | "an operator cut the site off"
        | "everything was cut off"
        | "the site cut itself off"
        | "the edge broke the protocol"
        | "its hub lost the edge" => link(fleet, cause).await,
        "the edge is of another version" | "the edge asks for too much" | "the hub has no room" => {
            refused(fleet, cause).await
        }
        "it never connected"
        | "nobody enrolled for it"
        | "its hub is not connected"
        | "its hub was cut off by an operator"
        | "its hub does not answer"
        | "it may have moved to a silent hub" => unknown(fleet, cause).await,
        "no profile names the app" | "another site's override" | "another namespace" => {
            outside(fleet, cause).await
        }
        "written by who may not"
        | "written by a revoked hub"
        | "written by newer software"
        | "changed again"
        | "lost to a concurrent change"
        | "deleted again" => without_effect(fleet, cause).await,
        "the site has not said anything"
        | "the site runs something older"
        | "the site is on hold"
        | "the hook failed"
        | "the files were not written"
        | "it runs there" => reported(fleet, cause).await,
        _ => not_configured(fleet, cause).await,
    }
}

async fn link(fleet: &mut Fleet, cause: &str) -> Question {
    match cause {
        "the session is being opened" => {
            fleet.hubs(|_| {}).await;
            fleet.edge(STORE_1, |_| {}).await;
            fleet.connect_through(STORE_1, EU, [false, true]).await;
        }
        "behind others" => {
            fleet.hubs(|config| config.limits.window_frames = 1).await;
            fleet.edge(STORE_1, |_| {}).await;
            fleet.connect(STORE_1, EU).await;
            fleet.agree(STORE_1, EU, "sites/acme/store-1").await;
        }
        _ => fleet.two_hubs().await,
    }
    match cause {
        "sent and not acknowledged" | "behind others" => fleet.gate(STORE_1, EU, false),
        "the connection was lost" => fleet.lose(STORE_1, EU, "idle timeout").await,
        "its hub lost the edge" => fleet.lose(STORE_2, US, "idle timeout").await,
        "the edge was stopped" => fleet.with(STORE_1, |node| node.stop()).await,
        "an operator cut the site off" => fleet.cut(EU, CutTarget::Named("store-1".into())).await,
        "everything was cut off" => fleet.cut(EU, CutTarget::All).await,
        "the site cut itself off" => fleet.cut(STORE_1, CutTarget::All).await,
        "the edge broke the protocol" => fleet.garble(STORE_1, EU).await,
        _ => {}
    }
    let hub = if cause == "its hub lost the edge" { US } else { EU };
    fleet.gone(STORE_1, EU, cause).await;
    fleet.profile(hub, "base", json!({})).await;
    if cause == "behind others" {
        for priority in [101, 102] {
            fleet.profile(EU, "base", json!({"priority": priority})).await;
        }
    }
    at(base(), if hub == US { TWO } else { ONE })
}

async fn refused(fleet: &mut Fleet, cause: &str) -> Question {
    let full = cause == "the hub has no room";
    fleet.hubs(if full { |config| config.limits.sessions_max = 1 } else { |_| {} }).await;
    fleet.profile(EU, "base", json!({})).await;
    match cause {
        "the edge is of another version" => fleet.edge(STORE_1, |config| config.protocol = (9, 9)).await,
        "the edge asks for too much" => {
            let greedy = ["sites/acme/store-2"].map(|scope| scope.parse().unwrap());
            fleet.edge(STORE_1, |_| {}).await;
            fleet.with(STORE_1, move |node| node.set_interest(Interest::Scopes(greedy.into()))).await;
        }
        _ => fleet.edge(STORE_1, |_| {}).await,
    }
    fleet.connect(STORE_1, EU).await;
    at(base(), ONE)
}

async fn unknown(fleet: &mut Fleet, cause: &str) -> Question {
    match cause {
        "it never connected" | "nobody enrolled for it" => fleet.hubs(|_| {}).await,
        _ => fleet.two_hubs().await,
    }
    if cause == "nobody enrolled for it" {
        fleet.put(EU, Kind::Site, "store-9", json!({"spec": {"region": "eu"}})).await;
    }
    match cause {
        "its hub is not connected" => fleet.lose(EU, US, "the line is cut").await,
        "its hub was cut off by an operator" => fleet.cut(EU, CutTarget::Named("hub-us".into())).await,
        "its hub does not answer" => fleet.gate(US, EU, false),
        "it may have moved to a silent hub" => {
            fleet.lose(EU, US, "the line is cut").await;
            fleet.lose(STORE_1, EU, "idle timeout").await;
        }
        _ => {}
    }
    fleet.profile(EU, "base", json!({})).await;
    match cause {
        "nobody enrolled for it" => at(base(), ("acme", "store-9")),
        "it may have moved to a silent hub" => at(base(), ONE),
        _ => at(base(), TWO),
    }
}

async fn outside(fleet: &mut Fleet, cause: &str) -> Question {
    fleet.two_hubs().await;
    match cause {
        "no profile names the app" => {
            fleet.put(EU, Kind::App, "pos", json!({"spec": {"description": "till"}})).await;
            at(last(Kind::App, "acme", "pos"), ONE)
        }
        "another site's override" => {
            fleet.put(EU, Kind::Override, "store-2.ops", exception(json!({}))).await;
            at(last(Kind::Override, "acme", "store-2.ops"), ONE)
        }
        _ => {
            let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": {"a": 1}});
            fleet
                .with(EU, move |node| {
                    put(&mut node.replica, Kind::Profile, "other", "base", json!({"spec": spec}));
                })
                .await;
            at(last(Kind::Profile, "other", "base"), ONE)
        }
    }
}

async fn without_effect(fleet: &mut Fleet, cause: &str) -> Question {
    fleet.two_hubs().await;
    let unknown = || Operation::Unknown { code: 77, path: "/spec/values/x".into(), argument: vec![1].into() };
    let change = match cause {
        "written by who may not" => {
            let value = Operation::Put { path: "/spec/values/x".into(), value: "1".into() };
            smuggle(fleet, STORE_1, "forged", value).await
        }
        "written by newer software" => smuggle(fleet, US, "future", unknown()).await,
        "written by a revoked hub" => {
            fleet.profile(US, "base", json!({})).await;
            fleet.agree(EU, US, "profiles/acme").await;
            fleet
                .with(EU, |node| {
                    node.replica.add_author(key(testing::AUTHORITY), boot(5));
                    let document = Document::new(Kind::Revocation, "", "hub-us").unwrap();
                    let resource =
                        json!({"metadata": {"name": "hub-us"}, "spec": {"key": author(US).to_string()}});
                    let resource = write::with_identity(&document, resource);
                    let revocation = Write::new(document, ChangeRequest::Put(resource), "mia", NOON_MS);
                    let revocation = Write { author: Some(author(testing::AUTHORITY)), ..revocation };
                    node.replica.write(revocation).unwrap();
                })
                .await;
            base()
        }
        "changed again" => {
            fleet.profile(EU, "base", json!({})).await;
            let event = fleet.profile(EU, "base", json!({"priority": 101})).await;
            fleet.profile(EU, "base", json!({"priority": 102})).await;
            ChangeName::Event(event)
        }
        "deleted again" => {
            let event = fleet.profile(EU, "base", json!({})).await;
            let document = Document::new(Kind::Profile, "acme", "base").unwrap();
            let write = Write::new(document, ChangeRequest::Delete, "mia", 1);
            fleet.with(EU, move |node| drop(node.replica.write(write).unwrap())).await;
            ChangeName::Event(event)
        }
        _ => ChangeName::Event(loser(fleet).await),
    };
    at(change, ONE)
}

/// Two hubs that do not see each other set one field; returns the event that loses.
async fn loser(fleet: &mut Fleet) -> String {
    fleet.profile(EU, "base", json!({})).await;
    fleet.agree(EU, US, "profiles/acme").await;
    fleet.lose(EU, US, "the line is cut").await;
    let events = [
        fleet.profile(EU, "base", json!({"priority": 101})).await,
        fleet.profile(US, "base", json!({"priority": 102})).await,
    ];
    fleet.connect(US, EU).await;
    fleet.agree(EU, US, "profiles/acme").await;
    let document = Document::new(Kind::Profile, "acme", "base").unwrap();
    let state = fleet.with(EU, move |node| node.replica.state(&document).unwrap().unwrap()).await;
    let winner = state.values("/spec/priority")[0].stamp.id.to_string();
    events.into_iter().find(|event| *event != winner).unwrap()
}

/// Puts an event into the hub's replica that nobody wrote there: a profile signed with some node's key.
async fn smuggle(fleet: &Fleet, signer: u16, name: &str, operation: Operation) -> ChangeName {
    let document = Document::new(Kind::Profile, "acme", name).unwrap();
    let header = Header {
        schema: SCHEMA_VERSION,
        fleet: testing::fleet(),
        document: document.clone(),
        incarnation: 1,
        chain: ChainId { author: author(signer), boot: boot(99) },
        author_seq: 1,
        previous: None,
        succeeds: None,
        dependencies: vec![],
        lamport: 1,
        time_ms: NOON_MS,
        by: "mallory".into(),
        reason: String::new(),
        extensions: BTreeMap::new(),
    };
    let group = Group::sign(&key(signer), vec![Arc::new(Event::new(header, vec![operation]))]);
    let record: Arc<[u8]> = Record::Group(group).encode().into();
    fleet.with(EU, move |node| drop(node.replica.merge(&[record]).unwrap())).await;
    ChangeName::Last(document)
}

async fn reported(fleet: &mut Fleet, cause: &str) -> Question {
    fleet.two_hubs().await;
    fleet.profile(EU, "base", json!({})).await;
    if cause == "the site is on hold" {
        let spec = json!({"region": "eu", "hold": {"reason": "stocktaking"}});
        fleet.put(EU, Kind::Site, "store-1", json!({"spec": spec})).await;
    }
    let (hash, store) = (fleet.desired("store-1").await, (STORE_1, "store-1"));
    let failed = |reason: &str, message: &str| json!([{"type": "Applied", "status": "False", "reason": reason, "message": message}]);
    match cause {
        "it runs there" => fleet.report(store, &hash, &hash, json!([])).await,
        "the site runs something older" | "the site is on hold" => {
            fleet.report(store, "older", "older", json!([])).await;
        }
        "the hook failed" => {
            fleet
                .report(store, "older", &hash, failed("HookFailed", "the hook ended with exit code 3"))
                .await;
        }
        "the files were not written" => {
            fleet.report(store, "older", &hash, failed("RenderFailed", "the disk is full")).await;
        }
        _ => {}
    }
    at(base(), ONE)
}

async fn not_configured(fleet: &mut Fleet, cause: &str) -> Question {
    fleet.two_hubs().await;
    let spec = match cause {
        "the selector leaves it out" => json!({"selector": {"matchLabels": {"class": "depot"}}}),
        "the profile is a draft" => json!({"lifecycle": "Draft"}),
        _ => json!({}),
    };
    if !matches!(cause, "no profile selects the site" | "nothing is configured by it") {
        fleet.profile(EU, "base", spec).await;
    }
    let change = match cause {
        "the override selects others" => {
            let spec = json!({"selector": {"matchLabels": {"class": "depot"}}});
            fleet.put(EU, Kind::Override, "depots", exception(spec)).await;
            last(Kind::Override, "acme", "depots")
        }
        "the override has expired" => {
            let spec = json!({"expiresAt": "2026-01-01T00:00:00Z", "expired": "2026-01-01T00:00:00Z"});
            fleet.put(EU, Kind::Override, "store-1.ops", exception(spec)).await;
            last(Kind::Override, "acme", "store-1.ops")
        }
        "no profile selects the site" => {
            fleet.put(EU, Kind::Override, "store-1.ops", exception(json!({}))).await;
            last(Kind::Override, "acme", "store-1.ops")
        }
        "not allowed at the site" => {
            fleet.put(STORE_1, Kind::Override, "store-1.local", exception(json!({}))).await;
            last(Kind::Override, "acme", "store-1.local")
        }
        "nothing is configured by it" => last(Kind::Member, "acme", "store-1.n1"),
        "masked by an override of the site" => {
            fleet.put(EU, Kind::Override, "store-1.ops", exception(json!({}))).await;
            base()
        }
        "masked by an override of a selector" => {
            let spec = json!({"selector": {"matchAll": true}});
            fleet.put(EU, Kind::Override, "all-stores", exception(spec)).await;
            base()
        }
        "masked by an enforced path" => {
            let spec =
                json!({"priority": 50, "enforced": ["pos.replicas"], "values": {"pos": {"replicas": 5}}});
            fleet.profile(EU, "security", spec).await;
            base()
        }
        "masked by a higher profile" => {
            let spec = json!({"priority": 200, "values": {"pos": {"replicas": 5}}});
            fleet.profile(EU, "top", spec).await;
            base()
        }
        "the site does not resolve" => {
            fleet.profile(EU, "odd", json!({"priority": 200, "values": {"pos": 5}})).await;
            base()
        }
        _ => base(),
    };
    at(change, ONE)
}

/// An override of what the profiles here set.
fn exception(more: Value) -> Value {
    let mut spec = json!({"reason": "test", "values": {"pos": {"replicas": 7}}});
    if more.get("expiresAt").is_none() {
        spec["permanent"] = json!(true);
    }
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"spec": spec})
}
