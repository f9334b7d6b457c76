//! The probes whose replies are awaited. A reply counts only if its nonce is here, younger than `limits::NONCE_LIFETIME`, came in on the
//! same interface and, for a unicast probe, from the very address that it was sent to (behaviour 42).

use core::net::Ipv4Addr;

use heapless::Vec;

use crate::limits;
use crate::peer::IfIndex;
use crate::time::{Instant, Timestamp};

/// Probes awaited at most.
const CAPACITY: usize = limits::UNICAST_NONCES + limits::BROADCAST_NONCES * limits::INTERFACES;

/// One probe that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub nonce: [u8; 16],
    pub interface: IfIndex,
    /// `None` for a broadcast.
    pub to: Option<Ipv4Addr>,
    /// T1 by the monotonic clock.
    pub sent_at: Instant,
    /// T1 as it was sent; `None` once the own clock has stepped since.
    pub origin: Option<Timestamp>,
    /// Counts probes, so that a peer remembers in one number which it has answered.
    pub sequence: u64,
}

#[derive(Debug)]
pub(super) struct Nonces {
    outstanding: Vec<Outstanding, CAPACITY>,
    sequence: u64,
}

impl Nonces {
    pub(super) const fn new() -> Self {
        Self { outstanding: Vec::new(), sequence: 0 }
    }

    /// There is room for another unicast probe.
    pub(super) fn has_unicast_room(&self, now: Instant) -> bool {
        let awaited = |one: &&Outstanding| one.to.is_some() && now.since(one.sent_at) <= limits::NONCE_LIFETIME;
        self.outstanding.iter().filter(awaited).count() < limits::UNICAST_NONCES
    }

    /// Remembers a probe. Should there be no room, the oldest is forgotten, so that its reply will not count.
    pub(super) fn insert(
        &mut self,
        nonce: [u8; 16],
        interface: IfIndex,
        to: Option<Ipv4Addr>,
        now: Instant,
        wall: Timestamp,
    ) {
        self.outstanding.retain(|one| now.since(one.sent_at) <= limits::NONCE_LIFETIME);
        if self.outstanding.is_full() {
            let oldest = self.outstanding.iter().enumerate().min_by_key(|(_, one)| one.sent_at).map(|(at, _)| at);
            oldest.map(|at| self.outstanding.swap_remove(at));
        }
        self.sequence += 1;
        let one = Outstanding { nonce, interface, to, sent_at: now, origin: Some(wall), sequence: self.sequence };
        // Cannot be full: room was made above.
        let _ = self.outstanding.push(one);
    }

    /// The probe that a reply from `from` may answer; a unicast one is answered once.
    pub(super) fn answer(
        &mut self,
        nonce: &[u8; 16],
        interface: IfIndex,
        from: Ipv4Addr,
        now: Instant,
    ) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|one| one.nonce == *nonce && one.interface == interface)?;
        let one = *self.outstanding.get(at)?;
        if now.since(one.sent_at) > limits::NONCE_LIFETIME || one.to.is_some_and(|to| to != from) {
            return None;
        }
        if one.to.is_some() {
            self.outstanding.swap_remove(at);
        }
        Some(one)
    }

    /// The own clock stepped: replies still show who is there, but not what time it is.
    pub(super) fn on_clock_step(&mut self) {
        self.outstanding.iter_mut().for_each(|one| one.origin = None);
    }

    pub(super) fn remove_interface(&mut self, interface: IfIndex) {
        self.outstanding.retain(|one| one.interface != interface);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const ETH: IfIndex = IfIndex(2);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn nonces(to: Option<Ipv4Addr>) -> Nonces {
        let mut nonces = Nonces::new();
        nonces.insert([7; 16], ETH, to, Instant::ZERO, Timestamp::default());
        nonces
    }

    #[test]
    fn a_unicast_nonce_is_answered_once_by_its_own_address() {
        let mut nonces = nonces(Some(PEER));
        assert!(nonces.answer(&[7; 16], ETH, OTHER, Instant::ZERO).is_none());
        assert!(nonces.answer(&[7; 16], IfIndex(3), PEER, Instant::ZERO).is_none());
        assert!(nonces.answer(&[8; 16], ETH, PEER, Instant::ZERO).is_none());
        assert!(nonces.answer(&[7; 16], ETH, PEER, Instant::ZERO).is_some());
        assert!(nonces.answer(&[7; 16], ETH, PEER, Instant::ZERO).is_none());
    }

    #[test]
    fn a_broadcast_nonce_is_answered_by_many_until_it_is_two_seconds_old() {
        let mut nonces = nonces(None);
        let last = Instant::ZERO + limits::NONCE_LIFETIME;
        assert!(nonces.answer(&[7; 16], ETH, PEER, Instant::ZERO).is_some());
        assert!(nonces.answer(&[7; 16], ETH, OTHER, last).is_some());
        assert!(nonces.answer(&[7; 16], ETH, OTHER, last + Duration::from_micros(1)).is_none());
    }

    #[test]
    fn the_number_of_outstanding_nonces_is_bounded() {
        let mut nonces = Nonces::new();
        for n in 0..2_000u16 {
            let mut nonce = [0; 16];
            nonce[..2].copy_from_slice(&n.to_be_bytes());
            nonces.insert(nonce, ETH, Some(PEER), Instant::from_micros(u64::from(n)), Timestamp::default());
            assert!(nonces.outstanding.len() <= CAPACITY);
        }
        assert!(!nonces.has_unicast_room(Instant::from_micros(2_000)));
        assert!(nonces.has_unicast_room(Instant::ZERO + limits::NONCE_LIFETIME * 2));
    }
}
