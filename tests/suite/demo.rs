//! `driftless demo`: a fleet in one command, gone with Ctrl-C, resumed with its directory.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::rig::{DEADLINE, Outcome, driftless, until, without_settings};

/// What is said when all nodes hold the samples.
const UP: &str = "The fleet is up.";

#[test]
fn a_demo_comes_up_stops_whole_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(dir.path());
    let nodes = listed(dir.path());
    let roles = |role: &str| nodes.iter().filter(|node| node["role"] == role).count();
    assert_eq!((roles("hub"), roles("edge")), (2, 6));
    for node in &nodes {
        for field in ["name", "region", "api", "quic", "data_dir", "kubeconfig"] {
            assert!(node[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {node}");
        }
        assert!(runs(node), "{node}");
    }
    let sites = nodes.iter().filter(|node| node["site"].is_string()).count();
    assert_eq!(sites, 6);
    let hub = data_dir(&nodes, "hub");
    let change = r#"{"spec":{"priority":101}}"#;
    Outcome::of(Path::new(&hub), &["patch", "profile", "store-base", "-p", change], "").ok();
    let verify = ["verify", "--all", "--within", "60s", "--dir", dir.path().to_str().unwrap()];
    Outcome::of(Path::new(&hub), &verify, "").ok();
    demo.interrupt();
    for node in &nodes {
        assert!(!runs(node), "a node outlived its demo: {node}");
    }
    let mut demo = Demo::start(dir.path());
    let resumed = listed(dir.path());
    let names = |nodes: &[Value]| nodes.iter().map(|node| node["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&resumed), names(&nodes));
    for node in &resumed {
        let dir = node["data_dir"].as_str().unwrap();
        let shown = Outcome::of(Path::new(dir), &["get", "profile/store-base", "-o", "json"], "").ok().json();
        assert_eq!(shown["spec"]["priority"], 101, "{node}");
    }
    demo.interrupt();
    assert!(!resumed.iter().any(runs));
}

#[test]
fn children_do_not_outlive_a_demo_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start_with(dir.path(), &["--regions", "1", "--sites", "1"]);
    let nodes = listed(dir.path());
    assert_eq!(nodes.len(), 2);
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    until("the nodes end after their demo was killed", || !nodes.iter().any(runs));
}

struct Demo {
    child: Child,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts it and waits until it says that it is up.
    fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(driftless());
        without_settings(&mut command);
        command.args(["demo", "--dir"]).arg(dir).args(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let demo = Self { child };
        let (up, came_up) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(UP) {
                    let _ = up.try_send(Ok(()));
                }
                said.push_str(&line);
                said.push('\n');
            }
            // Where it came up, nobody listens any more.
            let _ = up.try_send(Err(said));
        });
        let up = came_up.recv_timeout(DEADLINE * 2).unwrap_or_else(|_| Err("it takes too long".to_owned()));
        up.unwrap_or_else(|said| panic!("the demo does not come up:\n{said}"));
        demo
    }

    /// Ctrl-C, after which it has to end with 0.
    fn interrupt(&mut self) {
        let id = self.child.id().to_string();
        Outcome::of_command(Command::new("kill").args(["-INT", &id]), "").ok();
        until("the demo ends after Ctrl-C", || self.child.try_wait().unwrap().is_some());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its nodes end by themselves when it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listed(dir: &Path) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(dir.join("demo.json")).unwrap()).unwrap()
}

fn data_dir(nodes: &[Value], role: &str) -> String {
    let node = nodes.iter().find(|node| node["role"] == role).unwrap();
    node["data_dir"].as_str().unwrap().to_owned()
}

/// Whether a node's process is there.
fn runs(node: &Value) -> bool {
    let id = node["pid"].as_u64().unwrap().to_string();
    Outcome::of_command(Command::new("kill").args(["-0", &id]), "").code == 0
}
