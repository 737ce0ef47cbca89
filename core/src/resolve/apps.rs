//! Which apps a site runs, and which version and digest each channel stands for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::select::Selected;
use super::{Condition, Failure, Inputs, Layer};
use crate::schema::specs::{AppSpec, ReleaseSpec};

/// What the layers ask of one app.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Channel(&'a str),
    Version(&'a str),
}

/// Merges the app entries of all layers and looks their versions up in the catalog.
///
/// A higher layer's channel replaces a lower layer's fixed version and the other way round.
pub(super) fn resolve_apps(
    inputs: &Inputs<'_>,
    selected: &Selected<'_>,
    conditions: &mut Vec<Condition>,
) -> Result<Value, Failure> {
    let wanted = merge_entries(selected)?;
    let mut versions: BTreeMap<&str, (&str, Option<&str>)> = BTreeMap::new();
    for (app, wanted) in &wanted {
        let input = inputs.apps.iter().find(|input| input.name == *app);
        let fault = |reason, message: String| Failure::new(reason, message).of(format!("app/{app}"));
        let input = input.ok_or_else(|| fault("UnknownApp", "is not in the catalog".into()))?;
        let version = match wanted {
            Wanted::Version(version) => (*version, None),
            Wanted::Channel(channel) => {
                let spec =
                    AppSpec::read(input.spec).map_err(|error| fault("InvalidApp", error.to_string()))?;
                let version = spec.channels.get(channel).copied();
                let known = || spec.channels.keys().copied().collect::<Vec<_>>().join(", ");
                let unknown = || format!("has no channel {channel:?}; its channels are: {}", known());
                (version.ok_or_else(|| fault("UnknownChannel", unknown()))?, Some(*channel))
            }
        };
        versions.insert(app, version);
    }
    let releases = find_releases(inputs, &versions)?;
    let mut deprecated = Vec::new();
    let mut out = Map::new();
    for (app, (version, channel)) in &versions {
        let digest = pick_digest(app, version, &releases, &mut deprecated)?;
        let mut entry = json!({"version": version, "digest": digest});
        if let Some(channel) = channel {
            entry["channel"] = Value::from(*channel);
        }
        out.insert((*app).to_owned(), entry);
    }
    if !deprecated.is_empty() {
        conditions.push(Condition::new("Deprecated", "ReleaseDeprecated", deprecated.join(", ")));
    }
    Ok(Value::Object(out))
}

fn merge_entries<'a>(selected: &Selected<'a>) -> Result<BTreeMap<&'a str, Wanted<'a>>, Failure> {
    let mut wanted = BTreeMap::new();
    for layer in selected.layers.iter().filter(|layer| layer.layer != Layer::LocalOverride) {
        let mut seen = BTreeSet::new();
        for (index, entry) in layer.apps.iter().enumerate() {
            let fault = |message: &str| {
                Failure::new("InvalidApps", format!("spec.apps[{index}] {message}")).of(layer.title())
            };
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            let app = text("app").ok_or_else(|| fault("names no app"))?;
            if !seen.insert(app) {
                return Err(fault("repeats an app"));
            }
            match (text("channel"), text("version"), entry.get("$delete")) {
                (Some(channel), None, None) => wanted.insert(app, Wanted::Channel(channel)),
                (None, Some(version), None) => wanted.insert(app, Wanted::Version(version)),
                (None, None, Some(Value::Bool(true))) => wanted.remove(app),
                _ => return Err(fault("takes one of channel, version and $delete: true")),
            };
        }
    }
    Ok(wanted)
}

type Releases<'a> = BTreeMap<(&'a str, &'a str), Vec<ReleaseSpec<'a>>>;

/// Finds the releases of the wanted versions, in one pass over the catalog.
fn find_releases<'a>(
    inputs: &Inputs<'a>,
    versions: &BTreeMap<&str, (&str, Option<&str>)>,
) -> Result<Releases<'a>, Failure> {
    let mut releases = Releases::new();
    let mut failed: Option<Failure> = None;
    for input in &inputs.releases {
        let app = input.spec.get("app").and_then(Value::as_str);
        let version = input.spec.get("version").and_then(Value::as_str);
        if let Some((app, version)) = app.zip(version)
            && versions.get(app).is_some_and(|(wanted, _)| *wanted == version)
        {
            match ReleaseSpec::read(input.spec) {
                Ok(spec) => releases.entry((app, version)).or_default().push(spec),
                Err(error) => {
                    let object = format!("release/{}", input.name);
                    let failure = Failure::new("InvalidRelease", error.to_string()).of(object);
                    failed = Some(failure.first(failed));
                }
            }
        }
    }
    failed.map_or(Ok(releases), Err)
}

fn pick_digest<'a>(
    app: &str,
    version: &str,
    releases: &Releases<'a>,
    deprecated: &mut Vec<String>,
) -> Result<&'a str, Failure> {
    let fault = |reason, message: String| Failure::new(reason, message).of(format!("app/{app}"));
    let found = releases.get(&(app, version)).map(Vec::as_slice).unwrap_or_default();
    let digests: BTreeSet<&str> = found.iter().map(|release| release.digest).collect();
    if found.iter().any(|release| release.is_yanked) {
        return Err(fault("ReleaseYanked", format!("release {version} is yanked; move the channel")));
    }
    if found.iter().any(|release| release.is_deprecated) {
        deprecated.push(format!("{app} {version}"));
    }
    let mut digests = digests.into_iter();
    match (digests.next(), digests.next()) {
        (Some(digest), None) => Ok(digest),
        (None, _) => Err(fault("UnknownRelease", format!("the catalog has no release {version}"))),
        (Some(_), Some(_)) => {
            Err(fault("AmbiguousRelease", format!("releases of version {version} differ in their digest")))
        }
    }
}
