//! Discovery (design section 5, behaviours 39 to 45): every node broadcasts probes, everybody answers by unicast, and from the answers
//! each knows who is there, how far away, and what time they think it is.
//!
//! # Calls
//!
//! Input comes through `handle_*`; after each, [`Discovery::poll_transmit`] is drained until `None`, then the driver waits until
//! [`Discovery::poll_timeout`] and calls [`Discovery::handle_timeout`]. Datagrams get their timestamps when they are polled, so that waiting
//! in a queue adds no error: poll when the socket is writable, send at once.
//!
//! # Trust
//!
//! A datagram counts only from a host address of the receiving interface's own subnet. A reply counts only if its nonce is outstanding
//! (`nonces`). Who is heard for the first time is probed alone with another nonce; without that answer nobody becomes a peer. None of
//! this authenticates: it keeps blind and off-link senders out and the table true. Who is asked for bytes is decided by proofs.
//!
//! # Packets
//!
//! Let each of N nodes broadcast every I seconds. It sends 1/I broadcasts and answers those of the N-1 others: N/I datagrams per second,
//! so a constant I costs a site N² / I. With `limits::PROBED_PEERS` = 8 peers and I = 3 s that is 9/3 = 3 datagrams per second, the most that
//! an idle node may send. Beyond 8 peers the interval stretches in proportion, and with n peers in the table
//!
//! ```text
//! I = 3 s * max(1, n/8)        (n + 1) / I <= 3 per second for every n >= 0; with n = 127, I = 47.6 s and 2.7 per second
//! ```
//!
//! There is no second round of unicast probes: every answer to a broadcast is a clock sample and a sign of life. Alone, a peer is probed when
//! it is new and once when it has missed two intervals, both rare. The announced interval is I plus its jitter.
//! A table holds 128, so n, I and the replies stop growing there. On larger sites (`census`) a node is the neighbour of some 112 others
//! only, by a distance that both ends compute alike ([`crate::peer`]); to the other strangers it does not answer. So tables stay mutual and traffic
//! grows with N, not N². With 500 nodes the simulation in this module counts 2.6 per second.
//! Several interfaces share I: what counts is the sum over all of them.
//!
//! # Floods
//!
//! Datagrams to an address are answers, each as long as the probe it answers and within a budget for the source and one for all sources
//! (peers and strangers apart, so that strangers cannot use up the answers that peers wait for), and own probes: one for each stranger
//! heard, out of the same budget of the source and one for all strangers. A stranger that sent a probe gets its probe inside the answer ([`wire::Reply`]),
//! and no other one later. So whoever forges an address gets at most one datagram sent to it for each of his, of the same length, and never more
//! than `limits::REPLIES_PER_SOURCE`.

mod bucket;
mod census;
mod counters;
mod hear;
mod interface;
mod nonces;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod values;

use core::net::Ipv4Addr;

use heapless::{Deque, Vec};

use crate::clock::{ClockReport, StepWatch};
use crate::content::NodeId;
use crate::limits;
use crate::peer::{Candidate, IfIndex, PeerState, PeerTable};
use crate::random::Random;
use crate::time::{Duration, Instant, Timestamp};
use crate::wire::{self, Datagram, Flags, OsVersion, Probe, Reply};

use bucket::{Bucket, Sources};
use census::Census;
pub use counters::{Counters, Dropped};
pub use interface::is_on_link;
use interface::{Interface, with_jitter};
use nonces::Nonces;
use values::Outgoing;
pub use values::{Heard, InterfaceUp, To, Transmit};

/// The discovery state machine; see the module.
#[derive(Debug)]
pub struct Discovery {
    node: NodeId,
    os: OsVersion,
    starved: bool,
    interfaces: Vec<Interface, { limits::INTERFACES }>,
    peers: PeerTable,
    nonces: Nonces,
    outbox: Deque<Outgoing, { limits::OUTBOX }>,
    sources: Sources,
    replies_to_peers: Bucket,
    replies_to_strangers: Bucket,
    probes_to_strangers: Bucket,
    census: Census,
    own_clock: StepWatch,
    counters: Counters,
}

impl Discovery {
    /// A node without interfaces; `os` as far as [`wire::os_version`] lets it through.
    pub fn new(node: NodeId, os: &str) -> Self {
        Self {
            node,
            os: wire::os_version(os),
            starved: false,
            interfaces: Vec::new(),
            peers: PeerTable::new(),
            nonces: Nonces::new(),
            outbox: Deque::new(),
            sources: Sources::new(),
            replies_to_peers: Bucket::new(),
            replies_to_strangers: Bucket::new(),
            probes_to_strangers: Bucket::new(),
            census: Census::new(),
            own_clock: StepWatch::new(),
            counters: Counters::default(),
        }
    }

    /// An interface can be used, or got another address: probing starts from the beginning.
    pub fn handle_interface_up(
        &mut self,
        now: Instant,
        index: IfIndex,
        addr: Ipv4Addr,
        prefix: u8,
        wired: bool,
    ) -> InterfaceUp {
        if addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast() || prefix > 31 {
            return InterfaceUp::Unusable;
        }
        if let Some(known) = self.interfaces.iter_mut().find(|known| known.index == index) {
            if (known.addr, known.prefix) == (addr, prefix) {
                known.wired = wired;
                return InterfaceUp::Unchanged;
            }
            self.handle_interface_down(now, index);
        }
        match self.interfaces.push(Interface::new(now, index, addr, prefix, wired)) {
            Ok(()) => InterfaceUp::Started,
            Err(_) => InterfaceUp::Full,
        }
    }

    /// Whether any interface is a wire: one is enough, whatever else there is. Without interfaces nothing speaks against it.
    pub fn is_wired(&self) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|interface| interface.wired)
    }

    /// An interface is gone, and its peers with it.
    pub fn handle_interface_down(&mut self, _now: Instant, index: IfIndex) {
        self.interfaces.retain(|interface| interface.index != index);
        self.peers.remove_interface(index);
        self.nonces.remove_interface(index);
        for _ in 0..self.outbox.len() {
            if let Some(outgoing) = self.outbox.pop_front().filter(|outgoing| outgoing.interface() != index) {
                // As many as were taken out go back in.
                let _ = self.outbox.push_back(outgoing);
            }
        }
    }

    /// Tells the peers that bytes over this interface cost money.
    pub fn handle_metered(&mut self, index: IfIndex, metered: bool) {
        self.interfaces.iter_mut().filter(|known| known.index == index).for_each(|known| known.metered = metered);
    }

    /// Tells the peers that this device is too busy to be a good source.
    pub fn handle_starved(&mut self, starved: bool) {
        self.starved = starved;
    }

    /// A datagram came in.
    ///
    /// `now` and `received` are the same moment by the two clocks, as near to the arrival as is known: with a kernel timestamp as
    /// `received`, the time that the datagram lay in the socket may be subtracted from `now`; where not, the error bound is larger.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        received: Timestamp,
        interface: IfIndex,
        from: Ipv4Addr,
        bytes: &[u8],
        random: &mut Random,
    ) -> Option<Heard> {
        let result = self.on_datagram(now, received, interface, from, bytes);
        self.probe_alone(now, random);
        match result {
            Ok(heard) => {
                self.counters.accepted += 1;
                heard
            }
            Err(reason) => {
                self.counters.on_dropped(reason);
                None
            }
        }
    }

    /// This address sent a valid authenticated query or answer: it becomes a proven peer, and is probed if it was unknown.
    pub fn handle_authenticated(&mut self, now: Instant, interface: IfIndex, from: Ipv4Addr) {
        if !self.interfaces.iter().any(|known| known.index == interface && known.is_on_link(from)) {
            return;
        }
        let own_interval = self.announced_interval();
        let candidate = Candidate { interface, addr: from, node: None, state: PeerState::Proven };
        if let Some(peer) = self.peers.admit(now, self.node, own_interval, candidate) {
            peer.last_heard = peer.last_heard.max(now);
            if peer.node.is_none() && peer.asked_at.is_none() {
                peer.ask_at = now;
            }
        }
    }

    /// Sends what is due and drops who has expired. `now` and `wall` are read together.
    pub fn handle_timeout(&mut self, now: Instant, wall: Timestamp, random: &mut Random) {
        self.observe_clock(now, wall);
        // With fewer peers the interval is shorter, and others may have expired by it.
        while self.peers.expire(now, self.announced_interval()) {}
        let interval = self.interval();
        for interface in self.interfaces.iter_mut().filter(|interface| interface.next_probe_at <= now) {
            let probe = Outgoing::Probe { interface: interface.index, to: None, nonce: random.bytes() };
            if self.outbox.push_back(probe).is_ok() {
                interface.on_probe(now, interval, random);
            }
        }
        self.probe_alone(now, random);
    }

    /// When [`Self::handle_timeout`] is to be called; [`Instant::FAR`] without an interface. Drain [`Self::poll_transmit`] first.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let own_interval = self.announced_interval();
        let peers = self.peers.iter().map(|peer| peer.probe_at(own_interval).min(peer.expires_at(own_interval)));
        let probes = self.interfaces.iter().map(|interface| interface.next_probe_at);
        peers.chain(probes).min().unwrap_or(Instant::FAR)
    }

    /// The next datagram to send, stamped with `wall`. `now` and `wall` are read together, right before sending.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant, wall: Timestamp) -> Option<Transmit> {
        self.observe_clock(now, wall);
        loop {
            let outgoing = self.outbox.pop_front()?;
            let interface = outgoing.interface();
            let Some(flags) = self.flags(interface) else { continue };
            let (node, os, interval_ms) = (self.node, self.os.clone(), millis(self.announced_interval()));
            let (to, datagram) = match outgoing {
                Outgoing::Probe { to, nonce, .. } => {
                    self.nonces.insert(nonce, interface, to, now, wall);
                    let counter = if to.is_some() { &mut self.counters.probes } else { &mut self.counters.broadcasts };
                    *counter += 1;
                    (to, Datagram::Probe(Probe { node, os, nonce, origin: wall, interval_ms, flags }))
                }
                Outgoing::Reply { to, echo, receive, probe, .. } => {
                    self.counters.replies += 1;
                    if let Some(nonce) = probe {
                        self.nonces.insert(nonce, interface, Some(to), now, wall);
                    }
                    let transmit = wall;
                    let reply = Reply { node, os, interval_ms, flags, echo, receive, transmit, probe };
                    (Some(to), Datagram::Reply(reply))
                }
            };
            let mut bytes = [0; limits::DATAGRAM_BYTES];
            datagram.encode(&mut bytes);
            return Some(Transmit { interface, to: to.map_or(To::Broadcast, To::Unicast), bytes });
        }
    }

    /// Everybody who was heard.
    pub fn peers(&self) -> &PeerTable {
        &self.peers
    }

    /// The own clock against those of the peers. A node with several addresses counts once.
    pub fn clock(&self, now: Instant) -> ClockReport {
        let is_first =
            |at: usize, node: Option<NodeId>| !self.peers.routable().take(at).any(|earlier| earlier.node == node);
        let nodes = self.peers.routable().enumerate().filter(|&(at, peer)| is_first(at, peer.node));
        ClockReport::combine(nodes.filter_map(|(_, peer)| peer.estimate(now)))
    }

    /// Whether there are more nodes on the links than this one knows.
    pub fn is_crowded(&self) -> bool {
        self.census.is_crowded()
    }

    /// What was sent, accepted and dropped.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Queues the unicast probes that are due, as far as budgets and room go.
    fn probe_alone(&mut self, now: Instant, random: &mut Random) {
        let own_interval = self.announced_interval();
        for peer in self.peers.iter_mut().filter(|peer| peer.probe_at(own_interval) <= now) {
            // A reply that is about to leave for it carries the probe.
            let reply = self.outbox.iter_mut().find_map(|outgoing| match outgoing {
                Outgoing::Reply { interface, to, probe, .. } if (*interface, *to) == (peer.interface, peer.addr) => {
                    Some(probe)
                }
                _ => None,
            });
            let paid = reply.is_some() || self.sources.bucket(peer.addr).take(now, limits::REPLIES_PER_SOURCE);
            let affordable = paid
                && self.nonces.has_unicast_room(now)
                && (peer.is_routable() || self.probes_to_strangers.take(now, limits::PROBES_TO_STRANGERS));
            let (addr, interface, nonce) = (peer.addr, peer.interface, random.bytes());
            let asked = match reply {
                Some(probe) if affordable => {
                    *probe = Some(nonce);
                    true
                }
                Some(_) => {
                    // Later it would be a second datagram for one; a stranger that is there is heard again.
                    peer.ask_at = if peer.is_routable() { peer.ask_at } else { Instant::FAR };
                    false
                }
                None => {
                    affordable && self.outbox.push_back(Outgoing::Probe { interface, to: Some(addr), nonce }).is_ok()
                }
            };
            if asked {
                peer.ask_at = Instant::FAR;
                peer.asked_at = Some(now);
            } else {
                peer.ask_not_before = now + limits::PROBE_POSTPONED;
            }
        }
    }

    /// After a step of the own clock earlier comparisons with it are void.
    fn observe_clock(&mut self, now: Instant, wall: Timestamp) {
        if self.own_clock.observe(now, wall) {
            self.nonces.on_clock_step();
            self.peers.iter_mut().for_each(|peer| peer.clock.clear());
        }
    }

    /// Between two broadcast probes, before jitter; see the module's arithmetic.
    fn interval(&self) -> Duration {
        let others = self.peers.routable().count() + self.interfaces.len().saturating_sub(1);
        let stretched = limits::PROBE_INTERVAL * u32::try_from(others).unwrap_or(u32::MAX) / PROBED_PEERS;
        stretched.max(limits::PROBE_INTERVAL)
    }

    /// What is announced, and after three of which a silent peer has expired.
    fn announced_interval(&self) -> Duration {
        with_jitter(self.interval()).min(limits::INTERVAL_MAX)
    }

    fn flags(&self, index: IfIndex) -> Option<Flags> {
        let interface = self.interfaces.iter().find(|known| known.index == index)?;
        Some(Flags { wired: interface.wired, metered: interface.metered, starved: self.starved })
    }
}

const PROBED_PEERS: u32 = limits::PROBED_PEERS as u32;

/// An announced interval, within what a peer may claim.
fn believed(interval_ms: u16) -> Duration {
    Duration::from_millis(interval_ms.into()).clamp(limits::PROBE_INTERVAL, limits::INTERVAL_MAX)
}

fn millis(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis()).unwrap_or(u16::MAX)
}
