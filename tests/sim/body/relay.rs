//! The counterpart of `relay/`: one response to the local client.

use std::net::Ipv4Addr;

use p2p_agent::content::Standing;
use p2p_agent::want::{SourceEnd, Step};

use crate::event::{Event, Taken};
use crate::node::{Client, Relay, Us};
use crate::world::{World, address, place};

impl World {
    pub fn drive(&mut self, node: usize, content: usize) {
        let id = self.contents[content].keys.id();
        for _ in 0..8 {
            let now = self.local(node);
            let step = self.nodes[node].agent.poll_want(now, id);
            match step {
                Some(Step::Query) => {
                    self.note(node, "asks everybody", content as u64, 0);
                    self.round(node, content);
                    return self.settle(node);
                }
                Some(Step::Follow { peer, alternative }) => return self.follow(node, content, peer, alternative),
                Some(Step::Wait { until }) if until <= now => {}
                Some(Step::Wait { until }) => {
                    let at = self.nodes[node].clock.global(until);
                    let file = &mut self.nodes[node].files[content];
                    if !matches!(file.relay, Relay::Waiting { until } if until == at) {
                        file.relay = Relay::Waiting { until: at };
                        file.serial += 1;
                        let serial = file.serial;
                        self.at(at, Event::Relay { node, content, serial });
                    }
                    return;
                }
                Some(Step::Fetch { .. }) | None => return self.respond_fetch(node, content),
            }
        }
        self.fail("the mind turns in a circle");
    }

    pub fn wake(&mut self, node: usize, content: usize, serial: u32) {
        let file = &self.nodes[node].files[content];
        if file.serial == serial && matches!(file.relay, Relay::Waiting { .. }) {
            self.nodes[node].files[content].relay = Relay::Off;
            self.drive(node, content);
            self.settle(node);
        }
    }

    fn follow(&mut self, node: usize, content: usize, peer: Ipv4Addr, alternative: bool) {
        let Some(peer) = place(peer) else { self.fail("follows nobody") };
        let serial = self.serial();
        let file = &mut self.nodes[node].files[content];
        file.serial += 1;
        file.relay = Relay::Taking { peer };
        (file.stream, file.moving) = (serial, None);
        let patience = 2 * self.nodes[node].agent.patience(address(peer)).as_micros() as Us;
        self.send_take(node, peer, content, (serial, alternative), patience);
    }

    pub fn taken(&mut self, peer: usize, node: usize, content: usize, serial: u32, taken: Taken) {
        if self.nodes[node].files[content].moving == Some((peer, serial)) {
            return self.moved(peer, node, content, serial, taken);
        }
        let file = &mut self.nodes[node].files[content];
        if file.stream != serial || !matches!(file.relay, Relay::Taking { peer: asked } if asked == peer) {
            return;
        }
        match taken {
            Taken::Records(_) => {
                file.relay = Relay::Following;
                file.client = Client::Asking { begun: true };
                file.moves += 1;
                let part = file.part;
                self.note(node, "follows", peer as u64, part);
                self.check_cycle(node, content);
            }
            Taken::Busy => self.end_source(node, content, peer, SourceEnd::Busy),
            Taken::NotAhead => self.end_source(node, content, peer, SourceEnd::Exhausted),
            Taken::TimedOut => self.end_source(node, content, peer, SourceEnd::Cut),
        }
    }

    /// The answer of another source, while the present one goes on.
    fn moved(&mut self, peer: usize, node: usize, content: usize, serial: u32, taken: Taken) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.moving = None;
        if !matches!(file.relay, Relay::Following) {
            return;
        }
        let granted = file.look.answers.iter().find(|answer| answer.peer == address(peer));
        let moved = match taken {
            Taken::Records(_) => {
                Ok(granted.map_or(Standing { attempt: 1, ..Standing::default() }, |answer| answer.standing))
            }
            Taken::Busy => Err(SourceEnd::Busy),
            Taken::NotAhead => Err(SourceEnd::Exhausted),
            Taken::TimedOut => Err(SourceEnd::Cut),
        };
        let part = file.part;
        if moved.is_ok() {
            file.stream = serial;
            file.moves += 1;
        }
        self.note(node, if moved.is_ok() { "moves to" } else { "may not move to" }, peer as u64, part);
        if let Some(want) = self.nodes[node].agent.want_mut(id) {
            want.handle_moved(now, address(peer), moved);
        }
        if moved.is_err() {
            return self.end_look(node, content);
        }
        self.drop_flows(node, content, Some(serial));
        self.check_cycle(node, content);
    }

    /// The mind lets another device go ahead.
    pub fn leave(&mut self, node: usize, content: usize) {
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        let part = file.part;
        self.note(node, "steps back", content as u64, part);
        self.drop_flows(node, content, None);
        self.drive(node, content);
        self.settle(node);
    }

    /// All that come to this device, but for the one with this number.
    fn drop_flows(&mut self, node: usize, content: usize, kept: Option<u32>) {
        for at in 0..self.flows.len() {
            let flow = &self.flows[at];
            if (flow.to, flow.content) == (node, content) && Some(flow.serial) != kept {
                self.release(at);
                self.flows[at].over = true;
            }
        }
    }

    pub fn end_source(&mut self, node: usize, content: usize, peer: usize, end: SourceEnd) {
        self.note(node, end_word(end), peer as u64, self.nodes[node].files[content].part);
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        self.nodes[node].agent.handle_source_end(now, id, address(peer), end);
        self.drive(node, content);
        self.settle(node);
    }

    /// The bytes have to come from the internet: a 404 before the first byte, a cut after it.
    fn respond_fetch(&mut self, node: usize, content: usize) {
        let (now, id) = (self.local(node), self.contents[content].keys.id());
        let file = &mut self.nodes[node].files[content];
        file.relay = Relay::Off;
        file.serial += 1;
        let begun = file.client == Client::Asking { begun: true };
        if !begun {
            self.nodes[node].agent.handle_told(now, id);
        }
        if let Some(want) = self.nodes[node].agent.want_mut(id) {
            want.handle_response_end(now);
        }
        self.settle(node);
        if begun {
            self.cut(node, content)
        } else {
            self.download(node, content)
        }
        self.watch_soon(node);
    }
}

fn end_word(end: SourceEnd) -> &'static str {
    match end {
        SourceEnd::Finished => "has all of it from",
        SourceEnd::Busy => "finds no slot at",
        SourceEnd::Exhausted => "has had all of",
        SourceEnd::Cut => "is cut off by",
        SourceEnd::Dry => "gets nothing more from",
        SourceEnd::Stalled => "hears nothing from",
        SourceEnd::Corrupt => "gets altered records from",
        SourceEnd::Slow => "leaves",
    }
}
