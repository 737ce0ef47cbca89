//! What many sites should run: resolving, explaining, and what a changed profile reaches.
//!
//! The functions themselves, on documents in memory: no store, no API, one thread.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use driftless_core::resolve::{
    Inputs, ObjectInput, Reach, Reaching, SiteInput, Standing, Subject, explain, impact, resolve,
};
use serde_json::{Value, json};

use crate::options::Options;
use crate::process::resident;
use crate::report::Section;
use crate::samples::Samples;

/// Paths that each profile sets.
const PATHS: usize = 20;
const CLASSES: usize = 9;
const COUNTRIES: usize = 20;
const MIB: f64 = (1 << 20) as f64;

/// Resolves, explains and compares in a namespace of many sites, profiles and overrides.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let (sites, profiles, overrides) = options.size((300, 100, 100), (10_000, 100, 1_000));
    let before_bytes = resident(std::process::id())?.own as f64;
    let fleet = Fleet::new(sites, profiles, overrides);
    let namespace = fleet.namespace();
    let fleet_bytes = resident(std::process::id())?.own as f64 - before_bytes;
    let about = format!(
        "{sites} sites, {profiles} profiles of {PATHS} paths, {overrides} overrides, a tenth of them with a selector"
    );
    let mut section = Section::new("resolve", about);
    let inputs: Vec<Inputs<'_>> = (0..sites).map(|site| fleet.inputs(&namespace, site)).collect();

    let every = timed(&fleet.sites, |at| {
        ensure!(resolve(&inputs[at]).failed.is_none(), "site {at} does not resolve");
        Ok(())
    })?;
    section.spread("full resolution of one site", &every, "ms");
    let all = fleet.all();
    let alone = timed(&fleet.sites, |at| {
        black_box(resolve(&Inputs { site: inputs[at].site, ..all.clone() }));
        Ok(())
    })?;
    section.spread("full resolution of one site, every selector read anew", &alone, "ms");
    let why = timed(&fleet.sites, |at| explain(&inputs[at], "base.p3").map(drop).context("why"))?;
    section.spread("why of one path", &why, "ms");

    for (what, profile) in [("of all sites", 0), ("of a class", 1), ("of a country", 1 + CLASSES)] {
        let change = Change::of(&fleet, profile)?;
        section.figure(format!("a changed profile {what}: sites that it touches"), change.touched as f64, "");
        section.figure(format!("a changed profile {what}: sites that change"), change.changed as f64, "");
        section.figure(format!("a changed profile {what}: paths that change"), change.paths as f64, "");
        section.figure(
            format!("a changed profile {what}: paths that exceptions mask"),
            change.masked as f64,
            "",
        );
        section.figure(format!("a changed profile {what}: finding the sites"), ms(change.finding), "ms");
        section.figure(
            format!("a changed profile {what}: blast radius over all sites"),
            ms(change.comparing),
            "ms",
        );
    }
    section.figure("documents and their selectors, heap", fleet_bytes / MIB, "MiB");
    Ok(section)
}

fn timed<T>(sites: &[T], mut work: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Samples> {
    let mut times = vec![];
    for at in 0..sites.len().min(2_000) {
        let begun = Instant::now();
        work(at)?;
        times.push(ms(begun.elapsed()));
    }
    Ok(times.into_iter().collect())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What one changed value of a profile does.
struct Change {
    touched: usize,
    changed: usize,
    paths: usize,
    masked: usize,
    finding: Duration,
    comparing: Duration,
}

impl Change {
    /// One path of the profile gets another value.
    fn of(fleet: &Fleet, profile: usize) -> anyhow::Result<Self> {
        let mut after = fleet.clone();
        let values = &mut after.profiles[profile].1["values"];
        let (_, tree) = values.as_object_mut().and_then(|map| map.iter_mut().next()).context("a tree")?;
        tree["p3"] = json!("changed");
        let (old, new) = (fleet.namespace(), after.namespace());
        let begun = Instant::now();
        let reaches = [&fleet.profiles, &after.profiles].map(|list| Reach::of_profile(&list[profile].1));
        let mut touched = vec![];
        for site in 0..fleet.sites.len() {
            let inputs = fleet.bare(site);
            let subject = Subject::of(&inputs).context("a site that can be read")?;
            if reaches.iter().any(|reach| reach.includes(&subject)) {
                touched.push(site);
            }
        }
        let finding = begun.elapsed();
        let mut change =
            Self { touched: touched.len(), changed: 0, paths: 0, masked: 0, finding, comparing: finding };
        for site in touched {
            let found = impact(&fleet.inputs(&old, site), &fleet.inputs(&new, site));
            ensure!(matches!(found.after, Standing::Resolved(_)), "site {site} does not resolve");
            change.changed += usize::from(!found.is_none());
            change.paths += found.paths.len();
            change.masked += found.masked.len();
        }
        change.comparing = begun.elapsed();
        Ok(change)
    }
}

type Objects = Vec<(String, Value)>;

/// A namespace in memory.
#[derive(Clone)]
struct Fleet {
    sites: Vec<(String, BTreeMap<String, String>, Value)>,
    profiles: Objects,
    overrides: Objects,
}

impl Fleet {
    /// One profile for all sites, some by class, some by country, the others by hardware; a tenth of the
    /// overrides have a selector.
    fn new(sites: usize, profiles: usize, overrides: usize) -> Self {
        let label = |key: &str, number: usize| (key.to_owned(), number.to_string());
        let site = |number: usize| {
            let labels = [
                label("class", number % CLASSES),
                label("country", number / 7 % COUNTRIES),
                label("hardware", number / 3 % profiles.saturating_sub(1 + CLASSES + COUNTRIES).max(1)),
            ];
            (
                crate::fleet::site(number),
                labels.into(),
                json!({"region": "eu", "vars": {"tills": number % 9}}),
            )
        };
        let profile = |number: usize| {
            let (tree, priority, selector) = match number {
                0 => ("base", 100, json!({"matchAll": true})),
                n if n <= CLASSES => ("class", 200, labelled("class", n - 1)),
                n if n <= CLASSES + COUNTRIES => ("country", 300, labelled("country", n - 1 - CLASSES)),
                n => ("hardware", 400, labelled("hardware", n - 1 - CLASSES - COUNTRIES)),
            };
            let mut values: BTreeMap<String, Value> = (0..PATHS)
                .map(|path| (format!("p{path}"), json!(format!("{tree} {number} {path}"))))
                .collect();
            values.insert("p1".into(), json!("${tills}"));
            let variable = json!({"name": "tills", "type": "integer", "default": 2, "min": 0, "max": 40});
            let spec = json!({
                "priority": priority,
                "selector": selector,
                "values": {tree: values},
                "variables": [variable],
                "enforced": [format!("{tree}.p0")],
            });
            (format!("profile-{number}"), spec)
        };
        let exception = |number: usize| {
            let values = json!({"base": {"p3": "exception"}, "class": {"p4": number}});
            let spec = json!({"values": values, "reason": "a second till", "permanent": true});
            match number % 10 {
                0 => {
                    let mut spec = spec;
                    spec["selector"] = json!({"matchLabels": {
                        "class": (number / 10 % CLASSES).to_string(),
                        "country": (number / 10 % COUNTRIES).to_string(),
                    }});
                    (format!("exception-{number}"), spec)
                }
                _ => (format!("{}.exception", crate::fleet::site(number * 7 % sites)), spec),
            }
        };
        let mut exceptions: BTreeMap<String, Value> = BTreeMap::new();
        exceptions.extend((0..overrides).map(exception));
        Self {
            sites: (0..sites).map(site).collect(),
            profiles: (0..profiles).map(profile).collect(),
            overrides: exceptions.into_iter().collect(),
        }
    }

    fn namespace(&self) -> Reaching<'_> {
        Reaching::new(objects(&self.profiles), objects(&self.overrides), vec![], vec![])
    }

    fn site(&self, number: usize) -> SiteInput<'_> {
        let (name, labels, spec) = &self.sites[number];
        SiteInput { namespace: "acme", name, labels, spec }
    }

    fn inputs<'a>(&'a self, namespace: &Reaching<'a>, site: usize) -> Inputs<'a> {
        namespace.inputs(self.site(site), BTreeMap::new())
    }

    /// The inputs of a site, nothing left out.
    fn all(&self) -> Inputs<'_> {
        Inputs { profiles: objects(&self.profiles), overrides: objects(&self.overrides), ..self.bare(0) }
    }

    /// A site without anything that applies to it.
    fn bare(&self, site: usize) -> Inputs<'_> {
        let nothing = || Vec::new();
        let site = self.site(site);
        let claims = BTreeMap::new();
        Inputs {
            site,
            profiles: nothing(),
            overrides: nothing(),
            apps: nothing(),
            releases: nothing(),
            claims,
        }
    }
}

fn labelled(key: &str, number: usize) -> Value {
    json!({"matchLabels": {key: number.to_string()}})
}

fn objects(list: &Objects) -> Vec<ObjectInput<'_>> {
    list.iter().map(|(name, spec)| ObjectInput { name, spec }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_profile_reaches_the_sites_that_it_selects_and_one_path_of_each() {
        let fleet = Fleet::new(180, 100, 100);
        let base = Change::of(&fleet, 0).expect("sites that resolve");
        assert_eq!((base.touched, base.paths + base.masked), (180, 180));
        assert!(base.masked > 0 && base.changed == base.paths);
        let class = Change::of(&fleet, 1).expect("sites that resolve");
        assert_eq!((class.touched, class.paths), (180 / CLASSES, 180 / CLASSES));
    }
}
