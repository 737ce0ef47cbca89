//! Comparing everything: how two hubs find the scopes that differ among thousands.
//!
//! Scopes fall into 256 buckets by the hash of their name. The dialler describes its buckets by one
//! digest each; the acceptor lists the scopes of those that differ, and the dialler takes it from there.
//! Two kilobytes find a few scopes among ten thousand. What both name equal makes exact what was assumed
//! of scopes that changed while they were compared.

use std::collections::BTreeMap;

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::Store;

use super::engine::{Engine, Fault, Output};
use super::frame::{BUCKETS, Buckets, Frame, ShortDigest};
use super::interest::{Class, Interest};
use super::reason::Violation;
use super::session::SessionId;

/// Bytes of a frame of scopes' digests, about, and of one scope in it.
const DIGESTS_BYTES: usize = 48 << 10;
const SCOPE_BYTES: usize = 40;

impl Engine {
    /// Answers the dialler's buckets: lists the scopes of those that differ, and names those that do not.
    pub(crate) fn buckets<S: Store>(
        &mut self,
        id: SessionId,
        theirs: &[[u8; 8]],
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.both_want_all(id, "buckets")?;
        let contents = bucket_contents(replica);
        let ours = bucket_digests(&contents);
        let mut equal = Buckets::default();
        let (mut listed, mut scopes, mut bytes) = (Buckets::default(), vec![], 0);
        for (bucket, content) in contents.into_iter().enumerate() {
            let same = ours[bucket] == theirs[bucket];
            let bits = if same { &mut equal } else { &mut listed };
            bits[bucket / 8] |= 1 << (bucket % 8);
            for (scope, digest) in content {
                let own = self.own_vector(&scope, replica);
                let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
                if same {
                    session.equal(&scope, &own);
                } else {
                    session.offered.insert(scope.clone(), own);
                    bytes += SCOPE_BYTES;
                    scopes.push((scope, first_bytes(&digest)));
                }
            }
            if bytes >= DIGESTS_BYTES {
                let (buckets, scopes) = (std::mem::take(&mut listed), std::mem::take(&mut scopes));
                self.send(id, &Frame::Digests { buckets, scopes }, Class::Control, out);
                bytes = 0;
            }
        }
        self.send(id, &Frame::Digests { buckets: listed, scopes }, Class::Control, out);
        self.send(id, &Frame::Equal(equal), Class::Control, out);
        Ok(())
    }

    /// Takes what the peer found equal of the buckets that were described to it.
    pub(crate) fn equal(&mut self, id: SessionId, buckets: &Buckets) -> Result<(), Fault> {
        self.both_want_all(id, "equal buckets")?;
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        for (scope, vector) in std::mem::take(&mut session.offered) {
            if is_among(&scope, buckets) {
                session.equal(&scope, &vector);
            } else if !session.peer.dialled {
                session.offered.insert(scope, vector);
            }
        }
        Ok(())
    }

    /// Compares the scopes that the acceptor listed with the own ones of the same buckets.
    pub(crate) fn digests<S: Store>(
        &mut self,
        id: SessionId,
        buckets: Buckets,
        theirs: Vec<(Scope, [u8; 8])>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.both_want_all(id, "digests")?;
        if let Some((scope, _)) = theirs.iter().find(|(scope, _)| !is_among(scope, &buckets)) {
            return Err(Violation::Scope(scope.clone()).into());
        }
        let mut scopes: BTreeMap<Scope, [u8; 8]> = replica
            .scopes()
            .filter(|scope| is_among(scope, &buckets))
            .map(|scope| (scope.clone(), [0; 8]))
            .collect();
        scopes.extend(theirs);
        for (scope, digest) in &scopes {
            self.compare_scope(id, scope, digest, replica, out)?;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let due = session.equal_due.get_or_insert_default();
        due.iter_mut().zip(buckets).for_each(|(due, bits)| *due |= bits);
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    fn both_want_all(&self, id: SessionId, what: &'static str) -> Result<(), Violation> {
        let theirs = self.sessions.get(&id).and_then(|session| session.interest());
        match theirs == Some(&Interest::All) && self.config.interest == Interest::All {
            true => Ok(()),
            false => Err(Violation::Turn(what)),
        }
    }

    /// One digest over all scopes.
    pub(crate) fn root_digest<S: Store>(&mut self, replica: &Replica<S>) -> ShortDigest {
        let position = replica.position();
        match self.root {
            Some((at, digest)) if at == position => digest,
            _ => {
                let mut hasher = blake3::Hasher::new_derive_key("driftless root digest v1");
                for (scope, digest) in sorted_digests(replica) {
                    hasher.update(scope.to_string().as_bytes());
                    hasher.update(&[0]);
                    hasher.update(&digest);
                }
                let digest = first_bytes(hasher.finalize().as_bytes());
                self.root = Some((position, digest));
                digest
            }
        }
    }
}

/// The scopes of one bucket and their digests, by scope.
type Content = Vec<(Scope, [u8; 32])>;

/// Digests over the buckets of everything that is held.
pub(crate) fn describe<S: Store>(replica: &Replica<S>) -> Vec<[u8; 8]> {
    bucket_digests(&bucket_contents(replica))
}

fn sorted_digests<S: Store>(replica: &Replica<S>) -> Content {
    let mut digests: Content =
        replica.scopes().map(|scope| (scope.clone(), replica.digest(scope).0)).collect();
    digests.sort();
    digests
}

fn bucket_contents<S: Store>(replica: &Replica<S>) -> Vec<Content> {
    let mut contents = vec![vec![]; BUCKETS];
    for (scope, digest) in sorted_digests(replica) {
        contents[bucket_of(&scope)].push((scope, digest));
    }
    contents
}

fn bucket_digests(contents: &[Content]) -> Vec<[u8; 8]> {
    let digest = |content: &Content| {
        let mut hasher = blake3::Hasher::new_derive_key("driftless bucket digest v1");
        for (scope, digest) in content {
            hasher.update(scope.to_string().as_bytes());
            hasher.update(&[0]);
            hasher.update(digest);
        }
        first_bytes(hasher.finalize().as_bytes())
    };
    contents.iter().map(digest).collect()
}

fn bucket_of(scope: &Scope) -> usize {
    usize::from(blake3::hash(scope.to_string().as_bytes()).as_bytes()[0])
}

fn is_among(scope: &Scope, buckets: &Buckets) -> bool {
    let bucket = bucket_of(scope);
    buckets[bucket / 8] & (1 << (bucket % 8)) != 0
}

/// The first bytes of a digest, enough to tell two apart.
pub(crate) fn first_bytes<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}
