//! Resolution as clients ask for it, and what follows from it in resources.

use super::super::site_status::Resolved;
use super::super::sites::every_site;
use super::*;

/// Store 17 with a profile, and an override of the site.
async fn store_17() -> Rig {
    let rig = Rig::hub();
    rig.create("sites", &site("store-17", "nl")).await;
    rig.create("profiles", &store_base()).await;
    rig
}

fn replicas(count: u64) -> Value {
    json!({
        "kind": "Override",
        "metadata": {"name": "store-17.replicas"},
        "spec": {"values": {"pos": {"replicas": count}}, "reason": "INC-42 second till", "permanent": true},
    })
}

#[tokio::test]
async fn what_if_changes_the_answer_and_nothing_else() {
    let rig = store_17().await;
    let ask = async |with: Value| {
        let answer =
            rig.post("/v1/resolve", &json!({"site": "store-17", "namespace": "acme", "with": with})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    };
    let now = ask(json!([])).await;
    assert_eq!(now["values"]["pos"]["replicas"], 2);
    assert_eq!(now["profiles"][0]["name"], "store-base");
    let then = ask(json!([replicas(4)])).await;
    assert_eq!(then["values"]["pos"]["replicas"], 4);
    assert_ne!(then["configHash"], now["configHash"]);
    let mut tower = site("store-17", "nl");
    tower["kind"] = json!("Site");
    tower["metadata"]["labels"] = json!({"class": "tower"});
    assert_eq!(ask(json!([tower])).await["profiles"], json!([]));
    assert_eq!(ask(json!([])).await, now);
    let refused = rig.post("/v1/resolve", &json!({"site": "store-99", "namespace": "acme"})).await;
    assert_eq!(refused.reason(), "NotFound");
    let nonsense = json!({"kind": "Override", "metadata": {"name": "store-17.x"}, "spec": {}});
    let refused =
        rig.post("/v1/resolve", &json!({"site": "store-17", "namespace": "acme", "with": [nonsense]})).await;
    assert_eq!(refused.reason(), "Invalid");
}

#[tokio::test]
async fn why_names_the_source_the_writer_and_what_was_shadowed() {
    let rig = store_17().await;
    rig.post("/apis/driftless.dev/v1/namespaces/acme/overrides?reason=INC-42", &replicas(4)).await;
    let why = rig.get("/v1/why?site=store-17&namespace=acme&path=pos.replicas").await.json();
    assert_eq!((&why["value"], &why["source"]["layer"]), (&json!(4), &json!("SiteOverride")));
    assert_eq!(why["source"]["pointer"], "/spec/values/pos/replicas");
    let writer = &why["source"]["writer"];
    assert_eq!((&writer["by"], &writer["reason"]), (&json!("user/mia"), &json!("INC-42")));
    assert_eq!(writer["time"], "2026-11-22T14:00:00Z");
    assert_eq!(why["shadowed"][0]["name"], "store-base");
    assert_eq!(why["asOf"], "2026-11-22T14:00:00Z");
    let whole = rig.get("/v1/why?site=store-17&namespace=acme&path=pos").await.json();
    assert_eq!(whole["value"], json!({"version": "2.3.1", "replicas": 4}));
    assert!(whole["source"]["writer"]["event"].is_string());
    assert_eq!(rig.get("/v1/why?site=store-17&namespace=acme&path=nothing").await.reason(), "NotFound");
    assert_eq!(rig.get("/v1/why?site=store-17&namespace=acme&path=a..b").await.reason(), "BadRequest");
}

#[tokio::test]
async fn why_not_names_the_term_that_failed() {
    let rig = store_17().await;
    rig.create("sites", &json!({"metadata": {"name": "tower-1", "labels": {"class": "tower"}}, "spec": {}}))
        .await;
    let ask = async |site: &str, profile: &str| {
        rig.get(&format!("/v1/why-not?namespace=acme&site={site}&profile={profile}")).await.json()
    };
    assert_eq!(ask("store-17", "store-base").await["matches"], true);
    let tower = ask("tower-1", "store-base").await;
    assert_eq!((&tower["matches"], &tower["reason"]), (&json!(false), &json!("Selector")));
    assert!(tower["message"].as_str().unwrap().contains("class"), "{tower}");
    assert_eq!(ask("store-17", "nothing").await["reason"], "Unknown");
}

#[tokio::test]
async fn an_override_of_what_is_enforced_is_refused() {
    let rig = store_17().await;
    let patch = json!({"spec": {"enforced": ["pos.replicas"]}});
    let path = format!("{PROFILES}/store-base");
    rig.say(Method::PATCH, &path, "application/merge-patch+json", &patch).await;
    let refused = rig.post("/apis/driftless.dev/v1/namespaces/acme/overrides", &replicas(4)).await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (422, "Invalid".into()));
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.values.pos.replicas");
    assert!(cause["message"].as_str().unwrap().contains("store-base"), "{cause}");
    let everywhere = json!({
        "metadata": {"name": "all-stores"},
        "spec": {"selector": {"matchLabels": {"class": "store"}}, "values": {"pos": {"replicas": 3}}, "reason": "sale", "permanent": true},
    });
    assert_eq!(
        rig.post("/apis/driftless.dev/v1/namespaces/acme/overrides", &everywhere).await.reason(),
        "Invalid"
    );
    let elsewhere = json!({"metadata": {"name": "store-17.version"}, "spec": {"values": {"pos": {"version": "2.4.0"}}, "reason": "test", "permanent": true}});
    rig.create("overrides", &elsewhere).await;
}

#[tokio::test]
async fn a_site_shows_what_it_should_run_and_whether_it_does() {
    let rig = store_17().await;
    let path = "/apis/driftless.dev/v1/namespaces/acme/sites/store-17";
    let condition = |site: &Value, kind: &str| {
        let conditions = site["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == kind).unwrap()["status"].clone()
    };
    let site = rig.get(path).await.json();
    assert_eq!(site["status"]["profiles"], json!(["store-base"]));
    assert_eq!(
        (condition(&site, "Resolved"), condition(&site, "Applied"), condition(&site, "Synced")),
        (json!("True"), json!("Unknown"), json!("Unknown"))
    );
    let hash = site["status"]["desired"]["configHash"].clone();
    report(&rig, "store-17", json!({"active": {"configHash": hash}, "claims": {"gpu": "a100"}})).await;
    let site = rig.get(path).await.json();
    assert_eq!(
        (condition(&site, "Applied"), site["status"]["claims"]["gpu"].clone()),
        (json!("True"), json!("a100"))
    );
    let profile = rig.get(&format!("{PROFILES}/store-base")).await.json();
    assert_eq!((&profile["status"]["matched"], &profile["status"]["applied"]), (&json!(1), &json!(1)));
    rig.create("overrides", &replicas(4)).await;
    let site = rig.get(path).await.json();
    assert_eq!(condition(&site, "Applied"), "False");
    let table = rig.get_table(PROFILES).await;
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[3..5], [json!("1"), json!("0")]);
}

#[tokio::test]
async fn a_site_says_itself_why_it_does_not_run_what_it_should() {
    let rig = store_17().await;
    let path = "/apis/driftless.dev/v1/namespaces/acme/sites/store-17";
    let shown = async |kind: &str| {
        let site = rig.get(path).await.json();
        let conditions = site["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    };
    let hash = rig.get(path).await.json()["status"]["desired"]["configHash"].clone();
    let failed =
        json!({"type": "Applied", "status": "False", "reason": "HookFailed", "message": "exit code 7"});
    let inventory = json!({"type": "Inventory", "status": "False", "reason": "CommandFailed", "message": ""});
    let conditions = json!([failed, inventory]);
    let says = |hash: &Value| json!({"desired": {"configHash": hash}, "conditions": conditions});
    report(&rig, "store-17", says(&hash)).await;
    assert_eq!((shown("Applied").await, shown("Inventory").await), (failed.clone(), inventory.clone()));
    // What it says of another configuration is no news of this one.
    report(&rig, "store-17", says(&json!("ab"))).await;
    assert_eq!(shown("Applied").await["reason"], "NotReported");
}

#[tokio::test]
async fn counting_sites_costs_what_changed() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    for name in ["store-16", "store-17", "store-18"] {
        rig.create("sites", &site(name, "nl")).await;
    }
    let first = every_site(&rig.api, "acme").await.unwrap();
    let same = |a: &[Arc<Resolved>], b: &[Arc<Resolved>]| -> Vec<bool> {
        a.iter().zip(b).map(|(a, b)| Arc::ptr_eq(a, b)).collect()
    };
    assert_eq!(same(&first, &every_site(&rig.api, "acme").await.unwrap()), [true; 3]);
    report(&rig, "store-17", json!({"active": {"configHash": "77"}})).await;
    let second = every_site(&rig.api, "acme").await.unwrap();
    assert_eq!(same(&first, &second), [true, false, true], "one site reported");
    // An exception of one site is resolved for that one.
    let exception = json!({
        "metadata": {"name": "store-18.tills"},
        "spec": {"values": {"pos": {"replicas": 4}}, "reason": "INC-42", "owner": "retail", "permanent": true},
    });
    rig.create("overrides", &exception).await;
    let third = every_site(&rig.api, "acme").await.unwrap();
    assert_eq!(same(&second, &third), [true, true, false]);
    // A profile for others is of no concern to these, also while it changes.
    let mut towers = store_base();
    (towers["metadata"]["name"], towers["spec"]["selector"]) =
        (json!("towers"), json!({"matchLabels": {"class": "tower"}}));
    rig.create("profiles", &towers).await;
    assert_eq!(same(&third, &every_site(&rig.api, "acme").await.unwrap()), [true; 3]);
    let path = format!("{PROFILES}/towers");
    let moved = json!({"spec": {"selector": {"matchLabels": {"class": null, "country": "be"}}}});
    rig.say(Method::PATCH, &path, "application/merge-patch+json", &moved).await;
    assert_eq!(same(&third, &every_site(&rig.api, "acme").await.unwrap()), [true; 3]);
    let gone = Request::delete("/apis/driftless.dev/v1/namespaces/acme/sites/store-16");
    assert_eq!(rig.ask(gone.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    let rest = every_site(&rig.api, "acme").await.unwrap();
    assert_eq!(same(&third[1..], &rest), [true; 2]);
    let profile = rig.get(&format!("{PROFILES}/store-base")).await.json();
    assert_eq!((&profile["status"]["matched"], &profile["status"]["applied"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn a_profile_says_what_became_of_the_sites_that_it_applies_to() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    for name in ["store-1", "store-2", "store-3", "store-4"] {
        rig.create("sites", &site(name, "nl")).await;
    }
    let status =
        async |profile: &str| rig.get(&format!("{PROFILES}/{profile}")).await.json()["status"].clone();
    let condition = |status: &Value, kind: &str| {
        let conditions = status["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap()
    };
    let counts = |status: &Value| {
        ["matched", "applied", "ambiguous", "denied", "failed", "stale"]
            .map(|name| status[name].as_u64().unwrap())
    };
    let fresh = status("store-base").await;
    assert_eq!(counts(&fresh), [4, 0, 0, 0, 0, 4], "nobody was heard");
    assert_eq!(condition(&fresh, "Matched")["status"], "True");
    assert_eq!(condition(&fresh, "Applied")["reason"], "Pending");

    // Store 1 could not apply what it should run, store 2 is on hold, store 3 runs it.
    let of_site = async |name: &str| {
        let path = format!("/apis/driftless.dev/v1/namespaces/acme/sites/{name}");
        rig.get(&path).await.json()["status"].clone()
    };
    let hash = of_site("store-1").await["desired"]["configHash"].clone();
    let refusal = |reason: &str| {
        let applied =
            json!({"type": "Applied", "status": "False", "reason": reason, "message": "exit code 7"});
        json!({"desired": {"configHash": hash}, "conditions": [applied]})
    };
    report(&rig, "store-1", refusal("HookFailed")).await;
    report(&rig, "store-2", refusal("Held")).await;
    report(&rig, "store-3", json!({"active": {"configHash": hash}})).await;
    let some = status("store-base").await;
    assert_eq!(counts(&some), [4, 1, 0, 0, 1, 4]);
    assert_eq!(condition(&some, "Failed")["message"], "1 site: store-1: HookFailed exit code 7");
    assert_eq!(condition(&some, "Applied")["reason"], "SitesFailed");

    // Another profile of the same priority, and an exception that was there before the path was enforced.
    let mut other = store_base();
    (other["metadata"]["name"], other["spec"]["values"]) =
        (json!("store-nl"), json!({"pos": {"replicas": 3}}));
    let taken = rig.create("profiles", &other).await;
    assert_eq!(
        condition(&taken["status"], "Ambiguous")["status"],
        "True",
        "whoever applies it is told at once"
    );
    let exception = json!({
        "metadata": {"name": "store-4.version"},
        "spec": {"values": {"pos": {"version": "9"}}, "reason": "test", "permanent": true},
    });
    rig.create("overrides", &exception).await;
    let enforce = json!({"spec": {"enforced": ["pos.version"]}});
    rig.say(Method::PATCH, &format!("{PROFILES}/store-base"), "application/merge-patch+json", &enforce).await;
    let base = status("store-base").await;
    assert_eq!(counts(&base)[2..4], [4, 1]);
    assert_eq!(
        condition(&base, "Ambiguous")["message"],
        "4 sites: pos.replicas (profile/store-base, profile/store-nl)"
    );
    assert_eq!(condition(&base, "Denied")["message"], "1 site: pos.version at override/store-4.version");
    assert_eq!(counts(&status("store-nl").await)[2..4], [4, 0]);
    assert_eq!(
        of_site("store-4").await["counts"],
        json!({"profiles": 2, "overrides": 1, "ambiguous": 1, "denied": 1})
    );

    // A site that fails is counted where it fails, and for no other.
    let mut broken = store_base();
    broken["metadata"]["name"] = json!("broken");
    broken["spec"]["selector"] = json!({"matchLabels": {"country": "be"}});
    broken["spec"]["values"] = json!({"till": "${absent}"});
    rig.create("sites", &site("store-5", "be")).await;
    rig.create("profiles", &broken).await;
    assert_eq!(counts(&status("broken").await)[4], 1);
    // What store 1 said is not about what it should run by now.
    assert_eq!(counts(&status("store-nl").await)[..5], [5, 0, 5, 0, 1]);
    let table = rig.get_table(PROFILES).await;
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    for name in ["Ambiguous", "Denied", "Failed", "Stale"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
