//! Rigs that tests of several crates share: keys, enrolled replicas in memory, hand-carried sync.
//!
//! Nothing here is for production: keys come from small numbers.

#![allow(clippy::expect_used)]

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::ids::{Author, Boot, FleetId};
use crate::name::{Document, Kind};
use crate::replica::{ChangeRequest, Config, Merged, Replica, Write, Written};
use crate::store::{MemoryStore, Store};

/// The key with this number.
pub fn key(number: u16) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

/// The author with this number's key.
pub fn author(number: u16) -> Author {
    Author(key(number).verifying_key().to_bytes())
}

/// The key number of the authority of the rig's fleet.
pub const AUTHORITY: u16 = 0;

/// The rig's fleet.
pub fn fleet() -> FleetId {
    FleetId(author(AUTHORITY).0)
}

/// The boot with this number.
pub fn boot(number: u64) -> Boot {
    let mut boot = [0; 16];
    boot[8..].copy_from_slice(&number.to_be_bytes());
    Boot(boot)
}

/// Opens a replica that writes with a numbered key.
pub fn open<S: Store>(store: S, key_number: u16, boot_number: u64) -> Replica<S> {
    let config = Config { fleet: fleet(), key: key(key_number), boot: boot(boot_number) };
    Replica::open(store, config).expect("the rig's stores open")
}

/// The authority's replica in memory, with hubs `(name, key)` and sites `(namespace, site, key)`
/// enrolled and durable. Everything else starts by copying its events.
pub fn enrolled(hubs: &[(&str, u16)], sites: &[(&str, &str, u16)]) -> Replica<MemoryStore> {
    let mut replica = open(MemoryStore::new(), AUTHORITY, 1);
    for (name, number) in hubs {
        let spec = json!({"key": author(*number).to_string(), "region": "eu"});
        put(&mut replica, Kind::Hub, "", name, json!({"spec": spec}));
    }
    for (namespace, site, number) in sites {
        put(&mut replica, Kind::Site, namespace, site, json!({"spec": {"region": "eu"}}));
        let spec = json!({"key": author(*number).to_string(), "role": "edge", "node": "n1"});
        put(&mut replica, Kind::Member, namespace, &format!("{site}.n1"), json!({"spec": spec}));
    }
    replica.commit().expect("memory does not fail");
    replica
}

/// Writes a resource, with names and kind filled in; staged.
pub fn put<S: Store>(
    replica: &mut Replica<S>,
    kind: Kind,
    namespace: &str,
    name: &str,
    mut resource: Value,
) -> Written {
    let document = Document::new(kind, namespace, name).expect("tests name documents well");
    resource["apiVersion"] = json!("driftless.dev/v1");
    resource["kind"] = json!(kind.name());
    resource["metadata"]["name"] = json!(name);
    if !namespace.is_empty() {
        resource["metadata"]["namespace"] = json!(namespace);
    }
    let write = Write::new(document, ChangeRequest::Put(resource), "tester", 1_700_000_000_000);
    replica.write(write).expect("the test may write this")
}

/// Carries what `to` lacks of every scope from `from`, both committed.
pub fn carry<A: Store, B: Store>(from: &Replica<A>, to: &mut Replica<B>) -> Merged {
    let mut total = Merged::default();
    for scope in from.scopes().cloned().collect::<Vec<_>>() {
        let mut after = from.start_for(&scope, &to.vector(&scope)).expect("memory does not fail");
        loop {
            let read = from.log(&scope, after, 64 * 1024).expect("memory does not fail");
            let records: Vec<_> = read.entries.iter().map(|entry| entry.bytes.clone()).collect();
            let merged = to.merge(&records).expect("an honest sender breaks no rule");
            total.accepted += merged.accepted;
            total.duplicates += merged.duplicates;
            total.void += merged.void;
            total.wanted.extend(merged.wanted);
            total.refused.extend(merged.refused);
            after = read.next;
            if read.end {
                break;
            }
        }
    }
    to.commit().expect("memory does not fail");
    total
}
