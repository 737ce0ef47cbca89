//! Validation of resources by kind.

/// What is wrong with a field of a resource.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Dotted path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Checks a resource against its kind.
pub fn validate(_kind: &str, _resource: &serde_json::Value) -> Result<(), Vec<FieldError>> {
    Ok(())
}
