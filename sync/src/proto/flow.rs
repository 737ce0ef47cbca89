//! Flow: how much may be on its way to a peer, how large frames are, and when the next may leave.
//!
//! The frames of a session are delivered in order, so a change of policy waits for all that was handed
//! to the transport before it. The window therefore follows the link: it grows while acknowledgements
//! come quickly and shrinks when they take longer than about a second, so that what is under way is
//! what the link carries in about that time, acknowledgements of the peer's disk included. What is
//! behind it waits in the log, where the more urgent scope goes first. A cap on the rate of a link is a
//! bucket of bytes that fills with time.
//!
//! Times decide when and how much is sent, never how it is compressed.

use super::codec::Prefix;
use super::limits::Limits;

/// Longest time that the last byte of a full window should need above the link's own latency.
const FLIGHT_MS_MAX: u64 = 1_000;
/// Up to this much above the link's latency, a full window grows.
const FLIGHT_MS_GROW: u64 = 500;
/// No link is taken to have a latency above this.
const LATENCY_MS_MAX: u64 = 750;
/// How much a link with a capped rate may send at once after a rest, as time at that rate.
const BURST_MS: u64 = 250;
/// Smallest stretch of log that is read for one frame, in bytes.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// What compression is taken to make of the first frame: one byte of so many.
const RATIO_FIRST: usize = 4;
const RATIO_MAX: usize = 32;

/// The flow to one peer.
#[derive(Debug)]
pub(crate) struct Flow {
    window_bytes: usize,
    /// Shortest time between a frame and its acknowledgement.
    flight_ms_min: u64,
    /// Frames before this one were sent with a larger window.
    shrunk_before: u64,
    /// Bytes of log in a byte on the wire, of the last large frame.
    ratio: usize,
    /// Thousandths of a byte that may be sent at a capped rate, below zero while a frame is paid off.
    allowance_milli: i64,
    allowance_at_ms: u64,
    /// When a rate that is used up lets the peer have its turn again, while it waits for that.
    pub(crate) paced_until_ms: Option<u64>,
    /// What the frames of each direction build on.
    pub(crate) sent: Prefix,
    pub(crate) received: Prefix,
}

impl Flow {
    pub(crate) fn new(limits: &Limits, now_ms: u64) -> Self {
        Self {
            window_bytes: limits.window_bytes_first.min(limits.window_bytes),
            flight_ms_min: LATENCY_MS_MAX,
            shrunk_before: 0,
            ratio: RATIO_FIRST,
            allowance_milli: limits.rate_bytes_per_second.map_or(0, burst_milli),
            allowance_at_ms: now_ms,
            paced_until_ms: None,
            sent: Prefix::default(),
            received: Prefix::default(),
        }
    }

    /// Most bytes of events that may be under way; one frame may reach beyond.
    pub(crate) fn window_bytes(&self, limits: &Limits) -> usize {
        let carried = limits.rate_bytes_per_second.map_or(usize::MAX, |rate| rate as usize);
        let floor = limits.window_bytes_min.min(limits.window_bytes);
        self.window_bytes.min(carried).clamp(floor, limits.window_bytes)
    }

    /// About as many bytes of log are read for one frame: what makes half a window, in a few sizes, so
    /// that peers at one place read the same.
    pub(crate) fn chunk_bytes(&self, limits: &Limits) -> usize {
        let bytes = self.window_bytes(limits) / 2 * self.ratio;
        let bytes = bytes.max(CHUNK_BYTES_MIN);
        if bytes >= limits.chunk_bytes { limits.chunk_bytes } else { 1 << bytes.ilog2() }
    }

    /// Notes how a frame compressed.
    pub(crate) fn compressed(&mut self, log_bytes: usize, frame_bytes: usize) {
        if log_bytes >= CHUNK_BYTES_MIN / 2 {
            self.ratio = (log_bytes / frame_bytes.max(1)).clamp(1, RATIO_MAX);
        }
    }

    /// Learns from an acknowledgement: the last frame in it was sent `flight_ms` ago, before `next`;
    /// `bytes` are acknowledged; `limited` says that the window was full.
    pub(crate) fn acknowledged(
        &mut self,
        (number, next): (u64, u64),
        flight_ms: u64,
        bytes: usize,
        limited: bool,
        limits: &Limits,
    ) {
        self.flight_ms_min = self.flight_ms_min.min(flight_ms);
        let queued_ms = flight_ms - self.flight_ms_min;
        if queued_ms > FLIGHT_MS_MAX && number >= self.shrunk_before {
            let share = self.window_bytes as u64 * FLIGHT_MS_MAX / queued_ms;
            self.window_bytes = (share as usize).max(limits.window_bytes_min).min(limits.window_bytes);
            self.shrunk_before = next;
        } else if queued_ms < FLIGHT_MS_GROW && limited {
            self.window_bytes = (self.window_bytes + bytes).min(limits.window_bytes);
        }
    }

    /// Pays for bytes that are sent.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.allowance_milli = self.allowance_milli.saturating_sub_unsigned(bytes as u64 * 1_000);
    }

    /// When events may be sent at the rate allowed; `None` for now.
    pub(crate) fn wait_until_ms(&mut self, limits: &Limits, now_ms: u64) -> Option<u64> {
        let rate = limits.rate_bytes_per_second?.max(1);
        let passed_ms = now_ms.saturating_sub(self.allowance_at_ms);
        let allowance = self.allowance_milli.saturating_add_unsigned(rate.saturating_mul(passed_ms));
        self.allowance_milli = allowance.min(burst_milli(rate));
        self.allowance_at_ms = now_ms;
        // Work may begin once a byte is left.
        let owed_milli = u64::try_from(1_000 - self.allowance_milli).ok().filter(|owed| *owed > 0)?;
        Some(now_ms + owed_milli.div_ceil(rate))
    }
}

/// What may be sent at once after a rest: at least a byte.
fn burst_milli(rate: u64) -> i64 {
    i64::try_from(rate.saturating_mul(BURST_MS)).unwrap_or(i64::MAX).max(1_000)
}

#[cfg(test)]
mod tests;
