//! Where tests and benchmarks find real input. Nothing of it is part of the project.

use std::path::{Path, PathBuf};

pub mod traces;

/// Returns the directory of real input files, or `None` with a message on stderr where there is none.
///
/// `DRIFTLESS_SHARED_DATA` names it; without, it is `../shared/data` as seen from the workspace.
pub fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let named = std::env::var_os("DRIFTLESS_SHARED_DATA").map(PathBuf::from);
    let found = named.into_iter().chain([beside]).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no real input here; DRIFTLESS_SHARED_DATA can name its directory");
    }
    found
}
