//! People and programs with credentials of their own, who may do some things and not others.

use std::process::Command;

use crate::rig::{Fleet, Outcome, driftless};

const OF_ACME: &str = "
apiVersion: driftless.dev/v1
kind: Profile
metadata: {name: store-base, namespace: acme}
spec: {priority: 100, selector: {matchLabels: {class: store}}, values: {pos: {replicas: 2}}}
";

/// A person with a kubeconfig that the hub made.
struct Person<'a> {
    fleet: &'a Fleet,
    kubeconfig: String,
}

impl<'a> Person<'a> {
    fn with(fleet: &'a Fleet, name: &str, roles: &[&str]) -> Self {
        let mut arguments = vec!["kubeconfig", "--user", name];
        roles.iter().for_each(|role| arguments.extend(["--role", role]));
        let made = fleet.cli("hub-eu", &arguments).ok().stdout;
        Self { fleet, kubeconfig: fleet.file(&format!("{name}.kubeconfig"), &made) }
    }

    fn does(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(driftless());
        command.args(["--kubeconfig", &self.kubeconfig]).args(arguments);
        Outcome::of_command(&mut command, input)
    }
}

#[test]
fn a_role_lets_people_do_what_it_says_where_it_says() {
    let fleet = Fleet::new();
    let mia = Person::with(&fleet, "mia", &["viewer", "operator@acme"]);
    mia.does(&["apply", "-f", "-"], OF_ACME).ok();
    let elsewhere = OF_ACME.replace("namespace: acme", "namespace: umbrella");
    mia.does(&["apply", "-f", "-"], &elsewhere).refused(1, &["operator@acme", "umbrella"]);
    mia.does(&["get", "profiles", "-n", "umbrella"], "").ok();
    mia.does(&["token", "create", "--role", "edge", "--site", "store-1"], "").refused(1, &["administer"]);
    mia.does(&["peers", "cut", "--all"], "").refused(1, &["administer"]);
    mia.does(&["revoke", "--site", "store-1"], "").refused(1, &["administer"]);
    let history = mia.does(&["history", "profile/store-base", "-n", "acme"], "").ok().stdout;
    assert!(history.contains("user/mia"), "{history}");

    let guest = Person::with(&fleet, "guest", &["viewer@acme"]);
    let listed = guest.does(&["get", "profiles", "-n", "acme"], "").ok().stdout;
    assert!(listed.contains("store-base"), "{listed}");
    for elsewhere in [&["get", "profiles", "-n", "umbrella"][..], &["get", "profiles", "-A"], &["status"]] {
        guest.does(elsewhere, "").refused(1, &["does not let it read"]);
    }
    guest.does(&["delete", "profile/store-base", "-n", "acme"], "").refused(1, &["does not let it write"]);
    let answer = guest.does(&["auth", "can-i", "create", "profiles"], "").stdout;
    assert!(answer.starts_with("no"), "{answer}");

    let boss = Person::with(&fleet, "boss", &["admin"]);
    boss.does(&["token", "create", "--role", "edge", "--site", "store-1"], "").ok();
    let unknown = ["kubeconfig", "--user", "eve", "--role", "root"];
    mia.fleet.cli("hub-eu", &unknown).refused(1, &["viewer, operator and admin"]);
}
