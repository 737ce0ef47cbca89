//! `auth`: who one is to the node, and what one may do there.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::Resource;
use crate::cli::session::Session;

/// Who one is to the node, and what one may do there
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  driftless auth whoami
  driftless auth can-i create profiles
  driftless auth can-i delete override/store-17.local")]
pub enum Auth {
    /// The name and roles of the credentials, and whether they may write here
    Whoami(Whoami),
    /// Whether the credentials may do something here: yes, with exit code 0, or no and why, with 1
    CanI(CanI),
}

/// Arguments of `whoami`.
#[derive(Debug, Args)]
pub struct Whoami {
    /// json or yaml
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
}

/// Arguments of `can-i`.
#[derive(Debug, Args)]
pub struct CanI {
    /// get, list, watch, create, update, patch or delete
    pub verb: String,
    /// KIND, KIND/NAME or KIND NAME; without a name, whether there is any that one may
    #[arg(required = true, num_args = 1..=2)]
    pub names: Vec<String>,
    /// Only the exit code
    #[arg(long, short)]
    pub quiet: bool,
}

impl Auth {
    /// The number is the exit code.
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Whoami(whoami) => whoami.run(session).await.map(|()| 0),
            Self::CanI(can_i) => can_i.run(session).await,
        }
    }
}

impl Whoami {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = session.get(&Query::new("/v1/whoami")).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, false)?);
        }
        let text = |key: &str| answer[key].as_str().unwrap_or("-").to_owned();
        let roles = answer["roles"].as_array().into_iter().flatten().filter_map(|role| role.as_str());
        let roles = roles.collect::<Vec<_>>().join(", ");
        let may_write = match answer["mayWrite"].as_bool() {
            Some(true) => "yes".to_owned(),
            _ => format!("no: {}", text("why")),
        };
        print::out(&format!(
            "Name:       {}\nRoles:      {roles}\nMay write:  {may_write}\nNode:       {}\nFleet:      {}\n",
            text("name"),
            text("node"),
            text("fleet")
        ))
    }
}

impl CanI {
    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let (kind, name) = match self.names.as_slice() {
            [named] => named.split_once('/').unwrap_or((named, "")),
            [kind, name] => (kind.as_str(), name.as_str()),
            _ => return Err(Failure::Usage("name a kind, as in `sites` or `site/store-17`".to_owned())),
        };
        let resource = Resource::parse(kind)?;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": self.verb,
                "group": resource.group(),
                "resource": resource.plural,
                "namespace": if resource.namespaced { session.namespace.as_str() } else { "" },
                "name": name,
            }},
        });
        let path = Query::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        let answer = session.post(&path, &review).await?;
        let status = &answer["status"];
        let allowed = status["allowed"]
            .as_bool()
            .ok_or_else(|| Failure::answer("an access review", "it says neither yes nor no"))?;
        if !self.quiet {
            print::out(&match (allowed, status["reason"].as_str()) {
                (true, _) => "yes\n".to_owned(),
                (false, None | Some("")) => "no\n".to_owned(),
                (false, Some(why)) => format!("no - {why}\n"),
            })?;
        }
        Ok(u8::from(!allowed))
    }
}
