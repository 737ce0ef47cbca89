#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::PathBuf;

use driftless_core::replica::LabelSelector;

use super::*;
use crate::api::testing::Bench;

/// An edge whose command prints a file.
struct Site {
    bench: Bench,
    dir: tempfile::TempDir,
    inventory: Inventory,
    condition: watch::Receiver<Option<Condition>>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = format!("cat {}", dir.path().join("machines.json").display());
        let place = Place { namespace: "acme".into(), site: "store-17".into(), node: "n1".into() };
        let (inventory, condition) = Inventory::new(place, Some(command), None);
        Self { bench: Bench::edge("acme", "store-17"), dir, inventory, condition }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("machines.json")
    }

    async fn look(&self, printed: Value) -> Vec<String> {
        fs::write(self.file(), printed.to_string()).unwrap();
        self.look_again().await
    }

    /// The machines that are known after a look.
    async fn look_again(&self) -> Vec<String> {
        self.inventory.look(&self.bench).await.unwrap();
        let all = read(&self.bench, |held| held.names(Kind::Machine, Some("acme"), &LabelSelector::new()));
        all.await.unwrap().into_iter().map(|document| document.name().to_owned()).collect()
    }

    async fn position(&self) -> u64 {
        read(&self.bench, |held| held.position()).await.unwrap()
    }

    fn reason(&self) -> String {
        self.condition.borrow().clone().map(|condition| condition.reason).unwrap_or_default()
    }
}

fn till(name: &str, model: &str) -> Value {
    json!({"kind": "Machine", "metadata": {"name": name}, "spec": {"model": model}})
}

#[tokio::test]
async fn only_differences_become_events() {
    let site = Site::new();
    let two = json!([till("till-1", "a"), till("till-2", "a")]);
    assert_eq!(site.look(two.clone()).await, ["store-17.n1", "store-17.till-1", "store-17.till-2"]);
    let before = site.position().await;
    site.look(two).await;
    assert_eq!(site.position().await, before);
    site.look(json!([till("till-1", "a"), till("till-2", "b")])).await;
    assert_eq!(site.position().await, before + 1);
    assert_eq!(site.reason(), "Reported");
}

#[tokio::test]
async fn what_vanished_is_deleted_but_only_when_the_command_can_be_believed() {
    let site = Site::new();
    let all = ["store-17.n1", "store-17.till-1", "store-17.till-2"];
    assert_eq!(site.look(json!([till("till-1", "a"), till("till-2", "a")])).await, all);
    fs::remove_file(site.file()).unwrap();
    assert_eq!(site.look_again().await, all);
    assert_eq!(site.reason(), "CommandFailed");
    fs::write(site.file(), "").unwrap();
    assert_eq!(site.look_again().await, all);
    assert_eq!(site.reason(), "NotUnderstood");
    assert_eq!(site.look(json!([till("till-1", "a"), till("Not a name", "a")])).await, all);
    assert_eq!(site.reason(), "Incomplete");
    assert_eq!(site.look(json!([till("till-1", "a")])).await, all[..2]);
    assert_eq!(site.look(json!([])).await, all[..1]);
    assert_eq!(site.reason(), "Reported");
}

#[tokio::test]
async fn machines_that_others_reported_are_left_alone() {
    let site = Site::new();
    write(&site.bench, |held| {
        let machine = json!({"metadata": {"labels": {REPORTED_BY: "n2"}}, "spec": {"model": "theirs"}});
        driftless_core::testing::put(held, Kind::Machine, "acme", "store-17.n2", machine.clone());
        driftless_core::testing::put(held, Kind::Machine, "acme", "store-17.by-hand", json!({"spec": {}}));
        driftless_core::testing::put(held, Kind::Machine, "acme", "store-18.m", machine);
    })
    .await
    .unwrap();
    let all = ["store-17.by-hand", "store-17.n1", "store-17.n2", "store-18.m"];
    assert_eq!(site.look(json!([])).await, all);
}

#[tokio::test]
async fn of_the_host_itself_the_command_knows_better_and_a_failure_forgets_nothing() {
    let site = Site::new();
    site.look(json!([till("n1", "from the cluster")])).await;
    let before = site.position().await;
    fs::remove_file(site.file()).unwrap();
    site.look_again().await;
    assert_eq!(site.position().await, before);
    let document = Document::new(Kind::Machine, "acme", "store-17.n1").unwrap();
    let view = read(&site.bench, move |held| held.get(&document)).await.unwrap().unwrap().unwrap();
    assert_eq!(view.resource["spec"]["model"], "from the cluster");
}

#[tokio::test]
async fn a_machine_that_cannot_be_written_does_not_stop_the_others() {
    let site = Site::new();
    let huge = json!({"metadata": {"name": "huge"}, "spec": {"model": "x".repeat(40_000)}});
    let all = site.look(json!([till("a", "a"), huge, till("z", "a")])).await;
    assert_eq!(all, ["store-17.a", "store-17.n1", "store-17.z"]);
    assert_eq!(site.reason(), "WriteFailed");
}
