#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::Path;

use driftless_core::name::Document;
use driftless_core::replica::{ChangeRequest, LabelSelector, Write};
use driftless_core::testing as rig;
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::api::Held;
use crate::api::testing::{Bench, NOON_MS};

/// Nothing here takes longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A site, and an edge that applies its configuration.
struct Store {
    bench: Arc<Bench>,
    dir: tempfile::TempDir,
    hook: Option<String>,
    /// The first pause after a failure.
    retry: Duration,
}

/// The edge's process, so to speak.
struct Running {
    task: JoinHandle<()>,
    active: Active,
    interest: watch::Receiver<BTreeSet<Scope>>,
    inventory: watch::Sender<Option<Condition>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    async fn open() -> Self {
        let store = Self {
            bench: Arc::new(Bench::edge("acme", "store-17")),
            dir: tempfile::tempdir().unwrap(),
            hook: None,
            retry: Duration::from_millis(10),
        };
        store.put(Kind::Site, "store-17", json!({"metadata": {"labels": {"class": "store"}}})).await;
        store
    }

    async fn write<T: Send + 'static>(&self, command: impl FnOnce(&mut Held) -> T + Send + 'static) -> T {
        write(&*self.bench, command).await.unwrap()
    }

    async fn put(&self, kind: Kind, name: &str, resource: Value) {
        let name = name.to_owned();
        self.write(move |held| drop(rig::put(held, kind, "acme", &name, resource))).await;
    }

    async fn profile(&self, replicas: u32) {
        let spec = json!({"priority": 100, "selector": {"matchAll": true},
            "values": {"pos": {"replicas": replicas}}});
        self.put(Kind::Profile, "base", json!({"spec": spec})).await;
    }

    fn start(&self) -> Running {
        let place = Place { namespace: "acme".into(), site: "store-17".into(), node: "n1".into() };
        let (inventory, conditions) = watch::channel(None);
        let hook = self.hook.clone().map(Hook::new);
        let (mut applier, active) = Applier::new(place, Some(self.files()), hook, conditions);
        applier.retry_first = self.retry;
        let (sender, interest) = watch::channel(BTreeSet::new());
        let task = tokio::spawn(applier.run(self.bench.clone(), sender));
        Running { task, active, interest, inventory }
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    async fn status(&self) -> Value {
        let document = Document::new(Kind::SiteStatus, "acme", "store-17").unwrap();
        let view = read(&*self.bench, move |held| held.get(&document)).await.unwrap().unwrap();
        view.map_or(Value::Null, |view| view.resource["status"].clone())
    }

    /// Waits until the site's status says something.
    async fn says(&self, what: impl Fn(&Value) -> bool) -> Value {
        let mut positions = self.bench.positions();
        let wait = async {
            loop {
                let status = self.status().await;
                if what(&status) {
                    return status;
                }
                positions.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("the status still says {:#}", self.status().await),
        }
    }
}

impl Running {
    /// Waits until a configuration with so many replicas is active.
    async fn runs(&mut self, replicas: u32) -> Arc<Value> {
        let wanted = |active: &Option<Arc<Value>>| {
            active.as_ref().is_some_and(|active| active["values"]["pos"]["replicas"] == replicas)
        };
        let active = tokio::time::timeout(PATIENCE, self.active.wait_for(wanted)).await;
        active.expect("it becomes active in time").unwrap().clone().unwrap()
    }
}

fn condition<'s>(status: &'s Value, kind: &str) -> &'s Value {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn applied(reason: &str) -> impl Fn(&Value) -> bool {
    move |status| condition(status, "Applied")["reason"] == reason
}

fn rendered(files: &Path) -> u64 {
    let json: Value = serde_json::from_slice(&fs::read(files.join("config.json")).unwrap()).unwrap();
    json["values"]["pos"]["replicas"].as_u64().unwrap()
}

#[tokio::test]
async fn what_is_desired_is_rendered_taken_up_and_then_active() {
    let mut store = Store::open().await;
    store.hook = Some("cat $DRIFTLESS_CONFIG_DIR/config.hash >> $DRIFTLESS_CONFIG_DIR/../seen".into());
    let mut edge = store.start();
    let status = store.says(applied("NoProfile")).await;
    assert_eq!(condition(&status, "NoProfile")["status"], "True");
    assert!(edge.active.borrow().is_none() && !store.files().exists());
    store.profile(2).await;
    let active = edge.runs(2).await;
    assert_eq!(rendered(&store.files()), 2);
    let hash = active["configHash"].as_str().unwrap();
    assert_eq!(fs::read_to_string(store.dir.path().join("seen")).unwrap(), format!("{hash}\n"));
    let status = store.says(applied("Applied")).await;
    assert_eq!(status["active"]["configHash"], hash);
    assert_eq!(status["active"]["appliedAt"], "2026-11-22T14:00:00Z");
    assert_eq!(status["active"]["profiles"][0]["name"], "base");
    assert_eq!(status["desired"]["configHash"], hash);
    assert_eq!(status["hook"], json!({"configHash": hash, "exitCode": 0}));
    assert_eq!(condition(&status, "Applied")["status"], "True");
}

#[tokio::test]
async fn a_hook_that_fails_keeps_what_is_active_until_it_succeeds() {
    let mut store = Store::open().await;
    let good = store.dir.path().join("good");
    store.hook = Some(format!(
        "grep -q 'replicas: 3' $DRIFTLESS_CONFIG_DIR/config.yaml || exit 0; test -e {} || exit 7",
        good.display()
    ));
    let mut edge = store.start();
    store.profile(2).await;
    let first = edge.runs(2).await;
    store.profile(3).await;
    let status = store.says(applied("HookFailed")).await;
    assert_eq!(condition(&status, "Applied")["status"], "False");
    assert_eq!(status["hook"]["exitCode"], 7);
    assert_eq!(status["active"]["configHash"], first["configHash"]);
    assert_ne!(status["desired"]["configHash"], first["configHash"]);
    assert_eq!(edge.active.borrow().clone().unwrap(), first);
    fs::write(good, "").unwrap();
    edge.runs(3).await;
    assert_eq!(rendered(&store.files()), 3);
    let status = store.says(applied("Applied")).await;
    assert_eq!(status["hook"]["exitCode"], 0);
}

#[tokio::test]
async fn the_files_are_those_of_the_active_configuration_while_another_is_not_taken_up() {
    let mut store = Store::open().await;
    store.hook = Some("grep -q 'replicas: 3' $DRIFTLESS_CONFIG_DIR/config.yaml && exit 1; exit 0".into());
    store.retry = PATIENCE * 2;
    let mut edge = store.start();
    store.profile(2).await;
    edge.runs(2).await;
    store.profile(3).await;
    // The status is written after the files were put back.
    store.says(applied("HookFailed")).await;
    assert_eq!(rendered(&store.files()), 2);
    drop(edge);
    // A node that was stopped in the middle of an attempt makes up for it when it starts.
    fs::write(store.files().join("config.hash"), "of another\n").unwrap();
    store.profile(2).await;
    let _edge = store.start();
    store.says(applied("Applied")).await;
    assert_eq!(rendered(&store.files()), 2);
}

#[tokio::test]
async fn a_restarted_edge_runs_what_it_ran_whatever_became_of_the_profiles() {
    let store = Store::open().await;
    let mut edge = store.start();
    store.profile(2).await;
    let before = edge.runs(2).await;
    store.says(applied("Applied")).await;
    drop(edge);
    let gone = |kind, name: &str| {
        let document = Document::new(kind, "acme", name).unwrap();
        move |held: &mut Held| {
            drop(held.write(Write::new(document, ChangeRequest::Delete, "ann", 1)).unwrap())
        }
    };
    store.write(gone(Kind::Profile, "base")).await;
    fs::remove_dir_all(store.files()).unwrap();
    let mut edge = store.start();
    assert_eq!(edge.runs(2).await, before);
    store.says(applied("NoProfile")).await;
    assert_eq!(rendered(&store.files()), 2, "files that are gone are made again");
    // Not even the site is known any more.
    store.write(gone(Kind::Site, "store-17")).await;
    let status = store.says(applied("NoSite")).await;
    assert_eq!(status["active"]["configHash"], before["configHash"]);
    assert_eq!(edge.active.borrow().clone().unwrap(), before);
}

#[tokio::test]
async fn allow_empty_lets_a_site_run_nothing() {
    let store = Store::open().await;
    store.put(Kind::Site, "store-17", json!({"spec": {"allowEmpty": true}})).await;
    let mut edge = store.start();
    let active = tokio::time::timeout(PATIENCE, edge.active.wait_for(Option::is_some)).await;
    assert_eq!(active.unwrap().unwrap().clone().unwrap()["values"], json!({}));
}

#[tokio::test]
async fn a_resolution_that_fails_keeps_what_is_active() {
    let store = Store::open().await;
    let mut edge = store.start();
    store.profile(2).await;
    let before = edge.runs(2).await;
    let spec = json!({"priority": 200, "selector": {"matchAll": true}, "values": {"pos": "not a map"}});
    store.put(Kind::Profile, "clash", json!({"spec": spec})).await;
    let status = store.says(applied("ResolutionFailed")).await;
    assert_eq!(condition(&status, "ResolutionFailed")["status"], "True");
    assert!(status.get("desired").is_none());
    assert_eq!(edge.active.borrow().clone().unwrap(), before);
}

#[tokio::test]
async fn a_hold_freezes_what_is_active_until_it_ends() {
    let store = Store::open().await;
    let mut edge = store.start();
    store.profile(2).await;
    edge.runs(2).await;
    let hold = json!({"until": "2026-11-22T15:00:00Z", "reason": "peak trading"});
    store.put(Kind::Site, "store-17", json!({"spec": {"hold": hold}})).await;
    store.says(|status| condition(status, "Held")["message"] == "peak trading").await;
    store.profile(3).await;
    let status = store.says(applied("Held")).await;
    assert_ne!(status["desired"]["configHash"], status["active"]["configHash"]);
    assert_eq!(rendered(&store.files()), 2);
    assert_eq!(store.bench.now_ms(), NOON_MS);
    store.bench.pass(3_600_000);
    // Anything that wakes the edge will do; otherwise it looks when the hold is over.
    store
        .put(
            Kind::Profile,
            "other",
            json!({"spec": {"priority": 1, "selector": {"matchLabels": {"a": "b"}}}}),
        )
        .await;
    edge.runs(3).await;
}

#[tokio::test]
async fn the_interest_follows_the_apps_and_the_apps_follow_the_interest() {
    let store = Store::open().await;
    let mut edge = store.start();
    let spec = json!({"priority": 100, "selector": {"matchAll": true},
        "values": {"pos": {"replicas": 2}}, "apps": [{"app": "pos", "channel": "stable"}]});
    store.put(Kind::Profile, "base", json!({"spec": spec})).await;
    let pos: Scope = "catalog/acme/pos".parse().unwrap();
    let wants = edge.interest.wait_for(|interest| interest.contains(&pos));
    assert_eq!(tokio::time::timeout(PATIENCE, wants).await.unwrap().unwrap().len(), 4);
    store.says(applied("ResolutionFailed")).await;
    let digest = format!("sha256:{}", "a".repeat(64));
    store.put(Kind::App, "pos", json!({"spec": {"channels": {"stable": "2.3.1"}}})).await;
    let release = json!({"app": "pos", "version": "2.3.1", "digest": digest});
    store.put(Kind::Release, "pos.1", json!({"spec": release})).await;
    let active = edge.runs(2).await;
    assert_eq!(active["apps"]["pos"], json!({"version": "2.3.1", "digest": digest, "channel": "stable"}));
    assert!(fs::read_to_string(store.files().join("config.env")).unwrap().contains("APP_POS_VERSION=2.3.1"));
}

#[tokio::test]
async fn nothing_is_written_when_nothing_is_new() {
    let store = Store::open().await;
    let mut edge = store.start();
    store.profile(2).await;
    edge.runs(2).await;
    store.says(applied("Applied")).await;
    let inventory = Condition::new("Inventory", "False", "CommandFailed", "exit code 1");
    edge.inventory.send_replace(Some(inventory));
    store.says(|status| condition(status, "Inventory")["reason"] == "CommandFailed").await;
    let before = read(&*store.bench, |held| held.position()).await.unwrap();
    // Changes that do not change what the site should run: another site, the same profile in other words.
    store.put(Kind::Site, "store-18", json!({"spec": {"region": "eu"}})).await;
    let spec = json!({"priority": 50, "selector": {"matchLabels": {"class": "plant"}}, "values": {"a": 1}});
    store.put(Kind::Profile, "plants", json!({"spec": spec})).await;
    // A third change that does shows that the first two were looked at.
    store.profile(5).await;
    edge.runs(5).await;
    store.says(|status| status["active"]["configHash"] == status["desired"]["configHash"]).await;
    let document = Document::new(Kind::SiteStatus, "acme", "store-17").unwrap();
    let rows = read(&*store.bench, move |held| held.history(&document)).await.unwrap().unwrap();
    let later = rows.iter().filter(|row| row.position > before).count();
    assert!((1..=2).contains(&later), "{later} events of the status for one change of configuration");
}

#[tokio::test]
async fn what_the_site_says_all_day_gets_checkpoints() {
    let store = Store::open().await;
    let _edge = store.start();
    store.profile(2).await;
    let machine = Document::new(Kind::Machine, "acme", "store-17.m1").unwrap();
    for round in 0..300 {
        store.put(Kind::Machine, "store-17.m1", json!({"spec": {"model": round.to_string()}})).await;
    }
    let mut positions = store.bench.positions();
    let shrunk = async {
        loop {
            let name = machine.clone();
            let length = store.write(move |held| {
                held.settle().unwrap();
                held.history(&name).unwrap().len()
            });
            if length.await < 300 {
                return;
            }
            positions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, shrunk).await.unwrap();
    let all = read(&*store.bench, |held| held.list(Kind::Machine, None, &LabelSelector::new())).await;
    assert_eq!(all.unwrap().unwrap()[0].resource["spec"]["model"], "299");
}
