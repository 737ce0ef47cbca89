//! A fleet in a temporary directory, for the tests of this module.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// A fleet with one hub, and room for more nodes.
pub(super) struct Fleet {
    pub(super) dir: tempfile::TempDir,
    pub(super) hub: NodeIdentity,
    tokens: u8,
}

impl Fleet {
    pub(super) fn start(now: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["hub.example.com".to_owned(), "192.0.2.7".to_owned()];
        let hub = NodeIdentity::create_fleet(&dir.path().join("hub"), "eu-1", "eu", &hosts, now).unwrap();
        Self { dir, hub, tokens: 0 }
    }

    pub(super) fn hub_dir(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    /// A token of the hub's for one hour.
    pub(super) fn token(&mut self, purpose: TokenPurpose, uses: u32, now: u64) -> (Token, TokenRecord) {
        self.tokens += 1;
        let spec = TokenSpec {
            purpose,
            region: "eu".to_owned(),
            addresses: vec!["hub.example.com:7420".to_owned()],
            uses,
            expires: now + 3_600,
        };
        Token::mint(&self.hub, spec, now, [self.tokens; 16]).unwrap()
    }

    /// An edge, enrolled through the whole exchange.
    pub(super) fn enrol_edge(&mut self, site: &str, node: &str, now: u64) -> NodeIdentity {
        let (token, record) = self.token(for_site(site), 1, now);
        self.enrol(&token, record, node, now)
    }

    /// A second hub.
    pub(super) fn enrol_hub(&mut self, name: &str, now: u64) -> NodeIdentity {
        let (token, record) = self.token(TokenPurpose::Hub, 1, now);
        self.enrol(&token, record, name, now)
    }

    fn enrol(&self, token: &Token, mut record: TokenRecord, node: &str, now: u64) -> NodeIdentity {
        let dir = self.dir.path().join(format!("{}-{node}", token.id()));
        let joining = JoiningNode::begin(&dir).unwrap();
        let request = joining.request(token, node, None, &EXPORTER);
        let verified = verify_join(&self.hub, Some(&record), &request, &EXPORTER, now).unwrap();
        let facts = JoinFacts { hub_addresses: token.spec().addresses.clone(), ..JoinFacts::default() };
        let (grant, _) = verified.grant(&self.hub, &mut record, &facts, now).unwrap();
        joining.accept(token, &request, &grant, &[], now).unwrap()
    }
}

/// What both ends of the connection export.
pub(super) const EXPORTER: JoinExporter = [42; 32];

pub(super) fn for_site(site: &str) -> TokenPurpose {
    TokenPurpose::Edge {
        namespace: "default".to_owned(),
        site: SitePattern::Named(site.to_owned()),
        labels: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
    }
}

pub(super) fn for_new_sites(pattern: &str) -> TokenPurpose {
    TokenPurpose::Edge {
        namespace: "default".to_owned(),
        site: SitePattern::New(pattern.to_owned()),
        labels: BTreeMap::new(),
    }
}
