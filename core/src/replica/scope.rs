//! What a replica knows of one scope: its vector, its documents, what checkpoints cover in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dirty::DirtyInScope;
use crate::authority::{Enrolment, Standing};
use crate::event::ChainId;
use crate::group::Gap;
use crate::ids::{Author, Digest};
use crate::name::{Document, Kind, NameError, Scope};
use crate::store::StoreError;
use crate::vector::{Head, Vector};

/// Labels of a document.
pub type Labels = BTreeMap<String, String>;

/// Most gaps of one scope that wait for the record that proves them.
const PENDING_GAPS_MAX: usize = 256;
/// Version of the encoding of a scope's record.
const RECORD_VERSION: u8 = 1;

/// What lists and watches need of a document without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct DocumentEntry {
    /// Position of the last event executed.
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) conflicts: u32,
    pub(crate) labels: Arc<Labels>,
}

/// The last `author_seq` of each chain that a document's checkpoint covers.
pub(crate) type Covered = BTreeMap<ChainId, u64>;

/// What was durable of a scope at some time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    /// What was held.
    pub vector: Vector,
    /// The digest of that.
    pub digest: Digest,
}

/// One scope. `vector` is what was staged, `durable` what was committed.
#[derive(Debug, Default)]
pub(crate) struct ScopeState {
    pub(crate) vector: Vector,
    pub(crate) durable: Vector,
    pub(crate) digest: Digest,
    /// Position up to which the tail was settled.
    pub(crate) settled: u64,
    pub(crate) documents: BTreeMap<(Kind, String), DocumentEntry>,
    pub(crate) enrolled: Vec<(Author, Enrolment)>,
    pub(crate) revoked: Vec<(Author, Standing)>,
    pub(crate) covered: BTreeMap<(Kind, String), Covered>,
    /// Checkpoints since covered events were last dropped.
    pub(crate) checkpoints: u32,
    /// Gaps that were told of and that no record has proven yet.
    pub(crate) pending_gaps: BTreeMap<ChainId, Gap>,
    /// How often the log was written anew since the replica was opened.
    pub(crate) rewrites: u64,
    /// What the last scrub found.
    pub(crate) scrubbed: Option<super::Scrubbed>,
}

/// The stored form of a scope.
#[derive(Serialize, Deserialize)]
struct ScopeRecord {
    settled: u64,
    vector: Vec<(ChainId, Head)>,
    documents: Vec<(Kind, String, DocumentEntry)>,
    enrolled: Vec<(Author, Enrolment)>,
    revoked: Vec<(Author, Standing)>,
    covered: Vec<(Kind, String, Covered)>,
    checkpoints: u32,
}

impl ScopeState {
    /// Makes what was staged the durable state; returns what it was before.
    pub(crate) fn commit(&mut self) -> Durable {
        let vector = std::mem::replace(&mut self.durable, self.vector.clone());
        let digest = std::mem::replace(&mut self.digest, self.durable.digest());
        Durable { vector, digest }
    }

    /// Remembers a gap until a record proves it; the oldest chain's is dropped at the limit, to be
    /// told of again in a later session.
    pub(crate) fn hold_gap(&mut self, gap: Gap) {
        let joined = self.pending_gaps.get(&gap.chain).and_then(|held| held.join(&gap));
        self.pending_gaps.insert(gap.chain, joined.unwrap_or(gap));
        if self.pending_gaps.len() > PENDING_GAPS_MAX {
            self.pending_gaps.pop_first();
        }
    }

    /// The encoding for the store, as of `settled`. A document in `dirty` is listed as it was stored,
    /// or not at all: what it executed since is replayed over that.
    pub(super) fn encode(&self, settled: u64, dirty: Option<&DirtyInScope>) -> Result<Vec<u8>, StoreError> {
        let mut documents = flat(&self.documents);
        if let Some(dirty) = dirty {
            documents.retain_mut(|(kind, name, entry)| match dirty.get(&(*kind, name.clone())) {
                Some(since) => {
                    entry.version = entry.version.min(since.position.saturating_sub(1));
                    !since.is_new
                }
                None => true,
            });
        }
        let record = ScopeRecord {
            settled,
            vector: self.vector.iter().collect(),
            documents,
            enrolled: self.enrolled.clone(),
            revoked: self.revoked.clone(),
            covered: flat(&self.covered),
            checkpoints: self.checkpoints,
        };
        encode_record(RECORD_VERSION, &record)
    }

    /// Reads a stored scope.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let record: ScopeRecord = decode_record(RECORD_VERSION, bytes)?;
        let vector: Vector = record.vector.into_iter().collect();
        Ok(Self {
            durable: vector.clone(),
            digest: vector.digest(),
            vector,
            settled: record.settled,
            documents: nested(record.documents),
            enrolled: record.enrolled,
            revoked: record.revoked,
            covered: nested(record.covered),
            checkpoints: record.checkpoints,
            pending_gaps: BTreeMap::new(),
            rewrites: 0,
            scrubbed: None,
        })
    }
}

fn flat<T: Clone>(map: &BTreeMap<(Kind, String), T>) -> Vec<(Kind, String, T)> {
    map.iter().map(|((kind, name), value)| (*kind, name.clone(), value.clone())).collect()
}

fn nested<T>(rows: Vec<(Kind, String, T)>) -> BTreeMap<(Kind, String), T> {
    rows.into_iter().map(|(kind, name, value)| ((kind, name), value)).collect()
}

/// A version byte and bincode.
pub(crate) fn encode_record<T: Serialize>(version: u8, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![version];
    bincode::serialize_into(&mut bytes, record).map_err(|error| StoreError::Damaged {
        key: None,
        reason: format!("cannot encode a record: {error}"),
    })?;
    Ok(bytes)
}

/// Reads what [`encode_record`] wrote, with no more memory than a few times its length.
pub(crate) fn decode_record<T: for<'a> Deserialize<'a>>(version: u8, bytes: &[u8]) -> Result<T, StoreError> {
    use bincode::Options as _;
    let damaged = |reason: String| StoreError::Damaged { key: None, reason };
    let (found, body) = bytes.split_first().ok_or_else(|| damaged("an empty record".to_owned()))?;
    if *found != version {
        return Err(damaged(format!("a record of version {found}; this software reads {version}")));
    }
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(64 << 20)
        .deserialize(body)
        .map_err(|error| damaged(format!("a record cannot be read: {error}")))
}

/// The document of a scope with this kind and name.
pub(crate) fn document_in(scope: &Scope, kind: Kind, name: &str) -> Result<Document, NameError> {
    let namespace = match scope {
        Scope::Fleet => "",
        Scope::Profiles { namespace } | Scope::Site { namespace, .. } | Scope::Catalog { namespace, .. } => {
            namespace
        }
    };
    Document::new(kind, namespace, name)
}

/// Key of a scope's record.
pub(crate) fn scope_key(scope: &Scope) -> Vec<u8> {
    [b"s", scope.to_string().as_bytes()].concat()
}

/// The keys of a scope's documents, first and one beyond the last.
pub(crate) fn document_range(scope: &Scope) -> (Vec<u8>, Vec<u8>) {
    let scope = scope.to_string();
    ([b"d", scope.as_bytes(), &[0]].concat(), [b"d", scope.as_bytes(), &[1]].concat())
}

/// Key of a document's record.
pub(crate) fn document_key(document: &Document) -> Vec<u8> {
    let scope = document.scope().to_string();
    [b"d", scope.as_bytes(), &[0, document.kind() as u8], document.name().as_bytes()].concat()
}
