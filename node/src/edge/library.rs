//! An edge inside a program: the daemon, without a process of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use driftless_core::name::{Document, Kind, NameError};
use driftless_core::replica::{ChangeRequest, Write, WriteError};
use driftless_core::resolve::{Denied, resolve};
use driftless_core::store::StoreError;
use serde_json::{Value, json};

use super::{Active, Hook, Place, machines, read, write};
use crate::api::{Backend, ChangeName, GROUP_VERSION, Held, Operation, StatusError, Stopping};
use crate::daemon::{Daemon, DaemonError, EdgeOptions, start_edge};
use crate::identity::Role;
use crate::inputs::{NamespaceInputs, Pins, SiteFacts};

/// A node of a site, inside the program that started it.
///
/// It joins a fleet once, with a token; from then on its data directory is all that it needs. It syncs with
/// its hubs whenever it can reach one, and works the same when it cannot: [`Edge::config`] keeps what the
/// site runs, [`Edge::put_local_override`] and [`Edge::report`] are durable when they return and reach the
/// hubs later. Dropping it stops it without a farewell; [`Edge::stop`] is the orderly way.
///
/// ```no_run
/// # async fn example() -> Result<(), driftless::edge::EdgeError> {
/// let edge = driftless::edge::Edge::builder()
///     .data_dir("/var/lib/till")
///     .token_file("/etc/till/join.token")
///     .start()
///     .await?;
/// let mut config = edge.config();
/// while config.changed().await.is_ok() {
///     println!("{:?}", config.borrow_and_update().as_ref().map(|config| config["values"].clone()));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Edge {
    daemon: Daemon,
    backend: Arc<dyn Backend>,
    place: Place,
    active: Active,
}

/// Why an edge did not start, or what it was asked for was not done. What is on disk stays usable.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// It was not told where to keep its state.
    #[error("no data directory: call data_dir() with a directory that survives restarts")]
    NoDataDir,
    /// The token cannot be read.
    #[error("the join token in {} cannot be read: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The node did not start, or not stop in good order.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The replica did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was reported is no Machine.
    #[error("not a machine: {0}")]
    Machine(String),
    /// The node's API refuses it.
    #[error(transparent)]
    Api(#[from] StatusError),
    /// The site does not allow this local override.
    #[error("the local override would not stand: {}", denials(.0))]
    Denied(Vec<Denied>),
}

/// What an edge is to be. Made by [`Edge::builder`].
#[derive(Debug, Clone)]
pub struct EdgeBuilder {
    options: EdgeOptions,
    token_file: Option<PathBuf>,
}

impl EdgeBuilder {
    /// Where identity and state are kept. Required.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.data_dir = dir.into();
        self
    }

    /// A join token, for the first start; later ones ignore it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.join = Some(token.into());
        self
    }

    /// A file with a join token, which is read at the first start only.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// The site to join as, if the token leaves it open.
    pub fn site(mut self, site: impl Into<String>) -> Self {
        self.options.site = Some(site.into());
        self
    }

    /// The node's name within the site; the host's unless given.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.options.node = Some(node.into());
        self
    }

    /// Addresses of hubs (`host:port`), instead of those that the token named and the fleet knows.
    pub fn hubs(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.hubs = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Addresses of other nodes of the site.
    pub fn peers(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.peers = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Where to serve the HTTP API; a free port on loopback unless given.
    pub fn api(mut self, address: SocketAddr) -> Self {
        self.options.api = address;
        self
    }

    /// Where to listen for QUIC from other nodes of the site; a free port unless given.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen = address;
        self
    }

    /// A directory to render the active configuration into: see [`crate::edge::render`].
    pub fn render(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.render = Some(dir.into());
        self
    }

    /// A command that takes up a configuration before it counts as active.
    pub fn on_change(mut self, hook: Hook) -> Self {
        self.options.on_change = Some(hook.command);
        self.options.on_change_timeout = hook.timeout;
        self
    }

    /// Starts the node. The first start joins the fleet, and needs a hub for it; later ones need nobody.
    pub async fn start(mut self) -> Result<Edge, EdgeError> {
        if self.options.data_dir.as_os_str().is_empty() {
            return Err(EdgeError::NoDataDir);
        }
        let joined = crate::identity::NodeIdentity::exists(&self.options.data_dir);
        if let (false, Some(path)) = (joined, self.token_file) {
            let token = std::fs::read_to_string(&path);
            let token = token.map_err(|source| EdgeError::TokenFile { path, source })?;
            self.options.join = Some(token.trim().to_owned());
        }
        let daemon = start_edge(self.options).await?;
        let Role::Edge { namespace, site, node, .. } = daemon.runtime().identity().role.clone() else {
            unreachable!("start_edge starts edges");
        };
        let active = daemon.runtime().active().expect("an edge has something active or nothing yet");
        let backend = Arc::new(daemon.runtime().clone());
        Ok(Edge { backend, place: Place { namespace, site, node }, active, daemon })
    }
}

impl Edge {
    /// An edge to be configured and started.
    pub fn builder() -> EdgeBuilder {
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        EdgeBuilder { options: EdgeOptions { api, ..EdgeOptions::new("") }, token_file: None }
    }

    /// Which node of which site this is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The active configuration, and a wake-up whenever it changes; `None` until there is one.
    ///
    /// `{site, namespace, configHash, values, apps, profiles, appliedAt}`. After a restart it is at once what
    /// it was before.
    pub fn config(&self) -> Active {
        self.active.clone()
    }

    /// Overrides values of the configuration at this site, as far as its Site allows it; `null` or an empty
    /// map takes the override back.
    ///
    /// Refused if any of it would not stand: `spec.localOverride` of the Site does not allow the path, or a
    /// profile enforces it. Durable when it returns; the configuration follows.
    pub async fn put_local_override(&self, values: Value, reason: &str) -> Result<(), EdgeError> {
        let Place { namespace, site, .. } = self.place.clone();
        let document = Document::new(Kind::Override, &namespace, &format!("{site}.local"))?;
        let (by, now_ms) = (self.place.by(), self.backend.now_ms());
        let take_back = values.is_null() || values == json!({});
        let resource = json!({
            "apiVersion": GROUP_VERSION, "kind": "Override",
            "metadata": {"name": document.name(), "namespace": namespace},
            "spec": {"values": values, "reason": reason, "permanent": true},
        });
        let reason = reason.to_owned();
        let written = write(&*self.backend, move |held| {
            let change = match take_back {
                true if held.get(&document)?.is_none() => return Ok(()),
                true => ChangeRequest::Delete,
                false => {
                    let denied = denied(held, &document, resource.clone(), now_ms)?;
                    if !denied.is_empty() {
                        return Err(EdgeError::Denied(denied));
                    }
                    ChangeRequest::Put(resource)
                }
            };
            held.write(Write::new(document, change, &by, now_ms).because(&reason))?;
            Ok(())
        });
        written.await?
    }

    /// Reports a Machine of the site, named `<site>.<name>` or just `<name>`; writes only what differs.
    ///
    /// Durable when it returns.
    pub async fn report(&self, machine: Value) -> Result<(), EdgeError> {
        let (name, resource) = machines::machine(&self.place, machine).map_err(EdgeError::Machine)?;
        let document = Document::new(Kind::Machine, &self.place.namespace, &name)?;
        let change = ChangeRequest::Put(resource);
        let report = Write::new(document, change, &self.place.by(), self.backend.now_ms());
        write(&*self.backend, move |held| held.write(report)).await??;
        Ok(())
    }

    /// What the node says of its site (`active`, `desired`, `hook`, `conditions`), with `site`, `namespace`,
    /// `node` and `api`.
    pub async fn status(&self) -> Result<Value, EdgeError> {
        let document = Document::new(Kind::SiteStatus, &self.place.namespace, &self.place.site)?;
        let view = read(&*self.backend, move |held| held.get(&document)).await??;
        let mut status = view.map_or(Value::Null, |view| view.resource["status"].clone());
        if status.is_null() {
            status = json!({});
        }
        status["site"] = json!(self.place.site);
        status["namespace"] = json!(self.place.namespace);
        status["node"] = json!(self.place.node);
        status["api"] = json!(self.daemon.api_url());
        Ok(status)
    }

    /// How far a change has come from here: `hubs` and this site, as [`crate::api::Api::trace`] tells it. Of
    /// what this node wrote: whether a hub holds it durably. Of a policy: whether the site runs it.
    pub async fn trace(&self, change: &ChangeName) -> Result<Value, EdgeError> {
        Ok(self.daemon.api().trace(change, None, None).await?)
    }

    /// The links of this node: `{peers: [{name, state, lagEvents, lagBytes, lagSeconds, reason, …}], cuts}`.
    pub async fn peers(&self) -> Result<Value, EdgeError> {
        Ok(self.backend.operate(Operation::Peers).await?)
    }

    /// Says farewell to peers and closes the store.
    pub async fn stop(self) -> Result<(), EdgeError> {
        drop(self.backend);
        Ok(self.daemon.stop().await?)
    }
}

/// What of a local override would not stand. A site that is not here allows nothing.
fn denied(held: &Held, document: &Document, resource: Value, now_ms: u64) -> Result<Vec<Denied>, EdgeError> {
    let (namespace, site) = (document.namespace(), document.owner().unwrap_or_default());
    let Some(facts) = SiteFacts::collect(held, &Document::new(Kind::Site, namespace, site)?)? else {
        let (object, path) = (format!("override/{}", document.name()), "anything".to_owned());
        return Ok(vec![Denied { object, path, profile: None }]);
    };
    let mut collected = NamespaceInputs::collect(held, namespace, Some(site), now_ms, &mut Pins::default())?;
    collected.with(held, document, Some(resource), &mut Pins::default())?;
    let own = format!("override/{}", document.name());
    let denied = resolve(&collected.inputs(&facts)).denied;
    Ok(denied.into_iter().filter(|denied| denied.object == own).collect())
}

fn denials(denied: &[Denied]) -> String {
    let line = |denied: &Denied| match &denied.profile {
        Some(profile) => format!("{} is enforced by profile/{profile}", denied.path),
        None => format!("the site allows no local override of {}", denied.path),
    };
    denied.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
