//! What goes wrong: devices, links, clocks, and neighbours that mean harm.

use std::rc::Rc;

use p2p_agent::content::{NodeId, Rank, Standing, State};
use p2p_agent::discovery::To;
use p2p_agent::limits::DATAGRAM_BYTES;
use p2p_agent::wire::{Announce, Datagram};

use crate::event::Event;
use crate::node::{Client, Relay, Side, Us};
use crate::world::{MS, World, bytes};

const HOSTILE_PAUSE: Us = 100 * MS;

/// What goes wrong, when.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Power fails; the sync starts again after a boot.
    Off(usize),
    On(usize),
    /// Power fails on whoever downloads, once it has half of the content.
    OffFetcherAtHalf,
    /// The wall clock is set.
    Step(usize, i64),
    /// Both cores are busy.
    Busy(usize, Us),
    /// Only devices of the same island reach each other.
    Split(usize),
    Heal,
}

impl World {
    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Off(node) => self.power_off(node),
            Fault::On(node) => {
                self.coming -= 1;
                self.at(self.now, Event::Boot(node));
            }
            Fault::OffFetcherAtHalf => self.half = true,
            Fault::Step(node, ns) => self.nodes[node].clock.wall_ns += ns,
            Fault::Busy(node, span) => {
                self.note(node, "is busy for µs", span, 0);
                self.nodes[node].busy_until = self.now + span;
            }
            Fault::Split(half) => {
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    node.island = u8::from(at >= half);
                }
                for flow in &mut self.flows {
                    let apart = flow.source.is_some_and(|s| self.nodes[s].island != self.nodes[flow.to].island);
                    flow.dead |= apart;
                }
            }
            Fault::Heal => self.nodes.iter_mut().for_each(|node| node.island = 0),
        }
    }

    pub fn power_off(&mut self, node: usize) {
        self.note(node, "loses power", 0, 0);
        let device = &mut self.nodes[node];
        device.on = false;
        device.epoch += 1;
        let counted = device.files.iter().filter(|file| file.client != Client::Done).count();
        self.unfinished -= counted;
        for file in &mut self.nodes[node].files {
            file.serial += 1;
            file.client_serial += 1;
            file.relay = Relay::Off;
            (file.stream, file.moving, file.look) = (0, None, Default::default());
            if file.client != Client::Done {
                file.client = Client::Idle;
            }
        }
        for flow in &mut self.flows {
            if flow.source == Some(node) {
                flow.dead = true;
                flow.slot = None;
                self.nodes[node].served = 0;
            }
            if flow.to == node {
                flow.dead = true;
                flow.over |= flow.source.is_none();
            }
        }
    }

    pub fn hostile(&mut self, node: usize) {
        match self.nodes[node].side {
            Side::Honest => return,
            Side::Replays => {
                if !self.heard.is_empty() {
                    let at = self.dice.below(self.heard.len() as u64) as usize;
                    let bytes = *self.heard[at];
                    self.send(node, To::Broadcast, bytes);
                }
            }
            side @ (Side::Stalls | Side::Forges) => {
                let standing = self.lie(0);
                let mut announce = Announce {
                    node: NodeId(bytes(&mut self.dice)),
                    id: self.contents[0].keys.id(),
                    standing,
                    claimed_ms: u32::MAX,
                    nonce: bytes(&mut self.dice),
                    mac: bytes(&mut self.dice),
                };
                if side == Side::Stalls {
                    announce.mac = self.contents[0].keys.announce_mac(&announce);
                }
                let mut bytes = [0; DATAGRAM_BYTES];
                Datagram::Announce(announce).encode(&mut bytes);
                self.send(node, To::Broadcast, bytes);
            }
        }
        self.after(HOSTILE_PAUSE, Event::Hostile(node));
    }

    /// What a hostile device with keys says: it is about to fetch, better placed than anybody, and has a little more each time.
    pub fn lie(&mut self, content: usize) -> Standing {
        let size = self.contents[content].size;
        let state = if self.seed % 2 == 0 { State::Fetching } else { State::Claiming };
        let available = if state == State::Fetching { (self.now / 1_000).min(size) } else { 0 };
        Standing { state, size: Some(size), available, active: 0, rank: Rank([0xff; 16]), attempt: 1 }
    }

    pub fn overhear(&mut self, node: usize, bytes: &Rc<[u8; DATAGRAM_BYTES]>) {
        let _ = node;
        if matches!(Datagram::decode(&bytes[..]), Ok(Datagram::Announce(_))) && self.heard.len() < 1_000 {
            self.heard.push(bytes.clone());
        }
    }
}
