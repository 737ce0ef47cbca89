//! A Hiera hierarchy to Profiles, Sites and Overrides.
//!
//! Every data file is a layer: a Profile whose selector is made of the variables in its path and whose
//! priority is its level in the hierarchy. A column of the table of nodes is a label of sites, any other
//! variable a claim that sites report. What is said of one node is the Override of its site.
//!
//! Hiera's `first` takes a key whole from the highest layer that has it, so a key that is a map anywhere is
//! written under `$replace`. `deep` merges maps, as resolution does. Where it unites lists (`unique` does
//! nothing else), or one layer has a map and another has none, resolution would take the higher layer: what
//! Hiera gives is computed for the node and written into its Override, or, where a claim decides whether a layer
//! takes part, into an Override that selects sites to which just these layers apply. Interpolations stay as they
//! are written.

mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use driftless_core::name::Kind;
use serde_json::{Map, Value, json};

use super::{HieraOptions, IMPORT_BYTES_MAX, Import, ImportError, unreadable};
use crate::cli::yaml::{Mode, each_document};
use merge::{Strategy, escaped, exceptions, literal};

/// The most data files.
const FILES_MAX: usize = 20_000;
/// How deep directories may nest.
const DIRECTORIES_DEEP_MAX: usize = 32;
/// The distance of two levels in priority, where the hierarchy is short enough.
const PRIORITY_STEP: usize = 10;
const PRIORITY_MAX: usize = 1_000;
/// The most combinations of facts that are looked at for one key.
const FACTS_MAX: usize = 1_000;
const HIERARCHY: &str = "Hiera configuration";
/// Names of what a node is called, beside the first column of the table.
const NODE_VARIABLES: [&str; 5] =
    ["fqdn", "facts.fqdn", "facts.networking.fqdn", "clientcert", "trusted.certname"];
const OPTIONS_KEY: &str = "lookup_options";

/// Reads the hierarchy, then the data beside it and the table of nodes.
pub(super) fn import(import: &mut Import<'_>, bytes: &[u8]) -> Result<(), ImportError> {
    let HieraOptions { nodes, data } = import.options.hiera.clone();
    let nodes = nodes.ok_or_else(|| ImportError::Option {
        option: "--nodes",
        why:
            "is needed: a CSV of the nodes, the name first, then what the paths of the hierarchy call by name"
                .to_owned(),
    })?;
    let directory = Path::new(import.name).parent().unwrap_or(Path::new("")).join(&data);
    let nodes = Nodes::read(&nodes)?;
    let levels = levels(import, bytes, &data)?;
    let mut layers = vec![];
    let mut left = IMPORT_BYTES_MAX;
    for file in files(&directory)? {
        if let Some(layer) = layer(import, &directory, &file, &levels, &nodes, &mut left)? {
            layers.push(layer);
        }
    }
    layers.sort_by(|a, b| (a.level, &a.file).cmp(&(b.level, &b.file)));
    Hierarchy::new(layers, levels.len()).emit(import, &nodes);
    Ok(())
}

/// One data file.
struct Layer {
    /// Below the data directory, with slashes.
    file: String,
    /// From the top of the hierarchy.
    level: usize,
    labels: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
    /// The node that it is about.
    node: Option<String>,
    keys: Map<String, Value>,
}

impl Layer {
    fn is_of_all(&self) -> bool {
        self.labels.is_empty() && self.claims.is_empty() && self.node.is_none()
    }

    /// Whether it applies to a node, as far as the table tells.
    fn may_apply(&self, node: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node.as_deref().is_none_or(|own| own == node)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn name(&self) -> String {
        let stem = self.file.rsplit_once('.').map_or(self.file.as_str(), |(stem, _)| stem);
        format!("hiera-{}", name_of(stem))
    }
}

/// The table of nodes.
struct Nodes {
    columns: Vec<String>,
    /// Name, and labels by column; a column that is empty is none.
    rows: Vec<(String, BTreeMap<String, String>)>,
}

impl Nodes {
    fn read(path: &str) -> Result<Self, ImportError> {
        let wrong = |error: csv::Error| ImportError::NotThat {
            path: path.to_owned(),
            what: "table of nodes",
            why: error.to_string(),
        };
        let mut table = csv::Reader::from_reader(super::open(path)?);
        let columns: Vec<String> = table.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        let mut rows = vec![];
        for row in table.records() {
            let row = row.map_err(wrong)?;
            let cells = columns.iter().zip(&row).skip(1).filter(|(_, cell)| !cell.is_empty());
            let labels = cells.map(|(column, cell)| (column.clone(), cell.to_owned())).collect();
            rows.push((row.get(0).unwrap_or_default().to_owned(), labels));
        }
        Ok(Self { columns, rows })
    }

    fn has(&self, node: &str) -> bool {
        self.rows.iter().any(|(name, _)| name == node)
    }
}

/// The paths of the levels that take their data from the directory, highest first.
fn levels(import: &Import<'_>, bytes: &[u8], data: &str) -> Result<Vec<String>, ImportError> {
    let mut found = vec![];
    each_document(import.name, bytes, Mode::Lenient, &mut |document| found.push(document.value))?;
    let hiera = found.into_iter().next().unwrap_or_default();
    let wanted = Path::new(data).file_name();
    let is_here = |entry: &&Value| {
        let datadir = entry["datadir"].as_str().or(hiera["defaults"]["datadir"].as_str()).unwrap_or("data");
        Path::new(datadir).file_name() == wanted && entry["lookup_key"].is_null()
    };
    let entries = hiera["hierarchy"].as_array().into_iter().flatten().filter(is_here);
    let paths = entries.flat_map(|entry| {
        let several = entry["paths"].as_array().into_iter().flatten();
        several.chain([&entry["path"]]).filter_map(Value::as_str).map(str::to_owned)
    });
    let paths: Vec<String> = paths.collect();
    match paths.len() {
        0 => Err(import.not_that(HIERARCHY, format!("no level of its hierarchy takes data from {data:?}"))),
        count if count > PRIORITY_MAX => Err(import.not_that(HIERARCHY, "it has more than 1,000 levels")),
        _ => Ok(paths),
    }
}

/// Every file below a directory, in a fixed order.
fn files(directory: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let failed = |path: &Path, error| unreadable(&path.display().to_string(), error);
    let (mut open, mut files) = (vec![(directory.to_owned(), 0)], vec![]);
    while let Some((at, depth)) = open.pop() {
        for entry in std::fs::read_dir(&at).map_err(|error| failed(&at, error))? {
            let entry = entry.map_err(|error| failed(&at, error))?;
            let kind = entry.file_type().map_err(|error| failed(&at, error))?;
            if kind.is_dir() && depth < DIRECTORIES_DEEP_MAX {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
        if files.len() > FILES_MAX {
            return Err(ImportError::TooLarge { path: directory.display().to_string() });
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one file; none if it is not understood, which is reported.
fn layer(
    import: &mut Import<'_>,
    directory: &Path,
    path: &Path,
    levels: &[String],
    nodes: &Nodes,
    left: &mut u64,
) -> Result<Option<Layer>, ImportError> {
    let file = path.strip_prefix(directory).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let matching: Vec<(usize, Bindings)> =
        levels.iter().enumerate().filter_map(|(level, path)| Some((level, bind(path, &file)?))).collect();
    let [(level, bindings)] = &matching[..] else {
        let why =
            if matching.is_empty() { "no level of the hierarchy reads it" } else { "several levels read it" };
        import.refuse(1, file, why);
        return Ok(None);
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(&file, error))?;
    *left = left
        .checked_sub(bytes.len() as u64)
        .ok_or_else(|| ImportError::TooLarge { path: directory.display().to_string() })?;
    let mut documents = vec![];
    let read = each_document(&file, &bytes, Mode::Lenient, &mut |document| documents.push(document.value));
    let keys = match (read, documents.into_iter().next()) {
        (Err(error), _) => {
            import.refuse(1, file, error.to_string());
            return Ok(None);
        }
        (Ok(()), Some(Value::Object(keys))) => keys,
        (Ok(()), _) => Map::new(),
    };
    let mut layer =
        Layer { file, level: *level, labels: BTreeMap::new(), claims: BTreeMap::new(), node: None, keys };
    for (variable, value) in bindings {
        let is_node =
            NODE_VARIABLES.contains(variable) || nodes.columns.first().is_some_and(|name| name == variable);
        if is_node {
            layer.node = Some(value.clone());
        } else if nodes.columns.iter().any(|column| column == variable) {
            layer.labels.insert((*variable).to_owned(), value.clone());
        } else {
            layer.claims.insert(variable.trim_start_matches("facts.").to_owned(), value.clone());
        }
    }
    let problem = match &layer.node {
        Some(_) if layer.level > 0 => Some("levels of single nodes have to be the highest".to_owned()),
        Some(node) if !nodes.has(node) => Some(format!("the table has no node {node:?}")),
        _ => None,
    };
    match problem {
        Some(why) => import.refuse(1, layer.file, why),
        None => return Ok(Some(layer)),
    }
    Ok(None)
}

type Bindings<'l> = Vec<(&'l str, String)>;

/// What the variables of a path stand for if it is to name the file. A variable is within one segment.
fn bind<'l>(path: &'l str, file: &str) -> Option<Bindings<'l>> {
    let (segments, names): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), file.split('/').collect());
    let mut bindings: Bindings<'l> = vec![];
    if segments.len() != names.len() {
        return None;
    }
    for (segment, name) in segments.into_iter().zip(names) {
        let Some((before, rest)) = segment.split_once("%{") else {
            if segment != name {
                return None;
            }
            continue;
        };
        let (variable, after) = rest.split_once('}')?;
        let value = name.strip_prefix(before)?.strip_suffix(after)?;
        let variable = variable.trim_start_matches("::");
        let is_other = bindings.iter().any(|(bound, other)| *bound == variable && other != value);
        if value.is_empty() || is_other || after.contains("%{") {
            return None;
        }
        bindings.push((variable, value.to_owned()));
    }
    Some(bindings)
}

/// All layers, and how keys merge.
struct Hierarchy {
    /// Highest first.
    layers: Vec<Layer>,
    levels: usize,
    /// As the layers of all nodes say; `first` unless they do.
    strategies: BTreeMap<String, Strategy>,
    /// Keys that are a map in some layer.
    maps: BTreeSet<String>,
}

impl Hierarchy {
    fn new(layers: Vec<Layer>, levels: usize) -> Self {
        let strategies = strategies(layers.iter().filter(|layer| layer.is_of_all()));
        let entries = layers.iter().flat_map(|layer| &layer.keys);
        let maps = entries.filter(|(_, value)| value.is_object()).map(|(key, _)| key.clone()).collect();
        Self { layers, levels, strategies, maps }
    }

    fn strategy(&self, key: &str) -> Strategy {
        self.strategies.get(key).copied().unwrap_or_default()
    }

    fn emit(&self, import: &mut Import<'_>, nodes: &Nodes) {
        let step = if self.levels * PRIORITY_STEP <= PRIORITY_MAX { PRIORITY_STEP } else { 1 };
        let mut taken = BTreeSet::new();
        for layer in self.layers.iter().filter(|layer| layer.node.is_none()) {
            let name = layer.name();
            if let Err(why) = import.check_name(Kind::Profile, &name) {
                import.refuse(1, layer.file.as_str(), why);
            } else if !taken.insert(name.clone()) {
                import.refuse(1, layer.file.as_str(), format!("another file is the profile {name} already"));
            } else {
                let values: Map<String, Value> =
                    self.values(layer).into_iter().map(|(key, value)| (key, escaped(value))).collect();
                let priority = (self.levels - layer.level) * step;
                let spec = json!({"priority": priority, "selector": selector(&layer.labels, &layer.claims), "values": values});
                import.emit(Kind::Profile, &name, Map::new(), vec![("spec", spec)]);
            }
        }
        let mut united = United::default();
        for (node, labels) in &nodes.rows {
            let site = name_of(node);
            match import.check_name(Kind::Site, &site) {
                Ok(()) => self.emit_site(import, (node, labels), &site, &mut united),
                Err(why) => import.refuse(1, node.as_str(), why),
            }
        }
        united.emit(import);
    }

    fn emit_site<'h>(
        &'h self,
        import: &mut Import<'_>,
        (node, labels): (&str, &BTreeMap<String, String>),
        site: &str,
        united: &mut United<'h>,
    ) {
        let metadata = [("labels".to_owned(), json!(labels))].into_iter().collect();
        import.emit(Kind::Site, site, metadata, vec![("spec", json!({}))]);
        let own = self.layers.iter().find(|layer| layer.node.as_deref() == Some(node));
        let mut values = own.map(|layer| self.values(layer)).unwrap_or_default();
        let written = self.unite(import, (node, labels), &mut values, united);
        if values.is_empty() {
            return;
        }
        let files: Vec<&str> = own.iter().map(|layer| layer.file.as_str()).collect();
        let lists = format!("{written} values that Hiera unites from several layers");
        let reason = files.into_iter().chain((written > 0).then_some(lists.as_str()));
        let reason = format!("imported: {}", reason.collect::<Vec<_>>().join(", "));
        let spec = json!({"values": values, "reason": reason, "permanent": true});
        import.emit(Kind::Override, &format!("{site}.hiera"), Map::new(), vec![("spec", spec)]);
    }

    /// The keys of a layer as a tree of values.
    fn values(&self, layer: &Layer) -> Map<String, Value> {
        let entries = layer.keys.iter().filter(|(key, _)| *key != OPTIONS_KEY);
        let entries = entries.map(|(key, value)| {
            let written = match self.strategy(key) {
                Strategy::First if self.maps.contains(key) => json!({"$replace": literal(value)}),
                Strategy::First | Strategy::Deep => literal(value),
                Strategy::Unique => literal(&Strategy::Unique.of(&[value])),
            };
            (key.clone(), written)
        });
        entries.collect()
    }

    /// Writes into a node's own values what Hiera makes of several layers and resolution would not, or, where
    /// facts decide which layers those are, into `united`. Returns how many values the former are.
    fn unite<'h>(
        &'h self,
        import: &mut Import<'_>,
        (node, labels): (&str, &BTreeMap<String, String>),
        values: &mut Map<String, Value>,
        united: &mut United<'h>,
    ) -> usize {
        let layers: Vec<&Layer> = self.layers.iter().filter(|layer| layer.may_apply(node, labels)).collect();
        let own = strategies(layers.iter().copied());
        let keys: BTreeSet<&String> = layers.iter().flat_map(|layer| layer.keys.keys()).collect();
        let mut written = 0;
        for key in keys.into_iter().filter(|key| *key != OPTIONS_KEY) {
            let strategy = own.get(key).copied().unwrap_or_default();
            let having: Vec<&Layer> =
                layers.iter().filter(|layer| layer.keys.contains_key(key)).copied().collect();
            let is_own = strategy != self.strategy(key);
            let needed = unions(key, strategy, &having, is_own);
            let by_fact = having.iter().any(|layer| !layer.claims.is_empty());
            if by_fact && !needed.is_empty() {
                let why = "what is said of this node is united with what is said of a fact, which is not known here";
                match is_own || having.iter().any(|layer| layer.node.is_some()) {
                    true => import.refuse(1, format!("{node}: {key}"), why),
                    false => united.add(key, strategy, &having),
                }
                continue;
            }
            written += needed.len();
            needed.into_iter().for_each(|(path, value)| merge::place(values, path.into_iter(), value));
        }
        written
    }
}

/// The values of a key that Hiera makes of these layers and resolution would not, by path.
fn unions<'h>(
    key: &'h str,
    strategy: Strategy,
    layers: &[&'h Layer],
    whole: bool,
) -> Vec<(Vec<&'h str>, Value)> {
    let values: Vec<&'h Value> = layers.iter().map(|layer| &layer.keys[key]).collect();
    let result = strategy.of(&values);
    let paths = if whole { vec![vec![]] } else { exceptions(strategy, &values) };
    let union = |path: Vec<&'h str>| {
        let value = path.iter().fold(&result, |value, key| &value[*key]);
        ([vec![key], path].concat(), json!({"$replace": literal(value)}))
    };
    paths.into_iter().map(union).collect()
}

/// What Hiera unites from layers of which facts decide: for every set of layers that can be together, the
/// values that they make. A larger set beats those that it contains.
#[derive(Default)]
struct United<'h>(BTreeMap<(usize, Vec<&'h str>), Together<'h>>);

/// Layers that can be together, and what they make.
type Together<'h> = (Vec<&'h Layer>, Map<String, Value>);

impl<'h> United<'h> {
    fn add(&mut self, key: &'h str, strategy: Strategy, having: &[&'h Layer]) {
        let mut facts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (fact, value) in having.iter().flat_map(|layer| &layer.claims) {
            facts.entry(fact).or_default().insert(value);
        }
        let mut known: Vec<BTreeMap<&str, &str>> = vec![BTreeMap::new()];
        for (fact, values) in facts {
            let with = |known: &BTreeMap<&'h str, &'h str>, value| {
                let mut more = known.clone();
                more.insert(fact, value);
                more
            };
            let more: Vec<_> =
                known.iter().flat_map(|known| values.iter().map(move |value| with(known, value))).collect();
            known.extend(more.into_iter().take(FACTS_MAX));
        }
        for known in known {
            let holds = |layer: &Layer| {
                layer.claims.iter().all(|(fact, value)| known.get(fact.as_str()) == Some(&value.as_str()))
            };
            let together: Vec<&'h Layer> = having.iter().filter(|layer| holds(layer)).copied().collect();
            let files: Vec<&str> = together.iter().map(|layer| layer.file.as_str()).collect();
            for (path, value) in unions(key, strategy, &together, false) {
                let set = self
                    .0
                    .entry((files.len(), files.clone()))
                    .or_insert_with(|| (together.clone(), Map::new()));
                merge::place(&mut set.1, path.into_iter(), value);
            }
        }
    }

    fn emit(self, import: &mut Import<'_>) {
        for (((_, files), (layers, values)), priority) in self.0.into_iter().zip(1..) {
            let files = files.join(", ");
            if priority > PRIORITY_MAX {
                import.refuse(1, files, "more than 1,000 sets of layers whose lists are united");
                continue;
            }
            let all =
                layers.iter().fold((BTreeMap::new(), BTreeMap::new()), |(mut labels, mut claims), layer| {
                    labels.extend(layer.labels.clone());
                    claims.extend(layer.claims.clone());
                    (labels, claims)
                });
            let hash = blake3::hash(files.as_bytes()).to_hex();
            let spec = json!({
                "priority": priority,
                "selector": selector(&all.0, &all.1),
                "values": values,
                "reason": format!("imported: values that Hiera unites from {files}"),
                "permanent": true,
            });
            import.emit(Kind::Override, &format!("hiera-{}", &hash[..12]), Map::new(), vec![("spec", spec)]);
        }
    }
}

fn selector(labels: &BTreeMap<String, String>, claims: &BTreeMap<String, String>) -> Value {
    let mut selector = json!({});
    if labels.is_empty() && claims.is_empty() {
        selector["matchAll"] = json!(true);
    }
    if !labels.is_empty() {
        selector["matchLabels"] = json!(labels);
    }
    if !claims.is_empty() {
        let term = |(key, value)| json!({"key": key, "operator": "In", "values": [value]});
        selector["claims"] = claims.iter().map(term).collect();
    }
    selector
}

/// How keys merge, as layers say, the highest first.
fn strategies<'l>(layers: impl DoubleEndedIterator<Item = &'l Layer>) -> BTreeMap<String, Strategy> {
    let options = layers.rev().filter_map(|layer| layer.keys.get(OPTIONS_KEY)?.as_object()).flatten();
    options.filter_map(|(key, options)| Some((key.clone(), Strategy::read(options)?))).collect()
}

/// Text as a name: whatever may not stand in one becomes a dash.
fn name_of(text: &str) -> String {
    let name = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    name.collect::<String>().trim_matches('-').to_owned()
}
