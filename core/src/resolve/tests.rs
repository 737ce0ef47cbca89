#![allow(clippy::unwrap_used)]

mod agreement;
mod catalog;
mod impacts;
mod isolation;
mod laws;
mod pitfalls;
mod reference;
mod rules;
mod whys;

use super::*;

/// A namespace with one site, told in JSON, as a test writes it.
#[derive(Clone)]
struct Fleet {
    labels: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
    site: Value,
    profiles: Vec<(String, Value)>,
    overrides: Vec<(String, Value)>,
    apps: Vec<(String, Value)>,
    releases: Vec<(String, Value)>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { labels, claims, site, profiles, overrides, apps, releases } = self;
        writeln!(f, "labels {labels:?} claims {claims:?} site {site}")?;
        let objects = [profiles, overrides, apps, releases];
        objects.into_iter().flatten().try_for_each(|(name, spec)| writeln!(f, "{name}: {spec}"))
    }
}

impl Fleet {
    /// The site `store-17`, class store in nl, with nothing that applies to it.
    fn new() -> Self {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            labels: [pair("class", "store"), pair("country", "nl")].into(),
            claims: BTreeMap::new(),
            site: json!({"region": "eu"}),
            profiles: Vec::new(),
            overrides: Vec::new(),
            apps: Vec::new(),
            releases: Vec::new(),
        }
    }

    /// Adds a profile of a priority that matches every site; `more` adds or replaces fields of its spec.
    fn profile(mut self, name: &str, priority: u16, values: Value, more: Value) -> Self {
        let spec = json!({"priority": priority, "selector": {"matchAll": true}, "values": values});
        self.profiles.push((name.into(), with(spec, more)));
        self
    }

    fn exception(mut self, name: &str, values: Value, more: Value) -> Self {
        let spec = json!({"values": values, "reason": "INC-42", "permanent": true});
        self.overrides.push((name.into(), with(spec, more)));
        self
    }

    fn site(mut self, spec: Value) -> Self {
        self.site = spec;
        self
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            site: SiteInput { namespace: "acme", name: "store-17", labels: &self.labels, spec: &self.site },
            profiles: objects_of(&self.profiles),
            overrides: objects_of(&self.overrides),
            apps: objects_of(&self.apps),
            releases: objects_of(&self.releases),
            claims: self.claims.clone(),
        }
    }

    fn resolve(&self) -> Resolution {
        resolve(&self.inputs())
    }

    #[track_caller]
    fn values(&self) -> Value {
        let resolution = self.resolve();
        assert_eq!(resolution.failed, None);
        resolution.values
    }

    #[track_caller]
    fn failure(&self) -> (&'static str, String) {
        let failure = self.resolve().failed.unwrap();
        (failure.reason, failure.to_string())
    }

    fn conditions(&self) -> Vec<String> {
        self.resolve().conditions.into_iter().map(|condition| condition.type_).collect()
    }
}

fn objects_of(list: &[(String, Value)]) -> Vec<ObjectInput<'_>> {
    list.iter().map(|(name, spec)| ObjectInput { name, spec }).collect()
}

fn with(mut spec: Value, more: Value) -> Value {
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}
