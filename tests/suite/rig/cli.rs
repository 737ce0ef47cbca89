//! The command line, and what it answered.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Place;

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Runs the binary with a data directory, on this machine.
    pub(crate) fn of(data_dir: &Path, arguments: &[&str], input: &str) -> Self {
        Self::at(&Place::default(), data_dir, arguments, input)
    }

    /// Runs the binary with a data directory, somewhere.
    pub(crate) fn at(place: &Place, data_dir: &Path, arguments: &[&str], input: &str) -> Self {
        Self::of_command(place.command().arg("--data-dir").arg(data_dir).args(arguments), input)
    }

    /// Runs any command.
    pub(crate) fn of_command(command: &mut Command, input: &str) -> Self {
        without_settings(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // A command that does not read its input closes it, which is no failure of the test.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Self {
            command: format!("{command:?}"),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Requires success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}{}", self.command, self.stdout, self.stderr);
        self
    }

    /// Requires this exit code, and messages with all of these words.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}{}", self.command, self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{}\nexpected {word:?} in:\n{}", self.command, self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}\n{}", self.command, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.command, self.stdout))
    }
}

/// Keeps settings of the surroundings out of a command.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DRIFTLESS_") || name == "KUBECONFIG" {
            command.env_remove(&name);
        }
    }
}
