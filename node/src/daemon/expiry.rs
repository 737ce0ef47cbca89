//! A hub says of overrides that they are over once their time has come: see [`crate::expiry`].
//!
//! Every hub does, so that one that fails is not missed, and each a little later than the one before, so that mostly
//! one does it and the others see it done. Two that say it at once say the same, which is no conflict.

use std::time::Duration;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Replica, Write, WriteError};
use driftless_core::store::{Store, StoreError};
use serde_json::json;

use super::Runtime;
use super::clock::now_ms;
use crate::expiry::Expiries;

/// How often clock and overrides are looked at.
const BEAT: Duration = Duration::from_secs(1);
/// Hubs differ by up to this much in when they say it.
const SPREAD_MS: u64 = 5_000;
/// Changes that are looked at in one go.
const CHANGES_MAX: usize = 1_024;

/// Watches over the overrides for as long as the hub runs.
pub(super) async fn watch(runtime: Runtime) {
    let by = runtime.identity().principal().to_string();
    let delay_ms = u64::from(runtime.identity().author().0[0]) * SPREAD_MS / 255;
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(BEAT).await;
        let (mut turn, by) = (std::mem::take(&mut watch), by.clone());
        let looked = runtime.owner.read_async(move |node| (turn.look(&node.replica), turn)).await;
        let Ok((outcome, turn)) = looked else { return };
        watch = turn;
        if let Err(error) = outcome {
            tracing::warn!(%error, "overrides could not be read");
            continue;
        }
        let due: Vec<(Document, String)> = watch
            .expiries
            .passed(now_ms().saturating_sub(delay_ms))
            .filter(|(document, _)| !document.is_local_override())
            .map(|(document, text)| (document.clone(), text.to_owned()))
            .collect();
        for (document, expires_at) in due {
            let (by, over) = (by.clone(), document.clone());
            let said = runtime.owner.write_async(move |node| say(&mut node.replica, &over, &expires_at, &by));
            match said.await {
                // A hub that has not heard of its own enrolment yet will say it then.
                Ok(Ok(()) | Err(WriteError::Forbidden(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%document, %error, "an override is over, and that could not be said");
                    watch.expiries.leave(&document);
                }
                Err(_) => return,
            }
        }
    }
}

/// What is known of overrides, kept up as they change.
#[derive(Debug, Default)]
struct Watch {
    expiries: Expiries,
    seen: Option<u64>,
}

impl Watch {
    fn look<S: Store>(&mut self, replica: &Replica<S>) -> Result<(), StoreError> {
        let position = replica.position();
        let changes = self.seen.map(|seen| replica.changes(seen, CHANGES_MAX));
        let is_old = match changes {
            Some(Ok(changes)) => {
                changes.len() == CHANGES_MAX || changes.iter().any(|c| c.document.kind() == Kind::Override)
            }
            Some(Err(_)) | None => true,
        };
        if is_old {
            self.expiries = Expiries::collect(replica, None, None)?;
        }
        self.seen = Some(position);
        Ok(())
    }
}

/// Says that an override is over, unless it was changed or said since.
fn say<S: Store>(
    replica: &mut Replica<S>,
    document: &Document,
    expires_at: &str,
    by: &str,
) -> Result<(), WriteError> {
    let Some(view) = replica.get(document)? else { return Ok(()) };
    let spec = &view.resource["spec"];
    if spec["expiresAt"] != expires_at || spec["expired"] == expires_at {
        return Ok(());
    }
    let change = ChangeRequest::MergePatch(json!({"spec": {"expired": expires_at}}));
    let write = Write::new(document.clone(), change, by, now_ms()).because("expiresAt has passed");
    replica.write(write).map(drop)
}
