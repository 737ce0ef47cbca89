//! Refuses an override that touches what a profile enforces, before it is written.
//!
//! Also at a cut-off edge: what a node knows is enough to refuse. What arrives by sync all the same is
//! denied by resolution, path by path.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::name::{Document, Kind};
use driftless_core::resolve::enforcement_violations;
use driftless_core::store::StoreError;
use serde_json::Value;

use super::Held;
use super::status_error::{Cause, StatusError};
use super::write::named;
use crate::inputs::{NamespaceInputs, Pins, SiteFacts};

/// Most paths that a refusal lists.
const CAUSES_MAX: usize = 20;

/// Checks an override as it would be. Costs one pass over the sites that it could apply to, and nothing
/// if no profile enforces anything.
pub(super) fn check(
    held: &Held,
    document: &Document,
    override_: &Value,
    now_ms: u64,
) -> Result<(), StatusError> {
    if document.kind() != Kind::Override {
        return Ok(());
    }
    let violations = violations(held, document, &override_["spec"], now_ms).map_err(StatusError::internal)?;
    if violations.is_empty() {
        return Ok(());
    }
    let causes = violations.into_iter().take(CAUSES_MAX).map(|(path, profile)| Cause {
        message: format!("is enforced by profile {profile:?}; change that profile instead"),
        field: format!("spec.values.{path}"),
    });
    Err(StatusError::invalid(named(document), causes.collect()))
}

fn violations(
    held: &Held,
    document: &Document,
    spec: &Value,
    now_ms: u64,
) -> Result<BTreeSet<(String, String)>, StoreError> {
    // Pins are looked up anew: writes of overrides are rare, and this runs on the owner's thread only.
    let desired =
        NamespaceInputs::collect(held, document.namespace(), document.owner(), now_ms, &mut Pins::default())?;
    let mut found = BTreeSet::new();
    if !desired.enforces() {
        return Ok(found);
    }
    let sites = match document.owner() {
        Some(site) => Document::new(Kind::Site, document.namespace(), site).into_iter().collect(),
        None => held.names(Kind::Site, Some(document.namespace()), &BTreeMap::new()),
    };
    for site in sites {
        let Some(facts) = SiteFacts::collect(held, &site)? else { continue };
        let violations = enforcement_violations(&desired.inputs(&facts), document.name(), spec);
        found.extend(violations.into_iter().map(|violation| (violation.path, violation.profile)));
        if found.len() >= CAUSES_MAX {
            break;
        }
    }
    Ok(found)
}
