//! The peers of this node: who they are, how sure that is, and who leaves when the table is full (behaviour 45).
//!
//! ```text
//! Heard  --reply to a unicast probe-->  Probed  --authenticated query-->  Proven
//! ```
//!
//! *Heard*: a probe came from there, or a reply to a broadcast, whose nonce everybody on the link saw. *Probed*: a nonce that was sent to
//! that address alone came back, so the address is real. *Proven*: it took part in an authenticated query over TCP. Only proven
//! holders are asked for bytes, and only `Probed` and `Proven` count as peers ([`Peer::is_routable`]).
//!
//! A peer expires after three missed intervals: the one it announced or this node's own, whichever is longer, because its replies come
//! no more often than it is asked. The announced one is believed up to `limits::INTERVAL_MAX`. After two missed ones it is asked once more,
//! alone: on a link that loses 5 % of its packets, three rounds without an answer are too common.
//!
//! In a full table the first to leave is the expired, then the unproven, then the stale. On sites larger than the table a
//! stranger that is *nearer* displaces the farthest: distance is a mix of both node ids that both ends compute alike, so that two nodes tend
//! to know each other or not at all, instead of asking those who do not answer. An unproven stranger never displaces a proven peer.

use core::cmp::Reverse;
use core::net::Ipv4Addr;

use heapless::Vec;

use crate::clock::{ClockFilter, Estimate};
use crate::content::NodeId;
use crate::limits;
use crate::time::{Duration, Instant};
use crate::wire::{Flags, OsVersion};

/// A network interface by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// How sure it is that a peer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// Something came that bears its address.
    Heard,
    /// What was sent to its address alone was answered.
    Probed,
    /// It showed in an authenticated query that it belongs here.
    Proven,
}

/// One address on one interface.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; unique together with `interface`.
    pub addr: Ipv4Addr,
    /// Where it was heard.
    pub interface: IfIndex,
    /// Its node id; unknown while only an authenticated query came from it.
    pub node: Option<NodeId>,
    /// Its operating system version, as far as it said.
    pub os: OsVersion,
    /// What it says about itself.
    pub flags: Flags,
    /// How sure this is.
    pub state: PeerState,
    /// The last valid reply or authenticated query; for `Heard`, when the entry was made.
    pub last_heard: Instant,
    /// How often it was to be heard when it was last heard: as it announced, within the limits, or as often as it was asked.
    pub interval: Duration,
    /// Its clock.
    pub(crate) clock: ClockFilter,
    /// When to probe it alone; `FAR` while nothing is due.
    pub(crate) ask_at: Instant,
    /// Not before this, because there was no room or no budget.
    pub(crate) ask_not_before: Instant,
    /// When it was last probed alone.
    pub(crate) asked_at: Option<Instant>,
    /// The last broadcast probe that it answered, so that no second answer counts.
    pub(crate) answered: Option<u64>,
}

impl Peer {
    fn new(now: Instant, own: NodeId, candidate: &Candidate) -> Self {
        debug_assert_ne!(candidate.node, Some(own));
        Self {
            addr: candidate.addr,
            interface: candidate.interface,
            node: candidate.node,
            os: OsVersion::new(),
            flags: Flags::default(),
            state: candidate.state,
            last_heard: now,
            interval: limits::PROBE_INTERVAL,
            clock: ClockFilter::new(),
            ask_at: Instant::FAR,
            ask_not_before: Instant::ZERO,
            asked_at: None,
            answered: None,
        }
    }

    /// The address is real: it counts as a peer.
    pub fn is_routable(&self) -> bool {
        self.state >= PeerState::Probed
    }

    /// The least round trip among the last samples.
    pub fn delay(&self) -> Option<Duration> {
        self.clock.delay()
    }

    /// Its clock against the own one.
    pub fn estimate(&self, now: Instant) -> Option<Estimate> {
        self.clock.estimate(now)
    }

    /// When it is dropped unless heard before.
    pub fn expires_at(&self, own_interval: Duration) -> Instant {
        match self.state {
            // One probe and its reply, or one that had to wait for room.
            PeerState::Heard => self.last_heard + limits::NONCE_LIFETIME * 2,
            _ => self.last_heard + self.interval.max(own_interval) * limits::MISSED_INTERVALS,
        }
    }

    /// After this a peer has missed two intervals: it is asked once more, and it is the first to make room.
    fn stale_at(&self, own_interval: Duration) -> Instant {
        self.last_heard + self.interval.max(own_interval) * 9 / 4
    }

    /// When it is to be probed alone.
    pub(crate) fn probe_at(&self, own_interval: Duration) -> Instant {
        let stale_at = self.stale_at(own_interval);
        let asked_since = self.asked_at.is_some_and(|at| at >= stale_at);
        let due_at = if self.is_routable() && !asked_since { self.ask_at.min(stale_at) } else { self.ask_at };
        due_at.max(self.ask_not_before)
    }

    /// Somebody else has this address now, or the same device with a new node id; or its node id was not known yet.
    pub(crate) fn replace_node(&mut self, node: NodeId) {
        if self.node.replace(node).is_none() {
            return;
        }
        self.state = self.state.min(PeerState::Probed);
        self.clock.clear();
        self.answered = None;
    }

    /// How soon it makes room for `candidate`: the greatest key leaves, `None` stays.
    fn yields_to(&self, candidate: &Candidate, now: Instant, own: NodeId, own_interval: Duration) -> Option<(u8, u64)> {
        let age = now.since(self.last_heard).as_micros() as u64;
        let candidate_proven = candidate.state == PeerState::Proven;
        let distance = |node: Option<NodeId>| node.map_or(u64::MAX, |node| distance(own, node));
        if now >= self.expires_at(own_interval) {
            return Some((3, age));
        }
        match self.state {
            PeerState::Heard => Some((2, age)),
            PeerState::Proven if !candidate_proven => None,
            _ if now >= self.stale_at(own_interval) => Some((1, age)),
            PeerState::Proven => None,
            PeerState::Probed if candidate_proven => Some((0, age)),
            PeerState::Probed => {
                Some((0, distance(self.node))).filter(|_| distance(self.node) > distance(candidate.node))
            }
        }
    }
}

/// Who asks to be let into the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub interface: IfIndex,
    pub addr: Ipv4Addr,
    pub node: Option<NodeId>,
    pub state: PeerState,
}

/// How far two nodes are from each other; the same from both ends.
///
/// Near enough to uniform to give everybody equally many near ones. It needs no secret, because who grinds
/// node ids to be near gains a place in the table that grants nothing before an authenticated query.
pub(crate) fn distance(a: NodeId, b: NodeId) -> u64 {
    mix(u64::from_be_bytes(a.0) ^ u64::from_be_bytes(b.0))
}

/// SplitMix64's finalizer: a bijection that scatters.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut mixed = value;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

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
