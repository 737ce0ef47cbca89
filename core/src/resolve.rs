//! Resolution: what a site should run, as a pure function of what its namespace holds.
//!
//! No clock, no input order, no arrival order: every replica with the same inputs returns the same bytes.
//! The layers are profiles by priority, overrides with a selector, overrides of the site, its local
//! override, and enforced paths on top. A failure stops one site and says why; it never panics, whatever
//! the documents hold, because documents merge and need not pass the API check after that.
//!
//! Two things are the caller's: the specs given are those of the revisions that apply to the site, and the
//! expiry of an override is the fact `spec.expired`. The lifetime of a local override is not judged here
//! either: the caller leaves out one that is older than `localOverride.maxTTL`.

mod apps;
mod impact;
mod merge;
pub mod path;
mod select;
mod tree;
pub(crate) mod variables;
mod walk;
mod why;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::canonical::{canonical_json, canonical_object_without};

pub use impact::{Impact, Masked, PathChange, Reach, Reaching, Standing, Subject, impact};
pub use select::REGION_LABEL;
pub use variables::Variable;
pub use why::{Contribution, ExplainError, Explanation, Violation, WhyNot};
pub use why::{enforcement_violations, explain, why_not};

/// The digits of a revision that are printed.
pub const REVISION_SHORT_DIGITS: usize = 12;

/// A site, as its Site document describes it.
#[derive(Debug, Clone, Copy)]
pub struct SiteInput<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The labels, without the region's.
    pub labels: &'a BTreeMap<String, String>,
    /// The spec; null for a site without one.
    pub spec: &'a Value,
}

/// A Profile, Override, App or Release of the site's namespace.
#[derive(Debug, Clone, Copy)]
pub struct ObjectInput<'a> {
    /// The name.
    pub name: &'a str,
    /// The spec, of the revision that applies to the site.
    pub spec: &'a Value,
}

/// Everything that the desired configuration of a site depends on; the order of lists does not matter.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The site.
    pub site: SiteInput<'a>,
    /// The profiles of its namespace, matching or not.
    pub profiles: Vec<ObjectInput<'a>>,
    /// The overrides of its namespace, with selectors and of sites, its local one included.
    pub overrides: Vec<ObjectInput<'a>>,
    /// The catalog's apps.
    pub apps: Vec<ObjectInput<'a>>,
    /// The catalog's releases.
    pub releases: Vec<ObjectInput<'a>>,
    /// Facts that the site reports of itself.
    pub claims: BTreeMap<String, String>,
}

/// The layers, lowest first; later beats earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A profile.
    Profile,
    /// An override with a selector.
    SelectorOverride,
    /// An override of the site.
    SiteOverride,
    /// What people at the site set.
    LocalOverride,
    /// A path that a profile enforces.
    Enforced,
}

/// The desired configuration of a site.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The site.
    pub site: String,
    /// BLAKE3 of `{"apps": …, "values": …}` as RFC 8785 JSON, in hex; empty when resolution failed.
    pub config_hash: String,
    /// The configuration tree; empty when resolution failed.
    pub values: Value,
    /// Version, digest and channel by app.
    pub apps: Value,
    /// The profiles that matched, lowest first.
    pub profiles: Vec<MatchedProfile>,
    /// The names of the overrides that apply, lowest layer first.
    pub overrides: Vec<String>,
    /// Value and source by variable.
    pub variables: Value,
    /// What people should know, in a fixed order.
    pub conditions: Vec<Condition>,
    /// Paths to which objects of equal rank write different values.
    pub ambiguous: Vec<Ambiguity>,
    /// Writes of overrides that do not stand.
    pub denied: Vec<Denied>,
    /// Why there is no configuration, if there is none: active stays.
    pub failed: Option<Failure>,
}

/// A profile that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedProfile {
    /// The name.
    pub name: String,
    /// The priority.
    pub priority: u16,
    /// The revision, in full.
    pub revision: String,
}

/// One condition of a resolution, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `ResolutionFailed`, `NoProfile`, `Ambiguous`, `Denied` or `Deprecated`.
    pub type_: String,
    /// `True`; what does not hold is not listed.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A path to which objects of equal rank write different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguity {
    /// The path, `app <name>`, or `variable <name>`.
    pub path: String,
    /// The objects, the winner last.
    pub objects: Vec<String>,
}

/// A write of an override that does not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The override, as `override/<name>`.
    pub object: String,
    /// The path; `vars.<name>` for a variable that an enforced value mentions, `apps` for app entries of a
    /// local override.
    pub path: String,
    /// The profile that enforces; `None` where the site does not allow a local override there.
    pub profile: Option<String>,
}

/// Why a site has no desired configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One word, as `TypeChange`.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// The path, where there is one.
    pub path: Option<String>,
    /// The object at fault, as `profile/<name>`.
    pub object: Option<String>,
}

/// Resolves the desired configuration of a site.
///
/// Never panics and never fails half: on failure `failed` says why and values are empty. Linear in the
/// writes of what matched, times their depth; one pass over selectors of what did not.
pub fn resolve(inputs: &Inputs<'_>) -> Resolution {
    let mut resolution = Resolution {
        site: inputs.site.name.to_owned(),
        config_hash: String::new(),
        values: Value::Object(Map::new()),
        apps: Value::Object(Map::new()),
        profiles: Vec::new(),
        overrides: Vec::new(),
        variables: Value::Object(Map::new()),
        conditions: Vec::new(),
        ambiguous: Vec::new(),
        denied: Vec::new(),
        failed: None,
    };
    if let Err(failure) = fill(&mut resolution, inputs) {
        resolution.conditions.push(Condition::new("ResolutionFailed", failure.reason, failure.to_string()));
        resolution.failed = Some(failure);
    }
    resolution
}

/// Computes the revision of a spec: BLAKE3 of its canonical form, in hex.
///
/// The field `revision` is left out, so that a profile can pin the revision that it is. Empty for a spec
/// that has no canonical form, which resolution refuses.
pub fn revision(spec: &Value) -> String {
    let bytes = match spec {
        Value::Object(map) => canonical_object_without(map, "revision"),
        other => canonical_json(other),
    };
    bytes.map(|bytes| blake3::hash(&bytes).to_hex().to_string()).unwrap_or_default()
}

/// Shortens a revision as it is printed.
pub fn short(revision: &str) -> &str {
    revision.get(..REVISION_SHORT_DIGITS).unwrap_or(revision)
}

fn fill(resolution: &mut Resolution, inputs: &Inputs<'_>) -> Result<(), Failure> {
    let selected = select::select(inputs)?;
    for layer in &selected.layers {
        if !layer.is_profile() {
            resolution.overrides.push(layer.name.to_owned());
            continue;
        }
        let revision = revision(layer.spec);
        if revision.is_empty() {
            let message = "has no canonical form: an integer is outside +-2^53, or it is too deep";
            return Err(Failure::new("InvalidProfile", message).of(layer.title()));
        }
        resolution.profiles.push(MatchedProfile {
            name: layer.name.to_owned(),
            priority: layer.priority,
            revision,
        });
    }
    if resolution.profiles.is_empty() {
        let message = "no published profile selects this site; why-not names the term that failed";
        resolution.conditions.push(Condition::new("NoProfile", "NothingMatched", message));
    }
    resolution.ambiguous = merge::ambiguities(&selected)?;
    resolution.conditions.extend(ambiguous_condition(&resolution.ambiguous));
    let merged = merge::merge(&selected)?;
    resolution.denied = merged.denied;
    resolution.conditions.extend(denied_condition(&resolution.denied));
    let variables = variables::evaluate(&selected, &merged.vars)?;
    let mut render = Render { selected: &selected, variables: &variables };
    let values = merged.tree.render(&mut render)?;
    let apps = apps::resolve_apps(inputs, &selected, &mut resolution.conditions)?;
    let config = json!({"values": values, "apps": apps});
    let bytes = canonical_json(&config).map_err(|error| Failure::new("InvalidValues", error.to_string()))?;
    resolution.config_hash = blake3::hash(&bytes).to_hex().to_string();
    (resolution.values, resolution.apps) = (values, apps);
    resolution.variables = variables::to_json(&variables);
    Ok(())
}

/// Substitutes variables in what profiles wrote, and leaves what overrides wrote as it is.
struct Render<'s, 'a> {
    selected: &'s select::Selected<'a>,
    variables: &'s variables::Variables,
}

impl tree::Render for Render<'_, '_> {
    fn scalar(&mut self, value: &Value, layer: usize, path: &[&str]) -> Result<Value, Failure> {
        let layer = &self.selected.layers[layer];
        let Value::String(text) = value else { return Ok(value.clone()) };
        if !layer.is_profile() {
            return Ok(value.clone());
        }
        variables::substitute(text, self.variables).map_err(|reason| {
            Failure::new("Variable", reason).at(path::print_keys(path.iter().copied())).of(layer.title())
        })
    }
}

fn ambiguous_condition(ambiguous: &[Ambiguity]) -> Option<Condition> {
    let line = |a: &Ambiguity| format!("{} ({})", a.path, a.objects.join(", "));
    let lines: Vec<String> = ambiguous.iter().map(line).collect();
    let message = format!("equal priority, different values: {}", lines.join("; "));
    (!ambiguous.is_empty()).then(|| Condition::new("Ambiguous", "EqualPriority", message))
}

fn denied_condition(denied: &[Denied]) -> Option<Condition> {
    let line = |d: &Denied| match &d.profile {
        Some(profile) => format!("{}: {} is enforced by profile/{profile}", d.object, d.path),
        None => format!("{}: the site allows no local override of {}", d.object, d.path),
    };
    let lines: Vec<String> = denied.iter().map(line).collect();
    (!denied.is_empty()).then(|| Condition::new("Denied", "WriteDenied", lines.join("; ")))
}

impl Resolution {
    /// Prints the resolution as `resolve` returns it to clients.
    pub fn to_json(&self) -> Value {
        let profiles: Vec<Value> = self
            .profiles
            .iter()
            .map(|p| json!({"name": p.name, "priority": p.priority, "revision": short(&p.revision)}))
            .collect();
        let conditions: Vec<Value> = self
            .conditions
            .iter()
            .map(|c| json!({"type": c.type_, "status": c.status, "reason": c.reason, "message": c.message}))
            .collect();
        json!({
            "site": self.site,
            "configHash": self.config_hash,
            "values": self.values,
            "apps": self.apps,
            "profiles": profiles,
            "overrides": self.overrides,
            "variables": self.variables,
            "conditions": conditions,
        })
    }
}

impl Layer {
    /// The kind of object that the layer consists of.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Profile | Self::Enforced => "Profile",
            Self::SelectorOverride | Self::SiteOverride | Self::LocalOverride => "Override",
        }
    }
}

impl Condition {
    fn new(type_: &str, reason: &str, message: impl Into<String>) -> Self {
        let (type_, status, reason) = (type_.to_owned(), "True".to_owned(), reason.to_owned());
        Self { type_, status, reason, message: message.into() }
    }
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), path: None, object: None }
    }

    /// Of this one and another failure the one to tell, whatever the order of the inputs.
    fn first(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.object < self.object => other,
            _ => self,
        }
    }

    fn at(mut self, path: String) -> Self {
        self.path.get_or_insert(path);
        self
    }

    fn of(mut self, object: String) -> Self {
        self.object.get_or_insert(object);
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [self.object.as_deref(), self.path.as_deref(), Some(self.message.as_str())];
        f.write_str(
            &parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "),
        )
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
