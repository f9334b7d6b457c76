//! What is done with a datagram of each kind.

use core::net::Ipv4Addr;

use super::values::Outgoing;
use super::{Discovery, Dropped, Heard, believed};
use crate::clock::Exchange;
use crate::content::NodeId;
use crate::limits;
use crate::peer::{Candidate, IfIndex, PeerState, distance};
use crate::time::{Instant, Timestamp};
use crate::wire::{Datagram, Echo, Probe, Reply};

impl Discovery {
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        received: Timestamp,
        interface: IfIndex,
        from: Ipv4Addr,
        bytes: &[u8],
    ) -> Result<Option<Heard>, Dropped> {
        let link = self.interfaces.iter().find(|known| known.index == interface).ok_or(Dropped::Interface)?;
        if !link.is_on_link(from) {
            return Err(Dropped::OffLink);
        }
        match Datagram::decode(bytes)? {
            Datagram::Probe(probe) if probe.node != self.node => self.on_probe(now, received, interface, from, &probe),
            Datagram::Reply(reply) if reply.node != self.node => {
                let heard = self.on_reply(now, received, interface, from, &reply)?;
                if let Some(probe) = reply.asked() {
                    self.answer(now, received, (interface, from), &probe)?;
                }
                Ok(heard)
            }
            Datagram::Announce(announce) if announce.node != self.node => {
                Ok(Some(Heard::Announce { interface, from, announce }))
            }
            Datagram::Probe(_) | Datagram::Reply(_) | Datagram::Announce(_) => Err(Dropped::Own),
        }
    }

    /// Answers a probe; a stranger is let in as `Heard` and will be probed back.
    fn on_probe(
        &mut self,
        now: Instant,
        received: Timestamp,
        interface: IfIndex,
        from: Ipv4Addr,
        probe: &Probe,
    ) -> Result<Option<Heard>, Dropped> {
        self.census.handle_address(now, from);
        self.afford_reply(now, interface, from)?;
        self.on_heard(now, interface, from, probe.node)?;
        self.queue_reply(received, (interface, from), probe)
    }

    /// Answers the probe that a reply carried.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        received: Timestamp,
        (interface, from): (IfIndex, Ipv4Addr),
        probe: &Probe,
    ) -> Result<Option<Heard>, Dropped> {
        self.afford_reply(now, interface, from)?;
        self.queue_reply(received, (interface, from), probe)
    }

    fn afford_reply(&mut self, now: Instant, interface: IfIndex, from: Ipv4Addr) -> Result<(), Dropped> {
        if !self.sources.bucket(from).take(now, limits::REPLIES_PER_SOURCE) {
            return Err(Dropped::SourceBusy);
        }
        let known = self.peers.get(interface, from).is_some_and(|peer| peer.is_routable());
        let everybody = if known { &mut self.replies_to_peers } else { &mut self.replies_to_strangers };
        if everybody.take(now, limits::REPLIES_OVERALL) { Ok(()) } else { Err(Dropped::Busy) }
    }

    fn queue_reply(
        &mut self,
        receive: Timestamp,
        (interface, to): (IfIndex, Ipv4Addr),
        probe: &Probe,
    ) -> Result<Option<Heard>, Dropped> {
        let reply = Outgoing::Reply { interface, to, echo: Echo::from(probe), receive, probe: None };
        self.outbox.push_back(reply).map_err(|_| Dropped::Busy)?;
        Ok(None)
    }

    /// Something that proves nothing came from this node: unless it is known there already, it is to be probed alone.
    fn on_heard(&mut self, now: Instant, interface: IfIndex, from: Ipv4Addr, node: NodeId) -> Result<(), Dropped> {
        let own_interval = self.announced_interval();
        let candidate = Candidate { interface, addr: from, node: Some(node), state: PeerState::Heard };
        let is_known = self.peers.get(interface, from).is_some();
        let has_room = self.peers.routable().count() < limits::SPARSE_TABLE;
        if !is_known && !has_room && distance(self.node, node) > self.census.neighbourhood() {
            return Err(Dropped::TableFull);
        }
        let peer = self.peers.admit(now, self.node, own_interval, candidate).ok_or(Dropped::TableFull)?;
        let asked_lately = peer.asked_at.is_some_and(|at| now.since(at) < limits::REPROBE_AFTER);
        if (!peer.is_routable() || peer.node != Some(node)) && !asked_lately {
            peer.ask_at = peer.ask_at.min(now);
        }
        Ok(())
    }

    /// Takes a reply: a sign of life and a clock sample from a peer, a reason to probe a stranger.
    fn on_reply(
        &mut self,
        now: Instant,
        received: Timestamp,
        interface: IfIndex,
        from: Ipv4Addr,
        reply: &Reply,
    ) -> Result<Option<Heard>, Dropped> {
        if reply.echo.node != self.node {
            return Err(Dropped::Nonce);
        }
        let asked = self.nonces.answer(&reply.echo.nonce, interface, from, now).ok_or(Dropped::Nonce)?;
        if asked.origin.is_some_and(|origin| origin != reply.echo.origin) {
            return Err(Dropped::Nonce);
        }
        if asked.to.is_none() {
            self.on_heard(now, interface, from, reply.node)?;
        }
        let state = if asked.to.is_some() { PeerState::Probed } else { PeerState::Heard };
        let candidate = Candidate { interface, addr: from, node: Some(reply.node), state };
        let own_interval = self.announced_interval();
        let peer = self.peers.admit(now, self.node, own_interval, candidate).ok_or(Dropped::TableFull)?;
        if peer.node != Some(reply.node) {
            if asked.to.is_none() && peer.is_routable() {
                return Ok(None);
            }
            peer.replace_node(reply.node);
        }
        if asked.to.is_none() && peer.answered.replace(asked.sequence) == Some(asked.sequence) {
            return Err(Dropped::Duplicate);
        }
        peer.os = reply.os.clone();
        peer.flags = reply.flags;
        peer.interval = believed(reply.interval_ms).max(own_interval);
        if peer.is_routable() {
            peer.last_heard = peer.last_heard.max(now);
            peer.ask_at = Instant::FAR;
        }
        let exchange = asked.origin.map(|origin| Exchange {
            origin,
            receive: reply.receive,
            transmit: reply.transmit,
            destination: received,
            elapsed: now.since(asked.sent_at),
        });
        if let Some(sample) = exchange.and_then(|exchange| exchange.sample(now)) {
            peer.clock.handle_sample(sample);
        }
        Ok(None)
    }
}
