#![allow(clippy::unwrap_used)]
use super::*;

const NOW: u64 = 1_790_000_000;

fn hub(dir: &std::path::Path) -> NodeIdentity {
    NodeIdentity::create_fleet(dir, "eu-1", "eu", &[], NOW).unwrap()
}

fn store_spec() -> TokenSpec {
    TokenSpec {
        purpose: TokenPurpose::Edge {
            namespace: "default".to_owned(),
            site: SitePattern::New("store-*".to_owned()),
            labels: BTreeMap::from([("tier".to_owned(), "Gold_1".to_owned())]),
        },
        region: "eu".to_owned(),
        addresses: vec!["hub.example.com:7420".to_owned(), "[::1]:7420".to_owned()],
        uses: 2,
        expires: NOW + 3_600,
    }
}

#[test]
fn a_token_survives_copy_and_paste() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(dir.path());
    let (token, record) = Token::mint(&hub, store_spec(), NOW, [9; 16]).unwrap();
    assert!(token.as_str().starts_with("driftless-token:v1:") && token.as_str().len() < 1_000);
    let read = Token::parse(&format!("  {}\r\n", token.as_str())).unwrap();
    assert_eq!(read, token);
    assert_eq!((read.fleet(), read.hub(), read.hub_key()), (hub.fleet, "eu-1", hub.author()));
    assert_eq!(read.spec(), &store_spec());
    assert_eq!((record.id(), record.uses_left(), record.is_revoked()), (read.id(), 2, false));
    assert!(!format!("{token:?}").contains(token.as_str()), "a token is a secret");
}

#[test]
fn every_cut_and_every_changed_character_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = Token::mint(&hub(dir.path()), store_spec(), NOW, [9; 16]).unwrap();
    let text = token.as_str();
    for length in "driftless-token:v1:".len()..text.len() {
        assert_eq!(Token::parse(&text[..length]), Err(ParseTokenError::Truncated), "{length} characters");
    }
    for at in "driftless-token:v1:".len()..text.len() {
        let other = if &text[at..=at] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        assert!(Token::parse(&changed).is_err(), "character {at}");
    }
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = Token::mint(&hub(dir.path()), store_spec(), NOW, [9; 16]).unwrap();
    let text = token.as_str();
    let (start, end) = text.split_at(60);
    for (text, error) in [
        (String::new(), ParseTokenError::NotAToken),
        ("eyJhbGciOiJIUzI1NiJ9".to_owned(), ParseTokenError::NotAToken),
        (format!("{start}\n{end}"), ParseTokenError::WhiteSpace),
        (text.replace(":v1:", ":v2:"), ParseTokenError::Version("v2".to_owned())),
        (format!("{text}AAAA"), ParseTokenError::Damaged),
        (format!("{text}é"), ParseTokenError::Damaged),
        (format!("{PREFIX}v1:{}", "A".repeat(10_000)), ParseTokenError::TooLong),
        (format!("{PREFIX}v1:_____w"), ParseTokenError::Damaged),
    ] {
        assert_eq!(Token::parse(&text), Err(error), "{text}");
    }
}

#[test]
fn a_token_expires() {
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = Token::mint(&hub(dir.path()), store_spec(), NOW, [9; 16]).unwrap();
    assert_eq!(token.verify(NOW + 3_599), Ok(()));
    let expired = token.verify(NOW + 3_660).unwrap_err();
    assert_eq!(expired, TokenError::Expired { seconds: 60, hub: "eu-1".to_owned() });
}

#[test]
fn nonsense_is_not_minted() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(dir.path());
    let edge = |namespace: &str, site: SitePattern, label: (&str, &str)| TokenPurpose::Edge {
        namespace: namespace.to_owned(),
        site,
        labels: BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]),
    };
    let named = || SitePattern::Named("s".to_owned());
    let bad = [
        TokenSpec { uses: 0, ..store_spec() },
        TokenSpec { uses: 1_001, ..store_spec() },
        TokenSpec { expires: NOW, ..store_spec() },
        TokenSpec { region: "EU".to_owned(), ..store_spec() },
        TokenSpec { addresses: vec![], ..store_spec() },
        TokenSpec { addresses: vec!["hub".to_owned()], ..store_spec() },
        TokenSpec { addresses: vec!["hub:0".to_owned()], ..store_spec() },
        TokenSpec { addresses: vec!["::1:7420".to_owned()], ..store_spec() },
        TokenSpec { addresses: vec!["h:1".to_owned(); 17], ..store_spec() },
        TokenSpec { purpose: edge("a.b", named(), ("a", "b")), ..store_spec() },
        TokenSpec {
            purpose: edge("a", SitePattern::Named("store-*".to_owned()), ("a", "b")),
            ..store_spec()
        },
        TokenSpec { purpose: edge("a", SitePattern::New("*-*".to_owned()), ("a", "b")), ..store_spec() },
        TokenSpec { purpose: edge("a", named(), ("a b", "c")), ..store_spec() },
        TokenSpec { purpose: edge("a", named(), ("a", "-c")), ..store_spec() },
    ];
    for spec in bad {
        let minted = Token::mint(&hub, spec.clone(), NOW, [9; 16]);
        assert!(matches!(minted, Err(MintError::Invalid { .. })), "{spec:?}");
    }
    let labels = (0..60).map(|n| (format!("label-{n}"), "x".repeat(63))).collect();
    let purpose = TokenPurpose::Edge { namespace: "a".to_owned(), site: named(), labels };
    let long = Token::mint(&hub, TokenSpec { purpose, ..store_spec() }, NOW, [9; 16]);
    assert!(matches!(long, Err(MintError::TooLong(_))));
}

#[test]
fn patterns_match_whole_names() {
    let stores = SitePattern::New("store-*".to_owned());
    for (site, allowed) in [
        ("store-17", true),
        ("store-", false),
        ("restore-17", false),
        ("store-1.x", false),
        ("store-1-", false),
    ] {
        assert_eq!(stores.allows(site), allowed, "{site}");
    }
    assert!(SitePattern::New("a*-pos".to_owned()).allows("ab-pos"));
    assert!(!SitePattern::New("a*a".to_owned()).allows("a"), "the two ends are different characters");
    assert!(!SitePattern::Named("store-17".to_owned()).allows("store-18"));
}

#[test]
fn a_record_survives_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let spec = TokenSpec { uses: USES_MAX, ..store_spec() };
    let (_, mut record) = Token::mint(&hub(dir.path()), spec, NOW, [9; 16]).unwrap();
    for n in 0..USES_MAX {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        assert!(record.record_use(&Author(key)));
        assert!(record.record_use(&Author(key)), "a second attempt of the same node");
    }
    assert_eq!(record.uses_left(), 0);
    assert!(!record.record_use(&Author([7; 32])));
    let bytes = record.to_bytes();
    assert!(bytes.len() < 13 * 1_024, "{} bytes", bytes.len());
    assert_eq!(TokenRecord::from_bytes(&bytes).unwrap(), record);
    for damaged in [&bytes[..3], &bytes[..50], &bytes[..bytes.len() - 1], &bytes[4..], &[0xff; 40]] {
        assert_eq!(TokenRecord::from_bytes(damaged), Err(TokenRecordError));
    }
    let overdrawn = [&bytes[..], &[7; 8]].concat();
    assert_eq!(TokenRecord::from_bytes(&overdrawn), Err(TokenRecordError));
}
