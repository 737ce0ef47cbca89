//! What can be asked for: the command line's shape. Each command's own arguments stand beside it, in
//! `cli::commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::commands::{
    apply, audit, auth, authority, blame, completion, config, conflicts, create, delete, describe, diff,
    edge, edit, explain, get, history, hub, import, label, patch, peers, render, resolve, revert, revoke,
    site, status, token, trace, verify, version, wait, why,
};
use super::demo;
use super::query::Query;
use crate::telemetry::LogFormat;

/// State for fleets of hubs and edges: reads and writes work at each node, also while it is cut off.
#[derive(Debug, Parser)]
#[command(name = "driftless", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  driftless demo                                   a fleet on this machine, to try things out
  driftless hub --data-dir hub --name eu-1         a hub; its first start creates a fleet
  driftless --data-dir hub token create --role edge --site store-17 > token
  driftless edge --data-dir edge --join @token     the edge of that site
  driftless --data-dir hub apply -f profile.yaml   change a policy
  driftless --data-dir edge resolve site/store-17  what the site should run
  driftless --data-dir edge why site/store-17 pos.replicas

Which node a command talks to: --kubeconfig FILE, or the admin.kubeconfig of --data-dir DIR (DRIFTLESS_KUBECONFIG,
DRIFTLESS_DATA_DIR); without both the local node's, in $XDG_STATE_HOME/driftless or /var/lib/driftless.
Exit codes: 0; 1 for an error; of diff and verify 1 if something differs, 2 for an error.";

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The node's data directory; commands talk to that node
    #[arg(long, global = true, value_name = "DIR", env = "DRIFTLESS_DATA_DIR", help_heading = "Which node")]
    pub data_dir: Option<PathBuf>,
    /// A kubeconfig with address and credentials
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DRIFTLESS_KUBECONFIG",
        help_heading = "Which node"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one
    #[arg(long, global = true, value_name = "NAME", env = "DRIFTLESS_CONTEXT", help_heading = "Which node")]
    pub context: Option<String>,
    /// Another address for the same credentials
    #[arg(
        long,
        short = 's',
        global = true,
        value_name = "URL",
        env = "DRIFTLESS_SERVER",
        help_heading = "Which node"
    )]
    pub server: Option<String>,
    /// The namespace; the context's unless given
    #[arg(
        long,
        short,
        global = true,
        value_name = "NAME",
        env = "DRIFTLESS_NAMESPACE",
        help_heading = "Which node"
    )]
    pub namespace: Option<String>,
    /// How log lines on standard error look (RUST_LOG says which there are)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "DRIFTLESS_LOG_FORMAT",
        help_heading = "Which node"
    )]
    pub log_format: LogFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each is documented where its arguments are")]
pub enum Command {
    Get(get::Get),
    Describe(describe::Describe),
    Create(create::Create),
    Apply(apply::Apply),
    Replace(create::Replace),
    Patch(patch::Patch),
    Diff(diff::Diff),
    Delete(delete::Delete),
    Edit(edit::Edit),
    Label(label::Label),
    Annotate(label::Annotate),
    Wait(wait::Wait),
    Resolve(resolve::Resolve),
    Render(render::Render),
    Why(why::Why),
    WhyNot(why::WhyNot),
    History(history::History),
    Blame(blame::Blame),
    Audit(audit::Audit),
    Revert(revert::Revert),
    #[command(subcommand)]
    Conflicts(conflicts::Conflicts),
    Status(status::Status),
    Peers(peers::Peers),
    Trace(trace::Trace),
    Verify(verify::Verify),
    Import(import::Import),
    Demo(demo::Demo),
    Hub(hub::Hub),
    Edge(edge::Edge),
    #[command(subcommand)]
    Token(token::Token),
    Revoke(revoke::Revoke),
    #[command(subcommand)]
    Site(site::Site),
    #[command(subcommand)]
    Authority(authority::Authority),
    Kubeconfig(config::Kubeconfig),
    ApiResources(explain::ApiResources),
    Explain(explain::Explain),
    #[command(subcommand)]
    Auth(auth::Auth),
    Version(version::Version),
    Completion(completion::Completion),
}

impl Command {
    /// The commands to which exit code 1 says that something differs.
    pub(super) const COMPARISONS: [&str; 2] = ["diff", "verify"];

    /// Whether it runs until it is stopped, and logs as it goes.
    pub(super) fn is_daemon(&self) -> bool {
        matches!(self, Self::Hub(_) | Self::Edge(_))
    }
}

/// Where manifests are.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// A file, a directory, or - for standard input; may be repeated
    #[arg(long = "filename", short = 'f', value_name = "FILE", required = true)]
    pub filenames: Vec<String>,
    /// Directories below, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

/// How a change is made: why, and whether at all.
#[derive(Debug, Clone, Args)]
pub struct Intent {
    /// Why; it stands in the history and in `why`
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Let the node check and say what it would do; nothing is changed
    #[arg(
        long,
        value_name = "server|none",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "server",
        default_value = "none",
        value_parser = ["server", "none"]
    )]
    pub dry_run: String,
}

/// How far a change may reach.
#[derive(Debug, Clone, Default, Args)]
pub struct Limit {
    /// Refuse if what more sites than this should run would change; a percentage stands for 10 sites at least
    #[arg(long, value_name = "NUMBER|PERCENT", default_value = "25%")]
    pub max_sites: String,
    /// Change as many as it takes, and do not ask for a second thought
    #[arg(long, short)]
    pub yes: bool,
}

impl Limit {
    /// Adds what the node has to know of it to a request.
    pub(super) fn on(&self, path: Query) -> Query {
        path.with_some("maxSites", self.max_sites())
    }

    /// The query parameter, if there is a limit.
    pub(super) fn max_sites(&self) -> Option<&str> {
        (!self.yes).then_some(self.max_sites.as_str())
    }
}

impl Intent {
    /// Adds what the node has to know of it to a request.
    pub(super) fn on(&self, path: Query) -> Query {
        path.with_some("reason", self.reason.as_deref()).with_some("dryRun", self.dry_run())
    }

    /// The query parameter, if nothing is to be changed.
    pub(super) fn dry_run(&self) -> Option<&'static str> {
        (self.dry_run == "server").then_some("All")
    }

    /// What is said behind a change that was not made.
    pub(super) fn suffix(&self) -> &'static str {
        if self.dry_run().is_some() { " (server dry run)" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_of_the_help_is_a_command() {
        let mut seen = 0;
        let mut check = |help: &str| {
            let examples = help.lines().map(str::trim).filter(|line| line.starts_with("driftless "));
            for example in examples {
                let line = example.split("  ").next().unwrap();
                let line = line.split(['>', '|', '#']).next().unwrap().trim();
                let words = words(line);
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
                seen += 1;
            }
        };
        let mut pending = vec![Cli::command()];
        while let Some(command) = pending.pop() {
            check(&command.get_after_help().map(ToString::to_string).unwrap_or_default());
            pending.extend(command.get_subcommands().cloned());
        }
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli = parse("driftless get sites -n acme --data-dir d").unwrap();
        assert_eq!(cli.global.namespace.as_deref(), Some("acme"));
        assert_eq!(cli.global.data_dir, Some(PathBuf::from("d")));
        assert!(parse("driftless --server https://a get sites").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["driftless", "driftless frobnicate", "driftless apply", "driftless get sites --dry-run"]
        {
            assert!(parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }

    #[test]
    fn flags_stand_anywhere() {
        for (line, flag) in [
            ("driftless label site/a b=c", "--overwrite"),
            ("driftless label site a b=c d-", "--reason=x"),
            ("driftless annotate site/a b=c", "--dry-run"),
            ("driftless get site a b", "-owide"),
            ("driftless describe site a", "-nacme"),
            ("driftless delete site a b", "--ignore-not-found"),
            ("driftless edit site a", "--reason=x"),
            ("driftless patch profile a -p {}", "--type=merge"),
            ("driftless wait site a --for=create", "--timeout=1s"),
            ("driftless why site/a b.c", "-ojson"),
            ("driftless render site/a", "--active"),
            ("driftless why-not profile/a site/b", "-ojson"),
            ("driftless auth can-i get site a", "--quiet"),
            ("driftless peers cut a", "--for=10m"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            // Not between an option and its value.
            let places = (2..=words.len()).filter(|at| words.get(at - 1) != Some(&"-p"));
            for at in places.filter(|at| !matches!(words[1], "auth" | "peers") || *at > 2) {
                let mut words = words.clone();
                words.insert(at, flag);
                assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
            }
        }
    }

    #[test]
    fn dry_run_needs_no_value() {
        for (line, on) in [
            ("driftless apply -f x", false),
            ("driftless apply -f x --dry-run", true),
            ("driftless apply --dry-run -f x", true),
            ("driftless apply -f x --dry-run=none", false),
        ] {
            let Command::Apply(apply) = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!(apply.intent.dry_run().is_some(), on, "{line}");
        }
        assert!(parse("driftless apply -f x --dry-run=client").is_err());
    }

    /// Splits as a shell does, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, ' ') => words.push(String::new()),
                (_, c) => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }
}
