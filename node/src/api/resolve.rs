//! `POST /v1/resolve`: what a site should run, now, if something were different, or at a past time.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::resolve::resolve as resolution_of;
use driftless_core::schema;
use serde::Deserialize;
use serde_json::Value;

use super::status_error::StatusError;
use super::write::{causes, named, with_identity};
use super::{Api, past, request};
use crate::inputs::{NamespaceInputs, PastDocuments, SiteFacts};

/// Most resources of one what-if.
const WITH_MAX: usize = 256;

#[derive(Deserialize)]
struct Question {
    site: String,
    namespace: Option<String>,
    /// Resources as if they were so.
    #[serde(default)]
    with: Vec<Value>,
    /// A moment; now unless given.
    at: Option<String>,
}

/// What a question about one site needs.
pub(super) struct About {
    pub(super) desired: NamespaceInputs,
    pub(super) site: SiteFacts,
    /// The documents of which that was taken, if it is about a past time.
    pub(super) past: Option<PastDocuments>,
}

/// Answers with the resolution. A site that does not resolve is an answer, not an error.
pub(super) async fn resolve(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, StatusError> {
    let body = request::json(&headers, body).await?;
    let question: Question = serde_json::from_value(body)
        .map_err(|error| StatusError::bad_request(format!("expected {{site, namespace, with}}: {error}")))?;
    let at_ms = past::moment_of(&api, question.at.as_deref()).await?;
    let About { desired, mut site, .. } =
        about(&api, &question.site, question.namespace.as_deref(), at_ms).await?;
    if question.with.len() > WITH_MAX {
        return Err(StatusError::bad_request("with: a what-if takes at most 256 resources"));
    }
    let mut others = Vec::new();
    for resource in question.with {
        let document = document_of(&site, &resource)?;
        let resource = with_identity(&document, resource);
        schema::validate(document.kind().name(), &resource)
            .map_err(|errors| StatusError::invalid(named(&document), causes(errors)))?;
        match document == site.document {
            true => site = site.with(resource),
            false => others.push((document, Some(resource))),
        }
    }
    let desired = api.desired_with(desired, others).await?;
    blocking(move || resolution_of(&desired.inputs(&site)).to_json()).await.map(Json)
}

/// Collects what a question about one site needs, now or as of a time.
pub(super) async fn about(
    api: &Api,
    site: &str,
    namespace: Option<&str>,
    at_ms: Option<u64>,
) -> Result<About, StatusError> {
    let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(&api.local().namespace);
    let document = Document::new(Kind::Site, namespace, site)
        .map_err(|error| StatusError::bad_request(format!("site: {error}")))?;
    if let Some(at_ms) = at_ms {
        return about_past(api, document, at_ms).await;
    }
    let asked = document.clone();
    let facts = api.read(move |held| SiteFacts::collect(held, &asked)).await?;
    let facts = facts.map_err(StatusError::internal)?;
    let site_facts = facts.ok_or_else(|| StatusError::not_found(named(&document)))?;
    let desired = api.desired(namespace.to_owned(), Some(site.to_owned())).await?;
    Ok(About { desired, site: site_facts, past: None })
}

/// Reads the histories of everything that can decide what a site should run.
async fn about_past(api: &Api, site: Document, at_ms: u64) -> Result<About, StatusError> {
    let namespace = site.namespace().to_owned();
    let profiles = Scope::Profiles { namespace: namespace.clone() };
    let catalog = api
        .read(move |held| {
            let is_catalog =
                |scope: &&Scope| matches!(scope, Scope::Catalog { namespace: of, .. } if *of == namespace);
            held.scopes().filter(is_catalog).cloned().collect::<Vec<Scope>>()
        })
        .await?;
    let scopes: BTreeSet<Scope> = catalog.into_iter().chain([profiles, site.scope()]).collect();
    let wanted = |document: &Document| match document.kind() {
        Kind::Site | Kind::SiteStatus => document.name() == site.name(),
        kind => matches!(kind, Kind::Profile | Kind::Override | Kind::App | Kind::Release),
    };
    let past = past::collect(api, scopes, wanted, at_ms).await?;
    let (desired, facts) = past
        .inputs(&site)
        .map_err(|forgotten| past::gone(&forgotten))?
        .ok_or_else(|| StatusError::absent(format!("there was no site {:?} then", site.name())))?;
    Ok(About { desired, site: facts, past: Some(past) })
}

/// Resolving may take a while: it is done where nobody waits.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StatusError> {
    tokio::task::spawn_blocking(work).await.map_err(StatusError::internal)
}

/// Which document a resource of a what-if stands for.
fn document_of(site: &SiteFacts, resource: &Value) -> Result<Document, StatusError> {
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = match text("/metadata/namespace") {
        "" => site.document.namespace(),
        namespace => namespace,
    };
    if namespace != site.document.namespace() {
        return Err(StatusError::bad_request(format!(
            "with: a resource of namespace {namespace:?} does not concern a site of {:?}",
            site.document.namespace()
        )));
    }
    let kind: Kind =
        text("/kind").parse().map_err(|error| StatusError::bad_request(format!("with: {error}")))?;
    Document::new(kind, namespace, text("/metadata/name"))
        .map_err(|error| StatusError::bad_request(format!("with: {error}")))
}
