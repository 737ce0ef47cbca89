//! Why a command did not do what it was told, and how the shell learns of it.

use std::error::Error;
use std::io;

use super::client::ClientError;
use super::import::ImportError;
use super::jsonpath;
use super::output::OutputError;
use super::values::ValueError;
use super::yaml::{InputError, YamlError};
use crate::identity::{AuthorityError, IdentityError, KubeconfigError};

/// What went wrong. Each says what is still true, where that is not plain.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command makes no sense. Nothing was done.
    #[error("{0}")]
    Usage(String),
    /// The node could not be asked, or it refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A manifest was not understood. Nothing was sent.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file in YAML was not understood. Nothing was done.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// An argument was not understood. Nothing was sent.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A file to import was not understood.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The answer could not be shown as asked.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The node's answer has another form than this version knows. What was asked for may have been done.
    #[error("the node's answer to {what} is not understood: {why}; does it run another version?")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What is missing.
        why: String,
    },
    /// A kubeconfig is missing or damaged. Nothing was sent.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A data directory's identity is missing or damaged. It was not changed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority's key was not moved.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file or stream failed.
    #[error("cannot {action} {what}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A daemon did not start, or stopped.
    #[error("{0}")]
    Daemon(String),
    /// The demo did not come up, or a part of it died. Its children are stopped.
    #[error("{0}")]
    Demo(String),
    /// What was waited for did not come. Nothing was changed.
    #[error("{0}")]
    TimedOut(String),
    /// A refusal of our own: what is so, and what to do.
    #[error("{0}")]
    Refused(String),
    /// Everything was said already; only the exit code is left.
    #[error("told already")]
    Told(u8),
    /// Whoever read standard output went away.
    #[error("standard output is closed")]
    ReaderGone,
}

impl Failure {
    /// A file or stream that failed.
    pub(super) fn io(action: &'static str, what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action, what: what.into(), source }
    }

    /// An answer without something that it should have.
    pub(super) fn answer(what: &'static str, why: impl Into<String>) -> Self {
        Self::Answer { what, why: why.into() }
    }

    /// What the shell is told. As kubectl has it, a command that makes no sense is an error like others.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Told(code) => *code,
            // As a shell reports a process that SIGPIPE ended.
            Self::ReaderGone => 141,
            _ => 1,
        }
    }

    /// Whether the node answered that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Client(ClientError::Refused(refusal)) if refusal.code == 404)
    }

    /// Whether the node answered that there is such a thing already.
    pub(super) fn is_already_there(&self) -> bool {
        matches!(self, Self::Client(ClientError::Refused(refusal)) if refusal.reason == "AlreadyExists")
    }

    /// What the person is told, with every cause behind it; `None` if there is nothing left to say.
    pub(super) fn report(&self) -> Option<String> {
        match self {
            Self::Told(_) | Self::ReaderGone => return None,
            // kubectl says who refused, and programs look for it.
            Self::Client(ClientError::Refused(refusal)) => return Some(refusal.to_string()),
            _ => {}
        }
        let mut text = format!("error: {self}");
        let mut source = self.source();
        while let Some(error) = source {
            let said = error.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = error.source();
        }
        Some(text)
    }
}

impl From<jsonpath::ParseError> for Failure {
    fn from(error: jsonpath::ParseError) -> Self {
        Self::Output(error.into())
    }
}

impl From<jsonpath::EvalError> for Failure {
    fn from(error: jsonpath::EvalError) -> Self {
        Self::Output(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let failure = Failure::io("read", "x.yaml", io::Error::new(io::ErrorKind::NotFound, "no such file"));
        assert_eq!(failure.report().as_deref(), Some("error: cannot read x.yaml: no such file"));
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(Failure::Usage("which?".into()).exit_code(), 1);
        assert!(Failure::Told(3).report().is_none());
    }
}
