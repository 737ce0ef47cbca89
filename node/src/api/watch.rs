//! Watches: a list that goes on, as chunked JSON lines.
//!
//! A watch follows the replica's ring of changes. It remembers of every resource that it showed a
//! hash, never the resource, so that something that leaves the selection is announced as deleted, and
//! what only looks different because a clock moved on is not announced at all. Site statuses depend on
//! more than the site's own document: on what the site says of itself, on profiles, on presence; so a
//! watch of sites looks again at all of its sites when such a thing changes, at most once a second, and
//! less often where that takes long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{Change, View};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch as signal};
use tokio::time::{Instant, sleep_until};

use super::request::{ListQuery, is_true};
use super::resources::{Filter, rendered};
use super::server::Stop;
use super::status_error::StatusError;
use super::table::{RowObject, table};
use super::{Api, GROUP_VERSION};

/// Longest watch; clients come back.
const WATCH_MAX: Duration = Duration::from_secs(3_600);
/// Between bookmarks, and between looks at what changes without an event.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
/// Least time between two looks at all sites.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(1);
/// How often presence is looked at.
const PRESENCE_EVERY: Duration = Duration::from_secs(5);
/// A watch of a large fleet looks for a twentieth of its time at most.
const IDLE_PER_LOOK: u32 = 20;
/// Changes taken at a time.
const CHANGES_AT_A_TIME: usize = 512;

/// Answers a watch request.
pub(super) async fn watch(
    api: Api,
    filter: Filter,
    query: &ListQuery,
    as_table: bool,
    stop: Option<Stop>,
) -> Result<Response, StatusError> {
    let permit = std::sync::Arc::clone(&api.0.waiters).try_acquire_owned().map_err(|_| {
        StatusError::too_many_requests("this node serves 1024 watches and long polls at a time")
    })?;
    let send_initial = is_true(query.send_initial_events.as_deref());
    if send_initial && query.resource_version_match != "NotOlderThan" {
        return Err(StatusError::bad_request(
            "sendInitialEvents goes with resourceVersionMatch=NotOlderThan",
        ));
    }
    let start = api.versions().parse(&query.resource_version)?;
    let lasts = query.timeout_seconds.map_or(WATCH_MAX, Duration::from_secs).min(WATCH_MAX);
    let mut watcher = Watcher {
        changed: api.backend().positions(),
        position: 0,
        shown: BTreeMap::new(),
        lines: VecDeque::new(),
        ends_at: Instant::now() + lasts,
        bookmark_at: Instant::now() + BOOKMARK_EVERY,
        look_again_at: None,
        presence_at: Instant::now() + PRESENCE_EVERY,
        look_took: Duration::ZERO,
        bookmarks: is_true(query.allow_watch_bookmarks.as_deref()),
        as_table,
        rows: query.rows(),
        over: false,
        stop,
        filter,
        api,
        _permit: permit,
    };
    watcher.begin(start, send_initial).await?;
    let lines = futures_util::stream::unfold(watcher, async |mut watcher| {
        let line = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watcher))
    });
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

struct Watcher {
    api: Api,
    filter: Filter,
    changed: signal::Receiver<u64>,
    /// Changes up to here have been taken.
    position: u64,
    /// What the client knows; `None` where it knows a state that we did not send.
    shown: BTreeMap<Document, Option<blake3::Hash>>,
    /// Encoded events that wait to be sent.
    lines: VecDeque<Bytes>,
    ends_at: Instant,
    bookmark_at: Instant,
    look_again_at: Option<Instant>,
    presence_at: Instant,
    /// How long the last look at everything took.
    look_took: Duration,
    bookmarks: bool,
    as_table: bool,
    rows: RowObject,
    over: bool,
    stop: Option<Stop>,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Takes the present state: shown to the client, or known to it already.
    async fn begin(&mut self, start: Option<u64>, send_initial: bool) -> Result<(), StatusError> {
        let (position, views) = self.filter.select(&self.api).await?;
        if let (Some(start), false) = (start, send_initial) {
            let kept = self.api.read(move |held| held.changes(start, 1)).await?;
            kept.map_err(|error| StatusError::expired(error.to_string()))?;
        }
        match start {
            Some(start) if !send_initial => {
                self.position = start;
                self.shown = views.into_iter().map(|view| (view.document, None)).collect();
            }
            _ => {
                self.position = position;
                self.show(views, &BTreeSet::new()).await?;
                if send_initial {
                    let initial_end = json!({"annotations": {"k8s.io/initial-events-end": "true"}});
                    self.bookmark(initial_end);
                }
            }
        }
        Ok(())
    }

    /// The next line; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.step().await {
                self.push("ERROR", error.to_json());
                self.over = true;
            }
        }
    }

    /// Waits for something to happen and turns it into lines.
    async fn step(&mut self) -> Result<(), StatusError> {
        let durable = *self.changed.borrow_and_update();
        if durable > self.position {
            return self.take_changes().await;
        }
        let depends = self.depends_on_others();
        let wake_at = [
            Some(self.ends_at),
            self.bookmarks.then_some(self.bookmark_at),
            self.look_again_at,
            depends.then_some(self.presence_at),
        ];
        let wake_at = wake_at.into_iter().flatten().min().unwrap_or(self.ends_at);
        tokio::select! {
            changed = self.changed.changed() => {
                // The node stops: an orderly end, the client lists again elsewhere.
                self.over |= changed.is_err();
            }
            () = Stop::stopped(&mut self.stop) => self.over = true,
            () = sleep_until(wake_at) => self.on_time(Instant::now()).await?,
        }
        Ok(())
    }

    async fn on_time(&mut self, now: Instant) -> Result<(), StatusError> {
        if now >= self.ends_at {
            self.over = true;
            return Ok(());
        }
        if self.look_again_at.is_some_and(|at| now >= at)
            || (self.depends_on_others() && now >= self.presence_at)
        {
            self.look_again_at = None;
            let (_, views) = self.filter.select(&self.api).await?;
            // What is new or gone comes with its own change.
            let views = views.into_iter().filter(|view| self.shown.contains_key(&view.document)).collect();
            self.show(views, &BTreeSet::new()).await?;
            self.look_took = now.elapsed();
            self.presence_at = Instant::now() + PRESENCE_EVERY.max(self.look_took * IDLE_PER_LOOK);
        }
        if self.bookmarks && now >= self.bookmark_at {
            self.bookmark_at = now + BOOKMARK_EVERY;
            self.bookmark(json!({}));
        }
        Ok(())
    }

    /// Whether what is served of this kind changes without an event of its own document.
    fn depends_on_others(&self) -> bool {
        matches!(self.filter.target.served.kind, Kind::Site | Kind::Profile)
    }

    async fn take_changes(&mut self) -> Result<(), StatusError> {
        let (filter, after) = (self.filter.clone(), self.position);
        let (changes, views) = self
            .api
            .read(move |held| {
                let changes = held
                    .changes(after, CHANGES_AT_A_TIME)
                    .map_err(|error| StatusError::expired(error.to_string()))?;
                let mut views = BTreeMap::new();
                for document in changes.iter().filter_map(|change| subject(&filter, &change.document)) {
                    let view = held.get(&document).map_err(StatusError::internal)?;
                    views.insert(document, view);
                }
                Ok::<_, StatusError>((changes, views))
            })
            .await??;
        let Some(last) = changes.last() else {
            // Positions without a change, such as events that are void.
            self.position = *self.changed.borrow();
            return Ok(());
        };
        self.position = last.position;
        self.look_again_if_others_changed(&changes);
        let created: BTreeSet<Document> =
            changes.iter().filter(|change| change.created).map(|change| change.document.clone()).collect();
        let deleted: BTreeSet<&Document> =
            changes.iter().filter(|change| change.deleted).map(|change| &change.document).collect();
        let mut present = Vec::new();
        let mut left = Vec::new();
        for (document, view) in views {
            // Without a selector, what is deleted was known to a client that started from a version.
            let known = self.shown.contains_key(&document)
                || (deleted.contains(&document) && self.filter.labels.is_empty());
            match view {
                Some(view) if self.filter.matches(&view) => present.push(view),
                view if known => left.push((document, view)),
                _ => {}
            }
        }
        for (document, view) in left {
            self.gone(&document, view).await?;
        }
        self.show(present, &created).await
    }

    fn look_again_if_others_changed(&mut self, changes: &[Change]) {
        let concerns = |change: &Change| match self.filter.target.served.kind {
            Kind::Site => !matches!(change.document.kind(), Kind::Site | Kind::SiteStatus | Kind::Machine),
            Kind::Profile => change.document.kind() != Kind::Machine,
            _ => false,
        };
        if self.look_again_at.is_none() && changes.iter().any(concerns) {
            let pause = LOOK_AGAIN_EVERY.max(self.look_took * IDLE_PER_LOOK);
            self.look_again_at = Some(Instant::now() + pause);
        }
    }

    /// Announces those of the views that the client does not know like this.
    async fn show(&mut self, views: Vec<View>, created: &BTreeSet<Document>) -> Result<(), StatusError> {
        let documents: Vec<Document> = views.iter().map(|view| view.document.clone()).collect();
        let resources = rendered(&self.api, views).await?;
        for (document, resource) in documents.into_iter().zip(resources) {
            let hash = blake3::hash(resource.to_string().as_bytes());
            let event = match self.shown.insert(document.clone(), Some(hash)) {
                Some(Some(before)) if before == hash => continue,
                Some(None) if created.contains(&document) => "ADDED",
                Some(_) => "MODIFIED",
                None => "ADDED",
            };
            let object = self.object(resource);
            self.push(event, object);
        }
        Ok(())
    }

    /// Announces that a document left: deleted, or not selected any more.
    async fn gone(&mut self, document: &Document, view: Option<View>) -> Result<(), StatusError> {
        self.shown.remove(document);
        let resource = match view {
            Some(view) => rendered(&self.api, vec![view]).await?.pop().unwrap_or_default(),
            None => name_only(document, self.api.versions().format(self.position)),
        };
        let object = self.object(resource);
        self.push("DELETED", object);
        Ok(())
    }

    fn bookmark(&mut self, mut metadata: Value) {
        metadata["resourceVersion"] = json!(self.api.versions().format(self.position));
        let kind = self.filter.target.served.kind;
        let object = match self.as_table {
            // Go's decoder looks for the version in the table's own metadata.
            true => table(kind, &[], metadata, self.rows, 0),
            false => json!({"apiVersion": GROUP_VERSION, "kind": kind.name(), "metadata": metadata}),
        };
        self.push("BOOKMARK", object);
    }

    fn object(&self, resource: Value) -> Value {
        match self.as_table {
            false => resource,
            true => {
                let metadata = json!({"resourceVersion": resource["metadata"]["resourceVersion"]});
                let kind = self.filter.target.served.kind;
                table(kind, &[resource], metadata, self.rows, self.api.now_ms())
            }
        }
    }

    fn push(&mut self, event: &str, object: Value) {
        let mut line = json!({"type": event, "object": object}).to_string();
        line.push('\n');
        self.lines.push_back(Bytes::from(line));
    }
}

/// What is left to say of a deleted document.
fn name_only(document: &Document, version: String) -> Value {
    let mut resource = json!({
        "apiVersion": GROUP_VERSION,
        "kind": document.kind().name(),
        "metadata": {"name": document.name(), "resourceVersion": version},
    });
    if !document.namespace().is_empty() {
        resource["metadata"]["namespace"] = json!(document.namespace());
    }
    resource
}

/// The document that a watch has to look at when this one changed, if any.
fn subject(filter: &Filter, changed: &Document) -> Option<Document> {
    let subject = match (filter.target.served.kind, changed.kind()) {
        (Kind::Site, Kind::SiteStatus) => {
            Document::new(Kind::Site, changed.namespace(), changed.name()).ok()?
        }
        _ => changed.clone(),
    };
    filter.is_about(&subject).then_some(subject)
}
