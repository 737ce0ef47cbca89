//! What only an edge does: make the desired configuration the active one, and say what is there.
//!
//! [`Applier`] watches the replica, resolves the site's desired configuration anew whenever something
//! that it depends on changed, renders it as files, runs a command of the operator's, and then calls it
//! active. [`Inventory`] reports the host and what a command says of the site's machines. Both write only
//! documents of their own site, and only differences: nothing here beats.
//!
//! This is the node's shell: it reads files and clocks and starts processes. It decides nothing about what
//! a site should run; that is [`crate::desired`].

mod active;
mod applier;
mod checkpoints;
mod command;
mod hook;
mod host;
mod inventory;
mod library;
mod machines;
pub mod render;
mod status;
mod wanted;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driftless_sync::proto::Interest;
use tokio::sync::watch;

pub use crate::daemon::Active;
pub use applier::Applier;
pub use command::CommandError;
pub use hook::{HOOK_TIMEOUT, Hook, HookError};
pub use inventory::Inventory;
pub use library::{Edge, EdgeBuilder, EdgeError};
pub use machines::MachinesError;
pub use status::Condition;

use crate::api::{Backend, Held, Stopping};
use crate::daemon::{EdgeOptions, Runtime};
use crate::identity::Principal;

/// Which node of which site this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The site's namespace.
    pub namespace: String,
    /// The site.
    pub site: String,
    /// The node's name within the site.
    pub node: String,
}

impl Place {
    /// On whose behalf the node writes: its own.
    fn by(&self) -> String {
        let Self { namespace, site, node } = self.clone();
        Principal::Node { namespace, site, node }.to_string()
    }
}

/// What an edge does with its configuration and for its inventory.
#[derive(Debug, Clone, Default)]
pub struct EdgeConfig {
    /// Directory for the active configuration as files.
    pub render: Option<PathBuf>,
    /// What to run after the files changed.
    pub on_change: Option<Hook>,
    /// Command that prints the site's machines.
    pub inventory_command: Option<String>,
    /// How often to look at the host and to run it; a minute unless given.
    pub inventory_every: Option<Duration>,
}

impl From<&EdgeOptions> for EdgeConfig {
    fn from(options: &EdgeOptions) -> Self {
        let command = options.on_change.clone();
        Self {
            render: options.render.clone(),
            on_change: command.map(|command| Hook { command, timeout: options.on_change_timeout }),
            inventory_command: options.inventory_command.clone(),
            inventory_every: Some(options.inventory_every),
        }
    }
}

/// The two tasks of an edge, to be run beside its daemon, and what its configuration can be watched by.
pub fn tasks(place: Place, config: EdgeConfig) -> (Applier, Inventory, Active) {
    let (inventory, conditions) =
        Inventory::new(place.clone(), config.inventory_command, config.inventory_every);
    let (applier, active) = Applier::new(place, config.render, config.on_change, conditions);
    (applier, inventory, active)
}

/// Runs both tasks until the node stops, and has its engine ask for what the site's profiles name.
pub async fn run(runtime: Runtime, applier: Applier, inventory: Inventory) {
    let backend: Arc<dyn Backend> = Arc::new(runtime.clone());
    let (interest, mut wanted) = watch::channel(BTreeSet::new());
    let ask = async {
        while wanted.changed().await.is_ok() {
            let scopes = wanted.borrow_and_update().clone();
            let set = runtime.owner.write_async(move |node| node.set_interest(Interest::Scopes(scopes)));
            if set.await.is_err() {
                return;
            }
        }
    };
    tokio::join!(applier.run(Arc::clone(&backend), interest), inventory.run(backend), ask);
}

/// Reads the replica on its owner's thread.
async fn read<T: Send + 'static>(
    backend: &dyn Backend,
    query: impl FnOnce(&Held) -> T + Send + 'static,
) -> Result<T, Stopping> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A task that was stopped does not want its answer.
    backend.read(Box::new(|held| drop(sender.send(query(held))))).await?;
    receiver.await.map_err(|_| Stopping)
}

/// Writes to the replica on its owner's thread; durable when this returns.
async fn write<T: Send + 'static>(
    backend: &dyn Backend,
    command: impl FnOnce(&mut Held) -> T + Send + 'static,
) -> Result<T, Stopping> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    backend.write(Box::new(|held| drop(sender.send(command(held))))).await?;
    receiver.await.map_err(|_| Stopping)
}
