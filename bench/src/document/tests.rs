use serde_json::json;

use super::*;
use crate::environment::Environment;
use crate::plot::{Bars, Content, Plot, Scale};
use crate::report::{Section, Table};

/// A result as a measurement writes it.
fn measured(dir: &Path, name: &'static str) {
    let mut section = Section::new(name, "one of 10 edges");
    section.figure("update alone", 461.0, "B");
    section.rounds("rate", &[1.0, 2.0, 3.0, 4.0, 5.0].into_iter().collect(), "1/s");
    let mut table = Table::new("bytes by d", vec!["1".to_owned(), "100".to_owned()]);
    table.row("ours", vec![Some(300.0), None]);
    section.table(table);
    let series = vec![Bars { name: "hub".to_owned(), values: vec![Some(1.0)] }];
    section.plot(Plot {
        name: "bars",
        title: "Some bars".to_owned(),
        x: String::new(),
        y: "B".to_owned(),
        y_scale: Scale::Linear,
        content: Content::Bars { groups: vec!["a".to_owned()], series },
    });
    section.write(dir, "driftless-bench wire --edges 10", &Environment::here(dir)).expect("written");
}

fn fill(template: &str) -> anyhow::Result<String> {
    let dir = tempfile::tempdir().expect("a directory");
    measured(dir.path(), "wire");
    filled(template, &read(dir.path()).expect("results"))
}

#[test]
fn text_is_kept_and_figures_are_filled_in() {
    let document =
        fill("An update takes {{value wire: update alone}}.\n\n{{figures wire}}\n").expect("filled");
    assert_eq!(
        document,
        "An update takes 461 B.\n\n| | |\n| --- | --- |\n| Update alone | 461 B |\n| Rate | 3 1/s (1 to 5, 94 %) |\n"
    );
}

#[test]
fn tables_have_a_column_for_every_value() {
    let document = fill("{{tables wire}}").expect("filled");
    assert_eq!(document, "Bytes by d:\n\n| | 1 | 100 |\n| --- | ---: | ---: |\n| ours | 300 | - |");
}

#[test]
fn every_figure_has_its_command_and_its_machine() {
    let document = fill("{{command wire}}. {{environment}}").expect("filled");
    assert!(document.starts_with("`driftless-bench wire --edges 10`, 2"), "{document}");
    assert!(document.contains(" CPUs (") && document.contains("a debug build, so they say"), "{document}");
}

#[test]
fn what_was_not_measured_is_said_to_be_missing() {
    assert_eq!(
        fill("{{figures memory}}, {{value wire: no such}}").expect("filled"),
        "*not measured*, *not measured*"
    );
}

#[test]
fn a_directive_that_means_nothing_is_an_error() {
    for template in ["{{figure wire}}", "{{figures}}", "{{figures wire"] {
        assert!(fill(template).is_err(), "{template}");
    }
}

#[test]
fn plots_are_copied_to_where_the_document_shows_them() {
    let (results, docs) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    measured(results.path(), "compare");
    write(results.path(), docs.path()).expect("written");
    assert!(docs.path().join("figures/compare-bars.svg").exists());
    let document = std::fs::read_to_string(docs.path().join("BENCHMARKS.md")).expect("a document");
    assert!(document.contains("](figures/compare-bars.svg)"), "the template shows its plots");
}

#[test]
fn the_template_fills_from_nothing_but_its_own_directives() {
    let document =
        filled(TEMPLATE, &Results::from([("wire".to_owned(), json!({}))])).expect("a good template");
    assert!(!document.contains("{{"));
}

#[test]
fn an_empty_directory_makes_no_document() {
    let empty = tempfile::tempdir().expect("a directory");
    assert!(write(empty.path(), empty.path()).is_err());
}
