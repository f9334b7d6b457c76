//! When to restart the NTP client because the peers agree on another time (behaviour 44).
//!
//! The comparison is [`ClockReport`](crate::clock::ClockReport)'s. It is not authenticated, so it may cost no more than one restart an hour.

use crate::limits::{CLOCK_GUARD_LOOKS, CLOCK_GUARD_PAUSE};
use crate::time::Instant;

/// Counts the looks that found the clock wrong.
#[derive(Debug, Default)]
pub struct ClockGuard {
    wrong: u8,
    restarted: Option<Instant>,
}

impl ClockGuard {
    /// One look at the comparison: `off` as in [`ClockReport::off`](crate::clock::ClockReport::off), false where nothing is known. Returns
    /// whether to restart the NTP client now.
    pub fn handle_look(&mut self, now: Instant, off: bool) -> bool {
        self.wrong = if off { self.wrong.saturating_add(1) } else { 0 };
        let rested = self.restarted.is_none_or(|at| now.since(at) >= CLOCK_GUARD_PAUSE);
        if self.wrong < CLOCK_GUARD_LOOKS || !rested {
            return false;
        }
        *self = Self { wrong: 0, restarted: Some(now) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn three_wrong_looks_in_a_row_restart_the_ntp_client() {
        let mut guard = ClockGuard::default();
        let looks = [true, true, false, true, true, true, true];
        let restarts: [bool; 7] = core::array::from_fn(|n| guard.handle_look(at(n as u64 * 20), looks[n]));
        assert_eq!(restarts, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn a_clock_that_stays_wrong_causes_one_restart_an_hour() {
        let mut guard = ClockGuard::default();
        let restarts = (0..3 * 3_600).step_by(20).filter(|seconds| guard.handle_look(at(*seconds), true)).count();
        assert_eq!(restarts, 3);
    }
}
