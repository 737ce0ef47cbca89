//! Machines of the site: the node's own host, and what a command of the operator's prints.
//!
//! A Machine that the node reports carries the label `driftless.dev/reported-by: <node>`. Of those, what the
//! command does not print any more is deleted, but only when it ended well and everything that it printed
//! was understood. What goes wrong is a condition of the site.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write, WriteError};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::machines::{self, Printed};
use super::status::Condition;
use super::{Place, command, host, read, write};
use crate::api::{Backend, GROUP_VERSION, Held, Stopping};

/// How often to look unless told otherwise.
const EVERY: Duration = Duration::from_secs(60);
/// How long the command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// What the command may print, in bytes: some 2,000 Kubernetes nodes.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// How many machines are written at a time, so that others get a word in.
const WRITES_MAX: usize = 64;
/// Says which node reports a machine.
const REPORTED_BY: &str = "driftless.dev/reported-by";

/// Reports the site's machines, at one edge.
#[derive(Debug)]
pub struct Inventory {
    place: Place,
    command: Option<String>,
    every: Duration,
    condition: watch::Sender<Option<Condition>>,
}

/// What became of one look.
struct Seen {
    /// By name.
    machines: BTreeMap<String, Value>,
    /// The command, if there is one, ended well.
    is_answered: bool,
    /// And all that it printed was understood.
    is_complete: bool,
    condition: Option<Condition>,
}

impl Inventory {
    pub(super) fn new(
        place: Place,
        command: Option<String>,
        every: Option<Duration>,
    ) -> (Self, watch::Receiver<Option<Condition>>) {
        let (condition, conditions) = watch::channel(None);
        (Self { place, command, every: every.unwrap_or(EVERY), condition }, conditions)
    }

    /// Runs until the node stops.
    pub async fn run(self, backend: Arc<dyn Backend>) {
        let Stopping = match self.until_the_node_stops(&*backend).await {
            Ok(never) => match never {},
            Err(stopping) => stopping,
        };
    }

    async fn until_the_node_stops(
        &self,
        backend: &dyn Backend,
    ) -> Result<std::convert::Infallible, Stopping> {
        self.wait_for_enrolment(backend).await?;
        loop {
            self.look(backend).await?;
            tokio::time::sleep(self.every).await;
        }
    }

    /// Waits until the node has heard that it may write.
    async fn wait_for_enrolment(&self, backend: &dyn Backend) -> Result<(), Stopping> {
        let mut positions = backend.positions();
        loop {
            positions.borrow_and_update();
            let own = self.document(&self.host_name());
            let may =
                read(backend, move |held| own.is_ok_and(|own| held.authority().allows(&held.author(), &own)));
            if may.await? {
                return Ok(());
            }
            positions.changed().await.map_err(|_| Stopping)?;
        }
    }

    /// Looks once, and writes what differs.
    pub(super) async fn look(&self, backend: &dyn Backend) -> Result<(), Stopping> {
        let seen = self.see().await;
        let mut condition = seen.condition;
        let kept: BTreeSet<String> = seen.machines.keys().cloned().collect();
        let machines: Vec<(String, Value)> = seen.machines.into_iter().collect();
        for some in machines.chunks(WRITES_MAX) {
            if let Err(error) = self.put(backend, some.to_vec(), !seen.is_answered).await? {
                condition = Some(failed("WriteFailed", error.to_string()));
            }
        }
        if seen.is_complete
            && let Err(error) = self.delete_others(backend, kept).await?
        {
            condition = Some(failed("WriteFailed", error.to_string()));
        }
        self.condition.send_if_modified(|current| std::mem::replace(current, condition.clone()) != condition);
        Ok(())
    }

    async fn see(&self) -> Seen {
        let host = json!({
            "apiVersion": GROUP_VERSION, "kind": "Machine",
            "metadata": {"name": self.host_name(), "namespace": self.place.namespace},
            "spec": host::spec(Path::new("/proc")),
        });
        let machines = BTreeMap::from([(self.host_name(), host)]);
        let Some(command) = &self.command else {
            return Seen { machines, is_answered: true, is_complete: false, condition: None };
        };
        match self.ask(command).await {
            Ok(printed) => self.seen(machines, printed),
            Err(condition) => {
                Seen { machines, is_answered: false, is_complete: false, condition: Some(condition) }
            }
        }
    }

    /// What the host and the command say together; of the host itself, the command knows better.
    fn seen(&self, mut machines: BTreeMap<String, Value>, printed: Printed) -> Seen {
        machines.extend(printed.machines);
        let condition = match printed.problem {
            Some(problem) => {
                failed("Incomplete", format!("{} entries are left out; {problem}", printed.refused))
            }
            None => {
                Condition::new("Inventory", "True", "Reported", "the command reports the site's machines")
            }
        };
        let is_complete = printed.refused == 0;
        Seen { machines, is_answered: true, is_complete, condition: Some(condition) }
    }

    /// Runs the command and reads what it printed.
    async fn ask(&self, command: &str) -> Result<Printed, Condition> {
        let finished = command::run(command, &[], COMMAND_TIMEOUT, OUTPUT_BYTES_MAX)
            .await
            .map_err(|error| failed("CommandFailed", error.to_string()))?;
        if !finished.status.success() {
            let (status, stderr) = (finished.status, finished.stderr);
            tracing::warn!(%status, stderr, "the inventory command failed; the machines stay as they were");
            return Err(failed("CommandFailed", format!("it ended with {status}; see the node's log")));
        }
        let place = self.place.clone();
        let printed = tokio::task::spawn_blocking(move || machines::read(&place, &finished.stdout)).await;
        match printed {
            Ok(printed) => printed.map_err(|error| failed("NotUnderstood", error.to_string())),
            Err(error) => Err(failed("NotUnderstood", error.to_string())),
        }
    }

    /// Writes machines; those that are as they were write nothing. All are tried; the first error is told.
    /// With `only_new`, what was reported earlier, perhaps by a command that knew more, is left alone.
    async fn put(
        &self,
        backend: &dyn Backend,
        machines: Vec<(String, Value)>,
        only_new: bool,
    ) -> Result<Result<(), WriteError>, Stopping> {
        let (place, now_ms) = (self.place.clone(), backend.now_ms());
        let put = move |held: &mut Held| {
            let mut outcome = Ok(());
            for (name, mut machine) in machines {
                machine["metadata"]["labels"][REPORTED_BY] = json!(place.node);
                let Ok(document) = Document::new(Kind::Machine, &place.namespace, &name) else { continue };
                let change = match only_new {
                    true => ChangeRequest::Create(machine),
                    false => ChangeRequest::Put(machine),
                };
                match held.write(Write::new(document, change, &place.by(), now_ms)) {
                    Ok(_) | Err(WriteError::AlreadyExists(_)) => {}
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            outcome
        };
        write(backend, put).await
    }

    /// Deletes the machines that this node reported and that are there no more.
    async fn delete_others(
        &self,
        backend: &dyn Backend,
        kept: BTreeSet<String>,
    ) -> Result<Result<(), WriteError>, Stopping> {
        let place = self.place.clone();
        let labels = [(REPORTED_BY.to_owned(), place.node.clone())].into_iter().collect();
        let names = read(backend, {
            let namespace = place.namespace.clone();
            move |held| held.names(Kind::Machine, Some(&namespace), &labels)
        });
        let own = |document: &Document| document.owner() == Some(&place.site);
        let gone = |document: &Document| !kept.contains(document.name());
        let gone: Vec<Document> =
            names.await?.into_iter().filter(|document| own(document) && gone(document)).collect();
        if gone.is_empty() {
            return Ok(Ok(()));
        }
        let (by, now_ms) = (place.by(), backend.now_ms());
        let delete = move |held: &mut Held| {
            gone.into_iter().try_for_each(|document| {
                held.write(Write::new(document, ChangeRequest::Delete, &by, now_ms)).map(drop)
            })
        };
        write(backend, delete).await
    }

    /// `<site>.<node>`.
    fn host_name(&self) -> String {
        format!("{}.{}", self.place.site, self.place.node)
    }

    fn document(&self, name: &str) -> Result<Document, driftless_core::name::NameError> {
        Document::new(Kind::Machine, &self.place.namespace, name)
    }
}

fn failed(reason: &'static str, message: String) -> Condition {
    Condition::new("Inventory", "False", reason, message)
}

#[cfg(test)]
mod tests;
