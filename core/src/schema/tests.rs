#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Validates a change of one field of a good resource, and returns the errors as text.
fn errors_of(kind: &str, name: &str, spec: Value) -> Vec<String> {
    match validate(kind, &resource(kind, name, spec)) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn profile(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut spec =
        json!({"priority": 200, "selector": {"matchAll": true}, "values": {"pos": {"replicas": 2}}});
    change(&mut spec);
    errors_of("Profile", "base", spec)
}

fn exception(name: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut spec = json!({"values": {"pos": {"replicas": 4}}, "reason": "INC-42", "permanent": true});
    change(&mut spec);
    errors_of("Override", name, spec)
}

#[track_caller]
fn assert_one(errors: &[String], expected: &str) {
    assert!(
        errors.len() == 1 && errors[0].contains(expected),
        "{expected:?} is not the one error in {errors:#?}"
    );
}

#[test]
fn the_resources_of_the_design_are_valid() {
    let design = [
        resource(
            "Profile",
            "store-base",
            json!({
                "priority": 200, "lifecycle": "Published", "revision": "",
                "selector": {
                    "matchLabels": {"class": "store"},
                    "matchExpressions": [{"key": "country", "operator": "In", "values": ["nl", "be"]}],
                    "claims": [{"key": "gpu", "operator": "DoesNotExist"}]
                },
                "variables": [
                    {"name": "till_count", "type": "integer", "default": 2, "min": 1, "max": 40},
                    {"name": "country", "type": "string", "from": "site.labels.country", "required": true}
                ],
                "values": {
                    "pos": {"version": "2.3.1", "replicas": "${till_count}", "channel": "stable"},
                    "net": {"policy": "deny-by-default", "dns": ["10.0.0.2", "10.0.0.3"]},
                    "users": [{"name": "ops", "role": "admin"}]
                },
                "listKeys": {"users": "name"}, "enforced": ["net.policy"],
                "apps": [{"app": "pos", "channel": "stable"}]
            }),
        ),
        resource(
            "Override",
            "store-17.replicas",
            json!({"priority": 100, "values": {"pos": {"replicas": 4}}, "vars": {}, "apps": [],
                "reason": "INC-42 second till", "owner": "team-retail", "expiresAt": "2027-01-01T00:00:00Z"}),
        ),
        resource(
            "Site",
            "store-17",
            json!({"region": "eu", "fallbackRegions": ["us"], "vars": {"till_count": 3},
                "hold": {"until": "2026-12-01T00:00:00Z", "reason": "peak trading"},
                "localOverride": {"allow": true, "maxTTL": "72h", "paths": ["pos.replicas"]}, "allowEmpty": false}),
        ),
        resource(
            "App",
            "pos",
            json!({"source": {"oci": "registry.example/pos"}, "channels": {"stable": "2.3.1", "beta": "2.4.0"}}),
        ),
        resource(
            "Release",
            "pos.1",
            json!({"app": "pos", "version": "2.4.0", "digest": digest(),
                "artifacts": [{"mediaType": "x", "digest": digest(), "size": 48211}]}),
        ),
        resource(
            "Rollout",
            "pos-2.4",
            json!({"subject": {"kind": "App", "name": "pos", "channel": "stable", "to": "2.4.0"},
                "coordinator": "hub-eu-1", "selector": {"matchLabels": {"class": "store"}},
                "waves": [
                    {"name": "canary", "selector": {"matchLabels": {"canary": "true"}}, "maxConcurrent": 5,
                     "soak": "1h", "approval": "Manual"},
                    {"name": "rest", "matchRest": true, "maxConcurrent": "25%"}],
                "budget": {"maxFailed": "2%"}, "offlinePolicy": "SkipAndCatchUp", "onFailure": "Pause", "state": "Run"}),
        ),
        resource("Machine", "store-17.pos-1", json!({"capacity": {"cpu": "4"}})),
        resource("DriftReport", "store-17.a", json!({"state": "Unknown"})),
        resource("SiteStatus", "store-17", json!({})),
    ];
    for resource in &design {
        let kind = resource["kind"].as_str().unwrap();
        assert_eq!(validate(kind, resource), Ok(()), "{kind}");
    }
}

#[test]
fn unknown_fields_are_refused_with_the_name_that_was_meant() {
    assert_one(
        &profile(|s| s["prioritty"] = json!(1)),
        "spec.prioritty: unknown field; did you mean priority?",
    );
    assert_one(&profile(|s| s["zzz"] = json!(1)), "spec.zzz: unknown field");
    let selector = json!({"matchlabels": {"a": "b"}});
    assert_one(
        &profile(|s| s["selector"] = selector),
        "spec.selector.matchlabels: unknown field; did you mean matchLabels?",
    );
    assert_one(
        &profile(|s| s["lifecycle"] = json!("Publish")),
        "none of Draft, Published, Archived; did you mean Published?",
    );
    assert!(validate("Profil", &json!({})).unwrap_err()[0].message.contains("did you mean Profile?"));
}

#[test]
fn the_wrong_type_is_named() {
    assert_one(
        &profile(|s| s["priority"] = json!("high")),
        "spec.priority: expected an integer, found a string",
    );
    assert_one(&profile(|s| s["enforced"] = json!("net")), "spec.enforced: expected a list, found a string");
    assert_one(&profile(|s| s["values"] = json!([1])), "spec.values: expected a map, found a list");
    let quoted = json!({"matchLabels": {"canary": true}});
    assert_one(
        &profile(|s| s["selector"] = quoted),
        "spec.selector.matchLabels.canary: expected a string, found a boolean",
    );
    let terms = json!({"matchExpressions": [{"key": "a", "operator": "Inn", "values": ["b"]}]});
    assert_one(
        &profile(|s| s["selector"] = terms),
        "spec.selector.matchExpressions[0].operator: \"Inn\" is none of",
    );
}

#[test]
fn priority_is_required_and_bounded() {
    assert_one(
        &profile(|s| drop(s.as_object_mut().unwrap().remove("priority"))),
        "spec.priority: is required",
    );
    assert_one(&profile(|s| s["priority"] = json!(1001)), "1001 is outside 0 to 1000");
    assert_one(&profile(|s| s["priority"] = json!(-1)), "-1 is outside 0 to 1000");
    assert_eq!(profile(|s| s["priority"] = json!(1000)), Vec::<String>::new());
}

#[test]
fn an_empty_selector_is_refused_and_says_what_to_write() {
    for empty in
        [json!({}), json!({"matchLabels": {}}), json!({"matchAll": false}), json!({"matchExpressions": []})]
    {
        assert_one(&profile(|s| s["selector"] = empty), "say matchAll: true");
    }
    let both = json!({"matchAll": true, "matchLabels": {"a": "b"}});
    assert_one(&profile(|s| s["selector"] = both), "stands alone");
    let valueless = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    assert_one(&profile(|s| s["selector"] = valueless), "need at least one value");
    let valued = json!({"claims": [{"key": "a", "operator": "Exists", "values": ["b"]}]});
    assert_one(&profile(|s| s["selector"] = valued), "take no values");
}

#[test]
fn nulls_in_values_are_refused_with_both_markers_as_the_hint() {
    for (values, field) in [
        (json!({"a": null}), "spec.values.a: "),
        (json!({"a": {"b.c": null}}), "spec.values.a[\"b.c\"]: "),
        (json!({"a": [1, null]}), "spec.values.a[1]: "),
        (json!({"a": {"$replace": null}}), "spec.values.a.$replace: "),
    ] {
        let errors = profile(|s| s["values"] = values);
        assert_one(&errors, field);
        assert!(errors[0].contains("{$delete: true}") && errors[0].contains("{$null: true}"), "{errors:?}");
    }
}

#[test]
fn private_keys_are_refused_and_what_is_public_is_not() {
    let pem = |label: &str| format!("first line\n-----BEGIN {label}-----\nMC4CAQ\n-----END {label}-----\n");
    for label in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ] {
        let errors = profile(|s| s["values"] = json!({"tls": [{"name": "web", "key": pem(label)}]}));
        assert_one(&errors, "spec.values.tls[0].key: looks like a private key");
        assert!(errors[0].contains("secretRef"), "{errors:?}");
    }
    for label in ["CERTIFICATE", "PUBLIC KEY", "PRIVATE KEY HOLDERS"] {
        assert_eq!(profile(|s| s["values"] = json!({"tls": pem(label)})), [""; 0]);
    }
    assert_eq!(
        profile(|s| s["values"] = json!({"key": {"secretRef": {"name": "web", "key": "tls.key"}}})),
        [""; 0]
    );
}

#[test]
fn markers_stand_alone_and_say_true() {
    for bad in [
        json!({"a": {"$delete": false}}),
        json!({"a": {"$delete": true, "b": 1}}),
        json!({"a": {"$null": 1}}),
        json!({"a": [{"$delete": true}]}),
        json!({"a": [{"$replace": 1}]}),
        json!({"$delete": true}),
    ] {
        assert_eq!(profile(|s| s["values"] = bad.clone()).len(), 1, "{bad}");
    }
    let good = json!({"a": {"$delete": true}, "b": {"$null": true}, "c": {"$replace": {"x": 1}},
        "d": [{"$null": true}, {"name": "ops", "$delete": true}]});
    assert_eq!(profile(|s| s["values"] = good), Vec::<String>::new());
}

#[test]
fn an_override_says_why_and_until_when() {
    assert_eq!(exception("store-17.a", |_| ()), Vec::<String>::new());
    assert_one(
        &exception("store-17.a", |s| drop(s.as_object_mut().unwrap().remove("reason"))),
        "spec.reason: is required",
    );
    assert_one(&exception("store-17.a", |s| s["reason"] = json!(" ")), "spec.reason: must not be empty");
    assert_one(&exception("store-17.a", |s| s["permanent"] = json!(false)), "or permanent: true");
    assert_one(
        &exception("store-17.a", |s| s["expiresAt"] = json!("2027-01-01T00:00:00Z")),
        "keep one of them",
    );
    let tomorrow = |s: &mut Value| {
        s.as_object_mut().unwrap().remove("permanent");
        s["expiresAt"] = json!("tomorrow");
    };
    assert_one(&exception("store-17.a", tomorrow), "is not an RFC 3339 time");
    assert_one(
        &exception("store-17.a", |s| drop(s.as_object_mut().unwrap().remove("values"))),
        "changes something",
    );
}

#[test]
fn the_name_of_an_override_decides_whether_it_has_a_selector() {
    assert_one(&exception("wide", |_| ()), "spec.selector: is required");
    assert_one(
        &exception("store-17.a", |s| s["selector"] = json!({"matchAll": true})),
        "contradicts the name",
    );
    assert_eq!(exception("wide", |s| s["selector"] = json!({"matchAll": true})), Vec::<String>::new());
}

#[test]
fn a_stored_resource_is_checked_under_the_name_of_its_document() {
    let spec = json!({"values": {"a": 1}, "reason": "INC-42", "permanent": true});
    let stored = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    assert_eq!(validate("Override", &stored), Ok(()));
    assert_eq!(validate_named("Override", "store-17.a", &stored), Ok(()));
    assert_eq!(validate_named("Override", "wide", &stored).unwrap_err()[0].field, "spec.selector");
    let named = json!({"metadata": {"name": "other.a"}, "spec": stored["spec"]});
    assert_eq!(validate_named("Override", "store-17.a", &named).unwrap_err()[0].field, "metadata.name");
}

#[test]
fn names_follow_rfc_1123_and_their_owners() {
    let check = |kind: &str, name: &str, spec: Value| errors_of(kind, name, spec);
    assert_one(&check("Site", "store.17", json!({})), "the name of a site has no dot");
    assert_one(&check("Machine", "pos1", json!({})), "must be `<site>.<name>`");
    assert_eq!(check("Site", &"a".repeat(63), json!({})), Vec::<String>::new());
    assert_eq!(
        check("Site", &"a".repeat(64), json!({})).len(),
        2,
        "by the rule of names and by that of sites"
    );
    for bad in ["", "-a", "a-", "Store", "a_b", "a..b", "ä", &"a.".repeat(127)] {
        assert!(names::check_name(bad).is_err(), "{bad:?}");
    }
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!((long.len(), names::check_name(&long)), (253, Ok(())));
    assert!(names::check_name(&format!("{long}e")).is_err());
    let release = json!({"app": "till", "version": "1", "digest": digest()});
    assert_one(&check("Release", "pos.1", release), "is not \"pos\"");
}

#[test]
fn labels_are_those_of_kubernetes() {
    for good in ["a", "driftless.dev/region", "A_b.c-1", "x/y"] {
        assert_eq!(names::check_label_key(good), Ok(()), "{good}");
    }
    for bad in ["", "/a", "a/", "-a", "a b", "A.dev/x", "a/b/c", &"a".repeat(64)] {
        assert!(names::check_label_key(bad).is_err(), "{bad:?}");
    }
    assert!(names::check_label_value("").is_ok() && names::check_label_value("Nl_1.2-x").is_ok());
    assert!(names::check_label_value("a/b").is_err() && names::check_label_value(&"a".repeat(64)).is_err());
    let labelled =
        json!({"apiVersion": API_VERSION, "kind": "Site", "metadata": {"name": "s", "labels": {"a": 1}}});
    assert_eq!(validate("Site", &labelled).unwrap_err()[0].field, "metadata.labels.a");
}

#[test]
fn what_servers_set_is_tolerated_and_what_nobody_sets_is_not() {
    let mut site = resource("Site", "s", json!({}));
    site["metadata"] = json!({"name": "s", "namespace": "acme", "uid": "1", "resourceVersion": "7", "generation": 2,
        "creationTimestamp": null, "managedFields": [{"manager": "x"}], "annotations": {"a": "b"}});
    site["status"] = json!({"anything": [null]});
    assert_eq!(validate("Site", &site), Ok(()));
    site["metadata"]["finalisers"] = json!([]);
    assert_eq!(validate("Site", &site).unwrap_err()[0].field, "metadata.finalisers");
    let other = json!({"apiVersion": "v2", "kind": "Profile", "metadata": {"name": "s"}});
    let fields: Vec<String> = validate("Site", &other).unwrap_err().into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["apiVersion", "kind"]);
}

#[test]
fn limits_are_named() {
    assert_one(
        &profile(|s| s["values"] = json!({"a": "x".repeat(33 * 1024)})),
        "the limit of a value is 32768",
    );
    let many: serde_json::Map<_, _> = (0..10).map(|i| (format!("k{i}"), json!("x".repeat(30_000)))).collect();
    assert_one(&profile(|s| s["values"] = Value::Object(many)), "the limit of a document is 262144");
    assert_one(&profile(|s| s["enforced"] = json!(["a".repeat(600)])), "longer than 512 bytes");
    assert_one(&profile(|s| s["values"] = json!({"n": 9_007_199_254_740_993_i64})), "is outside +-2^53");
}

#[test]
fn nesting_is_refused_at_33_levels_and_does_not_overflow_at_100_000() {
    let nest = |levels: usize| {
        let mut value = json!(1);
        for _ in 0..levels {
            // Not json!, which copies by recursion.
            value = Value::Object([("a".to_owned(), value)].into_iter().collect());
        }
        value
    };
    // The resource and its spec are two levels, `values` the third.
    assert_eq!(profile(|s| s["values"] = nest(30)), Vec::<String>::new());
    assert_one(&profile(|s| s["values"] = nest(31)), "nested deeper than 32 levels");
    let mut deep = nest(100_000);
    assert!(validate("Profile", &deep).is_err());
    // Dropping such a value recurses in serde_json itself, so it is taken apart by hand.
    while let Some(inner) = deep.as_object_mut().and_then(|map| map.remove("a")) {
        deep = inner;
    }
}

#[test]
fn declarations_lists_and_paths_are_checked() {
    let declare = |declaration: Value| profile(|s| s["variables"] = json!([declaration]));
    assert_one(
        &declare(json!({"name": "n", "type": "integer", "default": "2"})),
        "expected a value of type integer",
    );
    assert_one(
        &declare(json!({"name": "n", "type": "integer", "default": 9, "max": 3})),
        "above the maximum 3",
    );
    assert_one(
        &declare(json!({"name": "n", "type": "string", "from": "site.colour"})),
        "is none of site.name",
    );
    assert_one(&declare(json!({"name": "n", "type": "string", "max": 3})), "min and max are for");
    assert_one(&profile(|s| s["enforced"] = json!(["a..b"])), "spec.enforced[0]: \"a..b\" is not a path");
    assert_one(&profile(|s| s["apps"] = json!([{"app": "pos"}])), "takes one of channel, version");
    let twice = json!([{"app": "pos", "channel": "a"}, {"app": "pos", "channel": "b"}]);
    assert_one(&profile(|s| s["apps"] = twice), "is there already");
    let site = |spec| errors_of("Site", "s", spec);
    assert_one(&site(json!({"localOverride": {"allow": true}})), "name what may change");
    assert_one(&site(json!({"localOverride": {"allow": false, "maxTTL": "72"}})), "is not a duration");
    let release = json!({"app": "pos", "version": "1", "digest": "sha256:12"});
    assert_one(&errors_of("Release", "pos.1", release), "is not sha256: and 64");
}

#[test]
fn errors_are_many_at_once_and_bounded() {
    let errors = profile(|s| *s = json!({"values": null, "apps": 3}));
    assert_eq!(errors.len(), 4, "{errors:#?}");
    let unknown: serde_json::Map<_, _> = (0..500).map(|i| (format!("x{i}"), json!(1))).collect();
    assert_eq!(profile(|s| *s = Value::Object(unknown)).len(), shape::ERRORS_MAX);
}

#[test]
fn kinds_have_the_short_names_of_the_command_line() {
    let find =
        |short: &str| kinds().iter().find(|kind| kind.short_names.contains(&short)).map(|kind| kind.plural);
    for (short, plural) in [
        ("st", "sites"),
        ("prof", "profiles"),
        ("ovr", "overrides"),
        ("ro", "rollouts"),
        ("rel", "releases"),
        ("mc", "machines"),
    ] {
        assert_eq!(find(short), Some(plural));
    }
}

proptest! {
    #[test]
    fn no_json_panics(text in r#"[\[\]{}:,"$a-c0-9 .-]{0,60}"#, kind in 0..kinds().len()) {
        if let Ok(spec) = serde_json::from_str::<Value>(&text) {
            let kind = kinds()[kind].kind;
            let _ = validate(kind, &spec);
            let _ = validate(kind, &resource(kind, "a.b", spec));
        }
    }
}

fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}
