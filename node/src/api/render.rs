//! `GET /v1/render`: what a site should run, or runs, as text for other programs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use driftless_core::resolve::{Resolution, resolve as resolution_of};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::request;
use super::resolve::{About, about, blocking};
use super::site_status::active_hash;
use super::status_error::StatusError;
use crate::formats::{Format, Shape, write};
use crate::inputs::SiteFacts;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    site: String,
    namespace: Option<String>,
    format: Format,
    /// `true`: what the site runs, not what it should.
    active: Option<String>,
    /// Only what is below a path.
    path: Option<String>,
    /// Name, namespace and key of a ConfigMap.
    name: Option<String>,
    map_namespace: Option<String>,
    key: Option<String>,
}

/// Answers with the text; its ETag is the `configHash` of the whole configuration.
pub(super) async fn render(State(api): State<Api>, uri: Uri) -> Result<Response, StatusError> {
    let question: Question = request::query(&uri)?;
    let About { desired, site, .. } =
        about(&api, &question.site, question.namespace.as_deref(), None).await?;
    let (resolution, site) = blocking(move || (resolution_of(&desired.inputs(&site)), site)).await?;
    let config = match request::is_true(question.active.as_deref()) {
        true => active(&api, &site, &resolution)?,
        false => wanted(&site, &resolution)?,
    };
    let shape = Shape {
        path: question.path,
        name: question.name,
        namespace: question.map_namespace,
        key: question.key,
    };
    let text = write(&config, question.format, &shape)
        .map_err(|error| StatusError::bad_request(error.to_string()))?;
    let hash = config["configHash"].as_str().unwrap_or_default();
    let etag = HeaderValue::from_str(&format!("\"{hash}\"")).map_err(StatusError::internal)?;
    let media_type = HeaderValue::from_static(media_type(question.format));
    Ok(([(header::CONTENT_TYPE, media_type), (header::ETAG, etag)], text).into_response())
}

/// What the site should run. One that does not resolve has nothing to write: half a configuration, or an
/// empty one, would be applied by whoever reads it.
fn wanted(site: &SiteFacts, resolution: &Resolution) -> Result<Value, StatusError> {
    if let Some(failure) = &resolution.failed {
        return Err(StatusError::unprocessable(format!("the site does not resolve: {failure}")));
    }
    let may_be_empty = site.resource.pointer("/spec/allowEmpty") == Some(&Value::Bool(true));
    if resolution.profiles.is_empty() && !may_be_empty {
        return Err(StatusError::unprocessable(
            "no published profile selects the site, which then keeps what it runs; allowEmpty in its spec makes that nothing",
        ));
    }
    Ok(json!({
        "site": site.document.name(),
        "namespace": site.document.namespace(),
        "configHash": resolution.config_hash,
        "values": resolution.values,
        "apps": resolution.apps,
    }))
}

/// What the site runs: an edge has it, for its own site; elsewhere only the hash is known, which is enough
/// if it is the desired one's.
fn active(api: &Api, site: &SiteFacts, resolution: &Resolution) -> Result<Value, StatusError> {
    let own = (site.document.namespace().to_owned(), site.document.name().to_owned());
    if api.local().site.as_ref() == Some(&own)
        && let Some(active) = api.backend().active()
    {
        let current: Option<Arc<Value>> = active.borrow().clone();
        return current.map(Arc::unwrap_or_clone).ok_or_else(|| {
            StatusError::unavailable("this edge runs no configuration yet; see its site's conditions")
        });
    }
    match active_hash(site) {
        None => Err(StatusError::absent("the site has not said what it runs")),
        Some(hash) if hash == resolution.config_hash && resolution.failed.is_none() => {
            wanted(site, resolution)
        }
        Some(hash) => Err(StatusError::absent(format!(
            "the site runs the configuration {hash}, which is not the desired one, and this node knows no more of it; ask an edge of the site"
        ))),
    }
}

fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Helm | Format::ConfigMap | Format::Yaml => "application/yaml",
        Format::Env => "text/plain; charset=utf-8",
    }
}
