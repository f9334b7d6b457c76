//! How many nodes there are on the links, also those that find no room in the table.
//!
//! Each address sets one bit out of m = `limits::CENSUS_BITS`. A bit that is set for the first time while z are still clear stands for m/z
//! nodes (those that came meanwhile and hit set bits included), so the sum of these is the estimate: linear counting, without a logarithm.
//! A node that is heard often counts once, also after it was restarted. The estimate is that of the last whole window or of the present one, whichever is larger; a window
//! is long enough for everybody's next broadcast.
//!
//! Addresses and not node ids, because whoever forges the latter has 2^64 of them and the former are those of the subnet. A forger can
//! still make it large: fewer strangers are then taken in, and none are turned away from a table that is nearly empty.

use core::net::Ipv4Addr;

use crate::limits;
use crate::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Census {
    bits: [u64; limits::CENSUS_BITS / 64],
    clear: u32,
    /// Of the present window, in 256ths of a node.
    estimate: u32,
    last_window: u32,
    window_ends_at: Instant,
}

const BITS: u32 = limits::CENSUS_BITS as u32;

impl Census {
    pub(super) const fn new() -> Self {
        let bits = [0; limits::CENSUS_BITS / 64];
        Self { bits, clear: BITS, estimate: 0, last_window: 0, window_ends_at: Instant::ZERO }
    }

    /// A broadcast of this address was heard.
    pub(super) fn handle_address(&mut self, now: Instant, address: Ipv4Addr) {
        if now >= self.window_ends_at {
            *self = Self { last_window: self.estimate, window_ends_at: now + limits::INTERVAL_MAX, ..Self::new() };
        }
        let hash = crate::peer::mix(u64::from(address.to_bits())) as usize % limits::CENSUS_BITS;
        let (word, bit) = (&mut self.bits[hash / 64], 1 << (hash % 64));
        if *word & bit == 0 && self.clear > 0 {
            *word |= bit;
            self.estimate = self.estimate.saturating_add(BITS * 256 / self.clear);
            self.clear -= 1;
        }
    }

    /// Nodes heard.
    pub(super) fn nodes(&self) -> u32 {
        self.estimate.max(self.last_window) / 256
    }

    /// The greatest distance of a stranger that is a neighbour: with few nodes any.
    pub(super) fn neighbourhood(&self) -> u64 {
        if self.is_crowded() { u64::MAX / u64::from(self.nodes()) * u64::from(limits::NEIGHBOURS) } else { u64::MAX }
    }

    /// Whether there are too many for everybody to know everybody.
    pub(super) fn is_crowded(&self) -> bool {
        self.nodes() > limits::CROWD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn census(nodes: u32, now: Instant, census: &mut Census) {
        let mut random = Random::from_seed([5; 16]);
        for _ in 0..nodes {
            let address = Ipv4Addr::from(random.bytes::<4>());
            census.handle_address(now, address);
            census.handle_address(now, address);
        }
    }

    #[test]
    fn nodes_are_counted_within_a_tenth() {
        for nodes in [0, 1, 8, 128, 500, 2_000] {
            let mut counted = Census::new();
            census(nodes, Instant::ZERO, &mut counted);
            assert!(counted.nodes().abs_diff(nodes) <= nodes / 10, "{nodes}: {}", counted.nodes());
        }
    }

    #[test]
    fn any_number_of_nodes_is_survived_and_forgotten_after_two_windows() {
        let mut counted = Census::new();
        census(100_000, Instant::ZERO, &mut counted);
        assert!(counted.nodes() > 2_000 && counted.neighbourhood() > 0);
        for windows in 1..=2 {
            census(8, Instant::ZERO + limits::INTERVAL_MAX * windows, &mut counted);
        }
        assert_eq!((counted.nodes(), counted.neighbourhood()), (8, u64::MAX));
    }
}
