//! The wall clock, for ages on the screen.

/// Milliseconds since 1970; 0 on a machine whose clock says an earlier year.
pub(super) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
