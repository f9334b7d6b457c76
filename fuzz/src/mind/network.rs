//! What comes from the network: datagrams, and queries with their takes.

use p2p_agent::agent::{Held, IfIndex};
use p2p_agent::content::NodeId;
use p2p_agent::exchange::PeerRequest;
use p2p_agent::handshake::{Answerer, Asker};
use p2p_agent::limits::{CONTENT_BYTES, DATAGRAM_BYTES, HINT_INTERVAL, SLOTS};
use p2p_agent::time::Timestamp;
use p2p_agent::wire::{Announce, Datagram, Echo, Flags, Probe, Reply, os_version};
use std::net::Ipv4Addr;

use super::super::bytes::Bytes;
use super::super::site::{address, keys};
use super::{DEVICE, Driver, standing};

impl Driver {
    pub(super) fn hear(&mut self, from: Ipv4Addr, datagram: &Datagram) {
        let mut bytes = [0; DATAGRAM_BYTES];
        datagram.encode(&mut bytes);
        let wall = self.wall();
        let hint = self.agent.handle_datagram(self.now, wall, IfIndex(1), from, &bytes);
        let Some(hint) = hint else { return };
        assert_eq!((hint.peer, hint.interface), (from, IfIndex(1)));
        let Datagram::Announce(announce) = datagram else { panic!("only an announcement hints") };
        assert_eq!(announce.id, hint.id);
        if let Some(last) = self.hinted.insert(hint.id, self.now) {
            let renewed = !self.agent.wants().any(|want| want.keys().id() == hint.id);
            assert!(renewed || self.now.since(last) >= HINT_INTERVAL, "recorded announcements cost little");
        }
    }

    pub(super) fn probe(&mut self, input: &mut Bytes<'_>) {
        let from = self.stranger(input);
        let probe = Probe {
            node: NodeId([input.byte(); 8]),
            os: os_version("x"),
            nonce: [input.byte(); 16],
            origin: Timestamp::from_nanos(input.long() as i64),
            interval_ms: input.short(),
            flags: Flags::from(input.byte()),
        };
        self.hear(from, &Datagram::Probe(probe));
    }

    pub(super) fn reply(&mut self, input: &mut Bytes<'_>) {
        self.timer();
        if self.probes.is_empty() {
            return;
        }
        let (_, probe) = self.probes[input.below(self.probes.len())].clone();
        let from = self.stranger(input);
        let near = input.flag();
        let skew = if near { i64::from(input.short()) * 1_000 } else { input.long() as i64 };
        let node = NodeId([input.byte(); 8]);
        let (interval_ms, bits) = (input.short(), input.byte());
        let reply = Reply {
            node,
            os: os_version("y"),
            interval_ms,
            flags: Flags::from(bits),
            echo: Echo::from(&probe),
            receive: Timestamp::from_nanos(probe.origin.as_nanos().saturating_add(skew)),
            transmit: Timestamp::from_nanos(probe.origin.as_nanos().saturating_add(skew)),
            probe: (bits & 8 != 0).then_some([bits; 16]),
        };
        self.hear(from, &Datagram::Reply(reply));
        let _ = self.agent.discovery.clock(self.now);
    }

    pub(super) fn announce(&mut self, input: &mut Bytes<'_>) {
        let (from, keys) = (self.stranger(input), keys(input.below(4)));
        let mut announce = Announce {
            node: NodeId([input.byte(); 8]),
            id: keys.id(),
            standing: standing(input),
            claimed_ms: 0,
            nonce: [input.byte(); 16],
            mac: [0; 16],
        };
        announce.mac = keys.announce_mac(&announce);
        if self.agent.want(keys.id()).is_none() {
            self.hinted.remove(&keys.id());
        }
        self.hear(from, &Datagram::Announce(announce));
    }

    /// A peer asks, and perhaps takes; or sends an old query again.
    pub(super) fn query(&mut self, input: &mut Bytes<'_>) {
        let own = address(1, DEVICE);
        if input.flag() && !self.queries.is_empty() {
            let (content, from, query) = self.queries[input.below(self.queries.len())];
            let held = Held::Complete(9);
            let again = self.agent.handle_query(self.now, IfIndex(1), (from, own), &keys(content), &query, || held);
            assert!(again.is_none(), "a query is answered once");
            return;
        }
        let (from, content) = (self.stranger(input), input.below(4));
        let keys = keys(content);
        let nonce = self.agent.random();
        let mut asker = Asker::new(&keys, from, own, standing(input), nonce);
        let query = asker.query(&keys);
        let held = match input.below(3) {
            0 => Held::Nothing,
            1 => Held::Part(input.number(CONTENT_BYTES)),
            _ => Held::Complete(input.number(CONTENT_BYTES)),
        };
        let answered = self.agent.handle_query(self.now, IfIndex(1), (from, own), &keys, &query, || held);
        self.queries.push((content, from, query));
        self.queries.truncate(64);
        let Some((answerer, answer, _)) = answered else { return };
        let said = asker.handle_answer(&keys, &answer).expect("a true answer");
        assert!(said.is_plausible(), "{said:?}");
        assert!(usize::from(said.active) <= SLOTS);
        let known = match held {
            Held::Nothing => 0,
            Held::Part(bytes) | Held::Complete(bytes) => bytes,
        };
        assert!(said.available <= known, "no more than is there is promised");
        let offset = input.number(CONTENT_BYTES);
        let take = asker.take(&keys, offset, input.flag());
        let PeerRequest::Take { id, alternative, proof, .. } = take else { panic!("a take") };
        if input.flag() {
            let other = PeerRequest::Take { id, offset: offset ^ 1, alternative, proof };
            assert!(answerer.handle_take(&keys, &other).is_err(), "another range");
        } else if input.flag() {
            let other = PeerRequest::Take { id, offset, alternative: !alternative, proof };
            assert!(answerer.handle_take(&keys, &other).is_err(), "another urgency");
        } else {
            let third = Answerer::accept(&keys, from, address(1, 99), &query);
            assert!(third.is_err(), "another device");
            let granted = answerer.handle_take(&keys, &take).map_err(|_| ()).expect("a true take");
            let (given, _) = granted.give(&keys, self.agent.random());
            assert!(asker.handle_given(&keys, &given).is_ok());
        }
    }
}
