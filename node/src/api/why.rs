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
use super::resolve::{about, blocking};
use super::status_error::StatusError;
use super::time::rfc3339;
use super::{Api, request};

#[derive(Deserialize)]
struct Question {
    site: String,
    namespace: Option<String>,
    path: String,
}

/// Explains one value.
pub(super) async fn why(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let question: Question = request::query(&uri)?;
    let (desired, site) = about(&api, &question.site, question.namespace.as_deref()).await?;
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
    let states = states(&api, &namespace, &explanation).await?;
    let mut answer = explanation_json(&explanation, &states);
    answer["site"] = json!(question.site);
    answer["namespace"] = json!(namespace);
    answer["configHash"] = json!(config_hash);
    answer["asOf"] = json!(api.backend().freshness().as_of_ms.map(rfc3339));
    answer["node"] = json!(api.local().node);
    Ok(Json(answer))
}

#[derive(Deserialize)]
struct NotQuestion {
    site: String,
    namespace: Option<String>,
    profile: String,
}

/// Says whether a profile applies to a site, and which term failed.
pub(super) async fn why_not(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let question: NotQuestion = request::query(&uri)?;
    let (desired, site) = about(&api, &question.site, question.namespace.as_deref()).await?;
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

async fn states(api: &Api, namespace: &str, explanation: &Explanation) -> Result<States, StatusError> {
    let mut documents: Vec<Document> =
        contributions(explanation).filter_map(|contribution| document(namespace, contribution)).collect();
    documents.sort();
    documents.dedup();
    api.read(move |held| {
        let state = |document: Document| Ok(held.state(&document)?.map(|state| (document, state)));
        let states = documents.into_iter().map(state);
        states.collect::<Result<Vec<_>, driftless_core::store::StoreError>>()
    })
    .await?
    .map(|states| states.into_iter().flatten().collect())
    .map_err(StatusError::internal)
}

fn contributions(explanation: &Explanation) -> impl Iterator<Item = &Contribution> {
    std::iter::once(&explanation.source).chain(&explanation.shadowed).chain(&explanation.denied)
}

fn document(namespace: &str, contribution: &Contribution) -> Option<Document> {
    let kind: Kind = contribution.kind.parse().ok()?;
    Document::new(kind, namespace, &contribution.name).ok()
}

fn explanation_json(explanation: &Explanation, states: &States) -> Value {
    let all = |contributions: &[Contribution]| {
        contributions.iter().map(|found| contribution_json(found, states)).collect::<Vec<Value>>()
    };
    let variables: Map<String, Value> = explanation
        .variables
        .iter()
        .map(|(name, variable)| {
            let shown = variable.as_ref().map(|found| json!({"value": found.value, "source": found.source}));
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
fn register<'a>(state: &'a DocumentState, pointer: &str) -> Option<&'a Stamped> {
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
