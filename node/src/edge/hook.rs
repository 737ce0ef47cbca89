//! The command of the operator's that takes up a new configuration: `--on-change`.
//!
//! It runs after the files were written, with `DRIFTLESS_CONFIG_HASH` and, if files are rendered,
//! `DRIFTLESS_CONFIG_DIR` in its environment. Exit code 0 makes the configuration active; anything else
//! leaves the last one active. What it prints on standard error goes to the node's log. What it leaves
//! running should have its output redirected.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{self, CommandError};

/// How long a command may take unless told otherwise.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// What a hook may print on standard output, which nobody reads, in bytes.
const STDOUT_BYTES_MAX: usize = 1 << 20;

/// A command to run when the configuration changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The command, for `sh -c`.
    pub command: String,
    /// How long it may take; then its process group is killed.
    pub timeout: Duration,
}

/// Why a hook did not take up a configuration.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It said no.
    #[error("the --on-change command ended with exit code {0}; what it printed is in the node's log")]
    Failed(i32),
    /// It was killed by somebody else.
    #[error("the --on-change command was ended by signal {0}")]
    Killed(i32),
    /// It did not run to its end.
    #[error("--on-change: {0}")]
    Command(#[from] CommandError),
}

impl HookError {
    /// One word for a condition.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Command(CommandError::TimedOut(_)) => "HookTimedOut",
            Self::Failed(_) | Self::Killed(_) | Self::Command(_) => "HookFailed",
        }
    }

    /// The exit code, if there is one.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Failed(code) => Some(*code),
            Self::Killed(_) | Self::Command(_) => None,
        }
    }
}

impl Hook {
    /// A command with the usual timeout.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into(), timeout: HOOK_TIMEOUT }
    }

    /// Runs the command for a configuration and waits for it.
    pub async fn run(&self, dir: Option<&Path>, config_hash: &str) -> Result<(), HookError> {
        let mut environment = vec![("DRIFTLESS_CONFIG_HASH", OsStr::new(config_hash))];
        environment.extend(dir.map(|dir| ("DRIFTLESS_CONFIG_DIR", dir.as_os_str())));
        let finished = command::run(&self.command, &environment, self.timeout, STDOUT_BYTES_MAX).await?;
        let outcome = match finished.status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(HookError::Failed(code)),
            None => Err(HookError::Killed(finished.status.signal().unwrap_or_default())),
        };
        let stderr = finished.stderr;
        match &outcome {
            Ok(()) => {
                tracing::info!(config_hash, stderr, "the --on-change command took up the configuration")
            }
            Err(error) => tracing::warn!(config_hash, stderr, %error, "the configuration was not taken up"),
        }
        outcome
    }
}

/// What a run looks like in a site's status.
pub(super) fn report(config_hash: &str, outcome: &Result<(), HookError>) -> Value {
    let mut report = json!({"configHash": config_hash});
    match outcome {
        Ok(()) => report["exitCode"] = json!(0),
        Err(error) => match error.exit_code() {
            Some(code) => report["exitCode"] = json!(code),
            None => report["outcome"] = json!(error.reason()),
        },
    }
    report
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_command_is_told_where_and_what() {
        let dir = tempfile::tempdir().unwrap();
        let hook = Hook::new(
            "printf '%s %s' \"$DRIFTLESS_CONFIG_HASH\" \"$DRIFTLESS_CONFIG_DIR\" > $DRIFTLESS_CONFIG_DIR/told",
        );
        hook.run(Some(dir.path()), "abc").await.unwrap();
        let told = fs::read_to_string(dir.path().join("told")).unwrap();
        assert_eq!(told, format!("abc {}", dir.path().display()));
    }

    #[tokio::test]
    async fn exit_codes_and_signals_are_told_apart() {
        let failed = Hook::new("echo no >&2; exit 3").run(None, "h").await;
        assert_eq!(report("h", &failed), json!({"configHash": "h", "exitCode": 3}));
        assert!(matches!(failed, Err(HookError::Failed(3))));
        let killed = Hook::new("kill -9 $$").run(None, "h").await;
        assert!(matches!(killed, Err(HookError::Killed(9))));
        let missing = Hook::new("no-such-command-anywhere").run(None, "h").await;
        assert!(matches!(missing, Err(HookError::Failed(127))));
        assert_eq!(report("h", &Ok(())), json!({"configHash": "h", "exitCode": 0}));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_everything_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let command = "sleep 600 & echo $! > $DRIFTLESS_CONFIG_DIR/child; wait";
        // Long enough for the shell to have written the child's id on a busy machine.
        let hook = Hook { command: command.to_owned(), timeout: Duration::from_secs(3) };
        let outcome = hook.run(Some(dir.path()), "h").await;
        assert!(matches!(outcome, Err(HookError::Command(CommandError::TimedOut(_)))));
        let child = fs::read_to_string(dir.path().join("child")).unwrap();
        let state = || fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        // Killed is at once; reaped, by whoever inherits it, soon after.
        let gone = || state().map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "));
        for _ in 0..1_000 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the child of the command is still running: {:?}", state());
    }

    #[tokio::test]
    async fn a_child_left_in_the_background_does_not_hold_the_hook_up() {
        let hook = Hook { command: "sleep 5 & exit 0".to_owned(), timeout: Duration::from_secs(4) };
        hook.run(None, "h").await.unwrap();
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let outcome = Hook::new("yes").run(None, "h").await;
        assert!(matches!(outcome, Err(HookError::Command(CommandError::TooMuchOutput(STDOUT_BYTES_MAX)))));
    }
}
