//! The whole mind: discovery, slots and wants behind one type.
//!
//! The body calls a `handle_*` method for everything that happens (a datagram, a proven query, bytes, a timer), then drains
//! [`Agent::poll_transmit`] until it is empty and sleeps until [`Agent::poll_timeout`]. Nothing here waits, and nothing
//! here reads a clock: `now` is monotonic, `wall` the wall clock.

mod peers;
mod wants;

use core::net::Ipv4Addr;

use crate::blame::Blame;
pub use crate::content::Held;
use crate::content::{NodeId, PublicId, Standing, State};
use crate::discovery::{Discovery, InterfaceUp, To};
use crate::limits::{DATAGRAM_BYTES, LINK_UP_PROBES, NONCES_REMEMBERED, QUERY_TIMEOUT, STARVED, STARVED_MEMORY, WANTS};
use crate::offenders::Offenders;
pub use crate::peer::IfIndex;
use crate::peer::Peer;
use crate::random::Random;
use crate::slots::Slots;
use crate::time::{Instant, Timestamp};
use crate::want::{Condition, Want};
use crate::whereabouts::Whereabouts;
use crate::wire::{Announce, Datagram};

/// Somebody announced something about a wanted content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The content.
    pub id: PublicId,
    /// Where it was heard.
    pub interface: IfIndex,
    /// Who announced it.
    pub peer: Ipv4Addr,
}

/// Why a request of the local client cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another local response for the same content is under way: follow the own `.part`.
    AlreadyServed,
    /// As many contents are wanted as the table holds.
    Full,
}

/// The mind of one node.
pub struct Agent {
    node: NodeId,
    random: Random,
    /// Peers and their clocks.
    pub discovery: Discovery,
    /// Transfers to peers.
    pub slots: Slots,
    wants: heapless::Vec<Want, WANTS>,
    nonces: heapless::Deque<[u8; 16], NONCES_REMEMBERED>,
    offenders: Offenders,
    whereabouts: Whereabouts,
    blame: Blame,
    late_at: Option<Instant>,
    may_fetch: bool,
    /// Bytes per second that the link can carry, where the body knows it.
    link_rate: u64,
    /// The same of what it is to carry of uploads.
    upload_limit: Option<u64>,
    /// By then whoever is there has answered the first probes.
    settled_at: Instant,
    /// No wired device took a content from this station lately.
    wires_unwilling_until: Instant,
}

/// A datagram to send now, to the agent's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Through this interface; through each when None.
    pub interface: Option<IfIndex>,
    /// To whom.
    pub to: To,
    /// The whole datagram.
    pub bytes: [u8; DATAGRAM_BYTES],
}

impl Agent {
    /// A node that knows nobody yet. `os` is carried in its probes.
    pub fn new(os: &str, mut random: Random) -> Self {
        let node = NodeId(random.bytes());
        Self {
            node,
            discovery: Discovery::new(node, os),
            slots: Slots::default(),
            wants: heapless::Vec::new(),
            nonces: heapless::Deque::new(),
            offenders: Offenders::default(),
            whereabouts: Whereabouts::default(),
            blame: Blame::default(),
            late_at: None,
            may_fetch: true,
            link_rate: 0,
            upload_limit: None,
            settled_at: Instant::ZERO,
            wires_unwilling_until: Instant::ZERO,
            random,
        }
    }

    /// This node's name for this run.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Fresh unpredictable bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        self.random.bytes()
    }

    /// Whether this device may use its uplink for the site (not metered).
    pub fn set_may_fetch(&mut self, may_fetch: bool) {
        self.may_fetch = may_fetch;
    }

    /// An interface is there with this address.
    pub fn handle_interface_up(&mut self, now: Instant, index: IfIndex, address: Ipv4Addr, prefix: u8, wired: bool) {
        if self.discovery.handle_interface_up(now, index, address, prefix, wired) == InterfaceUp::Started {
            self.discovery.handle_metered(index, !self.may_fetch);
            let [.., last] = LINK_UP_PROBES;
            self.settled_at = now + last + QUERY_TIMEOUT;
        }
    }

    /// What the link carries at best, in bytes per second, as its driver says; 0 where it does not. A device on a slow link leaves the
    /// uplink to others.
    pub fn set_link_rate(&mut self, bytes_per_second: u64) {
        if self.link_rate != bytes_per_second {
            self.slots.forget_best();
        }
        self.link_rate = bytes_per_second;
    }

    /// An interface is gone, with everybody behind it.
    pub fn handle_interface_down(&mut self, now: Instant, index: IfIndex) {
        self.discovery.handle_interface_down(now, index);
        self.slots.forget_best();
    }

    /// A timer fired; `due` is when it should have.
    pub fn handle_timeout(&mut self, now: Instant, wall: Timestamp, due: Instant) {
        if due != Instant::ZERO && now.since(due) > STARVED {
            self.late_at = Some(now);
        }
        let starved = self.condition(now).starved;
        self.discovery.handle_starved(starved);
        self.discovery.handle_timeout(now, wall, &mut self.random);
        for want in &mut self.wants {
            want.handle_timeout(now);
        }
        self.wants.retain(|want| !want.is_forgettable(now));
    }

    /// When [`Agent::handle_timeout`] and [`Agent::poll_transmit`] are due.
    pub fn poll_timeout(&self) -> Instant {
        self.wants.iter().map(Want::poll_timeout).fold(self.discovery.poll_timeout(), Instant::min)
    }

    /// The next datagram to send, if any.
    pub fn poll_transmit(&mut self, now: Instant, wall: Timestamp) -> Option<Transmit> {
        if let Some(transmit) = self.discovery.poll_transmit(now, wall) {
            return Some(Transmit { interface: Some(transmit.interface), to: transmit.to, bytes: transmit.bytes });
        }
        let condition = self.condition(now);
        let Self { node, random, wants, .. } = self;
        let announce = wants.iter_mut().find_map(|want| {
            let standing = want.poll_announce(now, condition)?;
            let id = want.keys().id();
            let mut announce =
                Announce { node: *node, id, standing, claimed_ms: 0, nonce: random.bytes(), mac: [0; 16] };
            announce.mac = want.keys().announce_mac(&announce);
            Some(announce)
        })?;
        let mut bytes = [0; DATAGRAM_BYTES];
        Datagram::Announce(announce).encode(&mut bytes);
        Some(Transmit { interface: None, to: To::Broadcast, bytes })
    }

    /// What this node tells about itself and one content.
    pub fn standing(&self, now: Instant, id: PublicId, held: Held) -> Standing {
        let active = self.slots.active();
        let want = self.wants.iter().find(|want| want.is_called(id));
        if let Held::Complete(size) = held {
            let attempt = want.map_or(1, |want| want.standing(now, None, self.condition(now)).attempt);
            let state = State::Complete;
            return Standing { state, size: Some(size), available: size, active, attempt, ..Standing::default() };
        }
        let part = if let Held::Part(bytes) = self.offered(id, held) { bytes } else { 0 };
        match want {
            Some(want) => Standing { active, ..want.standing(now, Some(part), self.condition(now)) },
            None if part > 0 => {
                Standing { state: State::Partial, available: part, active, attempt: 1, ..Standing::default() }
            }
            None => Standing::default(),
        }
    }

    /// What of that is for others: not a whole that was wrong, which the client is about to remove.
    fn offered(&self, id: PublicId, held: Held) -> Held {
        match held {
            Held::Part(bytes) if self.want(id).is_some_and(|want| want.is_known_to_be_wrong(bytes)) => Held::Nothing,
            held => held,
        }
    }

    fn condition(&self, now: Instant) -> Condition {
        let fetching = self.wants.iter().filter(|want| want.is_fetching()).count();
        Condition {
            starved: self.late_at.is_some_and(|at| now.since(at) < STARVED_MEMORY),
            may_fetch: self.may_fetch,
            wired: self.discovery.is_wired(),
            speed: crate::rank::speed(self.link_rate),
            fetching: u8::try_from(fetching).unwrap_or(u8::MAX),
            wires: !self.discovery.is_wired()
                && now >= self.wires_unwilling_until
                && self.discovery.peers().routable().any(Peer::may_lead),
            followed: true,
            crowded: self.discovery.is_crowded(),
        }
    }

    /// The same, as far as one content goes.
    fn condition_for(&self, now: Instant, id: PublicId) -> Condition {
        let want = self.wants.iter().find(|want| want.is_called(id));
        let followed = self.slots.is_read(|read| read == id || want.is_some_and(|want| want.is_called(read)));
        Condition { followed, ..self.condition(now) }
    }

    /// What all uploads together may take, in bytes per second: a source that is fed to that is fed to its speed.
    pub fn set_upload_limit(&mut self, bytes_per_second: Option<u64>) {
        self.upload_limit = bytes_per_second;
    }

    /// The fastest that anything came, in bytes per second, or what the link's driver says.
    fn best_rate(&self) -> u64 {
        self.wants.iter().map(Want::best_rate).fold(self.link_rate, u64::max)
    }
}

#[cfg(test)]
mod tests;
