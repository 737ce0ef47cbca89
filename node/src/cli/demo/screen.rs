//! What a demo shows when it is up: its nodes, and what to try.

use std::path::Path;

use super::fleet::Fleet;
use super::plan::{Plan, Role};
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::table::align;

/// Shows the nodes, and ten commands.
pub(super) fn show(fleet: &Fleet, plan: &Plan, dir: &Path, is_kept: bool) -> Result<(), Failure> {
    let header = ["NODE", "ROLE", "REGION", "API", "QUIC", "DATA"].map(str::to_owned).to_vec();
    let rows = fleet.nodes().iter().map(|node| {
        let role = match node.planned.role {
            Role::Hub => "hub",
            Role::Edge => "edge",
        };
        vec![
            node.planned.name.clone(),
            role.to_owned(),
            node.planned.region.clone(),
            node.ready.api.clone(),
            node.ready.quic.clone(),
            node.planned.data_dir.display().to_string(),
        ]
    });
    let table = align(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
    print::out(&format!("\n{table}\n{}", commands(plan, dir)))?;
    print::note(match is_kept {
        true => {
            "\nThe fleet is up. Ctrl-C stops every node; the data stays, and the same command resumes it."
        }
        false => "\nThe fleet is up. Ctrl-C stops every node and removes the data (--dir DIR keeps it).",
    });
    Ok(())
}

/// A walk through a change, a partition and its healing, in another terminal.
fn commands(plan: &Plan, dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "driftless".into());
    let mut hubs = plan.hubs().map(|hub| hub.name.as_str());
    let hub = hubs.next().unwrap_or("hub-eu-1");
    let other = hubs.next().unwrap_or(hub);
    let site = plan.edges().next().map_or("store-01", |edge| edge.name.as_str());
    let bin = program.parent().unwrap_or(Path::new(".")).display();
    let patch = |node: &str, value: &str| {
        format!(
            "driftless --data-dir {node} patch profile/store-base -p '{{spec: {{values: {{signage: {{brightness: {value}}}}}}}}}'"
        )
    };
    let steps = [
        format!("driftless --data-dir {hub} get sites"),
        format!("driftless --data-dir {site} resolve site/{site}"),
        format!("driftless --data-dir {site} why site/{site} pos.currency"),
        format!("driftless --data-dir {hub} peers cut --all        # {hub} is alone now"),
        patch(hub, "70"),
        patch(other, "90"),
        format!("driftless --data-dir {hub} peers heal"),
        "driftless verify --all --within 30s --dir .".to_owned(),
        format!("driftless --data-dir {other} conflicts list"),
        format!("driftless --data-dir {site} history profile/store-base"),
    ];
    let numbered: String =
        steps.iter().enumerate().map(|(at, step)| format!("  {:>2}  {step}\n", at + 1)).collect();
    format!(
        "Ten things to try, in another terminal:\n      export PATH=\"{bin}:$PATH\"; cd {}\n{numbered}",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn everything_to_try_is_a_command() {
        let text = commands(&Plan::new(Path::new("/d"), 2, 6), Path::new("/d"));
        let lines: Vec<&str> =
            text.lines().filter_map(|line| Some(line.split_once("  driftless ")?.1)).collect();
        assert_eq!(lines.len(), 10);
        for line in lines {
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut words = vec!["driftless".to_owned()];
            for (at, part) in line.split('\'').enumerate() {
                match at % 2 {
                    0 => words.extend(part.split_whitespace().map(str::to_owned)),
                    _ => words.push(part.to_owned()),
                }
            }
            assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
        }
    }
}
