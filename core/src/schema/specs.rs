//! Typed forms of specs, and the rules that span several fields.
//!
//! The typed forms borrow from the resource and are what resolution reads. They fail with the first error
//! and look only at the fields that they return; `validate` is what lists everything.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::FieldError;
use super::names::{owner_of, type_name};
use super::selector::Selector;
use super::shape::Errors;

/// The lifecycle of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Being written; selects nothing.
    Draft,
    /// In effect.
    Published,
    /// Kept for history; selects nothing.
    Archived,
}

/// The parts of a Profile that resolution reads.
#[derive(Debug, Clone)]
pub struct ProfileSpec<'a> {
    /// 0 to 1000; higher wins.
    pub priority: u16,
    /// Only published profiles are selected.
    pub lifecycle: Lifecycle,
    /// The pinned revision, or empty.
    pub pinned: &'a str,
    /// Which sites it applies to.
    pub selector: Selector<'a>,
    /// The configuration tree, if any.
    pub values: Option<&'a Map<String, Value>>,
    /// Variable declarations as written.
    pub variables: &'a [Value],
    /// Keyed lists as written: a path and the key of its elements.
    pub list_keys: Vec<(&'a str, &'a str)>,
    /// Enforced paths as written.
    pub enforced: Vec<&'a str>,
    /// App entries as written.
    pub apps: &'a [Value],
}

/// The parts of an Override that resolution reads.
#[derive(Debug, Clone)]
pub struct OverrideSpec<'a> {
    /// Among overrides of one layer; 0 unless given.
    pub priority: u16,
    /// Which sites it applies to; overrides of one site have none.
    pub selector: Option<Selector<'a>>,
    /// What differs.
    pub values: Option<&'a Map<String, Value>>,
    /// Values of variables.
    pub vars: Option<&'a Map<String, Value>>,
    /// App entries as written.
    pub apps: &'a [Value],
    /// Whether its expiry has been recorded for the present `expiresAt`.
    pub is_expired: bool,
}

/// The parts of a Site that resolution reads.
#[derive(Debug, Clone)]
pub struct SiteSpec<'a> {
    /// The region, or empty.
    pub region: &'a str,
    /// Values of variables.
    pub vars: Option<&'a Map<String, Value>>,
    /// The paths that a local override may change; `None` when local overrides are not allowed.
    pub local_paths: Option<Vec<&'a str>>,
}

/// The parts of an App that resolution reads.
#[derive(Debug, Clone)]
pub struct AppSpec<'a> {
    /// The version that each channel stands for.
    pub channels: BTreeMap<&'a str, &'a str>,
}

/// The parts of a Release that resolution reads.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseSpec<'a> {
    /// The app that this is a release of.
    pub app: &'a str,
    /// The version.
    pub version: &'a str,
    /// The digest.
    pub digest: &'a str,
    /// Must not be run any more.
    pub is_yanked: bool,
    /// Should not be chosen any more.
    pub is_deprecated: bool,
}

impl<'a> ProfileSpec<'a> {
    /// Reads the lifecycle alone, which is all that most unselected profiles need.
    pub fn read_lifecycle(spec: &Value) -> Result<Lifecycle, FieldError> {
        match spec.get("lifecycle").map(|value| value.as_str().ok_or(value)) {
            None | Some(Ok("Published")) => Ok(Lifecycle::Published),
            Some(Ok("Draft")) => Ok(Lifecycle::Draft),
            Some(Ok("Archived")) => Ok(Lifecycle::Archived),
            Some(Ok(other)) => Err(FieldError::new("spec.lifecycle", format!("unknown lifecycle {other:?}"))),
            Some(Err(value)) => Err(wrong("spec.lifecycle", "string", value)),
        }
    }

    /// Reads the selector alone.
    pub fn read_selector(spec: &'a Value) -> Result<Selector<'a>, FieldError> {
        let value = spec.get("selector").ok_or_else(|| FieldError::new("spec.selector", "is required"))?;
        Selector::read(value, "spec.selector")
    }

    /// Reads the spec.
    pub fn read(spec: &'a Value) -> Result<Self, FieldError> {
        let map = object(spec)?;
        let mut list_keys = Vec::new();
        for (path, key) in map_at(map, "listKeys")?.into_iter().flatten() {
            let key =
                key.as_str().ok_or_else(|| wrong(&format!("spec.listKeys[{path:?}]"), "string", key))?;
            list_keys.push((path.as_str(), key));
        }
        Ok(Self {
            priority: priority(map)?.ok_or_else(|| FieldError::new("spec.priority", "is required"))?,
            lifecycle: Self::read_lifecycle(spec)?,
            pinned: text_at(map, "revision")?.unwrap_or_default(),
            selector: Self::read_selector(spec)?,
            values: map_at(map, "values")?,
            variables: list_at(map, "variables")?,
            list_keys,
            enforced: texts(list_at(map, "enforced")?, "spec.enforced")?,
            apps: list_at(map, "apps")?,
        })
    }
}

impl<'a> OverrideSpec<'a> {
    /// Reads the selector alone, which an override of many sites has.
    pub fn read_selector(spec: &'a Value) -> Result<Selector<'a>, FieldError> {
        ProfileSpec::read_selector(spec)
    }

    /// Reads the spec.
    pub fn read(spec: &'a Value) -> Result<Self, FieldError> {
        let map = object(spec)?;
        let expires_at = text_at(map, "expiresAt")?;
        Ok(Self {
            priority: priority(map)?.unwrap_or(0),
            selector: map.get("selector").map(|value| Selector::read(value, "spec.selector")).transpose()?,
            values: map_at(map, "values")?,
            vars: map_at(map, "vars")?,
            apps: list_at(map, "apps")?,
            is_expired: expires_at.is_some() && text_at(map, "expired")? == expires_at,
        })
    }
}

impl<'a> SiteSpec<'a> {
    /// Reads the spec; a site without one has the defaults.
    pub fn read(spec: &'a Value) -> Result<Self, FieldError> {
        if spec.is_null() {
            return Ok(Self { region: "", vars: None, local_paths: None });
        }
        let map = object(spec)?;
        let local_paths = match map_at(map, "localOverride")? {
            Some(local) if local.get("allow") == Some(&Value::Bool(true)) => {
                let paths = match local.get("paths") {
                    None => &[][..],
                    Some(Value::Array(items)) => items,
                    Some(other) => return Err(wrong("spec.localOverride.paths", "list", other)),
                };
                Some(texts(paths, "spec.localOverride.paths")?)
            }
            _ => None,
        };
        let region = text_at(map, "region")?.unwrap_or_default();
        Ok(Self { region, vars: map_at(map, "vars")?, local_paths })
    }
}

impl<'a> AppSpec<'a> {
    /// Reads the spec.
    pub fn read(spec: &'a Value) -> Result<Self, FieldError> {
        let mut channels = BTreeMap::new();
        for (name, version) in map_at(object(spec)?, "channels")?.into_iter().flatten() {
            let version =
                version.as_str().ok_or_else(|| wrong(&format!("spec.channels.{name}"), "string", version))?;
            channels.insert(name.as_str(), version);
        }
        Ok(Self { channels })
    }
}

impl<'a> ReleaseSpec<'a> {
    /// Reads the spec.
    pub fn read(spec: &'a Value) -> Result<Self, FieldError> {
        let map = object(spec)?;
        let needed = |name: &str| {
            text_at(map, name)?.ok_or_else(|| FieldError::new(format!("spec.{name}"), "is required"))
        };
        let flag = |name: &str| map.get(name) == Some(&Value::Bool(true));
        Ok(Self {
            app: needed("app")?,
            version: needed("version")?,
            digest: needed("digest")?,
            is_yanked: flag("yanked"),
            is_deprecated: flag("deprecated"),
        })
    }
}

/// Checks the rules that span several fields of a resource.
pub(super) fn check_meaning(kind: &str, name: &str, resource: &Value, errors: &mut Errors) {
    let Some(spec) = resource.get("spec").and_then(Value::as_object) else { return };
    match kind {
        "Profile" => {
            check_apps(spec, errors);
            check_variables(spec, errors);
        }
        "Override" => {
            check_apps(spec, errors);
            check_override(spec, name, errors);
        }
        "Site" => {
            let local = spec.get("localOverride").and_then(Value::as_object);
            if local.is_some_and(|l| l.get("allow") == Some(&Value::Bool(true)) && !l.contains_key("paths")) {
                errors.push(
                    "spec.localOverride.paths",
                    "is required where allow is true: name what may change",
                );
            }
        }
        "Release" => {
            let app = spec.get("app").and_then(Value::as_str);
            if let (Some((owner, _)), Some(app)) = (owner_of(name), app)
                && owner != app
            {
                errors
                    .push("spec.app", format!("{app:?} is not {owner:?}, the app that metadata.name names"));
            }
        }
        _ => {}
    }
}

fn check_override(spec: &Map<String, Value>, name: &str, errors: &mut Errors) {
    let permanent = spec.get("permanent") == Some(&Value::Bool(true));
    match (spec.contains_key("expiresAt"), permanent) {
        (false, false) => {
            errors.push("spec.expiresAt", "is required: say when the exception ends, or permanent: true");
        }
        (true, true) => errors.push("spec.permanent", "contradicts expiresAt; keep one of them"),
        _ => {}
    }
    match (owner_of(name), spec.contains_key("selector")) {
        (Some((site, _)), true) => errors.push(
            "spec.selector",
            format!("contradicts the name: {name:?} is an override of site {site:?} alone; use a name without a dot"),
        ),
        (None, false) if !name.is_empty() => errors.push(
            "spec.selector",
            "is required: a name without a dot is an override of many sites; `<site>.<name>` is one site's",
        ),
        _ => {}
    }
    if !["values", "vars", "apps"].iter().any(|key| spec.contains_key(*key)) {
        errors.push("spec.values", "is required, or vars, or apps: an override changes something");
    }
}

fn check_apps(spec: &Map<String, Value>, errors: &mut Errors) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, entry) in spec.get("apps").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let at = format!("spec.apps[{index}]");
        if let Some(app) = entry.get("app").and_then(Value::as_str)
            && let Some(first) = seen.insert(app, index)
        {
            errors.push(format!("{at}.app"), format!("{app:?} is there already, as spec.apps[{first}]"));
        }
        let has = |name: &str| entry.get(name).is_some();
        match (has("channel"), has("version"), has("$delete")) {
            (true, false, false) | (false, true, false) | (false, false, true) => {}
            _ if !entry.is_object() => {}
            _ => errors.push(at.clone(), "takes one of channel, version and $delete: true"),
        }
        if entry.get("$delete") == Some(&Value::Bool(false)) {
            errors.push(format!("{at}.$delete"), "$delete takes true and nothing else");
        }
    }
}

fn check_variables(spec: &Map<String, Value>, errors: &mut Errors) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let declarations = spec.get("variables").and_then(Value::as_array);
    for (index, declaration) in declarations.into_iter().flatten().enumerate() {
        let at = format!("spec.variables[{index}]");
        if let Some(name) = declaration.get("name").and_then(Value::as_str)
            && let Some(first) = seen.insert(name, index)
        {
            errors.push(
                format!("{at}.name"),
                format!("{name:?} is declared already, as spec.variables[{first}]"),
            );
        }
        if let Err(error) = crate::resolve::variables::Declaration::read(declaration, &at) {
            errors.push(error.field, error.message);
        }
    }
}

/// Checks an RFC 3339 time.
pub(super) fn check_time(text: &str) -> Result<(), String> {
    text.parse::<jiff::Timestamp>()
        .map(|_| ())
        .map_err(|_| format!("{text:?} is not an RFC 3339 time such as 2027-01-01T00:00:00Z"))
}

/// Checks a duration in Go style: `1h30m`, `250ms`.
pub(super) fn check_duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 7] = ["ns", "us", "µs", "ms", "s", "m", "h"];
    let wrong = || format!("{text:?} is not a duration such as 90s, 1h30m or 250ms");
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if number.parse::<f64>().is_err() {
            return Err(wrong());
        }
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        if !UNITS.contains(&unit) {
            return Err(wrong());
        }
        rest = next;
    }
    Ok(())
}

/// Checks `sha256:<64 hex digits>`.
pub(super) fn check_digest(text: &str) -> Result<(), String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(());
    }
    Err(format!("{text:?} is not sha256: and 64 lowercase hex digits"))
}

/// Checks a count, or a percentage as text.
pub(super) fn check_portion(value: &Value) -> Result<(), String> {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
    if value.as_u64().is_some() || percent.is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 100)) {
        return Ok(());
    }
    Err(format!("expected a count or a percentage such as 25%, found {value}"))
}

fn object(spec: &Value) -> Result<&Map<String, Value>, FieldError> {
    spec.as_object().ok_or_else(|| wrong("spec", "map", spec))
}

fn priority(map: &Map<String, Value>) -> Result<Option<u16>, FieldError> {
    let Some(value) = map.get("priority") else { return Ok(None) };
    let found = value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= 1000);
    found.map(Some).ok_or_else(|| FieldError::new("spec.priority", format!("{value} is outside 0 to 1000")))
}

fn map_at<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, FieldError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(other) => Err(wrong(&format!("spec.{key}"), "map", other)),
    }
}

fn list_at<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], FieldError> {
    match map.get(key) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong(&format!("spec.{key}"), "list", other)),
    }
}

fn text_at<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, FieldError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(&format!("spec.{key}"), "string", other)),
    }
}

fn texts<'a>(items: &'a [Value], field: &str) -> Result<Vec<&'a str>, FieldError> {
    items.iter().map(|item| item.as_str().ok_or_else(|| wrong(field, "list of strings", item))).collect()
}

fn wrong(field: &str, expected: &str, found: &Value) -> FieldError {
    FieldError::new(field, format!("expected a {expected}, found a {}", type_name(found)))
}
