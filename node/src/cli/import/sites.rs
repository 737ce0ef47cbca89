//! Tables of store locations to Sites.

use std::collections::BTreeSet;
use std::io::Read;

use driftless_core::name::Kind;
use serde_json::{Map, Value, json};

use super::region::{is_canadian_postal_code, us_state};
use super::{Import, ImportError};

const ID_COLUMNS: [&str; 7] = ["store_number", "clientkey", "store_id", "store_no", "site_id", "site", "id"];
const PLACE_COLUMNS: [&str; 4] = ["city", "state", "country", "region"];
/// What is kept word by word, in annotations. Columns that change with every scrape are not among them.
const KEPT_COLUMNS: [&str; 13] = [
    "name",
    "brand",
    "address",
    "street",
    "location",
    "city",
    "zip",
    "state",
    "country",
    "timezone",
    "latitude",
    "longitude",
    "phone",
];
const ANNOTATION_PREFIX: &str = "import.driftless.dev/";
const LABEL_BYTES_MAX: usize = 63;
const SITE_TABLE: &str = "table of stores";

pub(super) fn is_header(columns: &[&str]) -> bool {
    columns.iter().any(|column| ID_COLUMNS.contains(&normal(column).as_str()))
        && columns.iter().any(|column| PLACE_COLUMNS.contains(&normal(column).as_str()))
}

/// Takes a Site from each row. Its name is `<prefix>-<number>`, so it stays the same in every later table.
pub(super) fn import(import: &mut Import<'_>, reader: &mut dyn Read) -> Result<(), ImportError> {
    let mut rows = csv::Reader::from_reader(reader);
    let header = match rows.headers() {
        Ok(header) => Header { columns: header.iter().map(normal).collect() },
        Err(error) => return import.csv_failure(error),
    };
    let id = id_column(import, &header)?;
    let region = match &import.options.region_column {
        Some(name) => Some(header.column(name).ok_or_else(|| ImportError::Option {
            option: "--region-column",
            why: format!("names {name:?}, the table has {}", header.columns.join(", ")),
        })?),
        None => None,
    };
    let mut seen = BTreeSet::new();
    let mut row = csv::StringRecord::new();
    while import.next_row(&mut rows, &mut row)? {
        let place = Place::new(import, &header, &row, region);
        let site = site_name(import, row.get(id).unwrap_or_default().trim(), &mut seen);
        match (site, place) {
            (Ok(name), Ok(place)) => {
                let mut metadata = Map::new();
                metadata.insert("labels".to_owned(), place.labels(import));
                metadata.insert("annotations".to_owned(), annotations(&header, &row));
                let spec = json!({"region": place.region});
                import.emit(Kind::Site, &name, metadata, vec![("spec", spec)]);
            }
            (Err(why), _) | (_, Err(why)) => {
                let line = row.position().map_or(0, csv::Position::line);
                import.refuse(1, format!("{}:{line}", import.name), why);
            }
        }
    }
    Ok(())
}

struct Header {
    columns: Vec<String>,
}

impl Header {
    fn column(&self, wanted: &str) -> Option<usize> {
        let wanted = normal(wanted);
        self.columns.iter().position(|column| *column == wanted)
    }

    fn field<'r>(&self, row: &'r csv::StringRecord, wanted: &str) -> &'r str {
        self.column(wanted).and_then(|column| row.get(column)).map(str::trim).unwrap_or_default()
    }
}

/// Where a store is.
struct Place {
    region: String,
    country: String,
    state: String,
    city: String,
}

impl Place {
    fn new(
        import: &Import<'_>,
        header: &Header,
        row: &csv::StringRecord,
        region: Option<usize>,
    ) -> Result<Self, String> {
        let field = |name| header.field(row, name);
        let state =
            Some(field("state")).filter(|state| !state.is_empty()).unwrap_or_else(|| field("state_name"));
        let us_state = us_state(state).or_else(|| us_state(field("state_name")));
        // A table without countries is one country's, but for what the address itself tells.
        let country = match field("country") {
            "" if us_state.is_some() => "us".to_owned(),
            "" if is_canadian_postal_code(field("zip")) => "ca".to_owned(),
            country if ["US", "USA", "UNITED STATES"].contains(&country.to_uppercase().as_str()) => {
                "us".to_owned()
            }
            country => label_value(country),
        };
        let named =
            region.and_then(|column| row.get(column)).map(label_value).filter(|region| !region.is_empty());
        let derived = match (country.as_str(), us_state) {
            ("us", Some((_, region))) => region.to_owned(),
            (country, _) => country.to_owned(),
        };
        let derived = Some(derived).filter(|region| !region.is_empty());
        let region = named.or(derived).or_else(|| import.options.region.clone());
        let region = region.ok_or("nothing tells its region; --region or --region-column would")?;
        let state = match us_state {
            Some((code, _)) if country == "us" => label_value(code),
            _ => label_value(state),
        };
        Ok(Self { region, country, state, city: label_value(field("city")) })
    }

    fn labels(&self, import: &Import<'_>) -> Value {
        let own = [
            ("region", &self.region),
            ("country", &self.country),
            ("state", &self.state),
            ("city", &self.city),
        ];
        let mut labels: Map<String, Value> = own
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), Value::from(value.as_str())))
            .collect();
        labels.extend(
            import.options.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))),
        );
        Value::Object(labels)
    }
}

fn id_column(import: &Import<'_>, header: &Header) -> Result<usize, ImportError> {
    let wanted: Vec<&str> = match &import.options.id_column {
        Some(name) => vec![name],
        None => ID_COLUMNS.to_vec(),
    };
    wanted.iter().find_map(|name| header.column(name)).ok_or_else(|| {
        let columns = header.columns.join(", ");
        match &import.options.id_column {
            Some(name) => ImportError::Option {
                option: "--id-column",
                why: format!("names {name:?}, the table has {columns}"),
            },
            None => import.not_that(
                SITE_TABLE,
                format!("none of its columns ({columns}) is {}; --id-column names it", ID_COLUMNS.join(", ")),
            ),
        }
    })
}

/// The name is the number as written, in lower case: nothing is dropped from it, or two stores could meet in one name.
fn site_name(import: &Import<'_>, id: &str, seen: &mut BTreeSet<String>) -> Result<String, String> {
    if id.is_empty() {
        return Err("the store has no number".to_owned());
    }
    let name = match import.options.prefix.as_str() {
        "" => id.to_lowercase(),
        prefix => format!("{prefix}-{}", id.to_lowercase()),
    };
    import.check_name(Kind::Site, &name)?;
    if !seen.insert(name.clone()) {
        return Err(format!("the store {id:?} stands here a second time"));
    }
    Ok(name)
}

fn annotations(header: &Header, row: &csv::StringRecord) -> Value {
    let kept = KEPT_COLUMNS.iter().map(|column| (column, header.field(row, column)));
    let kept = kept.filter(|(_, text)| !text.is_empty());
    Value::Object(
        kept.map(|(column, text)| (format!("{ANNOTATION_PREFIX}{column}"), Value::from(text))).collect(),
    )
}

/// A label value that says the same: lower case, one dash for everything that a label cannot carry.
fn label_value(text: &str) -> String {
    let mut value = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            value.push(c);
        } else if !value.ends_with('-') && !value.is_empty() {
            value.push('-');
        }
    }
    value.truncate(LABEL_BYTES_MAX);
    value.trim_end_matches('-').to_owned()
}

fn normal(column: &str) -> String {
    column.trim_start_matches('\u{feff}').trim().to_lowercase().replace([' ', '-'], "_")
}
