//! `peers`: links of a node, and cutting them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::time::{human_duration, parse_duration};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;
use crate::cli::table::align;

/// Show the links of a node; cut and heal them
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  driftless peers
  driftless peers -o wide
  driftless peers cut us-1 --for 10m
  driftless peers cut --all
  driftless peers heal us-1
  driftless peers heal"
)]
pub struct Peers {
    /// What to do with them; shows them unless given.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// wide (with lag in bytes and seconds), json, yaml or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

/// What to do with links.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Refuse sessions with a peer at this node, until healed
    Cut {
        /// The peer, as `peers` names it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All peers
        #[arg(long)]
        all: bool,
        /// Heal by itself after a time, as in 10m
        #[arg(long = "for", value_name = "TIME")]
        duration: Option<String>,
    },
    /// Allow sessions again
    Heal {
        /// The peer; every cut is healed unless given
        #[arg(conflicts_with = "all")]
        name: Option<String>,
        /// All peers
        #[arg(long)]
        all: bool,
    },
}

impl Peers {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            None => self.show(session).await,
            Some(Action::Cut { name, duration, .. }) => cut(session, name, duration).await,
            Some(Action::Heal { name, .. }) => heal(session, name).await,
        }
    }

    async fn show(&self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = session.get(&Query::new("/v1/peers")).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, self.no_headers)?);
        }
        let (lines, now) = (lines(&answer, now_ms(), output == Output::Wide), now_ms());
        match lines.len() {
            1 => print::note("No peers were seen since the node started."),
            _ => print::out(&align(if self.no_headers { &lines[1..] } else { &lines }))?,
        }
        for cut in answer["cuts"].as_array().into_iter().flatten() {
            let until = match cut["until"].as_u64() {
                Some(until) => format!("for another {}", human_duration(until.saturating_sub(now))),
                None => "until `driftless peers heal`".to_owned(),
            };
            print::note(&format!(
                "Cut here by an operator: {}, {until}.",
                cut["peer"].as_str().unwrap_or_default()
            ));
        }
        Ok(())
    }
}

async fn cut(session: &Session, name: Option<String>, duration: Option<String>) -> Result<(), Failure> {
    if let Some(text) = &duration
        && parse_duration(text).is_none()
    {
        return Err(Failure::Usage(format!("--for: {text:?} is no duration such as 10m")));
    }
    let peer = name.unwrap_or_else(|| "all".to_owned());
    let mut body = json!({"peer": peer});
    if let Some(duration) = &duration {
        body["for"] = json!(duration);
    }
    session.post(&Query::new("/v1/peers/cut"), &body).await?;
    let until = duration.map_or_else(String::new, |duration| format!(" for {duration}"));
    print::out(&format!("{} cut{until}\n", shown(&peer)))
}

async fn heal(session: &Session, name: Option<String>) -> Result<(), Failure> {
    let peer = name.unwrap_or_else(|| "all".to_owned());
    let answer = session.post(&Query::new("/v1/peers/heal"), &json!({"peer": peer})).await?;
    match answer["wasCut"].as_bool() {
        Some(false) => print::out(&format!("{} was not cut here\n", shown(&peer))),
        _ => print::out(&format!("{} healed\n", shown(&peer))),
    }
}

fn shown(peer: &str) -> String {
    if peer == "all" { "all peers".to_owned() } else { format!("peer {peer}") }
}

fn lines(answer: &Value, now: u64, wide: bool) -> Vec<Vec<String>> {
    let header = ["NAME", "KIND", "REGION", "STATE", "SINCE", "LAST-HEARD", "LAG", "LAST-ACKED"];
    let more: &[&str] = if wide { &["LAG-BYTES", "LAG-SECONDS", "IN-FLIGHT", "REASON"] } else { &["REASON"] };
    let mut lines = vec![header.iter().chain(more).map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    let mut peers: Vec<&Value> = answer["peers"].as_array().into_iter().flatten().collect();
    peers.sort_by_key(|peer| (peer["kind"].as_str(), peer["name"].as_str()));
    for peer in peers {
        let text = |key: &str| peer[key].as_str().unwrap_or("-").to_owned();
        let ago = |key: &str| match peer[key].as_u64() {
            Some(then) if then > 0 => human_duration(now.saturating_sub(then)),
            _ => "-".to_owned(),
        };
        let number = |key: &str| match &peer[key] {
            Value::Number(number) => number.to_string(),
            _ => "-".to_owned(),
        };
        let mut line = vec![
            text("name"),
            text("kind"),
            text("region"),
            text("state"),
            ago("since"),
            ago("lastHeard"),
            number("lagEvents"),
            ago("lastAcked"),
        ];
        if wide {
            let more = if peer["lagMore"] == true { "+" } else { "" };
            line.push(format!("{}{more}", number("lagBytes")));
            line.push(peer["lagSeconds"].as_f64().map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1}")));
            line.push(number("inFlightBytes"));
        }
        line.push(text("reason"));
        lines.push(line);
    }
    lines
}
