//! A daemon as a process: the line `ready`, signals, standard input.

use std::io::Write as _;

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::options::{EdgeOptions, HubOptions};
use super::start::{Daemon, DaemonError, start_edge, start_hub};

/// Runs a hub until a signal, or the end of its store, stops it.
pub async fn run_hub(options: HubOptions) -> Result<(), DaemonError> {
    let exit_with_stdin = options.exit_with_stdin;
    serve(start_hub(options).await?, exit_with_stdin).await
}

/// Runs an edge until a signal, or the end of its store, stops it.
pub async fn run_edge(options: EdgeOptions) -> Result<(), DaemonError> {
    let exit_with_stdin = options.exit_with_stdin;
    serve(start_edge(options).await?, exit_with_stdin).await
}

async fn serve(daemon: Daemon, exit_with_stdin: bool) -> Result<(), DaemonError> {
    let failed = |error: std::io::Error| DaemonError::Stopped(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let name = daemon.runtime().identity().display_name();
    let ready = format!("ready api={} quic={} node={name}\n", daemon.api_url(), daemon.quic_address());
    // One write, so that the line is whole; without anybody to read it the node serves all the same.
    let _ = std::io::stderr().write_all(ready.as_bytes());
    let ended = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = stdin_ended(), if exit_with_stdin => false,
        () = daemon.ended() => true,
    };
    let stopped = daemon.stop().await;
    match ended {
        true => stopped.and(Err(DaemonError::Stopped("its store failed; see the log".to_owned()))),
        false => stopped,
    }
}

async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while matches!(stdin.read(&mut ignored).await, Ok(read) if read > 0) {}
}
