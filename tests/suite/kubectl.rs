//! Real kubectl against a real hub: store, QUIC endpoint, TLS, certificates, all of it.
//!
//! `KUBECTL` names the binaries to try, separated by colons; without it the one on the path. Where
//! there is none the tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use driftless::daemon::{HubOptions, run_hub};
use serde_json::Value;
use tokio::process::Command;

const PROFILE: &str = r#"{
  "apiVersion": "driftless.dev/v1", "kind": "Profile", "metadata": {"name": "store-base"},
  "spec": {"priority": 200, "selector": {"matchLabels": {"class": "store"}},
           "values": {"pos": {"version": "2.3.1", "replicas": 2}}}
}"#;
const SITE: &str = r#"{
  "apiVersion": "driftless.dev/v1", "kind": "Site",
  "metadata": {"name": "store-17", "labels": {"class": "store", "country": "nl"}},
  "spec": {"region": "eu"}
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_applied_selected_changed_and_deleted() {
    for kubectl in binaries().await {
        let hub = Hub::start(&kubectl).await;
        let profile = hub.file("profile.json", PROFILE);
        let site = hub.file("site.json", SITE);
        assert!(
            hub.ok(&["apply", "-f", &profile, "-f", &site])
                .await
                .contains("profile.driftless.dev/store-base created")
        );
        assert!(hub.ok(&["apply", "-f", &profile]).await.contains("unchanged"));

        let table = hub.ok(&["get", "st"]).await;
        let columns: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(columns, ["NAME", "REGION", "PHASE", "LAST-SEEN", "SYNCED", "APPLIED", "PROFILES", "AGE"]);
        assert!(table.contains("Unknown"), "a site that was never heard is not healthy:\n{table}");
        assert!(hub.ok(&["get", "prof"]).await.lines().next().unwrap_or_default().contains("REVISION"));

        hub.ok(&["label", "site", "store-17", "tier=gold"]).await;
        for (selector, found) in
            [("tier=gold,country!=be", "store-17"), ("tier in (gold)", "store-17"), ("!tier", "")]
        {
            let name =
                hub.ok(&["get", "st", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"]).await;
            assert_eq!(name, found, "{selector}");
        }
        hub.ok(&["annotate", "profile", "store-base", "driftless.dev/note=hello"]).await;
        let test = r#"[{"op":"test","path":"/spec/priority","value":200},{"op":"replace","path":"/spec/priority","value":300}]"#;
        hub.ok(&["patch", "profile", "store-base", "--type=json", "-p", test]).await;
        hub.ok(&[
            "patch",
            "profile",
            "store-base",
            "--type=merge",
            "-p",
            r#"{"spec":{"values":{"pos":{"replicas":9}}}}"#,
        ])
        .await;
        let seen = hub
            .ok(&[
                "get",
                "profile",
                "store-base",
                "-o",
                "jsonpath={.spec.priority} {.spec.values.pos.replicas}",
            ])
            .await;
        assert_eq!(seen, "300 9");

        let (code, difference) = hub.run(&["diff", "-f", &profile]).await;
        assert_eq!(code, 1, "{difference}");
        assert!(
            difference.contains("-  priority: 300") && difference.contains("+  priority: 200"),
            "{difference}"
        );
        hub.ok(&["apply", "-f", &profile, "--dry-run=server"]).await;
        assert_eq!(hub.run(&["diff", "-f", &profile]).await.0, 1, "a dry run changed something");
        hub.ok(&["apply", "-f", &profile]).await;
        assert_eq!(hub.run(&["diff", "-f", &profile]).await.0, 0);
        hub.ok(&["replace", "-f", &profile]).await;
        assert!(hub.ok(&["describe", "site", "store-17"]).await.contains("NotReported"));

        hub.ok(&["delete", "-f", &profile, "-f", &site]).await;
        assert_eq!(hub.ok(&["get", "all", "-o", "name"]).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reach_the_person_at_the_keyboard() {
    for kubectl in binaries().await {
        let hub = Hub::start(&kubectl).await;
        let profile = hub.file("profile.json", PROFILE);
        hub.ok(&["create", "-f", &profile]).await;
        let refused = async |arguments: &[&str], expected: &str| {
            let (code, said) = hub.run(arguments).await;
            assert!(code != 0 && said.contains(expected), "{arguments:?}: exit {code}: {said}");
        };
        refused(&["create", "-f", &profile], "already exists").await;
        refused(&["get", "profile", "missing"], "NotFound").await;
        refused(
            &["patch", "profile", "store-base", "--type=merge", "-p", r#"{"spec":{"priority":5000}}"#],
            "spec.priority",
        )
        .await;
        refused(&["apply", "-f", &profile, "--server-side"], "apply").await;
        assert_eq!(hub.ok(&["auth", "can-i", "create", "profiles"]).await.trim(), "yes");
        refused(&["auth", "can-i", "create", "machines"], "no - only the nodes of site").await;
        refused(&["get", "pods"], "the server doesn't have a resource type").await;
        // Before 1.27 nobody could ask.
        if hub.run(&["auth", "--help"]).await.1.contains("whoami") {
            assert!(hub.ok(&["auth", "whoami"]).await.contains("user/admin"));
        }
        let version =
            hub.ok(&["get", "profile", "store-base", "-o", "jsonpath={.metadata.resourceVersion}"]).await;
        hub.ok(&["annotate", "profile", "store-base", "a=b"]).await;
        let stale = format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"spec":{{"priority":1}}}}"#);
        refused(&["patch", "profile", "store-base", "--type=merge", "-p", &stale], "has been modified").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_waits_see_what_happens() {
    for kubectl in binaries().await {
        let hub = Hub::start(&kubectl).await;
        let site = hub.file("site.json", SITE);
        hub.ok(&["apply", "-f", &site]).await;
        let mut watch = hub.command(&["get", "st", "-w", "-o", "name"]);
        let mut watch = watch.stdout(Stdio::piped()).spawn().expect("kubectl starts");
        let mut lines = Lines::of(watch.stdout.take().expect("a pipe"));
        assert_eq!(lines.next().await, "site.driftless.dev/store-17");
        hub.ok(&["label", "site", "store-17", "tier=gold"]).await;
        assert_eq!(lines.next().await, "site.driftless.dev/store-17");
        let waiting = hub.command(&["wait", "--for=delete", "site/store-17", "--timeout=20s"]).spawn();
        let mut waiting = waiting.expect("kubectl starts");
        hub.ok(&["delete", "site", "store-17"]).await;
        assert_eq!(lines.next().await, "site.driftless.dev/store-17");
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting.wait()).await;
        assert!(waited.expect("wait ended").is_ok());
        watch.kill().await.expect("kubectl is there to be killed");
        let (code, said) = {
            hub.ok(&["apply", "-f", &site]).await;
            hub.run(&["wait", "--for=condition=Applied", "site/store-17", "--timeout=1s"]).await
        };
        assert!(code != 0 && said.contains("timed out"), "{said}");
        hub.ok(&["wait", "--for=condition=Resolved", "site/store-17", "--timeout=20s"]).await;
    }
}

/// A hub in this process, and the kubectl that talks to it.
struct Hub {
    kubectl: PathBuf,
    dir: tempfile::TempDir,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Hub {
    async fn start(kubectl: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = HubOptions::new(dir.path());
        options.name = Some("hub-eu-1".to_owned());
        options.listen = ([127, 0, 0, 1], 0).into();
        options.api = ([127, 0, 0, 1], 0).into();
        let running = tokio::spawn(async { run_hub(options).await.expect("the hub runs") });
        let hub = Self { kubectl: kubectl.to_owned(), dir, running };
        let ready = async {
            while hub.run(&["get", "--raw", "/readyz"]).await.0 != 0 {
                assert!(!hub.running.is_finished(), "the hub ended");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("the hub serves");
        hub
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        let _: Value = serde_json::from_str(text).expect("JSON");
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        // kubectl keeps discovery for hours: every hub has a cache of its own.
        command.arg("--kubeconfig").arg(self.dir.path().join("admin.kubeconfig"));
        command.arg("--cache-dir").arg(self.dir.path().join("cache"));
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs kubectl; gives its exit code and what it said.
    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = tokio::time::timeout(Duration::from_secs(60), self.command(arguments).output()).await;
        let Output { status, stdout, stderr } = output.expect("kubectl answers").expect("kubectl runs");
        let said = [stdout, stderr].concat();
        (status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs kubectl, which has to succeed; gives what it printed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments).await;
        assert_eq!(code, 0, "{} {arguments:?}: {said}", self.kubectl.display());
        said
    }
}

/// Lines of a running process.
struct Lines(tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>);

impl Lines {
    fn of(stdout: tokio::process::ChildStdout) -> Self {
        use tokio::io::AsyncBufReadExt as _;
        Self(tokio::io::BufReader::new(stdout).lines())
    }

    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(30), self.0.next_line()).await;
        line.expect("a line in time").expect("a pipe").expect("a line")
    }
}

/// The binaries that are there.
async fn binaries() -> Vec<PathBuf> {
    let named = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let mut found = Vec::new();
    for binary in std::env::split_paths(&named) {
        let version = Command::new(&binary).args(["version", "--client"]).output().await;
        match version {
            Ok(output) if output.status.success() => found.push(binary),
            _ => eprintln!("skipped: {} is not there or does not run", binary.display()),
        }
    }
    found
}
