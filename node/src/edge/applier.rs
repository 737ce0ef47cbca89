//! Desired becomes active.
//!
//! The loop: take note of what changed in the replica; if it can matter, resolve anew; if what is desired is
//! not what is active, and no hold freezes it, render it, run the hook, and call it active; say so in the
//! site's status; wait. Everything that came while a hook ran is looked at together afterwards.
//!
//! Active changes only when all of that succeeded. A failure puts the files of the active configuration
//! back, is a condition of the site, and is tried again, less and less often, until something else is desired.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use driftless_core::name::{Kind, Scope};
use driftless_core::replica::{Change, WriteError};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::active::{self, Config};
use super::checkpoints::Checkpoints;
use super::hook::{self, Hook};
use super::status::{self, Condition, Report};
use super::wanted::{Wanted, look};
use super::{Active, Place, read, render, write};
use crate::api::{Backend, Held, Stopping};
use crate::inputs::Pins;

/// The first pause after a failure; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// How long changes are gathered before they are looked at, so that a burst is applied once.
const SETTLE: Duration = Duration::from_millis(20);
/// The pause after a look, in the times that it took: while an edge is being filled, commit after commit, looking
/// leaves most of the processor to that.
const REST: u32 = 4;
/// The longest such pause.
const REST_MAX: Duration = Duration::from_secs(2);
/// How many changes are read at a time.
const CHANGES_MAX: usize = 4_096;

/// Makes what is desired active, at one edge.
#[derive(Debug)]
pub struct Applier {
    place: Place,
    render: Option<PathBuf>,
    hook: Option<Hook>,
    published: watch::Sender<Option<Arc<Value>>>,
    inventory: watch::Receiver<Option<Condition>>,
    pub(super) retry_first: Duration,
}

impl Applier {
    pub(super) fn new(
        place: Place,
        render: Option<PathBuf>,
        hook: Option<Hook>,
        inventory: watch::Receiver<Option<Condition>>,
    ) -> (Self, Active) {
        let (published, active) = watch::channel(None);
        (Self { place, render, hook, published, inventory, retry_first: RETRY_FIRST }, active)
    }

    /// Publishes what was active when the node last ran. To be called before the API answers; [`Self::run`]
    /// does it otherwise.
    pub async fn restore(&self, backend: &dyn Backend) -> Result<(), Stopping> {
        if self.published.borrow().is_some() {
            return Ok(());
        }
        match read(backend, active::load).await? {
            Ok(Some(config)) => drop(self.published.send_replace(Some(Arc::clone(config.value())))),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "what was active is not known; resolving anew"),
        }
        Ok(())
    }

    /// Runs until the node stops. `interest` is told which scopes the node wants to hold, when they change.
    pub async fn run(self, backend: Arc<dyn Backend>, interest: watch::Sender<BTreeSet<Scope>>) {
        if self.restore(&*backend).await.is_err() {
            return;
        }
        let active = self.published.borrow().clone().map(Config::from);
        let run = Run {
            files_agree: files_agree(self.render.as_ref(), active.as_ref()),
            positions: backend.positions(),
            applier: self,
            backend,
            interest,
            seen: None,
            active,
            wanted: Wanted::default(),
            pins: Pins::default(),
            looked_for: Duration::ZERO,
            failure: None,
            hook: None,
            reported: None,
            checkpoints: Checkpoints::default(),
        };
        let Stopping = run.until_the_node_stops().await;
    }
}

/// Whether the rendered files are those of the active configuration.
fn files_agree(dir: Option<&PathBuf>, active: Option<&Config>) -> bool {
    match (dir, active) {
        (Some(dir), Some(active)) => render::rendered_hash(dir).as_deref() == Some(active.hash()),
        _ => true,
    }
}

/// An applier at work.
struct Run {
    applier: Applier,
    backend: Arc<dyn Backend>,
    interest: watch::Sender<BTreeSet<Scope>>,
    positions: watch::Receiver<u64>,
    /// The position up to which changes were looked at.
    seen: Option<u64>,
    active: Option<Config>,
    wanted: Wanted,
    pins: Pins,
    /// How long the last look took.
    looked_for: Duration,
    /// The rendered files are those of the active configuration.
    files_agree: bool,
    failure: Option<Failure>,
    hook: Option<Value>,
    reported: Option<Report>,
    checkpoints: Checkpoints,
}

/// A configuration that could not be applied.
struct Failure {
    hash: String,
    reason: &'static str,
    message: String,
    pause: Duration,
    over: Pin<Box<Sleep>>,
}

impl Run {
    async fn until_the_node_stops(mut self) -> Stopping {
        loop {
            if let Err(stopping) = self.round().await {
                return stopping;
            }
        }
    }

    async fn round(&mut self) -> Result<(), Stopping> {
        if self.take_changes().await? || self.wanted.look_again(self.backend.now_ms()).is_some() {
            self.look().await?;
        }
        self.apply().await?;
        self.report().await?;
        self.checkpoints.write_due(&*self.backend).await?;
        self.wait().await
    }

    /// Reads what changed; whether it can matter.
    async fn take_changes(&mut self) -> Result<bool, Stopping> {
        self.positions.borrow_and_update();
        let mut matters = self.seen.is_none();
        loop {
            let after = self.seen;
            let query =
                move |held: &Held| (after.map(|after| held.changes(after, CHANGES_MAX)), held.position());
            let (changes, position) = read(&*self.backend, query).await?;
            match changes {
                Some(Ok(changes)) => {
                    let place = &self.applier.place;
                    matters |= changes.iter().any(|change| can_matter(place, change));
                    changes.iter().for_each(|change| self.checkpoints.note(place, change));
                    match changes.last() {
                        Some(last) if changes.len() == CHANGES_MAX => self.seen = Some(last.position),
                        _ => {
                            self.seen = Some(position);
                            return Ok(matters);
                        }
                    }
                }
                // The first look, or changes that are not kept any more: everything may have changed.
                Some(Err(_)) | None => {
                    self.seen = Some(position);
                    return Ok(true);
                }
            }
        }
    }

    /// Resolves anew.
    async fn look(&mut self) -> Result<(), Stopping> {
        let (place, now_ms) = (self.applier.place.clone(), self.backend.now_ms());
        let mut pins = std::mem::take(&mut self.pins);
        let begun = Instant::now();
        let looked = read(&*self.backend, move |held| (look(held, &place, now_ms, &mut pins), pins));
        let ((wanted, interest), pins) = looked.await?;
        self.looked_for = begun.elapsed();
        self.pins = pins;
        if let Some(interest) = interest {
            self.interest
                .send_if_modified(|current| std::mem::replace(current, interest.clone()) != interest);
        }
        self.wanted = wanted;
        Ok(())
    }

    /// What is to be rendered and taken up now, if anything.
    fn goal(&self) -> Option<Config> {
        let desired = self.wanted.to_apply(self.backend.now_ms());
        let active = self.active.as_ref();
        let news = desired.filter(|desired| active.is_none_or(|active| active.hash() != desired.hash()));
        news.or(active.filter(|_| !self.files_agree)).cloned()
    }

    async fn apply(&mut self) -> Result<(), Stopping> {
        let Some(goal) = self.goal() else {
            self.failure = None;
            return self.note_other_profiles().await;
        };
        let again = self.failure.as_ref().filter(|failure| failure.hash == goal.hash());
        if again.is_some_and(|failure| !failure.over.is_elapsed()) {
            return Ok(());
        }
        let outcome = self.attempt(&goal).await;
        let outcome = match outcome {
            Ok(()) => self.activate(&goal).await?,
            Err(failed) => Err(failed),
        };
        match outcome {
            Ok(()) => self.failure = None,
            Err((reason, message)) => {
                tracing::warn!(
                    config_hash = goal.hash(),
                    reason,
                    message,
                    "the configuration was not applied"
                );
                if self.active.as_ref() != Some(&goal) {
                    self.put_files_back().await;
                } else {
                    self.files_agree = false;
                }
                let first = self.applier.retry_first;
                let pause = match &self.failure {
                    Some(failure) if failure.hash == goal.hash() => (failure.pause * 2).min(RETRY_MAX),
                    _ => first,
                };
                let over = Box::pin(tokio::time::sleep(pause));
                self.failure = Some(Failure { hash: goal.hash().to_owned(), reason, message, pause, over });
            }
        }
        Ok(())
    }

    /// Renders a configuration and runs the hook.
    async fn attempt(&mut self, goal: &Config) -> Result<(), (&'static str, String)> {
        if self.applier.render.is_some() {
            self.files_agree = false;
            self.render(Some(goal)).await.map_err(|error| ("RenderFailed", error))?;
        }
        if let Some(hook) = &self.applier.hook {
            let outcome = hook.run(self.applier.render.as_deref(), goal.hash()).await;
            self.hook = Some(hook::report(goal.hash(), &outcome));
            outcome.map_err(|error| (error.reason(), error.to_string()))?;
        }
        Ok(())
    }

    /// Makes a configuration the active one: on disk first, then for everybody to see.
    async fn activate(&mut self, goal: &Config) -> Result<Result<(), (&'static str, String)>, Stopping> {
        self.files_agree = true;
        if self.active.as_ref() == Some(goal) {
            return Ok(Ok(()));
        }
        let goal = &goal.applied_at(self.backend.now_ms());
        let kept = goal.clone();
        if let Err(error) = write(&*self.backend, move |held| active::store(held, &kept)).await? {
            return Ok(Err(("StoreFailed", error.to_string())));
        }
        tracing::info!(config_hash = goal.hash(), "the configuration is active");
        self.applier.published.send_replace(Some(Arc::clone(goal.value())));
        self.active = Some(goal.clone());
        Ok(Ok(()))
    }

    /// The same configuration may come out of other revisions; that is no change to whoever watches it.
    async fn note_other_profiles(&mut self) -> Result<(), Stopping> {
        let desired = self.wanted.to_apply(self.backend.now_ms());
        let (Some(active), Some(desired)) = (&self.active, desired) else { return Ok(()) };
        let Some(updated) = active.with_profiles_of(desired) else { return Ok(()) };
        let kept = updated.clone();
        if let Err(error) = write(&*self.backend, move |held| active::store(held, &kept)).await? {
            tracing::warn!(%error, "the profiles of the active configuration were not noted");
        }
        self.applier.published.send_if_modified(|active| {
            *active = Some(Arc::clone(updated.value()));
            false
        });
        self.active = Some(updated);
        Ok(())
    }

    /// Writes the files of a configuration, or removes them.
    async fn render(&self, config: Option<&Config>) -> Result<(), String> {
        let Some(dir) = self.applier.render.clone() else { return Ok(()) };
        let value = config.map(|config| Arc::clone(config.value()));
        let written = tokio::task::spawn_blocking(move || match value {
            Some(value) => render::render(&dir, &value),
            None => render::clear(&dir),
        });
        match written.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whoever reads the files while a configuration is not taken up reads the active one.
    async fn put_files_back(&mut self) {
        match self.render(self.active.as_ref()).await {
            Ok(()) => self.files_agree = true,
            Err(error) => tracing::warn!(error, "the files of the active configuration were not put back"),
        }
    }

    /// Says what changed in the site's status.
    async fn report(&mut self) -> Result<(), Stopping> {
        let report = Report {
            active: self.active.as_ref().map(Config::summary),
            desired: self.wanted.desired().map(|desired| desired.hash().to_owned()),
            hook: self.hook.clone(),
            conditions: self.conditions(),
            expired: self.wanted.expired(self.backend.now_ms()),
        };
        if self.reported.as_ref() == Some(&report) {
            return Ok(());
        }
        let (place, now_ms, said) = (self.applier.place.clone(), self.backend.now_ms(), report.clone());
        match write(&*self.backend, move |held| status::write(held, &place, &said, now_ms)).await? {
            // The node has not heard of its own enrolment yet; it will say it then.
            Err(WriteError::Forbidden(_)) => {}
            Err(error) => {
                tracing::warn!(%error, "the site's status could not be written");
                self.reported = Some(report);
            }
            Ok(()) => self.reported = Some(report),
        }
        Ok(())
    }

    fn conditions(&self) -> Vec<Condition> {
        let now_ms = self.backend.now_ms();
        let failure = self.failure.as_ref().map(|failure| (failure.reason, failure.message.as_str()));
        let mut conditions = self.wanted.conditions(self.active.as_ref(), failure, now_ms);
        conditions.extend(self.applier.inventory.borrow().clone());
        conditions
    }

    /// Waits until there is something to look at.
    async fn wait(&mut self) -> Result<(), Stopping> {
        let again = self.wanted.look_again(self.backend.now_ms());
        let rest = (self.looked_for * REST).clamp(SETTLE, REST_MAX);
        let Self { positions, applier, failure, .. } = self;
        let again = async {
            match again {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let retry = async {
            match failure {
                Some(failure) if !failure.over.is_elapsed() => failure.over.as_mut().await,
                _ => std::future::pending().await,
            }
        };
        let inventory = async {
            if applier.inventory.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            grown = positions.changed() => {
                grown.map_err(|_| Stopping)?;
                tokio::time::sleep(rest).await;
            }
            () = inventory => {}
            () = retry => {}
            () = again => {}
        }
        Ok(())
    }
}

/// Whether a change can change what the site should run.
fn can_matter(place: &Place, change: &Change) -> bool {
    match change.document.scope() {
        Scope::Profiles { namespace } | Scope::Catalog { namespace, .. } => namespace == place.namespace,
        Scope::Site { namespace, site } => {
            // Claims are in the status; machines and drift reports are in nobody's selector.
            let kind = matches!(change.document.kind(), Kind::Site | Kind::Override | Kind::SiteStatus);
            kind && namespace == place.namespace && site == place.site
        }
        Scope::Fleet => false,
    }
}

#[cfg(test)]
mod tests;
