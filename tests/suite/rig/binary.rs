//! Where the binary under test is.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The path of `driftless` as it was built with the tests; `DRIFTLESS_BINARY` names another, as in one of a release.
pub(crate) fn driftless() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("DRIFTLESS_BINARY") {
        Some(named) => PathBuf::from(named),
        None => PathBuf::from(env!("CARGO_BIN_EXE_driftless-under-test")),
    })
}
