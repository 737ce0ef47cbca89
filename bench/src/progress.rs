//! What long runs say while they run: on standard error, so that the output stays clean.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two lines: as often as an eye wants it on a terminal, seldom in a file.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Counts the steps of one part of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    of: u64,
    started: Instant,
    said: Instant,
    terminal: bool,
}

impl Progress {
    /// A part with so many steps; says that it begins.
    pub(crate) fn new(what: impl Into<String>, of: u64) -> Self {
        let now = Instant::now();
        let progress = Self {
            what: what.into(),
            of,
            started: now,
            said: now,
            terminal: std::io::stderr().is_terminal(),
        };
        progress.say(0);
        progress
    }

    /// So many steps are done.
    pub(crate) fn at(&mut self, done: u64) {
        let pause = if self.terminal { PAUSES.0 } else { PAUSES.1 };
        if self.said.elapsed() >= pause {
            self.said = Instant::now();
            self.say(done);
        }
    }

    fn say(&self, done: u64) {
        let Self { what, of, started, .. } = self;
        let seconds = started.elapsed().as_secs();
        match self.terminal {
            true => eprint!("\r\x1b[K{what}: {done} of {of}, {seconds} s"),
            false => eprintln!("{what}: {done} of {of}, {seconds} s"),
        }
        // Whoever closed standard error does not want to know.
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
