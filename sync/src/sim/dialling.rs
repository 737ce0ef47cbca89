//! Connections of simulated nodes: dialled, ended by one side, lost, and dialled again.

use super::node::{Node, NodeId, Uplink};
use super::report::Broken;
use super::world::{BACKOFF_MS, Happening, World};
use crate::proto::Input;

impl World {
    pub(crate) fn dial(&mut self, node: NodeId, uplink: usize, run: u64) -> Result<(), Broken> {
        let place = &mut self.nodes[node].uplinks[uplink];
        if place.connection.is_some() || place.targets.is_empty() {
            return Ok(());
        }
        let target = place.targets[place.next % place.targets.len()];
        if self.nodes[node].run != run || self.nodes[node].running.is_none() {
            return Ok(());
        }
        if self.now < self.nodes[node].away_until {
            let at = self.nodes[node].away_until;
            self.schedule(at, Happening::Dial { node, uplink, run });
            return Ok(());
        }
        let up = self.nodes[target].running.is_some() && self.network.reachable(node, target);
        let cut = |node: &Node, peer: &Node| {
            node.running.as_ref().is_some_and(|running| running.engine.is_cut(&peer.kind))
        };
        let known = self.nodes[target].author();
        let connected = self.nodes[node].running.as_ref().is_some_and(|r| r.engine.is_connected(known));
        let needless = self.nodes[target].kind.is_hub() && self.has_uplink_elsewhere(node);
        if connected || needless || !up || cut(&self.nodes[node], &self.nodes[target]) {
            self.dial_later(node, uplink);
            return Ok(());
        }
        let link = self.scenario.link_between(node, target);
        let faults = &self.scenario.faults;
        let connection = self.network.open([node, target], link, faults, &mut self.random, self.now);
        let place = &mut self.nodes[node].uplinks[uplink];
        place.connection = Some(connection);
        place.attempts = 0;
        if place.home_first {
            place.next = place.targets.len() - 1;
        }
        self.totals.connections += 1;
        let ends = self.network.connections[&connection].ends;
        self.note(4, node, &(target as u64).to_le_bytes());
        let peer = self.nodes[node].info(false);
        self.feed(target, Input::Connected { session: ends[1].session, peer })?;
        let peer = self.nodes[target].info(true);
        // The acceptor may have refused at once.
        match self.network.connections.get(&connection).is_some_and(|c| c.ends[0].open) {
            true => self.feed(node, Input::Connected { session: ends[0].session, peer }),
            false => Ok(()),
        }
    }

    pub(crate) fn dial_later(&mut self, node: NodeId, uplink: usize) {
        let place: &mut Uplink = &mut self.nodes[node].uplinks[uplink];
        place.next += 1;
        place.attempts = (place.attempts + 1).min(5);
        let attempts = u64::from(place.attempts);
        let run = self.nodes[node].run;
        let at = self.now + self.random.within(BACKOFF_MS) * attempts;
        self.schedule(at, Happening::Dial { node, uplink, run });
    }

    /// One end closes; the other hears of it after what was sent before.
    pub(crate) fn hang_up(&mut self, connection: u64, side: usize, reason: &str) {
        let node = self.network.connections.get(&connection).map(|c| c.ends[side].node);
        let told = self.network.close(connection, side);
        if let Some(node) = node {
            self.redial(node, connection);
        }
        if let Some((other, after)) = told {
            let reachable = node.is_some_and(|node| self.network.reachable(node, other.node));
            let (at, heard_at) = match reachable {
                true => (after.max(self.now) + 1, after.max(self.now) + 1),
                false => (self.now + self.scenario.links.idle_timeout_ms, self.now),
            };
            let reason = format!("closed by the peer: {reason}");
            self.schedule(at, Happening::Lose { connection, side: 1 - side, reason, heard_at });
        }
    }

    pub(crate) fn lose(
        &mut self,
        connection: u64,
        side: usize,
        reason: String,
        heard_at: u64,
    ) -> Result<(), Broken> {
        let Some(end) = self.network.connections.get(&connection).map(|c| c.ends[side]) else {
            return Ok(());
        };
        if !end.open {
            return Ok(());
        }
        self.network.close(connection, side);
        self.note(5, end.node, reason.as_bytes());
        self.redial(end.node, connection);
        let silent_ms = self.now - heard_at.min(self.now);
        self.feed(end.node, Input::Closed { session: end.session, reason, silent_ms })
    }

    pub(crate) fn redial(&mut self, node: NodeId, connection: u64) {
        let uplink = self.nodes[node].uplinks.iter().position(|u| u.connection == Some(connection));
        if let Some(uplink) = uplink {
            self.nodes[node].uplinks[uplink].connection = None;
            self.dial_later(node, uplink);
        }
    }

    /// Both ends learn at about the same time that the connection is gone; what was on its way is lost.
    pub(crate) fn break_connection(
        &mut self,
        connection: u64,
        heard_at: u64,
        reason: &str,
    ) -> Result<(), Broken> {
        let first = self.random.below(2) as usize;
        let later = self.now + self.random.below(3_000);
        let reason = reason.to_owned();
        let second = Happening::Lose { connection, side: 1 - first, reason: reason.clone(), heard_at };
        self.schedule(later, second);
        self.lose(connection, first, reason, heard_at)
    }
}
