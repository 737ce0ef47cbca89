//! What an inventory command prints, as Machines.
//!
//! Taken are a Kubernetes Node, NodeList, or List of Nodes, as `kubectl get nodes -o json` (or `-o yaml`)
//! prints them; and, in JSON, a Machine, or a list of Machines as an array or with `items`. A Machine may
//! be named `<site>.<name>` or just `<name>`. What changes with every heartbeat is left out.

use std::collections::BTreeMap;

use driftless_core::name::{Document, Kind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Place;
use crate::api::GROUP_VERSION;
use crate::cli::import::{self, Format, ImportError, Options};

/// Most machines of one site.
pub(super) const MACHINES_MAX: usize = 5_000;

/// Why what a command printed is no inventory. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// It printed nothing.
    #[error("the command printed nothing; print an empty list, [], if there are no machines")]
    Nothing,
    /// Its JSON is broken.
    #[error("the command printed broken JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The Nodes are not understood.
    #[error(transparent)]
    Nodes(#[from] ImportError),
    /// It printed something else.
    #[error("the command printed {0:?}, neither Machines nor Kubernetes Nodes; kubectl needs -o json")]
    Other(String),
    /// There are too many.
    #[error("the command printed {0} machines; a site may have {MACHINES_MAX}")]
    TooMany(usize),
}

/// What was printed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Printed {
    /// Machines by name, as resources.
    pub(super) machines: BTreeMap<String, Value>,
    /// How many entries are no machines.
    pub(super) refused: usize,
    /// What is wrong with the first of them.
    pub(super) problem: Option<String>,
}

/// Reads what a command printed.
pub(super) fn read(place: &Place, bytes: &[u8]) -> Result<Printed, MachinesError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace()).ok_or(MachinesError::Nothing)?;
    let printed = match first {
        b'[' => read_machines(place, serde_json::from_slice(bytes)?),
        b'{' => match peek(bytes)? {
            Shape::Nodes => read_nodes(place, bytes)?,
            Shape::Machine => read_machines(place, vec![serde_json::from_slice(bytes)?]),
            Shape::Machines => {
                let list: List = serde_json::from_slice(bytes)?;
                read_machines(place, list.items)
            }
        },
        _ if is_yaml_of_nodes(bytes) => read_nodes(place, bytes)?,
        _ => return Err(MachinesError::Other(String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into())),
    };
    match printed.machines.len() {
        count if count > MACHINES_MAX => Err(MachinesError::TooMany(count)),
        _ => Ok(printed),
    }
}

enum Shape {
    Nodes,
    Machine,
    Machines,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

fn is_yaml_of_nodes(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(import::HEAD_BYTES)];
    matches!(import::detect("-", head), Ok(Format::KubernetesNodes))
}

/// Enough of a document to tell what it is; the rest is not kept.
#[derive(Deserialize)]
struct Peek {
    kind: Option<String>,
    items: Option<Vec<PeekItem>>,
}

#[derive(Deserialize)]
struct PeekItem {
    kind: Option<String>,
}

fn peek(bytes: &[u8]) -> Result<Shape, MachinesError> {
    let Peek { kind, items } = serde_json::from_slice(bytes)?;
    let item = items.as_ref().and_then(|items| items.first()).and_then(|item| item.kind.as_deref());
    match (kind.as_deref(), &items, item) {
        (Some("Node"), None, _) | (Some("NodeList"), Some(_), _) => Ok(Shape::Nodes),
        (Some("List"), Some(_), Some("Node")) => Ok(Shape::Nodes),
        (Some("Machine"), None, _) => Ok(Shape::Machine),
        (Some("List" | "MachineList") | None, Some(_), None | Some("Machine")) => Ok(Shape::Machines),
        (kind, ..) => {
            Err(MachinesError::Other(item.or(kind).unwrap_or("a document without a kind").to_owned()))
        }
    }
}

fn read_nodes(place: &Place, bytes: &[u8]) -> Result<Printed, MachinesError> {
    let options =
        Options { namespace: place.namespace.clone(), site: Some(place.site.clone()), ..Options::default() };
    let mut printed = Printed::default();
    let report =
        import::import("the command's output", bytes, Format::KubernetesNodes, &options, &mut |machine| {
            let name = machine["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            printed.machines.insert(name, machine);
        })?;
    printed.refused = report.refused;
    printed.problem = report.problems.first().map(ToString::to_string);
    Ok(printed)
}

fn read_machines(place: &Place, values: Vec<Value>) -> Printed {
    let mut printed = Printed::default();
    for (index, value) in values.into_iter().enumerate() {
        let taken = machine(place, value).and_then(|(name, machine)| {
            match printed.machines.insert(name.clone(), machine) {
                None => Ok(()),
                Some(_) => Err(format!("the machine {name} stands here a second time")),
            }
        });
        if let Err(why) = taken {
            printed.refused += 1;
            printed.problem.get_or_insert_with(|| format!("machine {index}: {why}"));
        }
    }
    printed
}

/// One Machine, under its full name, with nothing but what it says of itself.
pub(super) fn machine(place: &Place, mut value: Value) -> Result<(String, Value), String> {
    if value.get("kind").is_some_and(|kind| kind != "Machine") {
        return Err(format!("its kind is {}, not Machine", value["kind"]));
    }
    let metadata = &value["metadata"];
    let given = metadata["name"].as_str().ok_or("it has no metadata.name")?;
    if metadata.get("namespace").is_some_and(|namespace| *namespace != place.namespace) {
        return Err(format!(
            "it is in the namespace {}, the site in {}",
            metadata["namespace"], place.namespace
        ));
    }
    let prefix = format!("{}.", place.site);
    let name = match given.starts_with(&prefix) {
        true => given.to_owned(),
        false => format!("{prefix}{}", given.to_lowercase()),
    };
    Document::new(Kind::Machine, &place.namespace, &name).map_err(|error| error.to_string())?;
    let mut resource = json!({
        "apiVersion": GROUP_VERSION, "kind": "Machine",
        "metadata": {"name": name, "namespace": place.namespace},
    });
    for field in ["labels", "annotations"] {
        if let Some(map) = value["metadata"].get_mut(field) {
            resource["metadata"][field] = map.take();
        }
    }
    for field in ["spec", "status"] {
        if let Some(part) = value.get_mut(field) {
            drop_heartbeats(part);
            resource[field] = part.take();
        }
    }
    Ok((name, resource))
}

fn drop_heartbeats(part: &mut Value) {
    let conditions = part.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        Map::remove(condition, "lastHeartbeatTime");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place() -> Place {
        Place { namespace: "acme".into(), site: "store-17".into(), node: "n1".into() }
    }

    fn names(text: &str) -> Vec<String> {
        read(&place(), text.as_bytes()).unwrap().machines.into_keys().collect()
    }

    #[test]
    fn machines_come_alone_in_an_array_or_in_a_list() {
        let one = r#"{"kind":"Machine","metadata":{"name":"till-1"},"spec":{"os":"linux"}}"#;
        assert_eq!(names(one), ["store-17.till-1"]);
        assert_eq!(names(&format!("[{one}]")), ["store-17.till-1"]);
        assert_eq!(names(&format!(r#"{{"kind":"MachineList","items":[{one}]}}"#)), ["store-17.till-1"]);
        assert_eq!(names(r#"{"items":[{"metadata":{"name":"store-17.till-2"}}]}"#), ["store-17.till-2"]);
        assert!(names("[]").is_empty());
        assert!(names(r#"{"kind":"List","items":[]}"#).is_empty());
    }

    #[test]
    fn nodes_of_a_cluster_become_machines_without_their_heartbeats() {
        let list = |heartbeat: &str| {
            json!({"kind": "List", "items": [{"kind": "Node", "metadata": {"name": "Worker-1"},
                "status": {"capacity": {"cpu": "4"}, "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}]}}]})
            .to_string()
        };
        assert_eq!(names(&list("a")), ["store-17.worker-1"]);
        let read = |text: String| read(&place(), text.as_bytes()).unwrap();
        assert_eq!(read(list("2026-11-22T14:00:00Z")), read(list("2026-11-22T14:00:10Z")));
    }

    #[test]
    fn real_nodes_are_read_as_they_are_printed() {
        let Some(data) = crate::testing::shared_data() else { return };
        let file = data.join("inventory/alibaba-openb_node_list_gpu_node.k8s-nodes.yaml.zst");
        let mut yaml = Vec::new();
        let path = file.to_str().unwrap();
        std::io::Read::read_to_end(&mut import::open(path).unwrap(), &mut yaml).unwrap();
        let printed = read(&place(), &yaml).unwrap();
        assert_eq!((printed.machines.len(), printed.refused), (1_213, 0));
    }

    #[test]
    fn bad_entries_are_counted_and_the_rest_is_taken() {
        let text = r#"[{"metadata":{"name":"ok"}}, {"metadata":{"name":"a b"}}, {"metadata":{"name":"OK"}},
            {"kind":"Pod","metadata":{"name":"x"}}, {"metadata":{"name":"y","namespace":"other"}}, 3]"#;
        let printed = read(&place(), text.as_bytes()).unwrap();
        assert_eq!(printed.machines.len(), 1);
        assert_eq!(printed.refused, 5);
        assert!(printed.problem.unwrap().starts_with("machine 1:"));
    }

    #[test]
    fn what_is_no_inventory_is_refused_as_a_whole() {
        for text in [
            "",
            "  \n",
            "no resources found",
            "3",
            r#"{"kind":"PodList","items":[{"kind":"Pod"}]}"#,
            "{}",
            "[1",
        ] {
            assert!(read(&place(), text.as_bytes()).is_err(), "{text}");
        }
    }
}
