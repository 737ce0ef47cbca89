//! Who may use a directory: the format record, the lock, and the refusal of foreign directories.
//!
//! | entry | owner |
//! | --- | --- |
//! | `format` | `driftless store format N` on its first line, written when the directory is created |
//! | `lock` | locked while a store is open; holds the process id of the last holder |
//! | `acknowledged` | the acknowledgement mark |
//! | `db`, `conf`, `snap.*`, `blobs/` | sled; `blobs/` stays empty |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::mark::{MARK_FILE, Mark};

/// Newest on-disk format that this version reads, and the one that it writes.
pub const STORE_FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const FORMAT_FILE_UNFINISHED: &str = "format.new";
const FORMAT_PREFIX: &str = "driftless store format ";
const FORMAT_BYTES_MAX: u64 = 128;
const LOCK_FILE: &str = "lock";
const LOCK_BYTES_MAX: u64 = 32;

/// A directory that holds a store of the current format and is locked by us.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Directory {
    /// Locks the directory and, if it is empty or absent, makes it a store's directory.
    ///
    /// Changes nothing in a directory that is locked, foreign or of a newer format.
    pub(super) fn claim(path: &Path) -> Result<Directory, StoreError> {
        fs::create_dir_all(path).map_err(io_error("creating the directory", path))?;
        check(path)?;
        let lock = lock(path)?;
        // Somebody else may have created the store until we had the lock.
        if check(path)? == State::New {
            found(path)?;
        }
        Ok(Directory { path: path.to_path_buf(), _lock: lock })
    }

    /// Makes the names in the directory durable, and its own name in its parent.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync_dir(&self.path)?;
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// Returns the bytes of all files, those that vanish meanwhile excepted.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(dir_bytes(&self.path)? + dir_bytes(&self.path.join("blobs"))?)
    }
}

/// Names the action and the path that an I/O failure belongs to.
pub(super) fn io_error(during: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { during, path: path.to_path_buf(), source }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    New,
    Existing,
}

fn check(dir: &Path) -> Result<State, StoreError> {
    let path = dir.join(FORMAT_FILE);
    let mut text = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse_foreign(dir).map(|()| State::New);
        }
        opened => opened
            .and_then(|file| file.take(FORMAT_BYTES_MAX).read_to_end(&mut text))
            .map_err(io_error("reading the format record", &path))?,
    };
    let format = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.lines().next()?.strip_prefix(FORMAT_PREFIX)?.parse().ok());
    match format {
        Some(STORE_FORMAT) => Ok(State::Existing),
        Some(found) if found > STORE_FORMAT => {
            Err(StoreError::NewerFormat { found, supported: STORE_FORMAT })
        }
        _ => Err(StoreError::Damaged {
            key: None,
            reason: format!(
                "{} is not readable as a format record; restore it or start with an empty directory",
                path.display()
            ),
        }),
    }
}

/// Accepts what a creation that was cut short leaves behind, and nothing else.
fn refuse_foreign(dir: &Path) -> Result<(), StoreError> {
    let listing = io_error("listing the directory", dir);
    let entries: io::Result<Vec<_>> =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let ours = [LOCK_FILE, MARK_FILE, FORMAT_FILE_UNFINISHED];
    match entries.map_err(listing)?.into_iter().find(|name| !ours.iter().any(|our| name == our)) {
        None => Ok(()),
        Some(foreign) => Err(StoreError::ForeignDirectory {
            dir: dir.to_path_buf(),
            entry: foreign.to_string_lossy().into_owned(),
        }),
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("opening the lock", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder is a courtesy: without it the message is as true.
            let holder = match file.take(LOCK_BYTES_MAX).read_to_string(&mut holder) {
                Ok(_) => holder.trim().parse().ok(),
                Err(_) => None,
            };
            return Err(StoreError::Locked { dir: dir.to_path_buf(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("locking", &path)(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error("writing the lock", &path))?;
    Ok(file)
}

/// Founds a store. The format record comes last: a directory that has one has a mark too.
fn found(dir: &Path) -> Result<(), StoreError> {
    Mark::create(dir).map_err(io_error("creating the acknowledgement mark", &dir.join(MARK_FILE)))?;
    let unfinished = dir.join(FORMAT_FILE_UNFINISHED);
    let write = || {
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{FORMAT_PREFIX}{STORE_FORMAT}")?;
        file.sync_all()?;
        fs::rename(&unfinished, dir.join(FORMAT_FILE))
    };
    write().map_err(io_error("writing the format record", &unfinished))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("syncing the directory", dir))
}

fn dir_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        match entry?.metadata() {
            Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
