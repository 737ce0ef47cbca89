//! Keeps the history of what the site says of itself short.

use std::collections::BTreeMap;

use driftless_core::name::Document;
use driftless_core::replica::Change;

use super::{Place, read, write};
use crate::api::{Backend, Stopping};

/// A document that the site writes gets a checkpoint after this many events.
const EVENTS_MAX: u64 = 256;
/// After this many events in one run, it is looked up how many there were before. Looking costs a scan of
/// the site's log.
const EVENTS_BEFORE_LOOK: u64 = 16;

/// Counts events of the documents that the site writes.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    events: BTreeMap<Document, Count>,
}

#[derive(Debug, Default)]
struct Count {
    /// In this run, until they were looked up; since the last checkpoint from then on.
    events: u64,
    is_looked_up: bool,
}

impl Checkpoints {
    /// Takes note of a change.
    pub(super) fn note(&mut self, place: &Place, change: &Change) {
        let document = &change.document;
        let own = document.is_site_written()
            && document.namespace() == place.namespace
            && document.owner() == Some(&place.site);
        if own {
            self.events.entry(document.clone()).or_default().events += 1;
        }
    }

    /// Writes the checkpoints that are due. One that cannot be written is tried again after as many
    /// events.
    pub(super) async fn write_due(&mut self, backend: &dyn Backend) -> Result<(), Stopping> {
        for (document, count) in &mut self.events {
            if !count.is_looked_up && count.events >= EVENTS_BEFORE_LOOK {
                let name = document.clone();
                let history = read(backend, move |held| held.history(&name)).await?;
                // A log that cannot be read has been reported by whoever needed it.
                count.events = history.map_or(count.events, |history| history.len() as u64);
                count.is_looked_up = true;
            }
            if count.is_looked_up && count.events >= EVENTS_MAX {
                let (name, now_ms) = (document.clone(), backend.now_ms());
                let written = write(backend, move |held| held.checkpoint(&name, now_ms)).await?;
                if let Err(error) = written {
                    tracing::warn!(%document, %error, "no checkpoint could be written");
                }
                count.events = 0;
            }
        }
        Ok(())
    }
}
