#![allow(clippy::unwrap_used)]
use super::*;
use crate::identity::testing::{EXPORTER, Fleet, for_new_sites, for_site};
use crate::identity::{JoinError, JoiningNode, PeerIdentity, Role};

const NOW: u64 = 1_790_000_000;

#[test]
fn an_edge_joins_and_comes_back_from_its_disk() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_site("store-17"), 1, NOW);
    let dir = fleet.dir.path().join("edge");
    let joining = JoiningNode::begin(&dir).unwrap();
    let asked = JoinAsk::Join(joining.request(&token, "a", None, &EXPORTER));
    let JoinAsk::Join(request) = JoinAsk::from_frame(&asked.to_frame()).unwrap() else { panic!() };
    let verified = verify_join(&fleet.hub, Some(&record), &request, &EXPORTER, NOW).unwrap();
    assert_eq!(verified.target().to_string(), "node a of site default/store-17");
    let facts = JoinFacts { hub_addresses: vec!["hub:7420".to_owned()], ..JoinFacts::default() };
    let (grant, enrolment) = verified.grant(&fleet.hub, &mut record, &facts, NOW).unwrap();
    assert_eq!(record.uses_left(), 0);
    let Enrolment::Edge { site: Some(site), member } = enrolment else { panic!("{enrolment:?}") };
    assert_eq!(site["metadata"]["labels"]["tier"], "gold");
    assert_eq!(member["metadata"]["name"], "store-17.a");
    let frame = JoinReply::Granted(Box::new(grant)).to_frame();
    assert!(frame.len() < 8_192, "{} bytes", frame.len());
    let JoinReply::Granted(grant) = JoinReply::from_frame(&frame).unwrap() else { panic!() };
    let node = joining.accept(&token, &request, &grant, &[], NOW).unwrap();
    assert_eq!(member["spec"]["key"], node.author().to_string());
    let loaded = NodeIdentity::load(&dir).unwrap();
    assert_eq!(loaded.role, node.role);
    assert_eq!((loaded.author(), loaded.chain), (node.author(), node.chain));
    assert_eq!(loaded.hub_addresses, ["hub:7420"]);
    let operator = PeerIdentity::from_connection_certs(&fleet.hub.fleet, &loaded.operator.chain).unwrap();
    assert_eq!(operator.principal.to_string(), "ns/default/site/store-17/operator/admin");
    assert_eq!((operator.roles, operator.issuer), (vec!["admin".to_owned()], "eu-1".to_owned()));
    assert!(JoiningNode::begin(&dir).is_err(), "an identity is never replaced");
}

#[test]
fn a_second_hub_joins_and_enrols() {
    let mut fleet = Fleet::start(NOW);
    let hub = fleet.enrol_hub("us-1", NOW);
    assert_eq!(hub.role, Role::Hub { name: "us-1".to_owned(), region: "eu".to_owned() });
    assert!(hub.authority.is_none());
    let operator = hub.issue_operator("mia", &["viewer".to_owned()], NOW).unwrap();
    let mia = PeerIdentity::from_connection_certs(&fleet.hub.fleet, &operator.chain).unwrap();
    assert_eq!((mia.principal.to_string(), mia.issuer), ("user/mia".to_owned(), "us-1".to_owned()));
    assert_eq!((mia.roles, mia.key), (vec!["viewer".to_owned()], operator.key.public()));
}

#[test]
fn a_retry_costs_no_second_use() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_new_sites("store-*"), 2, NOW);
    let dir = fleet.dir.path().join("edge");
    let first = JoiningNode::begin(&dir).unwrap();
    ask(&fleet, &mut record, &first, &token, "store-1", &JoinFacts::default()).unwrap();
    assert_eq!(record.uses_left(), 1);
    // The answer was lost and the machine restarted; the hub has written site and member.
    let again = JoiningNode::begin(&dir).unwrap();
    let key = again.request(&token, "a", None, &EXPORTER).node_key;
    let facts = JoinFacts { site_exists: true, name_held_by: Some(key), ..JoinFacts::default() };
    let (_, enrolment) = ask(&fleet, &mut record, &again, &token, "store-1", &facts).unwrap();
    assert_eq!(record.uses_left(), 1);
    assert!(matches!(enrolment, Enrolment::Edge { site: None, .. }));
}

#[test]
fn the_last_use_can_be_retried_but_not_shared() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_site("store-1"), 1, NOW);
    let (one, two) = (joining(&fleet, "one"), joining(&fleet, "two"));
    ask(&fleet, &mut record, &one, &token, "store-1", &JoinFacts::default()).unwrap();
    ask(&fleet, &mut record, &one, &token, "store-1", &JoinFacts::default()).unwrap();
    let refused = ask(&fleet, &mut record, &two, &token, "store-1", &JoinFacts::default()).unwrap_err();
    assert_eq!(refused, JoinRefused::Exhausted { uses: 1 });
    // Two nodes that were verified before either was granted share nothing either.
    let (token, mut record) = fleet.token(for_site("store-2"), 1, NOW);
    let verified = [&one, &two].map(|node| {
        let request = node.request(&token, "a", None, &EXPORTER);
        verify_join(&fleet.hub, Some(&record), &request, &EXPORTER, NOW).unwrap()
    });
    let [first, second] =
        verified.map(|join| join.grant(&fleet.hub, &mut record, &JoinFacts::default(), NOW).map(|_| ()));
    assert_eq!((first, second), (Ok(()), Err(JoinRefused::Exhausted { uses: 1 })));
}

#[test]
fn tokens_are_good_for_their_sites_alone() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_new_sites("store-*"), 9, NOW);
    let node = joining(&fleet, "edge");
    let request = node.request(&token, "a", None, &EXPORTER);
    let missing = verify_join(&fleet.hub, Some(&record), &request, &EXPORTER, NOW).unwrap_err();
    assert_eq!(missing, JoinRefused::SiteMissing { pattern: "store-*".to_owned() });
    let refused = ask(&fleet, &mut record, &node, &token, "tower-1", &JoinFacts::default()).unwrap_err();
    assert!(matches!(refused, JoinRefused::SiteNotAllowed { .. }));
    let refused = ask(&fleet, &mut record, &node, &token, "../x", &JoinFacts::default()).unwrap_err();
    assert!(matches!(refused, JoinRefused::Name { .. }));
    let exists = JoinFacts { site_exists: true, ..JoinFacts::default() };
    let refused = ask(&fleet, &mut record, &node, &token, "store-1", &exists).unwrap_err();
    assert_eq!(refused, JoinRefused::SiteExists { site: "store-1".to_owned() });
    assert_eq!(record.uses_left(), 9);
    let (token, mut record) = fleet.token(for_site("store-1"), 9, NOW);
    let (_, enrolment) = ask(&fleet, &mut record, &node, &token, "store-1", &exists).unwrap();
    assert!(matches!(enrolment, Enrolment::Edge { site: None, .. }));
}

#[test]
fn names_and_keys_belong_together() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_site("store-1"), 9, NOW);
    let node = joining(&fleet, "edge");
    let taken = JoinFacts { name_held_by: Some(Author([1; 32])), ..JoinFacts::default() };
    let refused = ask(&fleet, &mut record, &node, &token, "store-1", &taken).unwrap_err();
    assert_eq!(refused, JoinRefused::NameTaken { name: "node a of site default/store-1".to_owned() });
    let other = JoinTarget::Hub { name: "eu-9".to_owned() };
    let in_use = JoinFacts { key_enrolled_as: Some(other), ..JoinFacts::default() };
    let refused = ask(&fleet, &mut record, &node, &token, "store-1", &in_use).unwrap_err();
    assert_eq!(refused, JoinRefused::KeyInUse { name: "hub eu-9".to_owned() });
    assert_eq!(record.uses_left(), 9);
}

#[test]
fn the_state_of_the_token_decides() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_site("store-1"), 1, NOW);
    let node = joining(&fleet, "edge");
    let request = node.request(&token, "a", None, &EXPORTER);
    let refusal = |hub: &NodeIdentity, record: Option<&TokenRecord>, now| {
        verify_join(hub, record, &request, &EXPORTER, now).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(&fleet.hub, None, NOW), JoinRefused::UnknownToken { hub: "eu-1".to_owned() });
    let expired = refusal(&fleet.hub, Some(&record), NOW + 3_600);
    assert!(expired.to_string().contains("expired"), "{expired}");
    assert_eq!(refusal(&Fleet::start(NOW).hub, None, NOW), JoinRefused::WrongFleet);
    record.revoke();
    assert_eq!(refusal(&fleet.hub, Some(&record), NOW), JoinRefused::Revoked);
    let second = fleet.enrol_hub("us-1", NOW);
    assert_eq!(refusal(&second, None, NOW), JoinRefused::OtherHub { hub: "eu-1".to_owned() });
}

#[test]
fn a_request_is_worth_nothing_on_another_connection_or_changed() {
    let mut fleet = Fleet::start(NOW);
    let (token, record) = fleet.token(for_site("store-1"), 1, NOW);
    let request = joining(&fleet, "edge").request(&token, "a", None, &EXPORTER);
    let verify = |request: &JoinRequest, exporter: &JoinExporter| {
        verify_join(&fleet.hub, Some(&record), request, exporter, NOW).map(|_| ())
    };
    assert_eq!(verify(&request, &EXPORTER), Ok(()));
    assert_eq!(verify(&request, &[43; 32]), Err(JoinRefused::Proof));
    let operator_key = SecretKey::from_seed([5; 32]).public();
    for changed in [
        JoinRequest { operator_key, ..request.clone() },
        JoinRequest { node_key: operator_key, ..request.clone() },
        JoinRequest { node: "b".to_owned(), ..request.clone() },
        JoinRequest { site: Some(String::new()), ..request.clone() },
        JoinRequest { site: Some("store-1".to_owned()), ..request.clone() },
    ] {
        assert_eq!(verify(&changed, &EXPORTER), Err(JoinRefused::Proof), "{changed:?}");
    }
    let (other, _) = Fleet::start(NOW).token(for_site("store-1"), 1, NOW);
    let changed = JoinRequest { token: other.as_str().to_owned(), ..request };
    assert_eq!(verify(&changed, &EXPORTER), Err(JoinRefused::WrongFleet));
}

#[test]
fn a_hub_needs_the_authority_to_enrol_a_hub() {
    let mut fleet = Fleet::start(NOW);
    let (token, record) = fleet.token(TokenPurpose::Hub, 1, NOW);
    let request = joining(&fleet, "us-1").request(&token, "us-1", None, &EXPORTER);
    let (dir, file) = (fleet.hub_dir(), fleet.dir.path().join("authority.pem"));
    fleet.hub.export_authority(&dir, &file, true).unwrap();
    let refused = verify_join(&fleet.hub, Some(&record), &request, &EXPORTER, NOW).unwrap_err();
    assert_eq!(refused, JoinRefused::AuthorityNotHere { hub: "eu-1".to_owned() });
    fleet.hub.import_authority(&dir, &file).unwrap();
    let verified = verify_join(&fleet.hub, Some(&record), &request, &EXPORTER, NOW).unwrap();
    let mut record = record;
    let (_, enrolment) = verified.grant(&fleet.hub, &mut record, &JoinFacts::default(), NOW).unwrap();
    let Enrolment::Hub { hub } = enrolment else { panic!("{enrolment:?}") };
    assert_eq!((&hub["metadata"]["name"], &hub["spec"]["issuer"]), (&"us-1".into(), &true.into()));
}

#[test]
fn a_node_takes_only_what_it_asked_for() {
    let mut fleet = Fleet::start(NOW);
    let (token, mut record) = fleet.token(for_site("store-1"), 9, NOW);
    let node = joining(&fleet, "edge");
    let request = node.request(&token, "a", None, &EXPORTER);
    let (grant, _) = ask(&fleet, &mut record, &node, &token, "store-1", &JoinFacts::default()).unwrap();
    let other = joining(&fleet, "other");
    let (others, _) = ask(&fleet, &mut record, &other, &token, "store-1", &JoinFacts::default()).unwrap();
    let mut foreign = Fleet::start(NOW);
    let foreign_edge = foreign.enrol_edge("store-1", "a", NOW);
    let target = JoinTarget::Member {
        namespace: "default".to_owned(),
        site: "store-2".to_owned(),
        node: "a".to_owned(),
    };
    for wrong in [
        JoinGrant { target, ..grant.clone() },
        JoinGrant { region: "../eu".to_owned(), ..grant.clone() },
        JoinGrant { chain_pem: others.chain_pem, ..grant.clone() },
        JoinGrant { operator_pem: others.operator_pem, ..grant.clone() },
        JoinGrant { operator_pem: None, ..grant.clone() },
        JoinGrant { chain_pem: pem::encode_certificates(&foreign_edge.chain), ..grant.clone() },
        JoinGrant { root_pem: pem::encode_certificates(&[foreign_edge.root]), ..grant.clone() },
        JoinGrant { root_pem: "nothing".to_owned(), ..grant.clone() },
    ] {
        let again = joining(&fleet, "edge");
        let error = again.accept(&token, &request, &wrong, &[], NOW).unwrap_err();
        assert!(!matches!(error, JoinError::Identity(_)), "{error}");
    }
    node.accept(&token, &request, &grant, &[], NOW).unwrap();
}

#[test]
fn frames_are_bounded_and_whole() {
    let refused = JoinReply::Refused(JoinRefused::Exhausted { uses: 7 });
    let frame = refused.to_frame();
    assert_eq!(JoinReply::from_frame(&frame).unwrap(), refused);
    for cut in 0..frame.len() {
        assert!(matches!(JoinReply::from_frame(&frame[..cut]), Err(JoinFrameError::Length { .. })), "{cut}");
    }
    assert!(matches!(JoinReply::from_frame(&[0xff; 64]), Err(JoinFrameError::TooLong(_))));
    assert!(matches!(JoinAsk::from_frame(&frame), Err(JoinFrameError::Content(_))));
    let nested = [&1_000_u32.to_be_bytes()[..], &[b'['; 1_000]].concat();
    assert!(matches!(JoinReply::from_frame(&nested), Err(JoinFrameError::Content(_))));
}

fn joining(fleet: &Fleet, name: &str) -> JoiningNode {
    JoiningNode::begin(&fleet.dir.path().join(name)).unwrap()
}

/// One attempt, as the hub of the fleet answers it.
fn ask(
    fleet: &Fleet,
    record: &mut TokenRecord,
    node: &JoiningNode,
    token: &Token,
    site: &str,
    facts: &JoinFacts,
) -> Result<(JoinGrant, Enrolment), JoinRefused> {
    let request = node.request(token, "a", Some(site), &EXPORTER);
    verify_join(&fleet.hub, Some(record), &request, &EXPORTER, NOW)?.grant(&fleet.hub, record, facts, NOW)
}
