//! The node as its API sees it.

use std::sync::Arc;

use driftless_sync::proto::{CutTarget, EventPlace, SiteReach};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Runtime;
use super::clock;
use super::lag;
use crate::api::{
    Backend, Command, Freshness, Local, Metric, Operation, Pending, Presence, Query, StatusError, Stopping,
};
use crate::convergence::{self, Deliveries, HubName, Told};

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

    fn deliveries(
        &self,
        place: EventPlace,
        site: Option<(String, String)>,
    ) -> Pending<'_, Result<Deliveries, StatusError>> {
        Box::pin(async move {
            let told = convergence::deliveries(&self.owner, self.hub_name(), place, site).await;
            told.map_err(|error| StatusError::unavailable(error.to_string()))
        })
    }

    fn reach(&self, places: Vec<EventPlace>) -> Pending<'_, Result<Vec<Told<Vec<SiteReach>>>, StatusError>> {
        Box::pin(async move {
            let told = convergence::reach(&self.owner, self.hub_name(), places).await;
            told.map_err(|error| StatusError::unavailable(error.to_string()))
        })
    }

    fn metrics(&self) -> Pending<'_, Vec<Metric>> {
        Box::pin(async move {
            // A node that stops has nothing to measure.
            let lags = self.owner.read_async(lag::metrics).await.unwrap_or_default();
            lags.into_iter().chain(self.upkeep_metrics()).collect()
        })
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
    fn hub_name(&self) -> HubName {
        HubName { name: self.identity().display_name(), region: self.region() }
    }

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
            Operation::Tokens => self.tokens().await,
            Operation::TokenCreate { request, by } => {
                tracing::info!(by, "a join token is created");
                self.mint(request).await
            }
            Operation::Revoke { request, by } => self.revoke(request, by).await,
            Operation::TokenRevoke { id, by } => {
                tracing::info!(by, id, "a join token is revoked");
                self.revoke_token(&id).await
            }
        }
    }
}
