//! What the site should run, as last resolved, and whether it may be applied now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use driftless_core::name::Scope;
use driftless_core::resolve::Resolution;
use serde_json::Value;

use super::Place;
use super::active::Config;
use super::status::Condition;
use crate::api::Held;
use crate::api::time::parse_rfc3339;
use crate::desired::{Survey, survey};
use crate::expiry::Expiries;
use crate::inputs::Pins;

/// What the clock may end is looked at this often, because clocks are set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The outcome of one look at the replica.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    outcome: Outcome,
    hold: Option<Hold>,
    /// A local override applies, which may be over without any event.
    is_local: bool,
    /// When the site's own overrides end.
    expiries: Expiries,
}

#[derive(Debug, Default)]
enum Outcome {
    /// Not looked yet, or the site is not here.
    #[default]
    NoSite,
    /// The site matches no profile; in one sentence.
    NoProfile(String),
    /// There is no configuration: a word and a sentence.
    Failed(&'static str, String),
    /// There is one.
    Desired(Config),
}

/// `spec.hold` of the site.
#[derive(Debug, Clone, PartialEq)]
struct Hold {
    /// When it ends; never, unless given in a form that can be read.
    until_ms: Option<u64>,
    reason: String,
}

/// Resolves the site's desired configuration; with it, the scopes that the node wants to hold, unless the
/// store failed.
pub(super) fn look(
    held: &Held,
    place: &Place,
    now_ms: u64,
    pins: &mut Pins,
) -> (Wanted, Option<BTreeSet<Scope>>) {
    let Survey { site, interest } = match survey(held, &place.namespace, &place.site, now_ms, pins) {
        Ok(survey) => survey,
        Err(error) => {
            let outcome = Outcome::Failed("StoreFailed", error.to_string());
            return (Wanted { outcome, ..Wanted::default() }, None);
        }
    };
    let expiries = match Expiries::collect(held, Some(&place.namespace), Some(&place.site)) {
        Ok(expiries) => expiries,
        Err(error) => {
            let outcome = Outcome::Failed("StoreFailed", error.to_string());
            return (Wanted { outcome, ..Wanted::default() }, None);
        }
    };
    let Some((facts, resolution)) = site else { return (Wanted::default(), Some(interest)) };
    let spec = &facts.resource["spec"];
    let local = format!("{}.local", place.site);
    let wanted = Wanted {
        outcome: judge(place, &resolution, spec["allowEmpty"] == true),
        hold: read_hold(&spec["hold"]),
        is_local: resolution.overrides.contains(&local),
        expiries,
    };
    (wanted, Some(interest))
}

fn judge(place: &Place, resolution: &Resolution, allow_empty: bool) -> Outcome {
    if let Some(failure) = &resolution.failed {
        return Outcome::Failed("ResolutionFailed", failure.to_string());
    }
    match resolution.conditions.iter().find(|condition| condition.type_ == "NoProfile") {
        Some(condition) if !allow_empty => Outcome::NoProfile(condition.message.clone()),
        _ => Outcome::Desired(Config::new(place, resolution)),
    }
}

fn read_hold(hold: &Value) -> Option<Hold> {
    let hold = hold.as_object()?;
    let text = |key: &str| hold.get(key).and_then(Value::as_str);
    Some(Hold {
        until_ms: text("until").and_then(parse_rfc3339),
        reason: text("reason").unwrap_or_default().to_owned(),
    })
}

impl Wanted {
    /// What the site should run, held or not.
    pub(super) fn desired(&self) -> Option<&Config> {
        match &self.outcome {
            Outcome::Desired(config) => Some(config),
            Outcome::NoSite | Outcome::NoProfile(_) | Outcome::Failed(..) => None,
        }
    }

    /// What the site should run, unless a hold freezes what it runs.
    pub(super) fn to_apply(&self, now_ms: u64) -> Option<&Config> {
        self.desired().filter(|_| self.held(now_ms).is_none())
    }

    /// When to look again though nothing changed in the replica: the clock ends holds and local overrides.
    pub(super) fn look_again(&self, now_ms: u64) -> Option<Duration> {
        let hold = self.held(now_ms).and_then(|hold| hold.until_ms);
        let hold =
            hold.map(|until_ms| Duration::from_millis(until_ms.saturating_sub(now_ms)).min(LOOK_AGAIN));
        let expiry = self.expiries.next_ms(now_ms);
        let expiry = expiry.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)).min(LOOK_AGAIN));
        let local = self.is_local.then_some(LOOK_AGAIN);
        hold.into_iter().chain(expiry).chain(local).min()
    }

    /// The site's own overrides that are over: by name, the `expiresAt` that has passed.
    pub(super) fn expired(&self, now_ms: u64) -> BTreeMap<String, String> {
        let passed = self.expiries.passed(now_ms);
        passed.map(|(document, at)| (document.name().to_owned(), at.to_owned())).collect()
    }

    fn held(&self, now_ms: u64) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.until_ms.is_none_or(|until_ms| now_ms < until_ms))
    }

    /// What people should know, with `failure` of the last attempt (a word and a sentence).
    pub(super) fn conditions(
        &self,
        active: Option<&Config>,
        failure: Option<(&'static str, &str)>,
        now_ms: u64,
    ) -> Vec<Condition> {
        let hold = self.held(now_ms);
        let mut conditions = vec![self.applied(active, failure, hold)];
        match &self.outcome {
            Outcome::NoProfile(message) => {
                conditions.push(Condition::new("NoProfile", "True", "NothingMatched", message.as_str()));
            }
            Outcome::Failed(reason, message) => {
                conditions.push(Condition::new("ResolutionFailed", "True", *reason, message.as_str()));
            }
            Outcome::NoSite | Outcome::Desired(_) => {}
        }
        conditions.extend(hold.map(|hold| Condition::new("Held", "True", "OnHold", hold.reason.as_str())));
        conditions
    }

    fn applied(
        &self,
        active: Option<&Config>,
        failure: Option<(&'static str, &str)>,
        hold: Option<&Hold>,
    ) -> Condition {
        let applied = |status, reason, message: &str| Condition::new("Applied", status, reason, message);
        let keeps =
            if active.is_some() { "the site keeps what it runs" } else { "the site runs nothing yet" };
        if let Some((reason, message)) = failure {
            return applied("False", reason, message);
        }
        match (&self.outcome, active) {
            (Outcome::Desired(desired), Some(active)) if desired.hash() == active.hash() => {
                applied("True", "Applied", "the site runs what it should")
            }
            (Outcome::Desired(_), _) if hold.is_some() => {
                applied("False", "Held", &format!("a hold freezes the configuration; {keeps}"))
            }
            (Outcome::Desired(_), _) => applied("False", "Pending", keeps),
            (Outcome::NoSite, _) => {
                applied("Unknown", "NoSite", &format!("the node does not hold its site yet; {keeps}"))
            }
            (Outcome::NoProfile(_), _) => {
                applied("False", "NoProfile", &format!("no profile selects the site; {keeps}"))
            }
            (Outcome::Failed(reason, message), _) => applied("False", reason, &format!("{message}; {keeps}")),
        }
    }
}
