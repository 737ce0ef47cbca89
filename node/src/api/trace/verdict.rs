//! Where a change is, in one word, and why it is not further, in one word and one sentence.

use driftless_core::name::Scope;
use driftless_sync::proto::{Delivery, PeerDelivery, PeerKind};
use serde_json::{Value, json};

use crate::api::time::{human_duration, rfc3339};
use crate::convergence::{HubName, Silence};

/// A word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Why {
    pub(in crate::api) reason: &'static str,
    pub(in crate::api) message: String,
}

impl Why {
    pub(in crate::api) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// How far a change has come at one node or site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::api) enum State {
    /// Nobody who can be asked knows.
    Unknown,
    /// No session, and it was not held when the last one ended.
    NotConnected,
    /// On its way, behind others, or until both sides have compared.
    Waiting,
    /// Sent, and not acknowledged.
    InFlight,
    /// Held, and not what runs.
    Durable,
    /// Held, and the site runs what it should.
    Applied,
    /// Not for it.
    OutsideInterest,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::NotConnected => "NotConnected",
            Self::Waiting => "Waiting",
            Self::InFlight => "InFlight",
            Self::Durable => "Durable",
            Self::Applied => "Applied",
            Self::OutsideInterest => "OutsideInterest",
        }
    }
}

/// What a trace says of one node or site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Verdict {
    pub(in crate::api) state: State,
    pub(in crate::api) reason: String,
    pub(in crate::api) message: String,
    /// Since how many milliseconds at least, where that is known.
    pub(in crate::api) ago_ms: Option<u64>,
    /// Events and bytes that it waits behind.
    pub(in crate::api) behind: Option<(u64, Option<u64>)>,
}

impl Verdict {
    pub(in crate::api) fn new(state: State, reason: &str, message: impl Into<String>) -> Self {
        Self { state, reason: reason.to_owned(), message: message.into(), ago_ms: None, behind: None }
    }

    pub(in crate::api) fn of(state: State, why: &Why) -> Self {
        Self::new(state, why.reason, why.message.clone())
    }

    pub(in crate::api) fn ago(mut self, ms: u64) -> Self {
        self.ago_ms = Some(ms);
        self
    }

    pub(in crate::api) fn to_json(&self, now_ms: u64) -> Value {
        let mut json = json!({"state": self.state.name(), "reason": self.reason, "message": self.message});
        if let Some(ago_ms) = self.ago_ms {
            json["since"] = rfc3339(now_ms.saturating_sub(ago_ms)).into();
        }
        if let Some((events, bytes)) = self.behind {
            json["behindEvents"] = events.into();
            json["behindBytes"] = bytes.into();
        }
        json
    }
}

/// What is so at one peer, as the node that has or had a session with it says.
pub(in crate::api) fn of_peer(hub: &str, told: &PeerDelivery, scope: &Scope) -> Verdict {
    match &told.delivery {
        Delivery::Durable => {
            let ago = human_duration(told.heard_ms);
            Verdict::new(
                State::Durable,
                "Held",
                format!("durable there, as {hub} was told {ago} ago at the latest"),
            )
            .ago(told.heard_ms)
        }
        Delivery::InFlight => {
            let ago = human_duration(told.heard_ms);
            let message = format!("{hub} has sent it; nothing was acknowledged for {ago}");
            Verdict::new(State::InFlight, "NotAcknowledged", message).ago(told.heard_ms)
        }
        Delivery::Waiting { events, bytes } => {
            let size = bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
            let message = format!("it waits at {hub}: the peer is behind by {events} events{size}");
            Verdict { behind: Some((*events, *bytes)), ..Verdict::new(State::Waiting, "Behind", message) }
        }
        Delivery::NotHere => {
            Verdict::new(State::Waiting, "HubLacksIt", format!("{hub} does not hold it itself"))
        }
        Delivery::Comparing => {
            let message = format!("{hub} and the peer are still finding out what each of them lacks");
            Verdict::new(State::Waiting, "Comparing", message)
        }
        Delivery::NotConnected { for_ms, reason } => {
            let ago = human_duration(*for_ms);
            match told.cut || reason.contains("cut by operator") {
                true => Verdict::new(
                    State::NotConnected,
                    "CutByOperator",
                    format!("an operator has cut the link to {hub}, {ago} ago; `peers heal` allows it again"),
                ),
                false => Verdict::new(
                    State::NotConnected,
                    "Closed",
                    format!("not connected to {hub} for {ago}; the session ended with: {reason}"),
                ),
            }
            .ago(*for_ms)
        }
        Delivery::OutsideInterest => outside(&told.peer, scope),
    }
}

fn outside(peer: &PeerKind, scope: &Scope) -> Verdict {
    match peer.may_hold(scope) {
        true => Verdict::new(
            State::OutsideInterest,
            "NotWanted",
            format!(
                "the site does not want {scope}: no profile or override that applies there names the app"
            ),
        ),
        false => not_for_it(scope),
    }
}

fn not_for_it(scope: &Scope) -> Verdict {
    Verdict::new(State::OutsideInterest, "NotForThisSite", format!("{scope} is never given to this site"))
}

/// What is so of a hub that cannot be asked.
pub(in crate::api) fn of_silence(silence: &Silence) -> Verdict {
    match silence {
        Silence::NotConnected { cut: true, for_ms, .. } => {
            let message = "an operator has cut the link here; `peers heal` allows it again";
            let verdict = Verdict::new(State::NotConnected, "CutByOperator", message);
            Verdict { ago_ms: *for_ms, ..verdict }
        }
        Silence::NotConnected { for_ms, reason, .. } => {
            let ago = for_ms.map_or_else(String::new, |ms| format!(" for {}", human_duration(ms)));
            let verdict =
                Verdict::new(State::NotConnected, "Closed", format!("not connected{ago}: {reason}"));
            Verdict { ago_ms: *for_ms, ..verdict }
        }
        Silence::Late => Verdict::new(State::Unknown, "NoAnswer", "it did not answer in time"),
        Silence::Busy => Verdict::new(State::Unknown, "Busy", "it is asked more than it answers"),
    }
}

/// What all hubs together say of one site, and the hub whose word it is.
///
/// What one hub knows to be durable is durable, whoever else is silent. Else the hub that has a session
/// with the site speaks; without one, a hub that cannot be asked may have it.
pub(in crate::api) fn of_site(site: &Site<'_>, scope: &Scope) -> (Verdict, Option<HubName>) {
    let rank = |told: &PeerDelivery| {
        (told.delivery == Delivery::Durable, told.connected, std::cmp::Reverse(told.heard_ms))
    };
    let best = site.told.iter().max_by_key(|(_, told)| rank(told));
    let Some((hub, told)) = best else { return (never_heard(site, scope), None) };
    let mut verdict = of_peer(&hub.name, told, scope);
    if told.delivery == Delivery::NotHere
        && let Some((_, hop)) = site.hops.iter().find(|(other, _)| other.name == hub.name)
    {
        verdict.message = format!("{}: {}", verdict.message, hop.message);
    }
    let is_away = verdict.state == State::NotConnected;
    if is_away && let Some(silent) = silent_hubs(site) {
        let (last, ago) = (&hub.name, human_duration(told.heard_ms));
        let message =
            format!("last connected to {last}, {ago} ago; it may be at a hub that cannot be asked: {silent}");
        let unknown = Verdict::new(State::Unknown, "HubCannotBeAsked", message);
        return (unknown.ago(told.heard_ms), Some(hub.clone()));
    }
    (verdict, Some(hub.clone()))
}

/// One site, as hubs speak of it.
pub(in crate::api) struct Site<'a> {
    /// Namespace and name.
    pub(in crate::api) name: (&'a str, &'a str),
    /// What hubs say of its nodes.
    pub(in crate::api) told: &'a [(HubName, PeerDelivery)],
    /// The hubs that say nothing, and why.
    pub(in crate::api) silent: &'a [(HubName, Silence)],
    /// How the change stands at each other hub.
    pub(in crate::api) hops: &'a [(HubName, Verdict)],
    /// Whether a node was ever enrolled for it.
    pub(in crate::api) is_enrolled: bool,
}

fn never_heard(site: &Site<'_>, scope: &Scope) -> Verdict {
    let (namespace, name) = site.name;
    let kind = PeerKind::Site { namespace: namespace.to_owned(), site: name.to_owned(), node: String::new() };
    if !kind.may_hold(scope) {
        return not_for_it(scope);
    }
    if !site.is_enrolled {
        let message =
            "no node was ever enrolled for this site; `token create --role edge --site` is the way in";
        return Verdict::new(State::Unknown, "NotEnrolled", message);
    }
    match silent_hubs(site) {
        Some(silent) => {
            let message = format!("no hub that answers has heard it since it started; not asked: {silent}");
            Verdict::new(State::Unknown, "HubCannotBeAsked", message)
        }
        None => {
            let message = "none of its nodes has connected to any hub since the hubs were started";
            Verdict::new(State::Unknown, "NeverConnected", message)
        }
    }
}

fn silent_hubs(site: &Site<'_>) -> Option<String> {
    let line = |(hub, silence): &(HubName, Silence)| {
        format!("{} ({}; {})", hub.name, hub.region, of_silence(silence).message)
    };
    let lines: Vec<String> = site.silent.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use driftless_core::ids::Author;

    use super::*;

    fn hub(name: &str) -> HubName {
        HubName { name: name.into(), region: "eu".into() }
    }

    fn told(name: &str, connected: bool, heard_ms: u64, delivery: Delivery) -> (HubName, PeerDelivery) {
        let peer = PeerKind::Site { namespace: "acme".into(), site: "store-1".into(), node: "n1".into() };
        let key = Author([1; 32]);
        (hub(name), PeerDelivery { key, peer, connected, cut: false, heard_ms, delivery })
    }

    fn gone() -> Delivery {
        Delivery::NotConnected { for_ms: 60_000, reason: "idle timeout".into() }
    }

    fn judged(
        told: &[(HubName, PeerDelivery)],
        silent: &[(HubName, Silence)],
    ) -> (State, String, Option<HubName>) {
        let hops = [(hub("us-1"), Verdict::new(State::InFlight, "NotAcknowledged", "eu-1 has sent it"))];
        let site = Site { name: ("acme", "store-1"), told, silent, hops: &hops, is_enrolled: true };
        let (verdict, by) = of_site(&site, &"profiles/acme".parse().unwrap());
        (verdict.state, verdict.message, by)
    }

    #[test]
    fn who_knows_most_of_a_site_speaks_for_it() {
        let waiting = Delivery::Waiting { events: 3, bytes: None };
        // It moved: the hub that has a session speaks, not the one that remembers.
        let moved = [told("eu-1", false, 9_000, gone()), told("us-1", true, 10, waiting)];
        let (state, message, by) = judged(&moved, &[]);
        assert_eq!((state, by), (State::Waiting, Some(hub("us-1"))), "{message}");
        // What one hub was told to be durable is, wherever the site is now.
        let held =
            [told("eu-1", false, 9_000, Delivery::Durable), told("us-1", true, 10, Delivery::Comparing)];
        assert_eq!(judged(&held, &[(hub("ap-1"), Silence::Late)]).0, State::Durable);
        // Gone from two: the one that heard it last tells since when.
        let twice = [told("eu-1", false, 9_000, gone()), told("us-1", false, 10, gone())];
        assert_eq!(judged(&twice, &[]).2, Some(hub("us-1")));
        // Gone, and a hub is silent: it may be there.
        let (state, message, _) = judged(&twice, &[(hub("ap-1"), Silence::Busy)]);
        assert_eq!(state, State::Unknown);
        assert!(message.contains("last connected to us-1") && message.contains("ap-1"), "{message}");
    }

    #[test]
    fn a_hub_that_lacks_it_is_explained_by_the_hop_before() {
        let (state, message, _) = judged(&[told("us-1", true, 10, Delivery::NotHere)], &[]);
        assert_eq!(
            (state, message.as_str()),
            (State::Waiting, "us-1 does not hold it itself: eu-1 has sent it")
        );
    }
}
