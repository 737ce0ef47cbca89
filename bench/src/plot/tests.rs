use super::*;

fn lines() -> Plot {
    Plot {
        name: "bytes",
        title: "Bytes & round trips".to_owned(),
        x: "events missing on each side".to_owned(),
        y: "bytes".to_owned(),
        y_scale: Scale::Log,
        content: Content::Lines {
            x_scale: Scale::Log,
            series: vec![
                Line { name: "one".to_owned(), points: vec![(1.0, 10.0), (100.0, 1_000.0)] },
                Line { name: "<two>".to_owned(), points: vec![(1.0, 1_000.0), (100.0, 10.0)] },
            ],
        },
    }
}

fn bars(values: Vec<Option<f64>>) -> Plot {
    Plot {
        name: "memory",
        title: "Memory".to_owned(),
        x: String::new(),
        y: "KiB".to_owned(),
        y_scale: Scale::Linear,
        content: Content::Bars {
            groups: (0..values.len()).map(|number| format!("group {number}")).collect(),
            series: vec![Bars { name: "hub".to_owned(), values }],
        },
    }
}

#[test]
fn a_figure_has_a_title_axes_with_units_and_a_legend() {
    let svg = lines().svg();
    for text in ["Bytes &amp; round trips", "events missing on each side", ">bytes<", "&lt;two&gt;", ">1k<"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    assert_eq!(svg.matches("<polyline").count(), 2);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn the_larger_value_is_drawn_higher() {
    let svg = lines().svg();
    let points: Vec<Vec<f64>> = svg
        .lines()
        .filter_map(|line| line.strip_prefix("<polyline points=\"")?.split('"').next())
        .map(|points| points.split([' ', ',']).map(|number| number.parse().expect("a number")).collect())
        .collect();
    let [rising, falling] = &points[..] else { panic!("two lines in {svg}") };
    assert!(rising[1] > rising[3] && falling[1] < falling[3], "SVG counts from the top: {points:?}");
    assert!(rising[0] < rising[2], "from left to right: {points:?}");
}

#[test]
fn a_bar_is_as_high_as_its_value_and_missing_where_there_is_none() {
    let svg = bars(vec![Some(50.0), None, Some(100.0)]).svg();
    let heights: Vec<f64> = svg
        .lines()
        .filter(|line| line.starts_with("<rect x="))
        .filter_map(|line| line.split("height=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    let [half, whole] = heights[..] else { panic!("two bars in {svg}") };
    assert!((half * 2.0 - whole).abs() < 0.2, "{heights:?}");
}

#[test]
fn one_series_needs_no_legend() {
    assert!(!bars(vec![Some(1.0)]).svg().contains(">hub<"));
}

#[test]
fn programs_read_what_people_see() {
    let json = lines().json();
    assert_eq!(json["content"]["lines"][0]["points"][1], serde_json::json!([100.0, 1_000.0]));
    assert_eq!(bars(vec![None]).json()["content"]["bars"][0]["values"], serde_json::json!([null]));
}
