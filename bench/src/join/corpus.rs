//! What a store holds of its operators' documents: profiles, apps, and above all releases, with as much in
//! them that cannot be compressed as real ones have.

use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::{ChangeRequest, Write};
use serde_json::{Value, json};

use crate::workload::TIME_MS;

const NAMESPACE: &str = "default";
const BY: &str = "fleet/operator/ann";
const APPS: usize = 20;
/// One document of so many is a profile.
const PROFILES_ONE_IN: usize = 20;

/// The scope that is the configuration of all sites.
pub(crate) fn configuration() -> Scope {
    Scope::Profiles { namespace: NAMESPACE.to_owned() }
}

/// So many documents: of one profile, which every site has, follows that it wants all the apps.
pub(crate) fn documents(count: usize) -> Vec<(Kind, String, Value)> {
    let mut random = Random(1);
    let profiles = (count / PROFILES_ONE_IN).max(1);
    let releases = count.saturating_sub(profiles + APPS);
    let first = [(Kind::Profile, "everywhere".to_owned(), everywhere())];
    let profiles = (1..profiles).map(|n| (Kind::Profile, format!("profile-{n:04}"), n));
    let mut documents: Vec<_> = first.into();
    documents.extend(profiles.map(|(kind, name, n)| (kind, name, profile(n, &mut random))));
    documents.extend((0..APPS).map(|n| {
        (
            Kind::App,
            app(n),
            json!({"source": {"oci": "registry.example.com/retail"}, "channels": {"stable": "1.0.0"}}),
        )
    }));
    documents.extend((0..releases).map(|n| {
        let (name, spec) = release(n % APPS, n / APPS, &mut random);
        (Kind::Release, name, spec)
    }));
    documents
}

/// The resource that a client would send.
pub(crate) fn resource(kind: Kind, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "driftless.dev/v1",
        "kind": kind.name(),
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    })
}

/// The write that makes a document.
pub(crate) fn write(kind: Kind, name: &str, resource: Value) -> anyhow::Result<Write> {
    Ok(Write::new(Document::new(kind, NAMESPACE, name)?, ChangeRequest::Put(resource), BY, TIME_MS))
}

fn app(number: usize) -> String {
    format!("app-{number:02}")
}

fn everywhere() -> Value {
    let apps: Vec<Value> = (0..APPS).map(|n| json!({"app": app(n), "channel": "stable"})).collect();
    json!({"priority": 10, "selector": {"matchAll": true}, "apps": apps})
}

fn profile(number: usize, random: &mut Random) -> Value {
    let component = |random: &mut Random| {
        json!({
            "image": format!("registry.example.com/retail/{}", app(random.below(APPS))),
            "tag": random.version(),
            "replicas": 1 + random.below(5),
            "resources": {"cpu": format!("{}m", 50 * (1 + random.below(40))), "memory": format!("{}Mi", 64 * (1 + random.below(32)))},
            "env": {"UPSTREAM": format!("https://10.{}.{}.{}:8443/api", random.below(256), random.below(256), random.below(256)), "TIMEOUT_MS": (random.below(600) * 50).to_string()},
        })
    };
    let values: serde_json::Map<String, Value> =
        (0..3).map(|place| (format!("component-{place}"), component(random))).collect();
    json!({
        "priority": 100 + number,
        "selector": {"matchLabels": {"wave": number.to_string()}},
        "values": values,
    })
}

fn release(of: usize, number: usize, random: &mut Random) -> (String, Value) {
    let app = app(of);
    let version = format!("{}.{}.{}", 1 + number / 100, (number / 10) % 10, number % 10);
    let artifacts: Vec<Value> = ["amd64", "arm64"]
        .into_iter()
        .map(|arch| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{}", random.hex(32)),
                "size": 10_000_000 + random.below(400_000_000),
                "url": format!("https://artifacts.example.com/{app}/{app}-{version}-{arch}.tar.zst"),
            })
        })
        .collect();
    let created = format!(
        "202{}-{:02}-{:02}T12:{:02}:00Z",
        random.below(6),
        1 + random.below(12),
        1 + random.below(28),
        random.below(60)
    );
    let digest = format!("sha256:{}", random.hex(32));
    let spec =
        json!({"app": app, "version": version, "digest": digest, "artifacts": artifacts, "created": created});
    (format!("{app}.{version}"), spec)
}

/// A sequence that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.below(256))).collect()
    }

    fn version(&mut self) -> String {
        format!("{}.{}.{}", self.below(6), self.below(30), self.below(20))
    }
}
