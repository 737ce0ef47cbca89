//! Where a run took place.

use std::fmt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// The machine, the software and the time of a run. What cannot be found out is `unknown`.
#[derive(Debug)]
pub(crate) struct Environment {
    cpus: usize,
    cpu: String,
    kernel: String,
    rustc: String,
    profile: &'static str,
    filesystem: String,
    load: String,
    date: String,
    arguments: String,
}

impl Environment {
    /// Looks around; `dir` is where stores are measured.
    pub(crate) fn here(dir: &Path) -> Self {
        let rustc = Command::new("rustc").arg("--version").output().ok();
        let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok());
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu().unwrap_or_else(unknown),
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            rustc: rustc.map(|text| text.trim().to_owned()).unwrap_or_else(unknown),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            filesystem: filesystem(dir).unwrap_or_else(unknown),
            load: first_line("/proc/loadavg").unwrap_or_else(unknown),
            date: jiff::Timestamp::now().to_string(),
            arguments: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "cpus": self.cpus, "cpu": self.cpu, "kernel": self.kernel, "rustc": self.rustc,
            "profile": self.profile, "filesystem": self.filesystem, "load": self.load, "date": self.date,
            "arguments": self.arguments,
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, cpu, kernel, rustc, profile, filesystem, load, date, arguments } = self;
        writeln!(f, "driftless-bench {arguments}")?;
        writeln!(f, "  {date}; {cpus} CPUs ({cpu}); Linux {kernel}; stores on {filesystem}")?;
        write!(f, "  {rustc}; profile {profile}; load {load}")
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn first_line(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system that holds `dir`: the mount with the longest path above it.
fn filesystem(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let rows = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let above = rows.filter(|(mount, _)| dir.starts_with(mount));
    above.max_by_key(|(mount, _)| mount.components().count()).map(|(_, kind)| kind.to_owned())
}
