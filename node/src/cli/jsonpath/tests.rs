#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fleet() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "store-01", "labels": {"driftless.dev/region": "eu", "class": "store"}},
         "spec": {"tills": 3, "dns": ["10.0.0.2", "10.0.0.3"]}, "status": {"conditions": [
            {"type": "Synced", "status": "True"}, {"type": "Applied", "status": "False"}]}},
        {"metadata": {"name": "store-02", "labels": {"class": "kiosk"}}, "spec": {"tills": 12, "hold": null}},
    ]})
}

fn print(template: &str) -> String {
    Template::parse(template).unwrap().render(&fleet()).unwrap()
}

fn refused(template: &str) -> String {
    Template::parse(template).unwrap_err().to_string()
}

#[test]
fn paths_print_as_kubectl_prints_them() {
    assert_eq!(print("{.items[*].metadata.name}"), "store-01 store-02");
    assert_eq!(print("{$.items[0].spec.tills} tills"), "3 tills");
    assert_eq!(print("{.items[-1:].metadata.name}"), "store-02");
    assert_eq!(print("{.items[0,1].spec.tills}"), "3 12");
    assert_eq!(print("{.items[0].spec.dns}"), r#"["10.0.0.2","10.0.0.3"]"#);
    assert_eq!(print("{.items[0].spec.dns[::2]}"), "10.0.0.2");
    assert_eq!(print("{..name}"), "store-01 store-02");
    assert_eq!(print("{.items[1].spec.hold}{.items[0].spec.missing.deeper}|"), "null|");
    assert_eq!(print("{.items[0].metadata['name', 'labels.class']}"), "store-01 store");
    assert_eq!(print("plain text"), "plain text");
    assert_eq!(print("{.kind}{' '}{.kind}"), "List List");
}

#[test]
fn a_key_with_a_dot_is_reached_quoted_or_escaped() {
    for path in [
        "['driftless.dev/region']",
        "[\"driftless.dev/region\"]",
        ".driftless\\.dev/region",
        "['driftless\\.dev/region']",
    ] {
        assert_eq!(print(&format!("{{.items[0].metadata.labels{path}}}")), "eu", "{path}");
    }
}

#[test]
fn ranges_repeat_their_body() {
    assert_eq!(
        print(r#"{range .items[*]}{.metadata.name}{"\t"}{.spec.tills}{"\n"}{end}done"#),
        "store-01\t3\nstore-02\t12\ndone"
    );
    assert_eq!(print("{range .items[*]}{range .spec.dns[*]}<{.}>{end};{end}"), "<10.0.0.2><10.0.0.3>;;");
}

#[test]
fn filters_select_items() {
    assert_eq!(print(r#"{.items[?(@.metadata.name=="store-02")].spec.tills}"#), "12");
    assert_eq!(print("{.items[?(@.spec.tills>3)].metadata.name}"), "store-02");
    assert_eq!(print("{.items[?(@.spec.tills <= 12)].metadata.name}"), "store-01 store-02");
    assert_eq!(print("{.items[?(@.spec.dns)].metadata.name}"), "store-01");
    assert_eq!(print("{.items[?(@.metadata.labels.class!='store')].metadata.name}"), "store-02");
    assert_eq!(print(r#"{.items[0].status.conditions[?(@.type=="Applied")].status}"#), "False");
    assert_eq!(print(r#"{.items[?(@.status.conditions[?(@.type=="Synced")])].metadata.name}"#), "store-01");
}

#[test]
fn errors_name_the_character() {
    assert_eq!(
        refused("{.items[}"),
        "jsonpath, character 9: expected an index, a quoted key, * or ?(), found '}'"
    );
    assert_eq!(refused("{.items"), "jsonpath, character 8: expected }, found the end");
    assert_eq!(refused("{range .items[*]}{.a}"), "jsonpath, character 2: this {range} has no {end}");
    assert_eq!(refused("ab{end}"), "jsonpath, character 4: this {end} has no {range}");
    assert!(refused("{metadata.name}").contains("a path starts with a dot"));
    assert!(refused("{.a[?(@.b==c)]}").contains("put text in quotes"));
    assert!(refused("{'open}").contains("closing quote"));
    assert!(refused("{.a[0:2:0]}").contains("step of at least 1"));
    assert!(refused("{.a[99999999999999999999]}").contains("an integer"));
    assert!(refused(&"{range .a}".repeat(20)).contains("nested ranges"));
    assert!(refused(&format!("{{.a{}", "[?(@.a".repeat(20))).contains("nested filters"));
    assert!(refused(&"x".repeat(EXPRESSION_BYTES_MAX + 1)).contains("8192 bytes"));
}

#[test]
fn indices_out_of_bounds_are_errors_at_evaluation() {
    let fail = |text: &str| Template::parse(text).unwrap().render(&fleet()).unwrap_err().to_string();
    assert_eq!(fail("{.items[5]}"), "jsonpath: index 5 is out of bounds, the list has 2 items");
    assert_eq!(fail("{.items[-3]}"), "jsonpath: index -3 is out of bounds, the list has 2 items");
    assert!(fail("{.kind[0]}").contains("needs a list, this is text"));
    let nested = (0..8).fold(json!(1), |inner, _| json!({"x": inner}));
    let many = format!("{{{}}}", ".['x','x','x','x','x','x','x','x']".repeat(8));
    let error = Template::parse(&many).unwrap().render(&nested).unwrap_err();
    assert_eq!(error, EvalError::TooMuch);
}

#[test]
fn relaxed_paths_need_no_braces() {
    for text in ["{.metadata.name}", ".metadata.name", "metadata.name", " {.metadata.name} "] {
        let value = &fleet()["items"][0];
        assert_eq!(Path::parse(text).unwrap().find(value).unwrap(), [&json!("store-01")], "{text}");
    }
    assert!(Path::parse("{.a").is_err());
    assert!(Path::parse(".a b").unwrap_err().to_string().contains("the end of the path"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in "[{}\\[\\].*?()@$=<>!'\"\\\\a-c0-3: ,-]{0,30}") {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&fleet());
        }
        let _ = Path::parse(&text);
    }
}
