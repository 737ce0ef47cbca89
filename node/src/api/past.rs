//! `?at=`: resources, resolutions and reasons as they were.
//!
//! A moment is a time (RFC 3339), a duration before now, or an event, which stands for the time from which on
//! it counts. What was then is what this node's events up to then come to, by the clocks of their authors; see
//! [`driftless_core::replica::as_of`]. Logs are read a page at a time, and executed where nobody waits.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::name::{Document, Scope};
use driftless_core::replica::{HistoryEntry, counts_from};

use super::Api;
use super::resolve::blocking;
use super::status_error::StatusError;
use super::time::{parse_duration, parse_rfc3339, rfc3339};
use super::trace::{ChangeName, find};
use crate::inputs::{Forgotten, PastDocuments};

/// Bytes of a log that are read in one turn of the replica's owner.
pub(super) const PAGE_BYTES: usize = 256 << 10;
/// Most bytes of events that one look into the past holds in memory.
const HISTORY_BYTES_MAX: usize = 64 << 20;
/// What an event takes beside its operations, in bytes.
const HEADER_BYTES: usize = 512;
/// Hex digits that make a text an event.
const EVENT_CHARS_MIN: usize = 8;

/// Reads a moment, in milliseconds since 1970. A time without a fraction of a second means the end of that
/// second, because that is how times are shown.
pub(super) async fn moment(api: &Api, name: &str, text: &str) -> Result<u64, StatusError> {
    if let Some(time_ms) = end_of_second(text) {
        return Ok(time_ms);
    }
    if text.len() >= EVENT_CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let event = find(api, &ChangeName::Event(text.to_owned())).await?.event;
        let (id, document) = (event.id(), event.header().document.clone());
        let history = api.read(move |held| held.history(&document)).await?.map_err(StatusError::internal)?;
        return Ok(counts_from(&history, &id).unwrap_or(event.header().time_ms));
    }
    match parse_duration(text) {
        Some(ago_ms) => Ok(api.now_ms().saturating_sub(ago_ms)),
        None => Err(StatusError::bad_request(format!(
            "{name}: {text:?} is no time such as 2026-11-25T14:00:00Z, no duration before now such as 2h, and no event"
        ))),
    }
}

/// The moment that a query names, if it names one.
pub(super) async fn moment_of(api: &Api, text: Option<&str>) -> Result<Option<u64>, StatusError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => moment(api, "at", text).await.map(Some),
        None => Ok(None),
    }
}

fn end_of_second(text: &str) -> Option<u64> {
    let time_ms = parse_rfc3339(text)?;
    Some(if text.contains('.') { time_ms } else { time_ms / 1_000 * 1_000 + 999 })
}

/// These documents as of a time.
pub(super) async fn documents(
    api: &Api,
    wanted: BTreeSet<Document>,
    time_ms: u64,
) -> Result<PastDocuments, StatusError> {
    let scopes: BTreeSet<Scope> = wanted.iter().map(Document::scope).collect();
    collect(api, scopes, move |document| wanted.contains(document), time_ms).await
}

/// The wanted documents of these scopes as of a time.
pub(super) async fn collect(
    api: &Api,
    scopes: BTreeSet<Scope>,
    wanted: impl Fn(&Document) -> bool,
    time_ms: u64,
) -> Result<PastDocuments, StatusError> {
    let mut past = PastDocuments::new(time_ms);
    for scope in scopes {
        let mut histories: BTreeMap<Document, Vec<HistoryEntry>> = BTreeMap::new();
        let mut bytes = 0;
        each_event(api, &scope, |entry| {
            let document = &entry.event.header().document;
            if !wanted(document) {
                return Ok(());
            }
            bytes += HEADER_BYTES + entry.event.encoded_operations().len();
            if bytes > HISTORY_BYTES_MAX {
                return Err(too_much(&scope));
            }
            histories.entry(document.clone()).or_default().push(entry);
            Ok(())
        })
        .await?;
        past = blocking(move || {
            let add = |(document, history): (Document, Vec<HistoryEntry>)| past.add(document, &history);
            histories.into_iter().try_for_each(add).map(|()| past)
        })
        .await?
        .map_err(StatusError::internal)?;
    }
    Ok(past)
}

/// Hands over every event of a scope in log order; a page at a time is in memory.
pub(super) async fn each_event(
    api: &Api,
    scope: &Scope,
    mut take: impl FnMut(HistoryEntry) -> Result<(), StatusError>,
) -> Result<(), StatusError> {
    let mut after = 0;
    loop {
        let asked = scope.clone();
        let read = api.read(move |held| held.events(&asked, after, PAGE_BYTES)).await?;
        let read = read.map_err(StatusError::internal)?;
        read.entries.into_iter().try_for_each(&mut take)?;
        if read.end {
            return Ok(());
        }
        after = read.next;
    }
}

/// Says from when on a document is known.
pub(super) fn gone(forgotten: &Forgotten) -> StatusError {
    let document = &forgotten.document;
    StatusError::expired(format!(
        "what {} {:?} was then is not kept any more: its history is kept from {} on, because a checkpoint took the place of \
         what its site wrote before",
        document.kind(),
        document.name(),
        rfc3339(forgotten.since_ms),
    ))
}

fn too_much(scope: &Scope) -> StatusError {
    StatusError::too_large(&format!(
        "the history of {scope} takes more than {} MiB; ask about one resource",
        HISTORY_BYTES_MAX >> 20
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_as_it_is_shown_includes_what_is_shown_at_it() {
        assert_eq!(end_of_second("2023-11-14T22:13:20Z"), Some(1_700_000_000_999));
        assert_eq!(end_of_second("2023-11-14T22:13:20.250Z"), Some(1_700_000_000_250));
        assert_eq!(end_of_second("3f9c2b7a10de"), None);
    }
}
