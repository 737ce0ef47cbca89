//! Moving the authority's key: to a file kept offline, and back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use driftless_core::ids::FleetId;

use super::directory::Directory;
use super::key::SecretKey;
use super::{IdentityError, NodeIdentity, files};

/// Why the authority's key was not moved. It is where it was.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// This node does not hold the key.
    #[error(
        "this node does not hold the fleet's authority: run this on the hub that does, or import the key first"
    )]
    NotHere,
    /// Edges never hold it.
    #[error("only a hub can hold the fleet's authority")]
    NotAHub,
    /// An export never overwrites a file.
    #[error("{} exists: name a new file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a key.
    #[error("{} is not an authority key (Ed25519, PKCS#8 PEM)", .0.display())]
    NotAKey(PathBuf),
    /// The key of another fleet.
    #[error("{} is the authority of fleet {}, this hub is of fleet {}", path.display(), found.short(), expected.short())]
    OtherFleet {
        /// Which file.
        path: PathBuf,
        /// Its fleet.
        found: FleetId,
        /// Ours.
        expected: FleetId,
    },
    /// The data directory refused.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl NodeIdentity {
    /// Writes the authority's key to `file`; with `remove` it leaves this hub, after the file is durable.
    pub fn export_authority(&mut self, dir: &Path, file: &Path, remove: bool) -> Result<(), AuthorityError> {
        let authority = self.authority.as_ref().ok_or(AuthorityError::NotHere)?;
        if file.exists() {
            return Err(AuthorityError::Exists(file.to_owned()));
        }
        files::write_private(file, authority.to_pem().as_bytes())
            .map_err(|source| AuthorityError::File { path: file.to_owned(), source })?;
        if remove {
            Directory::open(dir).remove_authority_key()?;
            self.authority = None;
        }
        Ok(())
    }

    /// Takes the authority's key from `file`, which stays.
    pub fn import_authority(&mut self, dir: &Path, file: &Path) -> Result<(), AuthorityError> {
        if !self.is_hub() {
            return Err(AuthorityError::NotAHub);
        }
        let text = fs::read_to_string(file)
            .map_err(|source| AuthorityError::File { path: file.to_owned(), source })?;
        let key = SecretKey::from_pem(&text).map_err(|_| AuthorityError::NotAKey(file.to_owned()))?;
        if key.fleet() != self.fleet {
            let (path, found) = (file.to_owned(), key.fleet());
            return Err(AuthorityError::OtherFleet { path, found, expected: self.fleet });
        }
        Directory::create(dir)?.write_authority_key(&key)?;
        self.authority = Some(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_authority_moves_offline_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("hub"), dir.path().join("authority.pem"));
        let mut hub = NodeIdentity::create_fleet(&data, "eu-1", "eu", &[], NOW).unwrap();
        hub.export_authority(&data, &file, true).unwrap();
        assert!(hub.authority.is_none());
        assert!(NodeIdentity::load(&data).unwrap().authority.is_none());
        assert!(!files::is_shared(&file).unwrap());
        assert!(matches!(
            hub.export_authority(&data, &dir.path().join("2"), false),
            Err(AuthorityError::NotHere)
        ));
        hub.import_authority(&data, &file).unwrap();
        assert_eq!(NodeIdentity::load(&data).unwrap().authority.unwrap().fleet(), hub.fleet);
        assert!(matches!(hub.export_authority(&data, &file, true), Err(AuthorityError::Exists(_))));
        assert!(hub.authority.is_some());
    }

    #[test]
    fn the_authority_of_another_fleet_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("a"), dir.path().join("b"));
        let mut hub = NodeIdentity::create_fleet(&ours, "eu-1", "eu", &[], NOW).unwrap();
        let mut other = NodeIdentity::create_fleet(&theirs, "eu-1", "eu", &[], NOW).unwrap();
        let file = dir.path().join("authority.pem");
        other.export_authority(&theirs, &file, false).unwrap();
        assert!(matches!(hub.import_authority(&ours, &file), Err(AuthorityError::OtherFleet { .. })));
        fs::write(&file, "nonsense").unwrap();
        assert!(matches!(hub.import_authority(&ours, &file), Err(AuthorityError::NotAKey(_))));
        assert_eq!(NodeIdentity::load(&ours).unwrap().authority.unwrap().fleet(), hub.fleet);
    }
}
