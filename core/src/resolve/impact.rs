//! What a change reaches: the sites that it can concern, the paths that it changes there, and the
//! exceptions that mask it.
//!
//! A [`Reach`] answers for many sites, from a selector that is read once, whether an object can matter to
//! them: nothing but the objects that may apply decides what a site should run. An [`Impact`] compares two
//! resolutions of one site.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::merge::{enforced, refuse, same_value};
use super::select::{Selected, labels_of, select, site_spec};
use super::walk::{Below, ListKeys, key_name, walk};
use super::{Failure, Inputs, ObjectInput, Resolution, SiteInput, explain, path, resolve};
use crate::schema::names::owner_of;
use crate::schema::selector::Selector;
use crate::schema::specs::{Lifecycle, OverrideSpec, ProfileSpec};

/// The sites that one profile or override may concern.
///
/// What cannot be read may concern every site, because it fails those that it might apply to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach<'a>(Sites<'a>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sites<'a> {
    None,
    Every,
    One(&'a str),
    Matching(Selector<'a>),
}

/// What selectors see of a site.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    name: &'a str,
    labels: Cow<'a, BTreeMap<String, String>>,
    claims: &'a BTreeMap<String, String>,
}

impl<'a> Reach<'a> {
    /// The sites that a profile with this spec may concern.
    pub fn of_profile(spec: &'a Value) -> Self {
        match (ProfileSpec::read_lifecycle(spec), ProfileSpec::read_selector(spec)) {
            (Ok(Lifecycle::Draft | Lifecycle::Archived), _) => Self(Sites::None),
            (Ok(Lifecycle::Published), Ok(selector)) => Self(Sites::Matching(selector)),
            (Err(_), _) | (_, Err(_)) => Self(Sites::Every),
        }
    }

    /// The sites that an override of this name, with this spec, may concern.
    pub fn of_override(name: &'a str, spec: &'a Value) -> Self {
        if let Some((site, _)) = owner_of(name) {
            return Self(Sites::One(site));
        }
        OverrideSpec::read_selector(spec)
            .map_or(Self(Sites::Every), |selector| Self(Sites::Matching(selector)))
    }

    /// Whether the object may matter to a site; if not, the site resolves the same without it.
    pub fn includes(&self, site: &Subject<'_>) -> bool {
        match &self.0 {
            Sites::None => false,
            Sites::Every => true,
            Sites::One(name) => *name == site.name,
            Sites::Matching(selector) => selector.matches_site(&site.labels, site.claims).is_ok(),
        }
    }
}

impl<'a> Subject<'a> {
    /// Reads what selectors see of a site; `None` for a site that cannot be read, to which everything may
    /// matter.
    pub fn of(inputs: &'a Inputs<'a>) -> Option<Self> {
        let spec = site_spec(inputs).ok()?;
        let labels = labels_of(inputs, spec.region);
        Some(Self { name: inputs.site.name, labels, claims: &inputs.claims })
    }
}

/// The objects of a namespace with their selectors read once, for whoever looks at many of its sites.
#[derive(Debug, Clone)]
pub struct Reaching<'a> {
    profiles: Vec<(ObjectInput<'a>, Reach<'a>)>,
    /// Those with a selector.
    overrides: Vec<(ObjectInput<'a>, Reach<'a>)>,
    of_sites: BTreeMap<&'a str, Vec<ObjectInput<'a>>>,
    apps: Vec<ObjectInput<'a>>,
    releases: Vec<ObjectInput<'a>>,
}

impl<'a> Reaching<'a> {
    /// Reads the selectors of all profiles and overrides.
    pub fn new(
        profiles: Vec<ObjectInput<'a>>,
        overrides: Vec<ObjectInput<'a>>,
        apps: Vec<ObjectInput<'a>>,
        releases: Vec<ObjectInput<'a>>,
    ) -> Self {
        let mut of_sites: BTreeMap<&str, Vec<ObjectInput<'_>>> = BTreeMap::new();
        let mut wide = Vec::new();
        for object in overrides {
            match owner_of(object.name) {
                Some((site, _)) => of_sites.entry(site).or_default().push(object),
                None => wide.push((object, Reach::of_override(object.name, object.spec))),
            }
        }
        let profiles = profiles.into_iter().map(|object| (object, Reach::of_profile(object.spec)));
        Self { profiles: profiles.collect(), overrides: wide, of_sites, apps, releases }
    }

    /// The inputs of one site, without the objects that cannot matter to it: it resolves as with all.
    pub fn inputs(&self, site: SiteInput<'a>, claims: BTreeMap<String, String>) -> Inputs<'a> {
        let mut inputs = Inputs {
            site,
            profiles: Vec::new(),
            overrides: Vec::new(),
            apps: self.apps.clone(),
            releases: self.releases.clone(),
            claims,
        };
        let subject = Subject::of(&inputs);
        let matter = |objects: &[(ObjectInput<'a>, Reach<'a>)]| -> Vec<ObjectInput<'a>> {
            let includes = |reach: &Reach<'_>| subject.as_ref().is_none_or(|site| reach.includes(site));
            objects.iter().filter(|(_, reach)| includes(reach)).map(|(object, _)| *object).collect()
        };
        let (profiles, mut overrides) = (matter(&self.profiles), matter(&self.overrides));
        overrides.extend(self.of_sites.get(inputs.site.name).into_iter().flatten());
        (inputs.profiles, inputs.overrides) = (profiles, overrides);
        inputs
    }
}

/// What a change does to one site.
#[derive(Debug, Clone, PartialEq)]
pub struct Impact {
    /// What the site resolved to before.
    pub before: Standing,
    /// What it resolves to after.
    pub after: Standing,
    /// The paths that change, in order; none where it does not resolve, before or after.
    pub paths: Vec<PathChange>,
    /// The paths that would change if it were not for exceptions.
    pub masked: Vec<Masked>,
}

/// Whether a site has a configuration of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has the one with this hash.
    Resolved(String),
    /// It matches no profile: it keeps what it runs, unless its spec says `allowEmpty`.
    NoProfile,
    /// It does not resolve: it keeps what it runs.
    Failed(Failure),
}

/// A path whose value changes.
#[derive(Debug, Clone, PartialEq)]
pub struct PathChange {
    /// The path as printed, or `app <name>`.
    pub path: String,
    /// The value before, if there was one.
    pub before: Option<Value>,
    /// The value after, if there is one.
    pub after: Option<Value>,
}

/// A path that a change does not reach at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The path as printed, or `app <name>`.
    pub path: String,
    /// The names of the overrides that decide there.
    pub overrides: Vec<String>,
}

/// Compares what one site should run before and after a change of whatever it depends on.
///
/// What masks a change is found by leaving out the overrides that are the same before and after: a path
/// that changes without them, and not with them, is masked. Costs two resolutions, four where such
/// overrides apply.
pub fn impact(before: &Inputs<'_>, after: &Inputs<'_>) -> Impact {
    let (old, new) = (resolve(before), resolve(after));
    let paths = compare(&old, &new, after);
    let masked = masked(before, after, &new, &paths);
    Impact { before: Standing::of(&old), after: Standing::of(&new), paths, masked }
}

impl Impact {
    /// Whether the site is as it was.
    pub fn is_none(&self) -> bool {
        self.before == self.after && self.paths.is_empty()
    }
}

impl Standing {
    fn of(resolution: &Resolution) -> Self {
        match &resolution.failed {
            Some(failure) => Self::Failed(failure.clone()),
            None if resolution.profiles.is_empty() => Self::NoProfile,
            None => Self::Resolved(resolution.config_hash.clone()),
        }
    }
}

fn masked(before: &Inputs<'_>, after: &Inputs<'_>, new: &Resolution, changed: &[PathChange]) -> Vec<Masked> {
    let is_same = |o: &ObjectInput<'_>| before.overrides.iter().any(|b| b.name == o.name && b.spec == o.spec);
    let masking: BTreeSet<&str> = after
        .overrides
        .iter()
        .filter(|o| is_same(o) && new.overrides.iter().any(|applied| applied == o.name))
        .map(|o| o.name)
        .collect();
    if masking.is_empty() || new.failed.is_some() {
        return Vec::new();
    }
    let without = |inputs: &Inputs<'_>| {
        let overrides = inputs.overrides.iter().filter(|o| !masking.contains(o.name)).copied().collect();
        resolve(&Inputs { overrides, ..inputs.clone() })
    };
    let bare = compare(&without(before), &without(after), after);
    let reached: BTreeSet<&str> = changed.iter().map(|change| change.path.as_str()).collect();
    let hidden = bare.into_iter().map(|change| change.path).filter(|path| !reached.contains(path.as_str()));
    hidden.map(|path| Masked { overrides: deciding(after, &path, &masking), path }).collect()
}

/// The overrides of a set that decide at a path: those that write there and stand, or that set the
/// variables of what is written there.
fn deciding(inputs: &Inputs<'_>, printed: &str, masking: &BTreeSet<&str>) -> Vec<String> {
    let Ok(selected) = select(inputs) else { return Vec::new() };
    let mut found: Vec<String> = match printed.strip_prefix("app ") {
        Some(app) => {
            let names_it = |entry: &Value| entry.get("app").and_then(Value::as_str) == Some(app);
            let layers = selected.layers.iter().filter(|layer| layer.apps.iter().any(names_it));
            layers.map(|layer| layer.name.to_owned()).collect()
        }
        None => writing(&selected, printed),
    };
    found.retain(|name| masking.contains(name.as_str()));
    if found.is_empty() {
        let variables = explain(inputs, printed).map(|why| why.variables).unwrap_or_default();
        let sources = variables.into_iter().filter_map(|(_, variable)| Some(variable?.source));
        found.extend(sources.filter_map(|source| source.strip_prefix("override/").map(str::to_owned)));
    }
    found.sort();
    found.dedup();
    found
}

/// The layers with a write at, above or below a path that stands.
fn writing(selected: &Selected<'_>, printed: &str) -> Vec<String> {
    let (Ok(enforced), Ok(path)) = (enforced(selected), path::Path::parse(printed)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for layer in &selected.layers {
        let Some(values) = layer.values else { continue };
        let mut writes = false;
        // A tree that cannot be walked fails the site, which then has no paths.
        let _ = walk(values, &selected.list_keys, |at, write| {
            let meets = at.iter().zip(path.keys()).all(|(step, key)| step.name() == key);
            writes |= meets && refuse(at, write, layer, selected, &enforced).is_none();
            Ok(Below::Skip)
        });
        if writes {
            found.push(layer.name.to_owned());
        }
    }
    found
}

/// The paths at which two resolutions of a site differ, in order; none if one of them failed.
fn compare(old: &Resolution, new: &Resolution, after: &Inputs<'_>) -> Vec<PathChange> {
    if old.failed.is_some() || new.failed.is_some() || old.config_hash == new.config_hash {
        return Vec::new();
    }
    let selected = select(after);
    let mut differences = Differences { path: Vec::new(), found: Vec::new() };
    differences.between(
        Some(&old.values),
        Some(&new.values),
        selected.as_ref().ok().map(|selected| &selected.list_keys),
    );
    let names: BTreeSet<&String> =
        [&old.apps, &new.apps].iter().filter_map(|apps| apps.as_object()).flat_map(Map::keys).collect();
    for name in names {
        let (before, after) = (old.apps.get(name), new.apps.get(name));
        if before != after {
            differences.found.push(PathChange {
                path: format!("app {name}"),
                before: before.cloned(),
                after: after.cloned(),
            });
        }
    }
    differences.found
}

struct Differences {
    path: Vec<String>,
    found: Vec<PathChange>,
}

impl Differences {
    /// Leaves are compared; maps and keyed lists are looked into, also where only one side has them.
    fn between(&mut self, old: Option<&Value>, new: Option<&Value>, keys: Option<&ListKeys<'_>>) {
        let is_same = match (old, new) {
            (Some(old), Some(new)) => same_value(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if is_same {
            return;
        }
        let before = self.found.len();
        match (old, new) {
            (None | Some(Value::Object(_)), None | Some(Value::Object(_))) => {
                let maps = [old, new].map(|side| side.and_then(Value::as_object));
                let names: BTreeSet<&String> = maps.into_iter().flatten().flat_map(Map::keys).collect();
                for name in names {
                    let [old, new] = maps.map(|map| map.and_then(|map| map.get(name)));
                    self.path.push(name.clone());
                    self.between(old, new, keys.and_then(|keys| keys.child(name)));
                    self.path.pop();
                }
            }
            (None | Some(Value::Array(_)), None | Some(Value::Array(_))) => {
                if let Some((keys, field)) = keys.and_then(|keys| Some((keys, keys.key_field()?))) {
                    self.elements(old, new, keys, field);
                }
            }
            _ => {}
        }
        // A leaf; or an empty map that came or went, or the order of a list.
        if self.found.len() == before {
            let path = path::print_keys(self.path.iter().map(String::as_str));
            self.found.push(PathChange { path, before: old.cloned(), after: new.cloned() });
        }
    }

    fn elements(&mut self, old: Option<&Value>, new: Option<&Value>, keys: &ListKeys<'_>, field: &str) {
        let (old, new) = (by_name(old, field), by_name(new, field));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            self.path.push(name.clone());
            self.between(old.get(name).copied(), new.get(name).copied(), keys.child(name));
            self.path.pop();
        }
    }
}

fn by_name<'v>(list: Option<&'v Value>, field: &str) -> BTreeMap<String, &'v Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| Some((key_name(item.get(field)?)?.into_owned(), item))).collect()
}
