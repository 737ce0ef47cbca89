#![allow(clippy::unwrap_used)]

use super::*;

fn site(name: &str, tills: Value) -> Value {
    json!({"apiVersion": "driftless.dev/v1", "kind": "Site", "metadata": {"name": name}, "spec": {"tills": tills, "dns": ["a", "b"]}})
}

fn print(objects: &[Value], output: &str) -> String {
    render_objects(objects, true, &Output::parse(output).unwrap(), false).unwrap()
}

#[test]
fn one_object_stands_alone_and_several_in_a_list() {
    let sites = [site("store-01", json!(3)), site("store-02", json!(null))];
    assert_eq!(
        print(&sites[..1], "json").lines().take(4).collect::<Vec<_>>(),
        ["{", "    \"apiVersion\": \"driftless.dev/v1\",", "    \"kind\": \"Site\",", "    \"metadata\": {"]
    );
    let list: Value = serde_json::from_str(&print(&sites, "json")).unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"], list["items"].as_array().unwrap().len()),
        (&json!("List"), &json!("v1"), 2)
    );
    let empty: Value =
        serde_json::from_str(&render_objects(&[], false, &Output::Json, false).unwrap()).unwrap();
    assert_eq!(empty["items"], json!([]));
    assert!(print(&sites[..1], "yaml").starts_with("apiVersion: driftless.dev/v1\nkind: Site\n"));
    assert!(print(&sites, "yaml").starts_with("apiVersion: v1\nkind: List\n"));
    assert_eq!(print(&sites, "name"), "site.driftless.dev/store-01\nsite.driftless.dev/store-02\n");
    assert_eq!(print(&sites, "jsonpath={.items[*].metadata.name}"), "store-01 store-02");
    assert_eq!(print(&sites[..1], "jsonpath={.metadata.name}"), "store-01");
}

#[test]
fn custom_columns_align_and_show_what_is_missing() {
    let sites = [site("store-01", json!(3)), site("store-02", json!(null))];
    assert_eq!(
        print(&sites, "custom-columns=Name:.metadata.name,TILLS:{.spec.tills},DNS:spec.dns[*],X:.x"),
        "Name       TILLS    DNS   X\nstore-01   3        a,b   <none>\nstore-02   <none>   a,b   <none>\n"
    );
}

#[test]
fn an_unknown_output_lists_the_known_ones() {
    let refused = |text: &str| Output::parse(text).unwrap_err().to_string();
    assert!(refused("xml").contains("wide, json, yaml, name, jsonpath=TEMPLATE"));
    assert!(refused("json=x").contains("unknown output"));
    assert!(refused("jsonpath={.a").contains("character 4"));
    assert!(refused("custom-columns=NAME").contains("HEADER:PATH"));
    let nameless = render_objects(&[json!({"kind": "Site"})], true, &Output::Name, false).unwrap_err();
    assert_eq!(nameless.to_string(), "an object of the answer has no name");
}

#[test]
fn sorting_knows_numbers_and_numbers_within_text() {
    let mut sites: Vec<_> =
        [("store-10", json!(2)), ("store-2", json!(10)), ("store-02", json!(1.5)), ("kiosk", json!(-1))]
            .into_iter()
            .map(|(name, tills)| site(name, tills))
            .collect();
    sites.push(json!({"kind": "Site", "metadata": {"name": "bare"}}));
    let order = |path: &str, sites: &[Value]| {
        let mut sorted = sites.to_vec();
        SortBy::parse(path).unwrap().sort(&mut sorted).unwrap();
        sorted.iter().map(|site| site["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(order(".metadata.name", &sites), ["bare", "kiosk", "store-02", "store-2", "store-10"]);
    assert_eq!(order("{.spec.tills}", &sites), ["bare", "kiosk", "store-02", "store-10", "store-2"]);
    let missing = SortBy::parse(".spec.none").unwrap().sort(&mut sites).unwrap_err();
    assert_eq!(missing.to_string(), "--sort-by: no object has .spec.none");
    assert_eq!(sites.len(), 5);
}

#[test]
fn the_servers_answer_is_printed_whatever_its_shape() {
    let style = TableStyle::default();
    let row = |name: &str| json!({"cells": [name], "object": {"metadata": {"name": name}}});
    let table =
        json!({"kind": "Table", "columnDefinitions": [{"name": "Name"}], "rows": [row("b"), row("a")]});
    let by_name = SortBy::parse(".metadata.name").unwrap();
    assert_eq!(render_answer(table, &Output::Table, Some(&by_name), style).unwrap(), "NAME\na\nb\n");
    let list = json!({"kind": "SiteList", "apiVersion": "driftless.dev/v1", "items": [{"metadata": {"name": "b"}}, site("a", json!(1))]});
    assert_eq!(
        render_answer(list, &Output::Name, Some(&by_name), style).unwrap(),
        "site.driftless.dev/a\nsite.driftless.dev/b\n"
    );
    assert_eq!(
        render_answer(site("a", json!(1)), &Output::Name, None, style).unwrap(),
        "site.driftless.dev/a\n"
    );
}
