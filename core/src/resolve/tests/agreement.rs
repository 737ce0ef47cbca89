//! Resolution and the naive reference agree, on everything that the rules define.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::reference::{Configuration, resolve as expected};
use super::*;
use crate::name::{Document, Kind};
use crate::replica::{ChangeRequest, Replica, Write, WriteError};
use crate::store::MemoryStore;
use crate::testing::{carry, open};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn resolution_agrees_with_the_reference(fleet in fleet()) {
        agree(&fleet, &fleet.resolve())?;
    }

    #[test]
    fn the_order_of_inputs_never_changes_the_answer(fleet in fleet(), turn in 0..5usize) {
        let expected = fleet.resolve();
        let mut inputs = fleet.inputs();
        fn turned<T>(list: &mut [T], turn: usize) {
            list.reverse();
            let length = list.len();
            list.rotate_left(if length == 0 { 0 } else { turn % length });
        }
        turned(&mut inputs.profiles, turn);
        turned(&mut inputs.overrides, turn);
        turned(&mut inputs.apps, turn);
        turned(&mut inputs.releases, turn);
        prop_assert_eq!(resolve(&inputs), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two hubs and the edge write apart, and learn of each other's writes in any order, in part and twice.
    #[test]
    fn the_order_of_arrival_never_changes_the_answer(
        fleet in fleet(),
        writers in prop::collection::vec(0..2usize, 16),
        exchanges in prop::collection::vec((0..3usize, 0..3usize), 0..12),
    ) {
        let mut nodes = nodes();
        let mut writers = writers.into_iter().cycle();
        let mut exchanges = exchanges.into_iter();
        // What the schema refuses cannot arrive.
        let mut fleet = fleet;
        for kind in [Kind::Profile, Kind::Override] {
            let mut objects = std::mem::take(objects_of_kind(&mut fleet, kind));
            objects.retain(|(name, spec)| {
                let writer = writers.next().unwrap();
                let node = &mut nodes[if name == "store-17.local" { 2 } else { writer }];
                // Written twice: what stood there at first must not matter.
                let is_written = [&draft(kind, name), spec].iter().all(|spec| write(node, kind, name, spec));
                exchange(&mut nodes, exchanges.next());
                is_written
            });
            *objects_of_kind(&mut fleet, kind) = objects;
        }
        for pair in [(0, 2), (1, 2), (2, 1), (1, 0), (0, 1), (2, 0)] {
            exchange(&mut nodes, Some(pair));
        }
        let told: Vec<Fleet> = nodes.iter().map(|node| as_held(&fleet, node)).collect();
        let first = told[0].resolve();
        for fleet in &told {
            prop_assert_eq!(&fleet.resolve(), &first);
        }
        agree(&fleet, &first)?;
    }
}

/// Agreement on nothing but failures would be worth little.
#[test]
fn the_generated_fleets_show_everything_that_is_compared() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut note = |what, is: bool| *seen.entry(what).or_default() += usize::from(is);
    for _ in 0..1_000 {
        match expected(&fleet().new_tree(&mut runner).unwrap().current()) {
            Ok(found) => {
                note("resolves", true);
                note("apps", found.apps != json!({}));
                note("variables", !found.variables.is_empty());
                note("overrides", !found.overrides.is_empty());
                note("no profile", found.profiles.is_empty());
                note("denied", found.denied.iter().any(|(_, _, profile)| profile.is_some()));
                note("not local", found.denied.iter().any(|(_, _, profile)| profile.is_none()));
                note("ambiguous", !found.ambiguous.is_empty());
                note("a keyed list", found.values["users"].as_array().is_some_and(|list| list.len() > 1));
            }
            Err(reason) => note(reason, true),
        }
    }
    for (what, least) in [
        ("resolves", 350),
        ("apps", 100),
        ("variables", 200),
        ("overrides", 200),
        ("no profile", 20),
        ("denied", 25),
        ("not local", 25),
        ("ambiguous", 25),
        ("a keyed list", 25),
        ("TypeChange", 20),
        ("Variable", 20),
        ("KeyedList", 20),
        ("InvalidValues", 20),
        ("InvalidProfile", 10),
        ("InvalidOverride", 1),
        ("UnknownRelease", 5),
    ] {
        assert!(seen.get(what).is_some_and(|found| *found >= least), "{what}: {seen:?}");
    }
}

/// Compares the real answer with the reference's.
#[track_caller]
pub(super) fn agree(fleet: &Fleet, found: &Resolution) -> Result<(), TestCaseError> {
    let Configuration { values, apps, hash, variables, profiles, overrides, denied, ambiguous } =
        match (expected(fleet), &found.failed) {
            (Ok(expected), None) => expected,
            (Err(_), Some(_)) => {
                prop_assert_eq!((&found.values, found.config_hash.as_str()), (&json!({}), ""));
                return Ok(());
            }
            (expected, failed) => {
                return Err(TestCaseError::fail(format!("expected {expected:?}, found {failed:?}")));
            }
        };
    prop_assert_eq!(&found.values, &values);
    prop_assert_eq!(&found.apps, &apps);
    prop_assert_eq!(&found.config_hash, &hash);
    let of_variables = found.variables.as_object().unwrap().iter();
    let of_variables: BTreeMap<String, Value> =
        of_variables.map(|(name, variable)| (name.clone(), variable["value"].clone())).collect();
    prop_assert_eq!(of_variables, variables);
    prop_assert_eq!(found.profiles.iter().map(|profile| profile.name.clone()).collect::<Vec<_>>(), profiles);
    prop_assert_eq!(&found.overrides, &overrides);
    let of_denied: BTreeSet<_> = found
        .denied
        .iter()
        .map(|d| (d.object.clone(), path::Path::parse(&d.path).unwrap().keys().to_vec(), d.profile.clone()))
        .collect();
    prop_assert_eq!(of_denied, denied);
    let of_ambiguous: BTreeMap<_, _> =
        found.ambiguous.iter().map(|a| (a.path.clone(), a.objects.clone())).collect();
    let print = |keys: &[String]| match keys {
        [one] if one.starts_with("app ") || one.starts_with("variable ") => one.clone(),
        keys => path::print_keys(keys.iter().map(String::as_str)),
    };
    let ambiguous: BTreeMap<_, _> =
        ambiguous.into_iter().map(|(keys, objects)| (print(&keys), objects)).collect();
    prop_assert_eq!(of_ambiguous, ambiguous);
    Ok(())
}

/// Two hubs, and the edge of the site.
fn nodes() -> [Replica<MemoryStore>; 3] {
    let first = crate::testing::enrolled(&[("hub-1", 1), ("hub-2", 2)], &[("acme", "store-17", 3)]);
    [1, 2, 3].map(|number| {
        let mut node = open(MemoryStore::new(), number, 1);
        carry(&first, &mut node);
        node
    })
}

fn objects_of_kind(fleet: &mut Fleet, kind: Kind) -> &mut Vec<(String, Value)> {
    if kind == Kind::Profile { &mut fleet.profiles } else { &mut fleet.overrides }
}

/// Whether the schema admits it; else the document is removed again.
fn write(node: &mut Replica<MemoryStore>, kind: Kind, name: &str, spec: &Value) -> bool {
    let document = Document::new(kind, "acme", name).unwrap();
    let resource = json!({"apiVersion": "driftless.dev/v1", "kind": kind.name(), "metadata": {"name": name}, "spec": spec});
    let put = ChangeRequest::Put(resource);
    let is_written = match node.write(Write::new(document.clone(), put, "ann", 1)) {
        Ok(_) => true,
        Err(WriteError::Invalid { .. }) => {
            node.write(Write::new(document, ChangeRequest::Delete, "ann", 1)).unwrap();
            false
        }
        Err(error) => panic!("{error}"),
    };
    node.commit().unwrap();
    is_written
}

fn draft(kind: Kind, name: &str) -> Value {
    match kind {
        Kind::Override if !name.contains('.') => {
            json!({"values": {"a": "draft"}, "selector": {"matchAll": true}, "reason": "r", "permanent": true})
        }
        Kind::Profile => {
            json!({"priority": 9, "selector": {"matchAll": true}, "values": {"a": "draft", "z": 1}})
        }
        _ => json!({"values": {"a": "draft"}, "reason": "r", "permanent": true}),
    }
}

fn exchange(nodes: &mut [Replica<MemoryStore>; 3], pair: Option<(usize, usize)>) {
    if let Some((from, to)) = pair.filter(|(from, to)| from != to) {
        let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
        carry(from, to);
    }
}

/// The fleet with the profiles and overrides that a replica holds.
fn as_held(fleet: &Fleet, node: &Replica<MemoryStore>) -> Fleet {
    let list = |kind| {
        let views = node.list(kind, Some("acme"), &BTreeMap::new()).unwrap();
        views.iter().map(|view| (view.document.name().to_owned(), view.resource["spec"].clone())).collect()
    };
    Fleet { profiles: list(Kind::Profile), overrides: list(Kind::Override), ..fleet.clone() }
}

pub(super) const PATHS: [&str; 12] = [
    "a",
    "c",
    "m",
    "m.a",
    "m.m",
    "m.m.c",
    "list",
    "users",
    "users.ops",
    "users.ops.a",
    "[\"k.1/x\"]",
    "m[\"k.1/x\"]",
];

/// Fleets in which most layers fit together and everything that the rules name occurs.
pub(super) fn fleet() -> impl Strategy<Value = Fleet> {
    let exceptions = prop::collection::vec(exception(), 0..5);
    (prop::collection::vec(profile(), 1..5), exceptions, site(), any::<bool>()).prop_map(
        |(profiles, exceptions, site, gpu)| {
            let mut fleet = Fleet::new().site(site);
            if gpu {
                fleet.claims.insert("gpu".into(), "2".into());
            }
            fleet.profiles =
                profiles.into_iter().enumerate().map(|(n, spec)| (format!("p{n}"), spec)).collect();
            for (n, (kind, spec)) in exceptions.into_iter().enumerate() {
                let name = match kind {
                    0 => "store-17.local".to_owned(),
                    1..=3 => format!("store-17.o{n}"),
                    8 => format!("store-18.o{n}"),
                    _ => format!("w{n}"),
                };
                let mut spec = spec;
                if name.starts_with('w') && spec.get("selector").is_none() {
                    spec["selector"] = json!({"matchAll": true});
                } else if !name.starts_with('w') {
                    spec.as_object_mut().unwrap().remove("selector");
                }
                fleet.overrides.retain(|(other, _)| *other != name);
                fleet.overrides.push((name, spec));
            }
            fleet.apps = vec![
                ("pos".into(), json!({"channels": {"stable": "1", "beta": "2"}})),
                ("till".into(), json!({"channels": {"stable": "1", "old": "0"}})),
            ];
            for (name, app, version) in
                [("pos.1", "pos", "1"), ("pos.2", "pos", "2"), ("till.1", "till", "1")]
            {
                let spec = json!({"app": app, "version": version, "digest": format!("sha256:{name}")});
                fleet.releases.push((name.into(), spec));
            }
            fleet
        },
    )
}

fn site() -> impl Strategy<Value = Value> {
    let vars =
        prop::sample::select(vec![json!({}), json!({}), json!({"n": 3}), json!({"s": "site", "n": 99})]);
    let paths = prop::sample::subsequence(PATHS.to_vec(), 0..3);
    let local = (any::<bool>(), paths).prop_map(|(allow, paths)| json!({"allow": allow, "paths": paths}));
    (prop::sample::select(vec!["eu", "us", ""]), vars, local)
        .prop_map(|(region, vars, local)| json!({"region": region, "vars": vars, "localOverride": local}))
}

fn profile() -> impl Strategy<Value = Value> {
    let priority = prop_oneof![80 => (0..4u64).prop_map(Value::from), 1 => Just(json!("high"))];
    let enforced = prop_oneof![1 => Just(Vec::new()), 3 => prop::sample::subsequence(PATHS.to_vec(), 1..5)];
    let lists = prop::sample::select(vec![
        json!({"users": "name"}),
        json!({"users": "name"}),
        json!({}),
        json!({"users": "id", "m.users": "name"}),
    ]);
    let lifecycle = prop_oneof![8 => Just("Published"), 1 => Just("Draft"), 1 => Just("Archived")];
    (priority, selector(), values(true), declarations(), lists, enforced, apps(), lifecycle).prop_map(
        |(priority, selector, values, variables, lists, enforced, apps, lifecycle)| {
            json!({
                "priority": priority,
                "selector": selector.unwrap_or(json!({"matchAll": true})),
                "values": values,
                "variables": variables,
                "listKeys": lists,
                "enforced": enforced,
                "apps": apps,
                "lifecycle": lifecycle,
            })
        },
    )
}

/// What kind of override, and its spec.
fn exception() -> impl Strategy<Value = (usize, Value)> {
    let vars = prop_oneof![
        4 => Just(json!({})),
        1 => Just(json!({"n": 4})),
        1 => Just(json!({"n": 5, "s": "over"})),
        1 => Just(json!({"s": "$${n}"})),
    ];
    let expiry = prop::sample::select(vec![
        json!({"permanent": true}),
        json!({"expiresAt": "2027-01-01T00:00:00Z"}),
        json!({"expiresAt": "2027-01-01T00:00:00Z", "expired": "2026-01-01T00:00:00Z"}),
        json!({"expiresAt": "2026-01-01T00:00:00Z", "expired": "2026-01-01T00:00:00Z"}),
    ]);
    (0..9usize, 0..3u64, selector(), values(false), vars, apps(), expiry).prop_map(
        |(kind, priority, selector, values, vars, apps, expiry)| {
            let spec =
                json!({"priority": priority, "values": values, "vars": vars, "apps": apps, "reason": "r"});
            let spec = with(spec, expiry);
            (
                kind,
                selector.into_iter().fold(spec, |spec, selector| with(spec, json!({"selector": selector}))),
            )
        },
    )
}

/// Half of all objects say `matchAll`.
fn selector() -> impl Strategy<Value = Option<Value>> {
    let expression = |key: &str, operator: &str, values: &[&str]| {
        let term = json!({"key": key, "operator": operator});
        let term = if values.is_empty() { term } else { with(term, json!({"values": values})) };
        json!({"matchExpressions": [term]})
    };
    prop::option::of(prop_oneof![
        60 => prop::sample::select(vec![
            json!({"matchLabels": {"class": "store"}}),
            json!({"matchLabels": {"class": "store", "country": "nl"}}),
            json!({"matchLabels": {"driftless.dev/region": "eu"}}),
            expression("country", "In", &["be", "nl"]),
            expression("country", "NotIn", &["be"]),
            expression("colour", "DoesNotExist", &[]),
            json!({"matchLabels": {"class": "plant"}}),
            json!({"claims": [{"key": "gpu", "operator": "Exists"}]}),
            json!({"matchLabels": {"class": "store"}, "claims": [{"key": "gpu", "operator": "DoesNotExist"}]}),
        ]),
        1 => Just(json!({})),
    ])
}

fn declarations() -> impl Strategy<Value = Value> {
    let declaration = prop::sample::select(vec![
        json!({"name": "n", "type": "integer", "default": 2, "min": 1, "max": 40}),
        json!({"name": "n", "type": "integer", "default": 7}),
        json!({"name": "n", "type": "integer", "max": 50}),
        json!({"name": "s", "type": "string", "from": "site.labels.country", "default": "none"}),
        json!({"name": "s", "type": "string", "from": "site.labels[\"driftless.dev/region\"]", "required": true}),
        json!({"name": "s", "type": "string", "default": "x"}),
        json!({"name": "g", "type": "integer", "from": "claims.gpu", "default": 0}),
        json!({"name": "f", "type": "number", "default": 2.5}),
        json!({"name": "b", "type": "boolean", "default": true}),
        json!({"name": "n", "type": "number", "default": 1}),
    ]);
    let base = json!([
        {"name": "n", "type": "integer", "default": 2, "min": 1, "max": 40},
        {"name": "s", "type": "string", "from": "site.labels.country", "default": "none"},
    ]);
    prop_oneof![4 => Just(base), 1 => prop::collection::vec(declaration, 0..3).prop_map(Value::from)]
}

fn apps() -> impl Strategy<Value = Value> {
    let entry = prop::sample::select(vec![
        json!({"app": "pos", "channel": "stable"}),
        json!({"app": "pos", "channel": "beta"}),
        json!({"app": "pos", "version": "1"}),
        json!({"app": "pos", "$delete": true}),
        json!({"app": "till", "channel": "stable"}),
        json!({"app": "pos", "channel": "stable"}),
        json!({"app": "till", "channel": "old"}),
    ]);
    prop_oneof![
        6 => Just(json!([])),
        3 => entry.prop_map(|entry| json!([entry])),
        1 => Just(json!([{"app": "pos", "channel": "stable"}, {"app": "till", "channel": "stable"}])),
    ]
}

/// Trees whose keys say what is usually there: `a` and `c` scalars, `m` maps, `list` and `users` lists.
fn values(of_profile: bool) -> BoxedStrategy<Value> {
    let tree = map(of_profile, 2);
    prop_oneof![
        160 => tree.clone(),
        1 => (tree, odd()).prop_map(|(mut tree, odd)| {
            tree["m"] = odd;
            tree
        }),
    ]
    .boxed()
}

fn map(of_profile: bool, depth: u32) -> BoxedStrategy<Value> {
    let entry = |key: &'static str, value: BoxedStrategy<Value>| {
        prop::option::weighted(0.4, value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
    };
    let scalars = || usually(scalar(of_profile), of_profile, depth);
    let inner = || if depth == 0 { Just(json!({})).boxed() } else { map(of_profile, depth - 1) };
    (
        entry("a", scalars()),
        entry("c", scalars()),
        entry("k.1/x", scalars()),
        entry("m", usually(inner(), of_profile, depth)),
        entry("list", usually(list(of_profile), of_profile, depth)),
        entry("users", users(of_profile)),
    )
        .prop_map(|(a, c, k, m, list, users)| {
            let entries = [a, c, k, m, list, users].into_iter().flatten();
            Value::Object(entries.collect())
        })
        .boxed()
}

/// What belongs there, or a marker, or now and then something of another type.
fn usually(value: BoxedStrategy<Value>, of_profile: bool, depth: u32) -> BoxedStrategy<Value> {
    let replaced = if depth == 0 { scalar(of_profile) } else { map(of_profile, depth - 1) };
    prop_oneof![
        24 => value.clone(),
        2 => Just(json!({"$delete": true})),
        1 => value.prop_map(|value| if value.get("$replace").is_some() { value } else { json!({"$replace": value}) }),
        1 => replaced.prop_map(|value| if value.get("$replace").is_some() { value } else { json!({"$replace": value}) }),
        1 => prop::sample::select(vec![json!({}), json!(7), json!({"$null": true}), json!([])]),
    ]
    .boxed()
}

fn scalar(of_profile: bool) -> BoxedStrategy<Value> {
    let plain = prop::sample::select(vec![
        json!(1),
        json!(2),
        json!(2.0),
        json!(-0.5),
        json!("x"),
        json!(true),
        json!(9_007_199_254_740_992_i64),
    ]);
    // In overrides these are texts like any other.
    let mentioning = prop::sample::select(vec![
        json!("${n}"),
        json!("${s}"),
        json!("n=${n}, $${n}, $5"),
        json!("${s}/${n}"),
    ]);
    let rare = prop::sample::select(vec![
        json!("${unknown}"),
        json!("${n"),
        json!("${g}"),
        json!("${f} ${b}"),
        json!(9_007_199_254_740_993_i64),
    ]);
    let rare_weight = if of_profile { 1 } else { 2 };
    prop_oneof![160 => plain, 60 => mentioning, rare_weight => rare].boxed()
}

fn list(of_profile: bool) -> BoxedStrategy<Value> {
    let item = prop_oneof![
        6 => scalar(of_profile),
        1 => Just(json!({"$null": true})),
        1 => Just(json!({"a": {"$null": true}, "b": ["${n}"]})),
    ];
    prop_oneof![
        100 => prop::collection::vec(item, 0..3).prop_map(Value::from),
        1 => Just(json!([null])),
        1 => Just(json!([{"$delete": true}])),
    ]
    .boxed()
}

/// Lists that are keyed by `name` where a profile says so.
fn users(of_profile: bool) -> BoxedStrategy<Value> {
    let name = prop_oneof![
        12 => prop::sample::select(vec![json!("ops"), json!("dev"), json!("d.e")]),
        1 => Just(json!(7)),
        1 => Just(json!("${s}")),
    ];
    let content = prop_oneof![
        3 => scalar(of_profile).prop_map(|value| json!({"a": value})),
        2 => Just(json!({})),
        1 => Just(json!({"$delete": true})),
        1 => Just(json!({"a": {"$delete": true}})),
        1 => Just(json!({"id": 3, "m": {}})),
    ];
    let element = (name, content).prop_map(|(name, content)| with(json!({"name": name}), content));
    let list = prop::collection::vec(element, 0..3).prop_map(|list| {
        let mut seen = BTreeSet::new();
        Value::Array(list.into_iter().filter(|item| seen.insert(item["name"].to_string())).collect())
    });
    prop_oneof![
        60 => list.clone(),
        4 => list.prop_map(|list| json!({"$replace": list})),
        1 => Just(json!({"$delete": true})),
        1 => odd(),
    ]
    .boxed()
}

/// What no layer should hold there.
fn odd() -> BoxedStrategy<Value> {
    prop::sample::select(vec![
        json!(null),
        json!({"$replace": {"a": null}}),
        json!({"$delete": true, "a": 1}),
        json!([{"name": "ops"}, {"name": "ops"}]),
        json!([{"a": 1}]),
        json!(["ops"]),
        json!({"a": 1}),
        json!(5),
    ])
    .boxed()
}
