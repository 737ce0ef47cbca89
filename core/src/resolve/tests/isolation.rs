//! What is wrong at one site changes nothing for any other.

use super::*;

const SITES: usize = 200;

/// One site of a fleet that shares its profiles; every tenth has an exception of its own.
fn site(number: usize) -> Fleet {
    let declared = json!({
        "variables": [
            {"name": "tills", "type": "integer", "default": 2, "min": 1, "max": 40},
            {"name": "country", "type": "string", "from": "site.labels.country", "required": true},
        ],
        "enforced": ["net.policy"],
        "listKeys": {"users": "name"},
    });
    let values = json!({
        "pos": {"tills": "${tills}", "name": "${country}-pos"},
        "net": {"policy": "deny"},
        "users": [{"name": "ops"}],
    });
    let mut fleet = Fleet::new().profile("base", 1, values, declared);
    fleet.labels.insert("number".into(), number.to_string());
    fleet
}

/// The exceptions of all sites, those of broken ones among them.
fn everybody(mistake: Option<&(String, Value)>) -> Vec<(String, Value)> {
    let own = (0..SITES).step_by(10).map(|n| {
        let spec = json!({"values": {"pos": {"extra": n}}, "reason": "r", "permanent": true});
        (format!("store-{n}.extra"), spec)
    });
    own.chain(mistake.cloned()).collect()
}

fn resolve_all(mistake: Option<&(String, Value)>, broken: &impl Fn(&mut Fleet)) -> Vec<Resolution> {
    let overrides = everybody(mistake);
    (0..SITES)
        .map(|number| {
            let mut fleet = site(number);
            if number == 17 {
                broken(&mut fleet);
            }
            let name = format!("store-{number}");
            let mut inputs = fleet.inputs();
            inputs.site.name = &name;
            inputs.overrides = objects_of(&overrides);
            resolve(&inputs)
        })
        .collect()
}

#[track_caller]
fn only_one_fails(mistake: Option<(&str, Value)>, reason: &str, broken: impl Fn(&mut Fleet)) {
    let sound = resolve_all(None, &|_| ());
    let mistake =
        mistake.map(|(name, spec)| (name.to_owned(), with(json!({"reason": "r", "permanent": true}), spec)));
    let found = resolve_all(mistake.as_ref(), &broken);
    for (number, (sound, found)) in sound.iter().zip(&found).enumerate() {
        if number == 17 {
            let failed = found.failed.as_ref().map(|failure| failure.reason);
            assert_eq!((sound.failed.as_ref(), failed), (None, Some(reason)));
        } else {
            assert_eq!(found, sound, "store-{number} because of {reason} at store-17");
        }
    }
}

#[test]
fn a_failing_variable_or_a_type_error_at_one_site_changes_nothing_for_any_other() {
    only_one_fails(None, "Variable", |fleet| fleet.site = json!({"vars": {"tills": "many"}}));
    only_one_fails(None, "Variable", |fleet| fleet.site = json!({"vars": {"tills": 41}}));
    only_one_fails(None, "Variable", |fleet| drop(fleet.labels.remove("country")));
    only_one_fails(None, "InvalidSite", |fleet| fleet.site = json!({"vars": 3}));
    let mistakes = [
        ("TypeChange", json!({"values": {"pos": 1}})),
        ("TypeChange", json!({"values": {"pos": {"tills": {"x": 1}}}})),
        ("InvalidValues", json!({"values": {"pos": null}})),
        ("InvalidValues", json!({"values": {"n": 9_007_199_254_740_993_i64}})),
        ("KeyedList", json!({"values": {"users": ["ops"]}})),
        ("InvalidOverride", json!({"values": 3})),
        ("UnknownApp", json!({"apps": [{"app": "nope", "channel": "stable"}]})),
        ("UnsupportedFeature", json!({"futureFeature": true})),
    ];
    for (reason, spec) in mistakes {
        only_one_fails(Some(("store-17.mistake", spec.clone())), reason, |_| ());
        // The same by an exception with a selector that only this site matches.
        let selecting = with(spec, json!({"selector": {"matchLabels": {"number": "17"}}}));
        only_one_fails(Some(("mistake", selecting)), reason, |_| ());
    }
}
