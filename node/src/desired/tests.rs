#![allow(clippy::unwrap_used)]
use driftless_core::replica::{ChangeRequest, Write};
use driftless_core::store::MemoryStore;
use driftless_core::testing::{carry, enrolled, open, put};
use serde_json::json;

use super::*;

/// A namespace with one site and the catalog of one app, which a profile names for stores.
fn fleet() -> Replica<MemoryStore> {
    let mut held = enrolled(&[("hub-a", 1), ("hub-b", 2)], &[]);
    let mut put = |kind, name, resource| drop(put(&mut held, kind, "acme", name, resource));
    let labels = json!({"class": "store", "country": "nl"});
    put(Kind::Site, "store-17", json!({"metadata": {"labels": labels}, "spec": {"region": "eu"}}));
    put(Kind::Site, "store-18", json!({"spec": {"region": "eu"}}));
    put(
        Kind::Profile,
        "store-base",
        json!({"spec": {
            "priority": 200, "selector": {"matchLabels": {"class": "store"}},
            "values": {"pos": {"replicas": 2}}, "apps": [{"app": "pos", "channel": "stable"}],
        }}),
    );
    put(
        Kind::Override,
        "store-17.replicas",
        json!({"spec": {"values": {"pos": {"replicas": 4}}, "reason": "INC-42", "permanent": true}}),
    );
    held.commit().unwrap();
    held
}

fn catalog(held: &mut Replica<MemoryStore>) {
    put(held, Kind::App, "acme", "pos", json!({"spec": {"channels": {"stable": "2.3.1"}}}));
    put(held, Kind::App, "acme", "other", json!({"spec": {"channels": {}}}));
    let digest = format!("sha256:{}", "a".repeat(64));
    let spec = json!({"app": "pos", "version": "2.3.1", "digest": digest});
    put(held, Kind::Release, "acme", "pos.2-3-1", json!({"spec": spec}));
    held.commit().unwrap();
}

fn look(held: &Replica<MemoryStore>, site: &str) -> Survey {
    survey(held, "acme", site, 1_795_356_000_000, &mut Pins::default()).unwrap()
}

fn resolved(held: &Replica<MemoryStore>, site: &str) -> Option<Resolution> {
    look(held, site).site.map(|(_, resolution)| resolution)
}

fn scopes(held: &Replica<MemoryStore>, site: &str) -> Vec<String> {
    look(held, site).interest.iter().map(ToString::to_string).collect()
}

#[test]
fn a_site_resolves_out_of_what_is_held() {
    let mut held = fleet();
    assert!(resolved(&held, "nowhere").is_none());
    assert!(resolved(&held, "Not A Name").is_none());
    let missing = resolved(&held, "store-17").unwrap();
    assert_eq!(missing.failed.unwrap().reason, "UnknownApp");
    catalog(&mut held);
    let resolution = resolved(&held, "store-17").unwrap();
    assert_eq!(resolution.failed, None);
    assert_eq!(resolution.values, json!({"pos": {"replicas": 4}}));
    assert_eq!(resolution.apps["pos"]["version"], "2.3.1");
    assert_eq!(resolution.config_hash.len(), 64);
}

#[test]
fn an_app_is_wanted_before_anything_of_it_is_here() {
    let mut held = fleet();
    let own = ["fleet", "profiles/acme", "sites/acme/store-17"];
    assert_eq!(scopes(&held, "store-17")[..3], own);
    assert_eq!(scopes(&held, "store-17")[3..], ["catalog/acme/pos"]);
    assert_eq!(scopes(&held, "store-18"), ["fleet", "profiles/acme", "sites/acme/store-18"]);
    assert_eq!(scopes(&held, "nowhere").len(), 3);
    catalog(&mut held);
    assert_eq!(scopes(&held, "store-17").len(), 4);
}

#[test]
fn an_override_that_removes_an_app_does_not_want_it_and_one_that_adds_an_app_does() {
    let mut held = fleet();
    let spec = json!({"apps": [{"app": "pos", "$delete": true}, {"app": "kiosk", "version": "1"}],
        "reason": "trial", "permanent": true});
    put(&mut held, Kind::Override, "acme", "store-17.apps", json!({"spec": spec}));
    held.commit().unwrap();
    assert_eq!(scopes(&held, "store-17")[3..], ["catalog/acme/kiosk", "catalog/acme/pos"]);
    assert_eq!(scopes(&held, "store-18").len(), 3);
}

#[test]
fn while_nobody_can_tell_what_applies_the_catalog_stays_wanted() {
    let mut held = fleet();
    let spec = json!({"priority": 1, "selector": {"matchLabels": {"class": "store"}}});
    put(&mut held, Kind::Profile, "acme", "broken", json!({"spec": spec}));
    held.commit().unwrap();
    // Two hubs, apart from each other, each change a selector; together that is none.
    let mut a = open(MemoryStore::new(), 1, 7);
    let mut b = open(MemoryStore::new(), 2, 7);
    carry(&held, &mut a);
    carry(&held, &mut b);
    let document = Document::new(Kind::Profile, "acme", "broken").unwrap();
    let patch = |selector: Value| ChangeRequest::MergePatch(json!({"spec": {"selector": selector}}));
    let all = patch(json!({"matchAll": true, "matchLabels": null}));
    a.write(Write::new(document.clone(), all, "ann", 1)).unwrap();
    a.commit().unwrap();
    let dutch = patch(json!({"matchLabels": {"country": "nl"}}));
    b.write(Write::new(document, dutch, "ben", 1)).unwrap();
    b.commit().unwrap();
    carry(&b, &mut a);
    let resolution = resolved(&a, "store-17").unwrap();
    assert!(resolution.failed.is_some() && resolution.profiles.is_empty(), "{resolution:?}");
    assert_eq!(scopes(&a, "store-17")[3..], ["catalog/acme/pos"]);
}
