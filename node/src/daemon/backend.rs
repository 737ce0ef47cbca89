//! The node as its API sees it.

use std::sync::Arc;

use driftless_sync::proto::CutTarget;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Runtime;
use super::clock;
use crate::api::{
    Backend, Command, Freshness, Local, Operation, Pending, Presence, Query, StatusError, Stopping,
};

impl Backend for Runtime {
    fn read(&self, query: Query) -> Pending<'_, Result<(), Stopping>> {
        let answer = self.owner.read_async(move |node| query(&node.replica));
        Box::pin(async { answer.await.map_err(|_| Stopping) })
    }

    fn write(&self, command: Command) -> Pending<'_, Result<(), Stopping>> {
        let answer = self.owner.write_async(move |node| command(&mut node.replica));
        Box::pin(async { answer.await.map_err(|_| Stopping) })
    }

    fn local(&self) -> &Local {
        self.local()
    }

    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn positions(&self) -> watch::Receiver<u64> {
        self.positions()
    }

    fn freshness(&self) -> Freshness {
        let now = clock::now_ms();
        let heard = self.presences().hub_ms;
        match self.identity().is_hub() {
            // A hub takes writes itself: it is current as far as anybody can be.
            true => Freshness { as_of_ms: Some(now), last_contact_ms: heard.or(Some(now)) },
            false => Freshness { as_of_ms: heard, last_contact_ms: heard },
        }
    }

    fn presence(&self, namespace: &str, site: &str) -> Presence {
        let key = (namespace.to_owned(), site.to_owned());
        let own = self.local().site.as_ref() == Some(&key);
        match own {
            // The site speaks of itself.
            true => {
                let now = Some(clock::now_ms());
                Presence { last_seen_ms: now, as_of_ms: now, ..Presence::default() }
            }
            false => self.presences().site(namespace, site),
        }
    }

    fn operate(&self, operation: Operation) -> Pending<'_, Result<Value, StatusError>> {
        let runtime = self.clone();
        Box::pin(async move { runtime.perform(operation).await })
    }

    fn active(&self) -> Option<watch::Receiver<Option<Arc<Value>>>> {
        self.active()
    }
}

impl Runtime {
    async fn perform(&self, operation: Operation) -> Result<Value, StatusError> {
        match operation {
            Operation::Status => self.status_json().await,
            Operation::Peers => self.peers_json().await,
            Operation::Cut { peer, for_ms, by } => {
                tracing::warn!(peer = peer.as_deref().unwrap_or("all"), by, "links are cut by an operator");
                let target = peer.clone().map_or(CutTarget::All, CutTarget::Named);
                self.owner
                    .write_async(move |node| node.cut(target, for_ms))
                    .await
                    .map_err(|error| StatusError::unavailable(error.to_string()))?;
                Ok(json!({"cut": peer.unwrap_or_else(|| "all".to_owned()), "forMs": for_ms}))
            }
            Operation::Heal { peer, by } => {
                tracing::warn!(
                    peer = peer.as_deref().unwrap_or("all"),
                    by,
                    "links are healed by an operator"
                );
                let target = peer.clone().map_or(CutTarget::All, CutTarget::Named);
                let healed = self.owner.write_async(move |node| node.engine.heal(&target)).await;
                let healed = healed.map_err(|error| StatusError::unavailable(error.to_string()))?;
                Ok(json!({"healed": peer.unwrap_or_else(|| "all".to_owned()), "wasCut": healed}))
            }
            Operation::Trace { .. } => Err(StatusError::not_implemented("trace")),
            Operation::Tokens => self.tokens().await,
            Operation::TokenCreate { request, by } => {
                tracing::info!(by, "a join token is created");
                self.mint(request).await
            }
            Operation::TokenRevoke { id, by } => {
                tracing::info!(by, id, "a join token is revoked");
                self.revoke_token(&id).await
            }
        }
    }
}
