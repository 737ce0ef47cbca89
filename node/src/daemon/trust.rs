//! Revoking keys, in the name of the fleet's authority. Only a hub that holds the authority's key can.
//!
//! A revocation lists what the key wrote and this hub holds: that stands, on every node and whatever the
//! order in which things arrive. What the key wrote beyond it, and everything that it writes from now on,
//! counts nowhere. Sessions of the key end where the revocation arrives.

use std::collections::BTreeMap;

use driftless_core::authority::Enrolment;
use driftless_core::event::OPERATIONS_MAX;
use driftless_core::ids::Author;
use driftless_core::name::{Document, FLEET_NAMESPACE, Kind};
use driftless_core::replica::{ChangeRequest, Write, WriteError};
use serde_json::{Value, json};

use super::Runtime;
use super::clock::{now_ms, now_seconds};
use crate::api::{Held, StatusError};

/// Digits of a key in the name of its revocation.
const KEY_DIGITS: usize = 16;
/// Operations of a revocation besides the chains that it lists.
const OTHER_OPERATIONS: usize = 16;

/// What a client asks for: keys by the name of who has them.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    hub: Option<String>,
    site: Option<String>,
    namespace: Option<String>,
    /// One node of the site; all of them unless given.
    node: Option<String>,
    key: Option<String>,
    /// Nothing that the key wrote stands.
    #[serde(default)]
    nothing_stands: bool,
    #[serde(default)]
    reason: String,
}

impl Request {
    /// Whether a key that was enrolled so is meant.
    fn names(&self, key: &Author, enrolment: &Enrolment) -> bool {
        match enrolment {
            _ if self.key.is_some() => self.key.as_deref() == Some(key.to_string().as_str()),
            Enrolment::Hub { name } => self.hub.as_ref() == Some(name),
            Enrolment::Site { namespace, site, node } => {
                self.site.as_ref() == Some(site)
                    && self.namespace.as_deref().unwrap_or("default") == namespace
                    && self.node.as_ref().is_none_or(|wanted| wanted == node)
            }
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match (&self.hub, &self.site, &self.key) {
            (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => Ok(()),
            _ => Err("say whose keys: one of hub, site and key"),
        }
    }
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Request(&'static str),
    #[error("this hub does not hold the fleet's authority: revoke at the hub that does, or import it here")]
    NoAuthority,
    #[error("no key that is not revoked yet was enrolled for that")]
    NobodyThere,
    #[error("that is this hub's own key: revoke it at another hub")]
    Oneself,
    #[error(
        "{key} wrote in {chains} chains, more than one revocation can list; say that nothing stands, and make \
         anew what has to"
    )]
    TooMuch { key: Author, chains: usize },
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Runtime {
    /// Revokes keys; durable when it answers.
    pub(super) async fn revoke(&self, request: Value, by: String) -> Result<Value, StatusError> {
        let request: Request =
            serde_json::from_value(request).map_err(|error| StatusError::bad_request(error.to_string()))?;
        let own = self.identity().author();
        let revoked = self.owner.write_async(move |node| revoke(&mut node.replica, &request, own, &by)).await;
        match revoked.map_err(|error| StatusError::unavailable(error.to_string()))? {
            Ok(revoked) => Ok(json!({"revoked": revoked})),
            Err(Refused::Write(error @ WriteError::Store(_))) => {
                Err(StatusError::internal(error.to_string()))
            }
            Err(refused) => Err(StatusError::bad_request(refused.to_string())),
        }
    }
}

fn revoke(replica: &mut Held, request: &Request, own: Author, by: &str) -> Result<Vec<Value>, Refused> {
    request.check().map_err(Refused::Request)?;
    let authority = Author(replica.fleet().0);
    if !replica.authors().any(|author| author == authority) {
        return Err(Refused::NoAuthority);
    }
    let enrolled = replica.authority().enrolled();
    let meant = enrolled
        .filter(|(key, enrolment)| request.names(key, enrolment) && !replica.authority().is_revoked(key));
    let keys: BTreeMap<Author, Enrolment> = meant.map(|(key, enrolment)| (*key, enrolment.clone())).collect();
    if keys.is_empty() {
        return Err(Refused::NobodyThere);
    }
    if keys.contains_key(&own) {
        return Err(Refused::Oneself);
    }
    let mut writes = vec![];
    for (key, enrolment) in &keys {
        let heads = if request.nothing_stands { BTreeMap::new() } else { standing(replica, key) };
        let chains: usize = heads.values().map(BTreeMap::len).sum();
        if chains > OPERATIONS_MAX - OTHER_OPERATIONS {
            return Err(Refused::TooMuch { key: *key, chains });
        }
        writes.push((revocation(*key, enrolment, &heads, request, by), heads));
    }
    let mut revoked = vec![];
    for ((mut write, node), heads) in writes {
        tracing::warn!(node, document = %write.document, by, "a key is revoked");
        write.author = Some(authority);
        let stands: u64 = heads.values().flat_map(BTreeMap::values).sum();
        revoked.push(json!({"node": node, "revocation": write.document.name(), "eventsThatStand": stands}));
        replica.write(write)?;
    }
    Ok(revoked)
}

/// The last place that is held here of each chain of a key, by scope and boot.
fn standing(replica: &Held, key: &Author) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut heads: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for scope in replica.scopes() {
        for (chain, head) in replica.vector(scope).iter().filter(|(chain, _)| chain.author == *key) {
            heads.entry(scope.to_string()).or_default().insert(chain.boot.to_string(), head.seq);
        }
    }
    heads
}

/// The write that revokes a key, and whose key that is.
fn revocation(
    key: Author,
    enrolment: &Enrolment,
    heads: &BTreeMap<String, BTreeMap<String, u64>>,
    request: &Request,
    by: &str,
) -> (Write, String) {
    let node = match enrolment {
        Enrolment::Hub { name } => name.clone(),
        Enrolment::Site { namespace, site, node } => format!("{namespace}/{site}.{node}"),
    };
    let digits = key.to_string();
    let name = format!("{}-{}", digits.get(..KEY_DIGITS).unwrap_or(&digits), now_seconds());
    let document = Document::new(Kind::Revocation, FLEET_NAMESPACE, &name).expect("digits and a hyphen");
    let resource = json!({
        "apiVersion": "driftless.dev/v1",
        "kind": "Revocation",
        "metadata": {"name": name, "annotations": {"driftless.dev/node": node}},
        "spec": {"key": digits, "heads": heads},
    });
    (Write::new(document, ChangeRequest::Put(resource), by, now_ms()).because(&request.reason), node)
}
