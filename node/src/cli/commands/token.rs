//! `token`: join tokens, which a hub mints.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::api::time::{human_duration, parse_duration, rfc3339};
use crate::cli::clock::now_ms;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::session::Session;
use crate::cli::table::align;

/// Create, list and revoke join tokens, at a hub
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  driftless token create --role edge --site store-17 > token
  driftless token create --role edge --sites sites.txt -o tokens/
  driftless token create --role edge --new-sites 'store-*' --uses 20 --ttl 24h
  driftless token create --role hub --region us
  driftless token list
  driftless token revoke 0123456789abcdef0123456789abcdef")]
pub enum Token {
    /// Mint a token; it alone is printed on standard output
    Create(Box<Create>),
    /// Show the tokens that this hub minted, without their secrets
    List(List),
    /// Withdraw a token; who joined with it stays
    Revoke {
        /// The token's id, as `token list` shows it
        id: String,
    },
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
pub struct Create {
    /// What may join with it
    #[arg(long, value_enum)]
    pub role: TokenRole,
    /// The site of the edge, new or existing
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sites", "new_sites"])]
    pub site: Option<String>,
    /// A file with a site a line: a token for each, as DIR/SITE.token
    #[arg(long, value_name = "FILE", requires = "directory", conflicts_with = "new_sites")]
    pub sites: Option<String>,
    /// Where the tokens of --sites are written
    #[arg(long = "output-dir", short = 'o', value_name = "DIR", requires = "sites")]
    pub directory: Option<PathBuf>,
    /// Sites that do not exist yet, by pattern: * stands for one or more characters
    #[arg(long, value_name = "PATTERN")]
    pub new_sites: Option<String>,
    /// How many nodes may join with it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u32,
    /// How long it is valid
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub ttl: String,
    /// The region of the new node; the hub's unless given
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// A label of a site that the join creates, as in class=store; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
}

/// What may join with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// A node of a site.
    Edge,
    /// A hub.
    Hub,
}

/// Arguments of `token list`.
#[derive(Debug, Args)]
pub struct List {
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

impl Token {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::List(list) => list.run(session).await,
            Self::Revoke { id } => {
                session.delete(&Query::new("/v1/tokens").segment(&id)).await?;
                print::out(&format!("token {id} revoked\n"))
            }
        }
    }
}

impl Create {
    /// A token for an existing site.
    pub(super) fn of_site(site: String, uses: u32, ttl: String) -> Self {
        Self {
            role: TokenRole::Edge,
            site: Some(site),
            sites: None,
            directory: None,
            new_sites: None,
            uses,
            ttl,
            region: None,
            labels: vec![],
        }
    }

    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = self.request(&session.namespace)?;
        let Some(sites) = &self.sites else {
            let answer = session.post(&Query::new("/v1/tokens"), &request).await?;
            let id = answer["id"].as_str().unwrap_or_default();
            print::note(&format!("token {id}, valid until {}", expires(&answer["expires"])));
            return print::out(&format!("{}\n", text_of(&answer)?));
        };
        let directory = self.directory.as_deref().expect("clap asks for it together with --sites");
        std::fs::create_dir_all(directory)
            .map_err(|source| Failure::io("create", directory.display().to_string(), source))?;
        let names = site_names(sites)?;
        for site in &names {
            let mut request = request.clone();
            request["site"] = json!(site);
            let answer = session.post(&Query::new("/v1/tokens"), &request).await?;
            let path = directory.join(format!("{site}.token"));
            write_private(&path, &format!("{}\n", text_of(&answer)?))?;
        }
        print::note(&format!("{} tokens in {}", names.len(), directory.display()));
        Ok(())
    }

    fn request(&self, namespace: &str) -> Result<Value, Failure> {
        let names_site = self.site.is_some() || self.sites.is_some() || self.new_sites.is_some();
        match (self.role, names_site) {
            (TokenRole::Edge, false) => {
                return Err(Failure::Usage("which site may join? --site, --sites or --new-sites".to_owned()));
            }
            (TokenRole::Hub, true) => {
                return Err(Failure::Usage("a hub belongs to no site; leave the site out".to_owned()));
            }
            _ => {}
        }
        let ttl_ms = parse_duration(&self.ttl)
            .ok_or_else(|| Failure::Usage(format!("--ttl: {:?} is no duration such as 1h", self.ttl)))?;
        let mut labels = BTreeMap::new();
        for label in &self.labels {
            match label.split_once('=') {
                Some((key, value)) if !key.is_empty() => labels.insert(key, value),
                _ => return Err(Failure::Usage(format!("--label: {label:?} is not KEY=VALUE"))),
            };
        }
        let mut request = json!({"uses": self.uses, "ttlSeconds": ttl_ms / 1_000});
        match self.role {
            TokenRole::Hub => request["role"] = json!("hub"),
            TokenRole::Edge => {
                request["role"] = json!("edge");
                request["namespace"] = json!(namespace);
                request["labels"] = json!(labels);
            }
        }
        for (key, value) in [("site", &self.site), ("newSites", &self.new_sites), ("region", &self.region)] {
            if let Some(value) = value {
                request[key] = json!(value);
            }
        }
        Ok(request)
    }
}

fn text_of(answer: &Value) -> Result<&str, Failure> {
    answer["token"].as_str().ok_or_else(|| Failure::answer("token create", "it has no token"))
}

fn expires(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "an unknown time".to_owned(), |seconds| rfc3339(seconds.saturating_mul(1_000)))
}

/// A name a line; empty lines and lines that begin with # are passed over.
fn site_names(file: &str) -> Result<Vec<String>, Failure> {
    let text = match file {
        "-" => std::io::read_to_string(std::io::stdin()),
        file => std::fs::read_to_string(file),
    };
    let text = text.map_err(|source| Failure::io("read", file, source))?;
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    match names.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        Some(name) => {
            Err(Failure::Refused(format!("{file}: {name:?} is no name of a site. No token was minted.")))
        }
        None if names.is_empty() => Err(Failure::Refused(format!("{file} names no site"))),
        None => Ok(names),
    }
}

/// Writes a secret that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::io("write", path.display().to_string(), source);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = session.get(&Query::new("/v1/tokens")).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, false)?);
        }
        let now = now_ms() / 1_000;
        let mut lines: Vec<Vec<String>> =
            answer["tokens"].as_array().into_iter().flatten().map(|token| line(token, now)).collect();
        if lines.is_empty() {
            print::note("No tokens were minted here.");
            return Ok(());
        }
        if !self.no_headers {
            lines.insert(
                0,
                ["ID", "ROLE", "SITE", "REGION", "USES-LEFT", "EXPIRES", "STATE"].map(str::to_owned).to_vec(),
            );
        }
        print::out(&align(&lines))
    }
}

fn line(token: &Value, now: u64) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let spec = &token["spec"];
    let edge = &spec["purpose"]["edge"];
    let (role, site) = match (edge["site"]["named"].as_str(), edge["site"]["new"].as_str()) {
        (Some(site), _) => ("edge", format!("{}/{site}", text(&edge["namespace"]))),
        (None, Some(pattern)) => ("edge", format!("{}/{pattern} (new)", text(&edge["namespace"]))),
        (None, None) => ("hub", "-".to_owned()),
    };
    let expires = match spec["expires"].as_u64() {
        Some(at) if at > now => format!("in {}", human_duration((at - now).saturating_mul(1_000))),
        Some(at) => format!("{} ago", human_duration((now - at).saturating_mul(1_000))),
        None => "-".to_owned(),
    };
    let left = token["usesLeft"].as_u64().map_or_else(|| "-".to_owned(), |left| left.to_string());
    vec![
        text(&token["id"]),
        role.to_owned(),
        site,
        text(&spec["region"]),
        left,
        expires,
        text(&token["state"]),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(arguments: &str) -> Result<Value, Failure> {
        let line = format!("driftless token create {arguments}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Token(Token::Create(create)) => create.request("acme"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_say_what_the_flags_say() {
        assert_eq!(
            request("--role edge --site store-17 --ttl 2h --label class=store --region eu").unwrap(),
            json!({"role": "edge", "namespace": "acme", "site": "store-17", "labels": {"class": "store"},
                   "region": "eu", "uses": 1, "ttlSeconds": 7_200})
        );
        assert_eq!(request("--role hub").unwrap(), json!({"role": "hub", "uses": 1, "ttlSeconds": 3_600}));
        for wrong in [
            "--role edge",
            "--role hub --site a",
            "--role edge --site a --ttl soon",
            "--role edge --site a --label x",
        ] {
            assert!(matches!(request(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_listed_by_what_they_are_for() {
        let token = json!({"id": "ab", "state": "Usable", "usesLeft": 2, "spec": {
            "purpose": {"edge": {"namespace": "acme", "site": {"new": "store-*"}, "labels": {}}},
            "region": "eu", "expires": 1_060,
        }});
        assert_eq!(line(&token, 1_000), ["ab", "edge", "acme/store-* (new)", "eu", "2", "in 60s", "Usable"]);
    }
}
