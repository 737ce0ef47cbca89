//! What is joined into resources when they are served: a site's status, a profile's reach.
//!
//! A site's status is what the site says of itself (its `SiteStatus`), and what the node that answers
//! computes: desired configuration, matched profiles, presence, conditions. None of it is stored with the
//! Site. What nobody knows is `Unknown`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftless_core::name::{Document, Kind};
use driftless_core::replica::View;
use driftless_core::resolve::{Ambiguity, Denied, resolve};
use driftless_core::store::StoreError;
use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::profile_status::{Reach, reaches};
use super::resources::DOCUMENTS_PER_READ;
use super::sites::{Sites, every_site};
use super::status_error::StatusError;
use super::time::rfc3339;
use super::{Api, Presence};
use crate::inputs::{NamespaceInputs, Pins, SiteFacts};

/// Conditions that only the site itself can tell.
const SITE_SAYS: [&str; 2] = ["Held", "Inventory"];
/// Reasons for which a site does not run what it should that are no failures.
const WAITS: [&str; 3] = ["Held", "Pending", "NoProfile"];
/// A site was heard less than this ago.
const FRESH_MS: u64 = 60_000;
/// A site was heard less than this ago.
const STALE_MS: u64 = 5 * 60_000;
/// A site was heard less than this ago.
const UNREACHABLE_MS: u64 = 24 * 3_600_000;
/// Every phase.
const PHASES: [&str; 5] = ["Fresh", "Stale", "Unreachable", "Lost", "Unknown"];
/// So many sites are not resolved one by one, but together with all others, which are kept.
const MANY_SITES: usize = 64;
/// Resolutions that are remembered; a hub is designed for 10,000 sites.
const REMEMBERED_MAX: usize = 20_000;

/// What was resolved before, for as long as nothing that it depends on changes.
#[derive(Default)]
pub(super) struct Cache {
    outcomes: Mutex<BTreeMap<Document, Remembered>>,
    pins: Mutex<Pins>,
    pub(super) facts: Facts,
    pub(super) every: Sites,
}

/// The stamp of what an outcome depends on, and the outcome.
type Remembered = ([u8; 32], Arc<Outcome>);

/// What resolving a site came to, in short.
#[derive(Debug)]
pub(super) struct Outcome {
    config_hash: String,
    pub(super) profiles: Vec<String>,
    /// Names of the overrides that apply.
    pub(super) overrides: Vec<String>,
    /// Names of the apps that the site should run.
    pub(super) apps: Vec<String>,
    pub(super) conditions: Vec<Value>,
    pub(super) failed: Option<(String, String)>,
    /// The profile that the failure is about.
    pub(super) at_fault: Option<String>,
    pub(super) ambiguous: Vec<Ambiguity>,
    pub(super) denied: Vec<Denied>,
}

/// A site with what it should run.
pub(super) struct Resolved {
    pub(super) facts: Arc<SiteFacts>,
    pub(super) outcome: Arc<Outcome>,
}

/// Joins statuses into resources; `views` and `resources` are the same documents in the same order.
pub(super) async fn join(api: &Api, views: &[View], resources: &mut [Value]) -> Result<(), StatusError> {
    let of_kind = |kind: Kind| views.iter().filter(move |view| view.document.kind() == kind);
    let sites: Vec<View> = of_kind(Kind::Site).cloned().collect();
    if !sites.is_empty() {
        join_sites(api, sites, views, resources).await?;
    }
    let namespaces: BTreeSet<String> =
        of_kind(Kind::Profile).map(|view| view.document.namespace().to_owned()).collect();
    for namespace in namespaces {
        join_profiles(api, &namespace, views, resources).await?;
    }
    Ok(())
}

impl Api {
    /// The pinned revisions that were found before.
    pub(super) fn pins(&self) -> MutexGuard<'_, Pins> {
        self.0.sites.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects what the resolution of one site, or of every site of a namespace, reads.
    pub(super) async fn desired(
        &self,
        namespace: String,
        site: Option<String>,
    ) -> Result<NamespaceInputs, StatusError> {
        let (api, now_ms) = (self.clone(), self.now_ms());
        self.read(move |held| {
            let mut pins = api.pins();
            NamespaceInputs::collect(held, &namespace, site.as_deref(), now_ms, &mut pins)
        })
        .await?
        .map_err(StatusError::internal)
    }

    /// The same as if resources had changed, or were gone.
    pub(super) async fn desired_with(
        &self,
        mut desired: NamespaceInputs,
        changed: Vec<(Document, Option<Value>)>,
    ) -> Result<NamespaceInputs, StatusError> {
        if changed.is_empty() {
            return Ok(desired);
        }
        let api = self.clone();
        self.read(move |held| {
            let mut pins = api.pins();
            for (document, resource) in changed {
                desired.with(held, &document, resource, &mut pins)?;
            }
            Ok(desired)
        })
        .await?
        .map_err(|error: StoreError| StatusError::internal(error))
    }
}

async fn join_sites(
    api: &Api,
    sites: Vec<View>,
    views: &[View],
    resources: &mut [Value],
) -> Result<(), StatusError> {
    let mut by_namespace: BTreeMap<String, Vec<View>> = BTreeMap::new();
    for site in sites {
        by_namespace.entry(site.document.namespace().to_owned()).or_default().push(site);
    }
    let mut statuses = BTreeMap::new();
    for (namespace, sites) in by_namespace {
        for resolved in resolved(api, namespace, sites).await? {
            statuses.insert(resolved.facts.document.clone(), status(api, &resolved));
        }
    }
    for (view, resource) in views.iter().zip(resources) {
        if let Some(status) = statuses.remove(&view.document) {
            resource["status"] = status;
        }
    }
    Ok(())
}

/// Counts the sites that a profile reaches.
async fn join_profiles(
    api: &Api,
    namespace: &str,
    views: &[View],
    resources: &mut [Value],
) -> Result<(), StatusError> {
    let sites = every_site(api, namespace).await?;
    let reaches = reaches(api, &sites);
    let nothing = Reach::default();
    for (view, resource) in views.iter().zip(resources) {
        if view.document.kind() == Kind::Profile && view.document.namespace() == namespace {
            resource["status"] = reaches.get(view.document.name()).unwrap_or(&nothing).status(&view.resource);
        }
    }
    Ok(())
}

/// Resolves sites of a namespace, as far as that was not done before.
pub(super) async fn resolved(
    api: &Api,
    namespace: String,
    sites: Vec<View>,
) -> Result<Vec<Arc<Resolved>>, StatusError> {
    if sites.len() >= MANY_SITES {
        let wanted: BTreeSet<&Document> = sites.iter().map(|site| &site.document).collect();
        let mut every = every_site(api, &namespace).await?;
        every.retain(|site| wanted.contains(&site.facts.document));
        return Ok(every);
    }
    let only = match sites.as_slice() {
        [site] => Some(site.document.name().to_owned()),
        _ => None,
    };
    let desired = api.desired(namespace, only).await?;
    let mut facts = Vec::with_capacity(sites.len());
    for sites in sites.chunks(DOCUMENTS_PER_READ) {
        let sites = sites.to_vec();
        let read = api.read(move |held| {
            sites.into_iter().map(|site| SiteFacts::of(held, site)).collect::<Result<Vec<_>, _>>()
        });
        facts.extend(read.await?.map_err(StatusError::internal)?);
    }
    let api = api.clone();
    // Ten thousand sites take seconds the first time: not on the threads that answer others.
    tokio::task::spawn_blocking(move || {
        let outcome = |facts: SiteFacts| {
            Arc::new(Resolved { outcome: api.0.sites.outcome(&desired, &facts), facts: Arc::new(facts) })
        };
        facts.into_iter().map(outcome).collect()
    })
    .await
    .map_err(StatusError::internal)
}

impl Cache {
    /// What a site should run, as it was resolved before if nothing that it depends on has changed.
    pub(super) fn outcome(&self, desired: &NamespaceInputs, site: &SiteFacts) -> Arc<Outcome> {
        let stamp = desired.stamp(site);
        let outcomes = || self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, outcome)) = outcomes().get(&site.document)
            && *known == stamp
        {
            return Arc::clone(outcome);
        }
        let outcome = Arc::new(Outcome::of(desired, site));
        let mut outcomes = outcomes();
        if outcomes.len() >= REMEMBERED_MAX {
            outcomes.clear();
        }
        outcomes.insert(site.document.clone(), (stamp, Arc::clone(&outcome)));
        outcome
    }
}

impl Outcome {
    fn of(desired: &NamespaceInputs, site: &SiteFacts) -> Self {
        let resolution = resolve(&desired.inputs(site));
        let conditions = resolution.conditions.iter();
        Self {
            conditions: conditions
                .filter(|found| found.type_ != "ResolutionFailed")
                .map(|found| condition(&found.type_, &found.status, &found.reason, &found.message))
                .collect(),
            at_fault: resolution
                .failed
                .as_ref()
                .and_then(|failure| failure.object.as_deref()?.strip_prefix("profile/").map(str::to_owned)),
            failed: resolution.failed.map(|failure| (failure.reason.to_owned(), failure.to_string())),
            overrides: resolution.overrides,
            apps: resolution.apps.as_object().into_iter().flatten().map(|(app, _)| app.clone()).collect(),
            ambiguous: resolution.ambiguous,
            denied: resolution.denied,
            profiles: resolution.profiles.into_iter().map(|profile| profile.name).collect(),
            config_hash: resolution.config_hash,
        }
    }
}

impl Resolved {
    fn active_hash(&self) -> Option<&str> {
        active_hash(&self.facts)
    }

    /// The region that the Site names.
    pub(super) fn region(&self) -> String {
        let region = self.facts.resource.pointer("/spec/region").and_then(Value::as_str);
        region.unwrap_or_default().to_owned()
    }

    /// Whether the site runs what it should; `None` if that cannot be said.
    pub(super) fn is_applied(&self) -> Option<bool> {
        let active = self.active_hash()?;
        self.outcome.failed.is_none().then_some(active == self.outcome.config_hash)
    }

    /// A condition that the site reported.
    fn reported(&self, kind: &str) -> Option<&Value> {
        let conditions = self.facts.report.as_deref()?.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|condition| condition["type"] == kind)
    }

    /// Why the site does not run what it should, in its own words, if they are about what is desired now.
    fn refusal(&self) -> Option<&Value> {
        let report = self.facts.report.as_deref()?;
        let about = report.pointer("/status/desired/configHash")?;
        let is_current = *about == self.outcome.config_hash && self.outcome.failed.is_none();
        self.reported("Applied").filter(|applied| is_current && applied["status"] == "False")
    }

    /// Why the site does not resolve, or could not apply what it should run. One that is on hold, or on its
    /// way, has not failed.
    pub(super) fn failure(&self) -> Option<String> {
        if let Some((_, message)) = &self.outcome.failed {
            return Some(message.clone());
        }
        let refusal = self.refusal().filter(|_| self.is_applied() != Some(true))?;
        let reason = refusal["reason"].as_str().filter(|reason| !WAITS.contains(reason))?;
        Some(format!("{reason} {}", refusal["message"].as_str().unwrap_or_default()).trim().to_owned())
    }

    /// Whether the site runs what it should, and why not, as a condition.
    pub(super) fn applied(&self) -> Value {
        if let (Some(false) | None, Some(refusal)) = (self.is_applied(), self.refusal()) {
            return refusal.clone();
        }
        let hold = self.facts.resource.pointer("/spec/hold");
        let (status, reason, message) = match (self.is_applied(), self.active_hash(), hold) {
            (Some(true), ..) => ("True", "Active", "the site runs its desired configuration"),
            (Some(false), _, Some(_)) => ("False", "Held", "the site is on hold and keeps what it runs"),
            (Some(false), ..) => {
                ("False", "Pending", "the site last said that it runs another configuration")
            }
            (None, None, _) => ("Unknown", "NotReported", "the site has not said what it runs"),
            (None, Some(_), _) => {
                ("Unknown", "NothingDesired", "there is no desired configuration to compare with")
            }
        };
        condition("Applied", status, reason, message)
    }

    fn resolves(&self) -> Value {
        match &self.outcome.failed {
            None => condition("Resolved", "True", "Resolved", ""),
            Some((reason, message)) => condition("Resolved", "False", reason, message),
        }
    }
}

/// The hash of what a site says that it runs.
pub(super) fn active_hash(site: &SiteFacts) -> Option<&str> {
    let active = site.report.as_deref()?.pointer("/status/active/configHash")?;
    active.as_str().filter(|hash| !hash.is_empty())
}

fn status(api: &Api, resolved: &Resolved) -> Value {
    let site = &resolved.facts.document;
    let presence = api.backend().presence(site.namespace(), site.name());
    let mut status = match resolved.facts.report.as_deref().and_then(|report| report.get("status")) {
        Some(Value::Object(fields)) => fields.clone(),
        _ => Map::new(),
    };
    let mut shown = json!({"phase": phase(presence.last_seen_ms, api.now_ms())});
    if let Some(last_seen_ms) = presence.last_seen_ms {
        shown["lastSeen"] = json!(rfc3339(last_seen_ms));
        let local = api.local();
        shown["hub"] = json!(presence.hub.as_ref().or(local.site.is_none().then_some(&local.node)));
    }
    if let Some(as_of_ms) = presence.as_of_ms {
        shown["asOf"] = json!(rfc3339(as_of_ms));
    }
    if presence.cut_by_operator {
        shown["phase"] = json!("CutByOperator");
    }
    status.insert("presence".to_owned(), shown);
    status.insert("profiles".to_owned(), json!(resolved.outcome.profiles));
    status.insert("overrides".to_owned(), json!(resolved.outcome.overrides));
    status.insert(
        "counts".to_owned(),
        json!({
            "profiles": resolved.outcome.profiles.len(),
            "overrides": resolved.outcome.overrides.len(),
            "ambiguous": resolved.outcome.ambiguous.len(),
            "denied": resolved.outcome.denied.len(),
        }),
    );
    status.insert("desired".to_owned(), json!({"configHash": resolved.outcome.config_hash}));
    let mut conditions = vec![resolved.resolves(), synced(&presence), resolved.applied()];
    conditions.extend(resolved.outcome.conditions.iter().cloned());
    conditions.extend(SITE_SAYS.iter().filter_map(|kind| resolved.reported(kind)).cloned());
    status.insert("conditions".to_owned(), Value::Array(conditions));
    Value::Object(status)
}

/// Sites by phase, for the metrics.
pub(super) async fn phases(api: &Api) -> Result<BTreeMap<&'static str, usize>, StatusError> {
    let sites = api.read(|held| held.names(Kind::Site, None, &Default::default()));
    let mut phases = BTreeMap::from(PHASES.map(|phase| (phase, 0)));
    for site in sites.await? {
        let presence = api.backend().presence(site.namespace(), site.name());
        *phases.entry(phase(presence.last_seen_ms, api.now_ms())).or_default() += 1;
    }
    Ok(phases)
}

/// The phase of a site or hub that was last heard at a time, or never.
pub fn phase(last_seen_ms: Option<u64>, now_ms: u64) -> &'static str {
    match last_seen_ms.map(|last_seen_ms| now_ms.saturating_sub(last_seen_ms)) {
        None => "Unknown",
        Some(0..FRESH_MS) => "Fresh",
        Some(FRESH_MS..STALE_MS) => "Stale",
        Some(STALE_MS..UNREACHABLE_MS) => "Unreachable",
        Some(UNREACHABLE_MS..) => "Lost",
    }
}

/// Whether the site holds everything of ours that concerns it.
fn synced(presence: &Presence) -> Value {
    let (status, reason) = match presence.synced {
        Some(true) => ("True", "HoldsEverything"),
        Some(false) => ("False", "Behind"),
        None => ("Unknown", "NotHeard"),
    };
    condition("Synced", status, reason, presence.why.as_deref().unwrap_or_default())
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_the_time_since_a_site_was_heard() {
        for (ago_ms, expected) in [
            (0, "Fresh"),
            (59_999, "Fresh"),
            (60_000, "Stale"),
            (300_000, "Unreachable"),
            (86_400_000, "Lost"),
        ] {
            assert_eq!(phase(Some(100_000_000 - ago_ms), 100_000_000), expected);
        }
        // A clock elsewhere that is ahead of ours is no reason to worry.
        assert_eq!(phase(Some(100_000_001), 100_000_000), "Fresh");
        assert_eq!(phase(None, 100_000_000), "Unknown");
    }
}
