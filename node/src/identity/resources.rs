//! The resources that enrolment writes, in the shape of the API.

use std::collections::BTreeMap;

use driftless_core::ids::Author;
use driftless_core::name::Kind;
use serde_json::{Value, json};

const API_VERSION: &str = "driftless.dev/v1";

/// A node of a site: its key may write what the site says of itself. Written by the enrolling hub.
pub fn member_resource(namespace: &str, site: &str, node: &str, key: &Author) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Member.name(),
        "metadata": { "name": format!("{site}.{node}"), "namespace": namespace },
        "spec": { "key": key.to_string(), "role": "edge", "node": node },
    })
}

/// A site, as a join creates it. Written by the enrolling hub.
pub fn site_resource(namespace: &str, site: &str, region: &str, labels: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Site.name(),
        "metadata": { "name": site, "namespace": namespace, "labels": labels },
        "spec": { "region": region },
    })
}

/// A hub: its key may write for operators, and issue certificates. Written by the authority.
pub fn hub_resource(name: &str, region: &str, key: &Author) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Hub.name(),
        "metadata": { "name": name },
        "spec": { "key": key.to_string(), "region": region, "issuer": true },
    })
}

/// What a hub says of itself: where it is dialled (`host:port`), its API's URL, its version.
pub fn hub_status_resource(name: &str, addresses: &[String], api: &str, version: &str) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": Kind::HubStatus.name(),
        "metadata": { "name": name },
        "spec": { "addresses": addresses, "api": api, "version": version },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use driftless_core::name::Document;

    #[test]
    fn resources_have_names_of_their_kind() {
        let key = Author([0xab; 32]);
        let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        let resources = [
            (Kind::Member, member_resource("default", "store-17", "a", &key)),
            (Kind::Site, site_resource("default", "store-17", "eu", &labels)),
            (Kind::Hub, hub_resource("eu-1", "eu", &key)),
            (Kind::HubStatus, hub_status_resource("eu-1", &["h:7420".to_owned()], "https://h:7421", "0.1.0")),
        ];
        for (kind, resource) in resources {
            assert_eq!(resource["kind"], kind.name());
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (namespace, name) =
                (text(&resource["metadata"]["namespace"]), text(&resource["metadata"]["name"]));
            assert!(Document::new(kind, &namespace, &name).is_ok(), "{resource}");
        }
        assert_eq!(member_resource("default", "store-17", "a", &key)["spec"]["key"], "ab".repeat(32));
    }
}
