//! What the kernel says of a process.

use anyhow::Context as _;

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    /// All of it, the program's text and shared libraries included.
    pub(crate) total: u64,
    /// What the process made itself: heap and stacks.
    pub(crate) own: u64,
    /// The most that it has been in all.
    pub(crate) peak: u64,
}

/// The resident memory of a process.
pub(crate) fn resident(pid: u32) -> anyhow::Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| format!("{name} in {path}"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        anyhow::Ok(kib * 1024)
    };
    Ok(Resident { total: field("VmRSS:")?, own: field("RssAnon:")?, peak: field("VmHWM:")? })
}

/// The CPU time of the calling thread so far, in seconds: what its work costs, however busy the machine.
pub(crate) fn thread_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The CPU time of a process so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    /// Linux reports in hundredths of a second to every program, whatever the kernel counts in.
    const TICKS_PER_SECOND: f64 = 100.0;
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th after it.
    let (_, rest) = text.rsplit_once(')').context("a name in parentheses")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("times")?.parse::<f64>()?);
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}
