use super::*;

/// Acknowledges full windows of a link with a rate and a latency, one after another.
fn settle(rate: usize, latency_ms: u64, rounds: usize) -> usize {
    let limits = Limits::default();
    let mut flow = Flow::new(&limits, 0);
    for round in 0..rounds as u64 {
        let window = flow.window_bytes(&limits);
        let flight_ms = latency_ms + (window * 1_000 / rate) as u64;
        flow.acknowledged((round, round + 1), flight_ms, window, true, &limits);
    }
    flow.window_bytes(&limits)
}

#[test]
fn a_window_is_what_the_link_carries_in_about_a_second() {
    for rate in [6_250, 20_000, 100_000] {
        let window = settle(rate, 80, 50);
        assert!((rate / 4..=rate * 3 / 2).contains(&window), "{window} bytes at {rate} bytes a second");
    }
    assert_eq!(settle(100_000_000, 20, 50), Limits::default().window_bytes);
    assert!(settle(1_000_000, 700, 50) > 128 << 10, "a long way is no queue");
    assert_eq!(settle(100, 20, 50), Limits::default().window_bytes_min);
}

#[test]
fn a_window_grows_in_a_few_round_trips() {
    assert_eq!(settle(100_000_000, 20, 5), Limits::default().window_bytes);
}

#[test]
fn what_was_sent_before_a_window_shrank_shrinks_it_once() {
    let limits = Limits::default();
    let mut flow = Flow::new(&limits, 0);
    flow.window_bytes = limits.window_bytes;
    for number in 0..10 {
        flow.acknowledged((number, 10), 4_750, 1_000, true, &limits);
    }
    assert_eq!(flow.window_bytes(&limits), limits.window_bytes / 4);
    flow.acknowledged((10, 11), 4_750, 1_000, true, &limits);
    assert_eq!(flow.window_bytes(&limits), limits.window_bytes / 16);
}

#[test]
fn an_idle_link_proves_nothing() {
    let limits = Limits::default();
    let mut flow = Flow::new(&limits, 0);
    flow.acknowledged((0, 1), 5, 300, false, &limits);
    assert_eq!(flow.window_bytes(&limits), limits.window_bytes_first);
}

#[test]
fn frames_are_as_large_as_half_a_window_makes_them() {
    let limits = Limits::default();
    let mut flow = Flow::new(&limits, 0);
    assert_eq!(flow.chunk_bytes(&limits), 16 << 10);
    flow.compressed(16 << 10, 16 << 10);
    assert_eq!(flow.chunk_bytes(&limits), 4 << 10);
    flow.window_bytes = limits.window_bytes;
    assert_eq!(flow.chunk_bytes(&limits), limits.chunk_bytes);
}

#[test]
fn a_capped_rate_is_kept_to_the_byte() {
    let limits = Limits { rate_bytes_per_second: Some(1_000), ..Limits::default() };
    let mut flow = Flow::new(&limits, 0);
    let (mut now_ms, mut sent) = (0, 0);
    while now_ms < 60_000 {
        match flow.wait_until_ms(&limits, now_ms) {
            Some(later) => {
                assert!(later > now_ms, "a wait ends");
                now_ms = later;
            }
            None => {
                flow.spend(777);
                sent += 777;
            }
        }
        // Looking often earns no more and no less.
        flow.wait_until_ms(&limits, now_ms);
    }
    assert!((59_000..=61_100).contains(&sent), "{sent} bytes in a minute");
    let rested = Flow::new(&limits, 0).wait_until_ms(&limits, 10_000_000);
    assert_eq!(rested, None);
    assert_eq!(Flow::new(&Limits::default(), 0).wait_until_ms(&Limits::default(), 0), None);
}
