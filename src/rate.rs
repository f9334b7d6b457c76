//! How fast bytes move, measured over windows long enough that bursts do not count.

use crate::limits::{RATE_HOLD, RATE_WINDOW};
use crate::time::{Duration, Instant};

/// Measures one stream of bytes; rates are in bytes per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    since: Instant,
    bytes: u64,
    rate: u64,
    best: u64,
    /// The highest rate for a while, and when it was measured.
    high: (u64, Instant),
}

impl Meter {
    /// So many bytes have moved since the last call.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        let span = now.since(self.since);
        self.bytes = self.bytes.saturating_add(bytes);
        if span >= RATE_WINDOW {
            // A window that began long ago says nothing about now.
            self.rate = if span < RATE_WINDOW * 2 { per_second(self.bytes, span) } else { 0 };
            self.best = self.best.max(self.rate);
            if self.rate >= self.high.0 || now.since(self.high.1) >= RATE_HOLD {
                self.high = (self.rate, now);
            }
            (self.since, self.bytes) = (now, 0);
        }
    }

    /// In the last window, or since it ended if that is long ago.
    pub fn rate(&self, now: Instant) -> u64 {
        let span = now.since(self.since);
        if span < RATE_WINDOW * 2 { self.rate } else { per_second(self.bytes, span) }
    }

    /// The highest for a while: a dip is no drop.
    pub fn high(&self, now: Instant) -> u64 {
        let (high, at) = self.high;
        let rate = self.rate(now);
        if now.since(at) < RATE_HOLD { rate.max(high) } else { rate }
    }

    /// Measures the best anew.
    pub fn forget_best(&mut self) {
        (self.best, self.high) = (0, Default::default());
    }

    /// The best that was measured.
    pub fn best(&self) -> u64 {
        self.best
    }
}

fn per_second(bytes: u64, span: Duration) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(micros)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_a_pause_is_noticed() {
        let mut meter = Meter::default();
        let mut now = Instant::from_micros(7_000_000);
        for _ in 0..200 {
            now = now + Duration::from_millis(10);
            meter.add(now, 50_000);
        }
        assert_eq!((meter.rate(now), meter.best()), (5_000_000, 5_000_000));
        assert!(meter.rate(now + Duration::from_secs(5)) < 300_000);
        assert_eq!(meter.best(), 5_000_000);
    }

    #[test]
    fn a_look_between_two_looks_makes_nothing_faster() {
        let (mut meter, mut seen) = (Meter::default(), Instant::from_micros(7_000_000));
        for micros in [7_250_000, 7_490_000, 7_500_000, 7_750_000, 7_760_000, 8_000_000, 8_250_000] {
            let now = Instant::from_micros(micros);
            meter.add(now, now.since(seen).as_micros() as u64 * 5);
            seen = now;
        }
        assert_eq!(meter.best(), 5_000_000);
    }

    #[test]
    fn a_single_burst_is_no_rate() {
        let mut meter = Meter::default();
        meter.add(Instant::from_micros(7_000_000), 1 << 30);
        assert_eq!(meter.best(), 0);
    }
}
