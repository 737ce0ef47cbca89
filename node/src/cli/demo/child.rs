//! One node as a child process: started, watched, and stopped by the end of its standard input.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{oneshot, watch};

use crate::cli::failure::Failure;
use crate::cli::print;

/// Longest wait for a node to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a node to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many lines of a log are shown when its node died.
const TAIL_LINES: usize = 12;

/// What a node said when it began to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    /// URL of the API.
    pub(super) api: String,
    /// Address of QUIC.
    pub(super) quic: String,
}

impl Ready {
    /// Reads the line `ready api=URL quic=ADDR node=NAME`.
    fn parse(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("ready ")?;
        let field = |name: &str| {
            rest.split(' ').find_map(|field| Some(field.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
        };
        Some(Self { api: field("api")?, quic: field("quic")? })
    }
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// A running node.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    pid: u32,
    log: PathBuf,
    stdin: Option<ChildStdin>,
    tail: Tail,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
    kill: Option<oneshot::Sender<()>>,
}

impl Child {
    /// Starts this program with other arguments, and waits until it serves.
    pub(super) async fn start(
        name: &str,
        dir: &Path,
        arguments: Vec<OsString>,
        join: Option<String>,
    ) -> Result<(Self, Ready), Failure> {
        let program =
            std::env::current_exe().map_err(|source| Failure::io("find", "this program", source))?;
        let log = dir.join(format!("{name}.log"));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C in a terminal reaches its whole process group; it is the demo that stops its nodes.
        command.process_group(0).kill_on_drop(true);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("DRIFTLESS_") {
                command.env_remove(variable);
            }
        }
        if let Some(token) = join {
            command.env("DRIFTLESS_JOIN", token);
        }
        let failed = |source| Failure::io("start", name.to_owned(), source);
        let mut process = command.spawn().map_err(failed)?;
        let stderr = process.stderr.take().expect("it was asked for");
        let stdin = process.stdin.take();
        let pid = process.id().unwrap_or_default();
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(&log).await;
        let file = file.map_err(|source| Failure::io("write", log.display().to_string(), source))?;
        let tail = Tail::default();
        let (ready_sender, ready) = oneshot::channel();
        let reading = tokio::spawn(read_log(BufReader::new(stderr), file, Arc::clone(&tail), ready_sender));
        let (ended_sender, ended) = watch::channel(None);
        let (kill, killed) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let status = tokio::select! {
                status = process.wait() => status,
                Ok(()) = killed => {
                    // It may have ended by itself meanwhile.
                    let _ = process.start_kill();
                    process.wait().await
                }
            };
            // What it said last is in the log before its end is told.
            let _ = reading.await;
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            ended_sender.send_replace(Some(how));
        });
        let mut child = Self { name: name.to_owned(), pid, log, stdin, tail, ended, kill: Some(kill) };
        let ready = tokio::time::timeout(READY_TIMEOUT, ready).await;
        match ready {
            Ok(Ok(ready)) => Ok((child, ready)),
            Ok(Err(_)) => {
                let how = child.ended().await;
                Err(Failure::Demo(child.obituary(&how)))
            }
            Err(_) => {
                let what = format!("does not serve after {} s", READY_TIMEOUT.as_secs());
                let failure = Failure::Demo(child.obituary(&what));
                child.stop().await;
                Err(failure)
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns how the node ended, once it has.
    pub(super) async fn ended(&mut self) -> String {
        match self.ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "not watched any more".to_owned(),
        }
    }

    /// What to tell about a node that died.
    pub(super) fn obituary(&self, how: &str) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = tail.iter().map(|line| format!("\n  | {line}")).collect();
        format!("{} ended: {how}; the end of {}:{lines}", self.name, self.log.display())
    }

    /// Closes its standard input, waits, and kills it if it does not stop.
    pub(super) async fn stop(&mut self) {
        drop(self.stdin.take());
        if tokio::time::timeout(STOP_TIMEOUT, self.ended()).await.is_ok() {
            return;
        }
        print::note(&format!("{} does not stop within {} s: killed", self.name, STOP_TIMEOUT.as_secs()));
        if let Some(kill) = self.kill.take() {
            // If nobody listens any more, the process is gone.
            let _ = kill.send(());
        }
        self.ended().await;
    }
}

/// Copies what a node says into its log, keeps the last lines, and finds the line `ready`.
async fn read_log(
    mut stderr: BufReader<tokio::process::ChildStderr>,
    mut file: tokio::fs::File,
    tail: Tail,
    ready: oneshot::Sender<Ready>,
) {
    let mut ready = Some(ready);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stderr.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Err(error) = file.write_all(&line).await {
            tracing::warn!(%error, "a node's log cannot be written");
        }
        // A file of tokio's writes behind: a reader of the log should find what was said.
        if let Err(error) = file.flush().await {
            tracing::warn!(%error, "a node's log cannot be written");
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(said) = Ready::parse(&text)
            && let Some(ready) = ready.take()
        {
            // Nobody waits for a node that was given up.
            let _ = ready.send(said);
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_ready_is_understood_and_no_other() {
        let ready = Ready::parse("ready api=https://127.0.0.1:7421 quic=127.0.0.1:7420 node=eu-1\n");
        let expected = Ready { api: "https://127.0.0.1:7421".into(), quic: "127.0.0.1:7420".into() };
        assert_eq!(ready, Some(expected));
        assert_eq!(Ready::parse("not ready api=x quic=y"), None);
        assert_eq!(Ready::parse("ready to go"), None);
    }
}
