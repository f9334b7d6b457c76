//! The counterpart of `src/bin/p2p-agent/run.rs`: boot, datagrams, timers, the watch over a download.

use std::rc::Rc;

use p2p_agent::agent::{Agent, Held};
use p2p_agent::limits::{DATAGRAM_BYTES, FETCH_BEACON, RELAYS};
use p2p_agent::random::Random;
use p2p_agent::time::Instant;

use crate::event::Event;
use crate::node::{Client, Relay, Side, Us};
use crate::world::{ETH, World, address, bytes};

/// Prefix length of the site's subnet.
const PREFIX: u8 = 16;

impl World {
    pub fn boot(&mut self, node: usize) {
        self.coming -= 1;
        let seed = bytes(&mut self.dice);
        let now = self.local(node);
        let device = &mut self.nodes[node];
        device.on = true;
        device.epoch += 1;
        device.timer_at = Us::MAX;
        device.served = 0;
        device.lines.clear();
        device.hints.clear();
        device.watching = false;
        device.agent = Agent::new("sim", Random::from_seed(seed));
        device.agent.set_may_fetch(device.may_fetch);
        if !device.link.wifi {
            // The driver knows what a wire can carry.
            device.agent.set_link_rate(device.link.down as u64);
        }
        device.agent.handle_interface_up(now, ETH, device.address, PREFIX, !device.link.wifi);
        if device.side == Side::Honest {
            self.begin_sync(node);
        } else {
            self.at(self.now, Event::Hostile(node));
        }
        self.note(node, "boots", 0, 0);
        self.settle(node);
    }

    /// The sync client starts `RELAYS` jobs, each at its time.
    fn begin_sync(&mut self, node: usize) {
        let device = &mut self.nodes[node];
        device.jobs = (0..device.files.len()).filter(|at| device.files[*at].client == Client::Idle).collect();
        let wanted = device.jobs.iter().filter(|at| !device.files[**at].complete).count();
        self.unfinished += wanted;
        let (epoch, files) = (self.nodes[node].epoch, &self.nodes[node].files);
        let told_at = files.iter().filter(|file| !file.complete).map(|file| file.begins_at).min();
        if let Some(at) = told_at.filter(|_| files.len() > 1) {
            self.at(at.max(self.now), Event::Named { node, epoch });
        }
        for _ in 0..RELAYS {
            self.next_job(node);
        }
    }

    pub fn next_job(&mut self, node: usize) {
        while let Some(content) = self.nodes[node].jobs.pop_front() {
            let file = &mut self.nodes[node].files[content];
            if file.complete {
                file.client = Client::Done;
                continue;
            }
            file.client = Client::Pausing;
            let (at, serial) = (file.begins_at.max(self.now), file.client_serial);
            return self.at(at, Event::Client { node, content, serial });
        }
    }

    pub fn datagram(&mut self, node: usize, from: usize, bytes: &Rc<[u8; DATAGRAM_BYTES]>) {
        if !self.nodes[node].on {
            return;
        }
        if self.nodes[node].side != Side::Honest {
            self.overhear(node, bytes);
        }
        let (now, wall) = (self.local(node), self.nodes[node].clock.wall(self.now));
        let hint = self.nodes[node].agent.handle_datagram(now, wall, ETH, address(from), &bytes[..]);
        if let Some(hint) = hint {
            self.follow_hint(node, hint);
        }
        self.stir(node);
    }

    pub fn timer(&mut self, node: usize, epoch: u32) {
        if epoch != self.nodes[node].epoch || !self.nodes[node].on {
            return;
        }
        let (now, wall) = (self.local(node), self.nodes[node].clock.wall(self.now));
        let due = self.nodes[node].clock.local(self.nodes[node].timer_at);
        self.nodes[node].timer_at = Us::MAX;
        let at = self.nodes[node].agent.poll_timeout();
        if at <= now {
            self.nodes[node].agent.handle_timeout(now, wall, due.min(now));
        }
        self.stir(node);
    }

    /// Sends what the mind has to say and sets its timer.
    pub fn settle(&mut self, node: usize) {
        let wall = self.nodes[node].clock.wall(self.now);
        let now = self.local(node);
        for _ in 0..4 {
            while let Some(transmit) = self.nodes[node].agent.poll_transmit(now, wall) {
                self.send(node, transmit.to, transmit.bytes);
            }
            if self.nodes[node].agent.poll_timeout() > now {
                break;
            }
            self.nodes[node].agent.handle_timeout(now, wall, Instant::ZERO);
        }
        let due = self.nodes[node].agent.poll_timeout();
        if due == Instant::FAR {
            return;
        }
        let at = self.nodes[node].clock.global(due).max(self.now + 1);
        if at < self.nodes[node].timer_at {
            self.nodes[node].timer_at = at;
            let epoch = self.nodes[node].epoch;
            self.at(at, Event::Timer { node, epoch });
        }
    }

    /// The mind may have something new to say to whoever waits.
    pub fn stir(&mut self, node: usize) {
        for content in 0..self.contents.len() {
            if matches!(self.nodes[node].files[content].relay, Relay::Waiting { .. }) {
                self.drive(node, content);
            }
        }
        self.settle(node);
    }

    /// Watches the growth of what the client downloads.
    pub fn watch(&mut self, node: usize, epoch: u32) {
        if epoch != self.nodes[node].epoch {
            return;
        }
        let now = self.local(node);
        let mut any = false;
        for content in 0..self.contents.len() {
            let id = self.contents[content].keys.id();
            let held = self.held(node, content);
            let Some(want) = self.nodes[node].agent.want_mut(id) else { continue };
            if !want.is_watched() {
                continue;
            }
            any = true;
            self.look_round(node, content);
            let Some(want) = self.nodes[node].agent.want_mut(id) else { continue };
            match held {
                Held::Nothing => {}
                Held::Part(bytes) => want.handle_growth(now, bytes),
                Held::Complete(_) => want.handle_release(now),
            }
        }
        self.nodes[node].watching = any;
        if any {
            self.after(FETCH_BEACON.as_micros() as Us, Event::Watch { node, epoch });
        }
        self.settle(node);
    }

    pub fn watch_soon(&mut self, node: usize) {
        if !self.nodes[node].watching {
            self.nodes[node].watching = true;
            let epoch = self.nodes[node].epoch;
            self.at(self.now, Event::Watch { node, epoch });
        }
    }
}
