//! What `-f` names: a file, a directory or standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{INPUT_BYTES_MAX, ParsedDocument, YamlError, parse};

/// How many files one directory argument may stand for.
pub const INPUT_FILES_MAX: usize = 10_000;

/// Why inputs could not be read. Nothing was taken from any of them.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file or directory could not be read. Nothing was taken.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file as the user named it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// An input is larger than a manifest may be. Nothing was taken.
    #[error("{path} has more than {INPUT_BYTES_MAX} bytes; split it")]
    TooLarge {
        /// The file as the user named it.
        path: String,
    },
    /// A directory stands for too many files. Nothing was taken.
    #[error("{path} has more than {INPUT_FILES_MAX} manifests; name its subdirectories one by one")]
    TooManyFiles {
        /// The directory as the user named it.
        path: String,
    },
    /// A directory has nothing that looks like a manifest. Nothing was taken.
    #[error("{path} has no file that ends in .yaml, .yml or .json{hint}")]
    NoFiles {
        /// The directory as the user named it.
        path: String,
        /// What else to try.
        hint: &'static str,
    },
    /// A document is not understood. Nothing was taken.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A document is not an object, so it cannot be a resource. Nothing was taken.
    #[error("{file}:{line}: a resource is a mapping with apiVersion and kind; this is {found}")]
    NotAnObject {
        /// The file as the user named it.
        file: String,
        /// Where the document starts.
        line: usize,
        /// What it is instead.
        found: &'static str,
    },
}

/// Reads every resource of a file, a directory (`.yaml`, `.yml`, `.json`, by name) or, for `-`, standard input.
///
/// Lists are replaced by their items. Directories below are read only when `recursive`; links to
/// directories are not followed.
pub fn read_inputs(path: &str, recursive: bool) -> Result<Vec<ParsedDocument>, InputError> {
    let mut documents = Vec::new();
    if path == "-" {
        let bytes = read_bounded(path, &mut io::stdin().lock())?;
        documents.extend(parse(path, &bytes)?);
    } else {
        for file in files(path, recursive)? {
            let name = file.to_string_lossy().into_owned();
            let mut reader = File::open(&file).map_err(|source| unreadable(&name, source))?;
            documents.extend(parse(&name, &read_bounded(&name, &mut reader)?)?);
        }
    }
    flatten(documents)
}

/// Replaces Lists by their items; an item without apiVersion or kind has its list's.
fn flatten(documents: Vec<ParsedDocument>) -> Result<Vec<ParsedDocument>, InputError> {
    let mut flat = Vec::with_capacity(documents.len());
    for ParsedDocument { value, file, line } in documents {
        let mut map = match value {
            Value::Object(map) => map,
            other => {
                return Err(InputError::NotAnObject { file, line, found: kind_of(&other) });
            }
        };
        let item_kind = map.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
        let item_kind = item_kind.map(str::to_owned);
        match (item_kind, map.remove("items")) {
            (Some(item_kind), Some(Value::Array(items))) => {
                let api_version = map.get("apiVersion").cloned();
                for mut item in items {
                    let Value::Object(fields) = &mut item else {
                        return Err(InputError::NotAnObject { file, line, found: kind_of(&item) });
                    };
                    if !item_kind.is_empty() {
                        if let Some(api_version) = &api_version {
                            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
                        }
                        fields.entry("kind").or_insert_with(|| Value::from(item_kind.as_str()));
                    }
                    flat.push(ParsedDocument { value: item, file: file.clone(), line });
                }
            }
            (_, items) => {
                if let Some(items) = items {
                    map.insert("items".to_owned(), items);
                }
                flat.push(ParsedDocument { value: Value::Object(map), file, line });
            }
        }
    }
    Ok(flat)
}

fn files(path: &str, recursive: bool) -> Result<Vec<PathBuf>, InputError> {
    let root = PathBuf::from(path);
    if !fs::metadata(&root).map_err(|source| unreadable(path, source))?.is_dir() {
        return Ok(vec![root]);
    }
    let mut found = Vec::new();
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        let shown = directory.to_string_lossy().into_owned();
        for entry in fs::read_dir(&directory).map_err(|source| unreadable(&shown, source))? {
            let entry = entry.map_err(|source| unreadable(&shown, source))?;
            let kind = entry.file_type().map_err(|source| unreadable(&shown, source))?;
            if kind.is_dir() && recursive {
                directories.push(entry.path());
            } else if is_manifest(&entry.path()) && entry.path().is_file() {
                found.push(entry.path());
            }
            if found.len() > INPUT_FILES_MAX || directories.len() > INPUT_FILES_MAX {
                return Err(InputError::TooManyFiles { path: path.to_owned() });
            }
        }
    }
    if found.is_empty() {
        let hint = if recursive { "" } else { "; -R looks into its directories too" };
        return Err(InputError::NoFiles { path: path.to_owned(), hint });
    }
    found.sort();
    Ok(found)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read_bounded(path: &str, reader: &mut dyn Read) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    reader
        .take(INPUT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(InputError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn unreadable(path: &str, source: io::Error) -> InputError {
    InputError::Unreadable { path: path.to_owned(), source }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
