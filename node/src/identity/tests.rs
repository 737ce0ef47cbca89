#![allow(clippy::unwrap_used)]
use super::testing::Fleet;
use super::*;

mod disk;
mod handshakes;
mod quic;

/// The TLS configurations read the wall clock, so these fleets live now.
fn now() -> u64 {
    rustls_pki_types::UnixTime::now().as_secs()
}

const DAY: u64 = 24 * 60 * 60;

#[test]
fn certificates_are_renewed_in_their_last_third() {
    let now = now();
    let mut fleet = Fleet::start(now);
    assert!(!fleet.hub.needs_renewal(now + 59 * DAY));
    assert!(fleet.hub.needs_renewal(now + 61 * DAY));
    assert!(fleet.hub.needs_renewal(u64::MAX));
    let (key, end) = (fleet.hub.author(), fleet.hub.not_after);
    fleet.hub.renew_hub(&[], now + 61 * DAY).unwrap();
    assert_eq!((fleet.hub.author(), fleet.hub.not_after), (key, end + 61 * DAY));
    assert!(fleet.hub.authority.is_some());
    let mut edge = fleet.enrol_edge("store-1", "a", now);
    assert!(matches!(edge.renew_hub(&[], now), Err(IdentityError::Issue(IssueError::NotAnIssuer))));
    assert!(matches!(
        edge.issue_operator("mia", &[ADMIN_ROLE.to_owned()], now),
        Err(IssueError::NotAnIssuer)
    ));
}

#[test]
fn names_in_certificates_are_names() {
    let now = now();
    let fleet = Fleet::start(now);
    for name in ["", "Mia", "mia/admin", "a,b"] {
        let admin = [ADMIN_ROLE.to_owned()];
        assert!(matches!(fleet.hub.issue_operator(name, &admin, now), Err(IssueError::Name(_))), "{name}");
        let roles = [name.to_owned()];
        assert!(matches!(fleet.hub.issue_operator("mia", &roles, now), Err(IssueError::Name(_))), "{name}");
    }
    assert!(matches!(fleet.hub.issue_operator("mia", &[], now), Err(IssueError::NoRole)));
    let dir = tempfile::tempdir().unwrap();
    assert!(NodeIdentity::create_fleet(dir.path(), "EU 1", "eu", &[], now).is_err());
}
