//! The commands, a file for each or for a few that belong together.

pub(super) mod apply;
pub(super) mod audit;
pub(super) mod auth;
pub(super) mod authority;
pub(super) mod blame;
pub(super) mod completion;
pub(super) mod config;
pub(super) mod conflicts;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod describe;
pub(super) mod diff;
pub(super) mod edge;
pub(super) mod edit;
pub(super) mod explain;
pub(super) mod get;
pub(super) mod history;
pub(super) mod hub;
mod impact;
pub(super) mod import;
pub(super) mod label;
pub(super) mod manifests;
pub(super) mod patch;
pub(super) mod peers;
pub(super) mod render;
pub(super) mod resolve;
pub(super) mod revert;
pub(super) mod revoke;
mod settings;
pub(super) mod site;
pub(super) mod status;
pub(super) mod three_way;
pub(super) mod token;
pub(super) mod trace;
pub(super) mod verify;
pub(super) mod version;
pub(super) mod wait;
mod watch;
pub(super) mod why;

use super::args::{Cli, Command};
use super::failure::Failure;
use super::print;
use super::session::Session;

/// The exit code of an error where 1 says that something differs.
pub(super) const TROUBLE: u8 = 2;

/// Runs a command; the number is its exit code.
pub(super) async fn run(cli: Cli) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    let session = || Session::open(&global);
    let done = |outcome: Result<(), Failure>| outcome.map(|()| 0);
    match command {
        Command::Get(command) => done(command.run(&session()?).await),
        Command::Describe(command) => done(command.run(&session()?).await),
        Command::Create(command) => done(command.run(&session()?).await),
        Command::Apply(command) => done(command.run(&session()?).await),
        Command::Replace(command) => done(command.run(&session()?).await),
        Command::Patch(command) => done(command.run(&session()?).await),
        Command::Diff(command) => comparison(async { command.run(&session()?).await }).await,
        Command::Delete(command) => done(command.run(&session()?).await),
        Command::Edit(command) => done(command.run(&session()?).await),
        Command::Label(command) => done(command.run(&session()?).await),
        Command::Annotate(command) => done(command.run(&session()?).await),
        Command::Wait(command) => done(command.run(&session()?).await),
        Command::Render(command) => done(command.run(&session()?).await),
        Command::Resolve(command) => done(command.run(&session()?).await),
        Command::Why(command) => done(command.run(&session()?).await),
        Command::WhyNot(command) => done(command.run(&session()?).await),
        Command::History(command) => done(command.run(&session()?).await),
        Command::Blame(command) => done(command.run(&session()?).await),
        Command::Audit(command) => done(command.run(&session()?).await),
        Command::Revert(command) => done(command.run(&session()?).await),
        Command::Conflicts(command) => done(command.run(&session()?).await),
        Command::Status(command) => done(command.run(&session()?).await),
        Command::Peers(command) => done(command.run(&session()?).await),
        Command::Trace(command) => done(command.run(&session()?).await),
        Command::Verify(command) => comparison(command.run(&global)).await,
        Command::Import(command) => done(command.run(&session()?).await),
        Command::Demo(command) => done(command.run().await),
        Command::Hub(command) => done(command.run(&global).await),
        Command::Edge(command) => done(command.run(&global).await),
        Command::Token(command) => done(command.run(&session()?).await),
        Command::Revoke(command) => done(command.run(&session()?).await),
        Command::Site(command) => done(command.run(&session()?).await),
        Command::Authority(command) => done(command.run(&global)),
        Command::Kubeconfig(command) => done(command.run(&global)),
        Command::ApiResources(command) => done(command.run(&session()?).await),
        Command::Explain(command) if command.all => done(command.reference()),
        Command::Explain(command) => done(command.run(&session()?).await),
        Command::Auth(command) => command.run(&session()?).await,
        Command::Version(command) => done(command.run(&global).await),
        Command::Completion(command) => done(command.run()),
    }
}

/// The exit code of a command to which 1 says that something differs: an error is more than that.
async fn comparison(differs: impl Future<Output = Result<bool, Failure>>) -> Result<u8, Failure> {
    match differs.await {
        Ok(differs) => Ok(u8::from(differs)),
        Err(failure @ Failure::ReaderGone) => Err(failure),
        Err(failure) => {
            print::note(&failure.report().unwrap_or_default());
            Err(Failure::Told(TROUBLE))
        }
    }
}

/// What a daemon died of, with every cause behind it.
fn daemon_failure(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    Failure::Daemon(text)
}
