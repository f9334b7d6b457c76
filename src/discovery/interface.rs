//! One interface: which addresses are on its link, and when its next broadcast probe is due.

use core::net::Ipv4Addr;

use crate::limits;
use crate::peer::IfIndex;
use crate::random::Random;
use crate::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub index: IfIndex,
    pub addr: Ipv4Addr,
    pub prefix: u8,
    pub wired: bool,
    pub metered: bool,
    pub next_probe_at: Instant,
    up_at: Instant,
    /// Probes of the link-up that were sent.
    link_up: usize,
}

impl Interface {
    pub(super) fn new(now: Instant, index: IfIndex, addr: Ipv4Addr, prefix: u8, wired: bool) -> Self {
        let next_probe_at = now + limits::LINK_UP_PROBES[0];
        Self { index, addr, prefix, wired, metered: false, next_probe_at, up_at: now, link_up: 0 }
    }

    pub(super) fn is_on_link(&self, other: Ipv4Addr) -> bool {
        is_on_link(self.addr, self.prefix, other)
    }

    /// A probe was sent; sets when the next one is due.
    pub(super) fn on_probe(&mut self, now: Instant, interval: Duration, random: &mut Random) {
        self.link_up = self.link_up.saturating_add(1);
        self.next_probe_at = match limits::LINK_UP_PROBES.get(self.link_up) {
            Some(&after) => self.up_at + after,
            None => now + jittered(interval, random),
        };
    }
}

/// Whether `other` is a host on the link on which `own` has a subnet of this prefix length, and not `own`. Neither the network's nor
/// its broadcast address (which a /31 has not, RFC 3021), to which a reply would go to everybody.
pub fn is_on_link(own: Ipv4Addr, prefix: u8, other: Ipv4Addr) -> bool {
    let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let (own_bits, bits) = (own.to_bits(), other.to_bits());
    let is_host = hosts <= 1 || (bits & hosts != 0 && bits & hosts != hosts);
    let is_nobodys = other.is_broadcast() || other.is_multicast() || other.is_unspecified();
    own != other && own_bits & !hosts == bits & !hosts && is_host && !is_nobodys
}

/// The interval and up to a sixteenth of it, so that devices that booted together drift apart.
fn jittered(interval: Duration, random: &mut Random) -> Duration {
    let spread_us = u64::try_from(interval.as_micros() / u128::from(JITTER)).unwrap_or(u64::MAX);
    interval + Duration::from_micros(random.below(spread_us))
}

/// The jitter is one part in this many.
const JITTER: u32 = 16;

/// The longest that may pass between two probes at this interval: what is announced.
pub(super) fn with_jitter(interval: Duration) -> Duration {
    interval + interval / JITTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(addr: [u8; 4], prefix: u8) -> Interface {
        Interface::new(Instant::ZERO, IfIndex(1), addr.into(), prefix, true)
    }

    #[test]
    fn only_other_hosts_of_the_subnet_are_on_link() {
        let eth = interface([192, 168, 1, 10], 24);
        for (other, on_link) in [
            ([192, 168, 1, 11], true),
            ([192, 168, 1, 10], false),
            ([192, 168, 1, 0], false),
            ([192, 168, 1, 255], false),
            ([192, 168, 2, 11], false),
            ([255, 255, 255, 255], false),
            ([0, 0, 0, 0], false),
        ] {
            assert_eq!(eth.is_on_link(other.into()), on_link, "{other:?}");
        }
    }

    #[test]
    fn point_to_point_and_absurd_prefixes_are_understood() {
        assert!(interface([10, 0, 0, 0], 31).is_on_link([10, 0, 0, 1].into()));
        for prefix in [32, 33, 255] {
            assert!(!interface([10, 0, 0, 0], prefix).is_on_link([10, 0, 0, 1].into()));
        }
        assert!(interface([10, 0, 0, 1], 0).is_on_link([200, 0, 0, 1].into()));
    }

    #[test]
    fn probes_go_out_at_0_100_and_300_ms_and_then_every_interval_with_jitter() {
        let (mut eth, mut random) = (interface([10, 0, 0, 1], 24), Random::from_seed([1; 16]));
        let mut sent_ms = std::vec::Vec::new();
        for _ in 0..100 {
            let now = eth.next_probe_at;
            sent_ms.push(now.as_micros() / 1_000);
            eth.on_probe(now, limits::PROBE_INTERVAL, &mut random);
        }
        assert_eq!(sent_ms[..3], [0, 100, 300]);
        assert!(sent_ms[2..].windows(2).all(|pair| (3_000..=3_188).contains(&(pair[1] - pair[0]))));
    }
}
