//! The two streams: answers on standard output, everything that is said about them on standard error.

use std::io::{self, Write as _};

use super::failure::Failure;

/// Prints an answer. A reader that went away, as `head` does, ends the command quietly.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::io("write to", "standard output", source),
    })
}

/// Says something to the person at the terminal.
pub(super) fn note(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
