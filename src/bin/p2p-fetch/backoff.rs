//! Waits that grow while nothing works, with jitter, so that the devices of a site do not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use p2p_agent::random::Random;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// Counts failures in a row.
pub struct Backoff {
    failures: u32,
    random: Random,
}

impl Backoff {
    /// No failure yet.
    pub fn new() -> Self {
        let mut seed = [0; 16];
        for half in seed.chunks_mut(8) {
            half.copy_from_slice(&RandomState::new().build_hasher().finish().to_ne_bytes());
        }
        Self { failures: 0, random: Random::from_seed(seed) }
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure; how long to wait before the next try: half of the step is fixed, half is chance.
    pub fn fail(&mut self) -> Duration {
        let step = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        step / 2 + self.jitter(step / 2)
    }

    /// A random span below `bound`.
    pub fn jitter(&mut self, bound: Duration) -> Duration {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.below(bound_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_again_after_success() {
        let mut backoff = Backoff::new();
        for failure in 0..40 {
            let wait = backoff.fail();
            let step = BACKOFF_FIRST.saturating_mul(1 << failure.min(16)).min(BACKOFF_MAX);
            assert!(step / 2 <= wait && wait <= step, "{wait:?} after {failure} failures");
        }
        backoff.reset();
        assert!(backoff.fail() <= BACKOFF_FIRST);
    }
}
