//! Merging the layers of a site, and what enforcement does to overrides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::select::{Applied, Selected};
use super::tree::Tree;
use super::variables::mentioned;
use super::walk::{Below, PathSet, Relation, Step, Write, print, walk};
use super::{Ambiguity, Denied, Failure, Layer};

/// The merged layers of a site, before variables.
pub(super) struct Merged<'a> {
    pub(super) tree: Tree<'a>,
    pub(super) denied: Vec<Denied>,
    /// Values of variables from overrides that stand, and the layer of each.
    pub(super) vars: BTreeMap<&'a str, (&'a Value, usize)>,
}

/// The leaves that profiles enforce, by path, each with the highest profile that enforces it.
#[derive(Default)]
pub(super) struct Enforced<'a> {
    pub(super) leaves: PathSet,
    /// Variables that enforced leaves mention; overrides may not set them.
    pub(super) variables: BTreeMap<&'a str, usize>,
}

/// Merges all layers and applies what is enforced on top.
pub(super) fn merge<'a>(selected: &Selected<'a>) -> Result<Merged<'a>, Failure> {
    let enforced = enforced(selected)?;
    let mut merged = Merged { tree: Tree::default(), denied: Vec::new(), vars: BTreeMap::new() };
    for (index, layer) in selected.layers.iter().enumerate() {
        merge_values(&mut merged, selected, &enforced, index)?;
        for (name, value) in layer.vars.into_iter().flatten() {
            match refuse_var(name, layer, selected, &enforced) {
                Some(reason) => merged.denied.push(denied(layer, format!("vars.{name}"), reason)),
                None => {
                    merged.vars.insert(name, (value, index));
                }
            }
        }
        if layer.layer == Layer::LocalOverride && !layer.apps.is_empty() {
            merged.denied.push(denied(layer, "apps".into(), Refusal::NotLocal));
        }
    }
    for (index, layer) in selected.layers.iter().enumerate() {
        apply_enforced(&mut merged.tree, selected, layer, index)?;
    }
    Ok(merged)
}

/// Why a write of an override does not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A profile enforces a leaf at, below or above it.
    Enforced(String),
    /// The site does not allow a local override there.
    NotLocal,
}

/// Decides whether a write of a layer stands.
pub(super) fn refuse(
    path: &[Step<'_>],
    write: Write<'_>,
    layer: &Applied<'_>,
    selected: &Selected<'_>,
    enforced: &Enforced<'_>,
) -> Option<Refusal> {
    if layer.is_profile() {
        return None;
    }
    let by = |owner: usize| Refusal::Enforced(selected.layers[owner].name.to_owned());
    match (enforced.leaves.relate(path), write) {
        (Relation::Within(owner), _) => return Some(by(owner)),
        (Relation::Above(owner), Write::Set(_) | Write::Delete | Write::Replace(_)) => {
            return Some(by(owner));
        }
        (Relation::Above(_), Write::EmptyMap | Write::EmptyList) | (Relation::Apart, _) => {}
    }
    let is_allowed = match (layer.layer, &selected.local_paths) {
        (Layer::LocalOverride, None) => false,
        (Layer::LocalOverride, Some(paths)) => matches!(paths.relate(path), Relation::Within(_)),
        _ => true,
    };
    (!is_allowed).then_some(Refusal::NotLocal)
}

/// Tells which writes of one profile are enforced, as they come by in a walk.
///
/// An empty map or keyed list sets no leaf and so enforces nothing, except inside a replacement, which is
/// enforced whole. An element that consists of its key alone sets that. A replacement above an enforced path
/// is looked into.
pub(super) struct EnforcedWrites<'s> {
    paths: &'s PathSet,
    replaced: PathSet,
}

impl<'s> EnforcedWrites<'s> {
    pub(super) fn new(paths: &'s PathSet) -> Self {
        Self { paths, replaced: PathSet::default() }
    }

    pub(super) fn contain(&mut self, path: &[Step<'_>], write: Write<'_>) -> bool {
        if !matches!(self.paths.relate(path), Relation::Within(_)) {
            return false;
        }
        match write {
            Write::Set(_) | Write::Delete => true,
            Write::Replace(_) => {
                self.replaced.insert(path.iter().map(Step::name), 0);
                true
            }
            Write::EmptyMap if matches!(path.last(), Some(Step::Element(_))) => true,
            Write::EmptyMap | Write::EmptyList => matches!(self.replaced.relate(path), Relation::Within(_)),
        }
    }
}

impl<'a> Enforced<'a> {
    fn insert(&mut self, path: &[Step<'a>], write: Write<'a>, owner: usize) {
        let names = || path.iter().map(Step::name);
        let holding = if let Write::Delete = write { path.len().saturating_sub(1) } else { path.len() };
        for (at, step) in path.iter().enumerate().take(holding) {
            if let Step::Element(element) = step {
                // The key is a leaf of its element, which so cannot be removed.
                self.leaves.insert(names().take(at + 1).chain([element.key_field]), owner);
                self.mention(element.key, owner);
            }
        }
        match write {
            Write::EmptyMap | Write::EmptyList => {}
            Write::Delete => self.leaves.insert(names(), owner),
            Write::Set(value) | Write::Replace(value) => {
                self.leaves.insert(names(), owner);
                self.mention(value, owner);
            }
        }
    }

    fn mention(&mut self, value: &'a Value, owner: usize) {
        mentioned(value, &mut |name| {
            self.variables.insert(name, owner);
        });
    }
}

/// Collects the leaves that the profiles enforce.
pub(super) fn enforced<'a>(selected: &Selected<'a>) -> Result<Enforced<'a>, Failure> {
    let mut all = Enforced::default();
    for (index, layer) in selected.layers.iter().enumerate() {
        let (Some(values), Some(paths)) = (layer.values, &layer.enforced) else { continue };
        let mut writes = EnforcedWrites::new(paths);
        let collected = walk(values, &selected.list_keys, |path, write| {
            if !writes.contain(path, write) {
                return Ok(Below::Walk);
            }
            all.insert(path, write, index);
            Ok(Below::Skip)
        });
        collected.map_err(|failure| failure.of(layer.title()))?;
    }
    Ok(all)
}

fn merge_values<'a>(
    merged: &mut Merged<'a>,
    selected: &Selected<'a>,
    enforced: &Enforced<'a>,
    index: usize,
) -> Result<(), Failure> {
    let layer = &selected.layers[index];
    let Some(values) = layer.values else { return Ok(()) };
    let walked = walk(values, &selected.list_keys, |path, write| {
        if let Some(refusal) = refuse(path, write, layer, selected, enforced) {
            merged.denied.push(denied(layer, print(path), refusal));
            return Ok(Below::Skip);
        }
        merged.tree.apply(path, write, index)?;
        Ok(Below::Walk)
    });
    walked.map_err(|failure| failure.of(layer.title()))
}

fn apply_enforced<'a>(
    tree: &mut Tree<'a>,
    selected: &Selected<'a>,
    layer: &Applied<'a>,
    index: usize,
) -> Result<(), Failure> {
    let (Some(values), Some(paths)) = (layer.values, &layer.enforced) else { return Ok(()) };
    let mut writes = EnforcedWrites::new(paths);
    let walked = walk(values, &selected.list_keys, |path, write| {
        if writes.contain(path, write) {
            tree.apply(path, write, index)?;
        }
        Ok(Below::Walk)
    });
    walked.map_err(|failure| failure.of(layer.title()))
}

fn refuse_var(
    name: &str,
    layer: &Applied<'_>,
    selected: &Selected<'_>,
    enforced: &Enforced<'_>,
) -> Option<Refusal> {
    match enforced.variables.get(name) {
        Some(owner) => Some(Refusal::Enforced(selected.layers[*owner].name.to_owned())),
        None => (layer.layer == Layer::LocalOverride).then_some(Refusal::NotLocal),
    }
}

fn denied(layer: &Applied<'_>, path: String, refusal: Refusal) -> Denied {
    let profile = match refusal {
        Refusal::Enforced(profile) => Some(profile),
        Refusal::NotLocal => None,
    };
    Denied { object: layer.title(), path, profile }
}

/// Finds the paths to which layers of equal rank write different values.
pub(super) fn ambiguities(selected: &Selected<'_>) -> Result<Vec<Ambiguity>, Failure> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let same = |a: &Applied<'_>, b: &Applied<'_>| (a.layer, a.priority) == (b.layer, b.priority);
    for group in selected.layers.chunk_by(same).filter(|group| group.len() > 1) {
        compare_values(group, selected, &mut found)?;
        compare_names(group, &mut found);
    }
    let ambiguity = |(path, objects)| Ambiguity { path, objects };
    Ok(found.into_iter().map(ambiguity).collect())
}

type Written<'a> = Vec<(Write<'a>, usize)>;

fn compare_values<'a>(
    group: &[Applied<'a>],
    selected: &Selected<'a>,
    found: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), Failure> {
    let mut written: BTreeMap<Vec<String>, Written<'a>> = BTreeMap::new();
    for (index, layer) in group.iter().enumerate() {
        let Some(values) = layer.values else { continue };
        let walked = walk(values, &selected.list_keys, |path, write| {
            let keys = path.iter().map(|step| step.name().to_owned()).collect();
            written.entry(keys).or_default().push((write, index));
            Ok(Below::Skip)
        });
        walked.map_err(|failure| failure.of(layer.title()))?;
    }
    for (keys, writes) in &written {
        let above = (1..keys.len()).filter_map(|length| written.get(&keys[..length])).flatten();
        let mut objects: BTreeSet<usize> = BTreeSet::new();
        for (write, owner) in writes {
            let differing = writes.iter().filter(|(other, _)| !same_write(*other, *write));
            let covering = above.clone().filter(|(other, of)| of != owner && covers(*other, *write));
            for (_, other) in differing.chain(covering) {
                objects.extend([*owner, *other]);
            }
        }
        if !objects.is_empty() {
            let path = super::path::print_keys(keys.iter().map(String::as_str));
            found.entry(path).or_default().extend(objects.iter().map(|index| group[*index].title()));
        }
    }
    Ok(())
}

/// Compares the entries of apps, and the defaults and values that are given to variables.
fn compare_names(group: &[Applied<'_>], found: &mut BTreeMap<String, Vec<String>>) {
    let mut written: BTreeMap<String, BTreeMap<usize, &Value>> = BTreeMap::new();
    for (index, layer) in group.iter().enumerate() {
        let named = |entry: &Value, key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let apps =
            layer.apps.iter().filter_map(|entry| Some((format!("app {}", named(entry, "app")?), entry)));
        let defaults = layer.variables.iter().filter_map(|declared| {
            Some((format!("variable {}", named(declared, "name")?), declared.get("default")?))
        });
        let vars = layer.vars.into_iter().flatten();
        let vars = vars.map(|(name, value)| (format!("variable {name}"), value));
        for (name, value) in apps.chain(defaults).chain(vars) {
            written.entry(name).or_default().insert(index, value);
        }
    }
    for (name, values) in written {
        if values.values().zip(values.values().skip(1)).any(|(one, next)| !same_value(one, next)) {
            found.entry(name).or_default().extend(values.keys().map(|index| group[*index].title()));
        }
    }
}

/// Whether a write decides differently about everything below it than another one there.
fn covers(above: Write<'_>, below: Write<'_>) -> bool {
    match (above, below) {
        (Write::EmptyMap | Write::EmptyList, _) | (Write::Delete, Write::Delete) => false,
        (Write::Set(_) | Write::Replace(_) | Write::Delete, _) => true,
    }
}

fn same_write(a: Write<'_>, b: Write<'_>) -> bool {
    match (a, b) {
        (Write::Set(a), Write::Set(b)) | (Write::Replace(a), Write::Replace(b)) => same_value(a, b),
        (Write::Delete, Write::Delete)
        | (Write::EmptyMap, Write::EmptyMap)
        | (Write::EmptyList, Write::EmptyList) => true,
        _ => false,
    }
}

/// Equality of canonical forms: 1 and 1.0 are one value.
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        _ => a == b,
    }
}
