//! Hubs and edges as processes: they join, restart alone, and answer alone.

use crate::rig::{Fleet, LOCAL_OVERRIDE, MACHINE, PROFILE};

const REPLICAS: &str = ".spec.values.pos.replicas";

#[test]
fn each_node_comes_back_alone_after_sigkill() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    let nodes = ["hub-eu", "hub-us", "store-01"];
    fleet.apply("hub-eu", PROFILE).ok();
    for node in nodes {
        fleet.shows(node, "profile/store-base", REPLICAS, "2");
    }
    for node in nodes {
        fleet.node(node).kill();
    }
    for node in nodes {
        fleet.node(node).restart();
        fleet
            .cli(
                node,
                &["wait", "profile/store-base", &format!("--for=jsonpath={{{REPLICAS}}}=2"), "--timeout=0"],
            )
            .ok();
        if node == "store-01" {
            the_edge_writes_what_is_its_own(&fleet);
        } else {
            fleet.cli(node, &["label", "site/store-01", &format!("seen-by={node}"), "--overwrite"]).ok();
        }
        // Alone again for the next one.
        fleet.node(node).kill();
    }
    for node in nodes {
        fleet.node(node).restart();
    }
    fleet.agree(&nodes);
    for node in nodes {
        fleet.cli(node, &["get", "override/store-01.local", "machine/store-01.till-1"]).ok();
        assert_eq!(fleet.json(node, &["get", "profile/store-base"])["spec"]["values"]["pos"]["replicas"], 2);
    }
}

fn the_edge_writes_what_is_its_own(fleet: &Fleet) {
    fleet.apply("store-01", LOCAL_OVERRIDE).ok();
    fleet.apply("store-01", MACHINE).ok();
    fleet
        .apply("store-01", &PROFILE.replace("replicas: 2", "replicas: 9"))
        .refused(1, &["Forbidden", "edge of site", "hub"]);
    fleet.cli("store-01", &["delete", "profile/store-base"]).refused(1, &["Forbidden", "hub"]);
}

#[test]
fn sigterm_ends_a_node_in_good_order() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    for node in ["store-01", "hub-eu"] {
        fleet.node(node).stop();
        fleet.node(node).restart();
    }
    fleet.agree(&["hub-eu", "store-01"]);
}

#[test]
fn whoever_writes_at_an_edge_before_it_has_heard_of_its_enrolment_is_asked_to_come_back() {
    let mut fleet = Fleet::new();
    let token = fleet.token(&["--role", "edge", "--site", "store-01"]);
    // A hub that takes no sessions still enrols; its news do not get to the edge.
    fleet.cut("hub-eu");
    fleet.newcomer("store-01", &token);
    fleet.cli("store-01", &["get", "member/store-01.n1"]).refused(1, &["NotFound"]);
    let machine = r#"{"metadata":{"name":"store-01.till-1"},"spec":{}}"#;
    let machines = "/apis/driftless.dev/v1/namespaces/default/machines";
    if let Some((status, text)) = fleet.curl("store-01", "POST", machines, machine) {
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("\"retryAfterSeconds\":1"), "{text}");
        assert!(text.contains("does not yet hold its enrolment"), "{text}");
        assert_eq!(fleet.curl("store-01", "GET", "/readyz", "").unwrap(), (200, "ok".to_owned()));
    }
    fleet.heal("hub-eu");
    // The command line comes back as it is asked to: nobody has to wait for anything first.
    fleet.apply("store-01", MACHINE).ok();
    fleet.agree(&["hub-eu", "store-01"]);
}
