//! One daemon: started, killed, stopped, frozen, started again.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use super::cli::{Outcome, without_settings};
use super::{DEADLINE, Place, until};

/// A hub or an edge in a process of its own.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    /// The URL of its API; another one after each start.
    pub(crate) api: String,
    /// Its QUIC address; the same after each start.
    pub(crate) quic: String,
    place: Place,
    arguments: Vec<String>,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Node {
    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(name: &str, data_dir: PathBuf, place: Place, arguments: Vec<String>) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            data_dir,
            api: String::new(),
            quic: format!("{}:0", place.address),
            place,
            arguments,
            child: None,
            log: Arc::default(),
        };
        node.restart();
        node
    }

    /// Starts it (again), with its data directory and its QUIC address.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let mut command = command(&self.place, &self.data_dir, &self.arguments, &self.quic);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (ready, came_up) = mpsc::sync_channel(1);
        let stderr = child.stderr.take().unwrap();
        let log = self.log.clone();
        // Reads what the daemon logs for as long as it runs; the failure of a test shows it.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.starts_with("ready ") {
                    let _ = ready.send(line.clone());
                }
                log.lock().unwrap().push(line);
            }
        });
        self.child = Some(child);
        let line = came_up
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| panic!("{} does not come up:\n{}", self.name, self.log()));
        let field = |name: &str| {
            let found = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        (self.api, self.quic) = (field("api"), field("quic"));
    }

    /// Ends it at once, with SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in good order, with SIGTERM, which has to end with 0.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        until("a daemon ends after SIGTERM", || child.try_wait().unwrap().is_some());
        let status = child.wait().unwrap();
        assert!(status.success(), "{}: {status}\n{}", self.name, self.log());
    }

    /// Sends a signal, as in `STOP` and `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process_id().to_string();
        Outcome::of_command(Command::new("kill").args([&format!("-{signal}"), &id]), "").ok();
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// What it logged so far, over all its starts.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} logged:\n{}", self.name, self.log());
        }
        // A process that has ended cannot be killed, which is what is wanted.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a daemon that cannot start; returns what it said.
#[track_caller]
pub(crate) fn failed_start(data_dir: &Path, arguments: &[&str]) -> Outcome {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    // Its standard input ends at once: one that starts after all stops then, with 0.
    Outcome::of_command(&mut command(&Place::default(), data_dir, &arguments, "127.0.0.1:0"), "")
}

fn command(place: &Place, data_dir: &Path, arguments: &[String], listen: &str) -> Command {
    let mut command = place.command();
    without_settings(&mut command);
    let tells = |flag: &str| arguments.iter().any(|argument| argument == flag);
    command.args(arguments).arg("--exit-with-stdin").arg("--data-dir").arg(data_dir);
    if !tells("--listen") {
        command.args(["--listen", listen]);
    }
    if !tells("--api") {
        command.args(["--api", "127.0.0.1:0"]);
    }
    command
}
