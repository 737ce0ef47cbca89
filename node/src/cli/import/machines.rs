//! Kubernetes nodes, and tables of them, to Machines.

use std::collections::BTreeSet;
use std::io::Read;

use driftless_core::name::Kind;
use serde_json::{Map, Value, json};

use super::{Import, ImportError, text};
use crate::cli::yaml::{Mode, each_document};

const COLUMNS: [&str; 5] = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];
const MACHINE_TABLE: &str = "table of machines";

pub(super) fn is_header(columns: &[&str]) -> bool {
    COLUMNS.iter().take(3).all(|wanted| columns.contains(wanted))
}

/// Takes Nodes, one a document, in a NodeList or in a List.
pub(super) fn import_nodes(import: &mut Import<'_>, bytes: &[u8]) -> Result<(), ImportError> {
    let mut seen = BTreeSet::new();
    let name = import.name;
    each_document(name, bytes, Mode::Lenient, &mut |document| {
        let at = format!("{name}:{}", document.line);
        let kind = document.value["kind"].as_str().unwrap_or_default();
        match (kind, document.value["items"].as_array()) {
            ("NodeList" | "List", Some(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let kind = item["kind"].as_str().unwrap_or(if kind == "NodeList" { "Node" } else { "" });
                    node(import, &format!("{at} items[{index}]"), kind, item, &mut seen);
                }
            }
            (kind, _) => node(import, &at, kind, &document.value, &mut seen),
        }
    })?;
    Ok(())
}

fn node(import: &mut Import<'_>, at: &str, kind: &str, node: &Value, seen: &mut BTreeSet<String>) {
    if kind != "Node" {
        let found = if kind.is_empty() { "it has no kind" } else { kind };
        return import.refuse(1, at, format!("only Nodes become Machines, found {found:?}"));
    }
    let Some(name) = machine_name(import, at, &text(&node["metadata"]["name"]).unwrap_or_default(), seen)
    else {
        return;
    };
    let (status, labels) = (&node["status"], &node["metadata"]["labels"]);
    let info = &status["nodeInfo"];
    let first = |candidates: &[&Value]| {
        candidates.iter().find_map(|value| text(value).filter(|text| !text.is_empty()))
    };
    let mut spec = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec.insert(key.to_owned(), value);
        }
    };
    put("capacity", texts(&status["capacity"]));
    put("allocatable", texts(&status["allocatable"]));
    put("labels", texts(labels));
    let os =
        first(&[&info["operatingSystem"], &labels["kubernetes.io/os"], &labels["beta.kubernetes.io/os"]]);
    put("os", os.map(Value::from));
    let arch =
        first(&[&info["architecture"], &labels["kubernetes.io/arch"], &labels["beta.kubernetes.io/arch"]]);
    put("arch", arch.map(Value::from));
    put("kubeletVersion", first(&[&info["kubeletVersion"]]).map(Value::from));
    put("kernelVersion", first(&[&info["kernelVersion"]]).map(Value::from));
    put("containerRuntime", first(&[&info["containerRuntimeVersion"]]).map(Value::from));
    put("gpu", gpus(&status["capacity"]).map(Value::from));
    let model = labels
        .as_object()
        .into_iter()
        .flatten()
        .find(|(key, _)| key.ends_with("/gpu.product") || key.ends_with("/gpu-card-model"));
    put("model", model.and_then(|(_, model)| text(model)).map(Value::from));
    let mut body = vec![("spec", Value::Object(spec))];
    if let Some(conditions) = status["conditions"].as_array() {
        body.push(("status", readiness(conditions)));
    }
    import.emit(Kind::Machine, &name, Map::new(), body);
}

/// What changes when a node's state changes, and nothing that changes with every heartbeat.
fn readiness(conditions: &[Value]) -> Value {
    let ready =
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let kept: Vec<Value> = conditions
        .iter()
        .map(|condition| {
            let fields = ["type", "status", "reason", "lastTransitionTime"];
            let fields = fields
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), Value::from(text(&condition[*key])?))));
            Value::Object(fields.collect())
        })
        .collect();
    json!({"ready": ready, "conditions": kept})
}

/// Quantities and labels are text, whoever wrote them without quotes.
fn texts(map: &Value) -> Option<Value> {
    let map = map.as_object()?;
    Some(Value::Object(
        map.iter().filter_map(|(key, value)| Some((key.clone(), Value::from(text(value)?)))).collect(),
    ))
}

fn gpus(capacity: &Value) -> Option<u64> {
    let counted =
        capacity.as_object()?.iter().filter(|(key, _)| key.ends_with("/gpu") || key.ends_with("/gpu-count"));
    let mut counts = counted.filter_map(|(_, value)| text(value)?.parse::<u64>().ok());
    let first = counts.next()?;
    Some(counts.fold(first, u64::saturating_add))
}

/// Reads `sn,cpu_milli,memory_mib,gpu,model`, in any order, row by row.
pub(super) fn import_csv(import: &mut Import<'_>, reader: &mut dyn Read) -> Result<(), ImportError> {
    let mut rows = csv::Reader::from_reader(reader);
    let header = match rows.headers() {
        Ok(header) => header.clone(),
        Err(error) => return import.csv_failure(error),
    };
    let header: Vec<&str> =
        header.iter().map(|column| column.trim_start_matches('\u{feff}').trim()).collect();
    if !is_header(&header) {
        return Err(import.not_that(MACHINE_TABLE, format!("its columns are {header:?}, not {COLUMNS:?}")));
    }
    let column = |wanted: &str| header.iter().position(|column| *column == wanted);
    let mut seen = BTreeSet::new();
    let mut row = csv::StringRecord::new();
    while import.next_row(&mut rows, &mut row)? {
        let at = format!("{}:{}", import.name, row.position().map_or(0, csv::Position::line));
        let field = |wanted: &str| {
            column(wanted).and_then(|column| row.get(column)).map(str::trim).unwrap_or_default()
        };
        let number = |wanted: &str| match field(wanted) {
            "" => Ok(None),
            text => {
                text.parse::<u64>().map(Some).map_err(|_| format!("{wanted} is {text:?}, not a whole number"))
            }
        };
        let numbers = (number("cpu_milli"), number("memory_mib"), number("gpu"));
        let (cpu, memory, gpu) = match numbers {
            (Ok(cpu), Ok(memory), Ok(gpu)) => (cpu, memory, gpu),
            (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
                import.refuse(1, at, why);
                continue;
            }
        };
        let Some(name) = machine_name(import, &at, field("sn"), &mut seen) else { continue };
        let mut capacity = Map::new();
        capacity.extend(cpu.map(|milli| ("cpu".to_owned(), Value::from(cores(milli)))));
        capacity.extend(memory.map(|mib| ("memory".to_owned(), Value::from(format!("{mib}Mi")))));
        let mut spec = json!({"capacity": capacity});
        if let Some(gpu) = gpu {
            spec["gpu"] = Value::from(gpu);
        }
        if !field("model").is_empty() {
            spec["model"] = Value::from(field("model"));
        }
        import.emit(Kind::Machine, &name, Map::new(), vec![("spec", spec)]);
    }
    Ok(())
}

/// Kubernetes' canonical form of a CPU quantity.
fn cores(milli: u64) -> String {
    if milli.is_multiple_of(1_000) { (milli / 1_000).to_string() } else { format!("{milli}m") }
}

/// `<site>.<node>`, once each.
fn machine_name(
    import: &mut Import<'_>,
    at: &str,
    node: &str,
    seen: &mut BTreeSet<String>,
) -> Option<String> {
    let site = import.options.site.as_deref().expect("options are checked before anything is read");
    let name = format!("{site}.{}", node.to_lowercase());
    let checked = match import.check_name(Kind::Machine, &name) {
        Ok(()) if seen.insert(name.clone()) => return Some(name),
        Ok(()) => format!("the machine {node:?} stands here a second time"),
        Err(_) if node.is_empty() => "the machine has no name".to_owned(),
        Err(why) => why,
    };
    import.refuse(1, at, checked);
    None
}
