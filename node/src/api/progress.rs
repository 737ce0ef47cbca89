//! `GET /v1/progress`: how far recent changes have come, over all hubs that can be asked.
//!
//! A change is one event of a document that operators write. The newest [`RECENT_MAX`] are known; after a
//! start, the last change of each of as many documents. A site has a change when a hub knows that it is
//! durable there, and has applied it when it also says that it runs what it should. Sites that only a silent
//! hub could tell of count as unknown, never as done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use driftless_core::document::Effect;
use driftless_core::event::Event;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::HistoryEntry;
use driftless_core::store::StoreError;
use driftless_sync::proto::{Bits, EventPlace};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::history::document as document_of;
use super::metrics::{Metric, MetricKind};
use super::selector::LabelSelector;
use super::sites::every_site;
use super::status_error::StatusError;
use super::time::rfc3339;
use super::trace::{ChangeName, find};
use super::{Api, Held, request};

/// Changes whose progress can be asked for without naming them.
pub const RECENT_MAX: usize = 256;
/// Changes that are told of unless more are asked for.
const SHOWN: usize = 10;
/// How long an answer about recent changes is given out again, in milliseconds.
const KEPT_MS: u64 = 1_000;
/// Changes that are read from a watch's memory at a time: all that it keeps.
const NEWS_MAX: usize = 16_384;
/// What operators write, enrolments aside.
const OPERATORS: [Kind; 9] = [
    Kind::Hub,
    Kind::Revocation,
    Kind::Setting,
    Kind::Profile,
    Kind::Override,
    Kind::Rollout,
    Kind::Site,
    Kind::App,
    Kind::Release,
];

/// The newest changes, newest first, and the last answer about them.
#[derive(Default)]
pub(super) struct Recent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// The position up to which changes were looked at.
    seen: Option<u64>,
    changes: VecDeque<HistoryEntry>,
    told: Option<(u64, Arc<Vec<Progress>>)>,
}

/// How far one change has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    event: Arc<Event>,
    /// Sites by region, and all of them under the empty name.
    regions: BTreeMap<String, Count>,
    /// Hubs that say nothing.
    silent: Vec<String>,
}

/// Counts of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    interested: usize,
    durable: usize,
    applied: usize,
    unknown: usize,
}

#[derive(Deserialize)]
struct RecentQuery {
    limit: Option<usize>,
}

/// `GET /v1/progress`: `{changes: […]}`, the newest first.
pub(super) async fn recent(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let query: RecentQuery = request::query(&uri)?;
    let changes = api.progress(query.limit.unwrap_or(SHOWN)).await?;
    Ok(Json(json!({"node": api.local().node, "asOf": rfc3339(api.now_ms()), "changes": changes})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct OneQuery {
    label_selector: String,
}

/// `GET /v1/progress/{event}`.
pub(super) async fn of_event(
    State(api): State<Api>,
    Path(event): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    one(&api, &ChangeName::Event(event), &uri).await
}

/// `GET /v1/progress/{kind}/{name}`.
pub(super) async fn of_fleet_wide(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    one(&api, &ChangeName::Last(document_of(&api, &kind, None, &name)?), &uri).await
}

/// `GET /v1/progress/{kind}/{namespace}/{name}`.
pub(super) async fn of_namespaced(
    State(api): State<Api>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    one(&api, &ChangeName::Last(document_of(&api, &kind, Some(&namespace), &name)?), &uri).await
}

async fn one(api: &Api, change: &ChangeName, uri: &Uri) -> Result<Json<Value>, StatusError> {
    let query: OneQuery = request::query(uri)?;
    let selector = LabelSelector::parse(&query.label_selector);
    let selector = selector.map_err(|error| StatusError::bad_request(error.to_string()))?;
    let event = find(api, change).await?.event;
    let progress = count(api, vec![event], &selector).await?;
    Ok(Json(progress.first().map_or(Value::Null, |progress| progress.to_json(api.now_ms()))))
}

impl Api {
    /// How far the newest changes have come, newest first, at most [`RECENT_MAX`]: for each `event`, `kind`,
    /// `namespace`, `name`, `by`, `reason`, `time`, `ageMs`, the counts of sites `interested`, `durable`,
    /// `applied` and `unknown`, the same by region in `regions`, and the hubs that say nothing in `silent`.
    ///
    /// Asks every other hub once, unless that was done within the last second.
    pub async fn progress(&self, limit: usize) -> Result<Vec<Value>, StatusError> {
        let now_ms = self.now_ms();
        let progress = self.recent_progress(limit).await?;
        Ok(progress.iter().take(limit).map(|progress| progress.to_json(now_ms)).collect())
    }

    async fn recent_progress(&self, limit: usize) -> Result<Arc<Vec<Progress>>, StatusError> {
        let now_ms = self.now_ms();
        let entries = self.recent_changes().await?;
        let wanted = entries.len().min(limit);
        let newest = entries.first().map(|entry| entry.event.id());
        if let Some((at_ms, told)) = self.memory(|memory| memory.told.clone())
            && now_ms.saturating_sub(at_ms) < KEPT_MS
            && told.len() >= wanted
            && told.first().map(|progress| progress.event.id()) == newest
        {
            return Ok(told);
        }
        let events = entries.into_iter().take(limit).map(|entry| entry.event).collect();
        let told = Arc::new(count(self, events, &LabelSelector::default()).await?);
        self.memory(|memory| memory.told = Some((now_ms, Arc::clone(&told))));
        Ok(told)
    }

    /// One of the newest changes, by the start of its id.
    pub(super) async fn recent_event(&self, prefix: &str) -> Result<Option<HistoryEntry>, StatusError> {
        let entries = self.recent_changes().await?;
        Ok(entries.into_iter().find(|entry| entry.event.id().to_string().starts_with(prefix)))
    }

    async fn recent_changes(&self) -> Result<Vec<HistoryEntry>, StatusError> {
        let seen = self.memory(|memory| memory.seen);
        let (position, news) =
            self.read(move |held| news(held, seen)).await?.map_err(StatusError::internal)?;
        Ok(self.memory(|memory| {
            // Somebody else may have looked meanwhile.
            if memory.seen == seen {
                memory.seen = Some(position);
                news.into_iter().for_each(|entry| memory.changes.push_front(entry));
                memory.changes.truncate(RECENT_MAX);
            }
            memory.changes.iter().cloned().collect()
        }))
    }

    fn memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.0.recent.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the newest changes lack, as metrics.
    pub(super) async fn progress_metrics(&self) -> Result<Vec<Metric>, StatusError> {
        let (now_ms, progress) = (self.now_ms(), self.recent_progress(RECENT_MAX).await?);
        let durable: fn(&Count) -> usize = |count| count.durable;
        let applied: fn(&Count) -> usize = |count| count.applied;
        let (mut pending, mut oldest, mut sites) = (vec![], vec![], vec![]);
        for (stage, reached) in [("durable", durable), ("applied", applied)] {
            let label = vec![("stage", stage.to_owned())];
            let lacking = progress.iter().filter(|progress| {
                let all = progress.all();
                reached(&all) < all.interested
            });
            let ages = lacking.clone().map(|progress| age_ms(&progress.event, now_ms));
            pending.push((label.clone(), lacking.count() as f64));
            oldest.push((label.clone(), ages.max().unwrap_or(0) as f64 / 1_000.0));
            if let Some(newest) = progress.first() {
                sites.push((label, reached(&newest.all()) as f64));
            }
        }
        if let Some(newest) = progress.first() {
            for (stage, count) in [("interested", newest.all().interested), ("unknown", newest.all().unknown)]
            {
                sites.push((vec![("stage", stage.to_owned())], count as f64));
            }
        }
        let gauge = |name, help, samples| Metric { name, help, kind: MetricKind::Gauge, samples };
        Ok(vec![
            gauge(
                "driftless_changes_pending",
                "Of the newest 256 changes, those that have not come this far at every site.",
                pending,
            ),
            gauge(
                "driftless_changes_pending_age_seconds",
                "Age of the oldest of them; 0 if there is none.",
                oldest,
            ),
            gauge(
                "driftless_newest_change_sites",
                "Sites that the newest change has come to, by stage.",
                sites,
            ),
        ])
    }
}

/// Changes of operators since a position, oldest first; the last of each document if they are not known.
fn news(held: &Held, seen: Option<u64>) -> Result<(u64, Vec<HistoryEntry>), StoreError> {
    let since = seen.and_then(|seen| held.changes(seen, NEWS_MAX).ok());
    let mut places: Vec<(u64, Document)> = match since {
        Some(changes) => {
            let of_operators =
                |document: &Document| OPERATORS.contains(&document.kind()) && !document.is_local_override();
            let changes = changes.into_iter().filter(|change| of_operators(&change.document));
            changes.map(|change| (change.position, change.document)).collect()
        }
        None => held.last_changed(&OPERATORS, RECENT_MAX).into_iter().rev().collect(),
    };
    places.drain(..places.len().saturating_sub(RECENT_MAX));
    let mut entries = Vec::with_capacity(places.len());
    for (position, document) in places {
        let found = held.event_at(&document.scope(), position)?;
        // Documents are executed anew for reasons of others.
        let is_of = |entry: &HistoryEntry| {
            entry.event.header().document == document && entry.effect == Effect::Effective
        };
        entries.extend(found.filter(is_of));
    }
    Ok((held.position(), entries))
}

/// What hubs say of one site.
#[derive(Default)]
struct Heard {
    wants: Bits,
    holds: Bits,
    connected: bool,
}

/// Counts, for each event, the sites that it concerns and that a selector picks.
async fn count(
    api: &Api,
    events: Vec<Arc<Event>>,
    selector: &LabelSelector,
) -> Result<Vec<Progress>, StatusError> {
    let place = |event: &Arc<Event>| {
        let header = event.header();
        EventPlace { scope: header.document.scope(), chain: header.chain, seq: header.author_seq }
    };
    let places: Vec<EventPlace> = events.iter().take(RECENT_MAX).map(place).collect();
    let told = api.backend().reach(places.clone()).await?;
    let silent: Vec<String> =
        told.iter().filter(|told| told.said.is_err()).map(|told| told.hub.name.clone()).collect();
    let mut heard: BTreeMap<(String, String), Heard> = BTreeMap::new();
    for reach in told.into_iter().filter_map(|told| told.said.ok()).flatten() {
        let site = heard.entry(reach.site).or_default();
        site.connected |= reach.connected;
        site.wants = site.wants.union(&reach.wants);
        site.holds = site.holds.union(&reach.holds);
    }
    let mut counts: Vec<BTreeMap<String, Count>> =
        vec![BTreeMap::from([(String::new(), Count::default())]); places.len()];
    for namespace in namespaces(api, &places).await? {
        for site in every_site(api, &namespace).await? {
            if !selector.matches(&site.facts.resource) {
                continue;
            }
            let name = (site.facts.document.namespace().to_owned(), site.facts.document.name().to_owned());
            let (told, runs) = (heard.get(&name), site.is_applied() == Some(true));
            for (at, place) in places.iter().enumerate() {
                if !concerns(&place.scope, &name, told.is_some_and(|told| told.wants.get(at))) {
                    continue;
                }
                let holds = told.is_some_and(|told| told.holds.get(at));
                let is_known =
                    holds || told.is_some_and(|told| told.connected) || (told.is_some() && silent.is_empty());
                for region in [String::new(), site.region()] {
                    let count = counts[at].entry(region).or_default();
                    count.interested += 1;
                    count.durable += usize::from(holds);
                    count.applied += usize::from(holds && runs);
                    count.unknown += usize::from(!is_known);
                }
            }
        }
    }
    let progress = |(event, regions)| Progress { event, regions, silent: silent.clone() };
    Ok(events.into_iter().zip(counts).map(progress).collect())
}

/// Whether a change in a scope concerns a site. Which apps a site wants only its hub knows.
fn concerns(scope: &Scope, site: &(String, String), wants: bool) -> bool {
    match scope {
        Scope::Fleet => true,
        Scope::Profiles { namespace } => *namespace == site.0,
        Scope::Site { namespace, site: own } => *namespace == site.0 && *own == site.1,
        Scope::Catalog { namespace, .. } => *namespace == site.0 && wants,
    }
}

async fn namespaces(api: &Api, places: &[EventPlace]) -> Result<BTreeSet<String>, StatusError> {
    let mut namespaces = BTreeSet::new();
    for place in places {
        match &place.scope {
            Scope::Fleet => {
                let of_sites = |held: &Held| held.names(Kind::Site, None, &BTreeMap::new());
                let sites = api.read(of_sites).await?;
                namespaces.extend(sites.iter().map(|site| site.namespace().to_owned()));
                break;
            }
            Scope::Profiles { namespace }
            | Scope::Site { namespace, .. }
            | Scope::Catalog { namespace, .. } => {
                namespaces.insert(namespace.clone());
            }
        }
    }
    Ok(namespaces)
}

fn age_ms(event: &Event, now_ms: u64) -> u64 {
    now_ms.saturating_sub(event.header().time_ms)
}

impl Progress {
    fn all(&self) -> Count {
        self.regions.get("").copied().unwrap_or_default()
    }

    fn to_json(&self, now_ms: u64) -> Value {
        let (header, document) = (self.event.header(), &self.event.header().document);
        let regions: Map<String, Value> = self
            .regions
            .iter()
            .filter(|(region, _)| !region.is_empty())
            .map(|(region, count)| (region.clone(), count.to_json()))
            .collect();
        let mut json = self.all().to_json();
        for (key, value) in [
            ("event", json!(self.event.id().to_string())),
            ("kind", json!(document.kind().name())),
            ("namespace", json!(document.namespace())),
            ("name", json!(document.name())),
            ("by", json!(header.by)),
            ("reason", json!(header.reason)),
            ("time", json!(rfc3339(header.time_ms))),
            ("ageMs", json!(age_ms(&self.event, now_ms))),
            ("regions", Value::Object(regions)),
            ("silent", json!(self.silent)),
        ] {
            json[key] = value;
        }
        json
    }
}

impl Count {
    fn to_json(self) -> Value {
        json!({
            "interested": self.interested,
            "durable": self.durable,
            "applied": self.applied,
            "unknown": self.unknown,
        })
    }
}
