//! What a daemon is told: flags and `DRIFTLESS_*` (which clap reads), then a TOML file, then defaults.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use crate::api::time::parse_duration;
use crate::cli::failure::Failure;
use crate::identity::NodeIdentity;

/// Largest file with a token, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1_024;

/// What hubs and edges are told alike.
#[derive(Debug, Args)]
pub struct Daemon {
    /// Where to serve the API; port 0 takes a free one [default: 127.0.0.1:7421]
    #[arg(long, value_name = "ADDR", env = "DRIFTLESS_API")]
    pub api: Option<SocketAddr>,
    /// Send each peer at most so many bytes a second, on average; policy goes first [default: what the link carries]
    #[arg(long, value_name = "BYTES", env = "DRIFTLESS_RATE_LIMIT")]
    pub rate_limit: Option<NonZeroU64>,
    /// Read the whole store back within this time, to find what the disk lost [default: 24h]
    #[arg(long, value_name = "TIME", env = "DRIFTLESS_SCRUB_WITHIN")]
    pub scrub_within: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "DRIFTLESS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
}

/// Reads the file of settings, if one is named.
pub(super) fn read<T: DeserializeOwned + Default>(file: Option<&Path>) -> Result<T, Failure> {
    let Some(file) = file else { return Ok(T::default()) };
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|source| Failure::io("read", shown.clone(), source))?;
    toml::from_str(&text).map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}

/// The token to join with: `@FILE`, or the token itself. It is needed, and read, at the first start alone.
pub(super) fn join_token(given: Option<String>, data_dir: &Path) -> Result<Option<String>, Failure> {
    let Some(given) = given else { return Ok(None) };
    if NodeIdentity::exists(data_dir) {
        return Ok(None);
    }
    let Some(file) = given.strip_prefix('@') else { return Ok(Some(given)) };
    let failed = |source| Failure::io("read the token in", file, source);
    let size = std::fs::metadata(file).map_err(failed)?.len();
    if size > TOKEN_BYTES_MAX {
        return Err(Failure::Usage(format!("{file} has {size} bytes and is no token")));
    }
    let text = std::fs::read_to_string(file).map_err(failed)?;
    Ok(Some(text.trim().to_owned()))
}

/// A duration, as flags and files write it.
pub(super) fn duration(name: &str, text: Option<String>, usual: Duration) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(usual) };
    match parse_duration(&text) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(Failure::Usage(format!("--{name}: {text:?} is no duration such as 60s"))),
    }
}

/// The list that was given, else the file's.
pub(super) fn list(given: Vec<String>, file: Option<Vec<String>>) -> Vec<String> {
    if given.is_empty() { file.unwrap_or_default() } else { given }
}

/// A path, made absolute so that it means the same wherever the daemon runs its commands.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_read_from_its_file_at_the_first_start_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "dft1.abc\n").unwrap();
        let given = Some(format!("@{}", file.display()));
        assert_eq!(join_token(given.clone(), dir.path()).unwrap().as_deref(), Some("dft1.abc"));
        std::fs::remove_file(&file).unwrap();
        assert!(join_token(given.clone(), dir.path()).is_err());
        NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], 1_790_000_000).unwrap();
        assert_eq!(join_token(given, dir.path()).unwrap(), None);
    }

    #[test]
    fn durations_are_positive() {
        let usual = Duration::from_secs(60);
        assert_eq!(duration("x", None, usual).unwrap(), usual);
        assert_eq!(duration("x", Some("5s".into()), usual).unwrap(), Duration::from_secs(5));
        assert!(duration("x", Some("0s".into()), usual).is_err());
    }
}
