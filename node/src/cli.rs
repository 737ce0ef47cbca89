//! The command line.
//!
//! [`args`] says what can be asked for, `commands` has one file for each group of questions, [`client`]
//! carries them to a node, and [`output`], [`table`], [`yaml`], [`jsonpath`] and [`import`] turn text into
//! values and back. What a program may want to read goes to standard output; everything else, progress and
//! warnings and errors, to standard error. Exit codes are kubectl's: 0, 1 for an error of any kind; of commands that
//! compare 1 if something differs, 2 for an error.
//!
//! Text in and out opens no socket. Files are read where a function's name says so ([`yaml::read_inputs`],
//! [`import::open`]); everything else takes bytes and returns values, so a wrong comma in a manifest is tested
//! without a node.

pub mod args;
pub mod client;
mod clock;
mod commands;
mod demo;
mod failure;
pub mod import;
pub mod jsonpath;
pub mod output;
mod print;
mod query;
mod resources;
mod session;
pub mod table;
mod text_diff;
pub mod values;
pub mod yaml;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::telemetry;
use args::{Cli, Command};
use failure::Failure;

/// Reads the arguments, does what they say, and tells the shell how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    telemetry::init(cli.global.log_format, cli.command.is_daemon());
    let runtime = match runtime(cli.command.is_daemon()) {
        Ok(runtime) => runtime,
        Err(source) => return report(Failure::io("start", "the program's threads", source)),
    };
    let outcome = runtime.block_on(commands::run(cli));
    // What still reads standard input must not keep the process alive.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(failure),
    }
}

/// Shows help, or what is wrong with the arguments. No argument at all is a question for help.
fn not_understood(error: &clap::Error) -> ExitCode {
    if std::env::args_os().len() < 2 {
        // Nobody is left to be told that standard output is closed; so below.
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(exit_code_of_misuse()),
    }
}

fn exit_code_of_misuse() -> u8 {
    // What can be understood of the arguments says which command was meant.
    let meant = Cli::command().ignore_errors(true).try_get_matches();
    let compares = meant
        .is_ok_and(|meant| meant.subcommand_name().is_some_and(|name| Command::COMPARISONS.contains(&name)));
    if compares { commands::TROUBLE } else { 1 }
}

fn runtime(is_daemon: bool) -> std::io::Result<tokio::runtime::Runtime> {
    match is_daemon {
        true => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        false => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    }
}

fn report(failure: Failure) -> ExitCode {
    let code = failure.exit_code();
    if let Some(text) = failure.report() {
        print::note(&text);
    }
    ExitCode::from(code)
}
