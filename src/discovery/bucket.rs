//! Token buckets: a burst, then a rate. Kept as debt, so that a zeroed bucket is a full one.

use core::net::Ipv4Addr;

use crate::limits;
use crate::time::{Duration, Instant};

/// One budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// How long it takes until the bucket is full again.
    debt_us: u64,
    at: Instant,
}

impl Bucket {
    pub(super) const fn new() -> Self {
        Self { debt_us: 0, at: Instant::ZERO }
    }

    /// Takes one datagram out of a budget of `(burst, per second)`, if it is there.
    #[must_use]
    pub(super) fn take(&mut self, now: Instant, (burst, per_second): (u32, u32)) -> bool {
        let each = Duration::from_secs(1) / per_second.max(1);
        self.debt_us = self.debt_us.saturating_sub(micros(now.since(self.at)));
        self.at = self.at.max(now);
        let after = self.debt_us.saturating_add(micros(each));
        let granted = after <= micros(each.saturating_mul(burst));
        self.debt_us = if granted { after } else { self.debt_us };
        granted
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A budget for each source. A source is the low bits of its address: no table that a flood could fill, and who forges
/// another's address could drain that one's budget in any table.
#[derive(Debug)]
pub(super) struct Sources {
    buckets: [Bucket; limits::SOURCES],
}

impl Sources {
    pub(super) const fn new() -> Self {
        Self { buckets: [Bucket::new(); limits::SOURCES] }
    }

    pub(super) fn bucket(&mut self, source: Ipv4Addr) -> &mut Bucket {
        let at = source.to_bits() as usize % limits::SOURCES;
        &mut self.buckets[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_its_burst_then_its_rate() {
        let (mut bucket, budget) = (Bucket::new(), (8, 4));
        let mut granted_until = |ms: u64| {
            let now = Instant::ZERO + Duration::from_millis(ms);
            (0..100).filter(|_| bucket.take(now, budget)).count()
        };
        assert_eq!(granted_until(0), 8);
        assert_eq!(granted_until(249), 0);
        assert_eq!(granted_until(250), 1);
        assert_eq!(granted_until(1_250), 4);
        assert_eq!(granted_until(3_600_000), 8);
        assert_eq!(granted_until(0), 0, "a clock that goes back fills nothing");
        assert_eq!(granted_until(u64::MAX / 1_000), 8);
    }

    #[test]
    fn sources_of_one_subnet_do_not_share() {
        let mut sources = Sources::new();
        let one = Ipv4Addr::new(192, 168, 1, 1);
        while sources.bucket(one).take(Instant::ZERO, (8, 4)) {}
        assert!(sources.bucket(Ipv4Addr::new(192, 168, 1, 2)).take(Instant::ZERO, (8, 4)));
        assert!(sources.bucket(Ipv4Addr::new(192, 168, 0, 1)).take(Instant::ZERO, (8, 4)));
    }
}
