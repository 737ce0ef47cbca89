//! Manifests for tests that need some and do not care which.

/// What operators write: a profile of all stores.
pub(crate) const PROFILE: &str = "
apiVersion: driftless.dev/v1
kind: Profile
metadata: {name: store-base}
spec:
  priority: 100
  selector: {matchLabels: {class: store}}
  values: {pos: {replicas: 2, image: pos-2.3, limits: {cpu: 1}}}
";
/// What the nodes of site `store-01` write.
pub(crate) const MACHINE: &str = "
apiVersion: driftless.dev/v1
kind: Machine
metadata: {name: store-01.till-1}
spec: {capacity: {cpu: '4'}}
";
/// What operators write at site `store-01`.
pub(crate) const LOCAL_OVERRIDE: &str = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: store-01.local}
spec: {reason: the link is down, permanent: true, values: {pos: {mode: cash-only}}}
";
