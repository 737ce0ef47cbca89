//! `maxSites`: a write that would change what more sites than this should run is refused.
//!
//! What would change is worked out beside the replica, which meanwhile serves others. The write itself is
//! done only if no object of the namespace was written in between, checked where the write is staged; else
//! what would change is worked out again. A site that comes, moves to other labels, or reports other claims in
//! this moment is not looked at again.

use driftless_core::name::{Document, Kind};

use super::facts::every_fact;
use super::impact::Comparison;
use super::resolve::blocking;
use super::status_error::StatusError;
use super::write::{Wish, WriteOutcome, WriteRequest, write};
use super::{Api, Held};
use crate::inputs::NamespaceInputs;

/// What a percentage stands for at least, in sites: a small fleet may be changed as a whole.
const SITES_MIN: usize = 10;
/// How often what would change is worked out anew because others wrote.
const ATTEMPTS_MAX: usize = 5;
/// Most sites that a refusal names.
pub(super) const SITES_NAMED_MAX: usize = 5;

/// How many sites a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxSites {
    Count(usize),
    /// Of the sites of the namespaces that are concerned, and [`SITES_MIN`] at least.
    Percent(u8),
}

impl MaxSites {
    /// Reads `10` or `25%`; nothing is no limit.
    pub(super) fn parse(text: Option<&str>) -> Result<Option<Self>, StatusError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        let wrong = || {
            StatusError::bad_request(format!(
                "maxSites: {text:?} is neither a count nor a percentage such as 25%"
            ))
        };
        parsed.map(Some).ok_or_else(wrong)
    }

    fn of(self, sites: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (sites.saturating_mul(percent.into()) / 100).max(SITES_MIN),
        }
    }

    /// The refusal, if that many sites of so many are too many; `first` names some of them.
    pub(super) fn refusal(self, changed: usize, sites: usize, first: &[String]) -> Option<StatusError> {
        let limit = self.of(sites);
        (changed > limit).then(|| {
            let more = match changed.saturating_sub(first.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            StatusError::too_many_sites(format!(
                "this would change what {changed} of {sites} sites should run, and at most {limit} may change: {}{more}. \
                 Nothing was changed; look at it with `driftless diff`, then say --yes, or --max-sites {changed}",
                first.join(", ")
            ))
        })
    }
}

/// Writes, unless more sites than allowed would change.
pub(super) async fn write_within(
    api: &Api,
    request: WriteRequest,
    max_sites: Option<MaxSites>,
) -> Result<WriteOutcome, StatusError> {
    let Some(max_sites) = max_sites.filter(|max| can_exceed(*max, &request.document)) else {
        return api.write(move |held| write(held, request)).await?;
    };
    for _ in 0..ATTEMPTS_MAX {
        let collected = collect(api, request.clone()).await?;
        let facts = every_fact(api, request.document.namespace()).await?;
        let judged = blocking(move || {
            let (outcome, comparison) = collected;
            let comparison = comparison.with_sites(facts);
            let changed = comparison.changed();
            let first: Vec<String> =
                changed.iter().take(SITES_NAMED_MAX).map(|site| site.name().to_owned()).collect();
            let refusal = max_sites.refusal(changed.len(), comparison.sites_total(), &first);
            (outcome, comparison, refusal)
        });
        let (outcome, comparison, refusal) = judged.await?;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if request.dry_run {
            return Ok(outcome);
        }
        let (own, again) = (api.clone(), request.clone());
        let written = api.write(move |held| {
            let now = inputs(&own, held, &again)?;
            now.is_same(comparison.before()).then(|| write(held, again)).transpose()
        });
        if let Some(outcome) = written.await?? {
            return Ok(outcome);
        }
    }
    Err(StatusError::not_yet(
        "others write so often that what this would change cannot be told; try again in a moment. Nothing was changed",
    ))
}

/// Whether a change of the document could exceed the limit at all. A site, and what is one site's, is one.
fn can_exceed(max_sites: MaxSites, document: &Document) -> bool {
    let is_one = match document.kind() {
        Kind::Site => true,
        Kind::Override => document.owner().is_some(),
        _ => false,
    };
    Comparison::concerns_many(document) || (is_one && max_sites == MaxSites::Count(0))
}

/// The write as it would be, and what there is to compare, as of one moment.
async fn collect(api: &Api, request: WriteRequest) -> Result<(WriteOutcome, Comparison), StatusError> {
    let own = api.clone();
    api.write(move |held| {
        let request = WriteRequest { dry_run: true, ..request };
        let outcome = write(held, request.clone())?;
        let resource = (!matches!(request.wish, Wish::Delete)).then(|| (*outcome.view.resource).clone());
        let planned = vec![(request.document.clone(), resource)];
        let comparison =
            Comparison::of(held, request.document.namespace(), planned, request.time_ms, &mut own.pins());
        Ok((outcome, comparison.map_err(StatusError::internal)?))
    })
    .await?
}

fn inputs(api: &Api, held: &Held, request: &WriteRequest) -> Result<NamespaceInputs, StatusError> {
    NamespaceInputs::collect(held, request.document.namespace(), None, request.time_ms, &mut api.pins())
        .map_err(StatusError::internal)
}
