//! What a site makes of a change that it holds: whether it runs it, and why not.

use driftless_core::event::SCHEMA_VERSION;
use driftless_core::name::Kind;
use driftless_core::resolve::path::Path;
use driftless_core::resolve::{Denied, ExplainError, Inputs, Layer, WhyNot, explain, resolve, why_not};
use serde_json::Value;

use super::subject::{Fate, Subject, is_configuration};
use super::verdict::{State, Verdict, Why};
use crate::api::site_status::Resolved;
use crate::api::time::parse_rfc3339;
use crate::inputs::NamespaceInputs;

const VALUES: &str = "/spec/values";
/// What a profile or an override says beside its values, with effects that paths do not show.
const BESIDE_VALUES: [&str; 3] = ["/spec/vars", "/spec/apps", "/spec/enforced"];

/// Judges a change that is durable at a site, from what the node that answers would resolve for it and from
/// what the site last said of itself.
pub(in crate::api) fn outcome(
    subject: &Subject,
    desired: &NamespaceInputs,
    site: &Resolved,
    now_ms: u64,
) -> Verdict {
    if let Some(why) = subject.void.as_ref().or(without_effect(subject).as_ref()) {
        return Verdict::of(State::Durable, why);
    }
    if !is_configuration(subject.document().kind()) {
        let message = format!("held; no configuration comes out of a {}", subject.document().kind());
        return Verdict::new(State::Durable, "Held", message);
    }
    let inputs = desired.inputs(&site.facts);
    let why = not_applying(subject, &inputs)
        .or_else(|| unresolved(site))
        .or_else(|| masked(subject, &inputs))
        .or_else(|| frozen(site, now_ms));
    match why {
        Some(why) => Verdict::of(State::Durable, &why),
        None => applied(site),
    }
}

/// Whether the site runs it, in short: for fleets that are too large to explain each site.
pub(in crate::api) fn applied(site: &Resolved) -> Verdict {
    let condition = site.applied();
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    let state = if condition["status"] == "True" { State::Applied } else { State::Durable };
    Verdict::new(state, &text("reason"), text("message"))
}

fn without_effect(subject: &Subject) -> Option<Why> {
    if let Some(version) = subject.needs_version {
        let message = format!(
            "held, and not executed: it needs schema version {version}, this software executes up to {SCHEMA_VERSION}"
        );
        return Some(Why::new("NeedsVersion", message));
    }
    match &subject.fate {
        Fate::Gone(why) => Some(why.clone()),
        Fate::Stands(_) => None,
    }
}

/// Why a profile or an override does not apply to the site at all.
fn not_applying(subject: &Subject, inputs: &Inputs<'_>) -> Option<Why> {
    let document = subject.document();
    match document.kind() {
        Kind::Profile => match why_not(inputs, document.name()) {
            WhyNot::Matches => None,
            WhyNot::Unknown => Some(Why::new("Deleted", "there is no such profile any more")),
            WhyNot::Lifecycle(lifecycle) => {
                Some(Why::new("NotPublished", format!("the profile is {lifecycle:?}, not Published")))
            }
            WhyNot::Selector(term) => {
                Some(Why::new("NotSelected", format!("the profile does not select the site: {term}")))
            }
            WhyNot::Invalid(message) => Some(Why::new("Invalid", message)),
        },
        Kind::Override => {
            let resolution = resolve(inputs);
            if let Some(why) = denied(subject, &resolution.denied) {
                return Some(why);
            }
            if resolution.failed.is_some() || resolution.overrides.iter().any(|name| name == document.name())
            {
                return None;
            }
            let spec = subject.resource.as_deref().map_or(&Value::Null, |resource| &resource["spec"]);
            let is_expired = spec["expired"].is_string() && spec["expired"] == spec["expiresAt"];
            Some(match (is_expired, document.is_local_override()) {
                (true, _) => Why::new("Expired", "the override has expired"),
                (false, true) => Why::new(
                    "Expired",
                    "the local override is older than the site allows, or the site allows none",
                ),
                (false, false) => Why::new("NotSelected", "the override does not select the site"),
            })
        }
        _ => None,
    }
}

/// Why nothing that an override sets stands, if all of it is denied.
fn denied(subject: &Subject, denied: &[Denied]) -> Option<Why> {
    let Fate::Stands(paths) = &subject.fate else { return None };
    let own = format!("override/{}", subject.document().name());
    let denied: Vec<&Denied> = denied.iter().filter(|denied| denied.object == own).collect();
    let mut values = paths.iter().filter_map(|(path, _)| path.strip_prefix(VALUES)).peekable();
    values.peek()?;
    let covers = |denied: &&&Denied, path: &str| {
        path.strip_prefix(denied.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let mut last = None;
    for pointer in values {
        let path = Path::from_pointer(pointer).ok()?.to_string();
        last = Some(denied.iter().find(|denied| covers(denied, &path))?);
    }
    last.map(|denied| match &denied.profile {
        Some(profile) => {
            Why::new("MaskedByEnforced", format!("{} is enforced by profile/{profile}", denied.path))
        }
        None => Why::new("Denied", format!("the site allows no local override of {}", denied.path)),
    })
}

fn unresolved(site: &Resolved) -> Option<Why> {
    if let Some((reason, message)) = &site.outcome.failed {
        return Some(Why::new("ResolutionFailed", format!("{reason}: {message}")));
    }
    let empty_is_allowed = site.facts.resource["spec"]["allowEmpty"] == true;
    let found = site.outcome.conditions.iter().find(|condition| condition["type"] == "NoProfile")?;
    let message = found["message"].as_str().unwrap_or_default();
    (!empty_is_allowed).then(|| Why::new("NoProfile", format!("{message}; the site keeps what it runs")))
}

/// Why nothing of what the change sets shows in the site's configuration.
fn masked(subject: &Subject, inputs: &Inputs<'_>) -> Option<Why> {
    let (document, Fate::Stands(paths)) = (subject.document(), &subject.fate) else { return None };
    if !matches!(document.kind(), Kind::Profile | Kind::Override)
        || paths.iter().any(|(path, _)| BESIDE_VALUES.iter().any(|beside| path.starts_with(beside)))
    {
        return None;
    }
    let mut first = None;
    let values = paths.iter().filter_map(|(path, is_set)| Some((path.strip_prefix(VALUES)?, *is_set)));
    for (pointer, is_set) in values {
        // What was removed shows by not being there.
        let mask = is_set.then(|| mask_of(document.kind(), document.name(), pointer, inputs)).flatten()?;
        first.get_or_insert(mask);
    }
    first
}

/// What beats an object at a path.
fn mask_of(kind: Kind, name: &str, pointer: &str, inputs: &Inputs<'_>) -> Option<Why> {
    let path = Path::from_pointer(pointer).ok()?.to_string();
    let source = match explain(inputs, &path) {
        Ok(explanation) => explanation.source,
        Err(ExplainError::Path(_) | ExplainError::Unset(_) | ExplainError::Failed(_)) => return None,
    };
    if source.kind == kind.name() && source.name == name {
        return None;
    }
    let by = format!("{}/{}", source.kind.to_lowercase(), source.name);
    let (reason, how) = match source.layer {
        Layer::Profile => ("MaskedByProfile", "which has a higher priority"),
        Layer::SelectorOverride => ("MaskedByOverride", "an override of a selector"),
        Layer::SiteOverride => ("MaskedByOverride", "an override of the site"),
        Layer::LocalOverride => ("MaskedByOverride", "the local override of the site"),
        Layer::Enforced => ("MaskedByEnforced", "which enforces it"),
    };
    Some(Why::new(reason, format!("at {path} the site has what {by} sets, {how}")))
}

/// A hold that keeps the site from taking up what is desired.
fn frozen(site: &Resolved, now_ms: u64) -> Option<Why> {
    let hold = site.facts.resource["spec"].get("hold").filter(|hold| hold.is_object())?;
    let until = hold["until"].as_str();
    let is_over = until.and_then(parse_rfc3339).is_some_and(|until_ms| until_ms <= now_ms);
    if is_over || site.is_applied() == Some(true) {
        return None;
    }
    let until = until.map_or_else(String::new, |until| format!(" until {until}"));
    let because = hold["reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
    Some(Why::new("Held", format!("the site is on hold{until} and keeps what it runs{because}")))
}
