//! Recorded capacities of links, read where they are: `../shared/data` beside the project, or where
//! `DRIFTLESS_SHARED_DATA` says.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use driftless_sync::sim::{Capacity, Recording};
use serde::Deserialize;

/// Most bytes of a recording, or an archive of them, once it is decompressed.
const RECORDING_BYTES_MAX: u64 = 64 << 20;
/// Size of a header of an archive; contents are filled up to a multiple of it.
const TAR_BLOCK_BYTES: usize = 512;

/// Two files of deliveries, or an archive of rates of which each serves both directions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub(super) enum RecordingFile {
    /// One millisecond a line for each delivery of 1,500 bytes.
    Deliveries { up: PathBuf, down: PathBuf },
    /// A tar whose files have a second and Mbit/s in each line.
    Archive { archive: PathBuf },
}

/// Reads recordings.
pub(super) fn read(files: &[RecordingFile]) -> anyhow::Result<Vec<Recording>> {
    let mut recordings = vec![];
    for file in files {
        match file {
            RecordingFile::Deliveries { up, down } => {
                recordings.push(Recording { up: deliveries(up)?, down: deliveries(down)? });
            }
            RecordingFile::Archive { archive } => {
                for (name, bytes) in tar(&decompressed(archive)?)? {
                    let text = std::str::from_utf8(bytes).with_context(|| name.clone())?;
                    let capacity = Arc::new(rates(text).with_context(|| name)?);
                    recordings.push(Recording { up: capacity.clone(), down: capacity });
                }
            }
        }
    }
    Ok(recordings)
}

fn deliveries(path: &Path) -> anyhow::Result<Arc<Capacity>> {
    let text = String::from_utf8(decompressed(path)?).with_context(|| path.display().to_string())?;
    let at_ms: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    let at_ms = at_ms.with_context(|| format!("{}: not a list of milliseconds", path.display()))?;
    let capacity = Capacity::of_deliveries(&at_ms);
    Ok(Arc::new(capacity.with_context(|| format!("{}: nothing was delivered", path.display()))?))
}

/// Reads lines of a second and Mbit/s.
pub(super) fn rates(text: &str) -> anyhow::Result<Capacity> {
    let rows: Result<Vec<(u64, u64)>, anyhow::Error> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (seconds, mbit) = line.split_once(char::is_whitespace).context("a second and Mbit/s")?;
            let (seconds, mbit): (f64, f64) = (seconds.trim().parse()?, mbit.trim().parse()?);
            ensure!(seconds >= 0.0 && mbit >= 0.0, "negative: {line}");
            Ok(((seconds * 1e3).round() as u64, (mbit * 1e6 / 8.0).round() as u64))
        })
        .collect();
    Capacity::of_rates(&rows?).context("nothing was carried, or times do not ascend")
}

fn decompressed(path: &Path) -> anyhow::Result<Vec<u8>> {
    let path = shared_data().join(path);
    let about = || {
        format!(
            "reading the recording {}; DRIFTLESS_SHARED_DATA names the directory, or give the links a \
             kbit_per_second",
            path.display()
        )
    };
    let file = std::fs::File::open(&path).with_context(about)?;
    let mut bytes = vec![];
    let read = zstd::stream::read::Decoder::new(file)?.take(RECORDING_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(about)?;
    ensure!(bytes.len() as u64 <= RECORDING_BYTES_MAX, "{}: over 64 MiB", path.display());
    Ok(bytes)
}

/// Where data sets are.
pub(super) fn shared_data() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    std::env::var_os("DRIFTLESS_SHARED_DATA").map_or_else(beside, PathBuf::from)
}

/// The regular files of a tar, by name.
pub(super) fn tar(archive: &[u8]) -> anyhow::Result<Vec<(String, &[u8])>> {
    let (mut files, mut rest) = (vec![], archive);
    while let Some((header, after)) = rest.split_at_checked(TAR_BLOCK_BYTES) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let text = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).into_owned();
        let name = text(0, 100).trim_end_matches('\0').to_owned();
        let size = text(124, 136);
        let size = size.trim_matches(|c: char| c == '\0' || c == ' ');
        let Ok(size) = usize::from_str_radix(size, 8) else { bail!("{name}: no size in a tar") };
        let content = after.get(..size).with_context(|| format!("{name}: cut off"))?;
        if matches!(header[156], b'0' | 0) {
            files.push((name, content));
        }
        rest = after.get(size.next_multiple_of(TAR_BLOCK_BYTES)..).unwrap_or_default();
    }
    Ok(files)
}
