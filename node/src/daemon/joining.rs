//! Joining, both sides: trading a token for certificates over one QUIC stream.
//!
//! The rules are in [`crate::identity`]; this file carries the two frames and looks up in the replica
//! what the rules ask for. What is granted is durable before the answer leaves.

use std::time::Duration;

use driftless_core::ids::Author;
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write, WriteError};
use driftless_core::store::StoreError;
use serde_json::Value;
use tokio::time::timeout;

use super::Runtime;
use super::clock::{now_ms, now_seconds};
use super::links::{self, DialError};
use super::tokens;
use crate::api::Held;
use crate::identity::{
    Enrolment, JOIN_EXPORTER_LABEL, JOIN_FRAME_BYTES_MAX, JoinAsk, JoinError, JoinExporter, JoinFacts,
    JoinFrameError, JoinGrant, JoinRefused, JoinReply, JoinRequest, JoinTarget, JoiningNode, NodeIdentity,
    RenewalError, RenewalGrant, RenewalRequest, Token, VerifiedJoin, grant_renewal, join_client_config,
    verify_join,
};

/// How long one attempt to join may take.
const ATTEMPT: Duration = Duration::from_secs(15);
/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Why a node did not join. Its keys stay, so that it can ask again.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    /// The hub said no.
    #[error("the hub refused: {0}")]
    Refused(#[from] JoinRefused),
    /// What it granted is not usable.
    #[error(transparent)]
    Grant(#[from] JoinError),
    /// No hub could be reached.
    #[error(
        "no hub of the fleet answered at {tried}: {last}; check the address and that UDP gets through, then start again"
    )]
    Unreachable {
        /// The addresses.
        tried: String,
        /// What happened at the last.
        last: String,
    },
}

/// Trades a token for an identity, at the first of the token's hubs (or of `hubs`) that answers.
///
/// `name` is the node's within its site, or the new hub's; `site` is needed where the token leaves it
/// open; `hosts` are what a new hub's API will be called by. The identity is durable when this returns.
pub async fn join(
    node: JoiningNode,
    token: &Token,
    hubs: &[String],
    name: &str,
    site: Option<&str>,
    hosts: &[String],
) -> Result<NodeIdentity, JoinFailure> {
    let addresses = if hubs.is_empty() { &token.spec().addresses } else { hubs };
    let mut last = "no address is known".to_owned();
    for address in addresses {
        match timeout(ATTEMPT, ask(&node, token, address, name, site)).await {
            Ok(Ok((request, JoinReply::Granted(grant)))) => {
                return Ok(node.accept(token, &request, &grant, hosts, now_seconds())?);
            }
            Ok(Ok((_, JoinReply::Refused(refused)))) => return Err(refused.into()),
            Ok(Ok((_, JoinReply::Renewed(_)))) => last = "the hub answered another question".to_owned(),
            Ok(Err(ExchangeError::Dial(error))) if error.is_other_fleet() => {
                last = format!("what answers there is of another fleet than the token ({error})");
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s", ATTEMPT.as_secs()),
        }
        tracing::warn!(address, reason = last, "joining failed at this address");
    }
    Err(JoinFailure::Unreachable { tried: addresses.join(", "), last })
}

/// Why an exchange broke off.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the connection cannot be tied to the request")]
    Exporter,
    #[error("the hub closed the connection: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("sending failed: {0}")]
    Send(#[from] quinn::WriteError),
    #[error("the hub's answer did not arrive whole: {0}")]
    Receive(#[from] quinn::ReadToEndError),
    #[error("the hub's answer is not understood: {0}")]
    Frame(#[from] JoinFrameError),
}

async fn ask(
    node: &JoiningNode,
    token: &Token,
    address: &str,
    name: &str,
    site: Option<&str>,
) -> Result<(JoinRequest, JoinReply), ExchangeError> {
    let tls = join_client_config(&token.fleet()).map_err(DialError::from)?;
    let endpoint = links::client_endpoint()?;
    let connection = links::dial(&endpoint, address, tls).await?;
    let request = node.request(token, name, site, &exporter(&connection)?);
    let reply = exchange(&connection, &JoinAsk::Join(request.clone())).await?;
    connection.close(0u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok((request, reply))
}

/// Why certificates were not renewed. The old ones stay.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewFailure {
    #[error("the hub refused: {0}")]
    Refused(#[from] JoinRefused),
    #[error(transparent)]
    Grant(#[from] RenewalError),
    #[error("no hub could be asked: {0}")]
    Unreachable(String),
}

/// Has an edge's certificates renewed by the first hub that answers.
pub(super) async fn renew(runtime: &Runtime, identity: &mut NodeIdentity) -> Result<(), RenewFailure> {
    let mut last = "no address is known".to_owned();
    for address in runtime.uplink_addresses().await {
        match timeout(ATTEMPT, ask_renewal(identity, &address)).await {
            Ok(Ok(JoinReply::Renewed(grant))) => return Ok(identity.take_renewal(&grant)?),
            Ok(Ok(JoinReply::Refused(refused))) => return Err(refused.into()),
            Ok(Ok(JoinReply::Granted(_))) => last = "the hub answered another question".to_owned(),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s", ATTEMPT.as_secs()),
        }
    }
    Err(RenewFailure::Unreachable(last))
}

async fn ask_renewal(identity: &NodeIdentity, address: &str) -> Result<JoinReply, ExchangeError> {
    let tls = join_client_config(&identity.fleet).map_err(DialError::from)?;
    let endpoint = links::client_endpoint()?;
    let connection = links::dial(&endpoint, address, tls).await?;
    let request = RenewalRequest::new(identity, &exporter(&connection)?);
    let reply = exchange(&connection, &JoinAsk::Renew(request)).await?;
    connection.close(0u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(reply)
}

async fn exchange(connection: &quinn::Connection, ask: &JoinAsk) -> Result<JoinReply, ExchangeError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&ask.to_frame()).await?;
    // A stream that was just opened can be finished.
    let _ = send.finish();
    let frame = receive.read_to_end(JOIN_FRAME_BYTES_MAX + LENGTH_BYTES).await?;
    Ok(JoinReply::from_frame(&frame)?)
}

fn exporter(connection: &quinn::Connection) -> Result<JoinExporter, ExchangeError> {
    let mut exporter = JoinExporter::default();
    connection
        .export_keying_material(&mut exporter, JOIN_EXPORTER_LABEL, b"")
        .map_err(|_| ExchangeError::Exporter)?;
    Ok(exporter)
}

/// Answers one request on an accepted connection.
pub(super) async fn serve(runtime: &Runtime, connection: quinn::Connection) {
    let served = timeout(ATTEMPT, answer(runtime, &connection)).await;
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, peer = %connection.remote_address(), "a join broke off"),
        Err(_) => tracing::info!(peer = %connection.remote_address(), "a join took too long"),
    }
}

async fn answer(runtime: &Runtime, connection: &quinn::Connection) -> Result<(), ExchangeError> {
    let (mut send, mut receive) = connection.accept_bi().await?;
    let frame = receive.read_to_end(JOIN_FRAME_BYTES_MAX + LENGTH_BYTES).await?;
    let exporter = exporter(connection)?;
    let reply = match JoinAsk::from_frame(&frame) {
        Ok(JoinAsk::Join(request)) => match runtime.admit(request, exporter).await {
            Ok(grant) => JoinReply::Granted(Box::new(grant)),
            Err(refused) => {
                tracing::warn!(%refused, peer = %connection.remote_address(), "a node may not join");
                JoinReply::Refused(refused)
            }
        },
        Ok(JoinAsk::Renew(request)) => match runtime.reissue(request, exporter).await {
            Ok(grant) => JoinReply::Renewed(Box::new(grant)),
            Err(refused) => JoinReply::Refused(refused),
        },
        Err(error) => JoinReply::Refused(JoinRefused::Malformed { detail: error.to_string() }),
    };
    send.write_all(&reply.to_frame()).await?;
    // The peer closes when it has the answer; if it is gone there is nobody to wait for.
    let _ = send.finish();
    let _ = send.stopped().await;
    Ok(())
}

impl Runtime {
    /// Verifies a request, enrols the node, and returns what to send it once all of it is durable.
    async fn admit(&self, request: JoinRequest, exporter: JoinExporter) -> Result<JoinGrant, JoinRefused> {
        let hub = self.identity();
        let addresses = self.hub_addresses().await;
        let granted = self
            .owner
            .write_async(move |node| admit(&mut node.replica, &hub, &request, &exporter, addresses))
            .await;
        granted.unwrap_or_else(|stopped| Err(JoinRefused::Issue { detail: stopped.to_string() }))
    }
}

impl Runtime {
    /// Issues new certificates to a node that is enrolled.
    async fn reissue(
        &self,
        request: RenewalRequest,
        exporter: JoinExporter,
    ) -> Result<RenewalGrant, JoinRefused> {
        let key = request.node_key;
        let known = self.owner.read_async(move |node| enrolled_as(&node.replica, &key)).await;
        let known = known.map_err(|stopped| JoinRefused::Issue { detail: stopped.to_string() })?;
        let addresses = self.hub_addresses().await;
        grant_renewal(&self.identity(), &request, &exporter, known.as_ref(), &addresses, now_seconds())
    }
}

fn admit(
    replica: &mut Held,
    hub: &NodeIdentity,
    request: &JoinRequest,
    exporter: &JoinExporter,
    hub_addresses: Vec<String>,
) -> Result<JoinGrant, JoinRefused> {
    let failed = |error: &dyn std::fmt::Display| JoinRefused::Issue { detail: error.to_string() };
    let record = match Token::parse(&request.token) {
        Ok(token) => tokens::load(replica, token.id()).map_err(|error| failed(&error))?,
        Err(_) => None,
    };
    let verified = verify_join(hub, record.as_ref(), request, exporter, now_seconds())?;
    let facts = facts(replica, &verified, hub_addresses).map_err(|error| failed(&error))?;
    let Some(mut record) = record else { return Err(JoinRefused::UnknownToken { hub: hub.display_name() }) };
    let (grant, enrolment) = verified.grant(hub, &mut record, &facts, now_seconds())?;
    enrol(replica, hub, &enrolment).map_err(|error| failed(&error))?;
    // The use is counted after the enrolment is staged: a crash in between costs the token nothing,
    // and the node, which asks again, is recognised by its key.
    tokens::store(replica, &record).map_err(|error| failed(&error))?;
    tracing::info!(target = %grant.target, "a node joined");
    Ok(grant)
}

fn facts(replica: &Held, join: &VerifiedJoin, hub_addresses: Vec<String>) -> Result<JoinFacts, StoreError> {
    let key_enrolled_as = enrolled_as(replica, &join.node_key());
    let (site, holder) = match join.target() {
        JoinTarget::Member { namespace, site, node } => (
            Document::new(Kind::Site, namespace, site).ok(),
            Document::new(Kind::Member, namespace, &format!("{site}.{node}")).ok(),
        ),
        JoinTarget::Hub { name } => (None, Document::new(Kind::Hub, "", name).ok()),
    };
    let site_exists = match site {
        Some(site) => replica.get(&site)?.is_some(),
        None => false,
    };
    let name_held_by = match holder {
        // A name whose key was revoked is free.
        Some(holder) => replica
            .get(&holder)?
            .and_then(|view| key_of(&view.resource))
            .filter(|key| !replica.authority().is_revoked(key)),
        None => None,
    };
    Ok(JoinFacts { site_exists, name_held_by, key_enrolled_as, hub_addresses })
}

fn key_of(resource: &Value) -> Option<Author> {
    resource.pointer("/spec/key")?.as_str()?.parse().ok()
}

/// What a key was enrolled as, unless it was revoked.
fn enrolled_as(replica: &Held, key: &Author) -> Option<JoinTarget> {
    use driftless_core::authority::Enrolment::{Hub, Site};
    let authority = replica.authority();
    let enrolment = authority.enrolments(key).next().filter(|_| !authority.is_revoked(key))?;
    Some(match enrolment.clone() {
        Hub { name } => JoinTarget::Hub { name },
        Site { namespace, site, node } => JoinTarget::Member { namespace, site, node },
    })
}

fn enrol(replica: &mut Held, hub: &NodeIdentity, enrolment: &Enrolment) -> Result<(), WriteError> {
    let by = hub.principal().to_string();
    match enrolment {
        Enrolment::Edge { member, site } => {
            put(replica, member, &by, None)?;
            site.iter().try_for_each(|site| put(replica, site, &by, None))
        }
        Enrolment::Hub { hub } => put(replica, hub, &by, Some(Author(replica.fleet().0))),
    }
}

/// Writes a resource of this system's own making, by its own name.
pub(super) fn put(
    replica: &mut Held,
    resource: &Value,
    by: &str,
    author: Option<Author>,
) -> Result<(), WriteError> {
    let text = |pointer| resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind").parse::<Kind>().expect("resources of our making have a kind");
    let document = Document::new(kind, text("/metadata/namespace"), text("/metadata/name"))
        .expect("resources of our making are named well");
    let mut write = Write::new(document, ChangeRequest::Put(resource.clone()), by, now_ms());
    write.author = author;
    replica.write(write).map(|_| ())
}
