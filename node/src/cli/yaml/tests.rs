#![allow(clippy::unwrap_used)]

use std::fs;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(text: &str) -> Value {
    let mut documents = parse("site.yaml", text.as_bytes()).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0).value
}

fn refused(text: &str) -> String {
    parse("site.yaml", text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn scalars_follow_the_core_schema() {
    let read = one(
        "a: 2.3.1\nb: 12\nc: -0.5\nd: true\ne: ~\nf: 2026-01-01\ng: 0x1F\nh: 1e3\ni: 18446744073709551615\nj: -9223372036854775808\nk: 12:30:45\nl: 'yes'\nm: !!str 012\no:\n",
    );
    assert_eq!(
        read,
        json!({"a": "2.3.1", "b": 12, "c": -0.5, "d": true, "e": null, "f": "2026-01-01", "g": 31, "h": 1000.0,
               "i": u64::MAX, "j": i64::MIN, "k": "12:30:45", "l": "yes", "m": "012", "o": null})
    );
}

#[test]
fn what_readers_disagree_about_is_refused_with_its_place_and_the_quoted_form() {
    for word in ["yes", "no", "on", "off", "y", "n", "YES", "No", "oN"] {
        let error = refused(&format!("site:\n  country: {word}\n"));
        assert!(error.starts_with("site.yaml:2:12: "), "{error}");
        assert!(error.contains(&format!("write \"{word}\" for the text")), "{error}");
    }
    for number in ["0640", "-017", "0o17", "08", "1_000", "0b11", "+0x1f"] {
        let error = refused(&format!("- {number}\n"));
        assert!(error.contains(&format!("write \"{number}\"")), "{error}");
    }
    assert!(refused("on: push\n").contains("write \"on\""));
    assert_eq!(one("[\"yes\", 'off', 0, 0.5, nope, 0644a]"), json!(["yes", "off", 0, 0.5, "nope", "0644a"]));
}

#[test]
fn keys_are_strings_and_stand_once() {
    assert_eq!(
        refused("a: 1\nb: 2\na: 3\n"),
        "site.yaml:3:1: the key \"a\" stands twice in one mapping; remove one of them"
    );
    assert!(refused("1: x\n").contains("this one is a number; write \"1\":"));
    assert!(refused("true: x\n").contains("write \"true\":"));
    assert!(refused("{a: {{ .Values.x }}}\n").contains("template"));
    assert!(refused("{\"a\": 1, \"a\": 2}").contains("stands twice"));
}

#[test]
fn numbers_that_cannot_be_kept_are_refused() {
    assert!(refused("18446744073709551616").contains("outside of 64 bits; quote it"));
    assert!(refused(".inf").contains("no form in JSON"));
    assert!(refused("1e999").contains("too large"));
    assert!(refused("{\"n\": 18446744073709551616}").contains("quote it"));
}

#[test]
fn aliases_and_merge_keys_work_within_bounds() {
    let read = one(
        "base: &base {a: 1, b: 2}\none:\n  <<: *base\n  b: 3\nmany:\n  <<: [{b: 8}, *base]\nlist: [*base]\n",
    );
    assert_eq!(read["one"], json!({"a": 1, "b": 3}));
    assert_eq!(read["many"], json!({"a": 1, "b": 8}));
    assert_eq!(read["list"], json!([{"a": 1, "b": 2}]));
    assert_eq!(one("'<<': 1\n"), json!({"<<": 1}));
    assert!(refused("a: &a [*a]").contains("inside of the node"));
    assert!(refused("<<: 3\n").contains("merge key"));
    assert!(refused("a: *nobody\n").starts_with("site.yaml:1:4"), "{}", refused("a: *nobody\n"));
}

#[test]
fn a_billion_laughs_end_early() {
    let mut text = "l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let below = format!("*l{}, ", level - 1).repeat(9);
        text += &format!("l{level}: &l{level} [{}]\n", below.trim_end_matches(", "));
    }
    assert!(refused(&text).contains("nodes behind anchors and aliases"));
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(64));
    assert!(refused(&wide).contains("bytes behind anchors and aliases"));
}

#[test]
fn nesting_is_bounded_in_both_notations_and_through_aliases() {
    let nest = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse("x.json", nest(DEPTH_MAX).as_bytes()).is_ok());
    assert!(refused(&nest(DEPTH_MAX + 1)).contains("64 levels of nesting"));
    assert!(refused(&format!("a: {}", nest(DEPTH_MAX))).contains("64 levels"));
    assert!(refused(&format!("a: {}", nest(200))).contains("64 levels"));
    let aliased = format!("a: &a {}\nb: {}*a{}\n", nest(40), "[".repeat(40), "]".repeat(40));
    assert!(refused(&aliased).contains("64 levels"));
}

#[test]
fn tags_outside_of_the_core_schema_are_refused() {
    assert!(refused("a: !secret x\n").contains("the tag !secret is not known here"));
    assert!(refused("a: !!binary aGk=\n").contains("!!binary"));
    assert!(refused("a: !!int x\n").contains("does not fit"));
    assert_eq!(one("a: !!int \"3\"\nb: ! 12\nc: !!map {}\n"), json!({"a": 3, "b": "12", "c": {}}));
}

#[test]
fn documents_know_where_they_start_and_empty_ones_are_left_out() {
    let text = "# first\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n";
    let read = parse("many.yaml", text.as_bytes()).unwrap();
    let seen: Vec<_> = read.iter().map(|document| (document.line, document.value.clone())).collect();
    assert_eq!(seen, [(3, json!({"a": 1})), (8, json!({"b": 2}))]);
    let json = parse("-", b"{\"a\": 1}\n{\"b\": \"\\ud83d\\ude00\"}\n").unwrap();
    assert_eq!((json[1].line, &json[1].value), (2, &json!({"b": "😀"})));
}

#[test]
fn json_with_tabs_and_flow_mappings_are_both_read() {
    assert_eq!(one("{\n\t\"a\": [\n\t\t1\n\t]\n}"), json!({"a": [1]}));
    assert_eq!(one("{a: b, c: [d]}"), json!({"a": "b", "c": ["d"]}));
    assert!(refused("{\"a\": 1,\n \"b\" 2}").starts_with("site.yaml:2:"));
    assert!(refused("{\"a\": no}").contains("write \"no\""));
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let place = |bytes: &[u8]| parse("x", bytes).unwrap_err().to_string();
    assert!(place(b"a: 1\nb: \xff\n").starts_with("x:2:4: a byte that is not UTF-8"));
    assert!(place(b"a: \0\n").starts_with("x:1:4: a NUL character"));
    assert_eq!(parse("x", "\u{feff}a: 1".as_bytes()).unwrap()[0].value, json!({"a": 1}));
    let huge = vec![b'#'; INPUT_BYTES_MAX + 1];
    assert!(place(&huge).contains("more than 33554432 bytes"));
}

#[test]
fn other_peoples_files_keep_their_text() {
    let mut read = Vec::new();
    let text = b"version: 1.10\nbuild: 0640\ndeprecated: true\nnorway: no\nport: 80\n1: x\n";
    each_document("index.yaml", text, Mode::Lenient, &mut |document| read.push(document.value)).unwrap();
    assert_eq!(
        read,
        [
            json!({"version": "1.10", "build": "0640", "deprecated": true, "norway": "no", "port": 80, "1": "x"})
        ]
    );
}

#[test]
fn resources_are_written_in_kubectl_order() {
    let site = json!({"status": {"phase": "Fresh"}, "spec": {"region": "eu", "on": ["yes", 1, [], {}], "note": "a\nb\n"},
                      "metadata": {"name": "store-17", "labels": {"canary": "true"}}, "kind": "Site", "apiVersion": "driftless.dev/v1"});
    assert_eq!(
        to_yaml(&site),
        "apiVersion: driftless.dev/v1\nkind: Site\nmetadata:\n  labels:\n    canary: \"true\"\n  name: store-17\n\
         spec:\n  note: |\n    a\n    b\n  \"on\":\n  - \"yes\"\n  - 1\n  - []\n  - {}\n  region: eu\nstatus:\n  phase: Fresh\n"
    );
}

#[test]
fn strings_that_a_reader_could_take_for_something_else_are_quoted() {
    for text in [
        "no",
        "Y",
        "~",
        "",
        "null",
        "1",
        "1e3",
        "0x1",
        "2026-01-01",
        "1:30",
        ".5",
        "-",
        "- a",
        "a: b",
        "a #b",
        "a:",
        " a",
        "a ",
        "=",
        "<<",
        "*a",
        "&a",
        "!a",
        "?",
        "@x",
        "`",
        "%",
        "[",
        "{",
        "true",
        "1_0",
        "\u{85}",
        "\u{feff}",
        "\u{2028}x",
        "\u{7f}",
    ] {
        let written = to_yaml(&json!([text]));
        assert!(written.starts_with("- \""), "{text:?} became {written}");
        assert_eq!(one(&written), json!([text]));
    }
    assert_eq!(
        to_yaml(&json!(["registry.example/pos:2.4", "a/b c"])),
        "- registry.example/pos:2.4\n- a/b c\n"
    );
    let long = json!({"k".repeat(2_000): {"a": [1]}});
    assert_eq!(one(&to_yaml(&long)), long);
}

#[test]
fn a_directory_is_read_by_name_and_lists_are_flattened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    fs::write(path("b.yaml"), "kind: Site\nmetadata: {name: b}\n").unwrap();
    fs::write(
        path("a.json"),
        r#"{"kind": "List", "apiVersion": "v1", "items": [{"kind": "App"}, {"kind": "Site"}]}"#,
    )
    .unwrap();
    fs::write(path("notes.txt"), "not: [a manifest").unwrap();
    fs::write(
        path("sub/c.yml"),
        "kind: SiteList\napiVersion: driftless.dev/v1\nitems: [{metadata: {name: c}}]\n",
    )
    .unwrap();
    let root = dir.path().to_str().unwrap();
    let kinds = |recursive| {
        let read = read_inputs(root, recursive).unwrap();
        read.iter().map(|d| d.value["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(false), ["App", "Site", "Site"]);
    assert_eq!(kinds(true), ["App", "Site", "Site", "Site"]);
    let listed = read_inputs(path("sub/c.yml").to_str().unwrap(), false).unwrap();
    assert_eq!(
        listed[0].value,
        json!({"kind": "Site", "apiVersion": "driftless.dev/v1", "metadata": {"name": "c"}})
    );
    fs::write(path("z.yaml"), "just text\n").unwrap();
    assert!(read_inputs(root, false).unwrap_err().to_string().contains("z.yaml:1: a resource is a mapping"));
    assert!(
        read_inputs(path("none").to_str().unwrap(), false)
            .unwrap_err()
            .to_string()
            .starts_with("cannot read")
    );
    fs::create_dir(path("empty")).unwrap();
    assert!(read_inputs(path("empty").to_str().unwrap(), false).unwrap_err().to_string().contains("-R"));
}

#[test]
fn the_samples_that_the_demo_loads_pass_the_strict_reader() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    let documents = read_inputs(samples, false).unwrap();
    let count = |kind: &str| documents.iter().filter(|d| d.value["kind"] == kind).count();
    let counts = ["App", "Release", "Profile", "Override", "Machine"].map(count);
    assert_eq!((counts, documents.len()), ([3, 7, 4, 1, 18], 33));
    for ParsedDocument { value, file, line } in &documents {
        let kind = value["kind"].as_str().unwrap().parse().unwrap();
        let name = value["metadata"]["name"].as_str().unwrap();
        let named = driftless_core::name::Document::new(kind, "default", name);
        assert!(named.is_ok(), "{file}:{line}: {named:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z0-9 .:#_'\"\\\\~+-]{0,12}",
        "(yes|no|on|0[0-9]{1,3}|[0-9]{1,4}|-|: |# |\n| |\t|word|---|\\.\\.\\.|\r|\u{85}|é|😀){0,6}",
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        (-10.0..10.0_f64).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(value in any_value()) {
        let written = to_yaml(&value);
        let read = parse("x", written.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?;
        // A document that says only null is an empty document.
        let read = read.into_iter().next().map_or(Value::Null, |document| document.value);
        prop_assert_eq!(read, value, "{}", written);
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[ \\-a-c:{}\\[\\],&*!#|>'\"\n\t<?%]{0,40}") {
        let _ = parse("x", text.as_bytes());
    }
}
