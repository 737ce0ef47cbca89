//! The project's own endpoints, and what every request passes.

use super::*;

#[tokio::test]
async fn nobody_in_particular_may_only_ask_for_health() {
    let mut rig = Rig::hub();
    rig.caller = None;
    for path in ["/healthz", "/readyz", "/version"] {
        assert_eq!(rig.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/apis", "/metrics", "/v1/status", "/nothing", "/apis/driftless.dev/v1/profiles"] {
        let refused = rig.get(path).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (StatusCode::UNAUTHORIZED, "Unauthorized".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_answer_says_how_fresh_it_is() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    for path in ["/apis", "/nothing"] {
        let headers = rig.get(path).await.headers;
        assert_eq!(headers["x-driftless-position"], "1");
        assert_eq!(headers["x-driftless-as-of"], "2026-11-22T14:00:00Z");
        assert_eq!(headers["x-driftless-node"], "hub-eu-1");
    }
    *rig.bench.freshness.lock().unwrap() = Freshness::default();
    assert_eq!(rig.get("/apis").await.headers["x-driftless-last-contact"], "unknown");
}

#[tokio::test]
async fn a_replica_that_is_too_old_says_so() {
    let rig = Rig::hub();
    let path = format!("{PROFILES}?max-staleness=30s");
    assert_eq!(rig.get(&path).await.status, StatusCode::OK);
    rig.bench.pass(31_000);
    let refused = rig.get(&path).await;
    assert_eq!(
        (refused.status, refused.reason()),
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable".into())
    );
    assert_eq!(rig.get(&format!("{PROFILES}?max-staleness=1m")).await.status, StatusCode::OK);
    assert_eq!(rig.get(&format!("{PROFILES}?max-staleness=soon")).await.status, StatusCode::BAD_REQUEST);
    *rig.bench.freshness.lock().unwrap() = Freshness::default();
    assert_eq!(
        rig.get(&format!("{PROFILES}?max-staleness=1m")).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn the_node_is_asked_in_the_name_of_the_caller() {
    let mut rig = Rig::hub();
    rig.get("/v1/status").await;
    rig.post("/v1/peers/cut", &json!({"peer": "all", "for": "10m"})).await;
    rig.post("/v1/peers/heal", &json!({"peer": "hub-us-1"})).await;
    let by = "user/mia".to_owned();
    assert_eq!(
        *rig.bench.operations.lock().unwrap(),
        [
            Operation::Status,
            Operation::Cut { peer: None, for_ms: Some(600_000), by: by.clone() },
            Operation::Heal { peer: Some("hub-us-1".into()), by },
        ]
    );
    assert_eq!(rig.post("/v1/peers/cut", &json!({"for": "10m"})).await.reason(), "BadRequest");
    assert_eq!(rig.post("/v1/tokens", &json!({"role": "edge"})).await.status, StatusCode::CREATED);
    rig.caller = Some(Caller { name: "user/eve".into(), roles: vec!["viewer".into()], site: None });
    assert_eq!(rig.post("/v1/peers/cut", &json!({"peer": "all"})).await.reason(), "Forbidden");
    assert_eq!(rig.get("/v1/tokens").await.reason(), "Forbidden");
    assert_eq!(rig.post(PROFILES, &store_base()).await.reason(), "Forbidden");
    assert_eq!(rig.get(PROFILES).await.status, StatusCode::OK);
    assert_eq!(rig.get("/v1/whoami").await.json()["mayWrite"], false);
}

#[tokio::test]
async fn whoever_writes_before_the_node_knows_that_it_is_enrolled_is_asked_to_come_back() {
    let rig = Rig::of(Bench::newcomer("acme", "store-17"));
    assert_eq!(rig.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(rig.get(PROFILES).await.status, StatusCode::OK);
    let machine = json!({"metadata": {"name": "store-17.till-1"}, "spec": {}});
    let path = "/apis/driftless.dev/v1/namespaces/acme/machines";
    let acknowledge = json!({"kind": "Machine", "namespace": "acme", "name": "store-17.till-1"});
    for (path, body) in
        [(path, &machine), (&format!("{path}?dryRun=All"), &machine), ("/v1/conflicts/ack", &acknowledge)]
    {
        let refused = rig.post(path, body).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", refused.text);
        assert_eq!(refused.headers[header::RETRY_AFTER], "1", "{path}");
        let status = refused.json();
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("ServiceUnavailable")));
        assert_eq!(status["details"]["retryAfterSeconds"], 1, "{path}");
        assert!(
            status["message"].as_str().unwrap().contains("does not yet hold its enrolment"),
            "{}",
            refused.text
        );
    }
    // What this node never writes it refuses for good, and says where to go.
    assert_eq!(rig.post(PROFILES, &store_base()).await.reason(), "Forbidden");
}

#[tokio::test]
async fn digests_change_with_what_is_held() {
    let rig = Rig::hub();
    let before = rig.get("/v1/digest").await.json();
    rig.create("profiles", &store_base()).await;
    let after = rig.get("/v1/digest").await.json();
    assert_ne!(before["digest"], after["digest"]);
    assert_eq!(after["scopes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["profiles/acme"]);
    assert_eq!(rig.get("/v1/digest?prefix=sites/").await.json()["scopes"], json!({}));
}

#[tokio::test]
async fn changes_are_waited_for() {
    let rig = Rig::hub();
    let start = rig.get("/v1/changes?wait=0s").await.json()["position"].as_str().unwrap().to_owned();
    let path = format!("/v1/changes?since={start}&wait=20s");
    let profile = store_base();
    let (news, _) = tokio::join!(rig.get(&path), rig.create("profiles", &profile));
    let news = news.json();
    assert_eq!(news["changes"][0]["name"], "store-base");
    assert_eq!(news["changes"][0]["created"], true);
    let next = news["position"].as_str().unwrap();
    let quiet = rig.get(&format!("/v1/changes?since={next}&wait=10ms")).await.json();
    assert_eq!((quiet["changes"].clone(), quiet["position"].as_str().unwrap()), (json!([]), next));
    assert_eq!(rig.get("/v1/changes?since=7").await.reason(), "Expired");
}

#[tokio::test]
async fn an_edge_hands_out_what_it_runs_and_news_of_it() {
    let bench = Bench::edge("acme", "store-17");
    let rig = Rig::of(bench);
    assert_eq!(rig.get("/v1/config").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let run = |hash: &str| {
        let config = json!({"configHash": hash, "values": {"pos": {"replicas": 2}}});
        rig.bench.active.as_ref().unwrap().send_replace(Some(Arc::new(config)));
    };
    run("aa");
    let answer = rig.get("/v1/config").await;
    assert_eq!(answer.json()["values"]["pos"]["replicas"], 2);
    assert_eq!(answer.headers[header::ETAG], "\"aa\"");
    let ask = async |etag: &str, query: &str| {
        let request = Request::get(format!("/v1/config{query}")).header(header::IF_NONE_MATCH, etag);
        rig.ask(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(ask("\"aa\"", "").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(ask("\"aa\"", "?wait=10ms").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(ask("\"bb\"", "?wait=20s").await.status, StatusCode::OK);
    let (news, ()) = tokio::join!(ask("\"aa\"", "?wait=20s"), async { run("bb") });
    assert_eq!(news.json()["configHash"], "bb");
    assert_eq!(Rig::hub().get("/v1/config").await.reason(), "BadRequest");
}

#[tokio::test]
async fn metrics_are_numbers_of_this_node() {
    let rig = Rig::hub();
    rig.create("profiles", &store_base()).await;
    rig.get("/nothing").await;
    let text = rig.get("/metrics").await.text;
    for line in [
        "driftless_log_position 1",
        "driftless_documents{kind=\"Profile\"} 1",
        "driftless_sites{phase=\"Unknown\"} 0",
        "driftless_api_answers_total{class=\"2xx\"} 1",
        "driftless_api_answers_total{class=\"4xx\"} 1",
        "driftless_staleness_seconds 0",
        "driftless_ready 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
