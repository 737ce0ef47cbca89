//! A naive resolution, written from the rules alone and sharing no code with the real one.
//!
//! It clones freely and works on whole trees: each layer is read into a patch, patches are merged by
//! recursion as RFC 7396 does it, what overrides may not touch is cut out of their patches beforehand, and
//! what profiles enforce is a patch of its own that is merged last.

mod patch;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use self::patch::{Cut, Out, Patch, list_leaves, merge, project, prune, read_root};
use self::variables::{print, variables};
use super::Fleet;

/// What a site should run, as far as the rules say it; `Err` with a word if it does not resolve.
pub(super) type Expected = Result<Configuration, &'static str>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Configuration {
    pub(super) values: Value,
    pub(super) apps: Value,
    pub(super) hash: String,
    /// Value by variable.
    pub(super) variables: BTreeMap<String, Value>,
    pub(super) profiles: Vec<String>,
    pub(super) overrides: Vec<String>,
    /// Object, path, and the profile that enforces.
    pub(super) denied: BTreeSet<(String, Keys, Option<String>)>,
    /// Objects by path; apps and variables as a key such as `app pos`.
    pub(super) ambiguous: BTreeMap<Keys, Vec<String>>,
}

type Keys = Vec<String>;
type Text = BTreeMap<String, String>;

#[derive(Debug, Clone)]
struct Layer {
    /// 0 profile, 1 override with a selector, 2 of the site, 3 local.
    rank: u8,
    priority: u64,
    name: String,
    spec: Value,
}

pub(super) fn resolve(fleet: &Fleet) -> Expected {
    let mut labels = fleet.labels.clone();
    if let Some(region) = fleet.site["region"].as_str().filter(|region| !region.is_empty()) {
        labels.insert("driftless.dev/region".into(), region.into());
    }
    let layers = layers(fleet, &labels)?;
    let (profiles, overrides): (Vec<_>, Vec<_>) = layers.iter().partition(|layer| layer.rank == 0);
    if profiles.iter().any(|profile| canonical(&profile.spec).is_err()) {
        return Err("InvalidProfile");
    }
    let mut keyed = BTreeMap::new();
    for profile in &profiles {
        for (path, key) in profile.spec["listKeys"].as_object().into_iter().flatten() {
            keyed.insert(keys_of(path), key.as_str().ok_or("InvalidProfile")?.to_owned());
        }
    }
    let mut patches = Vec::new();
    for layer in &layers {
        patches.push(read_root(&layer.spec["values"], &keyed)?);
    }

    // What is enforced: the part of each enforcing profile's patch at or below its enforced paths.
    let mut enforced = Vec::new();
    let mut leaves: Vec<(Keys, String)> = Vec::new();
    let mut guarded: BTreeMap<String, String> = BTreeMap::new();
    for (layer, patch) in layers.iter().zip(&patches).filter(|(layer, _)| layer.rank == 0) {
        let paths: Vec<Keys> = layer.spec["enforced"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| keys_of(p.as_str().unwrap()))
            .collect();
        if let Some(part) = project(patch, &[], &paths)? {
            let mut found = Vec::new();
            list_leaves(&part, &[], &mut found);
            for (path, mentioned) in found {
                leaves.retain(|(other, _)| *other != path);
                leaves.push((path, layer.name.clone()));
                guarded.extend(mentioned.into_iter().map(|variable| (variable, layer.name.clone())));
            }
            enforced.push((layer.name.clone(), part));
        }
    }

    let mut denied = BTreeSet::new();
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    let local = local_paths(&fleet.site);
    let mut tree = Some(Out::Map(BTreeMap::new()));
    for (layer, patch) in layers.iter().zip(patches) {
        let mut patch = Some(patch);
        if layer.rank > 0 {
            let allowed = (layer.rank == 3).then_some(local.as_slice());
            let cut = Cut { object: title(layer), leaves: &leaves, allowed };
            patch = prune(patch.unwrap(), &[], &cut, &mut denied);
        }
        if let Some(patch) = patch {
            tree = merge(tree, patch, layer.rank == 0)?;
        }
        for (name, value) in layer.spec["vars"].as_object().into_iter().flatten() {
            let path = vec!["vars".to_owned(), name.clone()];
            match guarded.get(name) {
                Some(profile) => drop(denied.insert((title(layer), path, Some(profile.clone())))),
                None if layer.rank == 3 => drop(denied.insert((title(layer), path, None))),
                None => drop(given.insert(name.clone(), value.clone())),
            }
        }
        if layer.rank == 3 && layer.spec["apps"].as_array().is_some_and(|apps| !apps.is_empty()) {
            denied.insert((title(layer), vec!["apps".into()], None));
        }
    }
    for (_, part) in enforced {
        tree = merge(tree, part, true)?;
    }

    let ambiguous = ambiguous(&layers, &keyed)?;
    let variables = variables(fleet, &labels, &profiles, &given)?;
    let values = print(tree.unwrap(), &variables)?;
    let apps = apps(fleet, &layers)?;
    let bytes = canonical(&json!({"values": values, "apps": apps}))?;
    Ok(Configuration {
        hash: blake3::hash(bytes.as_bytes()).to_hex().to_string(),
        values,
        apps,
        variables: variables.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        profiles: profiles.iter().map(|layer| layer.name.clone()).collect(),
        overrides: overrides.iter().map(|layer| layer.name.clone()).collect(),
        denied,
        ambiguous,
    })
}

/// What applies to the site, lowest first.
fn layers(fleet: &Fleet, labels: &Text) -> Result<Vec<Layer>, &'static str> {
    let mut layers = Vec::new();
    for (name, spec) in &fleet.profiles {
        let published = matches!(spec["lifecycle"].as_str(), None | Some("Published"));
        if published && selects(&spec["selector"], labels, &fleet.claims).ok_or("InvalidProfile")? {
            let priority = spec["priority"].as_u64().filter(|p| *p <= 1000).ok_or("InvalidProfile")?;
            layers.push(Layer { rank: 0, priority, name: name.clone(), spec: spec.clone() });
        }
    }
    for (name, spec) in &fleet.overrides {
        let rank = match name.split_once('.') {
            None => 1,
            Some(("store-17", "local")) => 3,
            Some(("store-17", _)) => 2,
            Some(_) => continue,
        };
        if rank == 1 && !selects(&spec["selector"], labels, &fleet.claims).ok_or("InvalidOverride")? {
            continue;
        }
        if spec["expiresAt"].is_string() && spec["expired"] == spec["expiresAt"] {
            continue;
        }
        let priority = spec["priority"].as_u64().unwrap_or(0);
        layers.push(Layer { rank, priority, name: name.clone(), spec: spec.clone() });
    }
    layers.sort_by_key(|layer| (layer.rank, layer.priority, layer.name.clone()));
    Ok(layers)
}

fn selects(selector: &Value, labels: &Text, claims: &Text) -> Option<bool> {
    let terms = selector.as_object()?;
    if terms.is_empty() {
        return None;
    }
    let mut all = true;
    for (key, value) in terms {
        match key.as_str() {
            "matchAll" => {}
            "matchLabels" => {
                all &= value
                    .as_object()?
                    .iter()
                    .all(|(key, v)| labels.get(key).map(String::as_str) == v.as_str());
            }
            "matchExpressions" => all &= value.as_array()?.iter().all(|term| holds(term, labels)),
            "claims" => all &= value.as_array()?.iter().all(|term| holds(term, claims)),
            _ => return None,
        }
    }
    Some(all)
}

fn holds(term: &Value, facts: &Text) -> bool {
    let fact = facts.get(term["key"].as_str().unwrap());
    let listed = || fact.is_some_and(|fact| term["values"].as_array().unwrap().contains(&json!(fact)));
    match term["operator"].as_str().unwrap() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => fact.is_some(),
        _ => fact.is_none(),
    }
}

/// A path as profiles write it, keys quoted in brackets with double quotes.
fn keys_of(path: &str) -> Keys {
    let mut keys = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]").unwrap();
            keys.push(key.to_owned());
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            keys.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    keys
}

fn title(layer: &Layer) -> String {
    format!("{}/{}", if layer.rank == 0 { "profile" } else { "override" }, layer.name)
}

fn local_paths(site: &Value) -> Vec<Keys> {
    let local = &site["localOverride"];
    let paths = local["paths"].as_array().filter(|_| local["allow"] == true).into_iter().flatten();
    paths.map(|path| keys_of(path.as_str().unwrap())).collect()
}

fn apps(fleet: &Fleet, layers: &[Layer]) -> Result<Value, &'static str> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for layer in layers.iter().filter(|layer| layer.rank < 3) {
        for entry in layer.spec["apps"].as_array().into_iter().flatten() {
            let app = entry["app"].as_str().ok_or("InvalidApps")?.to_owned();
            match entry["$delete"] == true {
                true => drop(wanted.remove(&app)),
                false => drop(wanted.insert(app, entry.clone())),
            }
        }
    }
    let mut out = Map::new();
    for (app, entry) in wanted {
        let (_, spec) = fleet.apps.iter().find(|(name, _)| *name == app).ok_or("UnknownApp")?;
        let channel = &entry["channel"];
        let version = match channel.as_str() {
            Some(channel) => spec["channels"].get(channel).ok_or("UnknownChannel")?.clone(),
            None => entry["version"].clone(),
        };
        let is_of = |(_, spec): &&(String, Value)| spec["app"] == *app && spec["version"] == version;
        let releases: Vec<&Value> = fleet.releases.iter().filter(is_of).map(|(_, spec)| spec).collect();
        if releases.iter().any(|release| release["yanked"] == true) {
            return Err("ReleaseYanked");
        }
        let digest = &releases.first().ok_or("UnknownRelease")?["digest"];
        if releases.iter().any(|release| release["digest"] != *digest) {
            return Err("AmbiguousRelease");
        }
        let mut found = json!({"version": version, "digest": digest});
        if channel.is_string() {
            found["channel"] = channel.clone();
        }
        out.insert(app, found);
    }
    Ok(Value::Object(out))
}

/// What one layer writes, by path, in a form in which different values differ.
fn writes(patch: &Patch, at: &[String], out: &mut BTreeMap<Keys, String>) {
    let below = |key: &str| [at, &[key.to_owned()]].concat();
    let what = match patch {
        Patch::Map(map) if map.is_empty() => "map".to_owned(),
        Patch::Map(map) => return map.iter().for_each(|(key, patch)| writes(patch, &below(key), out)),
        Patch::List(_, elements) if elements.is_empty() => "list".to_owned(),
        Patch::List(_, elements) => {
            return elements.iter().for_each(|(name, _, patch)| writes(patch, &below(name), out));
        }
        Patch::Set(value) => format!("set {}", canonical(value).unwrap_or_else(|_| value.to_string())),
        Patch::Delete => "delete".to_owned(),
        Patch::Replace(inner) => {
            let mut inside = BTreeMap::new();
            if let Ok(inner) = &**inner {
                writes(inner, &["$replace".to_owned()], &mut inside);
            }
            format!("replace {inside:?}")
        }
    };
    if !at.is_empty() {
        out.insert(at.to_vec(), what);
    }
}

fn ambiguous(
    layers: &[Layer],
    keyed: &BTreeMap<Keys, String>,
) -> Result<BTreeMap<Keys, Vec<String>>, &'static str> {
    let mut found: BTreeMap<Keys, BTreeSet<usize>> = BTreeMap::new();
    let mut note = |path: Keys, pair: [usize; 2]| found.entry(path).or_default().extend(pair);
    let mut all = Vec::new();
    for layer in layers {
        let mut written = BTreeMap::new();
        writes(&read_root(&layer.spec["values"], keyed)?, &[], &mut written);
        for entry in layer.spec["apps"].as_array().into_iter().flatten() {
            written.insert(
                vec![format!("app {}", entry["app"].as_str().unwrap_or_default())],
                entry.to_string(),
            );
        }
        for (name, value) in layer.spec["vars"].as_object().into_iter().flatten() {
            written.insert(vec![format!("variable {name}")], canonical(value).unwrap_or_default());
        }
        for declaration in layer.spec["variables"].as_array().into_iter().flatten() {
            if let Some(default) = declaration.get("default") {
                let name = declaration["name"].as_str().unwrap_or_default();
                written.insert(vec![format!("variable {name}")], canonical(default).unwrap_or_default());
            }
        }
        all.push(written);
    }
    let idle = |what: &str| what == "map" || what == "list";
    for (a, one) in layers.iter().enumerate() {
        for (b, other) in layers.iter().enumerate() {
            if a == b || (one.rank, one.priority) != (other.rank, other.priority) {
                continue;
            }
            for (path, what) in &all[a] {
                for (above, their) in &all[b] {
                    let differs = if path == above {
                        what != their
                    } else {
                        path.starts_with(above) && !idle(their) && !(what == "delete" && their == "delete")
                    };
                    if differs {
                        note(path.clone(), [a, b]);
                    }
                }
            }
        }
    }
    let titles = |objects: BTreeSet<usize>| objects.into_iter().map(|at| title(&layers[at])).collect();
    Ok(found.into_iter().map(|(path, objects)| (path, titles(objects))).collect())
}

/// JSON with sorted keys and the numbers of JavaScript.
fn canonical(value: &Value) -> Result<String, &'static str> {
    Ok(match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<u16>>());
            let mut out = Vec::new();
            for (key, value) in entries {
                out.push(format!("{}:{}", json!(key), canonical(value)?));
            }
            format!("{{{}}}", out.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) if n.unsigned_abs() <= 1 << 53 => n.to_string(),
            (None, Some(n)) if number.is_f64() && n.fract() == 0.0 && n.abs() < 1e15 => {
                (n as i64).to_string()
            }
            (None, Some(n)) if number.is_f64() => n.to_string(),
            _ => return Err("InvalidValues"),
        },
        other => other.to_string(),
    })
}
