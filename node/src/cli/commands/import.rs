//! `import`: files of other systems into the fleet, through the API.
//!
//! The file is read on a thread of its own, and a bounded number of resources is under way at a time. What is
//! there already is compared first, so that importing the same file daily writes only what changed. What others
//! set on an imported resource stays.

mod send;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cli::args::Intent;
use crate::cli::failure::Failure;
use crate::cli::import::{Format, HieraOptions, ImportError, Options, Report, run};
use crate::cli::print;
use crate::cli::session::Session;
use send::Outcome;
pub(in crate::cli) use send::Sender;

/// Most requests under way, unless told otherwise.
const REQUESTS: usize = 16;
/// Most requests under way at all: beyond, a node refuses.
const REQUESTS_MAX: usize = 128;
/// Resources that are read and wait to be sent.
const WAITING_MAX: usize = 256;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// How many refusals are told word by word.
const TOLD_MAX: u64 = 20;

/// Import files of other systems: Helm indexes, Hiera hierarchies, Kubernetes nodes, tables of machines and stores
///
/// What a file is, is seen from its first bytes. Importing again changes only what changed. Machines are written by
/// their site: import them at its edge. Manifests of our own kinds are for `driftless apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless import index.yaml --repository https://charts.example
  driftless import stores.csv --label class=store --region eu
  driftless import nodes.json --site store-17 --data-dir edge
  driftless import stores.csv.zst --format sites-csv --dry-run
  driftless import control/hiera.yaml --data hieradata --nodes nodes.csv")]
pub struct Import {
    /// Files, also packed with zstd; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// What they are, if that cannot be seen
    #[arg(
        long,
        visible_alias = "kind",
        value_parser = ["helm-index", "nodes", "machines-csv", "sites-csv", "hiera", "helm", "machines", "stores"]
    )]
    pub format: Option<String>,
    /// The site whose machines these are
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// What names of sites begin with
    #[arg(long, value_name = "TEXT", default_value = "store")]
    pub prefix: String,
    /// A label for every site, as in class=store; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The URL of a Helm repository, for the relative addresses of its index
    #[arg(long, value_name = "URL")]
    pub repository: Option<String>,
    /// The region of stores whose row does not tell it
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The column with the region of a store
    #[arg(long, value_name = "NAME")]
    pub region_column: Option<String>,
    /// The column with the number of a store
    #[arg(long, value_name = "NAME")]
    pub id_column: Option<String>,
    /// The nodes of a Hiera hierarchy, as CSV: the name, then a column for each variable of its paths
    /// that is to be a label; other variables are claims that sites report
    #[arg(long, value_name = "FILE")]
    pub nodes: Option<String>,
    /// The directory of a Hiera hierarchy's data, beside it
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: String,
    /// How many requests may be under way
    #[arg(long, value_name = "N", default_value_t = REQUESTS)]
    pub concurrency: usize,
    /// How.
    #[command(flatten)]
    pub intent: Intent,
}

impl Import {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let format = self.format.as_deref().map(parse_format).transpose()?;
        let options = self.options(&session.namespace)?;
        let concurrency = self.concurrency.clamp(1, REQUESTS_MAX);
        let mut refused = 0;
        for file in &self.files {
            let sender = Sender::new(session, self.intent.reason.as_deref(), self.intent.dry_run());
            let done = import_file(&sender, file, format, &options, concurrency).await?;
            print::out(&format!("{}{}\n", done.summary(file), self.intent.suffix()))?;
            refused += done.refused();
        }
        if refused > 0 { Err(Failure::Told(1)) } else { Ok(()) }
    }

    fn options(&self, namespace: &str) -> Result<Options, Failure> {
        let labels = self.labels.iter().map(|label| match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::Usage(format!("--label: {label:?} is not KEY=VALUE"))),
        });
        Ok(Options {
            namespace: namespace.to_owned(),
            site: self.site.clone(),
            prefix: self.prefix.clone(),
            labels: labels.collect::<Result<BTreeMap<_, _>, _>>()?,
            repository: self.repository.clone(),
            region: self.region.clone(),
            region_column: self.region_column.clone(),
            id_column: self.id_column.clone(),
            hiera: HieraOptions { nodes: self.nodes.clone(), data: self.data.clone() },
        })
    }
}

fn parse_format(name: &str) -> Result<Format, Failure> {
    let name = match name {
        "helm" => "helm-index",
        "machines" => "machines-csv",
        "stores" => "sites-csv",
        name => name,
    };
    Ok(Format::parse(name)?)
}

/// What became of a file.
#[derive(Debug)]
pub(in crate::cli) struct Done {
    report: Report,
    counts: BTreeMap<(&'static str, Outcome), u64>,
}

impl Done {
    /// How many entries and resources were refused, here or by the node.
    pub(in crate::cli) fn refused(&self) -> u64 {
        let by_node: u64 = self
            .counts
            .iter()
            .filter(|((_, outcome), _)| *outcome == Outcome::Refused)
            .map(|(_, count)| count)
            .sum();
        by_node + u64::try_from(self.report.refused).unwrap_or(u64::MAX)
    }

    /// A line for people.
    pub(in crate::cli) fn summary(&self, file: &str) -> String {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|((plural, outcome), count)| format!("{count} {plural} {}", outcome.said()))
            .collect();
        let mut parts = if counts.is_empty() { vec!["nothing".to_owned()] } else { counts };
        if self.report.repeated > 0 {
            parts.push(format!("{} entries repeated", self.report.repeated));
        }
        if self.report.refused > 0 {
            parts.push(format!("{} entries not understood", self.report.refused));
        }
        format!("{file}: {}", parts.join(", "))
    }
}

/// Imports one file.
pub(in crate::cli) async fn import_file(
    sender: &Sender<'_>,
    file: &str,
    format: Option<Format>,
    options: &Options,
    concurrency: usize,
) -> Result<Done, Failure> {
    let (queue, mut resources) = mpsc::channel::<Value>(WAITING_MAX);
    let reading = {
        let (file, options) = (file.to_owned(), options.clone());
        tokio::task::spawn_blocking(move || {
            // Nobody takes what is read once sending has failed; the rest of the file is then read in vain.
            run(&file, format, &options, &mut |resource| drop(queue.blocking_send(resource)))
        })
    };
    let read = futures_util::stream::poll_fn(|context| resources.poll_recv(context));
    let mut sent = read.map(|resource| sender.send(resource)).buffer_unordered(concurrency);
    let mut counts: BTreeMap<(&'static str, Outcome), u64> = BTreeMap::new();
    let (mut total, mut told, mut say_at) = (0u64, 0u64, Instant::now() + PROGRESS_EVERY);
    while let Some(outcome) = sent.next().await {
        let (plural, outcome, complaint) = outcome?;
        *counts.entry((plural, outcome)).or_default() += 1;
        total += 1;
        if let Some(complaint) = complaint {
            told += 1;
            match told {
                ..=TOLD_MAX => print::note(&complaint),
                told if told == TOLD_MAX + 1 => print::note("more were refused; they are only counted"),
                _ => {}
            }
        }
        if Instant::now() >= say_at {
            print::note(&format!("{file}: {total} so far"));
            say_at = Instant::now() + PROGRESS_EVERY;
        }
    }
    drop(sent);
    let report =
        reading.await.map_err(|error| Failure::Refused(format!("reading {file} failed: {error}")))?;
    let report = report.inspect_err(|error| {
        if total > 0 && !matches!(error, ImportError::Option { .. }) {
            print::note(&format!("{file}: {total} were imported before this error; importing again is safe"));
        }
    })?;
    for problem in report.problems.iter().take(usize::try_from(TOLD_MAX).unwrap_or(usize::MAX)) {
        print::note(&format!("{file}: {problem}"));
    }
    Ok(Done { report, counts })
}
