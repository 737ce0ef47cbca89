//! Manifests: YAML and JSON in, values out, and back.
//!
//! The reader is stricter than YAML on purpose. `country: no` is the text "no" to YAML 1.2 and `false` to
//! kubectl; `mode: 0640` is 640 to one and 416 to the other. What two readers would understand differently is
//! refused with the place and the quoted form, never guessed. Bounds hold while reading, so that a few hundred
//! bytes of aliases cannot become gigabytes. [`Mode::Lenient`] is for files that others wrote and that we only
//! import: there such a scalar is data and stays the text as written.

mod emit;
mod inputs;
mod json;
mod lines;
mod scalar;
mod tree;

use serde_json::Value;

pub use emit::to_yaml;
pub use inputs::{INPUT_FILES_MAX, InputError, read_inputs};
pub use lines::{Line, lines};

/// The largest input in bytes, after decompression.
pub const INPUT_BYTES_MAX: usize = 32 << 20;
/// How deep mappings and sequences may nest.
pub const DEPTH_MAX: usize = 64;
/// How many nodes one input may write out.
pub const NODES_MAX: usize = 4_000_000;
/// How many nodes all aliases of one input may add.
pub const ALIAS_NODES_MAX: usize = 100_000;
/// How many bytes of text all aliases of one input may add.
pub const ALIAS_BYTES_MAX: usize = INPUT_BYTES_MAX;

/// One document of an input, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedDocument {
    /// What the document says.
    pub value: Value,
    /// The file as the user named it; `-` is standard input.
    pub file: String,
    /// The line of the document's first node, from 1.
    pub line: usize,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A manifest for us: what readers disagree about is refused.
    Strict,
    /// Somebody else's file: what is not plainly null, a truth value or an integer stays text as written.
    Lenient,
}

/// Why an input was not understood. Nothing was taken from it.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The text is not YAML or JSON at all. Nothing was taken from the file.
    #[error("{at}: not valid YAML: {detail}")]
    Syntax {
        /// File, line and column.
        at: Place,
        /// What the parser expected.
        detail: String,
    },
    /// The text is not JSON. Nothing was taken from the file.
    #[error("{at}: not valid JSON: {detail}")]
    Json {
        /// File, line and column.
        at: Place,
        /// What the parser expected.
        detail: String,
    },
    /// Readers disagree about the scalar. Nothing was taken from the file.
    #[error("{at}: {text} is read {readings}; write {quoted} for the text{or_else}")]
    Ambiguous {
        /// File, line and column.
        at: Place,
        /// The scalar as written.
        text: String,
        /// How readers differ.
        readings: &'static str,
        /// The quoted form.
        quoted: String,
        /// What else could be written.
        or_else: &'static str,
    },
    /// A key stands twice in one mapping. Nothing was taken from the file.
    #[error("{at}: the key {key:?} stands twice in one mapping; remove one of them")]
    DuplicateKey {
        /// File, line and column.
        at: Place,
        /// The key.
        key: String,
    },
    /// A key is not a string. Nothing was taken from the file.
    #[error("{at}: a key must be a string, this one is {found}; {hint}")]
    KeyNotString {
        /// File, line and column.
        at: Place,
        /// What it is instead.
        found: &'static str,
        /// What to write.
        hint: String,
    },
    /// A number that cannot be kept. Nothing was taken from the file.
    #[error("{at}: the number {text} {why}; quote it to keep it as text")]
    Number {
        /// File, line and column.
        at: Place,
        /// The number as written.
        text: String,
        /// Why it cannot be kept.
        why: &'static str,
    },
    /// A tag that is not of the core schema, or does not fit its node. Nothing was taken from the file.
    #[error("{at}: the tag {tag} {why}; remove it")]
    Tag {
        /// File, line and column.
        at: Place,
        /// The tag.
        tag: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// An alias or a merge key that cannot be resolved. Nothing was taken from the file.
    #[error("{at}: {why}")]
    Alias {
        /// File, line and column.
        at: Place,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
    /// A bound was reached. Nothing was taken from the file.
    #[error("{at}: more than {max} {what}; split the input")]
    TooMuch {
        /// File, line and column.
        at: Place,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The bytes are not text. Nothing was taken from the file.
    #[error("{at}: {why}; save the file as UTF-8 text")]
    NotText {
        /// File, line and column.
        at: Place,
        /// What is wrong with the bytes.
        why: &'static str,
    },
}

/// A place in an input, printed as `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}")]
pub struct Place {
    /// The file as the user named it.
    pub file: Box<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Reads every document of a manifest, strictly. Empty documents are left out.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<ParsedDocument>, YamlError> {
    let mut documents = Vec::new();
    each_document(file, bytes, Mode::Strict, &mut |document| documents.push(document))?;
    Ok(documents)
}

/// Hands every document of an input to `take` as soon as it is read; one document is in memory at a time.
///
/// What was handed over before an error stays handed over.
pub fn each_document(
    file: &str,
    bytes: &[u8],
    mode: Mode,
    take: &mut dyn FnMut(ParsedDocument),
) -> Result<(), YamlError> {
    let text = text_of(file, bytes, mode)?;
    if looks_like_json(file, text) {
        match json::each_document(file, text, take) {
            Ok(()) => return Ok(()),
            // A flow mapping `{a: b}` is YAML and not JSON. Documents are handed over one by one, so only a
            // text whose first document already is no JSON may be tried again.
            Err(json::Failure { error, handed: 0, syntax: true }) if !is_json_file(file) => {
                return tree::each_document(file, text, mode, take).map_err(|yaml| match yaml {
                    YamlError::Syntax { .. } => *error,
                    other => other,
                });
            }
            Err(json::Failure { error, .. }) => return Err(*error),
        }
    }
    tree::each_document(file, text, mode, take)
}

fn text_of<'a>(file: &str, bytes: &'a [u8], mode: Mode) -> Result<&'a str, YamlError> {
    let start = Place { file: file.into(), line: 1, column: 1 };
    if mode == Mode::Strict && bytes.len() > INPUT_BYTES_MAX {
        return Err(YamlError::TooMuch { at: start, what: "bytes", max: INPUT_BYTES_MAX });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| YamlError::NotText {
        at: place_of(file, &bytes[..error.valid_up_to()]),
        why: "a byte that is not UTF-8",
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.find('\0') {
        Some(at) => {
            Err(YamlError::NotText { at: place_of(file, &text.as_bytes()[..at]), why: "a NUL character" })
        }
        None => Ok(text),
    }
}

/// The place right behind `before`, which must be valid UTF-8.
fn place_of(file: &str, before: &[u8]) -> Place {
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Place {
        file: file.into(),
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
    }
}

fn is_json_file(file: &str) -> bool {
    file.ends_with(".json") || file.ends_with(".json.zst")
}

fn looks_like_json(file: &str, text: &str) -> bool {
    is_json_file(file) || text.trim_start().starts_with(['{', '['])
}

#[cfg(test)]
mod tests;
