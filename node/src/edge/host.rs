//! The host that the node runs on, as a Machine in the form that Kubernetes nodes have.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Describes the host, from `/proc` (`proc` in tests) and what the standard library knows. What cannot be
/// read is left out.
pub(super) fn spec(proc: &Path) -> Value {
    let mut capacity = Map::new();
    if let Ok(cores) = std::thread::available_parallelism() {
        capacity.insert("cpu".to_owned(), cores.to_string().into());
    }
    if let Some(kibibytes) = memory_kib(proc) {
        capacity.insert("memory".to_owned(), format!("{kibibytes}Ki").into());
    }
    let mut spec = json!({
        "capacity": capacity,
        "os": std::env::consts::OS,
        "arch": architecture(),
    });
    if let Some(release) = line(proc, "sys/kernel/osrelease") {
        spec["kernelVersion"] = release.into();
    }
    if let Some(name) = line(proc, "sys/kernel/hostname") {
        spec["labels"] = json!({"kubernetes.io/hostname": name});
    }
    spec
}

/// As Kubernetes and OCI name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn memory_kib(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn line(proc: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(proc.join(name)).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_host_is_described_as_the_kernel_does() {
        let spec = spec(Path::new("/proc"));
        let uname = std::process::Command::new("uname").arg("-r").output().unwrap();
        assert_eq!(spec["kernelVersion"], String::from_utf8(uname.stdout).unwrap().trim());
        assert!(spec["capacity"]["memory"].as_str().unwrap().ends_with("Ki"));
        assert_ne!(spec["capacity"]["cpu"], "0");
    }

    #[test]
    fn a_host_without_proc_is_described_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("meminfo"), "MemFree: 1 kB\nMemTotal:       16384256 kB\n").unwrap();
        let spec = spec(dir.path());
        assert_eq!(spec["capacity"]["memory"], "16384256Ki");
        assert!(spec.get("kernelVersion").is_none());
    }
}
