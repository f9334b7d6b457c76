//! The table of all peers.

use core::cmp::Reverse;
use core::net::Ipv4Addr;

use heapless::Vec;

use super::{Candidate, IfIndex, Peer};
use crate::content::NodeId;
use crate::limits;
use crate::time::{Duration, Instant};

/// Fixed table of all peers; a linear scan of 128 entries is cheaper than keeping an order.
#[derive(Debug, Default)]
pub struct PeerTable {
    peers: Vec<Peer, { limits::PEERS }>,
}

impl PeerTable {
    /// An empty table.
    pub const fn new() -> Self {
        Self { peers: Vec::new() }
    }

    /// All entries, also those only heard.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    /// Entries whose address is real: the ones to query.
    pub fn routable(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.is_routable())
    }

    /// The entry with this address.
    pub fn get(&self, interface: IfIndex, addr: Ipv4Addr) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.addr == addr && peer.interface == interface)
    }

    /// Entries of any state.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Nobody was heard.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    #[cfg(test)]
    fn get_mut(&mut self, interface: IfIndex, addr: Ipv4Addr) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.addr == addr && peer.interface == interface)
    }

    /// The candidate's entry, made if there is room or somebody has to leave; at least in the candidate's state.
    ///
    /// `None`: the table is full of better ones.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        own: NodeId,
        own_interval: Duration,
        candidate: Candidate,
    ) -> Option<&mut Peer> {
        let same = |peer: &Peer| peer.addr == candidate.addr && peer.interface == candidate.interface;
        let position = match self.peers.iter().position(same) {
            Some(known) => known,
            None => self.make_room(now, own, own_interval, &candidate)?,
        };
        let peer = self.peers.get_mut(position)?;
        if !same(peer) {
            *peer = Peer::new(now, own, &candidate);
        } else if candidate.state > peer.state {
            peer.state = candidate.state;
        }
        Some(peer)
    }

    /// The position of a new entry, or of the one that must leave.
    fn make_room(&mut self, now: Instant, own: NodeId, own_interval: Duration, candidate: &Candidate) -> Option<usize> {
        if self.peers.push(Peer::new(now, own, candidate)).is_ok() {
            return self.peers.len().checked_sub(1);
        }
        let key = |(at, peer): (usize, &Peer)| {
            peer.yields_to(candidate, now, own, own_interval).map(|key| (key, Reverse(at)))
        };
        self.peers.iter().enumerate().filter_map(key).max().map(|(_, Reverse(at))| at)
    }

    /// Drops the expired; whether there were any.
    pub(crate) fn expire(&mut self, now: Instant, own_interval: Duration) -> bool {
        let before = self.peers.len();
        self.peers.retain(|peer| now < peer.expires_at(own_interval));
        self.peers.len() < before
    }

    pub(crate) fn remove_interface(&mut self, interface: IfIndex) {
        self.peers.retain(|peer| peer.interface != interface);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PeerState, distance};
    use super::*;
    use proptest::prelude::*;

    const OWN: NodeId = NodeId([0; 8]);
    const INTERVAL: Duration = limits::PROBE_INTERVAL;

    fn node(n: u32) -> NodeId {
        NodeId((u64::from(n) + 1).to_be_bytes())
    }

    fn candidate(n: u32, state: PeerState) -> Candidate {
        Candidate { interface: IfIndex(1), addr: Ipv4Addr::from_bits(0x0a00_0000 + n), node: Some(node(n)), state }
    }

    fn seconds(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn admit(table: &mut PeerTable, now: Instant, n: u32, state: PeerState) -> bool {
        table.admit(now, OWN, INTERVAL, candidate(n, state)).is_some()
    }

    fn full_of(state: PeerState) -> PeerTable {
        let mut table = PeerTable::new();
        for n in 0..limits::PEERS as u32 {
            assert!(admit(&mut table, seconds(0), n, state));
        }
        table
    }

    fn has(table: &PeerTable, n: u32) -> bool {
        table.get(IfIndex(1), candidate(n, PeerState::Heard).addr).is_some()
    }

    #[test]
    fn a_peer_only_gets_surer() {
        let mut table = PeerTable::new();
        for (state, expected) in [
            (PeerState::Heard, PeerState::Heard),
            (PeerState::Proven, PeerState::Proven),
            (PeerState::Probed, PeerState::Proven),
        ] {
            assert_eq!(table.admit(seconds(0), OWN, INTERVAL, candidate(1, state)).unwrap().state, expected);
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_peer_expires_after_three_missed_intervals_of_its_own_or_ours() {
        let mut table = full_of(PeerState::Probed);
        table.get_mut(IfIndex(1), candidate(0, PeerState::Heard).addr).unwrap().interval = Duration::from_secs(10);
        table.expire(Instant::ZERO + Duration::from_micros(8_999_999), INTERVAL);
        assert_eq!(table.len(), limits::PEERS);
        table.expire(seconds(9), INTERVAL * 2);
        assert_eq!(table.len(), limits::PEERS);
        table.expire(seconds(9), INTERVAL);
        assert!(table.len() == 1 && has(&table, 0));
        table.expire(seconds(30), INTERVAL);
        assert!(table.is_empty());
    }

    #[test]
    fn the_expired_leave_first_then_the_unproven_then_the_stale() {
        let mut table = full_of(PeerState::Probed);
        let addr = |n| candidate(n, PeerState::Heard).addr;
        for n in 0..limits::PEERS as u32 {
            let peer = table.get_mut(IfIndex(1), addr(n)).unwrap();
            peer.last_heard = seconds(100);
            match n {
                7 => peer.last_heard = seconds(90),
                8 => peer.state = PeerState::Heard,
                9 => peer.last_heard = seconds(93),
                _ => {}
            }
        }
        for (newcomer, leaving) in [(1_000, 7), (1_001, 8), (1_002, 9)] {
            assert!(admit(&mut table, seconds(100), newcomer, PeerState::Probed));
            assert!(!has(&table, leaving) && has(&table, newcomer), "{leaving}");
        }
    }

    #[test]
    fn among_equals_the_nearer_stays() {
        let mut table = full_of(PeerState::Probed);
        let farthest = (0..limits::PEERS as u32).max_by_key(|&n| distance(OWN, node(n))).unwrap();
        let limit = distance(OWN, node(farthest));
        let nearer = (1_000..).find(|&n| distance(OWN, node(n)) < limit).unwrap();
        let farther = (1_000..).find(|&n| distance(OWN, node(n)) > limit).unwrap();
        assert!(!admit(&mut table, seconds(1), farther, PeerState::Probed));
        assert!(admit(&mut table, seconds(1), nearer, PeerState::Probed));
        assert!(!has(&table, farthest) && has(&table, nearer));
    }

    #[test]
    fn distance_is_the_same_from_both_ends() {
        assert_eq!(distance(node(3), node(9)), distance(node(9), node(3)));
        assert_ne!(distance(node(3), node(9)), distance(node(3), node(8)));
    }

    #[test]
    fn an_authenticated_query_always_finds_room_among_the_merely_probed() {
        let mut table = full_of(PeerState::Probed);
        for n in 1_000..1_000 + limits::PEERS as u32 {
            assert!(admit(&mut table, seconds(1), n, PeerState::Proven));
        }
        assert!(!admit(&mut table, seconds(1), 5_000, PeerState::Proven), "nobody is left who may go");
    }

    #[test]
    fn ten_thousand_strangers_displace_no_proven_peer() {
        let mut table = full_of(PeerState::Proven);
        for n in 1_000..11_000 {
            assert!(!admit(&mut table, seconds(8), n, PeerState::Heard));
            assert!(!admit(&mut table, seconds(8), n, PeerState::Probed));
        }
        assert!((0..limits::PEERS as u32).all(|n| has(&table, n)));
    }

    proptest! {
        #[test]
        fn the_table_never_exceeds_its_capacity_nor_lists_an_address_twice(
            steps in proptest::collection::vec((0u32..300, 0u8..3, 0u64..100), 0..600)
        ) {
            let mut table = PeerTable::new();
            for (n, state, at) in steps {
                let state = [PeerState::Heard, PeerState::Probed, PeerState::Proven][usize::from(state)];
                let admitted = admit(&mut table, seconds(at), n, state);
                prop_assert_eq!(admitted, has(&table, n));
                let mut addrs: std::vec::Vec<_> = table.iter().map(|peer| peer.addr).collect();
                addrs.sort();
                addrs.dedup();
                prop_assert!(addrs.len() == table.len() && table.len() <= limits::PEERS);
            }
        }
    }
}
