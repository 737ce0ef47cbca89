//! `audit`: who changed what, on which sites, when and why.

use clap::Args;
use driftless_core::name::Kind;
use serde_json::Value;

use super::history::{change, effect, short};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::{Named, Resource, parse_named, parse_of_kind};
use crate::cli::session::Session;
use crate::cli::table::align;

/// Show who changed what, on which sites, when, and why; newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless audit --since 2h
  driftless audit --since 2026-11-25T08:00:00Z --until 2026-11-25T12:00:00Z -l class=store
  driftless audit profile/store-base --user mia
  driftless audit --site store-17 --reason INC-42 -o json
  driftless audit -A --effect void
  driftless audit overrides --effect denied

Answers from the events that this node holds, at an edge those of its own site, by the clocks of their authors. SITES
is what a change concerns as things are now. What sites say of themselves is left out, unless --all or its kind asks
for it. EFFECT: Effective; Void (its author was not allowed to, or revoked); Denied (a profile enforces the path).")]
pub struct Audit {
    /// KIND, KIND/NAME or KIND NAME; everything unless given
    #[arg(num_args = 0..=2)]
    pub names: Vec<String>,
    /// From then on: a time, a duration before now, or an event
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub since: Option<String>,
    /// Up to then
    #[arg(long, value_name = "TIME|AGO|EVENT")]
    pub until: Option<String>,
    /// Only by people and programs whose name has this in it
    #[arg(long, value_name = "TEXT")]
    pub user: Option<String>,
    /// Only with this in the reason
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only what concerns this site
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Only what concerns a site with these labels, as in class=store,country!=de
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only effective, void or denied changes
    #[arg(long, value_name = "EFFECT", value_parser = ["effective", "void", "denied"])]
    pub effect: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Also what sites say of themselves
    #[arg(long)]
    pub all: bool,
    /// Changes at a time, 1,000 at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
    /// Go on where an answer ended
    #[arg(long = "continue", value_name = "TOKEN")]
    pub continued: Option<String>,
    /// json, yaml or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<String>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
}

impl Audit {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let output = Output::parse(self.output.as_deref().unwrap_or_default());
        let output = output.map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = session.get(&self.query(session)?).await?;
        if !output.wants_table() {
            return print::out(&render_objects(&[answer], true, &output, self.no_headers)?);
        }
        let lines = lines(&answer, self.all_namespaces);
        if lines.len() == 1 {
            print::note("No changes.");
            return Ok(());
        }
        print::out(&align(if self.no_headers { &lines[1..] } else { &lines }))?;
        if let Some(token) = answer["continue"].as_str() {
            print::note(&format!("There are older ones: --continue {token}"));
        }
        Ok(())
    }

    fn query(&self, session: &Session) -> Result<Query, Failure> {
        let (kind, name) = self.about()?;
        let site = self.site.as_deref().map(|site| parse_of_kind(site, Kind::Site)).transpose()?;
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        Ok(Query::new("/v1/audit")
            .with_some("namespace", namespace)
            .with_some("kind", kind.map(|kind| kind.plural))
            .with_some("name", name.as_deref())
            .with_some("since", self.since.as_deref())
            .with_some("until", self.until.as_deref())
            .with_some("user", self.user.as_deref())
            .with_some("reason", self.reason.as_deref())
            .with_some("site", site.as_deref())
            .with_some("labelSelector", self.selector.as_deref())
            .with_some("effect", self.effect.as_deref())
            .with_some("all", self.all.then_some("true"))
            .with("limit", &self.limit.to_string())
            .with_some("continue", self.continued.as_deref()))
    }

    fn about(&self) -> Result<(Option<Resource>, Option<String>), Failure> {
        if self.names.is_empty() {
            return Ok((None, None));
        }
        match parse_named(&self.names)?.as_slice() {
            [Named::All(kind)] => Ok((Some(*kind), None)),
            [Named::One(kind, name)] => Ok((Some(*kind), Some(name.clone()))),
            _ => Err(Failure::Usage("audit looks at one kind or one resource at a time".to_owned())),
        }
    }
}

/// A line for each change, after a header.
fn lines(answer: &Value, with_namespace: bool) -> Vec<Vec<String>> {
    let header = ["TIME", "BY", "WHAT", "SITES", "EFFECT", "EVENT", "CHANGE", "REASON"].map(str::to_owned);
    let line = |item: &Value| {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let what = format!("{}/{}", text("kind").to_lowercase(), text("name"));
        let what = match with_namespace && !text("namespace").is_empty() {
            true => format!("{}:{what}", text("namespace")),
            false => what,
        };
        let event = short(&text("event"));
        vec![
            text("time"),
            text("by"),
            what,
            sites(&item["sites"]),
            effect(item),
            event,
            change(item),
            text("reason"),
        ]
    };
    let items = answer["items"].as_array().into_iter().flatten();
    std::iter::once(header.to_vec()).chain(items.map(line)).collect()
}

/// The one site by name, several by their number.
fn sites(sites: &Value) -> String {
    match (sites["count"].as_u64(), sites["names"][0].as_str()) {
        (Some(1), Some(name)) => name.to_owned(),
        (Some(count), _) => count.to_string(),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_has_a_line_that_names_its_sites() {
        let item = |sites: Value| {
            json!({"time": "t", "by": "mia", "kind": "Profile", "namespace": "acme", "name": "base", "sites": sites,
                   "effect": "Denied", "event": "0123456789abcdef", "reason": "INC-42",
                   "operations": [{"op": "put", "path": "/spec/x", "value": 4}]})
        };
        let answer = json!({"items": [
            item(json!({"count": 1, "names": ["store-17"]})), item(json!({"count": 40, "names": ["a"]})), item(Value::Null),
        ]});
        let lines = lines(&answer, true);
        let expected =
            ["t", "mia", "acme:profile/base", "store-17", "Denied", "0123456789ab", "spec.x=4", "INC-42"];
        assert_eq!(lines[1], expected);
        assert_eq!((lines[2][3].as_str(), lines[3][3].as_str()), ("40", "-"));
    }
}
