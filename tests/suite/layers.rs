//! Real layered configuration, imported: what a site resolves to is what the other system gives its nodes.
//! Its rules are told again here, in a few lines that share nothing with the importer. Skipped where the
//! data is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use driftless::cli::import::{HieraOptions, Options, Problem, Report, run};
use driftless::cli::yaml::{Mode, each_document};
use driftless::testing::shared_data;
use driftless_core::resolve::{Inputs, ObjectInput, SiteInput, resolve};
use driftless_core::schema::validate;
use serde_json::{Map, Value, json};

#[test]
fn every_key_of_every_node_of_a_hiera_repository_is_what_hiera_gives() {
    let Some(data) = shared_data() else { return };
    let control = unpacked(&data, "profiles/lsst-control-hieradata.tar.zst");
    let table = data.join("inventory/lsst-nodes.csv");
    let (imported, report) = import(&control.path().join("hiera.yaml"), &table, "hieradata");
    // Of some nodes there is a file and no row in the table; nothing else is left out.
    let of_others = |problem: &Problem| problem.why.starts_with("the table has no node");
    assert!(report.problems.iter().all(of_others), "{:#?}", report.problems);
    assert_eq!(report.problems.len(), 25);
    let hiera = Hiera::read(control.path(), "hieradata");
    let nodes = rows(&table);
    assert_eq!(nodes.len(), 161);
    let (mut keys, mut deep, mut exceptions) = (0, 0, 0);
    for node in &nodes {
        // Facts are not in the table: sites report them, and each node is tried as both.
        for major in ["8", "9"] {
            let facts = [("os.family", "RedHat"), ("os.release.major", major), ("os.architecture", "x86_64")];
            let resolved = imported.resolve(&site_of(&node["fqdn"]), &facts);
            let layers = hiera.layers(node, &facts);
            let expected = hiera.everything(&layers);
            for key in expected.keys().chain(resolved.keys()).collect::<BTreeSet<_>>() {
                assert_eq!(resolved.get(key), expected.get(key), "{} el{major}: {key}", node["fqdn"]);
            }
            keys += expected.len();
            let merged = |key: &&String| {
                hiera.strategy(&layers, key) == "deep"
                    && layers.iter().filter(|layer| layer[*key] != Value::Null).count() > 1
            };
            deep += expected.keys().filter(merged).count();
        }
        exceptions += usize::from(
            imported.of("Override").any(|(name, _)| *name == format!("{}.hiera", site_of(&node["fqdn"]))),
        );
    }
    assert!(keys > 20_000 && deep > 1_000 && exceptions > 100, "{keys} keys, {deep} merged, {exceptions}");
}

#[test]
fn every_group_variable_of_kubespray_is_what_ansible_gives() {
    let Some(data) = shared_data() else { return };
    let sample = unpacked(&data, "profiles/kubespray-inventory-sample.tar.zst");
    let groups = sample.path().join("inventory/sample/group_vars");
    // Ansible takes a variable whole from the last file by name of the most specific group.
    let files = |group: &str| -> Vec<String> {
        let names = std::fs::read_dir(groups.join(group)).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let specific = files("k8s_cluster").into_iter().rev().map(|file| format!("%{{k8s_cluster}}/{file}"));
    let paths: Vec<String> =
        specific.chain(files("all").into_iter().rev().map(|file| format!("all/{file}"))).collect();
    let hierarchy =
        json!({"version": 5, "hierarchy": [{"name": "groups", "datadir": "group_vars", "paths": paths}]});
    let place = sample.path().join("inventory/sample/hiera.yaml");
    std::fs::write(&place, hierarchy.to_string()).unwrap();
    let table = sample.path().join("hosts.csv");
    std::fs::write(&table, "host,k8s_cluster\nnode1,k8s_cluster\nbastion,\n").unwrap();
    let (imported, report) = import(&place, &table, "group_vars");
    assert_eq!(report.refused, 0, "{:#?}", report.problems);
    for (host, of_host) in [("node1", &["all", "k8s_cluster"][..]), ("bastion", &["all"])] {
        let mut expected = Map::new();
        for group in of_host {
            files(group).iter().for_each(|file| expected.extend(yaml(&groups.join(group).join(file))));
        }
        assert_eq!(imported.resolve(host, &[]), expected, "{host}");
        assert!(expected.len() >= 20, "{host}: {}", expected.len());
    }
}

/// What an import handed over.
struct Imported(BTreeMap<(String, String), Value>);

impl Imported {
    fn of<'i>(&'i self, kind: &'i str) -> impl Iterator<Item = (&'i String, &'i Value)> {
        let of_kind = self.0.iter().filter(move |((found, _), _)| found == kind);
        of_kind.map(|((_, name), resource)| (name, resource))
    }

    /// The values of a site that reports these facts.
    fn resolve(&self, site: &str, facts: &[(&str, &str)]) -> Map<String, Value> {
        let resource = &self.0[&("Site".to_owned(), site.to_owned())];
        let labels: BTreeMap<String, String> = match &resource["metadata"]["labels"] {
            Value::Null => BTreeMap::new(),
            labels => serde_json::from_value(labels.clone()).unwrap(),
        };
        let objects =
            |kind| self.of(kind).map(|(name, object)| ObjectInput { name, spec: &object["spec"] }).collect();
        let own = self
            .of("Override")
            .filter(|(name, _)| name.split_once('.').is_none_or(|(owner, _)| owner == site));
        let resolution = resolve(&Inputs {
            site: SiteInput { namespace: "acme", name: site, labels: &labels, spec: &resource["spec"] },
            profiles: objects("Profile"),
            overrides: own.map(|(name, object)| ObjectInput { name, spec: &object["spec"] }).collect(),
            apps: vec![],
            releases: vec![],
            claims: facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        });
        assert_eq!(resolution.failed, None, "{site}");
        assert!(resolution.ambiguous.is_empty(), "{site}: {:?}", resolution.ambiguous);
        resolution.values.as_object().unwrap().clone()
    }
}

fn import(hierarchy: &Path, table: &Path, data: &str) -> (Imported, Report) {
    let hiera = HieraOptions { nodes: Some(table.display().to_string()), data: data.to_owned() };
    let options = Options { namespace: "acme".to_owned(), hiera, ..Options::default() };
    let mut imported = BTreeMap::new();
    let report = run(&hierarchy.display().to_string(), None, &options, &mut |resource| {
        let text = |pointer| resource.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        assert_eq!(validate(&kind, &resource), Ok(()), "{kind} {name} would be refused by a node");
        imported.insert((kind, name), resource);
    });
    (Imported(imported), report.unwrap())
}

/// Hiera, as its documentation tells it: levels, `lookup_options`, and the strategies first, unique and deep.
struct Hiera {
    data: PathBuf,
    paths: Vec<String>,
}

impl Hiera {
    fn read(directory: &Path, data: &str) -> Self {
        let hiera = yaml(&directory.join("hiera.yaml"));
        let levels = hiera["hierarchy"].as_array().unwrap().iter();
        let public = levels.filter(|level| level["datadir"].as_str().unwrap().ends_with(&format!("/{data}")));
        let paths = public.flat_map(|level| level["paths"].as_array().unwrap());
        let paths = paths.map(|path| path.as_str().unwrap().to_owned()).collect();
        Self { data: directory.join(data), paths }
    }

    /// The files of a node, the highest first.
    fn layers(&self, node: &BTreeMap<String, String>, facts: &[(&str, &str)]) -> Vec<Value> {
        let mut layers = vec![];
        for path in &self.paths {
            let mut path = path.clone();
            node.iter().for_each(|(key, value)| path = path.replace(&format!("%{{{key}}}"), value));
            facts.iter().for_each(|(key, value)| path = path.replace(&format!("%{{facts.{key}}}"), value));
            let file = self.data.join(path);
            if file.is_file() {
                layers.push(Value::Object(yaml(&file)));
            }
        }
        layers
    }

    fn strategy<'l>(&self, layers: &'l [Value], key: &str) -> &'l str {
        let said = layers.iter().find_map(|layer| layer["lookup_options"][key]["merge"]["strategy"].as_str());
        said.unwrap_or("first")
    }

    fn everything(&self, layers: &[Value]) -> Map<String, Value> {
        let keys: BTreeSet<&String> =
            layers.iter().flat_map(|layer| layer.as_object().unwrap().keys()).collect();
        let mut all = Map::new();
        for key in keys.into_iter().filter(|key| *key != "lookup_options") {
            let found: Vec<&Value> = layers.iter().filter_map(|layer| layer.get(key)).collect();
            let value = match self.strategy(layers, key) {
                "first" => found[0].clone(),
                "unique" => {
                    let mut once: Vec<&Value> = vec![];
                    for item in found.iter().flat_map(|list| list.as_array().unwrap()) {
                        if !once.contains(&item) {
                            once.push(item);
                        }
                    }
                    json!(once)
                }
                "deep" => found
                    .iter()
                    .rev()
                    .skip(1)
                    .fold((*found.last().unwrap()).clone(), |low, high| deep(high, low)),
                other => panic!("{key}: {other}"),
            };
            all.insert(key.clone(), value);
        }
        all
    }
}

fn deep(high: &Value, low: Value) -> Value {
    match (high, low) {
        (Value::Null, low) => low,
        (Value::Object(high), Value::Object(mut low)) => {
            for (key, value) in high {
                let below = low.get(key).cloned();
                low.insert(key.clone(), below.map_or_else(|| value.clone(), |below| deep(value, below)));
            }
            Value::Object(low)
        }
        (Value::Array(high), Value::Array(mut low)) => {
            low.extend(high.iter().filter(|item| !low.contains(item)).cloned().collect::<Vec<_>>());
            Value::Array(low)
        }
        (high, _) => high.clone(),
    }
}

fn site_of(node: &str) -> String {
    node.replace('.', "-")
}

fn yaml(file: &Path) -> Map<String, Value> {
    let mut found = Map::new();
    let bytes = std::fs::read(file).unwrap();
    each_document(&file.display().to_string(), &bytes, Mode::Lenient, &mut |document| {
        if let Value::Object(map) = document.value {
            found = map;
        }
    })
    .unwrap();
    found
}

/// The rows of a plain CSV, by column.
fn rows(table: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(table).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let columns: Vec<String> = lines.next().unwrap().collect();
    lines.map(|cells| columns.iter().cloned().zip(cells).collect()).collect()
}

/// A packed tar, unpacked into a directory of its own: plain files with short names are all that it has.
fn unpacked(data: &Path, name: &str) -> tempfile::TempDir {
    let mut decoder =
        zstd::stream::read::Decoder::new(std::fs::File::open(data.join(name)).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut tar = vec![];
    std::io::Read::read_to_end(&mut decoder, &mut tar).unwrap();
    let to = tempfile::tempdir().unwrap();
    let mut rest = tar.as_slice();
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
    while rest.len() >= 512 && rest[0] != 0 {
        let (header, after) = rest.split_at(512);
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).unwrap();
        let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
        let path = to.path().join(prefix).join(name);
        if matches!(header[156], b'0' | 0) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &after[..size]).unwrap();
        }
        rest = &after[size.next_multiple_of(512).min(after.len())..];
    }
    to
}
