//! `GET /v1/trace/…`: where a change is, hop by hop, and why it is not further.
//!
//! `/v1/trace/{event}` is about an event, `/v1/trace/{kind}/{namespace}/{name}` about the last effective
//! event of a document. `?site=` asks about one site. Where an event is on its way is what hubs say of their
//! own peers; what a site makes of an event that it holds follows from what it should run and what it says
//! of itself. Nothing is guessed: what only a silent hub knows is `Unknown`.

mod outcome;
mod subject;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::Uri;
use driftless_core::document::Effect;
use driftless_core::name::{Document, Kind, Scope};
use driftless_sync::proto::{PeerDelivery, PeerKind};
use serde::Deserialize;
use serde_json::{Value, json};

pub use subject::ChangeName;
pub(super) use subject::{Subject, find, node_of, void};
use verdict::{Site, State, Verdict};

use super::history::document as document_of;
use super::resolve::blocking;
use super::site_status::{Resolved, resolved};
use super::sites::every_site;
use super::status_error::StatusError;
use super::time::rfc3339;
use super::{Api, Held, request};
use crate::convergence::{Deliveries, HubName, Silence};

/// Most sites that one answer lists; those that lack something come first.
const SITES_SHOWN_MAX: usize = 256;

type Answer = Result<Json<Value>, StatusError>;

#[derive(Deserialize)]
struct TraceQuery {
    site: Option<String>,
    namespace: Option<String>,
}

/// `GET /v1/trace/{event}`.
pub(super) async fn of_event(Shared(api): Shared<Api>, Path(event): Path<String>, uri: Uri) -> Answer {
    answer(&api, &ChangeName::Event(event), &uri).await
}

/// `GET /v1/trace/{kind}/{name}`.
pub(super) async fn of_fleet_wide(
    Shared(api): Shared<Api>,
    Path((kind, name)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let document = document_of(&api, &kind, None, &name)?;
    answer(&api, &ChangeName::Last(document), &uri).await
}

/// `GET /v1/trace/{kind}/{namespace}/{name}`.
pub(super) async fn of_namespaced(
    Shared(api): Shared<Api>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Answer {
    let document = document_of(&api, &kind, Some(&namespace), &name)?;
    answer(&api, &ChangeName::Last(document), &uri).await
}

async fn answer(api: &Api, change: &ChangeName, uri: &Uri) -> Answer {
    let query: TraceQuery = request::query(uri)?;
    api.trace(change, query.namespace.as_deref(), query.site.as_deref()).await.map(Json)
}

impl Api {
    /// Tells where a change is: at this node, at each other hub, and at one site or at every site that it
    /// concerns; `namespace` is the site's, by default that of the change.
    ///
    /// `{event, kind, namespace, name, by, reason, time, author, effect, hubs, sites, counts, leftOut}`; each
    /// hub and site has `state`, `reason`, `message`, and `since`, `behindEvents`, `behindBytes` where they
    /// are known. Asks every other hub of the fleet once, and waits three seconds for each at most.
    pub async fn trace(
        &self,
        change: &ChangeName,
        namespace: Option<&str>,
        site: Option<&str>,
    ) -> Result<Value, StatusError> {
        let subject = find(self, change).await?;
        let scope = subject.place.scope.clone();
        let only = site.map(|site| {
            let own = subject.document().namespace();
            let own = if own.is_empty() { self.local().namespace.as_str() } else { own };
            (namespace.unwrap_or(own).to_owned(), site.to_owned())
        });
        let deliveries = self.backend().deliveries(subject.place.clone(), only.clone()).await?;
        let hops = self.hops(&deliveries, &scope);
        let concerned = self.concerned(&scope, only.clone()).await?;
        if let (Some((namespace, site)), true) = (&only, concerned.sites.is_empty()) {
            return Err(StatusError::absent(format!("there is no site {site} in the namespace {namespace}")));
        }
        let named = |told: PeerDelivery, hub: &HubName| match &told.peer {
            PeerKind::Site { namespace, site, .. } => {
                Some(((namespace.clone(), site.clone()), (hub.clone(), told)))
            }
            PeerKind::Hub { .. } => None,
        };
        let mut by_site: BTreeMap<(String, String), Vec<(HubName, PeerDelivery)>> = BTreeMap::new();
        let mut silent: Vec<(HubName, Silence)> = vec![];
        for told in &deliveries.sites {
            match &told.said {
                Ok(peers) => {
                    for (site, told) in peers.iter().cloned().filter_map(|peer| named(peer, &told.hub)) {
                        by_site.entry(site).or_default().push(told);
                    }
                }
                Err(silence) => silent.push((told.hub.clone(), silence.clone())),
            }
        }
        let judged = concerned.sites.iter().map(|document| {
            let name = (document.namespace(), document.name());
            let told = by_site.get(&(name.0.to_owned(), name.1.to_owned())).map_or(&[][..], Vec::as_slice);
            let is_enrolled = concerned.enrolled.contains(document);
            let site = Site { name, told, silent: &silent, hops: &hops, is_enrolled };
            (document.clone(), self.judge(&site, &deliveries, &scope))
        });
        let sites = self.with_outcomes(&subject, judged.collect(), only.is_some()).await?;
        Ok(self.told(&subject, &deliveries, &hops, sites))
    }

    /// How the change stands at each other hub.
    fn hops(&self, deliveries: &Deliveries, scope: &Scope) -> Vec<(HubName, Verdict)> {
        let own = &self.local().node;
        // By name: the region of a hub that has just joined may not be known everywhere.
        let mut hops: BTreeMap<String, (HubName, Verdict)> = BTreeMap::new();
        for told in &deliveries.sites {
            if let Err(silence) = &told.said {
                hops.insert(told.hub.name.clone(), (told.hub.clone(), verdict::of_silence(silence)));
            }
        }
        for told in &deliveries.hubs {
            let PeerKind::Hub { name, region } = &told.peer else { continue };
            let hub = HubName { name: name.clone(), region: region.clone() };
            hops.insert(name.clone(), (hub, verdict::of_peer(own, told, scope)));
        }
        hops.into_values().collect()
    }

    fn judge(&self, site: &Site<'_>, deliveries: &Deliveries, scope: &Scope) -> (Verdict, Option<HubName>) {
        match &self.local().site {
            Some((namespace, own)) if (namespace.as_str(), own.as_str()) == site.name => {
                let state = if deliveries.holds { State::Durable } else { State::Unknown };
                (Verdict::new(state, "Held", "this node is one of the site's and holds it"), None)
            }
            Some(_) => {
                let message = "an edge knows of its own site only; ask a hub";
                (Verdict::new(State::Unknown, "AskAHub", message), None)
            }
            None => verdict::of_site(site, scope),
        }
    }

    /// The sites that a scope concerns, or the one that is asked about.
    async fn concerned(
        &self,
        scope: &Scope,
        only: Option<(String, String)>,
    ) -> Result<Concerned, StatusError> {
        let (scope, local) = (scope.clone(), self.local().site.clone());
        self.read(move |held| concerned(held, &scope, only.or(local))).await
    }

    /// Goes on where a change is durable: whether the site runs it.
    async fn with_outcomes(
        &self,
        subject: &Subject,
        judged: Vec<(Document, (Verdict, Option<HubName>))>,
        is_one: bool,
    ) -> Result<Vec<SiteTrace>, StatusError> {
        let namespaces: BTreeSet<String> =
            judged.iter().map(|(site, _)| site.namespace().to_owned()).collect();
        let only = judged.first().filter(|_| is_one).map(|(site, _)| site.name().to_owned());
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let of_one = |resolved: &Resolved| {
                only.as_deref().is_none_or(|only| only == resolved.facts.document.name())
            };
            let sites = match &only {
                Some(site) => {
                    let views = super::resources::views(self, document_of_site(&namespace, site)).await?;
                    resolved(self, namespace.clone(), views).await?
                }
                None => every_site(self, &namespace).await?,
            };
            let desired = self.desired(namespace, only.clone()).await?;
            let (subject, now_ms) = (subject.clone(), self.now_ms());
            let is_small = judged.len() <= SITES_SHOWN_MAX;
            let sites: Vec<Arc<Resolved>> = sites.into_iter().filter(|site| of_one(site)).collect();
            found.extend(
                blocking(move || {
                    let outcome = |site: Arc<Resolved>| {
                        let runs = site.is_applied() == Some(true);
                        let verdict = match is_small || !runs {
                            true => outcome::outcome(&subject, &desired, &site, now_ms),
                            false => outcome::applied(&site),
                        };
                        (site.facts.document.clone(), (verdict, runs, site.region()))
                    };
                    sites.into_iter().map(outcome).collect::<Vec<_>>()
                })
                .await?,
            );
        }
        let traced = judged.into_iter().map(|(document, (verdict, hub))| {
            let outcome = found.remove(&document);
            let region = outcome.as_ref().map(|(.., region)| region.clone()).unwrap_or_default();
            let is_durable = verdict.state == State::Durable;
            match outcome.filter(|_| is_durable) {
                Some((held, runs, _)) => {
                    let held = Verdict { ago_ms: verdict.ago_ms, ..held };
                    SiteTrace { document, region, hub, verdict: held, is_durable, runs }
                }
                None => SiteTrace { document, region, hub, verdict, is_durable, runs: false },
            }
        });
        Ok(traced.collect())
    }

    fn told(
        &self,
        subject: &Subject,
        deliveries: &Deliveries,
        hops: &[(HubName, Verdict)],
        mut sites: Vec<SiteTrace>,
    ) -> Value {
        let now_ms = self.now_ms();
        let count = |is: &dyn Fn(&SiteTrace) -> bool| sites.iter().filter(|site| is(site)).count();
        let counts = json!({
            "interested": count(&|site| site.verdict.state != State::OutsideInterest),
            "durable": count(&|site| site.is_durable),
            "applied": count(&|site| site.is_durable && site.runs),
            "unknown": count(&|site| site.verdict.state == State::Unknown),
        });
        sites.sort_by(|a, b| (a.verdict.state, &a.document).cmp(&(b.verdict.state, &b.document)));
        let left_out = sites.len().saturating_sub(SITES_SHOWN_MAX);
        sites.truncate(SITES_SHOWN_MAX);
        let own = match deliveries.holds {
            true => Verdict::new(State::Durable, "Held", "this node holds it"),
            false => Verdict::new(State::Unknown, "NotHeld", "this node does not hold it"),
        };
        let hub = |name: &str, region: &str, verdict: &Verdict| {
            let mut json = verdict.to_json(now_ms);
            json["name"] = name.into();
            json["region"] = region.into();
            json
        };
        let local = self.local();
        let here = hub(&local.node, &local.region, &own);
        let there = hops.iter().map(|(name, verdict)| hub(&name.name, &name.region, verdict));
        let mut json = subject_json(subject);
        json["node"] = local.node.clone().into();
        json["asOf"] = rfc3339(now_ms).into();
        json["hubs"] = std::iter::once(here).chain(there).collect();
        json["sites"] = sites.iter().map(|site| site.to_json(now_ms)).collect();
        json["counts"] = counts;
        json["leftOut"] = left_out.into();
        json
    }
}

/// What a trace says of one site.
struct SiteTrace {
    document: Document,
    region: String,
    /// The hub whose word it is.
    hub: Option<HubName>,
    verdict: Verdict,
    is_durable: bool,
    /// Whether the site says that it runs what it should.
    runs: bool,
}

impl SiteTrace {
    fn to_json(&self, now_ms: u64) -> Value {
        let mut json = self.verdict.to_json(now_ms);
        json["namespace"] = self.document.namespace().into();
        json["site"] = self.document.name().into();
        json["region"] = self.region.clone().into();
        json["hub"] = self.hub.as_ref().map(|hub| hub.name.clone()).into();
        json
    }
}

/// Which sites a change concerns, and which of them ever had a node.
struct Concerned {
    sites: Vec<Document>,
    enrolled: BTreeSet<Document>,
}

fn concerned(held: &Held, scope: &Scope, only: Option<(String, String)>) -> Concerned {
    let any = BTreeMap::new();
    let mut sites = match (&only, scope) {
        (Some((namespace, _)), _) => held.names(Kind::Site, Some(namespace), &any),
        (None, Scope::Fleet) => held.names(Kind::Site, None, &any),
        (
            None,
            Scope::Profiles { namespace } | Scope::Catalog { namespace, .. } | Scope::Site { namespace, .. },
        ) => held.names(Kind::Site, Some(namespace), &any),
    };
    match (&only, scope) {
        (Some((_, site)), _) | (None, Scope::Site { site, .. }) => sites.retain(|found| found.name() == site),
        (None, Scope::Fleet | Scope::Profiles { .. } | Scope::Catalog { .. }) => {}
    }
    let members = held.names(Kind::Member, None, &any).into_iter();
    let owner = |member: Document| Document::new(Kind::Site, member.namespace(), member.owner()?).ok();
    Concerned { enrolled: members.filter_map(owner).collect(), sites }
}

fn document_of_site(namespace: &str, site: &str) -> Vec<Document> {
    Document::new(Kind::Site, namespace, site).into_iter().collect()
}

/// The change itself.
pub(super) fn subject_json(subject: &Subject) -> Value {
    let (header, document) = (subject.event.header(), subject.document());
    let effect = if subject.void.is_some() { Effect::Void } else { Effect::Effective };
    let mut json = json!({
        "event": subject.event.id().to_string(),
        "kind": document.kind().name(),
        "namespace": document.namespace(),
        "name": document.name(),
        "scope": subject.place.scope.to_string(),
        "by": header.by,
        "reason": header.reason,
        "time": rfc3339(header.time_ms),
        "author": subject.author,
        "effect": format!("{effect:?}"),
    });
    if let Some(why) = &subject.void {
        json["void"] = json!({"reason": why.reason, "message": why.message});
    }
    if let Some(version) = subject.needs_version {
        json["needsVersion"] = version.into();
    }
    json
}
