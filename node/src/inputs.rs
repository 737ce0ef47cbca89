//! What resolution reads, taken from a replica: the objects of a namespace, and the facts of its sites.
//!
//! Collecting copies handles, not documents, so it is short enough for the replica's owner; resolving
//! happens elsewhere, on what was collected. This module knows which revision of a profile applies and
//! which local override is too old; how layers merge is [`driftless_core::resolve`]'s.

mod past;
mod reaches;

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::document::{DocumentState, Effect};
use driftless_core::event::Event;
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{HistoryEntry, Replica, View};
use driftless_core::resolve::{Inputs, ObjectInput, SiteInput, revision};
use driftless_core::store::{Store, StoreError};
use driftless_core::view;
use serde_json::{Value, json};

pub use past::{Forgotten, PastDocuments};

use crate::api::time::parse_duration;
pub use reaches::Reaches;

/// Most pinned revisions that are remembered.
const PINS_MAX: usize = 1_024;

/// The objects of one namespace that decide what its sites should run.
#[derive(Debug, Clone)]
pub struct NamespaceInputs {
    namespace: String,
    profiles: Vec<Object>,
    selector_overrides: Vec<Object>,
    /// By site.
    site_overrides: BTreeMap<String, Vec<Object>>,
    apps: Vec<Object>,
    releases: Vec<Object>,
}

/// A site, and what it says of itself.
#[derive(Debug, Clone)]
pub struct SiteFacts {
    /// Its document.
    pub document: Document,
    /// The Site.
    pub resource: Arc<Value>,
    /// The SiteStatus, if the site ever reported.
    pub report: Option<Arc<Value>>,
    labels: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
    /// Of its overrides that are over, by name, the `expiresAt` that has passed; as the site says.
    expired: BTreeMap<String, String>,
    stamp: [u64; 2],
}

/// Specs of pinned revisions that were found in histories. A revision names its content, so what was
/// found once is right for ever.
#[derive(Debug, Default)]
pub struct Pins(BTreeMap<(Document, String), Arc<Value>>);

#[derive(Debug, Clone)]
struct Object {
    name: String,
    version: u64,
    /// A map with `spec`.
    root: Arc<Value>,
}

impl NamespaceInputs {
    /// Collects what concerns every site of a namespace, or one site.
    pub fn collect<S: Store>(
        replica: &Replica<S>,
        namespace: &str,
        site: Option<&str>,
        now_ms: u64,
        pins: &mut Pins,
    ) -> Result<Self, StoreError> {
        let all = |kind| replica.list(kind, Some(namespace), &BTreeMap::new());
        let mut desired = Self {
            namespace: namespace.to_owned(),
            profiles: Vec::new(),
            selector_overrides: Vec::new(),
            site_overrides: BTreeMap::new(),
            apps: all(Kind::App)?.into_iter().map(Object::of).collect(),
            releases: all(Kind::Release)?.into_iter().map(Object::of).collect(),
        };
        for view in all(Kind::Profile)? {
            desired.profiles.push(pins.applying(replica, view)?);
        }
        for document in replica.names(Kind::Override, Some(namespace), &BTreeMap::new()) {
            let owner = document.owner();
            if owner.is_some() && site.is_some() && owner != site {
                continue;
            }
            if document.is_local_override() && is_over(replica, &document, now_ms)? {
                continue;
            }
            if let Some(view) = replica.get(&document)? {
                desired.overrides_of(owner).push(Object::of(view));
            }
        }
        Ok(desired)
    }

    /// The same as if a resource existed, or had changed, or, with `None`, were gone: what-if. Of other kinds
    /// nothing depends. A profile that pins a revision is taken at that one, as it would be.
    pub fn with<S: Store>(
        &mut self,
        replica: &Replica<S>,
        document: &Document,
        resource: Option<Value>,
        pins: &mut Pins,
    ) -> Result<(), StoreError> {
        let object = match resource {
            None => None,
            Some(resource) => {
                let view =
                    View { document: document.clone(), resource: Arc::new(resource), version: u64::MAX };
                Some(match document.kind() {
                    Kind::Profile => pins.applying(replica, view)?,
                    _ => Object::of(view),
                })
            }
        };
        if let Some(objects) = self.objects_mut(document) {
            objects.retain(|object| object.name != document.name());
            objects.extend(object);
        }
        Ok(())
    }

    /// The spec of an object, at the revision that applies.
    pub fn spec(&self, document: &Document) -> Option<&Value> {
        let objects = match document.kind() {
            Kind::Profile => &self.profiles,
            Kind::App => &self.apps,
            Kind::Release => &self.releases,
            Kind::Override => match document.owner() {
                None => &self.selector_overrides,
                Some(site) => self.site_overrides.get(site)?,
            },
            _ => return None,
        };
        objects.iter().find(|object| object.name == document.name()).map(|object| &object.root["spec"])
    }

    /// Whether these are the same objects, as this replica held them: none was written in between.
    pub fn is_same(&self, other: &Self) -> bool {
        self.versions() == other.versions()
    }

    /// The objects that were written since, that came, or that are gone, a local override's end included.
    pub fn changed_since(&self, before: &Self) -> Vec<Document> {
        let (now, then) = (self.versions(), before.versions());
        let changed = now.iter().filter(|(key, version)| then.get(*key) != Some(*version));
        let gone = then.iter().filter(|(key, _)| !now.contains_key(*key));
        let document = |(kind, name): &(Kind, &str)| Document::new(*kind, &self.namespace, name).ok();
        changed.chain(gone).filter_map(|(key, _)| document(key)).collect()
    }

    fn versions(&self) -> BTreeMap<(Kind, &str), u64> {
        let lists = [
            (Kind::Profile, &self.profiles),
            (Kind::Override, &self.selector_overrides),
            (Kind::App, &self.apps),
            (Kind::Release, &self.releases),
        ];
        let own = self.site_overrides.values().map(|objects| (Kind::Override, objects));
        let all = lists.into_iter().chain(own);
        all.flat_map(|(kind, objects)| {
            objects.iter().map(move |object| ((kind, object.name.as_str()), object.version))
        })
        .collect()
    }

    /// The inputs of one site's resolution.
    pub fn inputs<'a>(&'a self, site: &'a SiteFacts) -> Inputs<'a> {
        let own = self.site_overrides.get(site.document.name());
        let own = own.into_iter().flatten().filter(|object| !site.says_is_over(object));
        let overrides = self.selector_overrides.iter().chain(own);
        Inputs {
            site: SiteInput {
                namespace: &self.namespace,
                name: site.document.name(),
                labels: &site.labels,
                spec: &site.resource["spec"],
            },
            profiles: self.profiles.iter().map(Object::input).collect(),
            overrides: overrides.map(Object::input).collect(),
            apps: self.apps.iter().map(Object::input).collect(),
            releases: self.releases.iter().map(Object::input).collect(),
            claims: site.claims.clone(),
        }
    }

    /// Whether any profile enforces anything.
    pub fn enforces(&self) -> bool {
        let enforced =
            |object: &Object| object.root.pointer("/spec/enforced").and_then(Value::as_array).cloned();
        self.profiles.iter().filter_map(enforced).any(|paths| !paths.is_empty())
    }

    /// Stands for everything that the resolution of a site depends on, within this replica: equal stamps
    /// mean equal resolutions.
    pub fn stamp(&self, site: &SiteFacts) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let own = self.site_overrides.get(site.document.name()).map_or(&[][..], Vec::as_slice);
        for objects in [&self.profiles[..], &self.selector_overrides, own, &self.apps, &self.releases] {
            hasher.update(&(objects.len() as u64).to_be_bytes());
            for object in objects {
                hasher.update(object.name.as_bytes()).update(&[0]).update(&object.version.to_be_bytes());
            }
        }
        hasher.update(&site.stamp[0].to_be_bytes()).update(&site.stamp[1].to_be_bytes());
        *hasher.finalize().as_bytes()
    }

    fn objects_mut(&mut self, document: &Document) -> Option<&mut Vec<Object>> {
        match document.kind() {
            Kind::Profile => Some(&mut self.profiles),
            Kind::Override => Some(self.overrides_of(document.owner())),
            Kind::App => Some(&mut self.apps),
            Kind::Release => Some(&mut self.releases),
            _ => None,
        }
    }

    fn overrides_of(&mut self, site: Option<&str>) -> &mut Vec<Object> {
        match site {
            None => &mut self.selector_overrides,
            Some(site) => self.site_overrides.entry(site.to_owned()).or_default(),
        }
    }
}

impl SiteFacts {
    /// Reads a site, and what it reported; `None` if there is no such site.
    pub fn collect<S: Store>(replica: &Replica<S>, site: &Document) -> Result<Option<Self>, StoreError> {
        match replica.get(site)? {
            Some(view) => Self::of(replica, view).map(Some),
            None => Ok(None),
        }
    }

    /// Reads what the site of this view reported.
    pub fn of<S: Store>(replica: &Replica<S>, site: View) -> Result<Self, StoreError> {
        let report = match Document::new(Kind::SiteStatus, site.document.namespace(), site.document.name()) {
            Ok(document) => replica.get(&document)?,
            // A site's name is a name for its status.
            Err(_) => None,
        };
        let stamp = [site.version, report.as_ref().map_or(0, |report| report.version)];
        Ok(Self::new(site.document, site.resource, report.map(|report| report.resource), stamp))
    }

    /// The same site as if its Site were this: what-if.
    pub fn with(self, resource: Value) -> Self {
        Self::new(self.document, Arc::new(resource), self.report, [u64::MAX; 2])
    }

    fn new(document: Document, resource: Arc<Value>, report: Option<Arc<Value>>, stamp: [u64; 2]) -> Self {
        let labels = text_map(resource.pointer("/metadata/labels"));
        let said = |field| text_map(report.as_deref().and_then(|report| report.pointer(field)));
        let (claims, expired) = (said("/status/claims"), said("/status/expired"));
        Self { document, resource, report, labels, claims, expired, stamp }
    }

    /// Whether the site says that an override of its own is over. An extension wins: what it said of another
    /// `expiresAt` counts no more.
    fn says_is_over(&self, object: &Object) -> bool {
        let expires_at = object.root.pointer("/spec/expiresAt").and_then(Value::as_str);
        expires_at.is_some() && self.expired.get(&object.name).map(String::as_str) == expires_at
    }
}

impl Object {
    fn of(view: View) -> Self {
        Self { name: view.document.name().to_owned(), version: view.version, root: view.resource }
    }

    fn input(&self) -> ObjectInput<'_> {
        ObjectInput { name: &self.name, spec: &self.root["spec"] }
    }
}

impl Pins {
    /// The profile at the revision that applies: the pinned one if it names one, else the current.
    fn applying<S: Store>(&mut self, replica: &Replica<S>, view: View) -> Result<Object, StoreError> {
        let spec = &view.resource["spec"];
        let pin = spec["revision"].as_str().unwrap_or_default().to_owned();
        if pin.is_empty() || revision(spec).starts_with(&pin) {
            return Ok(Object::of(view));
        }
        let key = (view.document.clone(), pin);
        let root = match self.0.get(&key) {
            Some(root) => Arc::clone(root),
            None => {
                let history = replica.history(&key.0)?;
                let root = Arc::new(json!({"spec": spec_at(&key.0, &history, &key.1)}));
                if self.0.len() == PINS_MAX {
                    self.0.clear();
                }
                self.0.insert(key, Arc::clone(&root));
                root
            }
        };
        Ok(Object { root, ..Object::of(view) })
    }
}

/// The spec that a document had at a revision, the last time it had it. A revision that is nowhere in the
/// history gives a spec that resolution refuses, so that the sites keep what they run.
fn spec_at(document: &Document, history: &[HistoryEntry], pin: &str) -> Value {
    let mut state = DocumentState::new();
    let mut seen: Vec<(&Event, Effect)> = Vec::with_capacity(history.len());
    let mut found = None;
    for entry in history {
        seen.push((&entry.event, entry.effect));
        if state.apply(&entry.event, entry.effect).is_err() {
            // Concurrent with what came before: executed anew, as the replica itself did.
            let Ok(rebuilt) = DocumentState::rebuild(seen.iter().copied()) else { continue };
            state = rebuilt;
        }
        let mut resource = view::resource(document, &state);
        if revision(&resource["spec"]).starts_with(pin) {
            found = Some(resource["spec"].take());
        }
    }
    found.unwrap_or_else(|| json!({"revision": pin}))
}

/// Whether a local override has outlived what its site allows.
fn is_over<S: Store>(replica: &Replica<S>, document: &Document, now_ms: u64) -> Result<bool, StoreError> {
    let site = document.owner().and_then(|site| Document::new(Kind::Site, document.namespace(), site).ok());
    let site = match site {
        Some(site) => replica.get(&site)?,
        None => None,
    };
    Ok(is_too_old(site.as_ref(), replica.state(document)?.as_deref(), now_ms))
}

/// Whether an override was written longer ago than its site lets one stand.
fn is_too_old(site: Option<&View>, state: Option<&DocumentState>, now_ms: u64) -> bool {
    let lifetime = site.and_then(|site| site.resource.pointer("/spec/localOverride/maxTTL"));
    let Some(lifetime_ms) = lifetime.and_then(Value::as_str).and_then(parse_duration) else { return false };
    let written_ms =
        state.and_then(|state| state.origin(&state.last()?.id)).map_or(0, |origin| origin.time_ms);
    now_ms.saturating_sub(written_ms) > lifetime_ms
}

/// A map of texts; what is no text is left out, as selectors read it.
fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use driftless_core::replica::{ChangeRequest, Write};
    use driftless_core::resolve::resolve;
    use driftless_core::store::MemoryStore;
    use driftless_core::testing;

    use super::*;

    const NOW_MS: u64 = 1_795_356_000_000;

    fn fleet() -> Replica<MemoryStore> {
        let mut replica = testing::open(MemoryStore::new(), testing::AUTHORITY, 1);
        put(
            &mut replica,
            Kind::Site,
            "store-17",
            json!({"metadata": {"labels": {"class": "store"}}, "spec": {"region": "eu"}}),
        );
        put(&mut replica, Kind::Profile, "base", profile(2, ""));
        replica
    }

    fn profile(replicas: u64, pin: &str) -> Value {
        json!({"spec": {
            "priority": 100,
            "selector": {"matchLabels": {"class": "store"}},
            "revision": pin,
            "values": {"pos": {"replicas": replicas}},
        }})
    }

    fn put(replica: &mut Replica<MemoryStore>, kind: Kind, name: &str, mut resource: Value) {
        resource["apiVersion"] = json!("driftless.dev/v1");
        resource["kind"] = json!(kind.name());
        resource["metadata"]["name"] = json!(name);
        let document = Document::new(kind, "acme", name).unwrap();
        replica.write(Write::new(document, ChangeRequest::Put(resource), "mia", NOW_MS)).unwrap();
        replica.commit().unwrap();
    }

    fn replicas(replica: &Replica<MemoryStore>, now_ms: u64) -> Value {
        let site = Document::new(Kind::Site, "acme", "store-17").unwrap();
        let site = SiteFacts::collect(replica, &site).unwrap().unwrap();
        let desired =
            NamespaceInputs::collect(replica, "acme", Some("store-17"), now_ms, &mut Pins::default())
                .unwrap();
        let resolution = resolve(&desired.inputs(&site));
        assert_eq!(resolution.failed, None);
        resolution.values["pos"]["replicas"].clone()
    }

    #[test]
    fn a_pinned_profile_stays_at_its_revision_while_it_is_edited() {
        let mut replica = fleet();
        let first = revision(&profile(2, "")["spec"]);
        put(&mut replica, Kind::Profile, "base", profile(3, ""));
        assert_eq!(replicas(&replica, NOW_MS), 3);
        put(&mut replica, Kind::Profile, "base", profile(4, &first[..12]));
        assert_eq!(replicas(&replica, NOW_MS), 2);
        put(&mut replica, Kind::Profile, "base", profile(4, ""));
        assert_eq!(replicas(&replica, NOW_MS), 4);
    }

    #[test]
    fn a_revision_that_never_was_fails_the_site_instead_of_guessing() {
        let mut replica = fleet();
        put(&mut replica, Kind::Profile, "base", profile(3, "0123456789ab"));
        let site = Document::new(Kind::Site, "acme", "store-17").unwrap();
        let site = SiteFacts::collect(&replica, &site).unwrap().unwrap();
        let desired = NamespaceInputs::collect(&replica, "acme", None, NOW_MS, &mut Pins::default()).unwrap();
        assert!(resolve(&desired.inputs(&site)).failed.is_some());
    }

    #[test]
    fn a_local_override_ends_when_the_site_says() {
        let mut replica = fleet();
        let allowed = json!({"allow": true, "maxTTL": "72h", "paths": ["pos.replicas"]});
        put(
            &mut replica,
            Kind::Site,
            "store-17",
            json!({"metadata": {"labels": {"class": "store"}}, "spec": {"localOverride": allowed}}),
        );
        let spec = json!({"values": {"pos": {"replicas": 9}}, "reason": "queue", "permanent": true});
        put(&mut replica, Kind::Override, "store-17.local", json!({"spec": spec}));
        assert_eq!(replicas(&replica, NOW_MS + 72 * 3_600_000), 9);
        assert_eq!(replicas(&replica, NOW_MS + 72 * 3_600_000 + 1), 2);
    }

    #[test]
    fn a_stamp_changes_with_whatever_the_site_depends_on() {
        let mut replica = fleet();
        let stamp = |replica: &Replica<MemoryStore>| {
            let site = Document::new(Kind::Site, "acme", "store-17").unwrap();
            let site = SiteFacts::collect(replica, &site).unwrap().unwrap();
            NamespaceInputs::collect(replica, "acme", None, NOW_MS, &mut Pins::default())
                .unwrap()
                .stamp(&site)
        };
        let mut last = stamp(&replica);
        let other = json!({"spec": {"values": {"a": 1}, "reason": "r", "permanent": true}});
        put(&mut replica, Kind::Override, "store-18.other", other.clone());
        assert_eq!(stamp(&replica), last);
        for (kind, name, resource) in [
            (Kind::Profile, "base", profile(5, "")),
            (Kind::Override, "store-17.own", other),
            (Kind::SiteStatus, "store-17", json!({"status": {"claims": {"gpu": "a100"}}})),
            (Kind::App, "pos", json!({"spec": {"channels": {"stable": "1"}}})),
        ] {
            put(&mut replica, kind, name, resource);
            assert_ne!(stamp(&replica), last, "{kind}");
            last = stamp(&replica);
        }
    }
}
