//! Discovery: what kubectl asks before anything else.
//!
//! Legacy, unaggregated objects as `application/json`, which every version of kubectl reads. The core
//! group holds namespaces alone, derived from what exists, so that clients that list them do not fail.

use serde_json::{Value, json};

use super::kinds::{SERVED, Served};
use super::{GROUP, GROUP_VERSION};

/// `GET /api`.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `GET /api/v1`.
pub(super) fn core_resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "v1",
        "resources": [{
            "name": "namespaces",
            "singularName": "namespace",
            "namespaced": false,
            "kind": "Namespace",
            "verbs": ["get", "list"],
            "shortNames": ["ns"],
        }],
    })
}

/// `GET /apis`.
pub(super) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group_fields()]})
}

/// `GET /apis/driftless.dev`.
pub(super) fn group() -> Value {
    let mut group = group_fields();
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

/// `GET /apis/driftless.dev/v1`.
pub(super) fn resources() -> Value {
    let resources: Vec<Value> = SERVED.iter().map(resource).collect();
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": resources,
    })
}

/// `GET /version`. kubectl compares `major` and `minor` with its own and warns beyond one step, so
/// these name the Kubernetes API that we follow; `gitVersion` is ours.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "32",
        "gitVersion": concat!("v1.32.0+driftless-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group_fields() -> Value {
    let version = json!({"groupVersion": GROUP_VERSION, "version": "v1"});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

fn resource(served: &Served) -> Value {
    json!({
        "name": served.plural,
        "singularName": served.singular,
        "namespaced": served.namespaced(),
        "kind": served.kind.name(),
        "verbs": served.verbs(),
        "shortNames": served.short,
        "categories": if served.in_all { vec!["all", "driftless"] } else { vec!["driftless"] },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sites_are_found_by_short_name() {
        let list = resources();
        let site =
            list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == "sites").unwrap();
        assert_eq!(site["shortNames"], json!(["st"]));
        assert_eq!(site["namespaced"], true);
        assert_eq!(list["groupVersion"], "driftless.dev/v1");
    }
}
