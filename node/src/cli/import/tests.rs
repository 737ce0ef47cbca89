#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::testing::shared_data;

fn try_read(format: Format, options: &Options, text: &str) -> Result<(Report, Vec<Value>), ImportError> {
    let mut resources = Vec::new();
    let take = &mut |resource| resources.push(resource);
    let report = import("input", text.as_bytes(), format, options, take)?;
    Ok((report, resources))
}

fn read(format: Format, options: &Options, text: &str) -> (Report, Vec<Value>) {
    try_read(format, options, text).unwrap()
}

/// Imports a real file by what it is taken for.
fn real(data: &Path, file: &str, options: &Options) -> (Report, BTreeMap<String, Value>) {
    let mut resources = BTreeMap::new();
    let path = data.join(file).to_string_lossy().into_owned();
    let report = run(&path, None, options, &mut |resource| {
        let kind = resource["kind"].as_str().unwrap();
        let key = format!("{kind}/{}", name(&resource));
        assert_eq!(driftless_core::schema::validate(kind, &resource), Ok(()), "{key}");
        assert!(resources.insert(key, resource).is_none(), "a name came twice");
    })
    .unwrap();
    assert_eq!(report.imported.values().sum::<usize>(), resources.len());
    (report, resources)
}

fn name(resource: &Value) -> &str {
    resource["metadata"]["name"].as_str().unwrap()
}

fn at_site(site: &str) -> Options {
    Options { site: Some(site.to_owned()), ..Options::default() }
}

const DIGEST: &str = "cc4cd48a885c070fe8b2929971552852375c11e92d95fc6337d0c3fa277ac575";

fn index(entries: &[(&str, &str, &str)]) -> String {
    let mut text = "apiVersion: v1\nentries:\n  pos:\n".to_owned();
    for (version, created, digest) in entries {
        text += &format!(
            "  - version: {version}\n    created: {created}\n    digest: {digest}\n    norway: no\n    urls: [pos-{version}.tgz]\n"
        );
    }
    text
}

#[test]
fn an_index_becomes_apps_with_channels_and_releases() {
    let options = Options { repository: Some("https://charts.example/".to_owned()), ..Options::default() };
    let text = index(&[
        ("2.4.0-beta.1", "2026-03-01T10:00:00+01:00", DIGEST),
        ("1.10", "2026-02-01T00:00:00Z", DIGEST),
        ("1.9.0+Build7", "2026-01-01T00:00:00Z", DIGEST),
    ]);
    let (report, resources) = read(Format::HelmIndex, &options, &text);
    assert_eq!(report.imported, BTreeMap::from([("App", 1), ("Release", 3)]));
    let names: Vec<_> = resources.iter().map(name).collect();
    assert_eq!(names, ["pos.1.10", "pos.1.9.0x--2bx--42uild7", "pos.2.4.0-beta.1", "pos"]);
    assert_eq!(
        resources[2],
        json!({"apiVersion": "driftless.dev/v1", "kind": "Release",
            "metadata": {"name": "pos.2.4.0-beta.1", "namespace": "default"},
            "spec": {"app": "pos", "version": "2.4.0-beta.1", "digest": format!("sha256:{DIGEST}"),
                "created": "2026-03-01T09:00:00Z",
                "artifacts": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                    "digest": format!("sha256:{DIGEST}"), "url": "https://charts.example/pos-2.4.0-beta.1.tgz"}]}})
    );
    assert_eq!(
        resources[3]["spec"],
        json!({"channels": {"stable": "1.10", "beta": "2.4.0-beta.1"}, "source": {"helm": "https://charts.example/"}})
    );
}

#[test]
fn a_bad_entry_is_told_and_the_rest_is_imported() {
    let text = format!(
        "entries:\n  Bad_Name: [{{version: 1.0.0}}, {{version: 1.0.1}}]\n  pos:\n\
         \x20 - {{version: latest, digest: {DIGEST}, urls: ['https://x/a']}}\n\
         \x20 - {{version: 1.0.0, urls: ['https://x/a']}}\n\
         \x20 - {{version: 1.0.1, digest: abc, urls: ['https://x/a']}}\n\
         \x20 - {{version: 1.0.2, digest: {DIGEST}}}\n\
         \x20 - {{version: 1.0.3, digest: {DIGEST}, urls: [a.tgz]}}\n\
         \x20 - {{version: 1.0.4, digest: {DIGEST}, urls: ['https://x/a'], created: yesterday}}\n\
         \x20 - {{version: 1.0.5, digest: 'sha256:{DIGEST}', urls: ['https://x/a']}}\n"
    );
    let (report, resources) = read(Format::HelmIndex, &Options::default(), &text);
    assert_eq!(resources.iter().map(name).collect::<Vec<_>>(), ["pos.1.0.5", "pos"]);
    assert_eq!(report.refused, 8);
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "chart Bad_Name: \"Bad_Name\" is not a DNS name",
        "chart pos latest: \"latest\" is not a semantic version",
        "chart pos 1.0.0: it has no digest",
        "chart pos 1.0.1: the digest \"abc\" is not 64 hexadecimal digits",
        "chart pos 1.0.2: it has no urls",
        "chart pos 1.0.3: its address \"a.tgz\" is relative; --repository URL",
        "chart pos 1.0.4: created is \"yesterday\"",
    ];
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
    assert_eq!(problems.len(), expected.len());
    assert!(problems[0].ends_with("2 versions not imported"));
}

#[test]
fn a_version_published_twice_stays_what_it_was_first() {
    let options = Options { repository: Some("https://x".to_owned()), ..Options::default() };
    let other = "d".repeat(64);
    let first = ("1.0.0", "2026-01-01T00:00:00Z", DIGEST);
    let again = ("1.0.0", "2026-02-01T00:00:00Z", other.as_str());
    let same = ("1.0.0", "2026-03-01T00:00:00Z", DIGEST);
    let (_, alone) = read(Format::HelmIndex, &options, &index(&[first]));
    for order in [[first, again], [again, first]] {
        let (report, grown) = read(Format::HelmIndex, &options, &index(&order));
        assert_eq!(grown, alone);
        assert_eq!(report.refused, 1);
        assert!(report.problems[0].why.contains("a release never changes"));
    }
    let (report, grown) = read(Format::HelmIndex, &options, &index(&[same, first]));
    assert_eq!((grown, report.repeated, report.refused), (alone, 1, 0));
}

#[test]
fn nodes_become_machines_without_heartbeats() {
    let list = r#"{"apiVersion": "v1", "kind": "NodeList", "items": [{
        "metadata": {"name": "n1.cluster", "labels": {"kubernetes.io/os": "linux", "nvidia.com/gpu.product": "T4"}},
        "status": {"capacity": {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": "2"},
            "nodeInfo": {"architecture": "arm64", "kubeletVersion": "v1.30.1", "kernelVersion": "6.1", "containerRuntimeVersion": "containerd://1.7"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "fine",
                "lastHeartbeatTime": "2026-01-02T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}},
        {"kind": "Pod", "metadata": {"name": "x"}}, {"metadata": {"name": "n1.cluster"}}, {"metadata": {"name": "UPPER_CASE"}}, {}]}"#;
    let (report, machines) = read(Format::KubernetesNodes, &at_site("store-01"), list);
    assert_eq!(
        machines,
        [json!({"apiVersion": "driftless.dev/v1", "kind": "Machine",
            "metadata": {"name": "store-01.n1.cluster", "namespace": "default"},
            "spec": {"capacity": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}, "os": "linux", "arch": "arm64",
                "kubeletVersion": "v1.30.1", "kernelVersion": "6.1", "containerRuntime": "containerd://1.7",
                "gpu": 2, "model": "T4", "labels": {"kubernetes.io/os": "linux", "nvidia.com/gpu.product": "T4"}},
            "status": {"ready": true, "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})]
    );
    let why: Vec<_> = report.problems.iter().map(|problem| problem.why.as_str()).collect();
    assert_eq!(why[0], "only Nodes become Machines, found \"Pod\"");
    assert_eq!(why[1], "the machine \"n1.cluster\" stands here a second time");
    assert!(why[2].contains("not a DNS name"));
    assert_eq!(why[3], "the machine has no name");
    assert_eq!(report.problems[0].at, "input:1 items[1]");
}

#[test]
fn a_table_of_machines_is_read_in_any_column_order() {
    let text = "model,sn,memory_mib,cpu_milli,gpu\nT4,n-1,262144,32000,2\n,n-2,1024,1500,0\n,n-3,many,1,0\nshort,row\n,n-1,1,1,1\n";
    let (report, machines) = read(Format::MachineCsv, &at_site("lab"), text);
    assert_eq!(
        machines[0]["spec"],
        json!({"capacity": {"cpu": "32", "memory": "262144Mi"}, "gpu": 2, "model": "T4"})
    );
    assert_eq!(machines[1]["spec"], json!({"capacity": {"cpu": "1500m", "memory": "1024Mi"}, "gpu": 0}));
    assert_eq!((machines.len(), report.refused), (2, 3));
    assert_eq!(report.problems[0].to_string(), "input:4: memory_mib is \"many\", not a whole number");
    assert!(report.problems[1].at.ends_with(":5"), "{}", report.problems[1]);
    assert!(report.problems[2].why.contains("second time"));
    let missing = try_read(Format::MachineCsv, &Options::default(), text).unwrap_err();
    assert!(missing.to_string().starts_with("--site is needed"), "{missing}");
    let bad = try_read(Format::MachineCsv, &at_site("a.b"), text).unwrap_err();
    assert!(bad.to_string().starts_with("--site"), "{bad}");
    let other = try_read(Format::MachineCsv, &at_site("lab"), "a,b\n1,2\n").unwrap_err();
    assert!(other.to_string().contains("its columns are"), "{other}");
}

#[test]
fn stores_become_sites_with_labels_that_selectors_can_use() {
    let text = "Store Number,Name,City,State,Country,Zip\n6892-84700,\"Rose, Oxnard\",Oxnard,CA,US,93033\n\
                12,Gare,La Chaux-de-Fonds,NE,CH,2300\n12,Again,X,TX,US,1\n,None,X,TX,US,1\na b,Bad,X,TX,US,1\n13,Nowhere,X,,,\n";
    let options = Options {
        prefix: "acme".to_owned(),
        labels: BTreeMap::from([("class".to_owned(), "store".to_owned())]),
        ..Options::default()
    };
    let (report, sites) = read(Format::SiteCsv, &options, text);
    assert_eq!(
        sites[0],
        json!({"apiVersion": "driftless.dev/v1", "kind": "Site", "metadata": {"name": "acme-6892-84700", "namespace": "default",
            "labels": {"region": "us-west", "country": "us", "state": "ca", "city": "oxnard", "class": "store"},
            "annotations": {"import.driftless.dev/name": "Rose, Oxnard", "import.driftless.dev/city": "Oxnard",
                "import.driftless.dev/state": "CA", "import.driftless.dev/country": "US", "import.driftless.dev/zip": "93033"}},
            "spec": {"region": "us-west"}})
    );
    let labels = json!({"region": "ch", "country": "ch", "state": "ne", "city": "la-chaux-de-fonds", "class": "store"});
    assert_eq!(sites[1]["metadata"]["labels"], labels);
    assert_eq!((sites.len(), report.refused), (2, 4));
    let named = Options { region_column: Some("zip".to_owned()), ..options.clone() };
    let (_, sites) = read(Format::SiteCsv, &named, text);
    assert_eq!(sites[0]["spec"]["region"], "93033");
    let (_, sites) =
        read(Format::SiteCsv, &Options { region: Some("eu".to_owned()), ..options.clone() }, text);
    assert_eq!(sites.last().unwrap()["spec"]["region"], "eu");
    for (id, region) in [(Some("nr"), None), (None, Some("area"))] {
        let options = Options {
            id_column: id.map(str::to_owned),
            region_column: region.map(str::to_owned),
            ..options.clone()
        };
        let error = try_read(Format::SiteCsv, &options, text).unwrap_err().to_string();
        assert!(error.contains("the table has store_number, name, city"), "{error}");
    }
}

#[test]
fn formats_are_told_by_content() {
    let told = |path: &str, head: &str| detect(path, head.as_bytes()).ok();
    assert_eq!(told("x", "sn,cpu_milli,memory_mib,gpu,model\n"), Some(Format::MachineCsv));
    assert_eq!(told("x.csv.zst", "\u{feff}\"id\",\"city\"\n"), Some(Format::SiteCsv));
    assert_eq!(told("-", "apiVersion: v1\nentries:\n  a: []\n"), Some(Format::HelmIndex));
    assert_eq!(told("-", "{\"apiVersion\":\"v1\",\"entries\":{}}"), Some(Format::HelmIndex));
    assert_eq!(told("-", "---\nkind: Node\n"), Some(Format::KubernetesNodes));
    assert_eq!(
        told("-", "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n"),
        Some(Format::KubernetesNodes)
    );
    assert_eq!(
        told("-", "{\n  \"apiVersion\": \"v1\", \"kind\": \"NodeList\"}"),
        Some(Format::KubernetesNodes)
    );
    for (path, head) in [("x", ""), ("x", "kind: Pod\n"), ("x.csv", "a,b\n"), ("x", "\u{0}\u{1}")] {
        let error = detect(path, head.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("--format names one of\n  helm-index: "), "{error}");
    }
    assert_eq!(Format::parse("nodes").unwrap(), Format::KubernetesNodes);
    assert!(Format::parse("xml").is_err());
}

#[test]
fn compressed_input_is_unpacked_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nodes.csv.zst");
    let text = "sn,cpu_milli,memory_mib\nn-1,1000,1024\n";
    std::fs::write(&path, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    let mut count = 0;
    let path = path.to_str().unwrap();
    run(path, None, &at_site("lab"), &mut |_| count += 1).unwrap();
    assert_eq!(count, 1);
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
    let damaged = run(path, None, &at_site("lab"), &mut |_| {}).unwrap_err();
    assert!(damaged.to_string().starts_with("cannot read"), "{damaged}");
    // More than the bound, whatever it came from.
    for format in [Format::SiteCsv, Format::KubernetesNodes] {
        let head = Cursor::new("id,city\n").chain(io::repeat(b'\n').take(IMPORT_BYTES_MAX));
        let error = import("x", head, format, &at_site("lab"), &mut |_| {}).unwrap_err();
        assert!(matches!(error, ImportError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn real_helm_indexes_import_completely() {
    let Some(data) = shared_data() else { return };
    // File, apps, releases, repeated, refused.
    let expected = [
        ("grafana", 41, 3_589, 0, 2),
        ("argo-helm", 11, 1_628, 0, 0),
        ("rke2-charts", 28, 1_219, 0, 3),
        ("ingress-nginx", 1, 168, 0, 9),
        ("sealed-secrets", 1, 82, 0, 0),
    ];
    let mut entries = 0;
    let mut seen = Vec::new();
    for (file, ..) in expected {
        let options = Options { repository: Some("https://charts.example".to_owned()), ..Options::default() };
        let (report, resources) = real(&data, &format!("catalog/{file}-index.yaml.zst"), &options);
        let [apps, releases] = ["App", "Release"].map(|kind| report.imported[kind]);
        entries += releases + report.repeated + report.refused;
        seen.push((file, apps, releases, report.repeated, report.refused));
        for (key, app) in resources.iter().filter(|(key, _)| key.starts_with("App/")) {
            let suffix = app["spec"]["channels"]["beta"].as_str().unwrap();
            let suffix = release_suffix(&Version::parse(suffix).unwrap(), suffix);
            let release = format!("Release/{}.{suffix}", &key[4..]);
            assert!(resources.contains_key(&release), "{release}");
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(entries, 6_700);
}

#[test]
fn an_index_that_grew_gives_the_old_releases_again() {
    let Some(data) = shared_data() else { return };
    let path = data.join("catalog/ingress-nginx-index.yaml.zst");
    let mut text = Vec::new();
    open(path.to_str().unwrap()).unwrap().read_to_end(&mut text).unwrap();
    let mut index = Value::Null;
    let take = &mut |document: crate::cli::yaml::ParsedDocument| index = document.value;
    crate::cli::yaml::each_document("index", &text, crate::cli::yaml::Mode::Lenient, take).unwrap();
    let entries = index["entries"]["ingress-nginx"].as_array().unwrap().clone();
    let mut by_age = entries;
    by_age.sort_by_key(|entry| entry["created"].as_str().unwrap().to_owned());
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for length in [1, 60, 120, by_age.len()] {
        let index = json!({"entries": {"ingress-nginx": by_age[..length]}}).to_string();
        let (_, resources) = read(Format::HelmIndex, &Options::default(), &index);
        let releases = resources.into_iter().filter(|resource| resource["kind"] == "Release");
        let now: BTreeMap<_, _> = releases.map(|r| (name(&r).to_owned(), r)).collect();
        for (name, release) in &known {
            assert_eq!(now.get(name), Some(release), "{name} changed");
        }
        known = now;
    }
    assert_eq!(known.len(), 168);
}

#[test]
fn real_machines_import_completely() {
    let Some(data) = shared_data() else { return };
    let options = at_site("openb");
    let (report, machines) = real(&data, "inventory/alibaba-openb_node_list_all_node.csv.zst", &options);
    assert_eq!((report.imported["Machine"], report.refused), (1_523, 0));
    let v100 = machines.values().filter(|machine| machine["spec"]["model"] == "V100M32").count();
    assert_eq!(v100, 30);
    let (report, nodes) =
        real(&data, "inventory/alibaba-openb_node_list_gpu_node.k8s-nodes.yaml.zst", &options);
    assert_eq!((report.imported["Machine"], report.refused), (1_213, 0));
    // The same machines with GPUs, described by two formats under two numberings.
    let described = |machines: &BTreeMap<String, Value>| {
        let mut described: Vec<_> = machines
            .values()
            .map(|machine| &machine["spec"])
            .filter(|spec| spec["gpu"] != 0)
            .map(|spec| (spec["gpu"].to_string(), spec["model"].to_string()))
            .collect();
        described.sort();
        described
    };
    assert_eq!(described(&nodes), described(&machines));
}

#[test]
fn real_stores_import_completely() {
    let Some(data) = shared_data() else { return };
    let (report, sites) = real(&data, "inventory/sites-starbucks.csv.zst", &Options::default());
    assert_eq!((report.imported["Site"], report.refused), (16_288, 0));
    let in_region = |region: &str| sites.values().filter(|site| site["spec"]["region"] == region).count();
    let us: usize = ["us-west", "us-midwest", "us-south", "us-northeast"].map(in_region).iter().sum();
    assert_eq!((us, in_region("ca"), in_region("ch")), (15_752, 224, 35));
}

#[test]
fn a_store_keeps_its_name_and_place_from_scrape_to_scrape() {
    let Some(data) = shared_data() else { return };
    let mut scrapes = Vec::new();
    for (date, count, canadian) in
        [("2024-03-13", 8_159, 143), ("2024-03-18", 8_164, 143), ("2024-06-05", 8_352, 120)]
    {
        let file = format!("inventory/sites-dollar-tree-{date}.csv.zst");
        let (report, sites) = real(&data, &file, &Options::default());
        assert_eq!((report.imported["Site"], report.refused), (count, 0));
        let found = sites.values().filter(|site| site["spec"]["region"] == "ca").count();
        assert_eq!(found, canadian);
        scrapes.push(sites);
    }
    // Five days apart nearly every store is the same, byte for byte: importing again changes nothing for it.
    let same = scrapes[0].iter().filter(|(name, site)| scrapes[1].get(*name) == Some(site)).count();
    let kept = scrapes[0].keys().filter(|name| scrapes[2].contains_key(*name)).count();
    assert!(same > 8_000, "{same}");
    assert_eq!(kept, 8_048);
}
