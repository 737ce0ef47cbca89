//! Tables as kubectl prints them, and ages as kubectl writes them.

use serde_json::Value;

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStyle {
    /// Also the columns of priority 1 and more.
    pub wide: bool,
    /// Leave the header line out.
    pub no_headers: bool,
    /// Start with the namespace of each row's object.
    pub with_namespace: bool,
}

/// Why an answer is not a table. Nothing was printed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A part is missing or has another shape. Nothing was printed.
    #[error("the server's table has no {what}; does it speak meta.k8s.io/v1?")]
    Malformed {
        /// What is missing.
        what: &'static str,
    },
}

/// Prints a `Table` of meta.k8s.io/v1.
pub fn render_table(table: &Value, style: TableStyle) -> Result<String, TableError> {
    let malformed = |what| move || TableError::Malformed { what };
    let columns = table["columnDefinitions"].as_array().ok_or_else(malformed("columnDefinitions"))?;
    // A table without rows may carry null.
    let rows = match &table["rows"] {
        Value::Null => &Vec::new(),
        rows => rows.as_array().ok_or_else(malformed("rows"))?,
    };
    let shown: Vec<(usize, &str)> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| style.wide || column["priority"].as_i64().unwrap_or(0) == 0)
        .map(|(at, column)| Ok((at, column["name"].as_str().ok_or_else(malformed("column name"))?)))
        .collect::<Result<_, TableError>>()?;
    let mut lines = Vec::with_capacity(rows.len() + 1);
    if !style.no_headers {
        let namespace = style.with_namespace.then(|| "NAMESPACE".to_owned());
        lines.push(namespace.into_iter().chain(shown.iter().map(|(_, name)| name.to_uppercase())).collect());
    }
    for row in rows {
        let cells = row["cells"].as_array().ok_or_else(malformed("cells in a row"))?;
        let namespace = style.with_namespace.then(|| cell(&row["object"]["metadata"]["namespace"]));
        let shown = shown.iter().map(|(at, _)| cells.get(*at).map_or_else(String::new, cell));
        lines.push(namespace.into_iter().chain(shown).collect());
    }
    Ok(align(&lines))
}

/// Aligns lines of cells: at least three spaces between columns, none behind the last one.
pub fn align(lines: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < line.len() {
                let width = (widths[at] + GAP).max(COLUMN_WIDTH_MIN);
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

/// Prints a duration of seconds as kubectl does: `5s`, `3m12s`, `2d3h`.
///
/// Up to a second into the future is a clock that differs; beyond, the age is `<invalid>`.
pub fn age(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / MINUTE, seconds / HOUR, seconds / DAY);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two_units(minutes, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two_units(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two_units(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two_units(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

/// A cell on one line, without anything that would steer a terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.as_str(),
        other => return other.to_string(),
    };
    let line = text.split(['\n', '\r', '\u{c}']).next().unwrap_or_default();
    let mut shown: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

const GAP: usize = 3;
const COLUMN_WIDTH_MIN: usize = 6;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn sites() -> Value {
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "columnDefinitions": [{"name": "Name"}, {"name": "Last-Seen", "priority": 0}, {"name": "N"}, {"name": "Hash", "priority": 1}],
        "rows": [
            {"cells": ["store-01", "5s", 3, "9f2c"], "object": {"metadata": {"namespace": "acme"}}},
            {"cells": ["Zürich", "2d3h\nmore", null, null], "object": {"metadata": {"namespace": "default"}}},
            {"cells": ["\u{1b}[2Jx", true]},
        ]})
    }

    #[test]
    fn a_table_has_three_spaces_between_columns_and_none_at_the_end() {
        let style = TableStyle::default();
        assert_eq!(
            render_table(&sites(), style).unwrap(),
            "NAME       LAST-SEEN   N\n\
             store-01   5s          3\n\
             Zürich     2d3h...     \n\
             \u{fffd}[2Jx      true        \n"
        );
        let narrow = render_table(&sites(), TableStyle { no_headers: true, ..style }).unwrap();
        assert!(narrow.starts_with("store-01   5s        3\n"), "{narrow}");
        let wide = TableStyle { wide: true, with_namespace: true, ..style };
        assert!(render_table(&sites(), wide).unwrap().starts_with(
            "NAMESPACE   NAME       LAST-SEEN   N     HASH\n\
             acme        store-01   5s          3     9f2c\n"
        ));
    }

    #[test]
    fn a_table_without_its_parts_is_an_error() {
        let render = |table: &Value| render_table(table, TableStyle::default());
        assert_eq!(render(&json!({})), Err(TableError::Malformed { what: "columnDefinitions" }));
        assert_eq!(
            render(&json!({"columnDefinitions": [{}]})),
            Err(TableError::Malformed { what: "column name" })
        );
        let no_cells = json!({"columnDefinitions": [], "rows": [1]});
        assert_eq!(render(&no_cells), Err(TableError::Malformed { what: "cells in a row" }));
        assert_eq!(render(&json!({"columnDefinitions": [{"name": "a"}], "rows": null})).unwrap(), "A\n");
    }

    #[test]
    fn ages_read_as_in_kubectl() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_400, "3h10m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (183_600, "2d3h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_072_000 + 86_400, "2y1d"),
            (252_288_000, "8y"),
            (i64::MAX, "292471208677y"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(age(seconds), shown, "{seconds}");
        }
    }
}
