//! What a change would reach, asked of the node before it is made, and told to people.

use driftless_core::name::Kind;
use driftless_core::schema;
use serde_json::{Value, json};

use crate::cli::args::Limit;
use crate::cli::failure::Failure;
use crate::cli::query::Query;
use crate::cli::resources::Resource;
use crate::cli::session::Session;

/// Most sites, paths or exceptions that are told each.
const TOLD_MAX: usize = 10;
/// Most characters of a value that is told.
const VALUE_CHARS_MAX: usize = 40;

/// Resources that would change together.
#[derive(Debug, Default)]
pub(super) struct Planned {
    apply: Vec<Value>,
    delete: Vec<Value>,
}

impl Planned {
    /// Adds a resource as it would be. What is no resource of its kind is refused when it is its turn, and does
    /// not keep others from being looked at.
    pub(super) fn change(&mut self, resource: Resource, would_be: Value) {
        if concerns_sites(resource) && schema::validate(resource.kind, &would_be).is_ok() {
            self.apply.push(would_be);
        }
    }

    /// Adds a resource that would be gone.
    pub(super) fn delete(&mut self, resource: Resource, namespace: &str, name: &str) {
        if concerns_sites(resource) {
            self.delete.push(json!({"kind": resource.kind, "namespace": namespace, "name": name}));
        }
    }

    /// What would change; the node refuses if it is at more sites than `max_sites`.
    pub(super) async fn impact(&self, session: &Session, max_sites: Option<&str>) -> Result<Value, Failure> {
        let mut body = json!({"namespace": session.namespace, "apply": self.apply, "delete": self.delete});
        if let Some(max_sites) = max_sites {
            body["maxSites"] = json!(max_sites);
        }
        session.post(&Query::new("/v1/impact"), &body).await
    }

    /// Refuses what reaches too far as a whole. A single change is left to the node, which checks it together
    /// with making it.
    pub(super) async fn check(&self, session: &Session, limit: &Limit) -> Result<(), Failure> {
        match limit.max_sites() {
            Some(max_sites) if self.apply.len() + self.delete.len() > 1 => {
                self.impact(session, Some(max_sites)).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Whether what sites should run depends on resources of this kind.
fn concerns_sites(resource: Resource) -> bool {
    let kinds = [Kind::Profile, Kind::Override, Kind::App, Kind::Release, Kind::Site];
    kinds.iter().any(|kind| Resource::of_kind(*kind) == resource)
}

/// An impact as people read it.
pub(super) fn text(impact: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let list = |pointer: &str| impact.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |site: &Value| site["name"].as_str().unwrap_or_default().to_owned();
    let sites = list("/listed");
    let with = |effect: &str| -> Vec<String> {
        sites.iter().filter(|site| site["effect"] == effect).take(TOLD_MAX).map(name).collect()
    };
    let changed = count(&impact["changed"]);
    let mut out = format!("{changed} of {} sites would run something else", count(&impact["sites"]));
    match count(&impact["offline"]) {
        0 => {}
        offline => out.push_str(&format!(", {offline} of them offline")),
    }
    out.push('\n');
    for (effect, said) in [
        ("Changes", "change"),
        ("Fails", "would not resolve"),
        ("Recovers", "would resolve again"),
        ("LosesProfiles", "would match no profile"),
        ("Created", "would be new"),
        ("Deleted", "would be gone"),
    ] {
        match count(&impact["effects"][effect]) {
            0 => {}
            found => out.push_str(&format!("  {found} {said}: {}\n", listed(&with(effect), found))),
        }
    }
    for why in sites.iter().filter(|site| site["why"].is_string()).take(TOLD_MAX) {
        out.push_str(&format!("  site {}: {}\n", name(why), why["why"].as_str().unwrap_or_default()));
    }
    let paths = list("/paths/listed");
    for path in paths.iter().take(TOLD_MAX) {
        out.push_str(&format!("  {}\n", path_line(path)));
    }
    let total = count(&impact["paths"]["total"]);
    if total > TOLD_MAX as u64 {
        out.push_str(&format!("  and {} more paths; -o json lists them\n", total - TOLD_MAX as u64));
    }
    for mask in list("/masked/listed").iter().take(TOLD_MAX) {
        let paths: Vec<&str> =
            mask["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let name = mask["override"].as_str().unwrap_or_default();
        out.push_str(&format!("  override/{name} masks {}\n", paths.join(", ")));
    }
    out
}

fn listed(names: &[String], total: u64) -> String {
    match total.saturating_sub(names.len() as u64) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn path_line(path: &Value) -> String {
    let brief = |value: &Value| {
        let text = value.to_string();
        match text.chars().count() > VALUE_CHARS_MAX {
            true => format!("{}…", text.chars().take(VALUE_CHARS_MAX).collect::<String>()),
            false => text,
        }
    };
    let change = path["change"].as_str().unwrap_or_default().to_lowercase();
    let sites = path["sites"].as_u64().unwrap_or_default();
    let values = match (path.get("before"), path.get("after")) {
        _ if path["varies"] == true => ", from site to site other values".to_owned(),
        (Some(before), Some(after)) => format!(": {} -> {}", brief(before), brief(after)),
        (None, Some(after)) => format!(": {}", brief(after)),
        (Some(before), None) => format!(": was {}", brief(before)),
        (None, None) => String::new(),
    };
    let word = if sites == 1 { "site" } else { "sites" };
    format!("{change} {} at {sites} {word}{values}", path["path"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_how_far_a_change_reaches() {
        let site = |name: &str, effect: &str, why: Value| json!({"name": name, "effect": effect, "why": why});
        let impact = json!({
            "sites": 40, "changed": 13, "offline": 1,
            "effects": {"Changes": 12, "Fails": 1},
            "listed": [site("a", "Changes", Value::Null), site("b", "Fails", json!("Variable: x has no value"))],
            "paths": {"total": 12, "listed": [
                {"path": "pos.replicas", "change": "Changed", "sites": 12, "varies": false, "before": 2, "after": 3},
                {"path": "pos.x", "change": "Added", "sites": 1, "varies": false, "after": "y"},
                {"path": "pos.z", "change": "Removed", "sites": 2, "varies": true},
            ]},
            "masked": {"listed": [{"override": "c.x", "paths": ["pos.replicas"]}]},
        });
        let expected = "\
            13 of 40 sites would run something else, 1 of them offline\n  \
              12 change: a and 11 more\n  \
              1 would not resolve: b\n  \
              site b: Variable: x has no value\n  \
              changed pos.replicas at 12 sites: 2 -> 3\n  \
              added pos.x at 1 site: \"y\"\n  \
              removed pos.z at 2 sites, from site to site other values\n  \
              and 2 more paths; -o json lists them\n  \
              override/c.x masks pos.replicas\n";
        assert_eq!(text(&impact), expected);
    }

    #[test]
    fn only_what_sites_depend_on_is_asked_about() {
        let mut planned = Planned::default();
        planned.change(Resource::of_kind(Kind::Machine), json!({}));
        planned.delete(Resource::of_kind(Kind::DriftReport), "acme", "a");
        planned.change(Resource::of_kind(Kind::Profile), json!({"kind": "Profile"}));
        assert_eq!((planned.apply.len(), planned.delete.len()), (0, 0));
        let site = json!({"kind": "Site", "metadata": {"name": "a"}});
        planned.change(Resource::of_kind(Kind::Site), site);
        planned.delete(Resource::of_kind(Kind::Profile), "acme", "a");
        assert_eq!((planned.apply.len(), planned.delete.len()), (1, 1));
    }
}
