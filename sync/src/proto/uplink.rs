//! Which node of a site keeps the uplink.
//!
//! Nodes of one site that reach each other need one session with a hub among them: the others get
//! everything by way of the one that has it. Each says whether it has one, and the shell of a node holds
//! back while [`Engine::uplink_elsewhere`]. Two uplinks cost bytes, never correctness, so nobody votes.

use super::engine::{Engine, Fault, Output};
use super::frame::Frame;
use super::interest::{Class, PeerKind};
use super::reason::{Reason, Violation};
use super::session::{Session, SessionId};

impl Engine {
    /// Whether a node of this site with a smaller key says, in a live session, that it has an uplink.
    pub fn uplink_elsewhere(&self) -> bool {
        let own = self.config.local.key;
        self.siblings().any(|(_, session)| session.has_uplink && session.peer.key < own)
    }

    /// Whether any node of this site, this one included, is known to have a session with a hub.
    pub fn site_has_uplink(&self) -> bool {
        !self.hubs.is_empty() || self.siblings().any(|(_, session)| session.has_uplink)
    }

    /// Whether a session is live: both sides have greeted.
    pub fn is_live(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(Session::is_live)
    }

    /// Ends a session because another one carries what it carried: the uplink has moved.
    pub fn end_moved(&mut self, id: SessionId, out: &mut Vec<Output>) {
        if self.sessions.contains_key(&id) {
            self.end(id, Reason::Moved, out);
        }
    }

    /// Tells the other nodes of the site whether there is an uplink here, when that has changed.
    pub(crate) fn tell_uplink(&mut self, out: &mut Vec<Output>) {
        let has_uplink = !self.hubs.is_empty();
        if self.config.local.kind.is_hub() || self.uplink_told == has_uplink {
            return;
        }
        self.uplink_told = has_uplink;
        let siblings: Vec<SessionId> = self.siblings().map(|(id, _)| id).collect();
        for id in siblings {
            self.send(id, &Frame::Uplink(has_uplink), Class::Control, out);
        }
    }

    /// Tells a node of the site that has just greeted.
    pub(crate) fn uplink_begins(&mut self, id: SessionId, out: &mut Vec<Output>) {
        if self.uplink_told && self.sessions.get(&id).is_some_and(|session| self.is_sibling(session)) {
            self.send(id, &Frame::Uplink(true), Class::Control, out);
        }
    }

    /// Takes what another node of the site says of its uplink.
    pub(crate) fn uplink_said(&mut self, id: SessionId, has_uplink: bool) -> Result<(), Fault> {
        if !self.sessions.get(&id).is_some_and(|session| self.is_sibling(session)) {
            return Err(Violation::Turn("uplink").into());
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.has_uplink = has_uplink;
        }
        Ok(())
    }

    fn siblings(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let live = self.sessions.iter().filter(|(_, session)| session.is_live() && self.is_sibling(session));
        live.map(|(id, session)| (*id, session))
    }

    fn is_sibling(&self, session: &Session) -> bool {
        let PeerKind::Site { namespace, site, .. } = &session.peer.kind else { return false };
        matches!(&self.config.local.kind, PeerKind::Site { namespace: n, site: s, .. } if n == namespace && s == site)
    }
}
