//! The kinds of `driftless.dev/v1`: which fields a resource may have, and what they may hold.
//!
//! Validation here is the API check: what one node accepts from a client now. It is pure, reads no clock,
//! and never decides whether an event is a member of the set. Bad input of any size or depth gives a list
//! of errors, each naming a field.

pub mod kinds;
pub mod names;
pub mod selector;
pub mod shape;
pub mod specs;
pub mod values;

use std::fmt;

use serde_json::Value;

pub use kinds::{Kind, kinds};
pub use selector::{Selector, Unmatched};
pub use specs::{AppSpec, OverrideSpec, ProfileSpec, ReleaseSpec, SiteSpec};

use self::shape::{Errors, Shape};
use self::values::{DEPTH_MAX, DOCUMENT_BYTES_MAX};

/// The apiVersion of every kind.
pub const API_VERSION: &str = "driftless.dev/v1";

/// One thing that is wrong with a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The dotted path, as `spec.selector.matchExpressions[0].operator`; empty for the whole resource.
    pub field: String,
    /// What is wrong and, where known, what to write instead.
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

impl std::error::Error for FieldError {}

/// Checks a resource of a kind, under the name that it carries.
///
/// Returns every error found, at most [`shape::ERRORS_MAX`], in the order of the document. apiVersion, kind
/// and name may be absent, because a stored resource has them in its document's name; where they are there
/// they must fit. `status` and the metadata that servers set are tolerated, and of the system's own kinds
/// only the limits are checked. Linear in the size of the resource.
pub fn validate(kind: &str, resource: &Value) -> Result<(), Vec<FieldError>> {
    let name = resource.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    validate_named(kind, name, resource)
}

/// Checks a resource as [`validate`] does, under the name of its document.
///
/// The name takes part in the rules: it decides whether an override has a selector, and which app a release
/// belongs to. An empty name leaves those rules out.
pub fn validate_named(kind: &str, name: &str, resource: &Value) -> Result<(), Vec<FieldError>> {
    let entry = kinds::by_name(kind);
    if entry.is_none() && !kinds::SYSTEM_KINDS.contains(&kind) {
        let hint = shape::did_you_mean(kind, kinds().iter().map(|kind| kind.kind));
        return Err(vec![FieldError::new("kind", format!("unknown kind {kind:?}{hint}"))]);
    }
    if values::depth_exceeds(resource, DEPTH_MAX) {
        return Err(vec![FieldError::new("", format!("nested deeper than {DEPTH_MAX} levels"))]);
    }
    let bytes = values::json_bytes(resource);
    if bytes > DOCUMENT_BYTES_MAX {
        let message = format!("{bytes} bytes; the limit of a document is {DOCUMENT_BYTES_MAX}");
        return Err(vec![FieldError::new("", message)]);
    }
    let Some(kind) = entry else { return Ok(()) };
    let mut errors = Errors::default();
    shape::check(resource, &Shape::Fields(kind.fields), "", &mut errors);
    check_identity(kind, name, resource, &mut errors);
    specs::check_meaning(kind.kind, name, resource, &mut errors);
    errors.into_result()
}

/// Checks what makes the resource this kind's: apiVersion, kind, and the rule for its name.
fn check_identity(kind: &Kind, name: &str, resource: &Value, errors: &mut Errors) {
    let text = |pointer| resource.pointer(pointer).and_then(Value::as_str);
    if let Some(found) = text("/apiVersion").filter(|found| *found != API_VERSION) {
        errors.push("apiVersion", format!("{found:?} is not {API_VERSION}"));
    }
    if let Some(found) = text("/kind").filter(|found| *found != kind.kind) {
        errors.push("kind", format!("{found:?} is not {}", kind.kind));
    }
    if text("/metadata/name").is_some_and(|found| found != name) {
        errors.push("metadata.name", format!("is not {name:?}, the name of the document"));
    }
    let is_named = !name.is_empty() || text("/metadata/name").is_some();
    if let (true, Err(reason)) = (is_named, (kind.name_rule)(name)) {
        errors.push("metadata.name", reason);
    }
}

#[cfg(test)]
mod tests;
