//! What a node needs to know of its own site: what the site should run, and which scopes that takes.
//!
//! Resolution is pure and lives in [`driftless_core::resolve`]; what it reads is collected by
//! [`crate::inputs`], the same for the edge that applies a configuration and for the API that answers what a
//! site should run. Nothing is written.

use std::collections::BTreeSet;

use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::Replica;
use driftless_core::resolve::{Inputs, Resolution, resolve};
use driftless_core::store::{Store, StoreError};
use serde_json::Value;

use crate::inputs::{NamespaceInputs, Pins, SiteFacts};

/// Most apps of one site that its nodes fetch. The others, by name, are missing when the site is resolved.
const APPS_MAX: usize = 1_024;

/// The outcome of one look at the replica.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The site and what it should run; `None` if this node does not hold the site.
    pub site: Option<(SiteFacts, Resolution)>,
    /// The scopes that the node wants to hold.
    pub interest: BTreeSet<Scope>,
}

/// Resolves what a site should run, and tells which scopes that takes: the fleet, the profiles of its
/// namespace, the site itself, and the apps that its profiles and overrides name.
///
/// An app is wanted before anything of it is here: its channels are not known until it was fetched. While
/// it cannot be told which profiles apply, every app that some profile names is wanted, so that a mistake
/// in one selector does not make sites forget their catalog.
pub fn survey<S: Store>(
    held: &Replica<S>,
    namespace: &str,
    site: &str,
    now_ms: u64,
    pins: &mut Pins,
) -> Result<Survey, StoreError> {
    let own = Scope::Site { namespace: namespace.to_owned(), site: site.to_owned() };
    let mut interest: BTreeSet<Scope> =
        [Scope::Fleet, Scope::Profiles { namespace: namespace.to_owned() }, own].into();
    let facts = match Document::new(Kind::Site, namespace, site) {
        Ok(document) => SiteFacts::collect(held, &document)?,
        Err(_) => None,
    };
    let Some(facts) = facts else { return Ok(Survey { site: None, interest }) };
    let collected = NamespaceInputs::collect(held, namespace, Some(site), now_ms, pins)?;
    let inputs = collected.inputs(&facts);
    let resolution = resolve(&inputs);
    // A name that is none has no scope; resolution says what is wrong with it.
    let scope = |app: &str| Some(Document::new(Kind::App, namespace, app).ok()?.scope());
    interest.extend(wanted_apps(&inputs, &resolution).into_iter().filter_map(scope).take(APPS_MAX));
    Ok(Survey { site: Some((facts, resolution)), interest })
}

fn wanted_apps<'i>(inputs: &Inputs<'i>, resolution: &Resolution) -> BTreeSet<&'i str> {
    let unknown = resolution.failed.is_some() && resolution.profiles.is_empty();
    let profile = |name: &str| resolution.profiles.iter().any(|matched| matched.name == name);
    let exception = |name: &str| resolution.overrides.iter().any(|applied| applied == name);
    let profiles = inputs.profiles.iter().filter(|object| unknown || profile(object.name));
    let overrides = inputs.overrides.iter().filter(|object| unknown || exception(object.name));
    profiles.chain(overrides).flat_map(|object| apps_of(object.spec)).collect()
}

/// The apps that one spec names, those that it removes left out.
fn apps_of(spec: &Value) -> impl Iterator<Item = &str> {
    let entries = spec.get("apps").and_then(Value::as_array).into_iter().flatten();
    entries.filter(|entry| entry["$delete"] != true).filter_map(|entry| entry["app"].as_str())
}

#[cfg(test)]
mod tests;
