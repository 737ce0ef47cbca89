//! Sled, with the promises that it does not make: real syncs, no panics, an end to closing.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::super::{Order, StoreError};
use super::directory::io_error;

/// Sled's log: all of its data as long as nothing goes to `blobs/`.
pub(super) const LOG_FILE: &str = "db";

const CONF_FILE: &str = "conf";
const BLOBS_DIR: &str = "blobs";

/// An open sled database and our own handle of its log.
#[derive(Debug)]
pub(super) struct Engine {
    /// Taken when it is dropped.
    db: Option<sled::Db>,
    pub(super) log: File,
    dir: PathBuf,
}

impl Engine {
    /// Opens the engine; what is readable when this returns is on the device, names excepted.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Engine, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(BACKGROUND_MS));
        let db = guarded(dir, "opening", None, || config.open())?;
        let sync = |name: &str| {
            let path = dir.join(name);
            let file = File::open(&path).and_then(|file| file.sync_all().map(|()| file));
            file.map_err(io_error("syncing", &path))
        };
        sync(CONF_FILE)?;
        Ok(Engine { db: Some(db), log: sync(LOG_FILE)?, dir: dir.to_path_buf() })
    }

    /// Reads one entry; a failure names `key`, the record that the entry is part of.
    pub(super) fn get(&self, sled_key: &[u8], key: Option<&[u8]>) -> Result<Option<sled::IVec>, StoreError> {
        guarded(&self.dir, "reading", key, || self.db().get(sled_key))
    }

    /// Returns the entries of a range, to be taken from either end.
    pub(super) fn entries(&self, range: Range<Vec<u8>>) -> Entries<'_> {
        Entries { iter: self.db().range(range), dir: &self.dir }
    }

    /// Applies a batch to memory and log, all or nothing.
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        guarded(&self.dir, "applying a batch", None, || self.db().apply_batch(batch))
    }

    /// Returns once everything applied is on the device.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        guarded(&self.dir, "flushing", None, || self.db().flush())?;
        self.log.sync_data().map_err(io_error("syncing the log", &self.dir.join(LOG_FILE)))?;
        self.sync_blobs()
    }

    /// Syncs what sled moved out of its log. Entries are kept too small for that to happen, but
    /// an acknowledgement does not rest on it; looking costs a few microseconds.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        let dir = self.dir.join(BLOBS_DIR);
        let failed = |source| io_error("syncing", &dir)(source);
        let mut found = false;
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match File::open(&path).and_then(|file| file.sync_all()) {
                // Sled removes a file in the background once its page is elsewhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(io_error("syncing", &path))?,
            }
            found = true;
        }
        if found { File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed) } else { Ok(()) }
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken only when dropped")
    }
}

/// Closing sled waits for its thread, for ever if damage made that thread panic, and panics
/// itself if its last sync fails. It therefore happens on a thread of its own, for a bounded time.
impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        let (closed, wait) = sync_channel::<()>(0);
        thread::spawn(move || {
            // Dropped last, also if closing panics, which ends the wait below.
            let _closed = closed;
            drop(db);
        });
        if wait.recv_timeout(CLOSE_WAIT_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(dir = %self.dir.display(), "sled does not close; left until the process ends");
        }
    }
}

/// Entries of a range of sled's keys.
pub(super) struct Entries<'a> {
    iter: sled::Iter,
    dir: &'a Path,
}

impl Entries<'_> {
    /// Returns the next entry from the end that `order` begins with.
    pub(super) fn next(&mut self, order: Order) -> Result<Option<(sled::IVec, sled::IVec)>, StoreError> {
        guarded(self.dir, "scanning", None, || match order {
            Order::Ascending => self.iter.next().transpose(),
            Order::Descending => self.iter.next_back().transpose(),
        })
    }
}

/// Says what is wrong with a directory and what to do about it.
pub(super) fn damaged(dir: &Path, what: &str) -> StoreError {
    StoreError::Damaged { key: None, reason: advice(dir, what) }
}

/// Sled's default: a page of up to a quarter of this stays in the log. Recorded in `conf`, so
/// existing stores keep it. With 1 MiB, filling a store takes twice the memory.
const SEGMENT_BYTES: usize = 512 << 10;

/// How often sled writes on its own and collects garbage. Never `None`: that stops both.
const BACKGROUND_MS: u64 = 500;

const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Runs the engine and turns what it throws, which on damaged files includes panics, into errors.
fn guarded<T>(
    dir: &Path,
    during: &'static str,
    key: Option<&[u8]>,
    run: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StoreError> {
    let broken = |what: String| StoreError::Damaged {
        key: key.map(<[u8]>::to_vec),
        reason: advice(dir, &format!("{during} found {what}")),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(io_error(during, dir)(source)),
        Ok(Err(sled::Error::Corruption { at, .. })) => Err(broken(format!("corrupted entries at {at:?}"))),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(broken(format!("an inconsistency ({})", said.unwrap_or("no message"))))
        }
    }
}

fn advice(dir: &Path, what: &str) -> String {
    format!(
        "{what} in {}; keep a copy of it, then start with an empty directory, or accept the loss, \
         and fetch from peers before writing",
        dir.display()
    )
}
