//! Messages over the links: who reaches whom, what is lost, when the rest arrives.

use std::rc::Rc;

use p2p_agent::discovery::To;
use p2p_agent::limits::DATAGRAM_BYTES;

use crate::event::Event;
use crate::node::Us;
use crate::world::{MS, World, place};

/// How much later than the rest a datagram may come.
const LATE: Us = 100 * MS;

impl World {
    pub fn reach(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        a.on && b.on && !(a.isolated && b.isolated) && a.island == b.island
    }

    pub fn loss(&self, a: usize, b: usize) -> f64 {
        self.site.loss + self.nodes[a].loss + self.nodes[b].loss
    }

    /// One way, once.
    pub fn delay(&mut self, a: usize, b: usize) -> Us {
        let mut delay = self.dice.between(150, 400);
        for node in [a, b] {
            delay += self.nodes[node].delay;
            if self.nodes[node].link.wifi {
                delay += self.dice.between(MS, 6 * MS);
            }
            if self.nodes[node].loaded {
                delay += self.dice.below(4 * MS);
            }
        }
        delay
    }

    /// One message over TCP: lost segments come again after the kernel's time-out, which doubles.
    pub fn message_delay(&mut self, a: usize, b: usize, first_timeout: Us) -> Us {
        let (mut total, mut again) = (0, first_timeout);
        let loss = self.loss(a, b);
        while self.dice.chance(loss) {
            total += again;
            again *= 2;
        }
        total + self.delay(a, b)
    }

    pub fn send(&mut self, from: usize, to: To, bytes: [u8; DATAGRAM_BYTES]) {
        self.nodes[from].datagrams += 1;
        let bytes = Rc::new(bytes);
        match to {
            To::Broadcast => (0..self.nodes.len()).for_each(|to| self.send_to(from, to, &bytes, true)),
            To::Unicast(address) => {
                if let Some(to) = place(address).filter(|to| *to < self.nodes.len()) {
                    self.send_to(from, to, &bytes, false);
                }
            }
        }
    }

    fn send_to(&mut self, from: usize, to: usize, bytes: &Rc<[u8; DATAGRAM_BYTES]>, broadcast: bool) {
        if from == to || !self.reach(from, to) {
            return;
        }
        // Over the air nobody acknowledges a broadcast.
        let wifi = broadcast && (self.nodes[from].link.wifi || self.nodes[to].link.wifi);
        let loss = self.loss(from, to) + if wifi { 0.02 } else { 0.0 };
        let duplicate = self.dice.chance(self.site.duplicates);
        for _ in 0..1 + usize::from(duplicate) {
            if !self.dice.chance(loss) {
                let mut delay = self.delay(from, to);
                if self.dice.chance(self.site.late) {
                    delay += self.dice.below(LATE);
                }
                self.after(delay, Event::Datagram { to, from, bytes: bytes.clone() });
            }
        }
    }
}
