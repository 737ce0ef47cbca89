//! One command of the operator's: through `sh -c`, in a process group of its own, within bounds.

use std::ffi::OsStr;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// What is kept of a command's standard error: its end, in bytes.
const STDERR_TAIL_BYTES: usize = 4 << 10;
/// How long output is read after the command itself has ended, while something that it started holds the
/// pipes open.
const GRACE: Duration = Duration::from_secs(1);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// The end of its standard error.
    pub(super) stderr: String,
}

/// Why a command did not run to its end. Its process group was killed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not start.
    #[error("the command cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It took too long.
    #[error("the command took longer than {} and was killed", seconds(*.0))]
    TimedOut(Duration),
    /// It printed too much.
    #[error("the command printed more than {0} bytes and was killed")]
    TooMuchOutput(usize),
    /// The system lost sight of it.
    #[error("the command cannot be followed: {0}")]
    Io(#[from] io::Error),
}

/// Runs a command and waits for it.
///
/// Standard input is empty. Standard output is kept whole, up to `stdout_bytes_max`. What the command
/// leaves running in the background is left alone, but its output is not read for longer than a second.
pub(super) async fn run(
    command: &str,
    environment: &[(&str, &OsStr)],
    timeout: Duration,
    stdout_bytes_max: usize,
) -> Result<Finished, CommandError> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(CommandError::Start)?;
    let mut group = Group::led_by(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let status = {
        let read = async {
            tokio::try_join!(collect(stdout, &mut printed, stdout_bytes_max), tail(stderr, &mut complained))
        };
        let (mut read, mut late) = (pin!(read), pin!(tokio::time::sleep(timeout)));
        let mut all_read = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                read = &mut read, if !all_read => { read?; all_read = true }
                () = &mut late => return Err(CommandError::TimedOut(timeout)),
            }
        };
        group.disband();
        if !all_read && let Ok(read) = tokio::time::timeout(GRACE, read).await {
            read?;
        }
        status
    };
    Ok(Finished { status, stdout: printed, stderr: String::from_utf8_lossy(&complained).trim().to_owned() })
}

/// Reads all of a stream, up to a limit.
async fn collect(
    stream: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), CommandError> {
    let Some(stream) = stream else { return Ok(()) };
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    stream.take(limit.saturating_add(1)).read_to_end(into).await?;
    if into.len() > bytes_max { Err(CommandError::TooMuchOutput(bytes_max)) } else { Ok(()) }
}

/// Reads all of a stream and keeps its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), CommandError> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut chunk = [0; 1_024];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        into.extend_from_slice(&chunk[..read]);
        into.drain(..into.len().saturating_sub(STDERR_TAIL_BYTES));
    }
}

/// The processes of a command; killed when dropped, unless disbanded.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// Leaves the processes alone. To be called as soon as the leader was waited for: its id may then
    /// become another's.
    fn disband(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64()).replace(".000", "")
}
