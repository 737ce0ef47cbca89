//! Commands that people know from kubectl do here what they do there, down to the exit code.

use crate::rig::{Fleet, Outcome, PROFILE, Place};

#[test]
fn flags_stand_where_people_put_them() {
    let fleet = Fleet::new();
    fleet.apply("hub-eu", PROFILE).ok();
    let label = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        fleet.cli("hub-eu", &words).ok().stdout
    };
    assert_eq!(label("label profile/store-base team=retail"), "profile/store-base labeled\n");
    assert_eq!(label("label profile/store-base --overwrite team=it"), "profile/store-base labeled\n");
    assert_eq!(
        label("annotate profile store-base --overwrite --reason x a=b"),
        "profile/store-base annotated\n"
    );
    fleet.cli("hub-eu", &["label", "profile/store-base", "team=hr"]).refused(1, &["--overwrite"]);
    let metadata = &fleet.json("hub-eu", &["get", "profile", "store-base"])["metadata"];
    assert_eq!((&metadata["labels"]["team"], &metadata["annotations"]["a"]), (&"it".into(), &"b".into()));
}

#[test]
fn an_edit_sends_what_was_changed_and_keeps_what_was_refused() {
    let fleet = Fleet::new();
    fleet.apply("hub-eu", PROFILE).ok();
    let edit = |editor: &str| {
        let mut command = Place::default().command();
        command.arg("--data-dir").arg(fleet.path("hub-eu"));
        command.args(["edit", "profile/store-base", "--reason", "INC-42"]).env("KUBE_EDITOR", editor);
        Outcome::of_command(&mut command, "")
    };
    let priority = || fleet.json("hub-eu", &["get", "profile/store-base"])["spec"]["priority"].clone();

    let edited = edit("sed -i 's/priority: 100/priority: 150/'").ok();
    assert_eq!((edited.stdout.as_str(), priority()), ("profile/store-base edited\n", 150.into()));
    let history = fleet.json("hub-eu", &["history", "profile/store-base"]).to_string();
    assert!(history.contains("INC-42"), "{history}");

    let left = edit("true").ok();
    assert_eq!((left.stdout.as_str(), left.stderr.trim()), ("", "Edit cancelled, no changes made."));
    edit("false").refused(1, &["editor", "KUBE_EDITOR"]);

    // Refused, shown again, and left at that.
    let refused = edit("sed -i 's/priority: 150/priority: 5000/'")
        .refused(1, &["spec.priority", "Nothing was changed"]);
    let kept = refused.stderr.trim().rsplit_once(' ').unwrap().1;
    let text = std::fs::read_to_string(kept).unwrap();
    std::fs::remove_file(kept).unwrap();
    assert!(text.contains("priority: 5000") && text.contains("# Error from server (Invalid)"), "{text}");
    assert_eq!(priority(), 150);
}

#[test]
fn people_can_ask_what_they_may_do_before_they_do_it() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    for (node, question, code) in [
        ("hub-eu", "create profiles", 0),
        ("hub-eu", "patch profile/store-base", 0),
        ("hub-eu", "get machines", 0),
        ("hub-eu", "create machines", 1),
        ("hub-eu", "create override store-01.local", 1),
        ("hub-eu", "delete members", 1),
        ("hub-eu", "devour profiles", 1),
        ("store-01", "create profiles", 1),
        ("store-01", "get profiles", 0),
        ("store-01", "create machines", 0),
        ("store-01", "create override/store-01.local", 0),
        ("store-01", "create override/store-02.local", 1),
    ] {
        let words: Vec<&str> = ["auth", "can-i"].into_iter().chain(question.split(' ')).collect();
        let answer = fleet.cli(node, &words);
        assert_eq!(answer.code, code, "{node}: {question}: {answer:?}");
        let expected = if code == 0 { "yes\n" } else { "no - " };
        assert!(answer.stdout.starts_with(expected), "{node}: {question}: {answer:?}");
    }
    assert_eq!(fleet.cli("hub-eu", &["auth", "can-i", "get", "sites", "-q"]).ok().stdout, "");
    assert!(
        fleet.cli("store-01", &["auth", "whoami"]).ok().stdout.contains("ns/default/site/store-01/operator")
    );
}

#[test]
fn what_is_there_is_shown_beside_what_is_missing() {
    let fleet = Fleet::new();
    fleet.apply("hub-eu", PROFILE).ok();
    let shown = fleet.cli("hub-eu", &["get", "profile", "absent", "store-base", "-o", "name"]);
    assert!(shown.stdout.contains("store-base"), "{shown:?}");
    shown.refused(1, &["Error from server (NotFound): profiles.driftless.dev \"absent\" not found"]);
    let alone = fleet.cli("hub-eu", &["get", "profile/absent"]).refused(1, &["NotFound"]);
    assert!(!alone.stderr.contains("No resources found"), "{alone:?}");
}

#[test]
fn no_command_at_all_asks_for_help() {
    let outcome = Outcome::of_command(&mut Place::default().command(), "").ok();
    assert!(outcome.stdout.contains("Usage: driftless"), "{outcome:?}");
}
