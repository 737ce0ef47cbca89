//! Who may write what.
//!
//! Authority is per document and fixed per key. The fleet's authority may write everything; it enrols
//! hubs in the scope `fleet`; hubs enrol the nodes of sites in the site's own scope. Enrolment only
//! grows; a revocation takes its effect back from where the listed chain heads stand. All of it is
//! read off effective events, so every replica with the same set decides the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Effect;
use crate::event::{Event, Header, Operation};
use crate::ids::{Author, Boot, FleetId};
use crate::name::{Document, Kind, Scope};

/// What a key was enrolled as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Enrolment {
    /// A hub, by name.
    Hub {
        /// Its name, as in its `Hub` document.
        name: String,
    },
    /// A node of a site.
    Site {
        /// The site's namespace.
        namespace: String,
        /// The site.
        site: String,
        /// The node.
        node: String,
    },
}

/// Where the chains of a revoked key end: the last `author_seq` that stands, per scope and boot.
pub type Standing = BTreeMap<String, BTreeMap<Boot, u64>>;

/// The enrolled keys of a fleet and their revocations.
#[derive(Debug, Clone)]
pub struct Authority {
    fleet: FleetId,
    enrolments: BTreeMap<Author, BTreeSet<Enrolment>>,
    revocations: BTreeMap<Author, Vec<Standing>>,
}

impl Authority {
    /// Knows the fleet's own key and nothing else.
    pub fn new(fleet: FleetId) -> Self {
        Self { fleet, enrolments: BTreeMap::new(), revocations: BTreeMap::new() }
    }

    /// Whether the key was enrolled, revoked or not.
    pub fn is_enrolled(&self, author: &Author) -> bool {
        *author == self.fleet.into() || self.enrolments.contains_key(author)
    }

    /// What a key was enrolled as.
    pub fn enrolments(&self, author: &Author) -> impl Iterator<Item = &Enrolment> {
        self.enrolments.get(author).into_iter().flatten()
    }

    /// Every enrolled key with what it was enrolled as, revoked or not.
    pub fn enrolled(&self) -> impl Iterator<Item = (&Author, &Enrolment)> {
        self.enrolments.iter().flat_map(|(author, as_what)| as_what.iter().map(move |what| (author, what)))
    }

    /// Whether a revocation names the key.
    pub fn is_revoked(&self, author: &Author) -> bool {
        self.revocations.contains_key(author)
    }

    /// Adds an enrolment.
    pub fn enrol(&mut self, author: Author, enrolment: Enrolment) {
        self.enrolments.entry(author).or_default().insert(enrolment);
    }

    /// Adds a revocation; several of one key intersect.
    pub fn revoke(&mut self, author: Author, standing: Standing) {
        self.revocations.entry(author).or_default().push(standing);
    }

    /// Whether the author's enrolment allows a document, revocations aside.
    pub fn allows(&self, author: &Author, document: &Document) -> bool {
        if *author == self.fleet.into() {
            return true;
        }
        self.enrolments(author).any(|enrolment| match enrolment {
            Enrolment::Hub { name } => match document.kind() {
                Kind::HubStatus => document.name() == name,
                Kind::Hub | Kind::Revocation | Kind::Setting => false,
                Kind::Machine | Kind::SiteStatus | Kind::DriftReport => false,
                Kind::Override => !document.is_local_override(),
                Kind::Profile | Kind::Rollout | Kind::Site | Kind::Member | Kind::App | Kind::Release => true,
            },
            Enrolment::Site { namespace, site, .. } => {
                document.is_site_written()
                    && document.namespace() == namespace
                    && document.owner() == Some(site)
            }
        })
    }

    /// Whether an event counts. A pure function of the enrolments and revocations in the set.
    pub fn effect(&self, header: &Header) -> Effect {
        let allowed = self.allows(&header.chain.author, &header.document);
        let scope = header.document.scope();
        match allowed && self.stands(&header.chain.author, &header.chain.boot, &scope, header.author_seq) {
            true => Effect::Effective,
            false => Effect::Void,
        }
    }

    /// Whether an event lies within every revocation of its author.
    fn stands(&self, author: &Author, boot: &Boot, scope: &Scope, seq: u64) -> bool {
        let revocations = self.revocations.get(author).map_or(&[][..], Vec::as_slice);
        revocations.iter().all(|standing| {
            let heads = standing.get(&scope.to_string());
            heads.and_then(|heads| heads.get(boot)).is_some_and(|last| seq <= *last)
        })
    }

    /// Learns what an effective event says of keys. What a revoked key wrote has to be executed anew.
    pub fn learn(&mut self, event: &Event) -> Learned {
        let document = &event.header().document;
        match document.kind() {
            Kind::Hub => enrolled_key(event).map_or(Learned::Nothing, |author| {
                self.learn_enrolment(author, Enrolment::Hub { name: document.name().to_owned() })
            }),
            Kind::Member => {
                let (Some(author), Some((site, node))) =
                    (enrolled_key(event), document.name().split_once('.'))
                else {
                    return Learned::Nothing;
                };
                let (namespace, site, node) =
                    (document.namespace().to_owned(), site.to_owned(), node.to_owned());
                self.learn_enrolment(author, Enrolment::Site { namespace, site, node })
            }
            Kind::Revocation => match revocation(event) {
                Some((author, standing)) => {
                    self.revoke(author, standing.clone());
                    Learned::Revoked(author, standing)
                }
                None => Learned::Nothing,
            },
            _ => Learned::Nothing,
        }
    }

    fn learn_enrolment(&mut self, author: Author, enrolment: Enrolment) -> Learned {
        self.enrol(author, enrolment.clone());
        Learned::Enrolled(author, enrolment)
    }
}

/// What an event taught about keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// Nothing.
    Nothing,
    /// A key was enrolled.
    Enrolled(Author, Enrolment),
    /// A key was revoked.
    Revoked(Author, Standing),
}

/// The value of a register that an event sets.
fn put_value(event: &Event, wanted: &str) -> Option<Value> {
    event.operations().iter().find_map(|operation| match operation {
        Operation::Put { path, value } if path == wanted => serde_json::from_str(value).ok(),
        _ => None,
    })
}

fn enrolled_key(event: &Event) -> Option<Author> {
    put_value(event, "/spec/key")?.as_str()?.parse().ok()
}

/// A revocation lists `spec.key` and, for each scope and boot, the last `author_seq` that stands:
/// `spec.heads["sites/acme/store-17"]["<boot>"] = 12`. Without heads nothing stands.
fn revocation(event: &Event) -> Option<(Author, Standing)> {
    let author = enrolled_key(event)?;
    let mut standing = Standing::new();
    for operation in event.operations() {
        let Operation::Put { path, value } = operation else { continue };
        let Some(rest) = path.strip_prefix("/spec/heads/") else { continue };
        let Some((scope, boot)) = rest.split_once('/') else { continue };
        let (Ok(boot), Ok(seq)) = (boot.parse(), value.parse()) else { continue };
        standing.entry(scope.replace("~1", "/").replace("~0", "~")).or_default().insert(boot, seq);
    }
    Some((author, standing))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::tests::{put, sample_header};

    const HUB: Author = Author([2; 32]);
    const EDGE: Author = Author([3; 32]);

    fn authority() -> Authority {
        let mut authority = Authority::new(FleetId([1; 32]));
        authority.enrol(HUB, Enrolment::Hub { name: "hub-eu-1".into() });
        let (namespace, site, node) = ("acme".to_owned(), "store-17".to_owned(), "pos-1".to_owned());
        authority.enrol(EDGE, Enrolment::Site { namespace, site, node });
        authority
    }

    #[test]
    fn each_kind_has_its_writers() {
        use Kind::*;
        let authority = authority();
        let table = [
            // kind, namespace, name, hub, edge
            (Profile, "acme", "store-base", true, false),
            (Rollout, "acme", "pos-2-4", true, false),
            (Override, "acme", "all-stores", true, false),
            (Override, "acme", "store-17.replicas", true, false),
            (Override, "acme", "store-17.local", false, true),
            (Override, "acme", "store-18.local", false, false),
            (Override, "other", "store-17.local", false, false),
            (Site, "acme", "store-17", true, false),
            (Member, "acme", "store-17.pos-1", true, false),
            (SiteStatus, "acme", "store-17", false, true),
            (SiteStatus, "acme", "store-18", false, false),
            (Machine, "acme", "store-17.m1", false, true),
            (Machine, "acme", "store-18.m1", false, false),
            (DriftReport, "acme", "store-17.all", false, true),
            (App, "acme", "pos", true, false),
            (Release, "acme", "pos.2", true, false),
            (Hub, "", "hub-eu-2", false, false),
            (HubStatus, "", "hub-eu-1", true, false),
            (HubStatus, "", "hub-us-1", false, false),
            (Revocation, "", "r1", false, false),
            (Setting, "", "limits", false, false),
        ];
        for (kind, namespace, name, hub, edge) in table {
            let document = Document::new(kind, namespace, name).unwrap();
            assert_eq!(authority.allows(&HUB, &document), hub, "hub: {document}");
            assert_eq!(authority.allows(&EDGE, &document), edge, "edge: {document}");
            assert!(authority.allows(&Author([1; 32]), &document), "the authority: {document}");
            assert!(!authority.allows(&Author([9; 32]), &document), "a stranger: {document}");
        }
    }

    #[test]
    fn a_revocation_leaves_what_stands() {
        let mut authority = authority();
        let mut header = sample_header();
        header.document = Document::new(Kind::Machine, "acme", "store-17.m1").unwrap();
        header.chain.author = EDGE;
        header.author_seq = 5;
        assert_eq!(authority.effect(&header), Effect::Effective);
        let mut revocation = sample_header();
        revocation.document = Document::new(Kind::Revocation, "", "r1").unwrap();
        let heads = format!("/spec/heads/sites~1acme~1store-17/{}", header.chain.boot);
        let operations = vec![put("/spec/key", &format!("\"{EDGE}\"")), put(&heads, "4")];
        let learned = authority.learn(&Event::new(revocation, operations));
        assert!(matches!(learned, Learned::Revoked(EDGE, _)));
        assert_eq!(authority.effect(&header), Effect::Void);
        header.author_seq = 4;
        assert_eq!(authority.effect(&header), Effect::Effective);
        header.chain.boot = Boot([9; 16]);
        assert_eq!(authority.effect(&header), Effect::Void, "a boot that is not listed does not stand");
    }
}
