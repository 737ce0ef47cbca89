//! What is joined into a resource when it is served: a site's status, a profile's reach.
//!
//! stub
use super::Api;
use super::status_error::StatusError;
use driftless_core::replica::View;
use serde_json::Value;
#[derive(Default)]
pub(super) struct Cache {}
pub(super) async fn join(_api: &Api, _views: &[View], _resources: &mut [Value]) -> Result<(), StatusError> {
    Ok(())
}
