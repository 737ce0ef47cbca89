//! What is wrong is refused with a word on what to do, and changes nothing.

use std::path::Path;

use crate::rig::{Fleet, copy_dir, failed_start, until};

/// A profile whose `spec` is what the text says.
fn profile(spec: &str) -> String {
    format!("apiVersion: driftless.dev/v1\nkind: Profile\nmetadata: {{name: wrong}}\nspec: {spec}\n")
}

#[test]
fn manifests_that_are_wrong_are_refused_and_change_nothing() {
    let fleet = Fleet::new();
    let spec = |more: &str| profile(&format!("{{priority: 1, selector: {{matchAll: true}}, {more}}}"));
    let long = format!("values: {{text: {}}}", "x".repeat(33 * 1_024));
    let large = format!(
        "values: {{{}}}",
        (0..300).map(|n| format!("v{n}: {}", "x".repeat(1_000))).collect::<Vec<_>>().join(", ")
    );
    let deep = format!("values: {}{}", "{a: ".repeat(40), "1".to_owned() + &"}".repeat(40));
    let table = [
        ("malformed YAML", profile("{priority: [1"), vec!["not valid YAML"]),
        ("a tab as indentation", profile("\n\tpriority: 1"), vec![":5:"]),
        ("no kind", "apiVersion: driftless.dev/v1\nmetadata: {name: wrong}\n".to_owned(), vec!["kind"]),
        ("unknown kind", spec("values: {}").replace("kind: Profile", "kind: Profil"), vec!["Profil"]),
        ("another group", spec("values: {}").replace("driftless.dev/v1", "apps/v1"), vec!["apps/v1"]),
        ("unknown field", spec("prioritty: 2"), vec!["prioritty", "did you mean priority"]),
        (
            "wrong type",
            profile("{priority: high, selector: {matchAll: true}}"),
            vec!["spec.priority", "integer"],
        ),
        ("null in values", spec("values: {a: null}"), vec!["values.a", "null"]),
        ("empty selector", profile("{priority: 1, selector: {}}"), vec!["selector", "matchAll"]),
        ("unquoted no", spec("values: {enabled: no}"), vec!["no", "write \"no\""]),
        ("unquoted octal", spec("values: {mode: 0644}"), vec!["0644"]),
        ("a key twice", spec("values: {a: 1, a: 2}"), vec!["twice"]),
        ("a value over its limit", spec(&long), vec!["32"]),
        ("a document over its limit", spec(&large), vec!["limit"]),
        ("too deep", spec(&deep), vec!["32"]),
        ("a name that is none", spec("values: {}").replace("name: wrong", "name: Wrong_Name"), vec!["name"]),
    ];
    let before = position(&fleet);
    for (what, manifest, words) in table {
        eprintln!("{what}");
        fleet.apply("hub-eu", &manifest).refused(1, &words);
    }
    fleet.cli("hub-eu", &["apply", "-f", "/nowhere.yaml"]).refused(1, &["/nowhere.yaml"]);
    fleet
        .cli("hub-eu", &["get", "profils"])
        .refused(1, &["error: the server doesn't have a resource type \"profils\"", "api-resources"]);
    fleet.cli("hub-eu", &["frobnicate"]).refused(1, &["frobnicate"]);
    // To diff and verify 1 says that something differs, so what is wrong is more than that.
    fleet.cli("hub-eu", &["diff"]).refused(2, &["--filename"]);
    fleet.cli("hub-eu", &["diff", "-f", "/nowhere.yaml"]).refused(2, &["/nowhere.yaml"]);
    fleet.cli("hub-eu", &["verify", "--dir", "/nowhere"]).refused(2, &["/nowhere"]);
    fleet.cli("hub-eu", &["get", "profile/absent"]).refused(1, &["NotFound", "absent"]);
    assert_eq!(position(&fleet), before, "something was written");
}

#[test]
fn the_api_answers_with_the_status_that_fits() {
    let fleet = Fleet::new();
    let before = position(&fleet);
    let path = "/apis/driftless.dev/v1/namespaces/default/profiles";
    let body = |spec: &str| {
        format!(
            r#"{{"apiVersion":"driftless.dev/v1","kind":"Profile","metadata":{{"name":"wrong"}},"spec":{spec}}}"#
        )
    };
    for (method, path, body, status, reason) in [
        ("POST", path.to_owned(), "{".to_owned(), 400, "BadRequest"),
        ("POST", path.to_owned(), body(r#"{"priority":1,"selector":{}}"#), 422, "Invalid"),
        (
            "POST",
            path.to_owned(),
            body(r#"{"priority":1,"selector":{"matchAll":true},"values":{"a":null}}"#),
            422,
            "Invalid",
        ),
        ("POST", path.to_owned(), "x".repeat(4 << 20), 413, "RequestEntityTooLarge"),
        ("GET", format!("{path}/absent"), String::new(), 404, "NotFound"),
        ("GET", format!("{path}?watch=true&resourceVersion=1"), String::new(), 410, "Expired"),
        ("PATCH", format!("{path}/absent"), "{}".to_owned(), 415, "UnsupportedMediaType"),
    ] {
        let answer = fleet.curl("hub-eu", method, &path, &body);
        let Some((found, text)) = answer else { return eprintln!("skipped: there is no curl here") };
        assert_eq!(found, status, "{method} {path}: {text}");
        assert!(text.contains(&format!("\"{reason}\"")), "{method} {path}: {text}");
    }
    assert_eq!(position(&fleet), before, "something was written");
}

#[test]
fn tokens_that_are_not_good_any_more_are_refused() {
    let mut fleet = Fleet::new();
    let expired = fleet.token(&["--role", "edge", "--site", "store-01", "--ttl", "1s"]);
    let revoked = fleet.token(&["--role", "edge", "--site", "store-02"]);
    let id = fleet.json("hub-eu", &["token", "list"]);
    let id = id["tokens"].as_array().unwrap().iter().find(|token| token.to_string().contains("store-02"));
    fleet.cli("hub-eu", &["token", "revoke", id.unwrap()["id"].as_str().unwrap()]).ok();
    let used = fleet.token(&["--role", "edge", "--site", "store-03"]);
    let cut_short = fleet.file("short.token", &std::fs::read_to_string(&used).unwrap()[..40]);
    let garbage = fleet.file("garbage.token", "not a token");
    fleet.edge_with("store-03", &used);
    let join = |name: &str, token: &Path| {
        failed_start(&fleet.path(name), &["edge", "--join", &format!("@{}", token.display())])
    };
    join("again", &used).refused(1, &["used", "create a new one"]);
    join("revoked", &revoked).refused(1, &["revoked", "create a new one"]);
    join("short", cut_short.as_ref()).refused(1, &["token"]);
    join("garbage", garbage.as_ref()).refused(1, &["not a join token", "token create"]);
    join("none", "/nowhere".as_ref()).refused(1, &["/nowhere"]);
    failed_start(&fleet.path("new"), &["edge"]).refused(1, &["no identity", "--join"]);
    until("the hub says that the token has expired", || {
        let tokens = fleet.json("hub-eu", &["token", "list"]);
        tokens["tokens"].as_array().unwrap().iter().any(|token| token["state"] == "Expired")
    });
    join("expired", &expired).refused(1, &["expired", "token create"]);
    let sites = fleet.json("hub-eu", &["get", "sites"]);
    assert_eq!(sites["items"].as_array().unwrap().len(), 1, "{sites}");
}

#[test]
fn a_peer_of_another_fleet_is_refused() {
    let mut fleet = Fleet::new();
    let other = Fleet::new();
    let token = other.token(&["--role", "edge", "--site", "store-01"]);
    let hub = fleet.node("hub-eu").quic.clone();
    let arguments = ["edge", "--hub", &hub, "--join", &format!("@{}", token.display())];
    failed_start(&fleet.path("stranger"), &arguments).refused(1, &["of another fleet", "check the address"]);
    // Nor does the command line of one fleet get in at the other.
    let url = fleet.url("hub-eu");
    let refused = other.cli("hub-eu", &["--server", &url, "get", "sites"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    assert_eq!(fleet.json("hub-eu", &["get", "sites"])["items"].as_array().unwrap().len(), 0);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let mut fleet = Fleet::new();
    let dir = fleet.path("hub-eu");
    failed_start(&dir, &["hub"]).refused(1, &["in use", "stop it"]);
    let (api, quic) = (fleet.url("hub-eu"), fleet.node("hub-eu").quic.clone());
    let api = api.strip_prefix("https://").unwrap();
    let other = fleet.path("other");
    failed_start(&other, &["hub", "--api", api]).refused(1, &["cannot listen", "--api"]);
    failed_start(&other, &["hub", "--listen", &quic]).refused(1, &["cannot listen", "--listen"]);
    fleet.node("hub-eu").stop();
    failed_start(&dir, &["edge"]).refused(1, &["belongs to a hub", "driftless hub"]);

    let copy = |name: &str| {
        let copy = fleet.path(name);
        copy_dir(&dir, &copy);
        copy
    };
    let newer = copy("newer");
    std::fs::write(newer.join("store/format"), "driftless store format 99\n").unwrap();
    failed_start(&newer, &["hub"]).refused(1, &["99", "newer", "version that wrote it"]);
    let emptied = copy("emptied");
    std::fs::write(emptied.join("store/db"), "").unwrap();
    failed_start(&emptied, &["hub"]).refused(1, &["damaged"]);
    let no_log = copy("no-log");
    std::fs::remove_file(no_log.join("store/db")).unwrap();
    failed_start(&no_log, &["hub"]).refused(1, &["damaged", "missing"]);
    let no_key = copy("no-key");
    std::fs::write(no_key.join("identity/node.key"), "rubbish").unwrap();
    failed_start(&no_key, &["hub"]).refused(1, &["node.key", "damaged"]);
    // What was refused was not touched.
    assert_eq!(std::fs::read_to_string(newer.join("store/format")).unwrap(), "driftless store format 99\n");
    fleet.node("hub-eu").restart();
}

#[test]
fn flipped_bytes_never_panic_and_never_invent() {
    let mut fleet = Fleet::new();
    for value in 1..=8 {
        let manifest =
            profile(&format!("{{priority: 1, selector: {{matchAll: true}}, values: {{v: {value}}}}}"));
        fleet.apply("hub-eu", &manifest).ok();
    }
    fleet.node("hub-eu").stop();
    let dir = fleet.path("hub-eu");
    let whole = std::fs::read(dir.join("store/db")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for step in 0..12 {
        let damaged = fleet.path(&format!("damaged-{step}"));
        copy_dir(&dir, &damaged);
        let mut bytes = whole.clone();
        bytes[used * step / 12] ^= 0x41;
        std::fs::write(damaged.join("store/db"), bytes).unwrap();
        // Either it refuses with a reason, or it comes up with what is whole and ends as its input does.
        let outcome = failed_start(&damaged, &["hub"]);
        assert!(!outcome.stderr.contains("panicked"), "byte {}: {}", used * step / 12, outcome.stderr);
        if outcome.code != 0 {
            outcome.refused(1, &["error: "]);
        }
    }
    fleet.node("hub-eu").restart();
    assert_eq!(fleet.json("hub-eu", &["get", "profile/wrong"])["spec"]["values"]["v"], 8);
}

fn position(fleet: &Fleet) -> serde_json::Value {
    fleet.json("hub-eu", &["status"])["position"].clone()
}
