use super::*;

const WORK: Work = Work { documents: 40, events_per_document: 5 };

#[test]
fn every_protocol_finds_the_same_differences() {
    let mut ours =
        [Ours::new(Other::Edge, WORK).expect("a pair"), Ours::new(Other::Hub, WORK).expect("a pair")];
    let mut documents = automerge::Documents::new(WORK).expect("documents");
    for d in [0, 1, 30] {
        for ours in &mut ours {
            ours.differ(d).expect("differences");
        }
        let [here, there] = ours[0].ids().expect("ids");
        let mut costs = ours.iter_mut().map(|ours| ours.reconcile().expect("reconciled")).collect::<Vec<_>>();
        costs.push(riblt::reconcile(&here, &there).expect("reconciled"));
        costs.push(negentropy::reconcile(&here, &there).expect("reconciled"));
        costs.push(documents.reconcile(d).expect("reconciled"));
        for (cost, name) in costs.iter().zip(METHODS) {
            assert!(cost.bytes > 0 && cost.turns > 0, "{name}, d = {d}: {cost:?}");
            let carries_more = cost.bytes_with_events.is_some_and(|all| all > cost.bytes);
            assert!(cost.bytes_with_events.is_none() || carries_more == (d > 0), "{name}, d = {d}: {cost:?}");
        }
    }
}

#[test]
fn vectors_do_not_grow_with_what_is_missing() {
    let mut ours = Ours::new(Other::Edge, WORK).expect("a pair");
    let mut bytes = |d| {
        ours.differ(d).expect("differences");
        ours.reconcile().expect("reconciled").bytes
    };
    let (few, many) = (bytes(1), bytes(200));
    assert!(many < 2 * few, "{few} bytes for one, {many} for two hundred");
}

#[test]
fn tables_have_zero_and_plots_leave_it_out() {
    let cost = |bytes| Cost { bytes, cpu: [0.001, 0.002], turns: 2, ..Cost::default() };
    let costs = [0, 10].map(|bytes| std::array::from_fn(|_| vec![cost(bytes)]));
    let section = section("about".to_owned(), &[0, 1], &costs);
    let dir = tempfile::tempdir().expect("a directory");
    section
        .write(dir.path(), "compare", &crate::environment::Environment::here(dir.path()))
        .expect("written");
    let json = std::fs::read_to_string(dir.path().join("compare.json")).expect("written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!(json["section"]["tables"][0]["rows"][0]["values"], serde_json::json!([0.0, 10.0]));
    assert_eq!(
        json["section"]["plots"][0]["content"]["lines"][0]["points"],
        serde_json::json!([[1.0, 10.0]])
    );
}
