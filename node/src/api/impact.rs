//! `POST /v1/impact`: which sites would run something else, and what, if resources changed or were gone.
//!
//! Nothing is stored. Sites that a change cannot matter to are passed over by their labels, the others are
//! resolved before and after it; how, is [`driftless_core::resolve::impact`]'s.

mod tally;

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use driftless_core::name::{Document, Kind};
use driftless_core::resolve::{Impact, Inputs, Standing, impact, resolve};
use driftless_core::schema;
use driftless_core::store::StoreError;
use serde::Deserialize;
use serde_json::Value;

use super::caller::Right;
use super::facts::{SitesFacts, every_fact};
use super::limit::MaxSites;
use super::resolve::blocking;
use super::site_status::phase;
use super::status_error::{Named, StatusError};
use super::write::{causes, named, with_identity};
use super::{Api, Caller, Held, request};
use crate::inputs::{NamespaceInputs, Pins, Reaches, SiteFacts};
use tally::{Effect, Tally};

/// Most resources of one question.
const RESOURCES_MAX: usize = 4_096;

/// A document, and the resource that it would be; `None` if it would be gone.
pub(super) type Planned = (Document, Option<Value>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    /// The namespace of what names none.
    namespace: Option<String>,
    /// Resources as they would be, whole.
    #[serde(default)]
    apply: Vec<Value>,
    /// Resources that would be gone: kind, namespace and name.
    #[serde(default)]
    delete: Vec<Value>,
    /// Refuse if more sites than this would change.
    max_sites: Option<String>,
}

/// Answers with the blast radius.
pub(super) async fn of_question(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, StatusError> {
    let body = request::json(&headers, body).await?;
    let question: Question = serde_json::from_value(body).map_err(|error| {
        StatusError::bad_request(format!("expected {{apply, delete, namespace}}: {error}"))
    })?;
    if question.apply.len() + question.delete.len() > RESOURCES_MAX {
        return Err(StatusError::bad_request("at most 4096 resources are looked at together"));
    }
    let max_sites = MaxSites::parse(question.max_sites.as_deref())?;
    let namespace = question.namespace.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| api.local().namespace.clone());
    let mut planned: BTreeMap<String, Vec<Planned>> = BTreeMap::new();
    for resource in question.apply {
        let document = document_of(&namespace, &resource)?;
        let resource = with_identity(&document, resource);
        schema::validate(document.kind().name(), &resource)
            .map_err(|errors| StatusError::invalid(named(&document), causes(errors)))?;
        planned.entry(document.namespace().to_owned()).or_default().push((document, Some(resource)));
    }
    for name in question.delete {
        let document = document_of(&namespace, &name)?;
        planned.entry(document.namespace().to_owned()).or_default().push((document, None));
    }
    for namespace in planned.keys() {
        let named = Named { plural: "namespaces", kind: "Namespace", name: namespace };
        caller.may(Right::Read, Some(namespace)).map_err(|why| StatusError::forbidden(named, &why))?;
    }
    let (mut tally, mut sites) = (Tally::default(), 0);
    for (namespace, planned) in planned {
        let change = Comparison::collect(&api, &namespace, planned).await?;
        sites += change.sites_total();
        let api = api.clone();
        tally = blocking(move || change.tally(&api, tally)).await?;
    }
    if let Some(refusal) = max_sites.and_then(|max| max.refusal(tally.changed(), sites, &tally.first())) {
        return Err(refusal);
    }
    Ok(Json(tally.to_json(sites)))
}

/// Which document a resource, or what names one, stands for.
fn document_of(namespace: &str, resource: &Value) -> Result<Document, StatusError> {
    let text = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| resource.pointer(pointer)?.as_str());
        found.filter(|text| !text.is_empty())
    };
    let refused =
        |error: &dyn std::fmt::Display| StatusError::bad_request(format!("what would change: {error}"));
    let kind: Kind = text(&["/kind"]).unwrap_or_default().parse().map_err(|error| refused(&error))?;
    let namespace = match kind.is_fleet_wide() {
        true => "",
        false => text(&["/metadata/namespace", "/namespace"]).unwrap_or(namespace),
    };
    let name = text(&["/metadata/name", "/name"]).unwrap_or_default();
    Document::new(kind, namespace, name).map_err(|error| refused(&error))
}

/// A namespace as it is, and as it would be.
pub(super) struct Comparison {
    before: NamespaceInputs,
    after: NamespaceInputs,
    /// What of the namespace's objects would change.
    objects: Vec<Document>,
    /// The sites that would change themselves.
    sites: BTreeMap<Document, Option<Value>>,
    facts: SitesFacts,
}

impl Comparison {
    /// Whether a change of this document can make a difference to what more than one site should run.
    pub(super) fn concerns_many(document: &Document) -> bool {
        match document.kind() {
            Kind::Profile | Kind::App | Kind::Release => true,
            Kind::Override => document.owner().is_none(),
            _ => false,
        }
    }

    /// Collects what a comparison reads, on the replica's owner's thread.
    pub(super) async fn collect(
        api: &Api,
        namespace: &str,
        planned: Vec<Planned>,
    ) -> Result<Self, StatusError> {
        let (of, now_ms, own) = (namespace.to_owned(), api.now_ms(), api.clone());
        let read = api.read(move |held| Self::of(held, &of, planned, now_ms, &mut own.pins()));
        let mut change = read.await?.map_err(StatusError::internal)?;
        change.facts = every_fact(api, namespace).await?;
        Ok(change)
    }

    /// The same without the sites, which are read elsewhere.
    pub(super) fn of(
        held: &Held,
        namespace: &str,
        planned: Vec<Planned>,
        now_ms: u64,
        pins: &mut Pins,
    ) -> Result<Self, StoreError> {
        let before = NamespaceInputs::collect(held, namespace, None, now_ms, pins)?;
        let (mut after, mut objects, mut sites) = (before.clone(), Vec::new(), BTreeMap::new());
        for (document, resource) in planned {
            if document.kind() == Kind::Site {
                sites.insert(document, resource);
                continue;
            }
            after.with(held, &document, resource, pins)?;
            objects.push(document);
        }
        Ok(Self { before, after, objects, sites, facts: SitesFacts::default() })
    }

    /// Gives it the sites.
    pub(super) fn with_sites(self, facts: SitesFacts) -> Self {
        Self { facts, ..self }
    }

    /// What it was collected from.
    pub(super) fn before(&self) -> &NamespaceInputs {
        &self.before
    }

    /// How many sites the namespace has.
    pub(super) fn sites_total(&self) -> usize {
        self.facts.len()
    }

    /// The sites that would run something else, without looking at what.
    pub(super) fn changed(&self) -> Vec<&Document> {
        let mut changed = Vec::new();
        self.each(|site, pair| {
            let is_changed = match pair {
                Pair::Both(before, after) => Effect::of(&standing(before), &standing(after)).is_some(),
                Pair::Created => false,
                Pair::Deleted => true,
            };
            if is_changed {
                changed.push(site);
            }
        });
        changed
    }

    /// Everything that would change, added to what other namespaces came to.
    fn tally(&self, api: &Api, mut tally: Tally) -> Tally {
        let now_ms = api.now_ms();
        let is_offline = |site: &Document| {
            let presence = api.backend().presence(site.namespace(), site.name());
            presence.cut_by_operator || !matches!(phase(presence.last_seen_ms, now_ms), "Fresh" | "Stale")
        };
        self.each(|site, pair| match pair {
            Pair::Both(before, after) => {
                let impact: Impact = impact(before, after);
                // Most sites that a selector reaches stay as they are.
                let is_offline = !impact.is_none() && is_offline(site);
                tally.add(site, is_offline, impact);
            }
            Pair::Created => tally.note(site, false, Effect::Created, 0, None),
            Pair::Deleted => tally.note(site, is_offline(site), Effect::Deleted, 0, None),
        });
        tally
    }

    /// Visits the sites that the change may matter to.
    fn each<'a>(&'a self, mut visit: impl FnMut(&'a Document, Pair<'_>)) {
        let reaches = Reaches::of(&self.before, &self.after, &self.objects);
        for (site, facts) in self.facts.iter() {
            let planned = self.sites.get(site);
            if planned == Some(&None) {
                visit(site, Pair::Deleted);
                continue;
            }
            let before = self.before.inputs(facts);
            if planned.is_none() && !reaches.include(&before) {
                continue;
            }
            let changed: Option<SiteFacts> =
                planned.and_then(|resource| Some(facts.as_ref().clone().with(resource.clone()?)));
            let after = self.after.inputs(changed.as_ref().unwrap_or(facts));
            visit(site, Pair::Both(&before, &after));
        }
        let is_new = |(site, resource): &(&Document, &Option<Value>)| {
            resource.is_some() && !self.facts.contains_key(*site)
        };
        self.sites.iter().filter(is_new).for_each(|(site, _)| visit(site, Pair::Created));
    }
}

fn standing(inputs: &Inputs<'_>) -> Standing {
    let resolution = resolve(inputs);
    match resolution.failed {
        Some(failure) => Standing::Failed(failure),
        None if resolution.profiles.is_empty() => Standing::NoProfile,
        None => Standing::Resolved(resolution.config_hash),
    }
}

/// A site before and after.
enum Pair<'a> {
    Both(&'a Inputs<'a>, &'a Inputs<'a>),
    Created,
    Deleted,
}
