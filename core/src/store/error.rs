//! What can go wrong between a replica and its disk.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{BATCH_BYTES_MAX, BATCH_KEYS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A key exceeds [`KEY_BYTES_MAX`]. The store is unchanged and usable.
    #[error("key of {bytes} bytes exceeds the limit of {KEY_BYTES_MAX}")]
    KeyTooLong {
        /// Length of the key.
        bytes: usize,
    },

    /// A value exceeds [`VALUE_BYTES_MAX`]. The store is unchanged and usable.
    #[error("value of {bytes} bytes under key {} exceeds the limit of {VALUE_BYTES_MAX}", Key(key))]
    ValueTooLarge {
        /// Key of the value.
        key: Vec<u8>,
        /// Length of the value.
        bytes: usize,
    },

    /// A batch exceeds [`BATCH_KEYS_MAX`] or [`BATCH_BYTES_MAX`]. The store is unchanged and usable.
    #[error(
        "batch of {keys} keys and {bytes} bytes exceeds the limit of {BATCH_KEYS_MAX} keys or {BATCH_BYTES_MAX} bytes"
    )]
    BatchTooLarge {
        /// Keys in the batch.
        keys: usize,
        /// Bytes of keys and values in the batch.
        bytes: usize,
    },

    /// What is stored does not match its checksum, its format, or what was acknowledged.
    /// Nothing was changed; the other records stay readable if the store is open.
    #[error("stored state is damaged{}: {reason}", KeyNote(key.as_deref()))]
    Damaged {
        /// The damaged record, `None` if the damage concerns the whole store.
        key: Option<Vec<u8>>,
        /// What is damaged and what to do about it.
        reason: String,
    },

    /// The disk failed, for example because it is full. Acknowledged batches are kept; if the
    /// failed call was `apply` or `flush` the store is poisoned.
    #[error("{during} failed at {}", path.display())]
    Io {
        /// What was being done.
        during: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The failure as the operating system or the engine gave it.
        source: io::Error,
    },

    /// An earlier `apply` or `flush` failed. What was acknowledged before is kept on disk;
    /// opening the store anew makes it usable again.
    #[error("the store is closed to further use since an earlier write failed; open it anew")]
    Poisoned,

    /// Another process, or another store in this one, has the directory open. Nothing was changed.
    #[error(
        "{} is in use{}; is a daemon running there? Ask that daemon, stop it, or choose another directory",
        dir.display(),
        Holder(*holder)
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Process id that the holder left, if it could be read.
        holder: Option<u32>,
    },

    /// The directory was written by a newer version. Nothing was changed.
    #[error(
        "store format {found} is newer than the newest supported one, {supported}; use the version that wrote it, or a later one"
    )]
    NewerFormat {
        /// Format of the directory.
        found: u32,
        /// Newest format that this version reads.
        supported: u32,
    },

    /// The directory is not empty and was not written by a store. Nothing was changed.
    #[error(
        "{} is no store: it contains {entry:?} and no format record; choose an empty directory",
        dir.display()
    )]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// One of the entries that do not belong to a store.
        entry: String,
    },
}

/// Keys are mostly text; the rest is escaped, and the length is bounded for logs.
struct Key<'a>(&'a [u8]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 80;
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "\"{}{more}\"", shown.escape_ascii())
    }
}

struct KeyNote<'a>(Option<&'a [u8]>);

impl fmt::Display for KeyNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |key| write!(f, " at key {}", Key(key)))
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |process| write!(f, " by process {process}"))
    }
}
