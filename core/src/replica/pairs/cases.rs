//! The table: two edits, and what becomes of them.

use serde_json::{Value, json};

use super::{Case, Edit, Outcome};
use crate::name::Kind;

pub(super) fn all() -> Vec<Case> {
    [values(), shapes(), lists(), labels(), objects(), joins()].into_iter().flatten().collect()
}

/// Single values, set and removed.
fn values() -> Vec<Case> {
    let base = || json!({"a": 1, "b": 1});
    vec![
        case("different keys are set", base(), [set("a", 2)], [set("b", 3)]).shows(json!({"a": 2, "b": 3})),
        case("a key is set to two values", base(), [set("a", 2)], [set("a", 3)])
            .shows(json!({"a": 3, "b": 1}))
            .lists(["/spec/values/a: 3 by ben over 2 by ada"])
            .if_left_is_later(json!({"a": 2, "b": 1}), ["/spec/values/a: 2 by ada over 3 by ben"]),
        case("a key is set to one value twice", base(), [set("a", 2)], [set("a", 2)])
            .shows(json!({"a": 2, "b": 1})),
        case("a key is added on both sides", json!({"b": 1}), [set("a", 2)], [set("a", 3)])
            .shows(json!({"a": 3, "b": 1}))
            .lists(["/spec/values/a: 3 by ben over 2 by ada"])
            .if_left_is_later(json!({"a": 2, "b": 1}), ["/spec/values/a: 2 by ada over 3 by ben"]),
        case("a key is set and removed", base(), [set("a", 2)], [remove("a")])
            .shows(json!({"a": 2, "b": 1}))
            .lists(["/spec/values/a: 2 by ada over removal by ben"]),
        case("a key is removed on both sides", base(), [remove("a")], [remove("a")]).shows(json!({"b": 1})),
        case("different keys are removed", json!({"a": 1, "b": 1, "c": 1}), [remove("a")], [remove("b")])
            .shows(json!({"c": 1})),
        case("a key is set, and removed and set again", base(), [set("a", 2)], [remove("a"), set("a", 3)])
            .shows(json!({"a": 3, "b": 1}))
            .lists(["/spec/values/a: 3 by ben over 2 by ada"])
            .if_left_is_later(json!({"a": 2, "b": 1}), ["/spec/values/a: 2 by ada over 3 by ben"]),
        case("a key is set, and set and removed", base(), [set("a", 2)], [set("a", 3), remove("a")])
            .shows(json!({"a": 2, "b": 1}))
            .lists(["/spec/values/a: 2 by ada over removal by ben"]),
        case("a key is set twice on one side", base(), [set("a", 2), set("a", 4)], [set("a", 3)])
            .shows(json!({"a": 3, "b": 1}))
            .lists(["/spec/values/a: 3 by ben over 4 by ada"])
            .if_left_is_later(json!({"a": 4, "b": 1}), ["/spec/values/a: 4 by ada over 3 by ben"]),
    ]
}

/// Maps, and what is above and below.
fn shapes() -> Vec<Case> {
    let tree = || json!({"pos": {"x": 1, "y": 1}});
    let pos = |patch: Value| Edit::Patch(json!({"spec": {"values": {"pos": patch}}}));
    vec![
        case("a map is removed and a key in it set", tree(), [remove("pos")], [pos(json!({"x": 2}))])
            .shows(json!({"pos": {"x": 2}}))
            .lists(["/spec/values/pos/x: 2 by ben over removal by ada"]),
        case("a map is removed and a key added to it", tree(), [remove("pos")], [pos(json!({"z": 2}))])
            .shows(json!({"pos": {"z": 2}})),
        case("a map is removed and a key in it too", tree(), [remove("pos")], [pos(json!({"x": null}))])
            .shows(json!({})),
        case("different keys of a map are set", tree(), [pos(json!({"x": 2}))], [pos(json!({"y": 3}))])
            .shows(json!({"pos": {"x": 2, "y": 3}})),
        case("a map is made on both sides", json!({"a": 1}), [pos(json!({"x": 1}))], [pos(json!({"y": 1}))])
            .shows(json!({"a": 1, "pos": {"x": 1, "y": 1}})),
        case(
            "a value is set where the other side makes a map",
            json!({"a": 1}),
            [set("pos", 5)],
            [pos(json!({"x": 2}))],
        )
        .shows(json!({"a": 1, "pos": {"x": 2}}))
        .lists(["/spec/values/pos below: 2 by ben over 5 by ada"]),
        case(
            "a value is set and turned into a map",
            json!({"pos": 1}),
            [set("pos", 5)],
            [pos(json!({"x": 2}))],
        )
        .shows(json!({"pos": {"x": 2}}))
        .lists(["/spec/values/pos below: 2 by ben over 5 by ada"]),
        case(
            "a map is turned into a value and a key in it set",
            tree(),
            [set("pos", 5)],
            [pos(json!({"x": 2}))],
        )
        .shows(json!({"pos": {"x": 2}}))
        .lists([
            "/spec/values/pos below: 2 by ben over 5 by ada",
            "/spec/values/pos/x: 2 by ben over removal by ada",
        ]),
        case(
            "a map is emptied and a key added to it",
            tree(),
            [pos(json!({"x": null, "y": null}))],
            [pos(json!({"z": 2}))],
        )
        .shows(json!({"pos": {"z": 2}})),
        case(
            "an empty map is set and removed",
            json!({"pos": {}, "a": 1}),
            [pos(json!({"x": 2}))],
            [remove("pos")],
        )
        .shows(json!({"a": 1, "pos": {"x": 2}})),
        case(
            "an empty map is set where the other side sets a value",
            json!({"a": 1}),
            [pos(json!({}))],
            [set("pos", 5)],
        )
        .shows(json!({"a": 1, "pos": 5}))
        .lists(["/spec/values/pos: 5 by ben over {} by ada"])
        .if_left_is_later(json!({"a": 1, "pos": {}}), ["/spec/values/pos: {} by ada over 5 by ben"]),
    ]
}

/// Lists are one value each, in the stored document also where `listKeys` merges them by element later.
fn lists() -> Vec<Case> {
    let base = || json!({"dns": [1, 2]});
    let keyed = || json!({"users": [{"name": "ops"}]});
    let users = |name: &str| set("users", json!([{"name": "ops"}, {"name": name}]));
    vec![
        case("a list is extended on both sides", base(), [set("dns", json!([1, 2, 3]))], [set("dns", json!([0, 1, 2]))])
            .shows(json!({"dns": [0, 1, 2]}))
            .lists(["/spec/values/dns: [0,1,2] by ben over [1,2,3] by ada"])
            .if_left_is_later(json!({"dns": [1, 2, 3]}), ["/spec/values/dns: [1,2,3] by ada over [0,1,2] by ben"]),
        case("a list is extended equally on both sides", base(), [set("dns", json!([1]))], [set("dns", json!([1]))])
            .shows(json!({"dns": [1]})),
        case("a list is extended and removed", base(), [set("dns", json!([1, 2, 3]))], [remove("dns")])
            .shows(json!({"dns": [1, 2, 3]}))
            .lists(["/spec/values/dns: [1,2,3] by ada over removal by ben"]),
        case("a list is emptied and extended", base(), [set("dns", json!([]))], [set("dns", json!([1, 2, 3]))])
            .shows(json!({"dns": [1, 2, 3]}))
            .lists(["/spec/values/dns: [1,2,3] by ben over [] by ada"])
            .if_left_is_later(json!({"dns": []}), ["/spec/values/dns: [] by ada over [1,2,3] by ben"]),
        case("a keyed list gets an element on each side", keyed(), [users("ann")], [users("bob")])
            .shows(json!({"users": [{"name": "ops"}, {"name": "bob"}]}))
            .lists([r#"/spec/values/users: [{"name":"ops"},{"name":"bob"}] by ben over [{"name":"ops"},{"name":"ann"}] by ada"#])
            .if_left_is_later(
                json!({"users": [{"name": "ops"}, {"name": "ann"}]}),
                [r#"/spec/values/users: [{"name":"ops"},{"name":"ann"}] by ada over [{"name":"ops"},{"name":"bob"}] by ben"#],
            ),
        case("a list is turned into a map", base(), [set("dns", json!([9]))], [Edit::Patch(json!({"spec": {"values": {"dns": {"first": 1}}}}))])
            .shows(json!({"dns": {"first": 1}}))
            .lists(["/spec/values/dns below: 1 by ben over [9] by ada"]),
    ]
}

fn labels() -> Vec<Case> {
    let label = |key: &str, value: Value| Edit::Patch(json!({"metadata": {"labels": {key: value}}}));
    let labelled = |name, left, right| Case {
        base: Some(json!({
            "metadata": {"labels": {"tier": "edge"}},
            "spec": {"priority": 100, "selector": {"matchAll": true}, "values": {"a": 1}},
        })),
        ..case(name, json!({}), [left], [right])
    };
    let shows = |labels: Value| json!({"values": {"a": 1}, "labels": labels});
    vec![
        labelled("different labels are set", label("a", json!("1")), label("b", json!("2")))
            .shows_whole(shows(json!({"a": "1", "b": "2", "tier": "edge"}))),
        labelled("a label is set to two values", label("tier", json!("core")), label("tier", json!("lab")))
            .shows_whole(shows(json!({"tier": "lab"})))
            .lists([r#"/metadata/labels/tier: "lab" by ben over "core" by ada"#])
            .if_left_is_later_whole(
                shows(json!({"tier": "core"})),
                [r#"/metadata/labels/tier: "core" by ada over "lab" by ben"#],
            ),
        labelled("a label is set and removed", label("tier", json!("core")), label("tier", Value::Null))
            .shows_whole(shows(json!({"tier": "core"})))
            .lists([r#"/metadata/labels/tier: "core" by ada over removal by ben"#]),
        labelled("a label and a value are set", label("a", json!("1")), set("a", 2))
            .shows_whole(json!({"values": {"a": 2}, "labels": {"a": "1", "tier": "edge"}})),
    ]
}

/// The document as a whole.
fn objects() -> Vec<Case> {
    let base = || json!({"a": 1, "b": 1});
    let none = |name, left, right| Case { base: None, ..case(name, json!({}), [left], [right]) };
    vec![
        case("the document is deleted and a key set", base(), [Edit::Delete], [set("a", 2)])
            .shows_whole(Value::Null)
            .lists(["/spec/values/a deleted: true by ada over 2 by ben"]),
        case("the document is deleted and a key removed", base(), [Edit::Delete], [remove("a")])
            .shows_whole(Value::Null),
        case("the document is deleted on both sides", base(), [Edit::Delete], [Edit::Delete])
            .shows_whole(Value::Null),
        case("the document is deleted after an edit", base(), [set("a", 2), Edit::Delete], [set("b", 3)])
            .shows_whole(Value::Null)
            .lists(["/spec/values/b deleted: true by ada over 3 by ben"]),
        case(
            "the document is deleted and made anew, and a key set",
            base(),
            [Edit::Delete, create(json!({"c": 5}))],
            [set("a", 2)],
        )
        .shows(json!({"c": 5}))
        .in_history_alone(["/spec/values/a = 2 by ben"]),
        case(
            "the document is deleted and made anew, and deleted",
            base(),
            [Edit::Delete, create(json!({"c": 5}))],
            [Edit::Delete],
        )
        .shows(json!({"c": 5})),
        case(
            "the document is deleted and made anew on both sides",
            base(),
            [Edit::Delete, create(json!({"c": 5, "d": 5}))],
            [Edit::Delete, create(json!({"c": 6, "e": 6}))],
        )
        .shows(json!({"c": 6, "d": 5, "e": 6}))
        .lists(["/spec/values/c: 6 by ben over 5 by ada"])
        .if_left_is_later(json!({"c": 5, "d": 5, "e": 6}), ["/spec/values/c: 5 by ada over 6 by ben"]),
        none("a document is made on both sides, equally", create(json!({"a": 1})), create(json!({"a": 1})))
            .shows(json!({"a": 1})),
        none(
            "a document is made on both sides with different keys",
            create(json!({"a": 1})),
            create(json!({"b": 2})),
        )
        .shows(json!({"a": 1, "b": 2})),
    ]
}

/// Fields with a join: the order among their values decides, whoever was later.
fn joins() -> Vec<Case> {
    let state = |state: &str| Edit::Patch(json!({"spec": {"state": state}}));
    let subject = json!({"kind": "App", "name": "pos", "channel": "stable", "to": "2.4.0"});
    let rollout = |name, left, right, joined: &str| Case {
        kind: Kind::Rollout,
        base: Some(
            json!({"spec": {"subject": subject, "coordinator": "hub-a", "state": "Run", "onFailure": "Pause"}}),
        ),
        ..case(name, json!({}), [left], [right]).shows_whole(
            json!({"subject": subject, "coordinator": "hub-a", "state": joined, "onFailure": "Pause"}),
        )
    };
    vec![
        rollout("a rollout is paused and aborted", state("Pause"), state("Abort"), "Abort")
            .in_history_alone([r#"/spec/state = "Pause" by ada"#]),
        rollout("a rollout is aborted and its state removed", state("Abort"), state_removed(), "Abort")
            .in_history_alone(["removal of /spec/state by ben"]),
        Case {
            left: vec![state("Pause"), state("Run")],
            ..rollout(
                "a rollout is paused and run again, and paused",
                state("Pause"),
                state("Pause"),
                "Pause",
            )
            .in_history_alone([r#"/spec/state = "Run" by ada"#])
        },
    ]
}

fn state_removed() -> Edit {
    Edit::Patch(json!({"spec": {"state": null}}))
}

fn set(key: &str, value: impl Into<Value>) -> Edit {
    Edit::Patch(json!({"spec": {"values": {key: value.into()}}}))
}

fn remove(key: &str) -> Edit {
    set(key, Value::Null)
}

fn create(values: Value) -> Edit {
    Edit::Create(profile(values))
}

fn profile(values: Value) -> Value {
    json!({"spec": {"priority": 100, "selector": {"matchAll": true}, "values": values}})
}

/// Two people who edit a profile with these values.
fn case(name: &'static str, base: Value, left: impl Into<Vec<Edit>>, right: impl Into<Vec<Edit>>) -> Case {
    Case {
        name,
        kind: Kind::Profile,
        base: Some(profile(base)),
        left: left.into(),
        right: right.into(),
        outcome: Outcome { shown: Value::Null, conflicts: vec![], history_alone: vec![] },
        if_left_is_later: None,
    }
}

impl Case {
    fn shows(self, values: Value) -> Self {
        self.shows_whole(json!({"values": values}))
    }

    fn shows_whole(mut self, shown: Value) -> Self {
        self.outcome.shown = shown;
        self
    }

    fn lists(mut self, conflicts: impl Into<Vec<&'static str>>) -> Self {
        self.outcome.conflicts = conflicts.into();
        self
    }

    fn in_history_alone(mut self, writes: impl Into<Vec<&'static str>>) -> Self {
        self.outcome.history_alone = writes.into();
        self
    }

    fn if_left_is_later(self, values: Value, conflicts: impl Into<Vec<&'static str>>) -> Self {
        self.if_left_is_later_whole(json!({"values": values}), conflicts)
    }

    fn if_left_is_later_whole(mut self, shown: Value, conflicts: impl Into<Vec<&'static str>>) -> Self {
        let conflicts = conflicts.into();
        self.if_left_is_later = Some(Outcome { shown, conflicts, ..self.outcome.clone() });
        self
    }
}
