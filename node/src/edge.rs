//! What an edge does with its configuration: not yet here.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::daemon::{Active, EdgeOptions, Runtime};

/// Applies the desired configuration.
pub struct Applier(#[expect(dead_code, reason = "keeps the channel open")] watch::Sender<Option<Arc<Value>>>);

impl Applier {
    /// For one site.
    pub fn new(_options: &EdgeOptions, _namespace: &str, _site: &str) -> (Self, Active) {
        let (sender, active) = watch::channel(None);
        (Self(sender), active)
    }

    /// Runs until the node stops.
    #[expect(clippy::unused_async, reason = "a task")]
    pub async fn run(self, _runtime: Runtime) {}
}

/// Reports machines.
#[expect(clippy::unused_async, reason = "a task")]
pub async fn report_inventory(_runtime: Runtime, _options: EdgeOptions) {}
