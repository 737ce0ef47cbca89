//! Which change a trace is about, and what has become of it in its document.

use std::sync::Arc;

use driftless_core::authority::{Authority, Enrolment};
use driftless_core::document::{DELETED_PATH, DocumentState, Effect, Stamped};
use driftless_core::event::{Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::group::Record;
use driftless_core::ids::{Author, EventId, FleetId};
use driftless_core::log::Entry;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::HistoryEntry;
use driftless_core::store::StoreError;
use driftless_sync::proto::EventPlace;
use serde_json::Value;

use super::verdict::Why;
use crate::api::resolve::blocking;
use crate::api::status_error::StatusError;
use crate::api::write::named;
use crate::api::{Api, Held};

/// How many characters of an event's id name it at least.
const PREFIX_CHARS_MIN: usize = 8;
/// Bytes of a log that are searched in one go.
const SEARCH_BYTES: usize = 256 << 10;

/// Which change is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeName {
    /// An event, by the start of its id, eight hex digits at least.
    Event(String),
    /// The last effective event of a document.
    Last(Document),
}

/// A change, and what has become of it.
#[derive(Debug, Clone)]
pub(in crate::api) struct Subject {
    pub(in crate::api) event: Arc<Event>,
    pub(in crate::api) place: EventPlace,
    /// Who signed it.
    pub(in crate::api) author: String,
    /// Why it has no effect, if it has none.
    pub(in crate::api) void: Option<Why>,
    /// The schema version that it takes to execute it, if this software cannot.
    pub(in crate::api) needs_version: Option<u32>,
    pub(in crate::api) fate: Fate,
    /// Its document as it is now.
    pub(in crate::api) resource: Option<Arc<Value>>,
}

/// What has become of what an event set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) enum Fate {
    /// Some of it stands: these registers, and whether they were set or removed.
    Stands(Vec<(String, bool)>),
    /// Nothing of it stands.
    Gone(Why),
}

impl Subject {
    pub(in crate::api) fn document(&self) -> &Document {
        &self.event.header().document
    }
}

/// Finds a change; one of which nothing is held here is absent.
pub(in crate::api) async fn find(api: &Api, change: &ChangeName) -> Result<Subject, StatusError> {
    let entry = match change {
        ChangeName::Last(document) => last_of(api, document.clone()).await?,
        ChangeName::Event(text) => by_id(api, text).await?,
    };
    api.read(move |held| describe(held, entry)).await?.map_err(StatusError::internal)
}

async fn last_of(api: &Api, document: Document) -> Result<HistoryEntry, StatusError> {
    let asked = document.clone();
    let mut history = api.read(move |held| held.history(&asked)).await?.map_err(StatusError::internal)?;
    let effective = history.iter().rposition(|entry| entry.effect == Effect::Effective);
    match effective.or(history.len().checked_sub(1)) {
        Some(at) => Ok(history.swap_remove(at)),
        None => Err(StatusError::not_found(named(&document))),
    }
}

/// Looks through the logs: an event's place is not known by its id.
async fn by_id(api: &Api, text: &str) -> Result<HistoryEntry, StatusError> {
    let prefix = text.to_ascii_lowercase();
    let is_hex = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || prefix.len() < PREFIX_CHARS_MIN || prefix.len() > 2 * EventId::BYTES {
        return Err(StatusError::bad_request(format!(
            "event: {text:?} is no event id; give {PREFIX_CHARS_MIN} of its hex digits or more, as `history` shows them"
        )));
    }
    if let Some(entry) = api.recent_event(&prefix).await? {
        return Ok(entry);
    }
    let fleet = api.local().fleet;
    for scope in api.read(|held| held.scopes().cloned().collect::<Vec<Scope>>()).await? {
        let mut after = 0;
        loop {
            let asked = scope.clone();
            let read = api.read(move |held| held.log(&asked, after, SEARCH_BYTES)).await?;
            let read = read.map_err(StatusError::internal)?;
            let (next, end, wanted) = (read.next, read.end, prefix.clone());
            if let Some(position) = blocking(move || position_of(fleet, &read.entries, &wanted)).await? {
                let asked = scope.clone();
                let found = api.read(move |held| held.event_at(&asked, position)).await?;
                return found
                    .map_err(StatusError::internal)?
                    .ok_or_else(|| StatusError::internal("an event moved in the log"));
            }
            if end {
                break;
            }
            after = next;
        }
    }
    Err(StatusError::absent(format!(
        "no event {text} is held here; it may not have arrived, or a checkpoint covers it; ask the hub where it was written"
    )))
}

fn position_of(fleet: FleetId, entries: &[Entry], prefix: &str) -> Option<u64> {
    entries.iter().find_map(|entry| {
        let Ok(Record::Group(group)) = Record::decode(fleet, &entry.bytes) else { return None };
        let found = group.events().find(|event| event.id().to_string().starts_with(prefix));
        found.map(|event| entry.position(event.header().author_seq))
    })
}

fn describe(held: &Held, entry: HistoryEntry) -> Result<Subject, StoreError> {
    let header = entry.event.header();
    let (document, authority) = (&header.document, held.authority());
    let needs_version = entry.event.needs_newer_version().then(|| header.schema.max(SCHEMA_VERSION + 1));
    let fate = match held.state(document)? {
        Some(state) => fate(&state, &entry.event),
        None => Fate::Stands(vec![]),
    };
    Ok(Subject {
        place: EventPlace { scope: document.scope(), chain: header.chain, seq: header.author_seq },
        author: node_of(held, &header.chain.author),
        void: (entry.effect == Effect::Void).then(|| void(authority, header)),
        needs_version,
        fate,
        resource: held.get(document)?.map(|view| view.resource),
        event: entry.event,
    })
}

/// The node that a key belongs to, as people know it.
pub(in crate::api) fn node_of(held: &Held, author: &Author) -> String {
    match held.authority().enrolments(author).next() {
        _ if *author == held.fleet().into() => "the fleet's authority".to_owned(),
        Some(Enrolment::Hub { name }) => name.clone(),
        Some(Enrolment::Site { namespace, site, node }) => format!("{namespace}/{site}.{node}"),
        None => format!("the key {}", author.short()),
    }
}

/// Why an event has no effect.
pub(in crate::api) fn void(authority: &Authority, header: &Header) -> Why {
    let author = &header.chain.author;
    if !authority.is_enrolled(author) {
        return Why::new("VoidNotEnrolled", "void: the key that signed it is not enrolled here");
    }
    if !authority.allows(author, &header.document) {
        let kind = header.document.kind();
        return Why::new("VoidNotAllowed", format!("void: its author may not write this {kind}"));
    }
    Why::new("VoidRevoked", "void: its author's key was revoked, and the revocation does not let it stand")
}

/// What of an event's operations the document still shows.
fn fate(state: &DocumentState, event: &Event) -> Fate {
    let is_deletion = event.operations().iter().any(|operation| operation.path() == DELETED_PATH);
    let is_over = event.header().incarnation < state.incarnation();
    if (state.is_deleted() && !is_deletion) || is_over {
        return Fate::Gone(Why::new("Deleted", "the document was deleted after this change"));
    }
    let (mut stands, mut beaten) = (vec![], None);
    for operation in event.operations() {
        match beaten_by(state, event, operation) {
            None => stands.push((operation.path().to_owned(), matches!(operation, Operation::Put { .. }))),
            Some(why) => beaten = beaten.or(Some(why)),
        }
    }
    match beaten {
        Some(why) if stands.is_empty() => Fate::Gone(why),
        _ => Fate::Stands(stands),
    }
}

fn beaten_by(state: &DocumentState, event: &Event, operation: &Operation) -> Option<Why> {
    let (path, values) = (operation.path(), state.values(operation.path()));
    let is_own = |value: &Stamped| value.stamp.id == event.id();
    let removal_lost = state.removals(path).iter().any(|stamp| stamp.id == event.id());
    let winner = match (operation, values.first()) {
        (Operation::Put { .. }, Some(winner)) if is_own(winner) => return None,
        (Operation::Put { .. }, Some(winner)) => winner,
        (Operation::Put { .. }, None) => {
            return Some(Why::new("Superseded", format!("a later change removed {path}")));
        }
        (Operation::Delete { .. }, Some(winner)) => winner,
        (Operation::Delete { .. } | Operation::Unknown { .. }, _) => return None,
    };
    let by = state.origin(&winner.stamp.id).map_or_else(String::new, |origin| format!(" by {}", origin.by));
    let other = winner.stamp.id.short();
    Some(match removal_lost || values.iter().any(is_own) {
        true => Why::new(
            "ConflictLost",
            format!("the concurrent change {other}{by} won at {path}; `conflicts show` lists what lost"),
        ),
        false => Why::new("Superseded", format!("the later change {other}{by} set {path} anew")),
    })
}

/// Kinds out of which no configuration comes.
pub(in crate::api) fn is_configuration(kind: Kind) -> bool {
    matches!(kind, Kind::Profile | Kind::Override | Kind::Site | Kind::App | Kind::Release | Kind::SiteStatus)
}
