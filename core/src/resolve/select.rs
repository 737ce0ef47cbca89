//! Which profiles and overrides apply to a site, and in which order.
//!
//! Selection reads selectors first and whole specs only of what matched. An object whose selector cannot
//! be read might apply, so it fails the site rather than being left out: active stays.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Path;
use super::walk::{ListKeys, PathSet};
use super::{Failure, Inputs, Layer, ObjectInput};
use crate::schema::FieldError;
use crate::schema::names::owner_of;
use crate::schema::specs::{Lifecycle, OverrideSpec, ProfileSpec, SiteSpec};

/// The label under which a site's region is visible.
pub const REGION_LABEL: &str = "driftless.dev/region";

/// The name of a site's local override, after the site and a dot.
const LOCAL: &str = "local";

/// What applies to a site, lowest layer first.
pub(super) struct Selected<'a> {
    pub(super) namespace: &'a str,
    pub(super) site: &'a str,
    pub(super) region: &'a str,
    pub(super) labels: Cow<'a, BTreeMap<String, String>>,
    pub(super) claims: &'a BTreeMap<String, String>,
    pub(super) site_vars: Option<&'a Map<String, Value>>,
    pub(super) layers: Vec<Applied<'a>>,
    pub(super) list_keys: ListKeys<'a>,
    /// The paths that a local override may change; `None` when it may change nothing.
    pub(super) local_paths: Option<PathSet>,
}

/// One profile or override that applies.
pub(super) struct Applied<'a> {
    pub(super) layer: Layer,
    pub(super) name: &'a str,
    pub(super) priority: u16,
    pub(super) spec: &'a Value,
    pub(super) values: Option<&'a Map<String, Value>>,
    pub(super) variables: &'a [Value],
    pub(super) vars: Option<&'a Map<String, Value>>,
    pub(super) apps: &'a [Value],
    /// The paths that this profile enforces.
    pub(super) enforced: Option<PathSet>,
}

impl Applied<'_> {
    /// The object as `profile/<name>` or `override/<name>`.
    pub(super) fn title(&self) -> String {
        title(self.layer, self.name)
    }

    pub(super) fn is_profile(&self) -> bool {
        self.layer == Layer::Profile
    }
}

pub(super) fn title(layer: Layer, name: &str) -> String {
    format!("{}/{name}", layer.kind().to_lowercase())
}

/// The labels of a site, with its region among them.
pub(super) fn labels_of<'a>(inputs: &Inputs<'a>, region: &str) -> Cow<'a, BTreeMap<String, String>> {
    if region.is_empty() {
        return Cow::Borrowed(inputs.site.labels);
    }
    let mut labels = inputs.site.labels.clone();
    labels.insert(REGION_LABEL.to_owned(), region.to_owned());
    Cow::Owned(labels)
}

/// Reads the site's spec.
pub(super) fn site_spec<'a>(inputs: &Inputs<'a>) -> Result<SiteSpec<'a>, Failure> {
    SiteSpec::read(inputs.site.spec)
        .map_err(|error| invalid("InvalidSite", &error, format!("site/{}", inputs.site.name)))
}

/// Selects and orders what applies to the site.
pub(super) fn select<'a>(inputs: &'a Inputs<'a>) -> Result<Selected<'a>, Failure> {
    let spec = site_spec(inputs)?;
    let labels = labels_of(inputs, spec.region);
    let profiles = inputs.profiles.iter().map(|input| select_profile(input, &labels, &inputs.claims));
    let overrides = inputs
        .overrides
        .iter()
        .map(|input| select_override(input, inputs.site.name, &labels, &inputs.claims));
    let mut layers = Vec::new();
    let mut failed: Option<Failure> = None;
    for selected in profiles.chain(overrides) {
        match selected {
            Ok(layer) => layers.extend(layer),
            Err(failure) => failed = Some(failure.first(failed)),
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    layers.sort_by_key(|layer| (layer.layer, layer.priority, layer.name));
    let mut selected = Selected {
        namespace: inputs.site.namespace,
        site: inputs.site.name,
        region: spec.region,
        labels,
        claims: &inputs.claims,
        site_vars: spec.vars,
        layers,
        list_keys: ListKeys::default(),
        local_paths: None,
    };
    if let Some(paths) = spec.local_paths {
        let set = path_set(&paths, "spec.localOverride.paths", 0);
        let title = || format!("site/{}", inputs.site.name);
        selected.local_paths = Some(set.map_err(|error| invalid("InvalidSite", &error, title()))?);
    }
    selected.read_profiles()?;
    Ok(selected)
}

impl Selected<'_> {
    /// Reads keyed lists and enforced paths, lowest profile first, so that the highest decides.
    fn read_profiles(&mut self) -> Result<(), Failure> {
        for (index, layer) in self.layers.iter_mut().enumerate().filter(|(_, layer)| layer.is_profile()) {
            let title = layer.title();
            let fault = |error: &FieldError| invalid("InvalidProfile", error, title.clone());
            let spec = ProfileSpec::read(layer.spec).map_err(|error| fault(&error))?;
            let enforced = path_set(&spec.enforced, "spec.enforced", index).map_err(|error| fault(&error))?;
            layer.enforced = (!spec.enforced.is_empty()).then_some(enforced);
            for (path, key_field) in spec.list_keys {
                let path = parse(path, "spec.listKeys").map_err(|error| fault(&error))?;
                self.list_keys.declare(&path, key_field);
            }
        }
        Ok(())
    }
}

fn select_profile<'a>(
    input: &ObjectInput<'a>,
    labels: &BTreeMap<String, String>,
    claims: &BTreeMap<String, String>,
) -> Result<Option<Applied<'a>>, Failure> {
    const KNOWN: [&str; 9] = [
        "priority",
        "lifecycle",
        "revision",
        "selector",
        "variables",
        "values",
        "listKeys",
        "enforced",
        "apps",
    ];
    let layer = Layer::Profile;
    let fault = |error: FieldError| invalid("InvalidProfile", &error, title(layer, input.name));
    if ProfileSpec::read_lifecycle(input.spec).map_err(fault)? != Lifecycle::Published {
        return Ok(None);
    }
    if ProfileSpec::read_selector(input.spec).map_err(fault)?.matches_site(labels, claims).is_err() {
        return Ok(None);
    }
    check_known(input.spec, &KNOWN).map_err(|error| unsupported(&error, title(layer, input.name)))?;
    let spec = ProfileSpec::read(input.spec).map_err(fault)?;
    if !spec.pinned.is_empty() && !super::revision(input.spec).starts_with(spec.pinned) {
        let message = format!("pins revision {}, and another one was at hand", spec.pinned);
        return Err(Failure::new("PinnedRevisionMissing", message).of(title(layer, input.name)));
    }
    Ok(Some(Applied {
        layer,
        name: input.name,
        priority: spec.priority,
        spec: input.spec,
        values: spec.values,
        variables: spec.variables,
        vars: None,
        apps: spec.apps,
        enforced: None,
    }))
}

fn select_override<'a>(
    input: &ObjectInput<'a>,
    site: &str,
    labels: &BTreeMap<String, String>,
    claims: &BTreeMap<String, String>,
) -> Result<Option<Applied<'a>>, Failure> {
    const KNOWN: [&str; 10] = [
        "priority",
        "selector",
        "values",
        "vars",
        "apps",
        "reason",
        "owner",
        "expiresAt",
        "permanent",
        "expired",
    ];
    let layer = match owner_of(input.name) {
        None => Layer::SelectorOverride,
        Some((owner, _)) if owner != site => return Ok(None),
        Some((_, LOCAL)) => Layer::LocalOverride,
        Some(_) => Layer::SiteOverride,
    };
    let fault = |error: FieldError| invalid("InvalidOverride", &error, title(layer, input.name));
    if layer == Layer::SelectorOverride {
        let selector = OverrideSpec::read_selector(input.spec).map_err(fault)?;
        if selector.matches_site(labels, claims).is_err() {
            return Ok(None);
        }
    }
    let spec = OverrideSpec::read(input.spec).map_err(fault)?;
    check_known(input.spec, &KNOWN).map_err(|error| unsupported(&error, title(layer, input.name)))?;
    if spec.is_expired {
        return Ok(None);
    }
    Ok(Some(Applied {
        layer,
        name: input.name,
        priority: spec.priority,
        spec: input.spec,
        values: spec.values,
        variables: &[],
        vars: spec.vars,
        apps: spec.apps,
        enforced: None,
    }))
}

/// Refuses fields that this version does not implement: to ignore them would be to guess.
fn check_known(spec: &Value, known: &[&str]) -> Result<(), FieldError> {
    let mut keys = spec.as_object().into_iter().flat_map(Map::keys);
    match keys.find(|key| !known.contains(&key.as_str())) {
        Some(key) => {
            Err(FieldError::new(format!("spec.{key}"), "is a feature that this version does not implement"))
        }
        None => Ok(()),
    }
}

fn path_set(paths: &[&str], field: &str, owner: usize) -> Result<PathSet, FieldError> {
    let mut set = PathSet::default();
    for text in paths {
        set.insert(parse(text, field)?.keys().iter().map(String::as_str), owner);
    }
    Ok(set)
}

fn parse(text: &str, field: &str) -> Result<Path, FieldError> {
    Path::parse(text).map_err(|error| FieldError::new(field, format!("{text:?} is not a path: {error}")))
}

fn invalid(reason: &'static str, error: &FieldError, object: String) -> Failure {
    Failure::new(reason, error.to_string()).of(object)
}

fn unsupported(error: &FieldError, object: String) -> Failure {
    invalid("UnsupportedFeature", error, object)
}
