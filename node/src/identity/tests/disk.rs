//! What a data directory holds, and what happens when it is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn everything_is_for_the_owner_alone() {
    let fleet = Fleet::start(now());
    let dir = fleet.hub_dir().join("identity");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in &names {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let all = [
        "authority.key",
        "identity.json",
        "node.key",
        "node.pem",
        "operator.key",
        "operator.pem",
        "root.pem",
    ];
    assert_eq!(names, all);
}

#[test]
fn a_hub_comes_back_from_its_disk() {
    let fleet = Fleet::start(now());
    let loaded = NodeIdentity::load(&fleet.hub_dir()).unwrap();
    assert_eq!((loaded.fleet, &loaded.role), (fleet.hub.fleet, &fleet.hub.role));
    assert_eq!((loaded.author(), &loaded.chain), (fleet.hub.author(), &fleet.hub.chain));
    assert_eq!((&loaded.root, &loaded.hosts), (&fleet.hub.root, &fleet.hub.hosts));
    assert_eq!((loaded.not_before, loaded.not_after), (fleet.hub.not_before, fleet.hub.not_after));
    assert_eq!(loaded.operator.chain, fleet.hub.operator.chain);
    assert_eq!(loaded.authority.unwrap().fleet(), fleet.hub.fleet);
}

#[test]
fn a_first_start_happens_once_and_survives_interruption() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(NodeIdentity::load(dir.path()), Err(IdentityError::Missing(_))));
    assert!(!NodeIdentity::exists(dir.path()));
    let first = NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], now()).unwrap();
    assert!(NodeIdentity::exists(dir.path()));
    let again = NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], now());
    assert!(matches!(again, Err(IdentityError::Exists(_))));
    // As if the power had failed before the last file.
    fs::remove_file(dir.path().join("identity/identity.json")).unwrap();
    let resumed = NodeIdentity::create_fleet(dir.path(), "eu-1", "eu", &[], now()).unwrap();
    assert_eq!((resumed.fleet, resumed.author()), (first.fleet, first.author()));
}

#[test]
fn each_damaged_file_is_named() {
    let now = now();
    let mut fleet = Fleet::start(now);
    let other = Fleet::start(now);
    let us = fleet.enrol_hub("us-1", now);
    let dir = fleet.hub_dir();
    let key = |key: &SecretKey| key.to_pem();
    let pem = |chain: &[CertificateDer<'static>]| encode_certificates(chain);
    let json = fs::read_to_string(dir.join("identity/identity.json")).unwrap();
    for (name, content) in [
        ("identity.json", "{".to_owned()),
        ("identity.json", json.replace("\"eu-1\"", "\"EU 1\"")),
        ("identity.json", json.replace(&fleet.hub.fleet.to_string(), "beef")),
        ("node.pem", json.clone()),
        ("node.pem", pem(&fleet.hub.chain[..1])),
        ("node.pem", pem(&us.chain)),
        ("node.pem", pem(&other.hub.chain)),
        ("operator.pem", pem(&us.operator.chain)),
        ("operator.pem", pem(&fleet.hub.chain)),
        ("operator.key", key(&us.operator.key).replacen("MC4", "MC5", 1)),
        ("root.pem", other.hub.root_pem()),
        ("root.pem", pem(&fleet.hub.chain)),
        ("authority.key", key(other.hub.authority.as_ref().unwrap())),
        ("node.key", String::new()),
        ("node.key", "x".repeat(300 * 1_024)),
    ] {
        let path = dir.join("identity").join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &content).unwrap();
        let error = NodeIdentity::load(&dir).unwrap_err();
        assert!(
            matches!(&error, IdentityError::Damaged { path: named, .. } if *named == path),
            "{name}: {error}"
        );
        fs::write(&path, whole).unwrap();
    }
    NodeIdentity::load(&dir).unwrap();
}

#[test]
fn a_key_of_another_node_does_not_fit() {
    let now = now();
    let mut fleet = Fleet::start(now);
    let us = fleet.enrol_hub("us-1", now);
    let path = fleet.hub_dir().join("identity/node.key");
    fs::write(&path, us.key.to_pem()).unwrap();
    let error = NodeIdentity::load(&fleet.hub_dir()).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
}

#[test]
fn shared_missing_and_future_files_are_told_apart() {
    let fleet = Fleet::start(now());
    let dir = fleet.hub_dir();
    let key = dir.join("identity/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(NodeIdentity::load(&dir), Err(IdentityError::Shared(path)) if path == key));
    fs::remove_file(&key).unwrap();
    assert!(matches!(NodeIdentity::load(&dir), Err(IdentityError::File { path, .. }) if path == key));
    let file = dir.join("identity/identity.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(matches!(NodeIdentity::load(&dir), Err(IdentityError::Version { version: 2, .. })));
}
