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

mod table;

use core::net::Ipv4Addr;

use crate::clock::{ClockFilter, Estimate};
use crate::content::NodeId;
use crate::limits;
use crate::time::{Duration, Instant};
use crate::wire::{Flags, OsVersion};
pub use table::PeerTable;

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

    /// Whether it says that it is wired and might fetch for the site.
    pub fn may_lead(&self) -> bool {
        self.flags.wired && !self.flags.metered && !self.flags.starved
    }

    /// The least round trip among the last samples.
    pub fn delay(&self) -> Option<Duration> {
        self.clock.delay()
    }

    /// How long its answer is awaited.
    pub fn patience(&self) -> Duration {
        limits::QUERY_TIMEOUT + self.delay().unwrap_or_default().min(limits::QUERY_TIMEOUT)
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
