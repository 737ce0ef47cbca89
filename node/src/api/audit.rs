//! `GET /v1/audit`: who changed what, on which sites, when and why, newest first.
//!
//! Answers from the events that this node holds, effective or not. A page is the newest events that match, by
//! their authors' clocks; `continue` goes on with older ones. Logs are read in pages, and no more than one
//! page of the answer is in memory, so that each page costs a pass over the scopes that can hold a match.
//!
//! What sites say of themselves all day is left out unless it is asked for, but for what is void. Which sites
//! an event of a profile, an override or an app concerns is told by what applies to them now.

mod concerns;

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::Uri;
use driftless_core::document::Effect;
use driftless_core::ids::EventId;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::HistoryEntry;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Right;
use super::history::{Row, kind_of};
use super::past::{each_event, moment};
use super::selector::LabelSelector;
use super::status_error::{Named, StatusError};
use super::time::{parse_rfc3339, rfc3339};
use super::{Api, Caller, request};
use concerns::Concerns;

/// Events in one answer unless the client says.
const SHOWN: usize = 100;
/// Most events in one answer.
const SHOWN_MAX: usize = 1_000;
/// Most sites that an entry names; it counts all.
const SITES_NAMED_MAX: usize = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuditQuery {
    namespace: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    site: Option<String>,
    label_selector: String,
    user: Option<String>,
    reason: Option<String>,
    effect: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// Also what sites say of themselves.
    all: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    continued: Option<String>,
}

/// What is asked for.
struct Filter {
    namespace: Option<String>,
    kind: Option<Kind>,
    name: Option<String>,
    site: Option<String>,
    labels: LabelSelector,
    /// In lower case.
    user: Option<String>,
    /// In lower case.
    reason: Option<String>,
    effect: Option<Wanted>,
    since_ms: u64,
    until_ms: u64,
    all: bool,
    limit: usize,
    /// Also what concerns the fleet as a whole.
    fleet: bool,
    /// Only what is older than this.
    before: Option<Place>,
}

/// Where an event stands in the answer: by time, and by id where times are equal.
type Place = (u64, EventId);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Effective,
    Void,
    Denied,
}

/// `{items, continue, node, asOf}`; see `history` for what an item says, and beside that `kind`, `namespace`,
/// `name`, `sites` (`{count, names}`, null where that cannot be told) and `denied` (path and profile).
pub(super) async fn audit(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    let mut filter = filter(&api, request::query(&uri)?).await?;
    filter.fleet = caller.may(Right::Read, None).is_ok();
    if !filter.fleet {
        // Whoever may read in some namespaces only asks for one of them, and learns nothing of the fleet.
        let namespace = filter.namespace.as_deref();
        let named = Named { plural: "namespaces", kind: "Namespace", name: namespace.unwrap_or_default() };
        caller.may(Right::Read, namespace).map_err(|why| StatusError::forbidden(named, &why))?;
    }
    let scopes: Vec<Scope> = api.read(|held| held.scopes().cloned().collect()).await?;
    // Whom an event concerns is worked out before where it decides, else only for what is shown.
    let mut concerns = Concerns::default();
    if filter.asks_for_sites() || filter.effect == Some(Wanted::Denied) {
        for namespace in namespaces(&scopes, filter.namespace.as_deref()) {
            concerns.learn(&api, &namespace).await?;
        }
    }
    let (newest, goes_on) = newest(&api, &filter, &scopes, &concerns).await?;
    let shown: BTreeSet<String> =
        newest.iter().map(|entry| entry.event.header().document.namespace().to_owned()).collect();
    for namespace in shown.iter().filter(|namespace| !namespace.is_empty()) {
        concerns.learn(&api, namespace).await?;
    }
    let items = items(&api, newest, &concerns).await?;
    Ok(Json(json!({
        "items": items,
        "continue": goes_on,
        "node": api.local().node,
        "asOf": api.backend().freshness().as_of_ms.map(rfc3339),
    })))
}

/// The newest events that match, newest first, and where to go on if there are more.
async fn newest(
    api: &Api,
    filter: &Filter,
    scopes: &[Scope],
    concerns: &Concerns,
) -> Result<(Vec<HistoryEntry>, Option<String>), StatusError> {
    let mut newest: BTreeMap<Place, HistoryEntry> = BTreeMap::new();
    for scope in scopes.iter().filter(|scope| filter.may_be_in(scope)) {
        each_event(api, scope, |entry| {
            if filter.matches(&entry, concerns) {
                newest.insert((entry.event.header().time_ms, entry.event.id()), entry);
                if newest.len() > filter.limit + 1 {
                    newest.pop_first();
                }
            }
            Ok(())
        })
        .await?;
    }
    let more = newest.len() > filter.limit;
    if more {
        newest.pop_first();
    }
    let goes_on = newest.first_key_value().filter(|_| more);
    let goes_on = goes_on.map(|((time_ms, id), _)| format!("{time_ms}-{id}"));
    Ok((newest.into_values().rev().collect(), goes_on))
}

async fn items(
    api: &Api,
    entries: Vec<HistoryEntry>,
    concerns: &Concerns,
) -> Result<Vec<Value>, StatusError> {
    let rows = api.read(move |held| entries.into_iter().map(|entry| Row::of(held, entry)).collect());
    let rows: Vec<Row> = rows.await?;
    let item = |row: &Row| {
        let document = &row.entry.event.header().document;
        let mut item = row.to_json(api.versions());
        let denied = concerns.denied_json(&row.entry);
        item["kind"] = json!(document.kind().name());
        item["namespace"] = json!(document.namespace());
        item["name"] = json!(document.name());
        item["sites"] = concerns.sites_json(&row.entry);
        if denied.as_array().is_some_and(|denied| !denied.is_empty()) {
            item["effect"] = json!("Denied");
            item["denied"] = denied;
        }
        item
    };
    Ok(rows.iter().map(item).collect())
}

fn namespaces(scopes: &[Scope], only: Option<&str>) -> BTreeSet<String> {
    let profiles = scopes.iter().filter_map(|scope| match scope {
        Scope::Profiles { namespace } => Some(namespace),
        Scope::Fleet | Scope::Site { .. } | Scope::Catalog { .. } => None,
    });
    profiles.filter(|namespace| only.is_none_or(|only| only == namespace.as_str())).cloned().collect()
}

async fn filter(api: &Api, query: AuditQuery) -> Result<Filter, StatusError> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let refused = |message: String| StatusError::bad_request(message);
    let kind = some(query.kind).map(|kind| kind_of(&kind)).transpose()?;
    let effect = some(query.effect).map(|effect| effect_of(&effect)).transpose()?;
    let since_ms = match some(query.since) {
        // A time as it is shown begins with its second.
        Some(since) => match parse_rfc3339(&since) {
            Some(time_ms) => time_ms,
            None => moment(api, "since", &since).await?,
        },
        None => 0,
    };
    let until_ms = match some(query.until) {
        Some(until) => moment(api, "until", &until).await?,
        None => u64::MAX,
    };
    let before = match some(query.continued) {
        Some(token) => Some(
            place(&token).ok_or_else(|| refused(format!("continue: {token:?} was not given out here")))?,
        ),
        None => None,
    };
    Ok(Filter {
        namespace: some(query.namespace),
        kind,
        name: some(query.name),
        site: some(query.site),
        labels: LabelSelector::parse(&query.label_selector).map_err(|error| refused(error.to_string()))?,
        user: some(query.user).map(|user| user.to_lowercase()),
        reason: some(query.reason).map(|reason| reason.to_lowercase()),
        effect,
        since_ms,
        until_ms,
        all: request::is_true(query.all.as_deref()),
        fleet: true,
        limit: query.limit.unwrap_or(SHOWN).clamp(1, SHOWN_MAX),
        before,
    })
}

fn effect_of(text: &str) -> Result<Wanted, StatusError> {
    match text.to_ascii_lowercase().as_str() {
        "effective" => Ok(Wanted::Effective),
        "void" => Ok(Wanted::Void),
        "denied" => Ok(Wanted::Denied),
        _ => Err(StatusError::bad_request(format!("effect: {text:?} is none of effective, void, denied"))),
    }
}

fn place(token: &str) -> Option<Place> {
    let (time_ms, id) = token.split_once('-')?;
    Some((time_ms.parse().ok()?, id.parse().ok()?))
}

impl Filter {
    fn asks_for_sites(&self) -> bool {
        self.site.is_some() || !self.labels.is_empty()
    }

    /// Whether a scope can hold a match at all.
    fn may_be_in(&self, scope: &Scope) -> bool {
        let is_ours = |namespace: &String| self.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
        match scope {
            // What concerns the whole fleet concerns no site in particular.
            Scope::Fleet => self.fleet && !self.asks_for_sites() && self.kind.is_none_or(Kind::is_fleet_wide),
            _ if self.kind.is_some_and(Kind::is_fleet_wide) => false,
            Scope::Profiles { namespace } => {
                is_ours(namespace)
                    && self
                        .kind
                        .is_none_or(|kind| matches!(kind, Kind::Profile | Kind::Override | Kind::Rollout))
            }
            Scope::Site { namespace, site } => {
                is_ours(namespace)
                    && self.site.as_ref().is_none_or(|wanted| wanted == site)
                    && self.kind.is_none_or(|kind| {
                        !matches!(kind, Kind::Profile | Kind::Rollout | Kind::App | Kind::Release)
                    })
            }
            Scope::Catalog { namespace, .. } => {
                is_ours(namespace) && self.kind.is_none_or(|kind| matches!(kind, Kind::App | Kind::Release))
            }
        }
    }

    fn matches(&self, entry: &HistoryEntry, concerns: &Concerns) -> bool {
        let header = entry.event.header();
        let document = &header.document;
        let holds = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| text.to_lowercase().contains(wanted))
        };
        (self.since_ms..=self.until_ms).contains(&header.time_ms)
            && self.before.is_none_or(|before| (header.time_ms, entry.event.id()) < before)
            && self.kind.is_none_or(|kind| kind == document.kind())
            && self.name.as_deref().is_none_or(|name| name == document.name())
            && (self.all
                || self.kind.is_some()
                || entry.effect == Effect::Void
                || !is_said_by_sites(document))
            && holds(&self.user, &header.by)
            && holds(&self.reason, &header.reason)
            && self.is_of_effect(entry, concerns)
            && (!self.asks_for_sites() || concerns.include(document, self.site.as_deref(), &self.labels))
    }

    fn is_of_effect(&self, entry: &HistoryEntry, concerns: &Concerns) -> bool {
        match self.effect {
            None => true,
            Some(Wanted::Effective) => entry.effect == Effect::Effective,
            Some(Wanted::Void) => entry.effect == Effect::Void,
            Some(Wanted::Denied) => !concerns.denied(entry).is_empty(),
        }
    }
}

/// What nodes write of themselves, all day; what people at a site set is none of that.
fn is_said_by_sites(document: &Document) -> bool {
    matches!(document.kind(), Kind::SiteStatus | Kind::Machine | Kind::DriftReport | Kind::HubStatus)
}
