//! `completion`: what a shell needs to complete commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::failure::Failure;
use crate::cli::print;

/// Print a script that completes commands in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless completion bash > /etc/bash_completion.d/driftless
  driftless completion zsh > ~/.zfunc/_driftless")]
pub struct Completion {
    /// The shell
    pub shell: Shell,
}

impl Completion {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "driftless", &mut script);
        print::out(&String::from_utf8_lossy(&script))
    }
}
