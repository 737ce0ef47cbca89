//! Presence: which site was heard when, at this node and at the other hubs.
//!
//! A site holds a *lease* at the hub that it has a session with: for as long as the transport keeps that
//! session, the site counts as heard; afterwards it was heard when the session last was. Hubs tell each
//! other of their own leases: all of them when their session begins, then those that change, gathered for
//! a moment. An idle fleet says nothing. What travels are ages, because clocks differ.
//!
//! What another hub told holds for as long as there is a session with it. When that ends, its sites were
//! heard when the hub was, and that is how old the knowledge is. Nothing of this is in the log or on
//! disk; a hub that has restarted is told by the others what it told them before.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use driftless_core::ids::Boot;
use driftless_core::name::Scope;
use driftless_core::wire::{DecodeError, Reader, Writer};

use super::engine::{Engine, Fault, Output};
use super::frame::{Frame, SCOPE_BYTES_MAX};
use super::interest::{Class, PeerId, PeerKind};
use super::reason::Violation;
use super::session::{Phase, Session, SessionId};

/// Most sites that one frame tells of.
const PAGE_SITES_MAX: usize = 1_024;
/// Pause between two frames of a long table, in milliseconds.
const PAGE_PAUSE_MS: u64 = 20;
/// What a site's scope begins with, which is not sent.
const SITES: &str = "sites/";

/// Whether somebody is connected, or was heard last when.
///
/// Times are those of the engine's clock in milliseconds. They may lie before its start: others were
/// there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// A session is live: heard within the idle timeout of the transport.
    Connected,
    /// There is no session any more.
    Gone {
        /// When it was heard last.
        heard_ms: i64,
    },
}

impl Lease {
    /// When the holder was heard, as of `now_ms`.
    pub fn heard_ms(&self, now_ms: u64) -> i64 {
        match self {
            Self::Connected => signed(now_ms),
            Self::Gone { heard_ms } => *heard_ms,
        }
    }

    /// Whether there is a session.
    pub fn is_connected(&self) -> bool {
        *self == Self::Connected
    }
}

/// What a hub tells of one site in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The site's scope.
    pub site: Scope,
    /// How long ago it was heard, in milliseconds; `None` while it is connected.
    pub silent_ms: Option<u64>,
}

/// Another hub, and what it told of the sites that it has or had sessions with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPresence {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Whether there is a session with it: as of when it can be asked.
    pub lease: Lease,
    boot: Boot,
    sites: Arc<BTreeMap<Scope, Lease>>,
}

/// A lease of a site, and who gave it.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// The lease.
    pub lease: Lease,
    /// The hub that the site has or had the session with; `None` if that is this node. What is known is
    /// known as of when that hub was heard.
    pub hub: Option<&'a HubPresence>,
}

/// Everything that a node knows of presence. Cheap to clone: tables are shared until they change.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    own: Arc<BTreeMap<Scope, Own>>,
    hubs: BTreeMap<PeerId, HubPresence>,
}

/// The lease of a site at this node.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// Live sessions with nodes of the site.
    sessions: usize,
    /// When a session that has ended last was heard.
    heard_ms: i64,
    /// The number of its last change.
    change: u64,
}

/// What an engine keeps for telling others.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    pub(crate) known: Presence,
    /// The sites with a lease here by the number of their last change.
    changes: BTreeMap<u64, Scope>,
    next_change: u64,
    connected: usize,
}

/// How far another hub has been told.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Changes up to this number were told.
    through: u64,
    /// When to tell more.
    pub(crate) at_ms: Option<u64>,
    lost: Option<Lost>,
}

/// What a hub told before it restarted, which it is told again.
#[derive(Debug)]
struct Lost {
    sites: Arc<BTreeMap<Scope, Lease>>,
    /// The last site that it was told.
    told: Option<Scope>,
}

impl Presence {
    /// What is known of a site: a session here, else one elsewhere, else who heard it last. `None` if
    /// nobody says that it was ever heard.
    pub fn site(&self, site: &Scope) -> Option<Heard<'_>> {
        let here = self.own.get(site).map(|own| Heard { lease: own.lease(), hub: None });
        let elsewhere = self.hubs.values().filter_map(|hub| {
            let lease = *hub.sites.get(site)?;
            Some(Heard { lease, hub: Some(hub) })
        });
        here.into_iter().chain(elsewhere).reduce(|best, other| match (best.lease, other.lease) {
            (Lease::Connected, _) => best,
            (_, Lease::Connected) => other,
            (Lease::Gone { heard_ms: a }, Lease::Gone { heard_ms: b }) => {
                if b > a {
                    other
                } else {
                    best
                }
            }
        })
    }

    /// The other hubs that there was a session with.
    pub fn hubs(&self) -> impl Iterator<Item = (&PeerId, &HubPresence)> {
        self.hubs.iter()
    }

    fn told_sites(&self) -> usize {
        self.hubs.values().map(|hub| hub.sites.len()).sum()
    }
}

impl Own {
    fn lease(&self) -> Lease {
        match self.sessions {
            0 => Lease::Gone { heard_ms: self.heard_ms },
            _ => Lease::Connected,
        }
    }
}

impl Teller {
    fn change(&mut self, site: &Scope, sites_max: usize, with: impl FnOnce(&mut Own)) {
        let own = Arc::make_mut(&mut self.known.own);
        let entry = own.entry(site.clone()).or_insert(Own { sessions: 0, heard_ms: i64::MIN, change: 0 });
        let before = entry.lease();
        with(entry);
        if before == entry.lease() {
            return;
        }
        self.changes.remove(&entry.change);
        self.next_change += 1;
        entry.change = self.next_change;
        match entry.lease() {
            Lease::Connected => self.connected += 1,
            Lease::Gone { .. } if before.is_connected() => self.connected -= 1,
            Lease::Gone { .. } => {}
        }
        self.changes.insert(self.next_change, site.clone());
        if own.len() > self.connected + sites_max {
            let gone = own.iter().filter(|(_, own)| own.sessions == 0);
            for site in longest_gone(gone.map(|(site, own)| (site, own.heard_ms))) {
                let dropped = own.remove(&site);
                dropped.map(|own| self.changes.remove(&own.change));
            }
        }
    }

    /// What to tell a hub next.
    fn page(&self, telling: &mut Telling, now_ms: u64) -> Vec<Told> {
        let silent = |lease: Lease| match lease {
            Lease::Connected => None,
            Lease::Gone { heard_ms } => Some(now_ms_since(now_ms, heard_ms)),
        };
        let mut page = vec![];
        let mut changes = self.changes.range(telling.through + 1..);
        for (_, site) in changes.by_ref().take(PAGE_SITES_MAX) {
            let lease = self.known.own.get(site).map(Own::lease);
            page.extend(lease.map(|lease| Told { site: site.clone(), silent_ms: silent(lease) }));
        }
        telling.through = changes.next().map_or(self.next_change, |(next, _)| next - 1);
        let Some(lost) = &mut telling.lost else { return page };
        let after = lost.told.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let more = PAGE_SITES_MAX - page.len();
        let rest: Vec<_> = lost.sites.range((after, Bound::Unbounded)).take(more).collect();
        if let Some((site, _)) = rest.last() {
            lost.told = Some((*site).clone());
        }
        let ended = rest.len() < more;
        let rest = rest.into_iter().filter(|(site, _)| !self.known.own.contains_key(site));
        page.extend(rest.map(|(site, lease)| Told { site: site.clone(), silent_ms: silent(*lease) }));
        if ended {
            telling.lost = None;
        }
        page
    }

    fn is_all_told(&self, telling: &Telling) -> bool {
        telling.through >= self.next_change && telling.lost.is_none()
    }
}

impl Engine {
    /// What is known of sites and hubs.
    pub fn presence(&self) -> &Presence {
        &self.presence.known
    }

    /// A session is live: its peer is present, and another hub is told who else is.
    pub(crate) fn presence_begins(&mut self, id: SessionId) {
        let now_ms = self.now_ms;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Phase::Live { boot, .. } = session.phase else { return };
        let (name, region) = match &session.peer.kind {
            PeerKind::Hub { name, region } => (name.clone(), region.clone()),
            PeerKind::Site { .. } => {
                let site = session.peer.kind.own_scope();
                return site.map_or((), |site| self.site_changed(&site, |own| own.sessions += 1));
            }
        };
        let hub = PeerId(session.peer.key);
        let known = self.presence.known.hubs.get(&hub);
        let mut sites = known.map(|known| known.sites.clone()).unwrap_or_default();
        if known.is_some_and(|known| known.boot != boot) {
            // Its sessions ended with its last run, and with it what it knew.
            disconnect(&mut sites, signed(now_ms));
            session.telling.lost = Some(Lost { sites: sites.clone(), told: None });
        }
        session.telling.at_ms = Some(now_ms);
        let present = HubPresence { name, region, lease: Lease::Connected, boot, sites };
        self.presence.known.hubs.insert(hub, present);
        self.drop_longest_gone_hub();
    }

    /// A session is over that was last heard `silent_ms` ago; returns when that was.
    pub(crate) fn presence_ends(&mut self, session: &Session, silent_ms: u64) -> i64 {
        let heard_ms = signed(self.now_ms).saturating_sub(signed(silent_ms));
        if !session.is_live() {
            return heard_ms;
        }
        if let Some(site) = session.peer.kind.own_scope() {
            self.site_changed(&site, |own| {
                own.sessions = own.sessions.saturating_sub(1);
                own.heard_ms = own.heard_ms.max(heard_ms);
            });
            return heard_ms;
        }
        let key = session.peer.key;
        let mut others = self.hubs.iter().filter_map(|id| self.sessions.get(id));
        if !others.any(|other| other.peer.key == key)
            && let Some(hub) = self.presence.known.hubs.get_mut(&PeerId(key))
        {
            hub.lease = Lease::Gone { heard_ms };
            disconnect(&mut hub.sites, heard_ms);
        }
        heard_ms
    }

    fn site_changed(&mut self, site: &Scope, with: impl FnOnce(&mut Own)) {
        let changes = self.presence.next_change;
        self.presence.change(site, self.config.limits.presence_sites_max, with);
        if self.presence.next_change == changes || !self.config.local.kind.is_hub() {
            return;
        }
        let at_ms = self.now_ms + self.config.limits.presence_ms;
        for id in &self.hubs {
            if let Some(session) = self.sessions.get_mut(id) {
                session.telling.at_ms.get_or_insert(at_ms);
            }
        }
    }

    /// Tells hubs what is due, a page at a time.
    pub(crate) fn tell_presence(&mut self, out: &mut Vec<Output>) {
        for id in self.hubs.clone() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.telling.at_ms.is_none_or(|at| at > self.now_ms) {
                continue;
            }
            let page = match self.config.local.kind.is_hub() {
                true => self.presence.page(&mut session.telling, self.now_ms),
                false => vec![],
            };
            let done = !self.config.local.kind.is_hub() || self.presence.is_all_told(&session.telling);
            session.telling.at_ms = (!done).then_some(self.now_ms + PAGE_PAUSE_MS);
            if !page.is_empty() {
                self.send(id, &Frame::Presence(page), Class::Control, out);
            }
        }
    }

    /// Takes what a hub tells of its sites.
    pub(crate) fn presence_told(&mut self, id: SessionId, told: Vec<Told>) -> Result<(), Fault> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        if !session.is_hub() || !self.config.local.kind.is_hub() {
            return Err(Violation::Turn("presence").into());
        }
        let now_ms = signed(self.now_ms);
        let sites_max = self.config.limits.presence_sites_max;
        let Some(hub) = self.presence.known.hubs.get_mut(&PeerId(session.peer.key)) else { return Ok(()) };
        let sites = Arc::make_mut(&mut hub.sites);
        for Told { site, silent_ms } in told {
            let lease = match silent_ms {
                None => Lease::Connected,
                Some(silent_ms) => Lease::Gone { heard_ms: now_ms.saturating_sub(signed(silent_ms)) },
            };
            sites.insert(site, lease);
        }
        while self.presence.known.told_sites() > sites_max {
            let hubs = self.presence.known.hubs.values_mut();
            let Some(largest) = hubs.max_by_key(|hub| hub.sites.len()) else { break };
            let sites = Arc::make_mut(&mut largest.sites);
            let heard = sites.iter().map(|(site, lease)| (site, lease.heard_ms(self.now_ms)));
            for site in longest_gone(heard) {
                sites.remove(&site);
            }
        }
        Ok(())
    }

    fn drop_longest_gone_hub(&mut self) {
        let hubs = &mut self.presence.known.hubs;
        if hubs.len() > self.config.limits.presence_hubs_max {
            let gone = hubs.iter().filter(|(_, hub)| !hub.lease.is_connected());
            let longest = gone.min_by_key(|(_, hub)| hub.lease.heard_ms(self.now_ms)).map(|(id, _)| *id);
            longest.map(|id| hubs.remove(&id));
        }
    }
}

/// A quarter of these sites, at least one: those that were heard longest ago. Dropping so many at a time
/// keeps the cost of a limit small.
fn longest_gone<'a>(heard: impl Iterator<Item = (&'a Scope, i64)>) -> Vec<Scope> {
    let mut heard: Vec<(i64, &Scope)> = heard.map(|(site, heard_ms)| (heard_ms, site)).collect();
    heard.sort_unstable();
    heard.truncate(heard.len().div_ceil(4));
    heard.into_iter().map(|(_, site)| site.clone()).collect()
}

/// Ends all leases of a table.
fn disconnect(sites: &mut Arc<BTreeMap<Scope, Lease>>, heard_ms: i64) {
    if sites.values().any(Lease::is_connected) {
        let connected = Arc::make_mut(sites).values_mut().filter(|lease| lease.is_connected());
        connected.for_each(|lease| *lease = Lease::Gone { heard_ms });
    }
}

/// Writes a page: each name without what it shares with the one before.
pub(crate) fn encode(body: &mut Writer, page: &[Told]) {
    body.varint(page.len() as u64);
    let mut before = String::new();
    for Told { site, silent_ms } in page {
        let name = site.to_string().split_off(SITES.len());
        let shared = name.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
        body.varint(shared as u64);
        body.text(&name[shared..]);
        body.varint(silent_ms.map_or(0, |silent_ms| silent_ms.saturating_add(1)));
        before = name;
    }
}

/// Reads a page.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Vec<Told>, DecodeError> {
    let count = reader.count(PAGE_SITES_MAX, "present sites")?;
    let mut page = Vec::with_capacity(count);
    let mut text = SITES.to_owned();
    for _ in 0..count {
        let shared = usize::try_from(reader.varint("shared start of a site")?).ok();
        let kept = shared.and_then(|shared| text.get(..SITES.len().checked_add(shared)?));
        let kept = kept.ok_or_else(|| reader.fault("shared start of a site"))?;
        let rest = reader.text(SCOPE_BYTES_MAX, "site")?;
        text = format!("{kept}{rest}");
        let site = text.parse().ok().filter(|scope| matches!(scope, Scope::Site { .. }));
        let site = site.ok_or_else(|| reader.fault("site"))?;
        let silent_ms = reader.varint("silence of a site")?.checked_sub(1);
        page.push(Told { site, silent_ms });
    }
    Ok(page)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn now_ms_since(now_ms: u64, heard_ms: i64) -> u64 {
    u64::try_from(signed(now_ms).saturating_sub(heard_ms)).unwrap_or_default()
}
