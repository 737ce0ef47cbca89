//! Logs: to standard error, as text for people or as JSON lines for programs.
//!
//! `RUST_LOG` says what is logged; without it a daemon logs from `info` on, any other command from `warn`.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging, once in a process. A second call changes nothing.
pub fn init(format: LogFormat, is_daemon: bool) {
    let usual = if is_daemon { "info" } else { "warn" };
    let (filter, complaint) = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Err(_) => (EnvFilter::new(usual), None),
        Ok(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => {
                (EnvFilter::new(usual), Some(format!("RUST_LOG={text:?} is not understood: {error}")))
            }
        },
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody else's subscriber, as in tests, stays.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}; logging from {usual} on");
    }
}
