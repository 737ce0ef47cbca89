//! `GET /metrics`: OpenMetrics text. Every number is read from what it measures, or counted where it
//! happens.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use driftless_core::name::Kind;
use driftless_core::store::Store as _;

use super::{Api, StatusError};

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only up, from 0 at the start of the node.
    Counter,
    /// Up and down.
    Gauge,
}

/// One family of metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Without the suffix `_total` of counters; the unit last.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Samples: labels, and the value.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

impl Metric {
    /// A family of one sample without labels.
    pub fn one(name: &'static str, help: &'static str, kind: MetricKind, value: f64) -> Self {
        Self { name, help, kind, samples: vec![(vec![], value)] }
    }
}

/// Answers by class of status, as the gate saw them leave.
#[derive(Default)]
pub(super) struct Counters {
    answers: [AtomicU64; 5],
}

impl Counters {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers with all metrics.
pub(super) async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, StatusError> {
    let mut families = of_api(&api);
    families.extend(of_replica(&api).await?);
    families.push(of_sites(&api).await?);
    families.extend(api.backend().metrics().await);
    if api.local().site.is_none() {
        families.extend(api.progress_metrics().await?);
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], render(&families)))
}

fn of_api(api: &Api) -> Vec<Metric> {
    let counters = &api.0.counters.answers;
    let answers = counters.iter().enumerate().map(|(class, count)| {
        let label = vec![("class", format!("{}xx", class + 1))];
        (label, count.load(Ordering::Relaxed) as f64)
    });
    let fresh = api.backend().freshness();
    let age = |time_ms: u64| api.now_ms().saturating_sub(time_ms) as f64 / 1_000.0;
    let mut families = vec![
        Metric {
            name: "driftless_api_answers",
            help: "Answers of the API by class of status.",
            kind: MetricKind::Counter,
            samples: answers.collect(),
        },
        gauge(
            "driftless_api_requests",
            "Requests under way.",
            (super::REQUESTS_MAX - api.0.requests.available_permits()) as f64,
        ),
        gauge(
            "driftless_api_waiters",
            "Watches and long polls under way.",
            (super::WAITERS_MAX - api.0.waiters.available_permits()) as f64,
        ),
        gauge(
            "driftless_ready",
            "Whether the node serves.",
            f64::from(u8::from(api.backend().ready().is_ok())),
        ),
    ];
    // What is not known has no sample: zero would say "fresh".
    if let Some(as_of_ms) = fresh.as_of_ms {
        families.push(gauge(
            "driftless_staleness_seconds",
            "Time since the replica was last known to hold what a hub held.",
            age(as_of_ms),
        ));
    }
    if let Some(last_contact_ms) = fresh.last_contact_ms {
        families.push(gauge(
            "driftless_hub_contact_age_seconds",
            "Time since a hub was last heard.",
            age(last_contact_ms),
        ));
    }
    families
}

async fn of_replica(api: &Api) -> Result<Vec<Metric>, StatusError> {
    let read = api.read(|held| {
        let documents: Vec<(Kind, usize)> = Kind::ALL
            .into_iter()
            .map(|kind| (kind, held.names(kind, None, &Default::default()).len()))
            .collect();
        (
            held.position(),
            held.scopes().count(),
            held.conflicted().len(),
            held.store().disk_bytes(),
            documents,
        )
    });
    let (position, scopes, conflicted, disk_bytes, documents) = read.await?;
    let by_kind = |(kind, count): (Kind, usize)| (vec![("kind", kind.name().to_owned())], count as f64);
    Ok(vec![
        gauge(
            "driftless_log_position",
            "Events in this replica's log since it was created.",
            position as f64,
        ),
        gauge("driftless_scopes", "Scopes of which something is held.", scopes as f64),
        gauge(
            "driftless_conflicted_documents",
            "Documents with conflicts that nobody acknowledged.",
            conflicted as f64,
        ),
        gauge("driftless_store_bytes", "Bytes that the store occupies on disk.", disk_bytes as f64),
        Metric {
            name: "driftless_documents",
            help: "Live documents by kind.",
            kind: MetricKind::Gauge,
            samples: documents.into_iter().map(by_kind).collect(),
        },
    ])
}

async fn of_sites(api: &Api) -> Result<Metric, StatusError> {
    let phases = super::site_status::phases(api).await?;
    let sample = |(phase, count): (&str, usize)| (vec![("phase", phase.to_owned())], count as f64);
    Ok(Metric {
        name: "driftless_sites",
        help: "Sites by how long ago they were heard, as far as this node knows.",
        kind: MetricKind::Gauge,
        samples: phases.into_iter().map(sample).collect(),
    })
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric::one(name, help, MetricKind::Gauge, value)
}

/// Writes the text format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
fn render(families: &[Metric]) -> String {
    let mut text = String::new();
    for family in families {
        let (kind, suffix) = match family.kind {
            MetricKind::Counter => ("counter", "_total"),
            MetricKind::Gauge => ("gauge", ""),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {} {kind}", family.name);
        let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
        for (labels, value) in &family.samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{}{suffix}{labels} {value}", family.name);
        }
    }
    text.push_str("# EOF\n");
    text
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_open_metrics() {
        let counter = Metric {
            name: "driftless_api_answers",
            help: "Answers.",
            kind: MetricKind::Counter,
            samples: vec![(vec![("class", "2\"xx".to_owned())], 3.0)],
        };
        assert_eq!(
            render(&[counter, gauge("driftless_ready", "Ready.", 1.0)]),
            "# TYPE driftless_api_answers counter\n# HELP driftless_api_answers Answers.\n\
             driftless_api_answers_total{class=\"2\\\"xx\"} 3\n\
             # TYPE driftless_ready gauge\n# HELP driftless_ready Ready.\ndriftless_ready 1\n# EOF\n"
        );
    }
}
