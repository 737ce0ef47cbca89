//! stub
use super::status_error::StatusError;
use axum::Json;
use serde_json::Value;
pub(super) async fn resolve() -> Result<Json<Value>, StatusError> {
    Err(StatusError::not_implemented("resolve"))
}
