//! How long the hub's API takes to answer, asked at a steady rate.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use driftless::cli::client::{Ask, Client};
use driftless::identity::{ADMIN_KUBECONFIG, read_kubeconfig};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::samples::Samples;

/// Between two requests.
const EVERY: Duration = Duration::from_millis(10);
/// Most requests under way; the hub takes several times as many. Others wait, and their time counts.
const UNDER_WAY_MAX: usize = 64;
/// What is read: one profile of about 1 KB.
const PATH: &str = "/apis/driftless.dev/v1/namespaces/default/profiles/profile-0";

/// Reads one profile over and over, until it is stopped.
pub(super) struct Prober {
    stop: oneshot::Sender<()>,
    answers: JoinHandle<anyhow::Result<Samples>>,
}

impl Prober {
    /// Begins to ask the hub with this data directory.
    pub(super) async fn start(hub_dir: &Path) -> anyhow::Result<Self> {
        let config = read_kubeconfig(&hub_dir.join(ADMIN_KUBECONFIG), None)?;
        let client = Arc::new(Client::new(&config)?);
        // The first request pays for the connection.
        client.json(Ask::get(PATH)).await?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { stop, answers: tokio::spawn(ask(client, stopped)) })
    }

    /// Milliseconds from when each request was due until it was answered: one that waits for another, or
    /// for this machine, has waited.
    pub(super) async fn stop(self) -> anyhow::Result<Samples> {
        let _ = self.stop.send(());
        self.answers.await?
    }
}

async fn ask(client: Arc<Client>, mut stopped: oneshot::Receiver<()>) -> anyhow::Result<Samples> {
    let (mut requests, mut answers) = (JoinSet::new(), vec![]);
    let turns = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            at = due.tick() => {
                let (client, turns) = (Arc::clone(&client), Arc::clone(&turns));
                requests.spawn(async move {
                    let _turn = turns.acquire().await;
                    (client.json(Ask::get(PATH)).await, Instant::now(), at)
                });
            }
            Some(answer) = requests.join_next(), if !requests.is_empty() => answers.push(answer),
            _ = &mut stopped => break,
        }
    }
    while let Some(answer) = requests.join_next().await {
        answers.push(answer);
    }
    ensure!(!answers.is_empty(), "requests were due");
    let milliseconds = answers.into_iter().map(|answer| {
        let (answer, at, due) = answer?;
        answer.context("the hub's API answers throughout")?;
        anyhow::Ok(at.saturating_duration_since(due.into_std()).as_secs_f64() * 1e3)
    });
    milliseconds.collect()
}
