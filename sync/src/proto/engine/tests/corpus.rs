//! Ten thousand documents such as a store holds: profiles, its own machines, releases of its apps.

use driftless_core::name::{Document, Kind};
use serde_json::{Value, json};

use crate::sim::random::Random;

/// How many documents of each kind the corpus has.
pub(super) const PROFILES: usize = 500;
pub(super) const MACHINES: usize = 500;
pub(super) const APPS: usize = 20;
pub(super) const RELEASES: usize = 450;

/// A document with its content, as an operator or a site would write it.
pub(super) struct Written {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) resource: Value,
}

impl Written {
    fn new(kind: Kind, name: String, labels: Value, spec: Value) -> Self {
        let resource = json!({
            "apiVersion": "driftless.dev/v1",
            "kind": kind.name(),
            "metadata": {"name": name, "namespace": "acme", "labels": labels},
            "spec": spec,
        });
        Self { kind, name, resource }
    }

    pub(super) fn document(&self) -> Document {
        Document::new(self.kind, "acme", &self.name).unwrap()
    }
}

/// What operators write for all: profiles of about 1 KB.
pub(super) fn profiles() -> Vec<Written> {
    let mut random = Random::new(1);
    (0..PROFILES).map(|number| profile(number, &mut random)).collect()
}

/// What `store-1` says of its machines.
pub(super) fn machines() -> Vec<Written> {
    let mut random = Random::new(2);
    (0..MACHINES).map(|number| machine(number, &mut random)).collect()
}

/// The releases of an app.
pub(super) fn releases(app: usize) -> Vec<Written> {
    let mut random = Random::new(100 + app as u64);
    (0..RELEASES).map(|number| release(app, number, &mut random)).collect()
}

pub(super) fn app_name(app: usize) -> String {
    format!("{}-{}", word(app as u64), word(app as u64 / 3 + 7))
}

const WORDS: [&str; 24] = [
    "pos",
    "kiosk",
    "signage",
    "inventory",
    "pricing",
    "loyalty",
    "camera",
    "thermal",
    "scanner",
    "gateway",
    "metrics",
    "logging",
    "ingress",
    "registry",
    "broker",
    "cache",
    "ledger",
    "printer",
    "sensor",
    "vision",
    "freezer",
    "checkout",
    "delivery",
    "planner",
];
const REGIONS: [&str; 6] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south", "sa-east"];

fn word(number: u64) -> &'static str {
    WORDS[number as usize % WORDS.len()]
}

fn hex(random: &mut Random, bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", random.below(256))).collect()
}

fn version(random: &mut Random) -> String {
    format!("{}.{}.{}", random.below(6), random.below(30), random.below(20))
}

fn profile(number: usize, random: &mut Random) -> Written {
    let component = |random: &mut Random| {
        json!({
            "image": format!("registry.acme.example/{}/{}", word(random.below(24)), word(random.below(24))),
            "tag": format!("v{}", version(random)),
            "replicas": 1 + random.below(5),
            "resources": {
                "cpu": format!("{}m", 50 * (1 + random.below(40))),
                "memory": format!("{}Mi", 64 * (1 + random.below(32))),
            },
            "env": {
                "LOG_LEVEL": random.pick(&["debug", "info", "warn"]),
                "UPSTREAM": format!("https://{}.{}.acme.example:{}/api", word(random.below(24)),
                    REGIONS[random.below(6) as usize], 1_024 + random.below(60_000)),
                "TIMEOUT_MS": (random.below(600) * 50).to_string(),
            },
            "ports": [{"name": "http", "port": 8_000 + random.below(1_000)}, {"name": "metrics", "port": 9_090}],
        })
    };
    let values: serde_json::Map<String, Value> =
        (0..3).map(|place| (word(number as u64 * 5 + place).to_owned(), component(random))).collect();
    let region = REGIONS[random.below(6) as usize];
    let spec = json!({
        "priority": random.below(1_000),
        "selector": {"matchLabels": {"region": region, "tier": word(random.below(24))}},
        "values": values,
    });
    let name = format!("{}-{}-{number:03}", word(number as u64), region);
    Written::new(Kind::Profile, name, json!({"team": word(random.below(24))}), spec)
}

fn machine(number: usize, random: &mut Random) -> Written {
    let (a, b) = (random.below(256), random.below(256));
    let interface = |random: &mut Random, name: &str| {
        let mac: Vec<String> = (0..6).map(|_| format!("{:02x}", random.below(256))).collect();
        json!({"name": name, "mac": mac.join(":"), "speedMbps": 1_000, "up": random.below(10) > 0})
    };
    let disk = |random: &mut Random, name: &str| {
        json!({"name": name, "model": format!("SSD-{}", random.below(9_000)), "serial": hex(random, 8),
            "sizeBytes": 240_057_409_536u64 * (1 + random.below(4))})
    };
    let spec = json!({
        "hostname": format!("store-1-{}-{number}", word(number as u64)),
        "serial": hex(random, 6).to_uppercase(),
        "model": format!("EdgeBox {}", 100 * (1 + random.below(9))),
        "addresses": [format!("10.{a}.{b}.{}", random.below(250))],
        "interfaces": [interface(random, "eth0"), interface(random, "eth1")],
        "disks": [disk(random, "sda"), disk(random, "sdb")],
        "versions": {
            "kernel": format!("6.{}.{}-generic", random.below(12), random.below(90)),
            "kubelet": format!("v1.{}.{}", 24 + random.below(8), random.below(15)),
            "containerd": version(random),
            "bios": format!("{}.{}", random.below(4), random.below(99)),
        },
        "capacity": {"cpu": 4 * (1 + random.below(8)), "memoryBytes": 8_589_934_592u64 * (1 + random.below(8))},
        "bootId": hex(random, 16),
    });
    let labels = json!({"rack": format!("r{}", random.below(20)), "role": word(random.below(24))});
    Written::new(Kind::Machine, format!("store-1.m{number:04}"), labels, spec)
}

fn release(app: usize, number: usize, random: &mut Random) -> Written {
    let name = app_name(app);
    let version = format!("{}.{}.{}", number / 100, (number / 10) % 10, number % 10);
    let artifact = |random: &mut Random, arch: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
            "url": format!("https://artifacts.acme.example/{name}/{version}/{name}-{version}-{arch}.tar.zst"),
            "digest": format!("sha256:{}", hex(random, 32)),
            "size": 10_000_000 + random.below(400_000_000),
        })
    };
    let time = format!(
        "202{}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        random.below(6),
        1 + random.below(12),
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60)
    );
    let spec = json!({
        "app": name,
        "version": version,
        "created": time,
        "digest": format!("sha256:{}", hex(random, 32)),
        "artifacts": [artifact(random, "amd64"), artifact(random, "arm64")],
    });
    let labels = json!({"channel": word(number as u64 % 2), "team": word(random.below(24))});
    let mut written = Written::new(Kind::Release, format!("{name}.{number}"), labels, spec);
    written.resource["metadata"]["annotations"] = json!({
        "description": format!("{name} for stores: {} and {}", word(random.below(24)), word(random.below(24))),
        "maintainer": format!("{}@acme.example", word(random.below(24))),
        "source": format!("https://git.acme.example/{name}/commit/{}", hex(random, 20)),
    });
    written
}
