//! Files of other systems to our kinds: Helm repositories, Hiera hierarchies, Kubernetes nodes, spreadsheets of
//! stores and machines.
//!
//! The rule that every converter keeps: the same input gives the same resources, and an input that grew gives
//! the old ones again under their old names, so importing daily changes only what changed. One bad entry is
//! reported and counted, and the rest is imported. Resources are handed over one by one; CSV files are read row by
//! row, YAML and JSON document by document. `.zst` is unpacked on the way; what it unpacks to is bounded.

mod helm;
mod hiera;
mod machines;
mod region;
mod sites;
mod version;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use driftless_core::name::{Document, Kind};
use serde_json::{Map, Value, json};

use super::yaml::YamlError;

pub use version::{Version, VersionError, release_suffix};

/// The largest input in bytes, after decompression.
pub const IMPORT_BYTES_MAX: u64 = 256 << 20;
/// How many problems are kept word by word; all are counted.
pub const PROBLEMS_MAX: usize = 1_000;
/// How much of an input [`detect`] looks at, in bytes.
pub const HEAD_BYTES: usize = 64 << 10;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `index.yaml` of a Helm repository: Apps and Releases.
    HelmIndex,
    /// `kubectl get nodes -o json|yaml`, or Node manifests: Machines.
    KubernetesNodes,
    /// `sn,cpu_milli,memory_mib,gpu,model`: Machines.
    MachineCsv,
    /// A row for each store: Sites.
    SiteCsv,
    /// `hiera.yaml` and the data beside it: Profiles, Sites and Overrides.
    Hiera,
}

impl Format {
    /// Every format with its name on the command line and what it is.
    pub const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::HelmIndex, "helm-index", "index.yaml of a Helm repository"),
        (
            Self::KubernetesNodes,
            "nodes",
            "Kubernetes nodes, as kubectl get nodes -o json or yaml prints them",
        ),
        (Self::MachineCsv, "machines-csv", "CSV with the columns sn,cpu_milli,memory_mib,gpu,model"),
        (
            Self::SiteCsv,
            "sites-csv",
            "CSV of stores: a column store_number, clientkey, store_id or id, and city, state or country",
        ),
        (Self::Hiera, "hiera", "hiera.yaml of version 5, with its data beside it and --nodes"),
    ];

    /// Finds a format by its name on the command line.
    pub fn parse(name: &str) -> Result<Self, ImportError> {
        let known = Self::ALL.into_iter().find(|(_, known, _)| *known == name);
        known.map(|(format, ..)| format).ok_or_else(|| ImportError::UnknownFormat {
            path: name.to_owned(),
            why: "no format has this name",
            formats: formats(),
        })
    }
}

/// What the converters are told beside the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace of every resource.
    pub namespace: String,
    /// The site that machines belong to.
    pub site: Option<String>,
    /// What site names begin with, before a dash.
    pub prefix: String,
    /// Labels that every site gets.
    pub labels: BTreeMap<String, String>,
    /// The URL of a Helm repository, which relative addresses in its index start from.
    pub repository: Option<String>,
    /// The region of stores whose row does not tell it.
    pub region: Option<String>,
    /// The column with the region of a store.
    pub region_column: Option<String>,
    /// The column with the number of a store.
    pub id_column: Option<String>,
    /// Of a Hiera hierarchy.
    pub hiera: HieraOptions,
}

/// What belongs to a Hiera hierarchy.
#[derive(Clone, Debug)]
pub struct HieraOptions {
    /// A CSV of the nodes: the name, then a column for each variable that is to be a label.
    pub nodes: Option<String>,
    /// The directory of data, beside the hierarchy; levels with another are left out.
    pub data: String,
}

impl Default for HieraOptions {
    fn default() -> Self {
        Self { nodes: None, data: "data".to_owned() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            site: None,
            prefix: "store".to_owned(),
            labels: BTreeMap::new(),
            repository: None,
            region: None,
            region_column: None,
            id_column: None,
            hiera: HieraOptions::default(),
        }
    }
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the input was.
    pub format: Format,
    /// How many resources of each kind were handed over.
    pub imported: BTreeMap<&'static str, usize>,
    /// Entries that say exactly what an earlier one said.
    pub repeated: usize,
    /// Entries that were not imported.
    pub refused: usize,
    /// Why, for the first [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
}

/// An entry that was not imported, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct Problem {
    /// Which entry.
    pub at: String,
    /// Why, and what to do.
    pub why: String,
}

/// Why an input was not imported. What was handed over before stays handed over; importing again is safe.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read, or its compression is damaged.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file as the user named it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The input is too large.
    #[error("{path} has more than {IMPORT_BYTES_MAX} bytes, unpacked; split it")]
    TooLarge {
        /// The file as the user named it.
        path: String,
    },
    /// Nothing tells what the file is.
    #[error("cannot tell what {path} is: {why}; --format names one of\n{formats}")]
    UnknownFormat {
        /// The file as the user named it.
        path: String,
        /// What was looked for.
        why: &'static str,
        /// The known ones, one a line.
        formats: String,
    },
    /// A YAML or JSON file is not understood.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The file is not what its format says.
    #[error("{path} is no {what}: {why}")]
    NotThat {
        /// The file as the user named it.
        path: String,
        /// What it was taken for.
        what: &'static str,
        /// What is missing.
        why: String,
    },
    /// An option is missing or wrong.
    #[error("{option} {why}")]
    Option {
        /// The flag.
        option: &'static str,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

/// Imports a file, or standard input for `-`, handing each resource to `take`.
pub fn run(
    path: &str,
    format: Option<Format>,
    options: &Options,
    take: &mut dyn FnMut(Value),
) -> Result<Report, ImportError> {
    let mut reader = open(path)?;
    let mut head = Vec::new();
    (&mut reader)
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|source| unreadable(path, source))?;
    let format = match format {
        Some(format) => format,
        None => detect(path, &head)?,
    };
    import(path, Cursor::new(head).chain(reader), format, options, take)
}

/// Imports from a reader of unpacked bytes. `name` is only shown.
pub fn import(
    name: &str,
    reader: impl Read,
    format: Format,
    options: &Options,
    take: &mut dyn FnMut(Value),
) -> Result<Report, ImportError> {
    let report = Report { format, imported: BTreeMap::new(), repeated: 0, refused: 0, problems: Vec::new() };
    let mut import = Import { name, options, report, take };
    import.check_options()?;
    let mut reader = Bounded { reader, left: IMPORT_BYTES_MAX };
    match format {
        Format::HelmIndex => helm::import(&mut import, &read_all(name, &mut reader)?)?,
        Format::KubernetesNodes => machines::import_nodes(&mut import, &read_all(name, &mut reader)?)?,
        Format::MachineCsv => machines::import_csv(&mut import, &mut reader)?,
        Format::SiteCsv => sites::import(&mut import, &mut reader)?,
        Format::Hiera => hiera::import(&mut import, &read_all(name, &mut reader)?)?,
    }
    Ok(import.report)
}

/// Tells what an input is from its first bytes (unpacked) and, if they do not tell, from its name.
pub fn detect(path: &str, head: &[u8]) -> Result<Format, ImportError> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}');
    let unknown = |why| ImportError::UnknownFormat { path: path.to_owned(), why, formats: formats() };
    let name = path.strip_suffix(".zst").unwrap_or(path);
    let first = text.lines().find(|line| !line.trim().is_empty()).ok_or_else(|| unknown("it is empty"))?;
    let columns: Vec<_> = first.split(',').map(|column| column.trim().trim_matches('"')).collect();
    if name.ends_with(".csv") || (columns.len() > 2 && !first.trim_start().starts_with(['{', '['])) {
        if machines::is_header(&columns) {
            return Ok(Format::MachineCsv);
        }
        if sites::is_header(&columns) {
            return Ok(Format::SiteCsv);
        }
        return Err(unknown("its first line has the columns of no known table"));
    }
    let squeezed: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\'' | '"')).collect();
    let mut lines = squeezed
        .lines()
        .flat_map(|line| line.split([',', '{', '[']))
        .map(|part| part.trim_start_matches('-'));
    lines
        .find_map(|part| match part.trim_end_matches(['}', ']']) {
            "entries:" => Some(Format::HelmIndex),
            "hierarchy:" => Some(Format::Hiera),
            "kind:Node" | "kind:NodeList" => Some(Format::KubernetesNodes),
            _ => None,
        })
        .ok_or_else(|| {
            unknown(
                "it has neither the entries of a Helm index, nor a Hiera hierarchy, nor a Kubernetes Node",
            )
        })
}

/// Opens a file, or standard input for `-`, and unpacks it if it is compressed with zstd.
pub fn open(path: &str) -> Result<Box<dyn BufRead>, ImportError> {
    let raw: Box<dyn Read> = match path {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(|source| unreadable(path, source))?),
    };
    let mut raw = BufReader::new(raw);
    let packed = raw.fill_buf().map_err(|source| unreadable(path, source))?.starts_with(&ZSTD_MAGIC);
    if !packed {
        return Ok(Box::new(raw));
    }
    let unpack = || {
        let mut decoder = zstd::Decoder::with_buffer(raw)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(BufReader::new(decoder))
    };
    Ok(Box::new(unpack().map_err(|source| unreadable(path, source))?))
}

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Packing with `--long=27` asks the reader for this window, 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// One import under way.
struct Import<'a> {
    name: &'a str,
    options: &'a Options,
    report: Report,
    take: &'a mut dyn FnMut(Value),
}

impl Import<'_> {
    fn check_options(&self) -> Result<(), ImportError> {
        let wrong = |option, why: String| ImportError::Option { option, why };
        Document::new(Kind::Profile, &self.options.namespace, "x")
            .map_err(|error| wrong("--namespace", error.to_string()))?;
        let needs_site = matches!(self.report.format, Format::KubernetesNodes | Format::MachineCsv);
        match &self.options.site {
            None if needs_site => {
                Err(wrong("--site", "is needed: it names the site whose machines these are".to_owned()))
            }
            Some(site) => {
                Document::new(Kind::Site, &self.options.namespace, site)
                    .map_err(|error| wrong("--site", error.to_string()))?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Checks a name, and says what is wrong with it in the words of its kind.
    fn check_name(&self, kind: Kind, name: &str) -> Result<(), String> {
        Document::new(kind, &self.options.namespace, name).map(drop).map_err(|error| error.to_string())
    }

    fn emit(&mut self, kind: Kind, name: &str, metadata: Map<String, Value>, body: Vec<(&str, Value)>) {
        let mut metadata = metadata;
        metadata.insert("name".to_owned(), Value::from(name));
        metadata.insert("namespace".to_owned(), Value::from(self.options.namespace.as_str()));
        let mut resource =
            json!({"apiVersion": "driftless.dev/v1", "kind": kind.name(), "metadata": metadata});
        for (key, value) in body {
            resource[key] = value;
        }
        *self.report.imported.entry(kind.name()).or_default() += 1;
        (self.take)(resource);
    }

    /// Counts `entries` as not imported.
    fn refuse(&mut self, entries: usize, at: impl Into<String>, why: impl Into<String>) {
        self.report.refused += entries;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem { at: at.into(), why: why.into() });
        }
    }

    fn not_that(&self, what: &'static str, why: impl Into<String>) -> ImportError {
        ImportError::NotThat { path: self.name.to_owned(), what, why: why.into() }
    }

    /// Reads the next row that can be read; false at the end of the table.
    fn next_row(
        &mut self,
        rows: &mut csv::Reader<&mut dyn Read>,
        row: &mut csv::StringRecord,
    ) -> Result<bool, ImportError> {
        loop {
            match rows.read_record(row) {
                Ok(is_there) => return Ok(is_there),
                Err(error) => self.csv_failure(error)?,
            }
        }
    }

    /// Sorts a failure of reading rows: of the file as a whole, or of one row.
    fn csv_failure(&mut self, error: csv::Error) -> Result<(), ImportError> {
        let line = error.position().map_or(0, csv::Position::line);
        let why = error.to_string();
        match error.into_kind() {
            csv::ErrorKind::Io(source) if is_bound(&source) => {
                Err(ImportError::TooLarge { path: self.name.to_owned() })
            }
            csv::ErrorKind::Io(source) => Err(unreadable(self.name, source)),
            _ => {
                self.refuse(1, format!("{}:{line}", self.name), why);
                Ok(())
            }
        }
    }
}

/// A reader that fails, and does not just end, at the bound.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left =
            self.left.checked_sub(read as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(read)
    }
}

fn is_bound(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

fn read_all(name: &str, reader: &mut dyn Read) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if is_bound(&error) => Err(ImportError::TooLarge { path: name.to_owned() }),
        Err(source) => Err(unreadable(name, source)),
    }
}

fn unreadable(path: &str, source: io::Error) -> ImportError {
    ImportError::Unreadable { path: path.to_owned(), source }
}

fn formats() -> String {
    Format::ALL.iter().map(|(_, name, what)| format!("  {name}: {what}")).collect::<Vec<_>>().join("\n")
}

/// A scalar as text; others' files quote some numbers and not others.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
