//! Adds up what a change does to many sites. Counts are exact; what is listed is bounded.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::name::Document;
use driftless_core::resolve::{Impact, Masked, PathChange, Standing};
use serde_json::{Value, json};

use crate::api::limit::SITES_NAMED_MAX;

/// Most sites that are listed.
pub(super) const SITES_LISTED_MAX: usize = 1_000;
/// Most paths that are listed, those of most sites first.
pub(super) const PATHS_LISTED_MAX: usize = 500;
/// Most exceptions that are listed, those of most sites first.
const MASKING_LISTED_MAX: usize = 200;
/// Most paths that are listed of one exception.
const MASKED_PATHS_MAX: usize = 20;
/// Most characters of a value that is shown; a longer one is cut.
const VALUE_CHARS_MAX: usize = 200;

/// What becomes of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// It should run another configuration.
    Changes,
    /// It does not resolve any more.
    Fails,
    /// It did not resolve, and does.
    Recovers,
    /// It matches no profile any more.
    LosesProfiles,
    /// It is new.
    Created,
    /// It is gone.
    Deleted,
}

/// The sum.
#[derive(Debug, Default)]
pub(super) struct Tally {
    changed: usize,
    offline: usize,
    effects: BTreeMap<Effect, usize>,
    listed: Vec<Value>,
    paths: BTreeMap<(String, &'static str), Group>,
    masking: BTreeMap<String, Mask>,
}

/// The sites at which a path changes in the same way.
#[derive(Debug)]
struct Group {
    sites: usize,
    before: Option<Value>,
    after: Option<Value>,
    varies: bool,
}

/// What one exception keeps a change from.
#[derive(Debug, Default)]
struct Mask {
    sites: usize,
    paths: BTreeSet<String>,
    left_out: bool,
}

impl Effect {
    const ALL: [Self; 6] =
        [Self::Changes, Self::Fails, Self::Recovers, Self::LosesProfiles, Self::Created, Self::Deleted];

    fn name(self) -> &'static str {
        match self {
            Self::Changes => "Changes",
            Self::Fails => "Fails",
            Self::Recovers => "Recovers",
            Self::LosesProfiles => "LosesProfiles",
            Self::Created => "Created",
            Self::Deleted => "Deleted",
        }
    }

    /// What becomes of a site that is there before and after; `None` if nothing does. One that fails for
    /// another reason than before keeps what it runs as before.
    pub(super) fn of(before: &Standing, after: &Standing) -> Option<Self> {
        match (before, after) {
            (Standing::Failed(_), Standing::Failed(_)) => None,
            (_, Standing::Failed(_)) => Some(Self::Fails),
            (Standing::Failed(_), _) => Some(Self::Recovers),
            (before, after) if before == after => None,
            (_, Standing::NoProfile) => Some(Self::LosesProfiles),
            (_, Standing::Resolved(_)) => Some(Self::Changes),
        }
    }
}

impl Tally {
    /// Adds a site that is there before and after.
    pub(super) fn add(&mut self, site: &Document, is_offline: bool, impact: Impact) {
        for Masked { path, overrides } in impact.masked {
            for name in overrides {
                self.masking.entry(name).or_default().add(&path);
            }
        }
        let Some(effect) = Effect::of(&impact.before, &impact.after) else { return };
        let why = match &impact.after {
            Standing::Failed(failure) => Some(failure.to_string()),
            Standing::Resolved(_) | Standing::NoProfile => None,
        };
        self.note(site, is_offline, effect, impact.paths.len(), why);
        impact.paths.into_iter().for_each(|change| self.add_path(change));
    }

    /// Adds a site that comes or goes.
    pub(super) fn note(
        &mut self,
        site: &Document,
        is_offline: bool,
        effect: Effect,
        paths: usize,
        why: Option<String>,
    ) {
        *self.effects.entry(effect).or_default() += 1;
        // A new site runs nothing yet that could change.
        if effect != Effect::Created {
            self.changed += 1;
            self.offline += usize::from(is_offline);
        }
        if self.listed.len() < SITES_LISTED_MAX {
            self.listed.push(json!({
                "namespace": site.namespace(),
                "name": site.name(),
                "effect": effect.name(),
                "offline": is_offline,
                "paths": paths,
                "why": why,
            }));
        }
    }

    /// How many sites change.
    pub(super) fn changed(&self) -> usize {
        self.changed
    }

    /// The names of the first few.
    pub(super) fn first(&self) -> Vec<String> {
        let changing = self.listed.iter().filter(|site| site["effect"] != Effect::Created.name());
        let names = changing.filter_map(|site| site["name"].as_str().map(str::to_owned));
        names.take(SITES_NAMED_MAX).collect()
    }

    fn add_path(&mut self, change: PathChange) {
        let PathChange { path, before, after } = change;
        let kind = match (&before, &after) {
            (None, _) => "Added",
            (_, None) => "Removed",
            (Some(_), Some(_)) => "Changed",
        };
        match self.paths.get_mut(&(path.clone(), kind)) {
            Some(group) => {
                group.sites += 1;
                group.varies |= group.before != before || group.after != after;
            }
            None => {
                self.paths.insert((path, kind), Group { sites: 1, before, after, varies: false });
            }
        }
    }

    /// The answer, of so many sites.
    pub(super) fn to_json(&self, sites: usize) -> Value {
        let effects: BTreeMap<&str, usize> = Effect::ALL
            .into_iter()
            .map(|effect| (effect.name(), self.effects.get(&effect).copied().unwrap_or_default()))
            .collect();
        let mut by_kind: BTreeMap<&str, usize> = ["Added", "Changed", "Removed"].map(|kind| (kind, 0)).into();
        for (_, kind) in self.paths.keys() {
            *by_kind.entry(kind).or_default() += 1;
        }
        let paths = most(&self.paths, PATHS_LISTED_MAX, |group| group.sites);
        let masking = most(&self.masking, MASKING_LISTED_MAX, |mask| mask.sites);
        json!({
            "sites": sites,
            "changed": self.changed,
            "offline": self.offline,
            "effects": effects,
            "listed": self.listed,
            "paths": {
                "total": self.paths.len(),
                "kinds": by_kind,
                "listed": paths.into_iter().map(|((path, kind), group)| group.to_json(path, kind)).collect::<Vec<_>>(),
            },
            "masked": {
                "total": self.masking.len(),
                "listed": masking.into_iter().map(|(name, mask)| mask.to_json(name)).collect::<Vec<_>>(),
            },
        })
    }
}

/// Those of most sites, at most so many; by name where they are equal.
fn most<K: Ord, V>(all: &BTreeMap<K, V>, limit: usize, sites: fn(&V) -> usize) -> Vec<(&K, &V)> {
    let mut sorted: Vec<(&K, &V)> = all.iter().collect();
    sorted.sort_by_key(|(_, value)| std::cmp::Reverse(sites(value)));
    sorted.truncate(limit);
    sorted
}

impl Group {
    fn to_json(&self, path: &str, kind: &str) -> Value {
        let mut shown = json!({"path": path, "change": kind, "sites": self.sites, "varies": self.varies});
        // What is not the same at all sites is nobody's in particular.
        if !self.varies {
            for (key, value) in [("before", &self.before), ("after", &self.after)] {
                if let Some(value) = value {
                    shown[key] = brief(value);
                }
            }
        }
        shown
    }
}

impl Mask {
    fn add(&mut self, path: &str) {
        self.sites += 1;
        match self.paths.len() < MASKED_PATHS_MAX || self.paths.contains(path) {
            true => drop(self.paths.insert(path.to_owned())),
            false => self.left_out = true,
        }
    }

    fn to_json(&self, name: &str) -> Value {
        json!({"override": name, "masks": self.sites, "paths": self.paths, "truncated": self.left_out})
    }
}

/// A value, or the beginning of its text if it is long.
fn brief(value: &Value) -> Value {
    let text = value.to_string();
    match text.chars().count() > VALUE_CHARS_MAX {
        true => json!(format!("{}…", text.chars().take(VALUE_CHARS_MAX).collect::<String>())),
        false => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use driftless_core::name::Kind;

    use super::*;

    fn site(number: usize) -> Document {
        Document::new(Kind::Site, "acme", &format!("store-{number}")).unwrap()
    }

    fn changes(path: &str, before: Value, after: Value) -> Impact {
        let hash = |value: &Value| Standing::Resolved(value.to_string());
        let (standing, standing_after) = (hash(&before), hash(&after));
        let paths = vec![PathChange { path: path.into(), before: Some(before), after: Some(after) }];
        Impact { before: standing, after: standing_after, paths, masked: vec![] }
    }

    #[test]
    fn counts_are_exact_where_lists_end() {
        let mut tally = Tally::default();
        for number in 0..SITES_LISTED_MAX + 5 {
            let path = format!("p{}", number % (PATHS_LISTED_MAX + 1));
            tally.add(&site(number), number == 0, changes(&path, json!(1), json!(2)));
        }
        let sum = tally.to_json(5_000);
        assert_eq!(
            (&sum["sites"], &sum["changed"], &sum["offline"]),
            (&json!(5_000), &json!(1_005), &json!(1))
        );
        assert_eq!(sum["listed"].as_array().unwrap().len(), SITES_LISTED_MAX);
        assert_eq!(sum["paths"]["total"], PATHS_LISTED_MAX + 1);
        assert_eq!(sum["paths"]["kinds"], json!({"Added": 0, "Changed": PATHS_LISTED_MAX + 1, "Removed": 0}));
        let listed = sum["paths"]["listed"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[0]["sites"]), (PATHS_LISTED_MAX, &json!(3)));
    }

    #[test]
    fn what_differs_from_site_to_site_is_not_shown_as_one_value() {
        let mut tally = Tally::default();
        tally.add(&site(1), false, changes("a", json!(1), json!(2)));
        assert_eq!(tally.to_json(2)["paths"]["listed"][0]["after"], 2);
        tally.add(&site(2), false, changes("a", json!(1), json!(3)));
        let path = &tally.to_json(2)["paths"]["listed"][0];
        assert_eq!((&path["varies"], path.get("after")), (&json!(true), None));
        tally.add(&site(3), false, changes("b", json!(1), json!("x".repeat(1_000))));
        assert!(tally.to_json(3)["paths"]["listed"][1]["after"].as_str().unwrap().ends_with('…'));
    }

    #[test]
    fn a_site_that_failed_and_fails_is_as_it_was() {
        let mut tally = Tally::default();
        let failed = |reason| {
            let failure =
                driftless_core::resolve::Failure { reason, message: "x".into(), path: None, object: None };
            Standing::Failed(failure)
        };
        let standing = |before, after| Impact { before, after, paths: vec![], masked: vec![] };
        tally.add(&site(1), false, standing(failed("A"), failed("B")));
        assert_eq!(tally.changed(), 0);
        tally.add(&site(2), false, standing(Standing::Resolved("1".into()), failed("B")));
        tally.add(&site(3), false, standing(failed("A"), Standing::Resolved("1".into())));
        tally.add(&site(4), false, standing(Standing::Resolved("1".into()), Standing::NoProfile));
        tally.note(&site(5), false, Effect::Created, 0, None);
        let sum = tally.to_json(4);
        assert_eq!(
            sum["effects"],
            json!({"Changes": 0, "Fails": 1, "Recovers": 1, "LosesProfiles": 1, "Created": 1, "Deleted": 0})
        );
        assert_eq!((&sum["changed"], &sum["listed"][0]["why"]), (&json!(3), &json!("x")));
    }
}
