//! `get -w`: what is there, then what changes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::Ask;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, render_answer, render_objects};
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::Resource;
use crate::cli::session::Session;
use crate::cli::table::{TableStyle, render_table};

/// Pause before a watch that the node ended is taken up again.
const RESUME_AFTER: Duration = Duration::from_millis(500);

/// Shows a selection and follows it until the command is stopped.
pub(super) async fn follow(
    session: &Session,
    _resource: Resource,
    path: Query,
    output: &Output,
    style: TableStyle,
) -> Result<(), Failure> {
    let ask = Ask::get(path.as_str()).as_table(output.wants_table());
    let list = session.client.json(ask).await?;
    let mut version = version_of(&list)?;
    let mut screen = Screen { output, style, widest: Vec::new() };
    screen.list(list)?;
    loop {
        let following = path.clone().with("watch", "true").with("allowWatchBookmarks", "true");
        let following = following.with("resourceVersion", &version);
        let ask = Ask::get(following.as_str()).as_table(output.wants_table());
        let mut lines = session.client.lines(ask).await?;
        while let Some(event) = lines.next().await? {
            if event["type"] == "ERROR" {
                let message = event["object"]["message"].as_str().unwrap_or("no reason given");
                return Err(Failure::Refused(format!("the node ended the watch: {message}; start it again")));
            }
            if let Ok(newer) = version_of(&event["object"]) {
                version = newer;
            }
            if event["type"] != "BOOKMARK" {
                screen.event(event)?;
            }
        }
        // An hour is over, or the node restarts.
        tokio::time::sleep(RESUME_AFTER).await;
    }
}

fn version_of(answer: &Value) -> Result<String, Failure> {
    let version = answer["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned).ok_or_else(|| Failure::answer("list", "it has no resourceVersion"))
}

/// What was printed, as far as the next line depends on it.
struct Screen<'a> {
    output: &'a Output,
    style: TableStyle,
    /// Of each column the longest cell so far.
    widest: Vec<String>,
}

impl Screen<'_> {
    fn list(&mut self, list: Value) -> Result<(), Failure> {
        if !self.output.wants_table() {
            for object in list["items"].as_array().into_iter().flatten() {
                self.object(object.clone())?;
            }
            return Ok(());
        }
        self.remember(&list);
        match list["rows"].as_array().is_none_or(Vec::is_empty) {
            // The header comes with the first row.
            true => Ok(()),
            false => {
                let text = render_answer(list, self.output, None, self.style)?;
                self.style.no_headers = true;
                print::out(&text)
            }
        }
    }

    fn event(&mut self, mut event: Value) -> Result<(), Failure> {
        let object = event["object"].take();
        match self.output.wants_table() {
            true => self.row(object),
            false => self.object(object),
        }
    }

    /// Prints rows in the columns that stand already.
    fn row(&mut self, mut table: Value) -> Result<(), Failure> {
        if !self.style.no_headers {
            return self.list(table);
        }
        self.remember(&table);
        if !table["columnDefinitions"].is_array() || table["columnDefinitions"] == json!([]) {
            // Kubernetes sends the columns with the first event alone.
            let column = |_: &String| json!({"name": "", "priority": 0});
            table["columnDefinitions"] = self.widest.iter().map(column).collect();
        }
        let ruler = json!({"cells": self.widest, "object": table["rows"][0]["object"]});
        if let Some(rows) = table["rows"].as_array_mut() {
            rows.insert(0, ruler);
        }
        let text = render_table(&table, self.style).map_err(|error| Failure::Output(error.into()))?;
        print::out(text.split_once('\n').map_or("", |(_, rows)| rows))
    }

    fn object(&self, object: Value) -> Result<(), Failure> {
        let text = render_objects(&[object], true, self.output, self.style.no_headers)?;
        let separator = if *self.output == Output::Yaml { "---\n" } else { "" };
        print::out(&format!("{separator}{text}"))
    }

    fn remember(&mut self, table: &Value) {
        let names = table["columnDefinitions"].as_array().into_iter().flatten().map(|column| &column["name"]);
        let names: Vec<String> = names.map(shown).collect();
        let rows = table["rows"].as_array().into_iter().flatten();
        let rows = rows.map(|row| row["cells"].as_array().into_iter().flatten().map(shown).collect());
        for cells in std::iter::once(names).chain(rows) {
            for (at, cell) in cells.into_iter().enumerate() {
                match self.widest.get_mut(at) {
                    Some(widest) if widest.chars().count() >= cell.chars().count() => {}
                    Some(widest) => *widest = cell,
                    None => self.widest.push(cell),
                }
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
