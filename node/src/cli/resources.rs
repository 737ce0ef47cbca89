//! What people call things: `site/store-17`, `profiles`, `st,prof`.

use driftless_core::name::Kind;
use serde_json::Value;

use super::failure::Failure;
use super::query::Query;
use crate::api::{GROUP, GROUP_VERSION, SERVED, Served};

/// A kind of resource, as the API serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resource {
    /// The name in URLs.
    pub(super) plural: &'static str,
    /// The name for one.
    pub(super) singular: &'static str,
    /// The kind.
    pub(super) kind: &'static str,
    /// Whether its resources live in namespaces.
    pub(super) namespaced: bool,
    root: &'static str,
}

/// Namespaces are not documents; they are listed because clients ask.
const NAMESPACES: Resource = Resource {
    plural: "namespaces",
    singular: "namespace",
    kind: "Namespace",
    namespaced: false,
    root: "/api/v1",
};

impl Resource {
    fn of(served: &'static Served) -> Self {
        Self {
            plural: served.plural,
            singular: served.singular,
            kind: served.kind.name(),
            namespaced: served.namespaced(),
            root: "/apis/driftless.dev/v1",
        }
    }

    /// The resource of a kind.
    pub(super) fn of_kind(kind: Kind) -> Self {
        Self::of(Served::by_kind(kind))
    }

    /// Finds a resource by what people call it.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let name = text.to_ascii_lowercase();
        let name = name.strip_suffix(".driftless.dev").unwrap_or(&name);
        let is_called = |served: &&Served| {
            served.plural == name
                || served.singular == name
                || served.short.contains(&name)
                || served.kind.name().eq_ignore_ascii_case(name)
        };
        match name {
            "ns" | "namespace" | "namespaces" => Ok(NAMESPACES),
            _ => SERVED.iter().find(is_called).map(Self::of).ok_or_else(|| {
                Failure::Usage(format!(
                    "the server doesn't have a resource type {text:?}\n`driftless api-resources` lists those that it has"
                ))
            }),
        }
    }

    /// The path of one resource, or of the collection.
    pub(super) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> Query {
        let mut path = Query::new(self.root);
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path = path.segment("namespaces").segment(namespace);
        }
        path = path.segment(self.plural);
        match name {
            Some(name) => path.segment(name),
            None => path,
        }
    }

    /// The API group; empty for the core group.
    pub(super) fn group(&self) -> &'static str {
        if self.kind == NAMESPACES.kind { "" } else { GROUP }
    }

    /// What a command says of one that it changed: `site/store-17`.
    pub(super) fn reported(&self, name: &str) -> String {
        format!("{}/{name}", self.singular)
    }
}

/// What a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Everything of a kind.
    All(Resource),
    /// One resource.
    One(Resource, String),
}

/// Reads `KIND`, `KIND,KIND`, `KIND NAME…`, `KIND/NAME…` or `all`.
pub(super) fn parse_named(arguments: &[String]) -> Result<Vec<Named>, Failure> {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(Failure::Usage("name a kind, as in `sites` or `site/store-17`".to_owned()));
    };
    if arguments.iter().any(|argument| argument.contains('/')) {
        return arguments
            .iter()
            .map(|argument| parse_one(argument))
            .map(|one| one.map(Named::from))
            .collect();
    }
    let kinds: Vec<Resource> = match first.as_str() {
        "all" => SERVED.iter().filter(|served| served.in_all).map(Resource::of).collect(),
        kinds => kinds.split(',').map(Resource::parse).collect::<Result<_, _>>()?,
    };
    if rest.is_empty() {
        return Ok(kinds.into_iter().map(Named::All).collect());
    }
    if first == "all" {
        return Err(Failure::Usage("all and a name do not go together; name the kind".to_owned()));
    }
    let each = |kind: Resource| rest.iter().map(move |name| Named::One(kind, name.clone()));
    Ok(kinds.into_iter().flat_map(each).collect())
}

/// Reads `KIND/NAME`.
pub(super) fn parse_one(argument: &str) -> Result<(Resource, String), Failure> {
    match argument.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            Ok((Resource::parse(kind)?, name.to_owned()))
        }
        _ => Err(Failure::Usage(format!("{argument:?} is not KIND/NAME, as in site/store-17"))),
    }
}

/// Reads `KIND/NAME…` or `KIND NAME…`, at least one, no collection.
pub(super) fn parse_several(arguments: &[String]) -> Result<Vec<(Resource, String)>, Failure> {
    let one = |named| match named {
        Named::One(resource, name) => Ok((resource, name)),
        Named::All(resource) => Err(Failure::Usage(format!(
            "which {}? name one, as in {}/NAME",
            resource.plural, resource.singular
        ))),
    };
    parse_named(arguments)?.into_iter().map(one).collect()
}

/// Reads `KIND/NAME` of one kind alone.
pub(super) fn parse_of_kind(argument: &str, kind: Kind) -> Result<String, Failure> {
    let wanted = Resource::of_kind(kind);
    match argument.split_once('/') {
        None if !argument.is_empty() => Ok(argument.to_owned()),
        _ => match parse_one(argument)? {
            (found, name) if found == wanted => Ok(name),
            (found, _) => Err(Failure::Usage(format!(
                "{argument:?} is a {}; this is about a {}: {}/NAME",
                found.singular, wanted.singular, wanted.singular
            ))),
        },
    }
}

/// What a manifest names: kind, namespace if it says so, and name.
pub(super) fn of_manifest(manifest: &Value) -> Result<(Resource, Option<String>, String), String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let Some(version) = text(&manifest["apiVersion"]) else {
        return Err(format!("apiVersion is missing; write apiVersion: {GROUP_VERSION}"));
    };
    let Some(kind) = text(&manifest["kind"]) else {
        return Err("kind is missing".to_owned());
    };
    if version != GROUP_VERSION {
        return Err(format!("{kind} of apiVersion {version} is not known here; ours is {GROUP_VERSION}"));
    }
    let Some(served) = SERVED.iter().find(|served| served.kind.name() == kind) else {
        let known: Vec<_> =
            SERVED.iter().filter(|served| served.writable).map(|served| served.kind.name()).collect();
        return Err(format!("kind {kind:?} is not known; it is one of {}", known.join(", ")));
    };
    let Some(name) = text(&manifest["metadata"]["name"]).filter(|name| !name.is_empty()) else {
        return Err(format!("metadata.name of this {kind} is missing"));
    };
    Ok((Resource::of(served), text(&manifest["metadata"]["namespace"]), name))
}

impl From<(Resource, String)> for Named {
    fn from((resource, name): (Resource, String)) -> Self {
        Self::One(resource, name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn people_name_things_in_many_ways() {
        let site = Resource::of_kind(Kind::Site);
        for name in ["st", "site", "sites", "Site", "sites.driftless.dev"] {
            assert_eq!(Resource::parse(name).unwrap(), site, "{name}");
        }
        let unknown = Resource::parse("pods").unwrap_err();
        let said = unknown.report().unwrap();
        // The first line is the one that kubectl prints, and scripts look for.
        assert_eq!(said.lines().next(), Some("error: the server doesn't have a resource type \"pods\""));
        assert_eq!(unknown.exit_code(), 1);
        assert_eq!(parse_named(&arguments("st,prof")).unwrap().len(), 2);
        assert_eq!(
            parse_named(&arguments("site a b")).unwrap(),
            [Named::One(site, "a".into()), Named::One(site, "b".into())]
        );
        assert_eq!(parse_named(&arguments("site/a profile/b")).unwrap().len(), 2);
        for wrong in ["site/", "site/a/b", "site/a b", "/a", "all x"] {
            assert!(parse_named(&arguments(wrong)).is_err(), "{wrong}");
        }
        assert!(parse_several(&arguments("sites")).is_err());
    }

    #[test]
    fn paths_have_a_namespace_where_the_kind_has_one() {
        let site = Resource::of_kind(Kind::Site);
        let path = site.path(Some("acme"), Some("store-17"));
        assert_eq!(path.as_str(), "/apis/driftless.dev/v1/namespaces/acme/sites/store-17");
        assert_eq!(site.path(None, None).as_str(), "/apis/driftless.dev/v1/sites");
        let hub = Resource::of_kind(Kind::Hub);
        assert_eq!(hub.path(Some("acme"), Some("eu")).as_str(), "/apis/driftless.dev/v1/hubs/eu");
    }

    #[test]
    fn manifests_say_what_they_are() {
        let good = json!({"apiVersion": "driftless.dev/v1", "kind": "Site", "metadata": {"name": "a"}});
        assert_eq!(of_manifest(&good).unwrap(), (Resource::of_kind(Kind::Site), None, "a".into()));
        for (path, value, says) in [
            ("/apiVersion", json!("v1"), "not known here"),
            ("/apiVersion", json!(null), "apiVersion is missing"),
            ("/kind", json!("Pod"), "one of Profile"),
            ("/kind", json!(null), "kind is missing"),
            ("/metadata/name", json!(""), "metadata.name"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            let said = of_manifest(&bad).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_site_is_not_a_profile() {
        assert_eq!(parse_of_kind("site/a", Kind::Site).unwrap(), "a");
        assert_eq!(parse_of_kind("a", Kind::Site).unwrap(), "a");
        assert!(parse_of_kind("profile/a", Kind::Site).is_err());
        assert!(parse_of_kind("", Kind::Site).is_err());
    }
}
