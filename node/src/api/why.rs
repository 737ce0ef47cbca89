//! `GET /v1/why` and `/v1/why-not`: why a site's value is what it is, down to who wrote it.
//!
//! Resolution says which object decided and where in it; the replica says who wrote that place of that
//! object, when and why, and which concurrent values nobody has looked at yet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use driftless_core::document::{DocumentState, Stamped};
use driftless_core::name::{Document, Kind};
use driftless_core::resolve::{
    Contribution, ExplainError, Explanation, Layer, WhyNot, explain, resolve, short, why_not as term,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::conflicts::{conflict_json, value_json};
use super::resolve::{About, about, blocking};
use super::status_error::StatusError;
use super::time::rfc3339;
use super::{Api, past, request};
use crate::inputs::PastDocuments;

#[derive(Deserialize)]
struct Question {
    site: String,
    namespace: Option<String>,
    path: String,
    /// A moment; now unless given.
    at: Option<String>,
}

/// Explains one value.
pub(super) async fn why(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let question: Question = request::query(&uri)?;
    let at_ms = past::moment_of(&api, question.at.as_deref()).await?;
    let About { desired, site, past } =
        about(&api, &question.site, question.namespace.as_deref(), at_ms).await?;
    let namespace = site.document.namespace().to_owned();
    let path = question.path.clone();
    let (explanation, config_hash) = blocking(move || {
        let inputs = desired.inputs(&site);
        (explain(&inputs, &path), resolve(&inputs).config_hash)
    })
    .await?;
    let explanation = explanation.map_err(|error| match error {
        ExplainError::Path(error) => StatusError::bad_request(format!("path: {error}")),
        ExplainError::Unset(_) => StatusError::absent(error.to_string()),
        ExplainError::Failed(_) => StatusError::unprocessable(error.to_string()),
    })?;
    let documents = documents(&namespace, &question.site, &explanation);
    let states = match past {
        Some(past) => past_states(&past, documents)?,
        None => states(&api, documents).await?,
    };
    let mut answer = explanation_json(&explanation, &question.site, &states);
    answer["site"] = json!(question.site);
    answer["namespace"] = json!(namespace);
    answer["configHash"] = json!(config_hash);
    answer["asOf"] = json!(at_ms.or(api.backend().freshness().as_of_ms).map(rfc3339));
    answer["node"] = json!(api.local().node);
    Ok(Json(answer))
}

#[derive(Deserialize)]
struct NotQuestion {
    site: String,
    namespace: Option<String>,
    profile: String,
    /// A moment; now unless given.
    at: Option<String>,
}

/// Says whether a profile applies to a site, and which term failed.
pub(super) async fn why_not(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let question: NotQuestion = request::query(&uri)?;
    let at_ms = past::moment_of(&api, question.at.as_deref()).await?;
    let About { desired, site, .. } =
        about(&api, &question.site, question.namespace.as_deref(), at_ms).await?;
    let profile = question.profile.clone();
    let found = blocking(move || term(&desired.inputs(&site), &profile)).await?;
    let (reason, message) = match found {
        WhyNot::Matches => ("Matches", "the profile applies to the site".to_owned()),
        WhyNot::Unknown => ("Unknown", "there is no such profile in the site's namespace".to_owned()),
        WhyNot::Lifecycle(lifecycle) => ("Lifecycle", format!("the profile is {lifecycle:?}, not Published")),
        WhyNot::Selector(term) => ("Selector", term),
        WhyNot::Invalid(message) => ("Invalid", message),
    };
    Ok(Json(json!({
        "site": question.site,
        "profile": question.profile,
        "matches": reason == "Matches",
        "reason": reason,
        "message": message,
    })))
}

/// The states of the documents that contributed.
type States = Vec<(Document, Arc<DocumentState>)>;

/// The documents that contributed, those that gave variables their values included.
fn documents(namespace: &str, site: &str, explanation: &Explanation) -> Vec<Document> {
    let contributed = contributions(explanation).filter_map(|found| document(namespace, found));
    let variables = explanation.variables.iter().filter_map(|(_, variable)| variable.as_ref());
    let given = variables.filter_map(|variable| {
        let place = place_of(&variable.source, site, "")?;
        Document::new(place.kind, namespace, &place.name).ok()
    });
    let mut documents: Vec<Document> = contributed.chain(given).collect();
    documents.sort();
    documents.dedup();
    documents
}

async fn states(api: &Api, documents: Vec<Document>) -> Result<States, StatusError> {
    api.read(move |held| {
        let state = |document: Document| Ok(held.state(&document)?.map(|state| (document, state)));
        let states = documents.into_iter().map(state);
        states.collect::<Result<Vec<_>, driftless_core::store::StoreError>>()
    })
    .await?
    .map(|states| states.into_iter().flatten().collect())
    .map_err(StatusError::internal)
}

fn past_states(past: &PastDocuments, documents: Vec<Document>) -> Result<States, StatusError> {
    let state = |document: Document| Ok(past.state(&document)?.map(|state| (document, state)));
    let states = documents.into_iter().map(state).collect::<Result<Vec<_>, crate::inputs::Forgotten>>();
    states.map(|states| states.into_iter().flatten().collect()).map_err(|forgotten| past::gone(&forgotten))
}

/// Where a variable got its value.
struct GivenAt {
    kind: Kind,
    name: String,
    pointer: String,
}

/// Finds the place that a variable's source names; see [`driftless_core::resolve::Variable`].
fn place_of(source: &str, site: &str, variable: &str) -> Option<GivenAt> {
    let key = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let of_site = |pointer: String| Some(GivenAt { kind: Kind::Site, name: site.to_owned(), pointer });
    if let Some(name) = source.strip_prefix("override/") {
        let pointer = format!("/spec/vars/{}", key(variable));
        return Some(GivenAt { kind: Kind::Override, name: name.to_owned(), pointer });
    }
    if let Some(name) = source.strip_prefix("default of profile/") {
        let pointer = "/spec/variables".to_owned();
        return Some(GivenAt { kind: Kind::Profile, name: name.to_owned(), pointer });
    }
    if source == "site" {
        return of_site(format!("/spec/vars/{}", key(variable)));
    }
    match source.strip_prefix("from ")? {
        "site.region" => of_site("/spec/region".to_owned()),
        fact => match (fact.strip_prefix("site.labels."), fact.strip_prefix("claims.")) {
            (Some(label), _) => of_site(format!("/metadata/labels/{}", key(label))),
            (_, Some(claim)) => {
                let pointer = format!("/status/claims/{}", key(claim));
                Some(GivenAt { kind: Kind::SiteStatus, name: site.to_owned(), pointer })
            }
            // A site's own name was never written.
            _ => None,
        },
    }
}

fn contributions(explanation: &Explanation) -> impl Iterator<Item = &Contribution> {
    std::iter::once(&explanation.source).chain(&explanation.shadowed).chain(&explanation.denied)
}

fn document(namespace: &str, contribution: &Contribution) -> Option<Document> {
    let kind: Kind = contribution.kind.parse().ok()?;
    Document::new(kind, namespace, &contribution.name).ok()
}

fn explanation_json(explanation: &Explanation, site: &str, states: &States) -> Value {
    let all = |contributions: &[Contribution]| {
        contributions.iter().map(|found| contribution_json(found, states)).collect::<Vec<Value>>()
    };
    let variables: Map<String, Value> = explanation
        .variables
        .iter()
        .map(|(name, variable)| {
            let shown = variable.as_ref().map(|found| {
                let mut shown = json!({"value": found.value, "source": found.source});
                let place = place_of(&found.source, site, name);
                if let Some(writer) = place.and_then(|place| writer_at(states, &place)) {
                    shown["writer"] = writer;
                }
                shown
            });
            (name.clone(), shown.unwrap_or(Value::Null))
        })
        .collect();
    json!({
        "path": explanation.path,
        "value": explanation.value,
        "isSet": explanation.value.is_some(),
        "source": contribution_json(&explanation.source, states),
        "shadowed": all(&explanation.shadowed),
        "denied": all(&explanation.denied),
        "ambiguous": explanation.ambiguous,
        "leaves": explanation.leaves,
        "variables": variables,
    })
}

/// Who gave a variable its value.
fn writer_at(states: &States, place: &GivenAt) -> Option<Value> {
    let is_it = |(document, _): &&(Document, Arc<DocumentState>)| {
        document.kind() == place.kind && document.name() == place.name
    };
    let (_, state) = states.iter().find(is_it)?;
    register(state, &place.pointer).map(|register| value_json(state, register))
}

fn contribution_json(contribution: &Contribution, states: &States) -> Value {
    let mut shown = json!({
        "layer": match contribution.layer {
            Layer::Profile => "Profile",
            Layer::SelectorOverride => "SelectorOverride",
            Layer::SiteOverride => "SiteOverride",
            Layer::LocalOverride => "LocalOverride",
            Layer::Enforced => "Enforced",
        },
        "kind": contribution.kind,
        "name": contribution.name,
        "priority": contribution.priority,
        "revision": short(&contribution.revision),
        "pointer": contribution.pointer,
        "value": contribution.value,
    });
    let is_of = |(document, _): &&(Document, Arc<DocumentState>)| {
        document.kind().name() == contribution.kind && document.name() == contribution.name
    };
    if let Some((_, state)) = states.iter().find(is_of) {
        if let Some(register) = register(state, &contribution.pointer) {
            shown["writer"] = value_json(state, register);
        }
        let concerned = state
            .conflicts()
            .into_iter()
            .filter(|conflict| is_related(&conflict.path, &contribution.pointer));
        let conflicts: Vec<Value> = concerned.map(|conflict| conflict_json(state, &conflict)).collect();
        shown["conflicts"] = Value::Array(conflicts);
    }
    shown
}

/// The register that holds what is at a pointer: at it, above it (a list is one register), or, for a map,
/// the one below it that was written last.
pub(super) fn register<'a>(state: &'a DocumentState, pointer: &str) -> Option<&'a Stamped> {
    let mut at = pointer;
    while !at.is_empty() {
        if let Some(winner) = state.values(at).first() {
            return Some(winner);
        }
        if at == pointer {
            let below = state.registers().filter(|(path, _)| is_below(path, pointer));
            if let Some(last) =
                below.filter_map(|(_, values)| values.first()).max_by_key(|winner| winner.stamp)
            {
                return Some(last);
            }
        }
        at = at.rsplit_once('/').map_or("", |(above, _)| above);
    }
    None
}

fn is_below(path: &str, pointer: &str) -> bool {
    path.strip_prefix(pointer).is_some_and(|rest| rest.starts_with('/'))
}

fn is_related(path: &str, pointer: &str) -> bool {
    path == pointer || is_below(path, pointer) || is_below(pointer, path)
}
