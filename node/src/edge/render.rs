//! The active configuration as files: `config.json`, `config.yaml`, `config.env` ([`crate::formats`] knows how
//! they are written), and `config.hash`.
//!
//! Each file is replaced as a whole: written beside, synced, renamed. `config.hash` is renamed last, after
//! the others are on disk. A reader that wants all four to agree compares `config.hash` with the hash in
//! the file that it read (`configHash`, `DRIFTLESS_CONFIG_HASH`); they differ only in the moment of a
//! change, or after a crash in that moment, until the node starts again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::yaml::to_yaml;
use crate::formats::{plain, to_env, to_json};

/// The file that is written last.
const HASH_FILE: &str = "config.hash";
/// What the files are called.
const FILES: [&str; 4] = ["config.json", "config.yaml", "config.env", HASH_FILE];

/// A file or the directory cannot be written. What was there before is whole, in each file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct RenderError {
    path: PathBuf,
    source: io::Error,
}

/// Writes a configuration (`{site, namespace, configHash, values, apps}`) into a directory, which is made
/// if it is missing. Durable when it returns.
pub fn render(dir: &Path, config: &Value) -> Result<(), RenderError> {
    fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
    let hash = config["configHash"].as_str().unwrap_or_default();
    let shown = plain(config);
    let contents = [to_json(&shown), to_yaml(&shown), to_env(&shown), format!("{hash}\n")];
    for (name, content) in FILES.iter().zip(&contents) {
        let beside = beside(dir, name);
        write_synced(&beside, content.as_bytes()).map_err(|source| failed(&beside, source))?;
    }
    for name in FILES {
        if name == HASH_FILE {
            sync_directory(dir)?;
        }
        let path = dir.join(name);
        fs::rename(beside(dir, name), &path).map_err(|source| failed(&path, source))?;
    }
    sync_directory(dir)
}

/// The hash of the configuration that a directory holds; `None` unless all files are there.
pub fn rendered_hash(dir: &Path) -> Option<String> {
    if !FILES.iter().all(|name| dir.join(name).is_file()) {
        return None;
    }
    Some(fs::read_to_string(dir.join(HASH_FILE)).ok()?.trim().to_owned())
}

/// Removes the files, the hash first.
pub fn clear(dir: &Path) -> Result<(), RenderError> {
    for name in FILES.iter().rev() {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(&path, source)),
        }
    }
    Ok(())
}

fn beside(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.new"))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_directory(dir: &Path) -> Result<(), RenderError> {
    File::open(dir).and_then(|directory| directory.sync_all()).map_err(|source| failed(dir, source))
}

fn failed(path: &Path, source: io::Error) -> RenderError {
    RenderError { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn config(hash: &str, replicas: u32) -> Value {
        json!({
            "site": "store-17", "namespace": "acme", "configHash": hash, "appliedAt": "not shown",
            "values": {"pos": {"replicas": replicas, "answer": "no"}},
            "apps": {"pos": {"version": "2.3.1"}},
        })
    }

    #[test]
    fn the_files_agree_and_are_replaced_together() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("made/on/the/way");
        for (hash, replicas) in [("aa", 2), ("bb", 3)] {
            render(&target, &config(hash, replicas)).unwrap();
            assert_eq!(rendered_hash(&target).unwrap(), hash);
            let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
            let json: Value = serde_json::from_str(&read("config.json")).unwrap();
            assert_eq!(json["values"]["pos"]["replicas"], replicas);
            assert!(json.get("appliedAt").is_none());
            let yaml = crate::cli::yaml::parse("config.yaml", read("config.yaml").as_bytes()).unwrap();
            assert_eq!(yaml[0].value, json);
            assert!(read("config.env").contains(&format!("CONFIG_POS_REPLICAS={replicas}\n")));
            assert_eq!(read("config.hash"), format!("{hash}\n"));
            let mut left: Vec<_> =
                fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            left.sort();
            assert_eq!(left, ["config.env", "config.hash", "config.json", "config.yaml"]);
        }
    }

    #[test]
    fn a_directory_with_a_file_missing_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(rendered_hash(dir.path()), None);
        render(dir.path(), &config("aa", 2)).unwrap();
        fs::remove_file(dir.path().join("config.yaml")).unwrap();
        assert_eq!(rendered_hash(dir.path()), None);
        clear(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_the_old_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        render(dir.path(), &config("aa", 2)).unwrap();
        // A directory where a file is to be made fails for every user, root included.
        fs::create_dir(dir.path().join(".config.env.new")).unwrap();
        let error = render(dir.path(), &config("bb", 3)).unwrap_err();
        assert!(error.to_string().contains(".config.env.new"), "{error}");
        assert_eq!(rendered_hash(dir.path()).unwrap(), "aa");
        assert!(fs::read_to_string(dir.path().join("config.json")).unwrap().contains("\"aa\""));
    }
}
