//! The API without our own client: what any program gets to see.

use std::process::Command;

use super::{Fleet, Outcome};

impl Fleet {
    /// Sends a request to a node's API with curl, as its operator; status and body, or `None` without curl.
    pub(crate) fn curl(&self, node: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        Command::new("curl").arg("--version").output().ok()?;
        let identity = self.path(node).join("identity");
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-w", "\n%{http_code}"]);
        command.args(["-H", "Content-Type: application/json", "-H", "Expect:"]);
        command.arg("--cacert").arg(identity.join("root.pem"));
        command.arg("--cert").arg(identity.join("operator.pem"));
        command.arg("--key").arg(identity.join("operator.key"));
        if method != "GET" {
            command.args(["--data-binary", "@-"]);
        }
        command.arg(format!("{}{path}", self.url(node)));
        let outcome = Outcome::of_command(&mut command, body);
        let (text, status) = outcome.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{outcome:?}"));
        Some((status.parse().unwrap_or_else(|_| panic!("{outcome:?}")), text.to_owned()))
    }
}
