//! stub
use super::status_error::StatusError;
use axum::Json;
use serde_json::Value;
pub(super) async fn why() -> Result<Json<Value>, StatusError> {
    Err(StatusError::not_implemented("why"))
}
pub(super) async fn why_not() -> Result<Json<Value>, StatusError> {
    Err(StatusError::not_implemented("why"))
}
