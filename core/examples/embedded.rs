//! An embedded replica: no network, one directory, full history.
//!
//! `cargo run -p driftless-core --example embedded -- DIR` keeps its state in DIR; without DIR, in a new one.
#![allow(clippy::print_stdout, reason = "the example shows what it does")]

use std::error::Error;
use std::path::PathBuf;

use driftless_core::ids::{Boot, FleetId};
use driftless_core::name::{Document, Kind};
use driftless_core::owner::Handle;
use driftless_core::replica::{ChangeRequest, Config, Replica, Write};
use driftless_core::store::{SledOptions, SledStore};
use ed25519_dalek::SigningKey;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let new = || std::env::temp_dir().join(format!("driftless-embedded-{}", std::process::id()));
    let dir = std::env::args_os().nth(1).map_or_else(new, PathBuf::from);
    // A program of its own is a fleet of its own: its key is the authority. A real one keeps a random key.
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut boot = Boot::default();
    getrandom::fill(&mut boot.0)?;
    let config = Config { fleet: FleetId(key.verifying_key().to_bytes()), key, boot };
    let at = dir.clone();
    let open = move || Replica::open(SledStore::open(&at, SledOptions::default())?, config);
    let (store, owner) = Handle::spawn("store", open)?;

    let base = Document::new(Kind::Profile, "default", "store-base")?;
    let start = store.read(|replica| replica.position())?;
    let resource = json!({
        "apiVersion": "driftless.dev/v1", "kind": "Profile",
        "metadata": {"name": "store-base", "namespace": "default", "labels": {"team": "retail"}},
        "spec": {"priority": 200, "selector": {"matchAll": true}, "values": {"pos": {"replicas": 2}}},
    });
    let more = json!({"spec": {"values": {"pos": {"replicas": 3}}}});
    let (put, patch) = (ChangeRequest::Put(resource), ChangeRequest::MergePatch(more));
    for (change, reason) in [(put, "every store has two tills"), (patch, "three on Saturdays")] {
        let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
        let write = Write::new(base.clone(), change, "ann", now_ms).because(reason);
        // Durable once this returns; writes from many threads share one flush.
        store.write(|replica| replica.write(write))??;
    }

    let label = [("team".to_owned(), "retail".to_owned())].into_iter().collect();
    for view in store.read(move |replica| replica.list(Kind::Profile, None, &label))?? {
        println!("listed   {} {}", view.document, view.resource["spec"]["values"]);
    }
    for change in store.read(move |replica| replica.changes(start, 100))?? {
        println!("changed  {} at position {}", change.document, change.position);
    }
    for entry in store.read(move |replica| replica.history(&base))?? {
        let header = entry.event.header();
        println!("history  {} {}: {}", entry.event.id().short(), header.by, header.reason);
    }
    drop(store);
    println!("kept in  {}", dir.display());
    Ok(owner.join()?)
}
