//! The protocol: one [`Engine`] per node keeps its replica and those of its peers alike.
//!
//! An engine takes [`Input`]s and returns [`Output`]s. It opens no connection and reads no clock: the
//! shell in [`crate::quic`] and the simulator in [`crate::sim`] run the same engine. Whoever owns it
//! also owns the replica, and keeps to one order:
//!
//! 1. hand over what happened with [`Engine::handle`]; events in frames are *staged* in the replica;
//! 2. commit the replica: one flush for any number of frames and local writes;
//! 3. hand over [`Input::Committed`] before any other input. Only now are events acknowledged and shown
//!    to other peers: nothing is gossiped that a crash could take back.
//!
//! # A session
//! Both sides send `Hello`, the dialler first: versions, fleet, interest, and one 16-byte digest for
//! each scope of interest. Where digests are equal, that was all. Where they differ, both send their
//! *vector* of that scope, which says exactly what the other lacks, and each sends that, in the order of
//! its log. Hubs, which are interested in everything, compare one root digest; where that differs, they
//! find the scopes that do by a [rateless lookup table](riblt) of all of them, for about 65 bytes each.
//!
//! From then on the session is live: whatever a node commits, it pushes. Events that came from another
//! hub are not pushed to hubs; hubs announce their heads to each other instead and fetch what has not
//! come another way. The log is the queue: a peer that lags is a cursor in it.
//!
//! Event frames are acknowledged by number, a handful of bytes each, once what they carried is durable;
//! with the vectors of the beginning, these make up what a peer is known to hold. An event that lacks
//! what comes before it is left out, and the receiver sends its vector again with the demand to start
//! that scope anew from there: the sender who cannot show what it built on is at fault.
//! What the own store lost is asked for in the same way: see [`Engine::ask_for_missing`].
//!
//! Beside events, hubs tell each other which sites they have sessions with, see [`presence`]; nodes of one
//! site tell each other whether they have one with a hub.
//!
//! # Flow
//! Scopes go in the order fleet, profiles, sites, catalog, whatever was committed first. Frames of a
//! session stay in order, so an urgent change waits for what was handed to the transport before: that is
//! kept to what the link carries in about a second, and where a rate is capped, to that. Events travel
//! as packs; while a peer is being filled, frames build on each other, so that an empty replica gets the
//! whole of a scope for little more than its compressed documents, in frames as small as its link needs.
//! There is no other way to send much: what was acknowledged is in the peer's vector, and the next
//! session goes on from there.
//!
//! # Limits
//! What a peer can make a node hold is bounded, by [`Limits`] unless another name is given:
//!
//! | of a session | at most |
//! | --- | --- |
//! | events under way | `window_bytes` and one frame, `window_frames`; of each, the places of its records |
//! | frames to write | [`crate::quic::OUTGOING_FRAMES_MAX`]; events among them are under way |
//! | one frame that arrives, and its records | [`frame::FRAME_BYTES_MAX`], [`codec::EVENTS_BYTES_MAX`] |
//! | what frames build on, each way | [`codec::PREFIX_BYTES_MAX`], only while there is more to send |
//! | scopes, each with vector and cursor | [`interest::INTEREST_SCOPES_MAX`]; a hub's are those of the fleet |
//! | frames that could not be used whole | [`frame::INCOMPLETE_MAX`], until the next commit |
//! | searches of the log | `restarts_per_minute` |
//!
//! One call reads at most `work_bytes_max` of the log, in turns among the peers that have room; one that
//! is slow, stuck or hostile has none, and changes neither turn nor frames of the others. What a peer
//! does wrong is a [`Violation`]: it ends that session, and the reason is kept for [`Engine::peers`].
//!
//! # Example
//! A store connects to a hub and gets the profile that it lacks:
//!
//! ```
//! use driftless_core::{name::{Document, Kind}, replica::Replica, store::MemoryStore, testing};
//! use driftless_sync::proto::{Engine, EngineConfig, Input, Interest, Output, PeerInfo, PeerKind, SessionId};
//! use serde_json::json;
//!
//! struct Node { engine: Engine, replica: Replica<MemoryStore> }
//!
//! impl Node {
//!     /// The order of calls: handle, commit, say so.
//!     fn handle(&mut self, input: Input) -> Vec<Vec<u8>> {
//!         let mut outputs = vec![];
//!         self.engine.handle(0, input, &mut self.replica, &mut outputs).expect("the disk works");
//!         if self.engine.wants_commit() {
//!             let changed = self.replica.commit().expect("the disk works").scopes.into_iter().collect();
//!             let committed = Input::Committed { changed };
//!             self.engine.handle(0, committed, &mut self.replica, &mut outputs).expect("the disk works");
//!         }
//!         let frames = outputs.into_iter().filter_map(|output| match output {
//!             Output::Send { bytes, .. } => Some(bytes),
//!             _ => None,
//!         });
//!         frames.collect()
//!     }
//! }
//!
//! // The fleet: a hub with key 1, a store with key 11, both enrolled by the authority.
//! let info = |key, kind: &PeerKind, dialled| PeerInfo { key: testing::author(key), kind: kind.clone(), dialled };
//! let hub = PeerKind::Hub { name: "hub-eu".into(), region: "eu".into() };
//! let store = PeerKind::Site { namespace: "acme".into(), site: "store-1".into(), node: "n1".into() };
//! let enrolments = testing::enrolled(&[("hub-eu", 1)], &[("acme", "store-1", 11)]);
//!
//! let mut replica = testing::open(MemoryStore::new(), 1, 1);
//! testing::carry(&enrolments, &mut replica);
//! let profile = json!({"spec": {"priority": 1, "selector": {"matchAll": true}, "values": {"replicas": 2}}});
//! testing::put(&mut replica, Kind::Profile, "acme", "base", profile);
//! replica.commit().expect("the disk works");
//! let engine = Engine::new(EngineConfig::new(info(1, &hub, false), Interest::All));
//! let mut hub_node = Node { engine, replica };
//!
//! let scopes = ["fleet", "profiles/acme", "sites/acme/store-1"].map(|scope| scope.parse().expect("a scope"));
//! let config = EngineConfig::new(info(11, &store, false), Interest::Scopes(scopes.into()));
//! let mut store_node = Node { engine: Engine::new(config), replica: testing::open(MemoryStore::new(), 11, 2) };
//!
//! // The store dials. Frames go back and forth until nobody has anything to say.
//! let session = SessionId(1);
//! hub_node.handle(Input::Connected { session, peer: info(11, &store, false) });
//! let mut frames = store_node.handle(Input::Connected { session, peer: info(1, &hub, true) });
//! while !frames.is_empty() {
//!     let answers: Vec<_> =
//!         frames.into_iter().flat_map(|bytes| hub_node.handle(Input::Frame { session, bytes })).collect();
//!     frames = answers.into_iter().flat_map(|bytes| store_node.handle(Input::Frame { session, bytes })).collect();
//! }
//!
//! let base = Document::new(Kind::Profile, "acme", "base").expect("a name");
//! let view = store_node.replica.get(&base).expect("the disk works").expect("the profile has arrived");
//! assert_eq!(view.resource["spec"]["values"]["replicas"], 2);
//! assert_eq!(hub_node.engine.peers()[0].lag_events, 0);
//! ```

pub mod codec;
pub mod delivery;
pub mod engine;
mod find;
mod flow;
pub mod footprint;
pub mod frame;
mod greeting;
pub mod inquiry;
pub mod interest;
pub mod limits;
pub mod presence;
pub mod reason;
mod repair;
pub mod riblt;
pub mod session;
pub mod status;
mod subscribe;
mod summary;
mod transfer;
mod uplink;

pub use delivery::{Backlog, Delivery, EventPlace, PeerDelivery};
pub use engine::{Engine, EngineConfig, Input, Output};
pub use footprint::Footprint;
pub use inquiry::{Answer, Bits, Question, SiteReach};
pub use interest::{Class, Interest, PeerId, PeerInfo, PeerKind};
pub use limits::Limits;
pub use presence::{Heard, HubPresence, Lease, Presence};
pub use reason::{Reason, Violation};
pub use session::SessionId;
pub use status::{Condition, Counters, CutTarget, PeerState, PeerStatus};
