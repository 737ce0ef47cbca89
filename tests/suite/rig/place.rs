//! Where a node runs: on this machine, or behind a cable in a network namespace of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::driftless;

/// The one network interface, beside loopback, in each of the namespaces.
const INTERFACE: &str = "eth0";

/// Where a node runs, and by which address others reach it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    namespace: Option<String>,
    pub(crate) address: IpAddr,
}

impl Default for Place {
    /// On this machine, on its loopback.
    fn default() -> Self {
        Self { namespace: None, address: Ipv4Addr::LOCALHOST.into() }
    }
}

impl Place {
    /// The binary under test, started there.
    pub(crate) fn command(&self) -> Command {
        let Some(namespace) = &self.namespace else { return Command::new(driftless()) };
        // `ip` becomes the program that it starts, so signals reach the program.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(driftless());
        command
    }
}

/// Two network namespaces and a cable between them; gone when dropped, also by a panic. Whatever runs in them has to
/// end first.
pub(crate) struct Cable {
    ends: [Place; 2],
}

impl Cable {
    /// Lays a cable; where that is not possible, says why not.
    pub(crate) fn lay() -> Result<Self, String> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let end = |end: u8| Place {
            namespace: Some(format!("driftless-{}-{number}-{end}", std::process::id())),
            address: Ipv4Addr::new(10, 77, 0, end).into(),
        };
        // From here on what was made is removed again, however far it comes.
        let cable = Self { ends: [end(1), end(2)] };
        let [one, other] = cable.namespaces();
        ip(&["netns", "add", one])?;
        ip(&["netns", "add", other])?;
        ip(&[
            "link", "add", INTERFACE, "netns", one, "type", "veth", "peer", "name", INTERFACE, "netns", other,
        ])?;
        for (namespace, end) in [one, other].into_iter().zip(&cable.ends) {
            let address = format!("{}/30", end.address);
            ip(&["-n", namespace, "address", "add", &address, "dev", INTERFACE])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", INTERFACE, "up"])?;
        }
        Ok(cable)
    }

    /// The two places that it connects.
    pub(crate) fn ends(&self) -> [Place; 2] {
        self.ends.clone()
    }

    /// Pulls it out, at its first end: from then on not a packet passes.
    pub(crate) fn unplug(&self) {
        self.set("down");
    }

    /// Puts it back.
    pub(crate) fn plug(&self) {
        self.set("up");
    }

    fn set(&self, state: &str) {
        let [one, _] = self.namespaces();
        ip(&["-n", one, "link", "set", INTERFACE, state]).unwrap();
    }

    fn namespaces(&self) -> [&str; 2] {
        self.ends.each_ref().map(|end| end.namespace.as_deref().unwrap_or_default())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in self.namespaces() {
            // One that was never made, because the first could not be, cannot be removed: nothing to tell then.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
        }
    }
}
