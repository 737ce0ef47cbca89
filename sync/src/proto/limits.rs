//! How much an engine may use: of sessions, windows, time, and what is remembered of peers.

/// Limits of an engine. Each names its unit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most sessions at a time; one more is refused.
    pub sessions_max: usize,
    /// Most bytes of events on their way to one peer without an acknowledgement, give or take a frame.
    pub window_bytes: usize,
    /// The same at the beginning of a session, before anything is known of the link.
    pub window_bytes_first: usize,
    /// The same on the slowest of links.
    pub window_bytes_min: usize,
    /// Most bytes of frames a second to one peer, on average; `None` for what the link carries. Events
    /// wait for it, everything else counts and does not wait.
    pub rate_bytes_per_second: Option<u64>,
    /// Most frames of events on their way to one peer without an acknowledgement.
    pub window_frames: usize,
    /// About as many bytes of log are read for one frame.
    pub chunk_bytes: usize,
    /// Most bytes of log that one call of [`super::Engine::handle`] reads for sending.
    pub work_bytes_max: usize,
    /// How long a peer may take to greet.
    pub greeting_ms: u64,
    /// How long changes are gathered before hubs announce them to each other.
    pub announce_ms: u64,
    /// How long announced events may take another way before they are fetched.
    pub fetch_ms: u64,
    /// How long a peer may owe an answer without giving any.
    pub stalled_ms: u64,
    /// Most demands of one peer per minute to start a scope anew.
    pub restarts_per_minute: u32,
    /// Most peers that are remembered after they went.
    pub gone_max: usize,
    /// How long changes of presence are gathered before hubs tell each other.
    pub presence_ms: u64,
    /// Most sites that are remembered to have been heard here, and as many of what other hubs told.
    pub presence_sites_max: usize,
    /// Most other hubs whose presence is remembered.
    pub presence_hubs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 12_000,
            window_bytes: 256 << 10,
            window_bytes_first: 8 << 10,
            window_bytes_min: 4 << 10,
            rate_bytes_per_second: None,
            window_frames: 128,
            chunk_bytes: 64 << 10,
            work_bytes_max: 4 << 20,
            greeting_ms: 10_000,
            announce_ms: 250,
            fetch_ms: 500,
            stalled_ms: 120_000,
            restarts_per_minute: 600,
            gone_max: 20_000,
            presence_ms: 500,
            presence_sites_max: 100_000,
            presence_hubs_max: 1_024,
        }
    }
}
