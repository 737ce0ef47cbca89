//! What is joined into a profile when it is served: its reach, as the node that answers knows it.
//!
//! Counts are of sites that the profile applies to, from what resolution says of each and what the site says of
//! itself. Nothing of it is stored.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::resolve::{revision, short};
use serde_json::{Value, json};

use super::Api;
use super::site_status::{Resolved, condition, phase};

/// Most paths, or sites, that a condition names.
const NAMED_MAX: usize = 5;

/// The reach of the profiles of a namespace, by name.
pub(super) type Reaches = BTreeMap<String, Reach>;

/// The sites that a profile reaches.
#[derive(Debug, Default)]
pub(super) struct Reach {
    matched: u64,
    applied: u64,
    /// Where another of equal priority writes other values to a path of it.
    ambiguous: u64,
    /// Where an exception touches what it enforces.
    denied: u64,
    /// That do not resolve, or could not apply what they should run.
    failed: u64,
    /// That were not heard in the last minute, so that what they say may be old.
    stale: u64,
    /// Those paths, and whom they are shared with.
    ambiguities: BTreeSet<String>,
    denials: BTreeSet<String>,
    failures: BTreeSet<String>,
}

/// Adds up the sites of a namespace.
pub(super) fn reaches(api: &Api, sites: &[std::sync::Arc<Resolved>]) -> Reaches {
    let now_ms = api.now_ms();
    let mut reaches = Reaches::new();
    for site in sites {
        let document = &site.facts.document;
        let last_seen_ms = api.backend().presence(document.namespace(), document.name()).last_seen_ms;
        let is_stale = phase(last_seen_ms, now_ms) != "Fresh";
        count(&mut reaches, site, is_stale);
    }
    reaches
}

fn count(reaches: &mut Reaches, site: &Resolved, is_stale: bool) {
    let outcome = &site.outcome;
    let name = site.facts.document.name();
    let is_applied = site.is_applied() == Some(true);
    let failure = site.failure();
    for profile in &outcome.profiles {
        let reach = reaches.entry(profile.clone()).or_default();
        reach.matched += 1;
        reach.applied += u64::from(is_applied);
        reach.stale += u64::from(is_stale);
        if let Some(why) = &failure {
            reach.failed += 1;
            note(&mut reach.failures, || format!("{name}: {why}"));
        }
    }
    // A profile that cannot be read matches nowhere, and fails wherever it might apply.
    let at_fault = outcome.at_fault.as_ref().filter(|profile| !outcome.profiles.contains(profile));
    if let (Some(profile), Some(why)) = (at_fault, &failure) {
        let reach = reaches.entry(profile.clone()).or_default();
        reach.failed += 1;
        note(&mut reach.failures, || format!("{name}: {why}"));
    }
    let mut ambiguous = BTreeSet::new();
    for ambiguity in &outcome.ambiguous {
        for profile in ambiguity.objects.iter().filter_map(|object| object.strip_prefix("profile/")) {
            let Some(reach) = reaches.get_mut(profile) else { continue };
            note(&mut reach.ambiguities, || format!("{} ({})", ambiguity.path, ambiguity.objects.join(", ")));
            reach.ambiguous += u64::from(ambiguous.insert(profile));
        }
    }
    let mut denied = BTreeSet::new();
    for denial in &outcome.denied {
        let Some(profile) = denial.profile.as_deref() else { continue };
        let Some(reach) = reaches.get_mut(profile) else { continue };
        note(&mut reach.denials, || format!("{} at {}", denial.path, denial.object));
        reach.denied += u64::from(denied.insert(profile));
    }
}

/// Keeps the first few, by name.
fn note(notes: &mut BTreeSet<String>, what: impl FnOnce() -> String) {
    notes.insert(what());
    if notes.len() > NAMED_MAX {
        notes.pop_last();
    }
}

impl Reach {
    /// The status of a profile.
    pub(super) fn status(&self, profile: &Value) -> Value {
        let spec = &profile["spec"];
        json!({
            "revision": short(&revision(spec)),
            "matched": self.matched,
            "applied": self.applied,
            "ambiguous": self.ambiguous,
            "denied": self.denied,
            "failed": self.failed,
            "stale": self.stale,
            "conditions": [
                self.matches(spec["lifecycle"].as_str()),
                self.is_applied(),
                noted("Ambiguous", self.ambiguous, &self.ambiguities, "EqualPriority"),
                noted("Denied", self.denied, &self.denials, "WriteDenied"),
                noted("Failed", self.failed, &self.failures, "SitesFailed"),
            ],
        })
    }

    fn matches(&self, lifecycle: Option<&str>) -> Value {
        let sites = format!("it applies to {} sites", self.matched);
        match (self.matched, lifecycle) {
            (0, Some(lifecycle @ ("Draft" | "Archived"))) => {
                condition("Matched", "False", lifecycle, "only what is Published applies to sites")
            }
            (0, _) => {
                condition("Matched", "False", "NothingMatched", "it applies to no site; why-not says why")
            }
            _ => condition("Matched", "True", "SitesMatched", &sites),
        }
    }

    fn is_applied(&self) -> Value {
        let sites = format!("{} of {} sites run what they should", self.applied, self.matched);
        match (self.matched, self.failed) {
            (0, _) => condition("Applied", "Unknown", "NothingMatched", ""),
            (matched, _) if matched == self.applied => condition("Applied", "True", "Applied", &sites),
            (_, 0) => condition("Applied", "False", "Pending", &sites),
            _ => condition("Applied", "False", "SitesFailed", &sites),
        }
    }
}

/// A condition that holds where there are such sites.
fn noted(kind: &str, sites: u64, notes: &BTreeSet<String>, reason: &str) -> Value {
    let listed: Vec<&str> = notes.iter().map(String::as_str).collect();
    match sites {
        0 => condition(kind, "False", "None", ""),
        1 => condition(kind, "True", reason, &format!("1 site: {}", listed.join("; "))),
        _ => condition(kind, "True", reason, &format!("{sites} sites: {}", listed.join("; "))),
    }
}
