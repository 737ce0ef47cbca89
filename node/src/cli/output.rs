//! `-o`, `--sort-by`, `--no-headers`: resources in the form that was asked for.

use std::cmp::Ordering;

use serde::Serialize as _;
use serde_json::{Value, json};

use super::jsonpath::{EvalError, ParseError, Path, Template, text_of};
use super::table::{TableError, TableStyle, align, render_table};
use super::yaml::to_yaml;

/// What `-o` asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Output {
    /// A table.
    #[default]
    Table,
    /// A table with every column.
    Wide,
    /// JSON, indented by four.
    Json,
    /// YAML.
    Yaml,
    /// `kind.group/name`, one a line.
    Name,
    /// A template.
    JsonPath(Template),
    /// A header and a path for each column.
    CustomColumns(Vec<(String, Path)>),
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The form is not known. Nothing was printed.
    #[error(
        "unknown output {name:?}; it is one of wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=HEADER:PATH,…"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A column is not `HEADER:PATH`. Nothing was printed.
    #[error("custom-columns: {column:?} is not HEADER:PATH, as in NAME:.metadata.name")]
    Column {
        /// The column as written.
        column: String,
    },
    /// The expression is not understood. Nothing was printed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The expression cannot be evaluated. Nothing was printed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// No object has the field to sort by. Nothing was printed.
    #[error("--sort-by: no object has {path}")]
    NothingToSortBy {
        /// The path as written.
        path: String,
    },
    /// A resource has no kind or no name. Nothing was printed.
    #[error("an object of the answer has no {what}")]
    Unnamed {
        /// What is missing.
        what: &'static str,
    },
    /// The answer is not a table. Nothing was printed.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Output {
    /// Reads the value of `-o`.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("", None) => Ok(Self::Table),
            ("wide", None) => Ok(Self::Wide),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("name", None) => Ok(Self::Name),
            ("jsonpath", Some(template)) => Ok(Self::JsonPath(Template::parse(template)?)),
            ("custom-columns", Some(columns)) => {
                columns.split(',').map(column).collect::<Result<_, _>>().map(Self::CustomColumns)
            }
            _ => Err(OutputError::Unknown { name: text.to_owned() }),
        }
    }

    /// Whether the server should be asked for a `Table` instead of objects.
    pub fn wants_table(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// The order that `--sort-by` asks for: numbers by value, text so that `store-2` precedes `store-10`.
#[derive(Clone, Debug, PartialEq)]
pub struct SortBy {
    path: Path,
    written: String,
}

impl SortBy {
    /// Reads the value of `--sort-by`.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        Ok(Self { path: Path::parse(text)?, written: text.to_owned() })
    }

    /// Sorts objects, or the rows of a table by their objects; objects without the field come first.
    pub fn sort(&self, items: &mut Vec<Value>) -> Result<(), OutputError> {
        let mut keyed = Vec::with_capacity(items.len());
        for item in items.iter() {
            let object = item.get("cells").and_then(|_| item.get("object")).unwrap_or(item);
            keyed.push(self.path.find(object)?.first().map(|found| (*found).clone()));
        }
        if !items.is_empty() && keyed.iter().all(Option::is_none) {
            return Err(OutputError::NothingToSortBy { path: self.written.clone() });
        }
        let mut paired: Vec<_> = keyed.into_iter().zip(std::mem::take(items)).collect();
        paired.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) => compare(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        });
        items.extend(paired.into_iter().map(|(_, item)| item));
        Ok(())
    }
}

/// Prints objects. `single`: the user named one object, so it stands alone and not in a List.
///
/// A table is printed by [`render_answer`], because its columns are the server's.
pub fn render_objects(
    objects: &[Value],
    single: bool,
    output: &Output,
    no_headers: bool,
) -> Result<String, OutputError> {
    match output {
        Output::Name => objects.iter().map(|object| Ok(resource_name(object)? + "\n")).collect(),
        Output::CustomColumns(columns) => custom_columns(objects, columns, no_headers),
        // Without a server's table only the names are known.
        Output::Table | Output::Wide => {
            let columns = [("NAME".to_owned(), Path::parse(".metadata.name")?)];
            custom_columns(objects, &columns, no_headers)
        }
        Output::Json | Output::Yaml | Output::JsonPath(_) => {
            let list;
            let value = match objects {
                [object] if single => object,
                _ => {
                    list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects});
                    &list
                }
            };
            match output {
                Output::Yaml => Ok(to_yaml(value)),
                Output::JsonPath(template) => Ok(template.render(value)?),
                _ => Ok(pretty_json(value)),
            }
        }
    }
}

/// Prints the server's answer: a `Table`, a list, or one object.
pub fn render_answer(
    answer: Value,
    output: &Output,
    sort_by: Option<&SortBy>,
    style: TableStyle,
) -> Result<String, OutputError> {
    let mut answer = answer;
    if answer["kind"] == "Table" {
        if let (Some(sort_by), Some(rows)) = (sort_by, answer["rows"].as_array_mut()) {
            sort_by.sort(rows)?;
        }
        let style = TableStyle { wide: style.wide || *output == Output::Wide, ..style };
        return Ok(render_table(&answer, style)?);
    }
    let is_list =
        answer["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && answer["items"].is_array();
    if !is_list {
        return render_objects(&[answer], true, output, style.no_headers);
    }
    let item_kind = answer["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let api_version = answer["apiVersion"].clone();
    let Value::Array(mut items) = answer["items"].take() else { unreachable!("it was an array above") };
    for item in &mut items {
        // Items of a typed list leave out what their list says.
        if let (Value::Object(fields), Some(kind)) =
            (item, item_kind.as_deref().filter(|kind| !kind.is_empty()))
        {
            fields.entry("kind").or_insert_with(|| Value::from(kind));
            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
        }
    }
    if let Some(sort_by) = sort_by {
        sort_by.sort(&mut items)?;
    }
    render_objects(&items, false, output, style.no_headers)
}

/// Names a resource as `-o name` does: `site.driftless.dev/store-17`; core kinds have no group.
pub fn resource_name(object: &Value) -> Result<String, OutputError> {
    let text = |value: &Value, what| value.as_str().map(str::to_owned).ok_or(OutputError::Unnamed { what });
    let kind = text(&object["kind"], "kind")?.to_lowercase();
    let name = text(&object["metadata"]["name"], "name")?;
    Ok(match object["apiVersion"].as_str().and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    })
}

/// Writes JSON as kubectl does: keys sorted, indented by four, with a line end.
pub fn pretty_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, format);
    value.serialize(&mut writer).expect("values are serialisable and memory does not fail");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

fn column(text: &str) -> Result<(String, Path), OutputError> {
    match text.split_once(':') {
        Some((header, path)) if !header.trim().is_empty() && !path.trim().is_empty() => {
            Ok((header.trim().to_owned(), Path::parse(path)?))
        }
        _ => Err(OutputError::Column { column: text.to_owned() }),
    }
}

fn custom_columns(
    objects: &[Value],
    columns: &[(String, Path)],
    no_headers: bool,
) -> Result<String, OutputError> {
    let mut lines = Vec::with_capacity(objects.len() + 1);
    if !no_headers {
        lines.push(columns.iter().map(|(header, _)| header.clone()).collect());
    }
    for object in objects {
        let mut line = Vec::with_capacity(columns.len());
        for (_, path) in columns {
            let found = path.find(object)?;
            line.push(match found.as_slice() {
                [] | [Value::Null] => "<none>".to_owned(),
                found => {
                    found.iter().map(|value| text_of(value)).collect::<Vec<_>>().join(",").replace('\n', " ")
                }
            });
        }
        lines.push(line);
    }
    Ok(align(&lines))
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        (Value::String(a), Value::String(b)) => natural(a, b),
        (a, b) => natural(&text_of(a), &text_of(b)),
    }
}

/// Text order in which runs of digits count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (left_run, right_run) = (digits(left), digits(right));
        if !left_run.is_empty() && !right_run.is_empty() {
            let (x, y) = (left_run.trim_start_matches('0'), right_run.trim_start_matches('0'));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if order != Ordering::Equal {
                return order;
            }
            (left, right) = (&left[left_run.len()..], &right[right_run.len()..]);
            continue;
        }
        match (left.chars().next(), right.chars().next()) {
            (Some(x), Some(y)) if x == y => {
                (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
            }
            (x, y) => return x.cmp(&y).then_with(|| a.cmp(b)),
        }
    }
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests;
