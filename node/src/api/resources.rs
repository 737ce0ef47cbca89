//! Reading and writing resources the way kubectl does it.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, FromRequest, FromRequestParts as _, Path, Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::View;
use serde_json::{Value, json};

use super::limit::write_within;
use super::request::{self, ListQuery, ResourcePath, Target, WriteQuery, is_true};
use super::selector::{FieldSelector, LabelSelector};
use super::server::Stop;
use super::status_error::StatusError;
use super::table::table;
use super::write::{Wish, WriteRequest};
use super::{Api, Caller, GROUP_VERSION, past, site_status, watch};

type Answer = Result<Response, StatusError>;

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
/// Documents that one turn of the replica's owner reads.
pub(super) const DOCUMENTS_PER_READ: usize = 256;

/// Which resources of a kind a list or a watch is about.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) target: Target,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Filter {
    fn new(target: Target, query: &ListQuery) -> Result<Self, StatusError> {
        let refused = |error: super::selector::SelectorError| StatusError::bad_request(error.to_string());
        Ok(Self {
            target,
            labels: LabelSelector::parse(&query.label_selector).map_err(refused)?,
            fields: FieldSelector::parse(&query.field_selector).map_err(refused)?,
        })
    }

    pub(super) fn matches(&self, view: &View) -> bool {
        self.labels.matches(&view.resource) && self.fields.matches(&view.resource)
    }

    /// Whether a document could match, by its name alone.
    pub(super) fn is_about(&self, document: &Document) -> bool {
        document.kind() == self.target.served.kind
            && self.target.namespace.as_deref().is_none_or(|namespace| namespace == document.namespace())
            && self.fields.name().is_none_or(|name| name == document.name())
    }

    /// What matches, by namespace and name, and a position whose changes it shows.
    ///
    /// Documents are read a few hundred at a time, so that a list of a whole fleet does not keep others
    /// waiting. What changes meanwhile may be shown already, and follows in a watch from the position.
    pub(super) async fn select(&self, api: &Api) -> Result<(u64, Vec<View>), StatusError> {
        let (kind, namespace, labels) =
            (self.target.served.kind, self.target.namespace.clone(), self.labels.equalities());
        let (position, mut documents) =
            api.read(move |held| (held.position(), held.names(kind, namespace.as_deref(), &labels))).await?;
        documents.retain(|document| self.is_about(document));
        let mut views = views(api, documents).await?;
        views.retain(|view| self.matches(view));
        Ok((position, views))
    }
}

/// Reads documents, those that exist, a few hundred at a time.
pub(super) async fn views(api: &Api, documents: Vec<Document>) -> Result<Vec<View>, StatusError> {
    let mut views = Vec::with_capacity(documents.len());
    for documents in documents.chunks(DOCUMENTS_PER_READ) {
        let documents = documents.to_vec();
        let read = api.read(move |held| {
            documents.iter().map(|document| held.get(document)).collect::<Result<Vec<_>, _>>()
        });
        views.extend(read.await?.map_err(StatusError::internal)?.into_iter().flatten());
    }
    Ok(views)
}

/// `GET` on a collection: a list, or a watch.
///
/// `limit` is accepted and the whole list is answered, which the protocol allows; there is never a
/// `continue` token, so one that a client sends is of somebody else.
pub(super) async fn list(
    State(api): State<Api>,
    Path(path): Path<ResourcePath>,
    stop: Option<Extension<Stop>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let query: ListQuery = request::query(&uri)?;
    let filter = Filter::new(path.target()?, &query)?;
    let wants_table = request::wants_table(&headers);
    if let Some(at_ms) = past::moment_of(&api, query.at.as_deref()).await? {
        return list_past(&api, &filter, &query, at_ms, wants_table).await;
    }
    if is_true(query.watch.as_deref()) {
        return watch::watch(api, filter, &query, wants_table, stop.map(|Extension(stop)| stop)).await;
    }
    if !query.continued.is_empty() {
        return Err(StatusError::expired(
            "this node gives out no continue tokens; list again from the start",
        ));
    }
    // Any version that is ours is satisfied by the present state.
    api.versions().parse(&query.resource_version)?;
    let served = filter.target.served;
    let (position, views) = filter.select(&api).await?;
    let resources = rendered(&api, views).await?;
    let metadata = json!({"resourceVersion": api.versions().format(position)});
    let answer = match wants_table {
        true => table(served.kind, &resources, metadata, query.rows(), api.now_ms()),
        false => json!({
            "kind": format!("{}List", served.kind),
            "apiVersion": GROUP_VERSION,
            "metadata": metadata,
            "items": resources,
        }),
    };
    Ok(Json(answer).into_response())
}

/// `GET` on a resource.
pub(super) async fn read(
    State(api): State<Api>,
    Path(path): Path<ResourcePath>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let query: ListQuery = request::query(&uri)?;
    let (target, document) = path.document(&api)?;
    let name = document.name().to_owned();
    if let Some(at_ms) = past::moment_of(&api, query.at.as_deref()).await? {
        let past = past::documents(&api, [document.clone()].into(), at_ms).await?;
        let view = past.view(&document).map_err(|forgotten| past::gone(&forgotten))?;
        let view = view.ok_or_else(|| StatusError::not_found(target.named(&name)))?;
        return Ok(match request::wants_table(&headers) {
            true => {
                Json(table(target.served.kind, &[as_it_was(&api, &view)], json!({}), query.rows(), at_ms))
            }
            false => Json(as_it_was(&api, &view)),
        }
        .into_response());
    }
    let view = api.read(move |held| held.get(&document)).await?.map_err(StatusError::internal)?;
    let view = view.ok_or_else(|| StatusError::not_found(target.named(&name)))?;
    let resources = rendered(&api, vec![view]).await?;
    Ok(match request::wants_table(&headers) {
        true => {
            let metadata = json!({"resourceVersion": resources[0]["metadata"]["resourceVersion"]});
            let rendered = table(target.served.kind, &resources, metadata, query.rows(), api.now_ms());
            Json(rendered).into_response()
        }
        false => Json(resources.into_iter().next()).into_response(),
    })
}

/// A list as of a time.
async fn list_past(api: &Api, filter: &Filter, query: &ListQuery, at_ms: u64, wants_table: bool) -> Answer {
    if is_true(query.watch.as_deref()) {
        return Err(StatusError::bad_request("at: the past does not change; leave out the watch"));
    }
    let (served, namespace) = (filter.target.served, filter.target.namespace.clone());
    let names = api.read(move |held| held.names_ever(served.kind, namespace.as_deref())).await?;
    let wanted = names.into_iter().filter(|document| filter.is_about(document)).collect();
    let past = past::documents(api, wanted, at_ms).await?;
    let mut views = past.views(served.kind).map_err(|forgotten| past::gone(&forgotten))?;
    views.retain(|view| filter.matches(view));
    let resources: Vec<Value> = views.iter().map(|view| as_it_was(api, view)).collect();
    Ok(Json(match wants_table {
        true => table(served.kind, &resources, json!({}), query.rows(), at_ms),
        false => json!({
            "kind": format!("{}List", served.kind),
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": resources,
        }),
    })
    .into_response())
}

/// A resource of the past. What a node computes of the present, such as a site's status, is not joined.
fn as_it_was(api: &Api, view: &View) -> Value {
    let mut resource = (*view.resource).clone();
    resource["metadata"]["resourceVersion"] = json!(api.versions().format(view.version));
    resource
}

/// What every request that changes something consists of.
pub(super) struct Change {
    api: Api,
    path: ResourcePath,
    caller: Caller,
    query: WriteQuery,
    headers: HeaderMap,
    /// Not read yet: a handler says what it takes.
    body: Body,
}

impl FromRequest<Api> for Change {
    type Rejection = StatusError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, StatusError> {
        let (mut parts, body) = request.into_parts();
        let Path(path) = Path::from_request_parts(&mut parts, api)
            .await
            .map_err(|rejection| StatusError::bad_request(rejection.body_text()))?;
        let caller = parts.extensions.remove::<Caller>().ok_or_else(StatusError::unauthorized)?;
        let query = request::query(&parts.uri)?;
        Ok(Self { api: api.clone(), path, caller, query, headers: parts.headers, body })
    }
}

/// `POST` on a collection.
pub(super) async fn create(change: Change) -> Answer {
    let Change { api, path, caller, query, headers, body } = change;
    let mut target = path.target()?;
    let resource = request::json(&headers, body).await?;
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if target.served.namespaced() && target.namespace.is_none() {
        target.namespace = Some(text("/metadata/namespace").unwrap_or_else(|| api.local().namespace.clone()));
    }
    let name = text("/metadata/name").unwrap_or_default();
    let document = Document::new(target.served.kind, target.namespace.as_deref().unwrap_or_default(), &name)
        .map_err(|error| {
            let field =
                if name.is_empty() { "metadata.name is required".to_owned() } else { error.to_string() };
            let cause = super::Cause { field: "metadata.name".to_owned(), message: field };
            StatusError::invalid(target.named(&name), vec![cause])
        })?;
    let wish = WriteRequest {
        version: None,
        ..new_write(&api, document, Wish::Create(resource), caller, &query).await?
    };
    finish(&api, &target, wish, &query).await
}

/// `PUT` on a resource.
pub(super) async fn replace(change: Change) -> Answer {
    let Change { api, path, caller, query, headers, body } = change;
    let (target, document) = path.document(&api)?;
    let resource = request::json(&headers, body).await?;
    let wish = with_preconditions(&api, resource, document, caller, &query, Wish::Replace).await?;
    finish(&api, &target, wish, &query).await
}

/// `PATCH` on a resource.
pub(super) async fn patch(change: Change) -> Answer {
    let Change { api, path, caller, query, headers, body } = change;
    let (target, document) = path.document(&api)?;
    let media_type = request::media_type(&headers);
    let wish = match media_type {
        MERGE_PATCH => {
            let patch = request::parse(&request::body(body).await?)?;
            with_preconditions(&api, patch, document, caller, &query, Wish::Merge).await?
        }
        JSON_PATCH => {
            let patch = request::parse(&request::body(body).await?)?;
            new_write(&api, document, Wish::JsonPatch(patch), caller, &query).await?
        }
        other => {
            return Err(StatusError::unsupported_media_type(other, &format!("{MERGE_PATCH}, {JSON_PATCH}")));
        }
    };
    finish(&api, &target, wish, &query).await
}

/// `DELETE` on a resource. Answers with a `Status` that carries the uid, which kubectl waits on.
pub(super) async fn delete(change: Change) -> Answer {
    let Change { api, path, caller, query, headers, body } = change;
    let (target, document) = path.document(&api)?;
    let options = request::json(&headers, body).await?;
    let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str);
    let mut request = new_write(&api, document, Wish::Delete, caller, &query).await?;
    request.uid = text("/preconditions/uid").map(str::to_owned);
    request.version = api.versions().parse(text("/preconditions/resourceVersion").unwrap_or_default())?;
    request.dry_run |=
        options["dryRun"].as_array().is_some_and(|entries| entries.iter().any(|entry| entry == "All"));
    let name = request.document.name().to_owned();
    let outcome = write_within(&api, request, query.max_sites()?).await?;
    Ok(Json(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": name,
            "group": super::GROUP,
            "kind": target.served.plural,
            "uid": outcome.view.resource["metadata"]["uid"],
        },
    }))
    .into_response())
}

/// Renders views as the API serves them: versions that name this log, statuses joined.
pub(super) async fn rendered(api: &Api, views: Vec<View>) -> Result<Vec<Value>, StatusError> {
    let mut resources: Vec<Value> = views
        .iter()
        .map(|view| {
            let mut resource = (*view.resource).clone();
            resource["metadata"]["resourceVersion"] = json!(api.versions().format(view.version));
            resource
        })
        .collect();
    site_status::join(api, &views, &mut resources).await?;
    Ok(resources)
}

async fn finish(api: &Api, target: &Target, request: WriteRequest, query: &WriteQuery) -> Answer {
    let outcome = write_within(api, request, query.max_sites()?).await?;
    debug_assert_eq!(outcome.view.document.kind(), target.served.kind);
    let mut resources = rendered(api, vec![outcome.view]).await?;
    let resource = resources.pop().unwrap_or_default();
    Ok(match outcome.created {
        true => request::created(resource),
        false => Json(resource).into_response(),
    })
}

pub(super) async fn new_write(
    api: &Api,
    document: Document,
    wish: Wish,
    caller: Caller,
    query: &WriteQuery,
) -> Result<WriteRequest, StatusError> {
    let named = super::write::named(&document);
    super::Served::by_kind(document.kind())
        .may_be_written()
        .map_err(|why| StatusError::forbidden(named, &why))?;
    if let Err(mut why) = caller.may_write_document(api.local(), &document) {
        if api.local().site.is_some() && !document.is_site_written() {
            why = format!("{why}; {}", hub_hint(api).await?);
        }
        return Err(StatusError::forbidden(named, &why));
    }
    Ok(WriteRequest {
        document,
        wish,
        caller,
        reason: query.reason.clone(),
        time_ms: api.now_ms(),
        version: None,
        uid: None,
        dry_run: query.dry_run()?,
    })
}

/// Where to go instead: the contexts that hubs hand out for themselves.
async fn hub_hint(api: &Api) -> Result<String, StatusError> {
    let hubs = api.read(|held| held.names(Kind::Hub, None, &BTreeMap::new())).await?;
    let contexts: Vec<String> = hubs.iter().map(|hub| format!("driftless-{}", hub.name())).collect();
    Ok(match contexts.is_empty() {
        true => "use the context of a hub".to_owned(),
        false => format!("use the context {}", contexts.join(" or ")),
    })
}

/// A write whose body carries its preconditions in its metadata.
async fn with_preconditions(
    api: &Api,
    resource: Value,
    document: Document,
    caller: Caller,
    query: &WriteQuery,
    wish: impl FnOnce(Value) -> Wish,
) -> Result<WriteRequest, StatusError> {
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (version, uid) = (text("/metadata/resourceVersion"), text("/metadata/uid"));
    let named = super::write::named(&document);
    let version = match api.versions().parse(version.as_deref().unwrap_or_default()) {
        Ok(version) => version,
        // What was read elsewhere cannot be compared: to the client that is a conflict.
        Err(error) if error.reason() == "Expired" => return Err(StatusError::conflict(named)),
        Err(error) => return Err(error),
    };
    let request = new_write(api, document, wish(resource), caller, query).await?;
    Ok(WriteRequest { version, uid, ..request })
}
