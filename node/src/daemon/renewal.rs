//! Renewal of certificates before they expire, without an event and without an operator.

use std::path::PathBuf;
use std::time::Duration;

use super::Runtime;
use super::clock::now_seconds;
use super::joining;
use crate::identity::IdentityError;

/// How often the age of the certificate is looked at.
const LOOK: Duration = Duration::from_secs(3_600);

/// Renews this node's certificates whenever less than a third of their lifetime is left.
pub(super) async fn keep_certificates(runtime: Runtime, data_dir: PathBuf) {
    loop {
        if runtime.identity().needs_renewal(now_seconds()) {
            match renew(&runtime, &data_dir).await {
                Ok(()) => tracing::info!("certificates renewed"),
                Err(error) => {
                    tracing::warn!(%error, "certificates were not renewed; trying again in an hour")
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn renew(
    runtime: &Runtime,
    data_dir: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut identity = (*runtime.identity()).clone();
    if identity.is_hub() {
        let hosts = identity.hosts.clone();
        identity.renew_hub(&hosts, now_seconds())?;
    } else {
        joining::renew(runtime, &mut identity).await?;
    }
    identity.save(data_dir).map_err(|error: IdentityError| error)?;
    runtime.set_identity(identity);
    Ok(())
}
