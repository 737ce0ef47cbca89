//! What two nodes say to each other above QUIC when a session opens: a hub and an edge that are in sync, and
//! two hubs of which some scopes differ. The engines themselves, their frames carried by hand.

use anyhow::ensure;
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};
use serde_json::json;

use crate::options::Options;
use crate::pair::{Exchange, NAMESPACE, Other, Pair};
use crate::report::{Section, Table};
use crate::workload;

/// Lets nodes greet each other, with few and with many documents and scopes.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let about = "frames that two nodes exchange when a session opens, the events themselves left out";
    let mut section = Section::new("hello", about);
    for profiles in [10, options.size(100, 10_000)] {
        let mut pair = Pair::enrolled(Other::Edge);
        for profile in 0..profiles {
            pair.replicas[0].write(workload::make(profile))?;
        }
        pair.replicas[0].commit()?;
        pair.carry();
        let exchange = pair.exchange()?;
        let [hub, edge] = exchange.said;
        ensure!(hub.event_bytes + edge.event_bytes == 0, "nothing was missing");
        let what = format!("hub and edge in sync, {profiles} profiles");
        section.figure(format!("{what}, to the hub, {} frames", edge.frames), edge.bytes as f64, "B");
        section.figure(format!("{what}, to the edge, {} frames", hub.frames), hub.bytes as f64, "B");
    }
    let (sites, differing) = options.size((100, vec![0, 1, 10]), (10_000, vec![0, 1, 10, 100, 1_000]));
    section.table(hubs(sites, &differing)?);
    Ok(section)
}

/// Two hubs of a fleet with many scopes: one changes something in some of them.
fn hubs(sites: usize, differing: &[usize]) -> anyhow::Result<Table> {
    let mut pair = Pair::hubs_of(sites);
    let columns = ["to one hub, B", "to the other, B", "both ways per scope that differs, B", "round trips"];
    let mut table = Table::new(
        format!("two hubs with {sites} sites, of which k scopes differ"),
        columns.map(str::to_owned).into(),
    );
    for (round, k) in differing.iter().enumerate() {
        let exchange = differ(&mut pair, sites, *k, round)?;
        let said = exchange.said.map(|said| (said.bytes - said.event_bytes) as f64);
        let each = (*k > 0).then(|| said.iter().sum::<f64>() / *k as f64);
        let round_trips = f64::from(exchange.turns_before_events()) / 2.0;
        table.row(format!("k = {k}"), vec![Some(said[1]), Some(said[0]), each, Some(round_trips)]);
    }
    Ok(table)
}

/// One of two hubs that are in sync changes one document of so many sites; then they greet.
fn differ(pair: &mut Pair, sites: usize, scopes: usize, round: usize) -> anyhow::Result<Exchange> {
    for number in 0..scopes {
        // Sites far apart, so that no two share more than they must.
        let site = Document::new(Kind::Site, NAMESPACE, &crate::fleet::site(number * (sites / scopes)))?;
        let labels = json!({"metadata": {"labels": {"wave": round.to_string()}}});
        let change = ChangeRequest::MergePatch(labels);
        pair.replicas[0].write(Write::new(site, change, "fleet/operator/ann", workload::TIME_MS))?;
    }
    pair.replicas[0].commit()?;
    pair.exchange()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_say_more_the_more_scopes_differ_and_nothing_of_events_when_none_does() {
        let mut pair = Pair::hubs_of(30);
        let mut said = |scopes, round| {
            let exchange = differ(&mut pair, 30, scopes, round).expect("hubs that sync");
            exchange
                .said
                .iter()
                .fold((0, 0), |(all, events), said| (all + said.bytes, events + said.event_bytes))
        };
        let (none, one, ten) = (said(0, 1), said(1, 2), said(10, 3));
        assert!(none.1 == 0 && one.1 > 0, "{none:?} {one:?}");
        assert!(none.0 < one.0 - one.1 && one.0 - one.1 < ten.0 - ten.1, "{none:?} {one:?} {ten:?}");
    }
}
