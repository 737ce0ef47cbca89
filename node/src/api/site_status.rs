//! What is joined into a resource when it is served: the status of a site.
//!
//! A site's status is what the site says of itself (its `SiteStatus`), and what the node that answers
//! can tell: presence and conditions. None of it is stored with the Site. What nobody knows is `Unknown`.

use driftless_core::name::{Document, Kind};
use driftless_core::replica::View;
use serde_json::{Map, Value, json};

use super::status_error::StatusError;
use super::time::rfc3339;
use super::{Api, Presence};

/// A site was heard less than this ago.
const FRESH_MS: u64 = 60_000;
/// A site was heard less than this ago.
const STALE_MS: u64 = 5 * 60_000;
/// A site was heard less than this ago.
const UNREACHABLE_MS: u64 = 24 * 3_600_000;

/// Joins statuses into resources; `views` and `resources` are the same documents in the same order.
pub(super) async fn join(api: &Api, views: &[View], resources: &mut [Value]) -> Result<(), StatusError> {
    let is_site = |view: &View| view.document.kind() == Kind::Site;
    if !views.iter().any(is_site) {
        return Ok(());
    }
    let wanted: Vec<Option<Document>> =
        views.iter().map(|view| is_site(view).then(|| status_document(&view.document)).flatten()).collect();
    let reports = api
        .read(move |held| {
            let report = |document: Option<Document>| match document {
                Some(document) => held.get(&document),
                None => Ok(None),
            };
            wanted.into_iter().map(report).collect::<Result<Vec<_>, _>>()
        })
        .await?
        .map_err(StatusError::internal)?;
    for ((view, report), resource) in views.iter().zip(reports).zip(resources) {
        if is_site(view) {
            resource["status"] = status(api, &view.document, report.as_ref());
        }
    }
    Ok(())
}

/// The phase of a site that was last heard at a time, or never.
pub(super) fn phase(last_seen_ms: Option<u64>, now_ms: u64) -> &'static str {
    match last_seen_ms.map(|last_seen_ms| now_ms.saturating_sub(last_seen_ms)) {
        None => "Unknown",
        Some(0..FRESH_MS) => "Fresh",
        Some(FRESH_MS..STALE_MS) => "Stale",
        Some(STALE_MS..UNREACHABLE_MS) => "Unreachable",
        Some(UNREACHABLE_MS..) => "Lost",
    }
}

fn status_document(site: &Document) -> Option<Document> {
    Document::new(Kind::SiteStatus, site.namespace(), site.name()).ok()
}

fn status(api: &Api, site: &Document, report: Option<&View>) -> Value {
    let presence = api.backend().presence(site.namespace(), site.name());
    let mut status = match report.and_then(|view| view.resource.get("status")) {
        Some(Value::Object(fields)) => fields.clone(),
        _ => Map::new(),
    };
    let mut shown = json!({"phase": phase(presence.last_seen_ms, api.now_ms())});
    if let Some(last_seen_ms) = presence.last_seen_ms {
        shown["lastSeen"] = json!(rfc3339(last_seen_ms));
    }
    if presence.cut_by_operator {
        shown["phase"] = json!("CutByOperator");
    }
    status.insert("presence".to_owned(), shown);
    status.insert("conditions".to_owned(), json!([synced(&presence)]));
    Value::Object(status)
}

/// Whether the site holds everything of ours that concerns it.
fn synced(presence: &Presence) -> Value {
    let (status, reason) = match presence.synced {
        Some(true) => ("True", "HoldsEverything"),
        Some(false) => ("False", "Behind"),
        None => ("Unknown", "NotHeard"),
    };
    json!({
        "type": "Synced",
        "status": status,
        "reason": reason,
        "message": presence.why.as_deref().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_the_time_since_a_site_was_heard() {
        for (ago_ms, expected) in [
            (0, "Fresh"),
            (59_999, "Fresh"),
            (60_000, "Stale"),
            (300_000, "Unreachable"),
            (86_400_000, "Lost"),
        ] {
            assert_eq!(phase(Some(100_000_000 - ago_ms), 100_000_000), expected);
        }
        // A clock elsewhere that is ahead of ours is no reason to worry.
        assert_eq!(phase(Some(100_000_001), 100_000_000), "Fresh");
        assert_eq!(phase(None, 100_000_000), "Unknown");
    }
}
